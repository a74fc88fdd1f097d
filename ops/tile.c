/* tile.c: a tensor, or each entry along an axis, several times over. */
/* real: f32 */
#include "../graph/moonwalk.h"

/* x seen as [outer, inner] becomes [outer, times, inner], in which it is the same `times` times.
 * Both ops are this, with the axis that is repeated in inner or at the end of outer. */
static mw_tensor *repeat(mw_build *b, mw_tensor *x, int64_t outer, int64_t times, int64_t inner) {
  mw_tensor *one = mw_make_shaped(b, "reshape", x, 3, (int64_t[]){outer, 1, inner});
  return mw_make_shaped(b, "expand", one, 3, (int64_t[]){outer, times, inner});
}

static int64_t product(const mw_spec *x, int from, int end) {
  int64_t n = 1;
  for (int k = from; k < end; k++) n *= x->shape[k];
  return n;
}

/* The size along an axis times n, checked; a 0 hides nothing. */
static mw_status grow(const mw_infer *it, mw_spec *y, int64_t axis, int64_t n) {
  int64_t count = 1;
  bool small = !__builtin_mul_overflow(y->shape[axis], n, &y->shape[axis]);
  for (int k = 0; k < y->rank; k++)
    small = small && !__builtin_mul_overflow(count, y->shape[k] ? y->shape[k] : 1, &count);
  return small ? MW_OK : mw_fail(it, "the result's sizes are too large");
}

/* ---- tile --------------------------------------------------------------------------------- */

typedef struct tile_attrs {
  mw_ints repeats;
} tile_attrs;

/* x with 1s in front until it has an axis for each of repeats. */
static mw_spec padded(const mw_spec *x, const mw_ints *repeats) {
  mw_spec y = {.dtype = x->dtype, .rank = (int)repeats->count};
  if (y.rank < x->rank) y.rank = x->rank;
  for (int k = 0; k < y.rank; k++)
    y.shape[k] = k < y.rank - x->rank ? 1 : x->shape[k - (y.rank - x->rank)];
  return y;
}

static mw_status tile_infer(mw_infer *it) {
  const mw_ints *repeats = &((tile_attrs *)it->attrs)->repeats;
  if (repeats->count > MW_MAX_RANK)
    return mw_fail(it, "repeats has %lld entries, at most %d are possible",
                   (long long)repeats->count, MW_MAX_RANK);
  mw_spec y = padded(&it->in[0], repeats);
  for (int k = 0; k < repeats->count; k++) {
    if (repeats->at[k] < 0)
      return mw_fail(it, "entry %d of repeats is %lld, expected 0 or more", k + 1,
                     (long long)repeats->at[k]);
    if (grow(it, &y, y.rank - repeats->count + k, repeats->at[k])) return MW_FAILED;
  }
  return MW_OK;
}

/* From the last axis to the first, so that what is repeated is still small; what leaves nothing is
 * done before all others. */
static mw_status tile_compose(mw_build *b) {
  const mw_ints *repeats = &((const tile_attrs *)b->attrs)->repeats;
  mw_spec y = padded(b->host->tensor_spec(b->in[0]), repeats);
  mw_tensor *x = b->in[0];
  const int n = (int)repeats->count;
  for (int i = 1; i <= 2 * n; i++) {
    const int k = n - 1 - (i - 1) % n, axis = y.rank - n + k;
    const int64_t times = repeats->at[k];
    if (times == 1 || (times == 0) != (i <= n)) continue;
    x = repeat(b, x, product(&y, 0, axis), times, product(&y, axis, y.rank));
    y.shape[axis] *= times;
  }
  b->out[0] = mw_make_shaped(b, "reshape", x, y.rank, y.shape);
  return MW_OK;
}

static const mw_attr tile_schema[] = {
    {.name = "repeats",
     .type = MW_INTS,
     .offset = offsetof(tile_attrs, repeats),
     .doc = "how often x stands along each axis; a shorter list is for the last axes, a longer "
            "one gives x further axes in front"},
    {0}};

static const mw_op tile_op = {
    .name = "tile",
    .version = 1,
    .doc =
        "Puts x beside itself, repeats[k] times along axis k: y[i] = x[i mod n]. For "
        "repeats={2} [a, b, c] becomes [a, b, c, a, b, c].",
    .example = "mw.tile(mw.randn{2,3}, {repeats={2,1}})",
    .cases =
        "mw.tile(mw.randn{3,1,5}, {repeats={2}})\n"
        "mw.tile(mw.randn{7}, {repeats={2,3}})\n"
        "mw.tile(mw.randn{3,2}, {repeats={2,3}})\n"
        "mw.tile(mw.randn{}, {repeats={3}})\n"
        "mw.tile(mw.randn{2,3}, {repeats={0,2}})\n"
        "mw.tile(mw.randn{0,3}, {repeats={2,2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = tile_schema,
    .attrs_size = sizeof(tile_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = tile_infer,
    .compose = tile_compose,
};

/* ---- repeat_interleave -------------------------------------------------------------------- */

typedef struct interleave_attrs {
  int64_t repeats, axis;
} interleave_attrs;

static mw_status interleave_infer(mw_infer *it) {
  interleave_attrs *attrs = it->attrs;
  mw_spec y = it->in[0];
  if (mw_expect_axis(it, "axis", &attrs->axis, y.rank)) return MW_FAILED;
  return grow(it, &y, attrs->axis, attrs->repeats);
}

static mw_status interleave_compose(mw_build *b) {
  const interleave_attrs *attrs = b->attrs;
  mw_spec y = *b->host->tensor_spec(b->in[0]);
  const int after = (int)attrs->axis + 1;
  mw_tensor *x =
      repeat(b, b->in[0], product(&y, 0, after), attrs->repeats, product(&y, after, y.rank));
  y.shape[attrs->axis] *= attrs->repeats;
  b->out[0] = mw_make_shaped(b, "reshape", x, y.rank, y.shape);
  return MW_OK;
}

static const mw_attr interleave_schema[] = {{.name = "repeats",
                                             .type = MW_INT,
                                             .offset = offsetof(interleave_attrs, repeats),
                                             .doc = "how often each entry stands there",
                                             .least = 0,
                                             .most = 1e15},
                                            {.name = "axis",
                                             .type = MW_AXIS,
                                             .offset = offsetof(interleave_attrs, axis),
                                             .doc = "the axis whose entries are repeated",
                                             .initial = "0"},
                                            {0}};

static const mw_op interleave_op = {
    .name = "repeat_interleave",
    .version = 1,
    .doc =
        "Repeats each entry along an axis: y[i] = x[floor(i / repeats)]. For repeats=2 "
        "[a, b, c] becomes [a, a, b, b, c, c]. (Lua keeps the word `repeat` for itself.)",
    .example = "mw.repeat_interleave(mw.randn{2,3}, {repeats=2, axis=2})",
    .cases =
        "mw.repeat_interleave(mw.randn{3,1,5}, {repeats=3, axis=-2})\n"
        "mw.repeat_interleave(mw.randn{7}, {repeats=2})\n"
        "mw.repeat_interleave(mw.randn{2,3}, {repeats=1, axis=1})\n"
        "mw.repeat_interleave(mw.randn{2,3}, {repeats=0})\n"
        "mw.repeat_interleave(mw.randn{0,3}, {repeats=2, axis=2})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = interleave_schema,
    .attrs_size = sizeof(interleave_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = interleave_infer,
    .compose = interleave_compose,
};

MW_PLUGIN(&tile_op, &interleave_op)
