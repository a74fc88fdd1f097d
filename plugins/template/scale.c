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

/* Writes dx = dy * dy/dx (it does not add to dx). It reads neither x nor y: see backward_needs. */
static mw_status backward(const mw_call *call) {
  const scale_attrs *a = call->attrs;
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = (real)a->factor * dy[i];
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
    .backward_needs = 0, /* or MW_NEEDS_IN(0) | MW_NEEDS_OUT(0) | MW_NEEDS_SAVED */
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
MW_PLUGIN(&scale)
