/* scale.c: y = factor * x. Change what it computes, and what it says of itself at the end.
 *
 *     moonwalk plugin build scale.c     makes scale.so of it
 *     moonwalk plugin test scale.so     gradients, bounds, shapes, threads, ...
 *     moonwalk plugin bench scale.so    how long a call takes
 *     moonwalk plugin install scale.so  puts it where every script finds it
 *
 * It is compiled twice, with `real` being float and double; a line "real: f32 f64 i32" in a comment
 * would name other types. Nothing is linked: all there is to call is in moonwalk.h. */
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

/* Writes every element of y, and nothing else; allocates nothing. A shape that is empty has count
 * 0. For work that is worth several threads see mw_parallel(). */
static mw_status forward(const mw_call *call) {
  const scale_attrs *a = call->attrs;
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = (real)a->factor * x[i];
  return MW_OK;
}

/* The example is what `moonwalk help scale` runs; it and the cases, one Lua expression a line, are
 * what the op is tested with: odd shapes, empty ones, each attribute. */
static const mw_op scale = {
    .name = "scale",
    .version = 1,
    .doc = "The tensor times a number: y = factor * x.",
    .example = "mw.scale(mw.randn{2,3}, {factor=3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = attrs,
    .attrs_size = sizeof(scale_attrs),
    .cases = "mw.scale(mw.randn{5})\nmw.scale(mw.randn{3,1}, {factor=-1})\nmw.scale(mw.randn{0,3})",
    .infer = infer,
    .forward = forward,
    .derivative = {"dy * factor"}, /* of each input, as a formula; x and y may stand there too */
};
MW_PLUGIN(&scale)
