/* kernels.c: other kernels for relu: one that is right, one that is wrong, and one that takes no
 * call. */
#include "hostile.h"

static mw_status good(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i] < 0 ? 0 : x[i];
  return MW_OK;
}

static mw_status wrong(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i] < 0 ? -x[i] : x[i];
  return MW_OK;
}

static bool never(const mw_call *call) { return (void)call, false; }

static const mw_kernel kernels[] = {
    {.op = "relu", .name = "good", .priority = -1, .forward = good},
    {.op = "relu", .name = "wrong", .priority = -2, .forward = wrong},
    {.op = "relu", .name = "never", .priority = -3, .supports = never, .forward = good},
};
MW_PLUGIN_WITH_KERNELS((NULL), (&kernels[0], &kernels[1], &kernels[2]))
