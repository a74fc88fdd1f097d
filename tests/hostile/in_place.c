/* in_place.c: says that it may write both outputs over its inputs, and reads these after the first. */
#include "hostile.h"

static mw_status forward(const mw_call *call) {
  const real *a = call->in[0].data, *b = call->in[1].data;
  real *more = call->out[0].data, *less = call->out[1].data;
  for (int64_t i = 0; i < call->in[0].count; i++) more[i] = a[i] + b[i];
  for (int64_t i = 0; i < call->in[0].count; i++) less[i] = a[i] - b[i];
  return MW_OK;
}

static const mw_op op = {
    .name = "hostile_in_place",
    .version = 1,
    .doc = "a + b and a - b.",
    .example = "mw.hostile_in_place(mw.randn{3,4}, mw.randn{3,4})",
    .inputs = {{"a"}, {"b"}},
    .outputs = {{"more"}, {"less"}},
    .flags = MW_INPLACE_EACH,
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"dmore + dless", "dmore - dless"},
};
MW_PLUGIN(&op)
