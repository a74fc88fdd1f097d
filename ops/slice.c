/* slice.c: takes evenly spaced elements along each axis, and the reverse of that. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

/* The attributes have one entry for each axis, from the first on; axes after the last entry are
 * taken whole. Along axis k the elements taken are start[k], start[k] + step[k], ..., count[k] in
 * number, so that y's size there is count[k].
 *   start: a position along the axis: from 0 in C, from 1 in Lua; negative counts from the end.
 *   count: 0 or more.
 *   step:  not 0, may be negative; an empty list means 1 everywhere.
 * All that is taken must lie within x: nothing is clipped here. x[i], x[{a, b}] and what else is
 * pleasant to write are for the caller to turn into this. */
typedef struct slice_attrs {
  mw_ints start, count, step, shape; /* shape: of place only */
} slice_attrs;

/* ---- shapes ------------------------------------------------------------------------------- */

/* Brings the lists into standard form, an entry for each axis of x, starts from 0. */
static mw_status resolve(const mw_infer *it, const mw_spec *x, slice_attrs *attrs) {
  mw_ints *start = &attrs->start, *count = &attrs->count, *step = &attrs->step;
  char text[MW_SPEC_TEXT];
  it->host->spec_text(x, text);
  if (start->count != count->count || (step->count != 0 && step->count != start->count))
    return mw_fail(it,
                   "start, count and step have %lld, %lld and %lld entries, expected equally "
                   "many",
                   (long long)start->count, (long long)count->count, (long long)step->count);
  if (start->count > x->rank)
    return mw_fail(it, "start has %lld entries, but there are %d axes in %s",
                   (long long)start->count, x->rank, text);
  for (int64_t k = step->count; k < start->count; k++) step->at[k] = 1;
  for (int64_t k = start->count; k < x->rank; k++) {
    start->at[k] = 0;
    count->at[k] = x->shape[k];
    step->at[k] = 1;
  }
  start->count = count->count = step->count = x->rank;
  for (int k = 0; k < x->rank; k++) {
    const int64_t size = x->shape[k], n = count->at[k], by = step->at[k];
    const int64_t first = start->at[k] + (start->at[k] < 0 ? size : 0);
    if (n < 0 || by == 0)
      return mw_fail(it,
                     "entry %d: count is %lld and step is %lld, expected 0 or more, and "
                     "other than 0",
                     k + 1, (long long)n, (long long)by);
    int64_t last;
    const bool far = __builtin_mul_overflow(n > 0 ? n - 1 : 0, by, &last) ||
                     __builtin_add_overflow(last, first, &last);
    if (n > 0 && (far || first < 0 || first >= size || last < 0 || last >= size))
      return mw_fail(it,
                     "entry %d: start %lld (counted from 0), count %lld and step %lld leave the "
                     "axis of size %lld of %s",
                     k + 1, (long long)first, (long long)n, (long long)by, (long long)size, text);
    start->at[k] = n > 0 ? first : 0;
    if (n <= 1) step->at[k] = 1; /* where it leads nowhere it may be of any size */
  }
  return MW_OK;
}

static mw_status slice_infer(mw_infer *it) {
  slice_attrs *attrs = it->attrs;
  if (resolve(it, &it->in[0], attrs)) return MW_FAILED;
  it->out[0] = it->in[0];
  for (int k = 0; k < it->in[0].rank; k++) it->out[0].shape[k] = attrs->count.at[k];
  return MW_OK;
}

static mw_status place_infer(mw_infer *it) {
  slice_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  mw_spec y = {.dtype = x->dtype, .rank = (int)attrs->shape.count};
  if (attrs->shape.count != x->rank)
    return mw_fail(it, "shape has %lld sizes, expected one for each axis of x, which is %s",
                   (long long)attrs->shape.count, it->host->spec_text(x, text));
  for (int k = 0; k < y.rank; k++) {
    y.shape[k] = attrs->shape.at[k];
    if (y.shape[k] < 0)
      return mw_fail(it, "entry %d of shape is %lld, expected 0 or more", k + 1,
                     (long long)y.shape[k]);
  }
  attrs->count = (mw_ints){.count = attrs->start.count};
  for (int64_t k = 0; k < attrs->start.count && k < x->rank; k++) attrs->count.at[k] = x->shape[k];
  if (resolve(it, &y, attrs)) return MW_FAILED;
  for (int k = 0; k < y.rank; k++)
    if (attrs->count.at[k] != x->shape[k])
      return mw_fail(it, "x is %s, but start has no entry for an axis where the sizes differ",
                     it->host->spec_text(x, text));
  it->out[0] = y;
  return MW_OK;
}

/* ---- kernels ------------------------------------------------------------------------------ */

/* n elements from every x_step-th to every y_step-th place. */
static void move(int64_t n, const char *x, int64_t x_step, char *y, int64_t y_step,
                 size_t element) {
  if (x_step == 1 && y_step == 1) {
    memcpy(y, x, (size_t)n * element);
  } else if (element == 1) {
    for (int64_t i = 0; i < n; i++) y[i * y_step] = x[i * x_step];
  } else if (element == 4) {
    const uint32_t *from = (const void *)x;
    uint32_t *to = (void *)y;
    for (int64_t i = 0; i < n; i++) to[i * y_step] = from[i * x_step];
  } else {
    const uint64_t *from = (const void *)x;
    uint64_t *to = (void *)y;
    for (int64_t i = 0; i < n; i++) to[i * y_step] = from[i * x_step];
  }
}

/* Between the elements of `whole` that the attributes name and the dense `part`, row by row. */
static void move_all(const slice_attrs *attrs, const mw_spec *whole, char *whole_data,
                     const mw_spec *part, char *part_data, bool to_part) {
  const size_t element = mw_element_size(whole->dtype);
  int64_t strides[MW_MAX_RANK] = {0}, stride = 1, offset = 0, rows = 1;
  int last = whole->rank - 1;
  for (int k = last; k >= 0; k--) {
    strides[k] = stride * attrs->step.at[k];
    offset += stride * attrs->start.at[k];
    stride *= whole->shape[k];
  }
  /* Inner axes that are taken whole are one row with the axis before them. */
  int64_t n = 1, along = 1;
  while (last >= 0 && attrs->step.at[last] == 1 && part->shape[last] == whole->shape[last])
    n *= part->shape[last--];
  if (last >= 0 && (n == 1 || attrs->step.at[last] == 1)) {
    along = n == 1 ? strides[last] : 1;
    n *= part->shape[last--];
  }
  for (int k = 0; k <= last; k++) rows *= part->shape[k];
  for (int64_t row = 0; row < rows; row++) {
    int64_t rest = row, at = offset;
    for (int k = last; k >= 0; k--) {
      at += rest % part->shape[k] * strides[k];
      rest /= part->shape[k];
    }
    char *in_whole = whole_data + at * (int64_t)element;
    char *in_part = part_data + (size_t)(row * n) * element;
    if (to_part) move(n, in_whole, along, in_part, 1, element);
    else move(n, in_part, 1, in_whole, along, element);
  }
}

static mw_status slice_forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (y->count > 0) move_all(call->attrs, &x->spec, x->data, &y->spec, y->data, true);
  return MW_OK;
}

static mw_status place_forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (y->count > 0) memset(y->data, 0, (size_t)y->count * mw_element_size(y->spec.dtype));
  if (x->count > 0) move_all(call->attrs, &y->spec, y->data, &x->spec, x->data, false);
  return MW_OK;
}

/* ---- gradients: each is the other's ------------------------------------------------------- */

static mw_status slice_gradient(mw_build *g) {
  const slice_attrs *attrs = g->attrs;
  const mw_spec *x = g->host->tensor_spec(g->in[0]);
  const mw_setting settings[] = {mw_list("shape", x->rank, x->shape),
                                 mw_list("start", x->rank, attrs->start.at),
                                 mw_list("step", x->rank, attrs->step.at)};
  g->din[0] = mw_make(g, "place", 1, g->dout, 3, settings);
  return MW_OK;
}

static mw_status place_gradient(mw_build *g) {
  const slice_attrs *attrs = g->attrs;
  const int rank = (int)attrs->start.count;
  const mw_setting settings[] = {mw_list("start", rank, attrs->start.at),
                                 mw_list("count", rank, attrs->count.at),
                                 mw_list("step", rank, attrs->step.at)};
  g->din[0] = mw_make(g, "slice", 1, g->dout, 3, settings);
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

static const mw_attr slice_schema[] = {
    {.name = "start",
     .type = MW_AXES,
     .offset = offsetof(slice_attrs, start),
     .doc =
         "for each axis the position of the first element taken; axes without an entry stay whole"},
    {.name = "count",
     .type = MW_INTS,
     .offset = offsetof(slice_attrs, count),
     .doc = "for each axis how many are taken"},
    {.name = "step",
     .type = MW_INTS,
     .offset = offsetof(slice_attrs, step),
     .doc = "for each axis the distance from one to the next, not 0; none given: 1",
     .initial = ""},
    {0}};

static const mw_op slice_op = {
    .name = "slice",
    .version = 1,
    .doc =
        "Takes count elements along each axis, from start on, every step-th; a negative step "
        "goes backward.",
    .example = "mw.slice(mw.randn{3,5}, {start={2,5}, count={2,3}, step={1,-2}})",
    .cases =
        "mw.slice(mw.randn{7}, {start=-1, count=4, step=-2})\n"
        "mw.slice(mw.randn{3,5,2}, {start={2,1}, count={1,3}})\n"
        "mw.slice(mw.randn{3,1,5}, {start={3,1,5}, count={3,1,2}, step={-1,1,-4}})\n"
        "mw.slice(mw.randn{2,3}, {start={1,1}, count={0,2}})\n"
        "mw.slice(mw.randn{}, {start={}, count={}})\n"
        "mw.slice(mw.randn{0,3}, {start={1,2}, count={0,2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = slice_schema,
    .attrs_size = sizeof(slice_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = slice_infer,
    .forward = slice_forward,
    .gradient = slice_gradient,
};

static const mw_attr place_schema[] = {
    {.name = "shape",
     .type = MW_INTS,
     .offset = offsetof(slice_attrs, shape),
     .doc = "the shape of the result"},
    {.name = "start",
     .type = MW_AXES,
     .offset = offsetof(slice_attrs, start),
     .doc = "for each axis the position at which x's first element goes"},
    {.name = "step",
     .type = MW_INTS,
     .offset = offsetof(slice_attrs, step),
     .doc = "for each axis the distance from one to the next, not 0; none given: 1",
     .initial = ""},
    {0}};

static const mw_op place_op = {
    .name = "place",
    .version = 1,
    .doc =
        "A tensor of zeros with x's elements where slice would take them: what slice's "
        "gradient is.",
    .example = "mw.place(mw.randn{2,3}, {shape={3,5}, start={2,5}, step={1,-2}})",
    .cases =
        "mw.place(mw.randn{4}, {shape=7, start=-1, step=-2})\n"
        "mw.place(mw.randn{1,3,2}, {shape={3,5,2}, start={2,1}})\n"
        "mw.place(mw.randn{3,1,2}, {shape={3,1,5}, start={3,1,5}, step={-1,1,-4}})\n"
        "mw.place(mw.randn{0,2}, {shape={2,3}, start={1,1}})\n"
        "mw.place(mw.randn{}, {shape={}, start={}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = place_schema,
    .attrs_size = sizeof(slice_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = place_infer,
    .forward = place_forward,
    .gradient = place_gradient,
};

MW_PLUGIN(&slice_op, &place_op)
