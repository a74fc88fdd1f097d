/* squeeze.c: axes of size 1 taken away and put in. */
/* real: f32 */
#include "../graph/moonwalk.h"

typedef struct axes_attrs {
  mw_ints axes;
} axes_attrs;

static mw_status squeeze_infer(mw_infer *it) {
  const mw_spec *x = &it->in[0];
  mw_ints *axes = &((axes_attrs *)it->attrs)->axes;
  char text[MW_SPEC_TEXT];
  if (mw_expect_axes(it, "axes", axes, x->rank)) return MW_FAILED;
  const unsigned bits = mw_axes_bits(axes);
  const bool all = axes->count == 0;
  mw_spec y = {.dtype = x->dtype};
  for (int k = 0; k < x->rank; k++) {
    const bool named = bits >> k & 1u;
    if (named && x->shape[k] != 1)
      return mw_fail(it, "an axis that is named has the size %lld, expected 1: x is %s",
                     (long long)x->shape[k], it->host->spec_text(x, text));
    if (!named && !(all && x->shape[k] == 1)) y.shape[y.rank++] = x->shape[k];
  }
  it->out[0] = y;
  return MW_OK;
}

static mw_status unsqueeze_infer(mw_infer *it) {
  const mw_spec *x = &it->in[0];
  mw_ints *axes = &((axes_attrs *)it->attrs)->axes;
  char text[MW_SPEC_TEXT];
  if (x->rank + axes->count > MW_MAX_RANK)
    return mw_fail(it, "x is %s, and %lld axes more are too many: at most %d are possible",
                   it->host->spec_text(x, text), (long long)axes->count, MW_MAX_RANK);
  mw_spec y = {.dtype = x->dtype, .rank = x->rank + (int)axes->count};
  if (mw_expect_axes(it, "axes", axes, y.rank)) return MW_FAILED;
  const unsigned bits = mw_axes_bits(axes);
  for (int k = 0, from = 0; k < y.rank; k++) y.shape[k] = bits >> k & 1u ? 1 : x->shape[from++];
  it->out[0] = y;
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  g->din[0] = mw_make_like(g, "reshape", g->dout[0], g->in[0]);
  return MW_OK;
}

static const mw_attr squeeze_schema[] = {{.name = "axes",
                                          .type = MW_AXES,
                                          .offset = offsetof(axes_attrs, axes),
                                          .doc = "the axes that go; none named: all of size 1",
                                          .initial = ""},
                                         {0}};

static const mw_op squeeze_op = {
    .name = "squeeze",
    .version = 1,
    .doc =
        "Takes axes of size 1 away: [n, 1, m] becomes [n, m]. Naming an axis of another size is "
        "an error. Costs nothing.",
    .example = "mw.squeeze(mw.randn{3,1,2})",
    .cases =
        "mw.squeeze(mw.randn{1,3,1,2}, {axes={1}})\n"
        "mw.squeeze(mw.randn{1,3,1}, {axes={-1,1}})\n"
        "mw.squeeze(mw.randn{2,5})\n"
        "mw.squeeze(mw.randn{1,1})\n"
        "mw.squeeze(mw.randn{0,1,3}, {axes={2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = squeeze_schema,
    .attrs_size = sizeof(axes_attrs),
    .flags = MW_ANY_DTYPE | MW_VIEW | MW_LINEAR,
    .infer = squeeze_infer,
    .gradient = gradient,
};

static const mw_attr unsqueeze_schema[] = {
    {.name = "axes",
     .type = MW_AXES,
     .offset = offsetof(axes_attrs, axes),
     .doc = "where the result has the new axes; -1 is its last axis"},
    {0}};

static const mw_op unsqueeze_op = {
    .name = "unsqueeze",
    .version = 1,
    .doc = "Puts axes of size 1 in: [n, m] with axes={1,-1} becomes [1, n, m, 1]. Costs nothing.",
    .example = "mw.unsqueeze(mw.randn{3,2}, {axes={2}})",
    .cases =
        "mw.unsqueeze(mw.randn{3,5}, {axes={1,-1}})\n"
        "mw.unsqueeze(mw.randn{}, {axes={1}})\n"
        "mw.unsqueeze(mw.randn{1,3}, {axes={4,2}})\n"
        "mw.unsqueeze(mw.randn{0,3}, {axes={-2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = unsqueeze_schema,
    .attrs_size = sizeof(axes_attrs),
    .flags = MW_ANY_DTYPE | MW_VIEW | MW_LINEAR,
    .infer = unsqueeze_infer,
    .gradient = gradient,
};

MW_PLUGIN(&squeeze_op, &unsqueeze_op)
