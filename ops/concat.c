/* concat.c: joins tensors along an axis. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

typedef struct concat_attrs {
  int64_t axis;
} concat_attrs;

static const mw_attr schema[] = {{.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(concat_attrs, axis),
                                  .doc = "the axis along which they follow each other",
                                  .initial = "0"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  concat_attrs *attrs = it->attrs;
  const mw_spec *first = &it->in[0];
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  it->host->spec_text(first, a);
  if (mw_expect_axis(it, "axis", &attrs->axis, first->rank)) return MW_FAILED;
  const int64_t axis = attrs->axis;
  it->out[0] = *first;
  for (int i = 1; i < it->n_in; i++) {
    const mw_spec *x = &it->in[i];
    mw_spec like = *x;
    if (like.rank == first->rank) like.shape[axis] = first->shape[axis];
    if (like.dtype != first->dtype || like.rank != first->rank ||
        memcmp(like.shape, first->shape, sizeof like.shape) != 0)
      return mw_fail(it,
                     "tensor %d is %s, but the first is %s: only the sizes along the axis may "
                     "differ%s",
                     i + 1, it->host->spec_text(x, b), a,
                     like.dtype != first->dtype ? "; use :cast" : "");
    if (__builtin_add_overflow(it->out[0].shape[axis], x->shape[axis], &it->out[0].shape[axis]))
      return mw_fail(it, "the sizes along the axis are too large together");
  }
  return MW_OK;
}

static mw_status forward(const mw_call *call) {
  const concat_attrs *attrs = call->attrs;
  const mw_spec *spec = &call->out[0].spec;
  size_t inner = mw_element_size(spec->dtype);
  int64_t outer = 1;
  if (call->out[0].count == 0) return MW_OK;
  for (int k = 0; k < spec->rank; k++) {
    if (k < attrs->axis) outer *= spec->shape[k];
    if (k > attrs->axis) inner *= (size_t)spec->shape[k];
  }
  char *y = call->out[0].data;
  for (int64_t o = 0; o < outer; o++) {
    for (int i = 0; i < call->n_in; i++) {
      const size_t bytes = inner * (size_t)call->in[i].spec.shape[attrs->axis];
      if (bytes > 0) memcpy(y, (const char *)call->in[i].data + (size_t)o * bytes, bytes);
      y += bytes;
    }
  }
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  const concat_attrs *attrs = g->attrs;
  int64_t start[MW_MAX_RANK] = {0};
  for (int i = 0; i < g->n_in; i++) {
    const mw_spec *x = g->host->tensor_spec(g->in[i]);
    const mw_setting settings[] = {mw_list("start", x->rank, start),
                                   mw_list("count", x->rank, x->shape)};
    if (g->wanted[i]) g->din[i] = mw_make(g, "slice", 1, g->dout, 2, settings);
    start[attrs->axis] += x->shape[attrs->axis];
  }
  return MW_OK;
}

static const mw_op concat_op = {
    .name = "concat",
    .version = 1,
    .doc = "Joins tensors along an axis: [m, k] and [n, k] give [m + n, k]. All other sizes agree.",
    .example = "mw.concat(mw.randn{2,3}, mw.randn{2,1}, {axis=2})",
    .cases =
        "mw.concat(mw.randn{2}, mw.randn{1}, mw.randn{3})\n"
        "mw.concat(mw.randn{2,3,1}, mw.randn{2,0,1}, mw.randn{2,5,1}, {axis=-2})\n"
        "mw.concat(mw.randn{3,1}, {axis=1})\n"
        "mw.concat(mw.randn{0,3}, mw.randn{2,3})\n"
        "mw.concat(mw.randn{0,3}, mw.randn{0,1}, {axis=2})",
    .inputs = {{"x", MW_VARIADIC}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(concat_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&concat_op)
