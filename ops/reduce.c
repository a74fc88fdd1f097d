/* reduce.c: ops that take a tensor's values together along axes: sum, mean, max, min. */
/* real: f32 f64 i32 i64 u8 */
#include <string.h>

#include "../graph/moonwalk.h"

#if defined MW_REAL_I32 || defined MW_REAL_I64 || defined MW_REAL_U8
typedef int64_t total;    /* what a sum is kept in */
typedef uint64_t partial; /* what a block is added up in: it wraps around and does not overflow */
typedef uint64_t sum_of_blocks;
#else
typedef real total;
typedef real partial;
typedef double sum_of_blocks;
#define FLOATS
#endif

enum {
  GRAIN = 16384, /* numbers that a chunk reads, about */
  STRIP = 256,   /* neighbouring results that it makes at least, where the innermost axis stays */
  LANES = 32,    /* partial results of a row, so that one addition need not wait for another */
  BLOCK = 1024,  /* numbers added up at a time, which keeps rounding errors small */
  GROUPS = 128   /* the same where they are added one by one */
};

/* Two ways through memory. Where the innermost axis goes, a result is made of rows; where it
 * stays, neighbouring results are made of rows that are folded in number by number. */
typedef struct fold {
  bool from_first; /* results begin as the first number of their group, otherwise as 0 */
  size_t out_size;
  void (*row)(int64_t n, const real *x, void *y);  /* y[0] takes in x[0 .. n-1] */
  void (*rows)(int64_t n, const real *x, void *y); /* y[i] takes in x[i] */
} fold;

typedef struct reduction {
  const mw_call *call;
  const fold *fold;
  mw_walk kept, gone; /* without the innermost axis, which one of them had: */
  int64_t inner;      /* its size */
  bool inner_gone;
  int64_t groups; /* positions of `gone` */
  int64_t grain;  /* results of a chunk */
  double divisor; /* of mean; otherwise 0 */
} reduction;

typedef struct reduce_attrs {
  mw_ints axes;
  bool keepdims;
} reduce_attrs;

typedef struct sum_to_attrs {
  mw_ints shape;
} sum_to_attrs;

/* ---- walking ------------------------------------------------------------------------------ */

/* x is not empty; bit k of `axes` says that axis k goes. */
static reduction reduction_of(const mw_call *call, const mw_spec *x, unsigned axes) {
  reduction r = {.call = call, .inner_gone = true};
  bool any = false;
  int64_t step = 1;
  for (int k = x->rank - 1; k >= 0; k--) {
    const bool gone = axes >> k & 1u;
    if (x->shape[k] == 1) continue;
    if (!any) r.inner_gone = gone;
    any = true;
    mw_walk_add(gone ? &r.gone : &r.kept, x->shape[k], step);
    step *= x->shape[k];
  }
  r.inner = mw_walk_inner(r.inner_gone ? &r.gone : &r.kept);
  r.groups = mw_walk_count(&r.gone);
  const int64_t work = r.inner_gone ? r.groups * r.inner : r.groups;
  r.grain = work < GRAIN ? GRAIN / work : 1;
  if (!r.inner_gone && r.grain < STRIP) r.grain = STRIP;
  return r;
}

/* ---- the loop ----------------------------------------------------------------------------- */

/* Takes positions first .. end-1 of `gone` into n results. */
static void fold_groups(const reduction *r, int64_t first, int64_t end, int64_t n, const real *x,
                        void *y) {
  for (int64_t i = first; i < end; i++) {
    const real *part = x + mw_walk_at(&r->gone, i);
    if (r->inner_gone) r->fold->row(r->inner, part, y);
    else r->fold->rows(n, part, y);
  }
}

/* Sums of many groups go block by block: a large float loses what is added to it. */
static void sum_groups(const reduction *r, int64_t n, const real *x, total *y) {
  total block[STRIP];
  sum_of_blocks sum[STRIP];
  for (int64_t i = 0; i < n; i++) sum[i] = 0;
  for (int64_t first = 0; first < r->groups; first += GROUPS) {
    memset(block, 0, (size_t)n * sizeof *block);
    fold_groups(r, first, r->groups - first < GROUPS ? r->groups : first + GROUPS, n, x, block);
    for (int64_t i = 0; i < n; i++) sum[i] += (sum_of_blocks)block[i];
  }
  for (int64_t i = 0; i < n; i++) y[i] = (total)sum[i];
}

/* n results, of which x is where the first's numbers begin. */
static void fold_results(const reduction *r, int64_t n, const real *x, char *y) {
  const fold *f = r->fold;
  if (!f->from_first && r->groups > GROUPS && n <= STRIP) {
    sum_groups(r, n, x, (total *)(void *)y);
  } else {
    if (f->from_first) memcpy(y, x, (size_t)n * sizeof(real));
    else memset(y, 0, (size_t)n * f->out_size);
    fold_groups(r, 0, r->groups, n, x, y);
  }
#ifdef FLOATS
  if (r->divisor != 0)
    for (int64_t i = 0; i < n; i++) ((real *)(void *)y)[i] /= (real)r->divisor;
#endif
}

static void reduce_chunk(void *arg, int64_t chunk, int worker) {
  const reduction *r = arg;
  const real *x = r->call->in[0].data;
  char *y = r->call->out[0].data;
  const int64_t end = mw_chunk_end(r->call->out[0].count, r->grain, chunk);
  (void)worker;
  for (int64_t at = chunk * r->grain; at < end;) {
    int64_t n = 1, offset;
    if (r->inner_gone) {
      offset = mw_walk_at(&r->kept, at);
    } else {
      const int64_t row = at / r->inner, column = at - row * r->inner;
      n = r->inner - column < end - at ? r->inner - column : end - at;
      offset = mw_walk_at(&r->kept, row) + column;
    }
    fold_results(r, n, x + offset, y + (size_t)at * r->fold->out_size);
    at += n;
  }
}

static mw_status reduce(const mw_call *call, const fold *f, unsigned axes, bool mean) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (y->count == 0) return MW_OK;
  if (x->count == 0) { /* sums of nothing are 0, means of nothing NaN */
    memset(y->data, 0, (size_t)y->count * f->out_size);
#ifdef FLOATS
    for (int64_t i = 0; mean && i < y->count; i++) ((real *)y->data)[i] = (real)__builtin_nan("");
#endif
    return MW_OK;
  }
  reduction r = reduction_of(call, &x->spec, axes);
  r.fold = f;
  r.divisor = mean ? (double)(x->count / y->count) : 0;
  mw_parallel(call, mw_chunks(y->count, r.grain), reduce_chunk, &r);
  return MW_OK;
}

/* ---- axes and shapes ---------------------------------------------------------------------- */

static void drop_axes(const mw_spec *x, unsigned axes, bool keepdims, mw_dtype dtype, mw_spec *y) {
  *y = (mw_spec){.dtype = dtype};
  for (int k = 0; k < x->rank; k++) {
    if (!(axes >> k & 1u)) y->shape[y->rank++] = x->shape[k];
    else if (keepdims) y->shape[y->rank++] = 1;
  }
}

static mw_status reduce_infer(mw_infer *it, mw_dtype dtype) {
  reduce_attrs *attrs = it->attrs;
  if (mw_expect_reduced_axes(it, &attrs->axes)) return MW_FAILED;
  drop_axes(&it->in[0], mw_axes_bits(&attrs->axes), attrs->keepdims, dtype, &it->out[0]);
  return MW_OK;
}

static mw_status sum_infer(mw_infer *it) {
  return reduce_infer(it, mw_is_float(it->in[0].dtype) ? it->in[0].dtype : MW_I64);
}

static mw_status reduce_axes(const mw_call *call, const fold *f, bool mean) {
  const reduce_attrs *attrs = call->attrs;
  return reduce(call, f, mw_axes_bits(&attrs->axes), mean);
}

/* dy with the axes that went back in their places, of size 1. */
static mw_tensor *with_axes(mw_build *g, mw_tensor *dy) {
  const reduce_attrs *attrs = g->attrs;
  mw_spec full;
  if (attrs->keepdims || attrs->axes.count == 0) return dy;
  drop_axes(g->host->tensor_spec(g->in[0]), mw_axes_bits(&attrs->axes), true, MW_NONE, &full);
  return mw_make_shaped(g, "reshape", dy, full.rank, full.shape);
}

static const mw_attr reduce_schema[] = {{.name = "axes",
                                         .type = MW_AXES,
                                         .offset = offsetof(reduce_attrs, axes),
                                         .doc = "the axes that go; none named: all",
                                         .initial = ""},
                                        {.name = "keepdims",
                                         .type = MW_BOOLEAN,
                                         .offset = offsetof(reduce_attrs, keepdims),
                                         .doc = "whether they stay with size 1 instead",
                                         .initial = "false"},
                                        {0}};

#define REDUCTION                                                              \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y"}}, .attrs = reduce_schema, \
  .attrs_size = sizeof(reduce_attrs)

#define REDUCTION_CASES(op)                          \
  "mw." #op                                          \
  "(mw.randn{3,1,5}, {axes={1,3}, keepdims=true})\n" \
  "mw." #op                                          \
  "(mw.randn{4,2,3}, {axes={-2}})\n"                 \
  "mw." #op                                          \
  "(mw.randn{5,3}, {axes={1}})\n"                    \
  "mw." #op "(mw.randn{7})\nmw." #op "(mw.randn{})"

/* ---- sums --------------------------------------------------------------------------------- */

static partial sum_block(int64_t n, const real *x) {
  partial lane[LANES] = {0}, sum = 0;
  int64_t i = 0;
  if (n >= LANES) {
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < LANES; j++) lane[j] += (partial)x[i + j];
    for (int half = LANES / 2; half > 0; half /= 2)
      for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    sum = lane[0];
  }
  for (; i < n; i++) sum += (partial)x[i];
  return sum;
}

static void sum_row(int64_t n, const real *x, void *y) {
  sum_of_blocks sum = (sum_of_blocks) * (total *)y;
  for (int64_t i = 0; i < n; i += BLOCK) sum += sum_block(n - i < BLOCK ? n - i : BLOCK, x + i);
  *(total *)y = (total)sum;
}

static void sum_rows(int64_t n, const real *x, void *y) {
  total *restrict sum = y;
  for (int64_t i = 0; i < n; i++) sum[i] = (total)((partial)sum[i] + (partial)x[i]);
}

static const fold sum_fold = {.out_size = sizeof(total), .row = sum_row, .rows = sum_rows};

static mw_status sum_forward(const mw_call *call) { return reduce_axes(call, &sum_fold, false); }

static mw_status sum_gradient(mw_build *g) {
  g->din[0] = mw_make_like(g, "expand", with_axes(g, g->dout[0]), g->in[0]);
  return MW_OK;
}

static const mw_op sum_op = {
    .name = "sum",
    .doc = "The sum over axes; 0 of nothing. Integers and bool are added up in i64.",
    .example = "mw.sum(mw.randn{2,3}, {axes={2}})",
    .cases = REDUCTION_CASES(sum) "\nmw.sum(mw.randn{0,3}, {axes={1}})\n"
             "mw.sum(mw.tensor({{3, -200}, {5, 7}}, 'i32'), {axes={2}})",
    .flags = MW_LINEAR,
    .infer = sum_infer,
    .forward = sum_forward,
    .gradient = sum_gradient,
    REDUCTION,
};

/* The axes that sum_to sums over: new ones in front, and those of size 1 in the result. */
static unsigned sum_to_axes(const mw_spec *x, const mw_spec *y) {
  unsigned bits = 0;
  for (int k = 0; k < x->rank; k++) {
    const int at = k - (x->rank - y->rank);
    if (at < 0 || y->shape[at] != x->shape[k]) bits |= 1u << k;
  }
  return bits;
}

static mw_status sum_to_infer(mw_infer *it) {
  const sum_to_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  const mw_dtype dtype = mw_is_float(x->dtype) ? x->dtype : MW_I64;
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  if (attrs->shape.count > MW_MAX_RANK)
    return mw_fail(it, "shape has %lld entries, the most is %d", (long long)attrs->shape.count,
                   MW_MAX_RANK);
  mw_spec y = {.dtype = dtype, .rank = (int)attrs->shape.count};
  for (int k = 0; k < y.rank; k++) y.shape[k] = attrs->shape.at[k];
  if (!mw_broadcasts_to(&y, x))
    return mw_fail(it, "x is %s, which cannot be summed to %s: each size must be x's or 1",
                   it->host->spec_text(x, a), it->host->spec_text(&y, b));
  it->out[0] = y;
  return MW_OK;
}

static mw_status sum_to_forward(const mw_call *call) {
  return reduce(call, &sum_fold, sum_to_axes(&call->in[0].spec, &call->out[0].spec), false);
}

static mw_status sum_to_gradient(mw_build *g) {
  g->din[0] = mw_make_like(g, "expand", g->dout[0], g->in[0]);
  return MW_OK;
}

static const mw_attr sum_to_schema[] = {{.name = "shape",
                                         .type = MW_INTS,
                                         .offset = offsetof(sum_to_attrs, shape),
                                         .doc = "the shape of the result"},
                                        {0}};

static const mw_op sum_to_op = {
    .name = "sum_to",
    .version = 1,
    .doc = "Sums x to a shape that broadcasts to x's: what expand's gradient is.",
    .example = "mw.sum_to(mw.randn{2,3}, {shape={2,1}})",
    .cases =
        "mw.sum_to(mw.randn{3,1,5}, {shape={5}})\n"
        "mw.sum_to(mw.randn{2,3,4}, {shape={1,3,1}})\n"
        "mw.sum_to(mw.randn{7}, {shape={}})\n"
        "mw.sum_to(mw.randn{0,3}, {shape={1,3}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = sum_to_schema,
    .attrs_size = sizeof(sum_to_attrs),
    .flags = MW_LINEAR,
    .infer = sum_to_infer,
    .forward = sum_to_forward,
    .gradient = sum_to_gradient,
};

#ifdef FLOATS

static mw_status mean_infer(mw_infer *it) { return reduce_infer(it, it->in[0].dtype); }

static mw_status mean_forward(const mw_call *call) { return reduce_axes(call, &sum_fold, true); }

static mw_status mean_gradient(mw_build *g) {
  const reduce_attrs *attrs = g->attrs;
  const mw_spec *x = g->host->tensor_spec(g->in[0]);
  double count = 1;
  for (int64_t i = 0; i < attrs->axes.count; i++) count *= (double)x->shape[attrs->axes.at[i]];
  /* Of nothing there is nothing to share, but 1 keeps 0 / 0 out of the derivative of this. */
  if (count == 0) count = 1;
  mw_tensor *share = mw_make2(g, "div", g->dout[0], mw_make_scalar(g, g->dout[0], count));
  g->din[0] = mw_make_like(g, "expand", with_axes(g, share), g->in[0]);
  return MW_OK;
}

static const mw_op mean_op = {
    .name = "mean",
    .doc = "The arithmetic mean over axes; NaN of nothing.",
    .example = "mw.mean(mw.randn{2,3,2}, {axes={1,3}, keepdims=true})",
    .cases = REDUCTION_CASES(mean) "\nmw.mean(mw.randn{0,3}, {axes={2}})",
    .flags = MW_LINEAR,
    .infer = mean_infer,
    .forward = mean_forward,
    .gradient = mean_gradient,
    REDUCTION,
};

#endif

/* ---- extrema ------------------------------------------------------------------------------ */

#ifdef FLOATS
static inline bool is_nan(real x) { return x != x; }
#else
static inline bool is_nan(real x) { return (void)x, false; }
#endif

/* Whichever of two comes out; NaN wins. */
static inline real larger(real best, real x) { return x > best || is_nan(x) ? x : best; }
static inline real smaller(real best, real x) { return x < best || is_nan(x) ? x : best; }

/* `pick` is known where these are inlined, and the loops are vectorised. */
static inline __attribute__((always_inline)) void pick_row(int64_t n, const real *x, real *y,
                                                           real (*pick)(real, real)) {
  real best = *y;
  int64_t i = 0;
  if (n >= LANES) {
    real lane[LANES];
    for (int j = 0; j < LANES; j++) lane[j] = best;
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < LANES; j++) lane[j] = pick(lane[j], x[i + j]);
    for (int j = 0; j < LANES; j++) best = pick(best, lane[j]);
  }
  for (; i < n; i++) best = pick(best, x[i]);
  *y = best;
}

static inline __attribute__((always_inline)) void pick_rows(int64_t n, const real *x,
                                                            real *restrict y,
                                                            real (*pick)(real, real)) {
  for (int64_t i = 0; i < n; i++) y[i] = pick(y[i], x[i]);
}

static mw_status extremum_infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  const reduce_attrs *attrs = it->attrs;
  if (reduce_infer(it, it->in[0].dtype)) return MW_FAILED;
  for (int64_t i = 0; i < attrs->axes.count; i++)
    if (it->in[0].shape[attrs->axes.at[i]] == 0)
      return mw_fail(it, "x is %s: an axis of size 0 has no extremum",
                     it->host->spec_text(&it->in[0], text));
  return MW_OK;
}

/* Sets the first extremum of the group that begins at x to `value`, in row-major order. */
static void mark_first(const reduction *r, const real *x, real *y, real value,
                       real (*pick)(real, real)) {
  const int64_t inner = r->inner_gone ? r->inner : 1;
  int64_t best = 0;
  for (int64_t i = 0; i < r->groups; i++) {
    const int64_t row = mw_walk_at(&r->gone, i);
    for (int64_t j = row; j < row + inner; j++)
      if (!is_nan(x[best]) && pick(x[best], x[j]) != x[best]) best = j;
  }
  y[best] = value;
}

/* y, of x's shape, is zeros but for each group's first extremum: values has an entry for each
 * group, or is NULL for ones. */
static mw_status mark(const mw_call *call, real *y, const real *values, real (*pick)(real, real)) {
  const reduce_attrs *attrs = call->attrs;
  const mw_array *x = &call->in[0];
  if (x->count == 0) return MW_OK;
  memset(y, 0, (size_t)x->count * sizeof(real));
  const reduction r = reduction_of(call, &x->spec, mw_axes_bits(&attrs->axes));
  const int64_t across = r.inner_gone ? 1 : r.inner, kept = mw_walk_count(&r.kept);
  for (int64_t i = 0; i < kept; i++) {
    const int64_t first = mw_walk_at(&r.kept, i);
    for (int64_t j = 0; j < across; j++)
      mark_first(&r, (const real *)x->data + first + j, y + first + j,
                 values ? values[i * across + j] : 1, pick);
  }
  return MW_OK;
}

/* dy where the mask, 1 at the first extremum of each group, lets it through; a choice and no
 * product, so that the others get 0 where dy is infinite. */
static mw_status extremum_gradient(mw_build *g, const char *mask) {
  const reduce_attrs *attrs = g->attrs;
  const mw_setting axes = mw_list("axes", (int)attrs->axes.count, attrs->axes.at);
  mw_tensor *zero = mw_make_scalar(g, g->in[0], 0);
  mw_tensor *first = mw_make2(g, "ne", mw_make(g, mask, 1, g->in, 1, &axes), zero);
  mw_tensor *sides[] = {first, with_axes(g, g->dout[0]), zero};
  g->din[0] = mw_make(g, "where", 3, sides, 0, NULL);
  return MW_OK;
}

#ifdef FLOATS
static mw_status mask_infer(mw_infer *it) {
  reduce_attrs *attrs = it->attrs;
  it->out[0] = it->in[0];
  return mw_expect_reduced_axes(it, &attrs->axes);
}

static mw_status mask_gradient(mw_build *g) { return g->din[0] = NULL, MW_OK; }

static const mw_attr mask_schema[] = {{.name = "axes",
                                       .type = MW_AXES,
                                       .offset = offsetof(reduce_attrs, axes),
                                       .doc = "the axes of a group; none named: all",
                                       .initial = ""},
                                      {0}};

#define DEFINE_MASK(op, pick, adjective)                                                     \
  static mw_status op##_mask_forward(const mw_call *call) {                                  \
    return mark(call, call->out[0].data, NULL, pick);                                        \
  }                                                                                          \
  static const mw_op op##_mask_op = {                                                        \
      .name = #op "_mask",                                                                   \
      .version = 1,                                                                          \
      .doc = "1 at the first of each group's " adjective                                     \
             " values, or at its first NaN, 0 elsewhere. Its gradient is 0.",                \
      .example = "mw." #op "_mask(mw.randn{2,3}, {axes={2}})",                               \
      .cases = "mw." #op "_mask(mw.randn{3,1,5}, {axes={1,3}})\nmw." #op                     \
               "_mask(mw.randn{7})\n"                                                        \
               "mw." #op "_mask(mw.randn{4,2}, {axes={1}})\nmw." #op "_mask(mw.randn{0,3})", \
      .inputs = {{"x"}},                                                                     \
      .outputs = {{"y"}},                                                                    \
      .attrs = mask_schema,                                                                  \
      .attrs_size = sizeof(reduce_attrs),                                                    \
      .infer = mask_infer,                                                                   \
      .forward = op##_mask_forward,                                                          \
      .gradient = mask_gradient,                                                             \
  };
#else
#define DEFINE_MASK(op, pick, adjective)
#endif

#define DEFINE_EXTREMUM(op, pick, adjective)                                                \
  static void op##_row(int64_t n, const real *x, void *y) { pick_row(n, x, y, pick); }      \
  static void op##_rows(int64_t n, const real *x, void *y) { pick_rows(n, x, y, pick); }    \
  static const fold op##_fold = {true, sizeof(real), op##_row, op##_rows};                  \
  static mw_status op##_forward(const mw_call *call) {                                      \
    return reduce_axes(call, &op##_fold, false);                                            \
  }                                                                                         \
  static mw_status op##_backward(const mw_call *call) {                                     \
    return mark(call, call->din[0].data, call->dout[0].data, pick);                         \
  }                                                                                         \
  static mw_status op##_gradient(mw_build *g) { return extremum_gradient(g, #op "_mask"); } \
  static const mw_op op##_op = {                                                            \
      .name = #op,                                                                          \
      .doc = "The " adjective " value over axes. NaN counts as " adjective                  \
             "; the first of equals gets the gradient. An axis of size 0 is an error.",     \
      .example = "mw." #op "(mw.randn{2,3}, {axes={2}})",                                   \
      .cases = REDUCTION_CASES(op) "\nmw." #op "(mw.randn{0,3}, {axes={2}})",               \
      .infer = extremum_infer,                                                              \
      .backward_needs = MW_NEEDS_IN(0),                                                     \
      .forward = op##_forward,                                                              \
      .backward = op##_backward,                                                            \
      .gradient = op##_gradient,                                                            \
      REDUCTION,                                                                            \
  };                                                                                        \
  DEFINE_MASK(op, pick, adjective)

DEFINE_EXTREMUM(max, larger, "largest")
DEFINE_EXTREMUM(min, smaller, "smallest")

#ifdef FLOATS
MW_PLUGIN(&sum_op, &sum_to_op, &mean_op, &max_op, &min_op, &max_mask_op, &min_mask_op)
#else
MW_PLUGIN(&sum_op, &sum_to_op, &max_op, &min_op)
#endif
