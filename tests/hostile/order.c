/* order.c: says that it rises, and falls below 0. */
#include "hostile.h"

static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i] * x[i];
  return MW_OK;
}

static const mw_op op = {
    .name = "hostile_order",
    .version = 1,
    .doc = "The square of x.",
    .example = "mw.hostile_order(mw.randn{3,4})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .flags = MW_ELEMENTWISE | MW_RISING,
    .backward_needs = MW_NEEDS_IN(0),
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"2 * x * dy"},
};
MW_PLUGIN(&op)
