/* scale.c: y = factor * x. Copy this file, give it your op's name, and change what it computes. */
#include <moonwalk.h>

/* Attributes: a struct that the functions read, and its description for everybody else. */
typedef struct scale_attrs {
  double factor;
} scale_attrs;
static const mw_attr attrs[] = {
    {.name = "factor",
     .type = MW_FLOAT,
     .offset = offsetof(scale_attrs, factor),
     .doc = "what x is multiplied by",
     .initial = "2"},
    {0},
};

/* Says what comes out before anything is computed, for every dtype: no `real` here. A wrong shape
 * would be refused: return mw_fail(it, "x has %lld elements, expected ...", n). */
static mw_status infer(mw_infer *it) {
  it->out[0] = it->in[0];
  return MW_OK;
}

/* `real` is float in one compilation of this file and double in another. */
static mw_status forward(const mw_call *call) {
  const scale_attrs *a = call->attrs;
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = (real)a->factor * x[i];
  return MW_OK;
}

static const mw_op scale = {
    .name = "scale",
    .version = 1,
    .doc = "The tensor times a number: y = factor * x.",
    .example = "mw.scale(mw.randn{2,3}, {factor=3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = attrs,
    .attrs_size = sizeof(scale_attrs),
    .cases = "mw.scale(mw.randn{5})\nmw.scale(mw.randn{3,1}, {factor=-1})",
    .infer = infer,
    .forward = forward,
    .derivative = {"dy * factor"}, /* of each input, as a formula; x and y may stand there too */
};
MW_PLUGIN(&scale)
