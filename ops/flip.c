/* flip.c: the order along axes turned round, or moved on with what leaves coming in again. */
/* real: f32 */
#include "../graph/moonwalk.h"

/* ---- flip --------------------------------------------------------------------------------- */

typedef struct flip_attrs {
  mw_ints axes;
} flip_attrs;

static mw_status flip_infer(mw_infer *it) {
  return mw_expect_axes(it, "axes", &((flip_attrs *)it->attrs)->axes, it->in[0].rank);
}

static mw_status flip_compose(mw_build *b) {
  const mw_ints *axes = &((const flip_attrs *)b->attrs)->axes;
  const mw_spec *x = b->host->tensor_spec(b->in[0]);
  int64_t start[MW_MAX_RANK] = {0}, step[MW_MAX_RANK];
  for (int k = 0; k < x->rank; k++) step[k] = axes->count == 0 ? -1 : 1;
  for (int i = 0; i < axes->count; i++) step[axes->at[i]] = -1;
  for (int k = 0; k < x->rank; k++)
    if (step[k] < 0 && x->shape[k] > 0) start[k] = x->shape[k] - 1;
  b->out[0] =
      mw_make(b, "slice", 1, b->in, 3,
              (mw_setting[]){mw_list("start", x->rank, start), mw_list("count", x->rank, x->shape),
                             mw_list("step", x->rank, step)});
  return MW_OK;
}

static const mw_attr flip_schema[] = {{.name = "axes",
                                       .type = MW_AXES,
                                       .offset = offsetof(flip_attrs, axes),
                                       .doc = "the axes that are turned round; none named: all",
                                       .initial = ""},
                                      {0}};

static const mw_op flip_op = {
    .name = "flip",
    .version = 1,
    .doc = "Turns the order along axes round: y[i] = x[n - 1 - i].",
    .example = "mw.flip(mw.randn{2,3}, {axes={2}})",
    .cases =
        "mw.flip(mw.randn{3,1,5})\n"
        "mw.flip(mw.randn{7})\n"
        "mw.flip(mw.randn{2,3,2}, {axes={-1,1}})\n"
        "mw.flip(mw.randn{})\n"
        "mw.flip(mw.randn{0,3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = flip_schema,
    .attrs_size = sizeof(flip_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = flip_infer,
    .compose = flip_compose,
};

/* ---- roll --------------------------------------------------------------------------------- */

typedef struct roll_attrs {
  mw_ints shift, axes;
} roll_attrs;

/* An axis may be named more than once: the shifts add up. */
static mw_status roll_infer(mw_infer *it) {
  roll_attrs *attrs = it->attrs;
  if (attrs->axes.count == 0 && attrs->shift.count != 1)
    return mw_fail(it, "shift has %lld entries and axes none, expected one shift, or an axis each",
                   (long long)attrs->shift.count);
  if (attrs->axes.count != 0 && attrs->shift.count != attrs->axes.count && attrs->shift.count != 1)
    return mw_fail(it, "shift has %lld entries and axes %lld, expected equally many",
                   (long long)attrs->shift.count, (long long)attrs->axes.count);
  for (int k = 0; k < attrs->axes.count; k++)
    if (mw_expect_axis(it, "axis", &attrs->axes.at[k], it->in[0].rank)) return MW_FAILED;
  return MW_OK;
}

static mw_tensor *cut(mw_build *b, mw_tensor *x, int64_t axis, int64_t first, int64_t count) {
  mw_spec spec = *b->host->tensor_spec(x);
  int64_t start[MW_MAX_RANK] = {0};
  start[axis] = first;
  spec.shape[axis] = count;
  return mw_make(
      b, "slice", 1, &x, 2,
      (mw_setting[]){mw_list("start", spec.rank, start), mw_list("count", spec.rank, spec.shape)});
}

/* The last `shift` entries come first. */
static mw_tensor *roll_axis(mw_build *b, mw_tensor *x, int64_t axis, int64_t shift) {
  if (!x) return NULL;
  const int64_t size = b->host->tensor_spec(x)->shape[axis];
  if (size == 0 || shift % size == 0) return x;
  const int64_t by = (shift % size + size) % size;
  mw_tensor *parts[] = {cut(b, x, axis, size - by, by), cut(b, x, axis, 0, size - by)};
  const mw_setting along = mw_int("axis", axis);
  return mw_make(b, "concat", 2, parts, 1, &along);
}

/* All elements as one row, and back. */
static mw_tensor *roll_all(mw_build *b, mw_tensor *x, int64_t shift) {
  const mw_spec *spec = b->host->tensor_spec(x);
  int64_t count = 1;
  for (int k = 0; k < spec->rank; k++) count *= spec->shape[k];
  mw_tensor *rolled = roll_axis(b, mw_make_shaped(b, "reshape", x, 1, &count), 0, shift);
  return mw_make_like(b, "reshape", rolled, x);
}

static mw_status roll_compose(mw_build *b) {
  const roll_attrs *attrs = b->attrs;
  mw_tensor *x = mw_make1(b, "identity", b->in[0]);
  for (int k = 0; k < attrs->axes.count; k++)
    x = roll_axis(b, x, attrs->axes.at[k], mw_ints_at(&attrs->shift, k));
  b->out[0] = attrs->axes.count > 0 ? x : roll_all(b, b->in[0], attrs->shift.at[0]);
  return MW_OK;
}

static const mw_attr roll_schema[] = {
    {.name = "shift",
     .type = MW_INTS,
     .offset = offsetof(roll_attrs, shift),
     .doc = "how many places elements move on; negative: back. One for all axes, or one for each"},
    {.name = "axes",
     .type = MW_AXES,
     .offset = offsetof(roll_attrs, axes),
     .doc = "the axes along which they move; none named: all elements in row-major order",
     .initial = ""},
    {0}};

static const mw_op roll_op = {
    .name = "roll",
    .version = 1,
    .doc =
        "Moves elements on along axes; what leaves at the end comes in at the start: "
        "y[(i + shift) mod n] = x[i].",
    .example = "mw.roll(mw.randn{2,3}, {shift=1, axes={2}})",
    .cases =
        "mw.roll(mw.randn{3,1,5}, {shift={-2}})\n"
        "mw.roll(mw.randn{7}, {shift=16})\n"
        "mw.roll(mw.randn{3,4}, {shift={1,-1}, axes={1,-1}})\n"
        "mw.roll(mw.randn{3,4}, {shift=2, axes={1,2}})\n"
        "mw.roll(mw.randn{5}, {shift={1,1}, axes={1,1}})\n"
        "mw.roll(mw.randn{0,3}, {shift={1}, axes={1}})\n"
        "mw.roll(mw.randn{0,3}, {shift={1}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = roll_schema,
    .attrs_size = sizeof(roll_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = roll_infer,
    .compose = roll_compose,
};

MW_PLUGIN(&flip_op, &roll_op)
