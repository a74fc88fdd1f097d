/* one_hot.c: class labels as vectors that are 1 at the label and 0 elsewhere. */
/* real: i32 i64 u8 */
#include <string.h>

#include "../graph/moonwalk.h"

typedef struct one_hot_attrs {
  int64_t classes, axis, ignore_index;
  int dtype; /* a position in TYPES */
} one_hot_attrs;

#define TYPES "f32|f64|i32|i64|u8|bool"
static const mw_dtype types[] = {MW_F32, MW_F64, MW_I32, MW_I64, MW_U8, MW_BOOL};

static const mw_attr schema[] = {{.name = "classes",
                                  .type = MW_INT,
                                  .offset = offsetof(one_hot_attrs, classes),
                                  .doc = "the number of classes",
                                  .least = 1,
                                  .most = 1e15},
                                 {.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(one_hot_attrs, axis),
                                  .doc = "where y has its axis of classes",
                                  .initial = "-1"},
                                 {.name = "ignore_index",
                                  .type = MW_INT,
                                  .offset = offsetof(one_hot_attrs, ignore_index),
                                  .doc = "a label that gives only 0, also when it is a class",
                                  .initial = "-100"},
                                 {.name = "dtype",
                                  .type = MW_CHOICE,
                                  .offset = offsetof(one_hot_attrs, dtype),
                                  .doc = "the dtype of the result",
                                  .initial = "f32",
                                  .choices = TYPES},
                                 {0}};

static mw_status infer(mw_infer *it) {
  one_hot_attrs *attrs = it->attrs;
  const mw_spec *labels = &it->in[0];
  char text[MW_SPEC_TEXT];
  const int rank = labels->rank + 1;
  it->host->spec_text(labels, text);
  if (labels->dtype == MW_BOOL)
    return mw_fail(it, "labels is %s, expected i32, i64 or u8; use :cast \"u8\"", text);
  if (rank > MW_MAX_RANK) return mw_fail(it, "labels is %s and leaves no room for an axis", text);
  if (mw_expect_axis(it, "axis", &attrs->axis, rank)) return MW_FAILED; /* of y */
  const int64_t axis = attrs->axis;
  it->out[0] = (mw_spec){.dtype = types[attrs->dtype], .rank = rank};
  for (int k = 0; k < rank; k++)
    it->out[0].shape[k] = k < axis   ? labels->shape[k]
                          : k > axis ? labels->shape[k - 1]
                                     : attrs->classes;
  return MW_OK;
}

static void set_one(mw_dtype dtype, void *y, int64_t i) {
  switch (dtype) {
    case MW_F32: ((float *)y)[i] = 1; break;
    case MW_F64: ((double *)y)[i] = 1; break;
    case MW_I32: ((int32_t *)y)[i] = 1; break;
    case MW_I64: ((int64_t *)y)[i] = 1; break;
    case MW_U8:
    case MW_BOOL: ((uint8_t *)y)[i] = 1; break;
    case MW_NONE: break;
  }
}

static mw_status forward(const mw_call *call) {
  const one_hot_attrs *attrs = call->attrs;
  const mw_array *labels = &call->in[0], *y = &call->out[0];
  const mw_dtype dtype = y->spec.dtype;
  int64_t inner = 1;
  if (y->count == 0) return MW_OK;
  memset(y->data, 0, (size_t)y->count * mw_element_size(dtype));
  for (int k = (int)attrs->axis + 1; k < y->spec.rank; k++) inner *= y->spec.shape[k];
  for (int64_t i = 0; i < labels->count; i++) {
    const int64_t label = (int64_t)((const real *)labels->data)[i];
    if (label < 0 || label >= attrs->classes || label == attrs->ignore_index) continue;
    set_one(dtype, y->data, (i / inner * attrs->classes + label) * inner + i % inner);
  }
  return MW_OK;
}

static const mw_op one_hot_op = {
    .name = "one_hot",
    .version = 1,
    .doc =
        "Labels [..] as vectors of the classes, [.., classes], or with these at another axis: 1 at "
        "each label's class, counted from 0, and 0 elsewhere; a label outside the classes gives "
        "only 0.",
    .example = "mw.one_hot(mw.tensor({0,2,1}, \"i64\"), {classes=3})",
    .cases =
        "mw.one_hot(mw.tensor({{0,4},{2,2},{-1,9}}, 'i32'), {classes=5, axis=2, dtype='f64'})\n"
        "mw.one_hot(mw.tensor({1,0,-100}, 'i64'), {classes=2, ignore_index=1, dtype='bool'})\n"
        "mw.one_hot(mw.tensor(2, 'u8'), {classes=3, axis=1, dtype='i32'})\n"
        "mw.one_hot(mw.tensor({0,1}, 'u8'), {classes=1, axis=-2, dtype='i64'})\n"
        "mw.one_hot(mw.tensor({0,1}, 'i64'), {classes=3, dtype='u8'})\n"
        "mw.one_hot(mw.zeros({0}, 'i64'), {classes=3})",
    .inputs = {{"labels"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(one_hot_attrs),
    .infer = infer,
    .forward = forward,
};

MW_PLUGIN(&one_hot_op)
