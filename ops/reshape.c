/* reshape.c: the same values in the same order under another shape. */
/* real: f32 */
#include "../graph/moonwalk.h"

typedef struct reshape_attrs {
  mw_ints shape;
} reshape_attrs;

typedef struct flatten_attrs {
  int64_t axis;
} flatten_attrs;

/* The size that stands for -1: what the others leave of x. */
static mw_status infer_size(const mw_infer *it, int64_t count, int64_t others, int64_t *size) {
  char text[MW_SPEC_TEXT];
  if (others == 0)
    return mw_fail(it, "shape has -1 beside a 0, so that any size would do; give the size");
  if (count % others != 0)
    return mw_fail(it, "x is %s with %lld elements, which the other sizes (%lld) do not divide",
                   it->host->spec_text(&it->in[0], text), (long long)count, (long long)others);
  *size = count / others;
  return MW_OK;
}

static mw_status reshape_infer(mw_infer *it) {
  const mw_ints *shape = &((reshape_attrs *)it->attrs)->shape;
  mw_spec y = {.dtype = it->in[0].dtype, .rank = (int)shape->count};
  char from[MW_SPEC_TEXT], to[MW_SPEC_TEXT];
  int64_t count = 1, product = 1;
  int open = -1; /* the axis given as -1 */
  bool small = true;
  if (shape->count > MW_MAX_RANK)
    return mw_fail(it, "shape has %lld sizes, at most %d are possible", (long long)shape->count,
                   MW_MAX_RANK);
  for (int k = 0; k < it->in[0].rank; k++) count *= it->in[0].shape[k];
  for (int k = 0; k < y.rank; k++) {
    y.shape[k] = shape->at[k];
    if (y.shape[k] == -1 && open >= 0)
      return mw_fail(it, "shape has -1 twice; one size can be inferred");
    if (y.shape[k] < -1)
      return mw_fail(it, "shape has the size %lld, expected 0 or more, or -1 once",
                     (long long)y.shape[k]);
    if (y.shape[k] == -1) open = k;
    else small &= !__builtin_mul_overflow(product, y.shape[k], &product);
  }
  if (open >= 0 && small && infer_size(it, count, product, &y.shape[open])) return MW_FAILED;
  if (!small || (open < 0 && product != count))
    return mw_fail(it, "x is %s with %lld elements, which cannot be reshaped to %s",
                   it->host->spec_text(&it->in[0], from), (long long)count,
                   it->host->spec_text(&y, to));
  it->out[0] = y;
  return MW_OK;
}

static mw_status flatten_infer(mw_infer *it) {
  flatten_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  const int64_t axis = attrs->axis;
  it->out[0] = (mw_spec){.dtype = x->dtype, .rank = (int)axis + 1};
  it->out[0].shape[axis] = 1;
  for (int k = 0; k < axis; k++) it->out[0].shape[k] = x->shape[k];
  for (int k = (int)axis; k < x->rank; k++) it->out[0].shape[axis] *= x->shape[k];
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  g->din[0] = mw_make_like(g, "reshape", g->dout[0], g->in[0]);
  return MW_OK;
}

static const mw_attr reshape_schema[] = {{.name = "shape",
                                          .type = MW_INTS,
                                          .offset = offsetof(reshape_attrs, shape),
                                          .doc = "the sizes; one may be -1: what is left"},
                                         {0}};

static const mw_op reshape_op = {
    .name = "reshape",
    .version = 1,
    .doc = "The same values in the same order under another shape. Costs nothing.",
    .example = "mw.reshape(mw.randn{2,6}, {shape={3,-1}})",
    .cases =
        "mw.reshape(mw.randn{3,1,5}, {shape={5,3}})\n"
        "mw.reshape(mw.randn{1,1}, {shape={}})\n"
        "mw.reshape(mw.randn{7}, {shape={7,1,-1}})\n"
        "mw.reshape(mw.randn{0,3}, {shape={-1,3,2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = reshape_schema,
    .attrs_size = sizeof(reshape_attrs),
    .flags = MW_ANY_DTYPE | MW_VIEW | MW_LINEAR,
    .infer = reshape_infer,
    .gradient = gradient,
};

static const mw_attr flatten_schema[] = {{.name = "axis",
                                          .type = MW_AXIS,
                                          .offset = offsetof(flatten_attrs, axis),
                                          .doc = "the first of the axes that become one",
                                          .initial = "1"},
                                         {0}};

static const mw_op flatten_op = {
    .name = "flatten",
    .version = 1,
    .doc = "Makes one axis of all from `axis` on: [n, c, h, w] becomes [n, c h w]. Costs nothing.",
    .example = "mw.flatten(mw.randn{2,3,2})",
    .cases =
        "mw.flatten(mw.randn{3,1,5}, {axis=1})\n"
        "mw.flatten(mw.randn{2,3,2,1}, {axis=-2})\n"
        "mw.flatten(mw.randn{7}, {axis=1})\n"
        "mw.flatten(mw.randn{0,3,2})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = flatten_schema,
    .attrs_size = sizeof(flatten_attrs),
    .flags = MW_ANY_DTYPE | MW_VIEW | MW_LINEAR,
    .infer = flatten_infer,
    .gradient = gradient,
};

MW_PLUGIN(&reshape_op, &flatten_op)
