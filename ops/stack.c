/* stack.c: joins tensors of one shape along a new axis. */
/* real: f32 */
#include <stdlib.h>

#include "../graph/moonwalk.h"

typedef struct stack_attrs {
  int64_t axis;
} stack_attrs;

static const mw_attr schema[] = {{.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(stack_attrs, axis),
                                  .doc = "where the result has the new axis; -1 is its last axis",
                                  .initial = "0"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  stack_attrs *attrs = it->attrs;
  const mw_spec *first = &it->in[0];
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  it->host->spec_text(first, a);
  if (first->rank == MW_MAX_RANK)
    return mw_fail(it, "the first tensor is %s, which leaves no room for an axis", a);
  if (mw_expect_axis(it, "axis", &attrs->axis, first->rank + 1)) return MW_FAILED; /* of y */
  for (int i = 1; i < it->n_in; i++) {
    const mw_spec *x = &it->in[i];
    if (x->dtype == first->dtype && mw_same_shape(x, first)) continue;
    return mw_fail(it, "tensor %d is %s, but the first is %s: all must be alike%s", i + 1,
                   it->host->spec_text(x, b), a, x->dtype != first->dtype ? "; use :cast" : "");
  }
  return MW_OK;
}

/* Each with an axis of size 1, along which concat joins them. */
static mw_status compose(mw_build *b) {
  const stack_attrs *attrs = b->attrs;
  const mw_setting axes = mw_list("axes", 1, &attrs->axis), axis = mw_int("axis", attrs->axis);
  mw_tensor **parts = malloc((size_t)b->n_in * sizeof(mw_tensor *));
  if (!parts) return mw_fail(b, "out of memory");
  for (int i = 0; i < b->n_in; i++) parts[i] = mw_make(b, "unsqueeze", 1, &b->in[i], 1, &axes);
  b->out[0] = mw_make(b, "concat", b->n_in, parts, 1, &axis);
  free(parts);
  return MW_OK;
}

static const mw_op stack_op = {
    .name = "stack",
    .version = 1,
    .doc = "Joins tensors of one shape along a new axis: n of [a, b] give [n, a, b].",
    .example = "mw.stack(mw.randn{2,3}, mw.randn{2,3})",
    .cases =
        "mw.stack(mw.randn{2,3}, mw.randn{2,3}, mw.randn{2,3}, {axis=2})\n"
        "mw.stack(mw.randn{1,5}, mw.randn{1,5}, {axis=-1})\n"
        "mw.stack(mw.randn{}, mw.randn{})\n"
        "mw.stack(mw.randn{3}, {axis=1})\n"
        "mw.stack(mw.randn{0,3}, mw.randn{0,3}, {axis=2})",
    .inputs = {{"x", MW_VARIADIC}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(stack_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = infer,
    .compose = compose,
};

MW_PLUGIN(&stack_op)
