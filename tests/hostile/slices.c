/* slices.c: says that its axis 0 is a batch, and looks at other entries all the same. */
#include "hostile.h"

static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i] - x[0];
  return MW_OK;
}

static const mw_op op = {
    .name = "hostile_slices",
    .version = 1,
    .doc = "x less its first element.",
    .example = "mw.hostile_slices(mw.randn{3,4})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .batched = MW_IN(0),
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"dy"},
};
MW_PLUGIN(&op)
