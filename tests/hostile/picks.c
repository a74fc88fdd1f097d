/* picks.c: says that it picks the largest elements, and negates all. */
#include "hostile.h"

static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = -x[i];
  return MW_OK;
}

static const mw_op op = {
    .name = "hostile_picks",
    .version = 1,
    .doc = "x with the other sign.",
    .example = "mw.hostile_picks(mw.randn{3,4})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .flags = MW_PICKS,
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"-dy"},
};
MW_PLUGIN(&op)
