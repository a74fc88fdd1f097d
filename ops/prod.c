/* prod.c: the product over axes. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

#if defined MW_REAL_I32 || defined MW_REAL_I64 || defined MW_REAL_U8
typedef int64_t total;
typedef uint64_t factor; /* it wraps around and does not overflow */
#else
typedef real total;
typedef double factor;
#define FLOATS
#endif

enum {
  GRAIN = 16384, /* numbers that a chunk reads, about */
  STRIP = 256,   /* neighbouring results that are made side by side, where the last axis stays */
  LANES = 8      /* partial products of a row, so that one product need not wait for another */
};

typedef struct prod_attrs {
  mw_ints axes;
  bool keepdims;
} prod_attrs;

/* ---- walking: results, and the numbers of each -------------------------------------------- */

/* x's axes are the blocks of neighbouring results, and in each of these the rows of numbers that
 * are multiplied. Where the innermost axis goes, a block is one result and its rows are runs of
 * `row` numbers; where it stays, a block is up to STRIP results, and a row has one number of
 * each. */
typedef struct layout {
  mw_walk kept, gone;
  int64_t across; /* results side by side: the innermost axis where it stays, otherwise 1 */
  int64_t row;    /* numbers of a result side by side: the innermost axis where it goes */
  int64_t rows;   /* positions of `gone` */
  int64_t strips; /* blocks that `across` is cut into */
  int64_t blocks, grain;
} layout;

/* x is not empty. */
static layout layout_of(const mw_spec *x, const mw_ints *axes) {
  layout l = {.across = 1, .row = 1};
  bool gone[MW_MAX_RANK] = {false}, innermost = true, last_gone = false;
  int64_t step = 1;
  for (int64_t i = 0; i < axes->count; i++) gone[axes->at[i]] = true;
  for (int k = x->rank - 1; k >= 0; k--) {
    const int64_t size = x->shape[k];
    if (size == 1) continue;
    if (innermost || (gone[k] == last_gone && l.kept.rank + l.gone.rank == 0)) {
      *(gone[k] ? &l.row : &l.across) *= size;
      last_gone = gone[k];
    } else {
      mw_walk_add(gone[k] ? &l.gone : &l.kept, size, step);
    }
    innermost = false;
    step *= size;
  }
  l.rows = mw_walk_count(&l.gone);
  l.strips = mw_chunks(l.across, STRIP);
  l.blocks = mw_walk_count(&l.kept) * l.strips;
  const int64_t work = l.rows * l.row * (l.across < STRIP ? l.across : STRIP);
  l.grain = work < GRAIN ? GRAIN / work : 1;
  return l;
}

/* A block: where its numbers begin, its first result, how many results it has. */
static int64_t block_at(const layout *l, int64_t block, int64_t *result, int64_t *n) {
  const int64_t kept = block / l->strips, column = (block - kept * l->strips) * STRIP;
  *result = kept * l->across + column;
  *n = l->across - column < STRIP ? l->across - column : STRIP;
  return mw_walk_at(&l->kept, kept) + column;
}

typedef struct job {
  const mw_call *call;
  layout layout;
} job;

/* ---- forward ------------------------------------------------------------------------------ */

static factor multiply_row(int64_t n, const real *x) {
  factor lane[LANES], product = 1;
  int64_t i = 0;
  for (int j = 0; j < LANES; j++) lane[j] = 1;
  for (; i + LANES <= n; i += LANES)
    for (int j = 0; j < LANES; j++) lane[j] *= (factor)x[i + j];
  for (; i < n; i++) product *= (factor)x[i];
  for (int j = 0; j < LANES; j++) product *= lane[j];
  return product;
}

static void forward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const layout *l = &j->layout;
  const int64_t end = mw_chunk_end(l->blocks, l->grain, chunk);
  factor product[STRIP];
  (void)worker;
  for (int64_t block = chunk * l->grain; block < end; block++) {
    int64_t result, n;
    const real *x = (const real *)j->call->in[0].data + block_at(l, block, &result, &n);
    total *y = (total *)j->call->out[0].data + result;
    for (int64_t c = 0; c < n; c++) product[c] = 1;
    for (int64_t i = 0; i < l->rows; i++) {
      const real *part = x + mw_walk_at(&l->gone, i);
      if (l->across == 1) product[0] *= multiply_row(l->row, part);
      else
        for (int64_t c = 0; c < n; c++) product[c] *= (factor)part[c];
    }
    for (int64_t c = 0; c < n; c++) y[c] = (total)product[c];
  }
}

static mw_status forward(const mw_call *call) {
  const prod_attrs *attrs = call->attrs;
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (x->count == 0) { /* the product of nothing is 1 */
    for (int64_t i = 0; i < y->count; i++) ((total *)y->data)[i] = 1;
    return MW_OK;
  }
  job j = {.call = call, .layout = layout_of(&x->spec, &attrs->axes)};
  mw_parallel(call, mw_chunks(j.layout.blocks, j.layout.grain), forward_chunk, &j);
  return MW_OK;
}

/* ---- backward ----------------------------------------------------------------------------- */

/* The gradient of a factor is the product of the others: of those before it, which a first pass
 * writes down, and of those after it. No quotient, so that zeros do no harm. */

#ifdef FLOATS
static factor before_run(int64_t n, factor product, const real *x, real *dx) {
  for (int64_t k = 0; k < n; k++) {
    dx[k] = (real)product;
    product *= (factor)x[k];
  }
  return product;
}

static factor after_run(int64_t n, factor product, const real *x, real *dx) {
  for (int64_t k = n - 1; k >= 0; k--) {
    dx[k] = (real)(product * (factor)dx[k]);
    product *= (factor)x[k];
  }
  return product;
}

/* n results side by side, or one that is made of runs. */
static void before_rows(const layout *l, int64_t n, const real *x, real *dx) {
  factor product[STRIP];
  for (int64_t c = 0; c < n; c++) product[c] = 1;
  for (int64_t i = 0; i < l->rows; i++) {
    const int64_t at = mw_walk_at(&l->gone, i);
    if (l->across == 1) product[0] = before_run(l->row, product[0], x + at, dx + at);
    else
      for (int64_t c = 0; c < n; c++)
        product[c] = before_run(1, product[c], x + at + c, dx + at + c);
  }
}

static void after_rows(const layout *l, int64_t n, const real *x, const real *dy, real *dx) {
  factor product[STRIP];
  for (int64_t c = 0; c < n; c++) product[c] = (factor)dy[c];
  for (int64_t i = l->rows - 1; i >= 0; i--) {
    const int64_t at = mw_walk_at(&l->gone, i);
    if (l->across == 1) product[0] = after_run(l->row, product[0], x + at, dx + at);
    else
      for (int64_t c = 0; c < n; c++)
        product[c] = after_run(1, product[c], x + at + c, dx + at + c);
  }
}

static void backward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const layout *l = &j->layout;
  const int64_t end = mw_chunk_end(l->blocks, l->grain, chunk);
  (void)worker;
  for (int64_t block = chunk * l->grain; block < end; block++) {
    int64_t result, n;
    const int64_t at = block_at(l, block, &result, &n);
    const real *x = (const real *)j->call->in[0].data + at;
    real *dx = (real *)j->call->din[0].data + at;
    before_rows(l, n, x, dx);
    after_rows(l, n, x, (const real *)j->call->dout[0].data + result, dx);
  }
}

static mw_status backward(const mw_call *call) {
  const prod_attrs *attrs = call->attrs;
  if (call->in[0].count == 0) return MW_OK;
  job j = {.call = call, .layout = layout_of(&call->in[0].spec, &attrs->axes)};
  mw_parallel(call, mw_chunks(j.layout.blocks, j.layout.grain), backward_chunk, &j);
  return MW_OK;
}
#define BACKWARD backward
#else
#define BACKWARD NULL
#endif

/* ---- the gradient out of other ops: by a tree of products of halves ----------------------- */

enum { MOST_LEVELS = 80 }; /* halvings: sizes have 63 bits in all, and one is lost on each axis */

typedef struct level {
  int axis;
  int64_t half;
  mw_tensor *left, *right, *rest; /* rest: the last number where there is an odd number of them */
} level;

static mw_tensor *part(mw_build *g, mw_tensor *t, int axis, int64_t first, int64_t n) {
  if (!t) return NULL;
  const mw_spec *spec = g->host->tensor_spec(t);
  int64_t start[MW_MAX_RANK] = {0}, count[MW_MAX_RANK];
  for (int k = 0; k < spec->rank; k++) count[k] = spec->shape[k];
  start[axis] = first;
  count[axis] = n;
  const mw_setting settings[] = {mw_list("start", spec->rank, start),
                                 mw_list("count", spec->rank, count)};
  return mw_make(g, "slice", 1, &t, 2, settings);
}

static mw_tensor *join(mw_build *g, int axis, mw_tensor *a, mw_tensor *b, mw_tensor *c) {
  const mw_setting along = mw_int("axis", axis);
  return mw_make(g, "concat", c ? 3 : 2, (mw_tensor *[]){a, b, c}, 1, &along);
}

/* Halves t along its axes until each has size 1; t is NULL after a failure. */
static int halve(mw_build *g, mw_tensor **t, const mw_ints *axes, level *levels) {
  int n = 0;
  for (int64_t i = 0; i < axes->count; i++) {
    const int axis = (int)axes->at[i];
    for (int64_t size; *t && (size = g->host->tensor_spec(*t)->shape[axis]) > 1;) {
      level *l = &levels[n++];
      *l = (level){.axis = axis, .half = size / 2};
      l->left = part(g, *t, axis, 0, l->half);
      l->right = part(g, *t, axis, l->half, l->half);
      if (size % 2) l->rest = part(g, *t, axis, size - 1, 1);
      *t = mw_make2(g, "mul", l->left, l->right);
      if (l->rest) *t = join(g, axis, *t, l->rest, NULL);
    }
  }
  return n;
}

static mw_status gradient(mw_build *g) {
  const prod_attrs *attrs = g->attrs;
  mw_tensor *t = g->in[0], *d = g->dout[0];
  const mw_spec *x = g->host->tensor_spec(t);
  level levels[MOST_LEVELS];
  for (int k = 0; k < x->rank; k++)
    if (x->shape[k] == 0) return MW_OK; /* nothing to write: zeros */
  int n = halve(g, &t, &attrs->axes, levels);
  if (!t) return MW_FAILED;
  d = mw_make_like(g, "reshape", d, t);
  while (d && n-- > 0) {
    const level *l = &levels[n];
    mw_tensor *rest = l->rest ? part(g, d, l->axis, l->half, 1) : NULL;
    if (l->rest) d = part(g, d, l->axis, 0, l->half);
    d = join(g, l->axis, mw_make2(g, "mul", d, l->right), mw_make2(g, "mul", d, l->left), rest);
  }
  g->din[0] = d;
  return d ? MW_OK : MW_FAILED;
}

/* ---- the op ------------------------------------------------------------------------------- */

static mw_status infer(mw_infer *it) {
  prod_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  if (mw_expect_reduced_axes(it, &attrs->axes)) return MW_FAILED;
  mw_spec y = {.dtype = mw_is_float(x->dtype) ? x->dtype : MW_I64};
  for (int k = 0, next = 0; k < x->rank; k++) {
    const bool gone = next < attrs->axes.count && attrs->axes.at[next] == k;
    next += gone;
    if (!gone || attrs->keepdims) y.shape[y.rank++] = gone ? 1 : x->shape[k];
  }
  it->out[0] = y;
  return MW_OK;
}

static const mw_attr schema[] = {{.name = "axes",
                                  .type = MW_AXES,
                                  .offset = offsetof(prod_attrs, axes),
                                  .doc = "the axes that go; none named: all",
                                  .initial = ""},
                                 {.name = "keepdims",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(prod_attrs, keepdims),
                                  .doc = "whether they stay with size 1 instead",
                                  .initial = "false"},
                                 {0}};

static const mw_op prod_op = {
    .name = "prod",
    .version = 1,
    .doc =
        "The product over axes; 1 of nothing. Integers and bool are multiplied in i64, which wraps "
        "around. The gradient is the product of the other factors, also where some are 0.",
    .example = "mw.prod(mw.randn{2,3}, {axes={2}})",
    .cases =
        "mw.prod(mw.randn{3,1,5}, {axes={1,3}, keepdims=true})\n"
        "mw.prod(mw.randn{2,3,4}, {axes={2}})\n"
        "mw.prod(mw.randn{5,3}, {axes={1}})\n"
        "mw.prod(mw.randn{7})\n"
        "mw.prod(mw.mul(mw.randn{3,4}, mw.tensor{0, 1, 1, 0}), {axes={-1}})\n"
        "mw.prod(mw.tensor({{3, -2}, {5, 7}}, 'i32'), {axes={2}})\n"
        "mw.prod(mw.randn{0,3}, {axes={1}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(prod_attrs),
    .backward_needs = MW_NEEDS_IN(0),
    .infer = infer,
    .forward = forward,
    .backward = BACKWARD,
    .gradient = gradient,
};

MW_PLUGIN(&prod_op)
