/* gather.c: elements and whole entries picked by tensors of indices, and the reverse of that. */
/* real: f32 f64 i32 i64 u8 */
#include <stdio.h>
#include <string.h>

#include "../graph/moonwalk.h"

#if defined MW_REAL_I32
typedef uint32_t wrap; /* integer arithmetic wraps around instead of overflowing */
#elif defined MW_REAL_I64
typedef uint64_t wrap;
#else
typedef real wrap;
#endif

enum {
  GRAIN = 16384, /* elements of a chunk, about */
  COLUMNS = 16,  /* the least that a chunk takes where it cuts rows, a cache line of f32 */
  PARTS = 32     /* of a table's rows, into which a sum over indices is cut */
};

/* All of these: embedding has no attributes, its axis is the first. */
typedef struct gather_attrs {
  int64_t axis;
} gather_attrs;

static int64_t axis_of(const mw_call *call) {
  const gather_attrs *attrs = call->attrs;
  return attrs ? attrs->axis : 0;
}

/* ---- indices ------------------------------------------------------------------------------ */

static mw_status expect_index(const mw_infer *it) {
  const mw_spec *index = &it->in[1];
  char text[MW_SPEC_TEXT];
  if (index->dtype == MW_I64 || index->dtype == MW_I32) return MW_OK;
  return mw_fail(it, "%s is %s, expected i64 or i32; use :cast \"i64\"", it->op->inputs[1].name,
                 it->host->spec_text(index, text));
}

static inline int64_t index_at(const mw_array *index, int64_t i) {
  return index->spec.dtype == MW_I64 ? ((const int64_t *)index->data)[i]
                                     : ((const int32_t *)index->data)[i];
}

/* Says which index is the first that is not within 0 .. n-1. */
static mw_status fail_index(const mw_call *call, int64_t i, int64_t n) {
  const mw_array *index = &call->in[1];
  char place[MW_SPEC_TEXT] = "";
  int64_t at[MW_MAX_RANK] = {0}, rest = i;
  size_t used = 0;
  for (int k = index->spec.rank - 1; k >= 0; k--) {
    at[k] = rest % index->spec.shape[k];
    rest /= index->spec.shape[k];
  }
  for (int k = 0; k < index->spec.rank && used < sizeof place; k++)
    used += (size_t)snprintf(place + used, sizeof place - used, "%s%lld", k ? "," : "[",
                             (long long)at[k]);
  if (used > 0 && used < sizeof place) snprintf(place + used, sizeof place - used, "]");
  if (n == 0)
    return mw_fail(call, "%s%s is %lld, but %s has no entries along the axis",
                   call->op->inputs[1].name, place, (long long)index_at(index, i),
                   call->op->inputs[0].name);
  return mw_fail(call,
                 "%s%s is %lld, but %s has %lld entries along the axis, so that indices are 0 "
                 "to %lld (indices and positions count from 0)",
                 call->op->inputs[1].name, place, (long long)index_at(index, i),
                 call->op->inputs[0].name, (long long)n, (long long)n - 1);
}

static mw_status check_index(const mw_call *call, int64_t n) {
  const mw_array *index = &call->in[1];
  for (int64_t i = 0; i < index->count; i++)
    if ((uint64_t)index_at(index, i) >= (uint64_t)n) return fail_index(call, i, n);
  return MW_OK;
}

/* ---- gather and scatter_add: an index for each element ------------------------------------ */

/* `whole` is x, or what has its shape; `part` has the index's shape. */
typedef struct job {
  const mw_array *index;
  const real *from;
  real *to;
  int axis, rank;
  int64_t stride[MW_MAX_RANK]; /* of whole */
  int64_t count, rows, columns, grain;
} job;

static job job_of(const mw_call *call, const mw_spec *whole) {
  const mw_spec *index = &call->in[1].spec;
  job j = {.index = &call->in[1],
           .axis = (int)axis_of(call),
           .rank = whole->rank,
           .columns = index->shape[index->rank - 1],
           .count = 1};
  for (int k = whole->rank - 1; k >= 0; k--) {
    j.stride[k] = j.count;
    j.count *= whole->shape[k];
  }
  j.rows = j.columns > 0 ? call->in[1].count / j.columns : 0;
  return j;
}

/* Where in `whole` what row `row` of the index names begins, and the step from one column and from
 * one index to the next. */
static int64_t base_of(const job *j, int64_t row, int64_t *by_column, int64_t *by_index) {
  int64_t base = 0;
  for (int k = j->rank - 2; k >= 0; k--) {
    const int64_t size = j->index->spec.shape[k];
    if (k != j->axis) base += row % size * j->stride[k];
    row /= size;
  }
  *by_column = j->axis == j->rank - 1 ? 0 : 1;
  *by_index = j->stride[j->axis];
  return base;
}

static void gather_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const int64_t end = mw_chunk_end(j->rows, j->grain, chunk), n = j->columns;
  (void)worker;
  for (int64_t row = chunk * j->grain; row < end; row++) {
    int64_t by_column, by_index;
    const real *x = j->from + base_of(j, row, &by_column, &by_index);
    for (int64_t c = 0; c < n; c++)
      j->to[row * n + c] = x[c * by_column + index_at(j->index, row * n + c) * by_index];
  }
}

/* Elements with one index after another are added in that order. */
static void scatter_rows(const job *j, int64_t row, int64_t row_end, int64_t first, int64_t end) {
  for (; row < row_end; row++) {
    int64_t by_column, by_index;
    real *y = j->to + base_of(j, row, &by_column, &by_index);
    for (int64_t c = first; c < end; c++) {
      const int64_t i = row * j->columns + c;
      real *at = &y[c * by_column + index_at(j->index, i) * by_index];
      *at = (real)((wrap)*at + (wrap)j->from[i]);
    }
  }
}

/* Cut where two chunks cannot meet in an element: along the first axis, or along the last where
 * the first one is indexed. */
static void scatter_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  (void)worker;
  if (j->axis == 0) {
    scatter_rows(j, 0, j->rows, chunk * j->grain, mw_chunk_end(j->columns, j->grain, chunk));
  } else {
    const int64_t outer = j->index->spec.shape[0], rows = j->rows / outer;
    scatter_rows(j, chunk * j->grain * rows, mw_chunk_end(outer, j->grain, chunk) * rows, 0,
                 j->columns);
  }
}

static void scatter(const mw_call *call, job *j) {
  if (j->index->count == 0) return;
  const int64_t size = j->axis == 0 ? j->columns : j->index->spec.shape[0];
  const int64_t least = j->axis == 0 ? COLUMNS : 1, each = j->index->count / size;
  j->grain = j->rank == 1 ? size : GRAIN / each > least ? GRAIN / each : least;
  mw_parallel(call, mw_chunks(size, j->grain), scatter_chunk, j);
}

/* What the sums begin with: a copy, or zeros where there is nothing to copy. */
static void begin_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const int64_t first = chunk * GRAIN, n = mw_chunk_end(j->count, GRAIN, chunk) - first;
  (void)worker;
  if (j->from) memcpy(j->to + first, j->from + first, (size_t)n * sizeof(real));
  else memset(j->to + first, 0, (size_t)n * sizeof(real));
}

static mw_status gather_forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (y->count == 0) return MW_OK;
  if (check_index(call, x->spec.shape[axis_of(call)])) return MW_FAILED;
  job j = job_of(call, &x->spec);
  j.from = x->data;
  j.to = y->data;
  j.grain = j.columns < GRAIN ? GRAIN / j.columns : 1;
  mw_parallel(call, mw_chunks(j.rows, j.grain), gather_chunk, &j);
  return MW_OK;
}

static mw_status gather_backward(const mw_call *call) {
  const mw_array *dx = &call->din[0];
  if (dx->count == 0) return MW_OK;
  if (check_index(call, dx->spec.shape[axis_of(call)])) return MW_FAILED;
  job j = job_of(call, &dx->spec);
  j.to = dx->data;
  mw_parallel(call, mw_chunks(dx->count, GRAIN), begin_chunk, &j);
  j.from = call->dout[0].data;
  scatter(call, &j);
  return MW_OK;
}

static mw_status scatter_add_forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (check_index(call, x->spec.shape[axis_of(call)])) return MW_FAILED;
  if (y->count == 0) return MW_OK;
  job j = job_of(call, &x->spec);
  j.from = x->data;
  j.to = y->data;
  mw_parallel(call, mw_chunks(y->count, GRAIN), begin_chunk, &j);
  j.from = call->in[2].data;
  scatter(call, &j);
  return MW_OK;
}

static mw_status expect_beside(const mw_infer *it) {
  const mw_spec *x = &it->in[0], *index = &it->in[1];
  gather_attrs *attrs = it->attrs;
  char text_x[MW_SPEC_TEXT], text[MW_SPEC_TEXT];
  it->host->spec_text(x, text_x);
  it->host->spec_text(index, text);
  if (expect_index(it)) return MW_FAILED;
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  if (index->rank != x->rank)
    return mw_fail(it, "index is %s, expected as many axes as x, which is %s%s", text, text_x,
                   index->rank == 1 ? "; index_select takes whole entries" : "");
  for (int k = 0; k < x->rank; k++)
    if (k != attrs->axis && index->shape[k] > x->shape[k])
      return mw_fail(it,
                     "index is %s and x is %s: but along the axis, no size of the index may be "
                     "above x's",
                     text, text_x);
  return MW_OK;
}

static mw_status gather_infer(mw_infer *it) {
  if (expect_beside(it)) return MW_FAILED;
  it->out[0] = it->in[1];
  it->out[0].dtype = it->in[0].dtype;
  return MW_OK;
}

static mw_status scatter_add_infer(mw_infer *it) {
  const mw_spec *index = &it->in[1], *source = &it->in[2];
  char text[MW_SPEC_TEXT], text_index[MW_SPEC_TEXT];
  if (it->in[0].dtype == MW_BOOL)
    return mw_fail(it, "x is %s, expected numbers; use :cast",
                   it->host->spec_text(&it->in[0], text));
  if (mw_expect_same_dtype(it, 2, 0) || expect_beside(it)) return MW_FAILED;
  if (!mw_same_shape(source, index))
    return mw_fail(it, "source is %s, expected the shape of the index, which is %s",
                   it->host->spec_text(source, text), it->host->spec_text(index, text_index));
  it->out[0] = it->in[0];
  return MW_OK;
}

static mw_status scatter_add_gradient(mw_build *g) {
  const gather_attrs *attrs = g->attrs;
  const mw_setting axis = mw_int("axis", attrs->axis);
  mw_tensor *picked[] = {g->dout[0], g->in[1]};
  if (g->wanted[0]) g->din[0] = g->dout[0];
  if (g->wanted[2]) g->din[2] = mw_make(g, "gather", 2, picked, 1, &axis);
  return MW_OK;
}

/* ---- index_select and embedding: whole entries -------------------------------------------- */

/* x is [outer, n, inner], y is [outer, m, inner] */
typedef struct rows {
  const mw_call *call;
  const mw_array *index;
  int64_t n, m, outer, inner, grain;
} rows;

static rows rows_of(const mw_call *call, const mw_spec *x) {
  const int64_t axis = axis_of(call);
  rows r = {.call = call,
            .index = &call->in[1],
            .n = x->shape[axis],
            .m = call->in[1].count,
            .outer = 1,
            .inner = 1};
  for (int k = 0; k < axis; k++) r.outer *= x->shape[k];
  for (int k = (int)axis + 1; k < x->rank; k++) r.inner *= x->shape[k];
  return r;
}

static void select_chunk(void *arg, int64_t chunk, int worker) {
  const rows *r = arg;
  const real *x = r->call->in[0].data;
  real *y = r->call->out[0].data;
  const int64_t end = mw_chunk_end(r->outer * r->m, r->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * r->grain; i < end; i++) {
    const int64_t o = i / r->m, from = o * r->n + index_at(r->index, i - o * r->m);
    if (r->inner == 1) y[i] = x[from];
    else memcpy(y + i * r->inner, x + from * r->inner, (size_t)r->inner * sizeof(real));
  }
}

static mw_status select_forward(const mw_call *call) {
  rows r = rows_of(call, &call->in[0].spec);
  if (check_index(call, r.n)) return MW_FAILED;
  if (call->out[0].count == 0) return MW_OK;
  r.grain = r.inner < GRAIN ? GRAIN / r.inner : 1;
  mw_parallel(call, mw_chunks(r.outer * r.m, r.grain), select_chunk, &r);
  return MW_OK;
}

/* Rows first .. end-1 of dx in one of the outer parts: each sums its own in the order of the
 * index. */
static void select_back_chunk(void *arg, int64_t chunk, int worker) {
  const rows *r = arg;
  const int64_t parts = mw_chunks(r->n, r->grain), o = chunk / parts, part = chunk % parts;
  const int64_t first = part * r->grain, end = mw_chunk_end(r->n, r->grain, part);
  const real *dy = (const real *)r->call->dout[0].data + o * r->m * r->inner;
  real *dx = (real *)r->call->din[0].data + o * r->n * r->inner;
  (void)worker;
  memset(dx + first * r->inner, 0, (size_t)((end - first) * r->inner) * sizeof(real));
  for (int64_t i = 0; i < r->m; i++) {
    const int64_t row = index_at(r->index, i);
    if (row < first || row >= end) continue;
    real *restrict to = dx + row * r->inner;
    for (int64_t c = 0; c < r->inner; c++) to[c] = (real)((wrap)to[c] + (wrap)dy[i * r->inner + c]);
  }
}

static mw_status select_backward(const mw_call *call) {
  rows r = rows_of(call, &call->din[0].spec);
  if (check_index(call, r.n)) return MW_FAILED;
  if (call->din[0].count == 0) return MW_OK;
  const int64_t least = r.inner < GRAIN ? GRAIN / r.inner : 1;
  r.grain = mw_chunks(r.n, PARTS) > least ? mw_chunks(r.n, PARTS) : least;
  mw_parallel(call, r.outer * mw_chunks(r.n, r.grain), select_back_chunk, &r);
  return MW_OK;
}

static mw_status index_select_infer(mw_infer *it) {
  const mw_spec *x = &it->in[0], *index = &it->in[1];
  gather_attrs *attrs = it->attrs;
  char text[MW_SPEC_TEXT];
  if (expect_index(it)) return MW_FAILED;
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  if (index->rank != 1)
    return mw_fail(it, "index is %s, expected one axis; gather takes an index for each element",
                   it->host->spec_text(index, text));
  it->out[0] = *x;
  it->out[0].shape[attrs->axis] = index->shape[0];
  return MW_OK;
}

static mw_status embedding_infer(mw_infer *it) {
  const mw_spec *indices = &it->in[1];
  char text[MW_SPEC_TEXT];
  if (mw_expect_rank(it, 0, 2) || expect_index(it)) return MW_FAILED;
  if (indices->rank == MW_MAX_RANK)
    return mw_fail(it, "indices is %s, which leaves no room for an axis",
                   it->host->spec_text(indices, text));
  it->out[0] = *indices;
  it->out[0].dtype = it->in[0].dtype;
  it->out[0].shape[it->out[0].rank++] = it->in[0].shape[1];
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

static const mw_attr gather_schema[] = {{.name = "axis",
                                         .type = MW_AXIS,
                                         .offset = offsetof(gather_attrs, axis),
                                         .doc = "the axis along which indices count",
                                         .initial = "0"},
                                        {0}};

#define INDEX_DOC "i64 or i32, from 0; one out of range is an error, a negative one too"

static const mw_op gather_op = {
    .name = "gather",
    .version = 1,
    .doc =
        "Picks elements along an axis, an index for each element of the result: for axis 1 of a "
        "matrix y[i, j] = x[index[i, j], j]. y has the index's shape, which along the other axes "
        "may be smaller than x's. The gradients of an element that is picked often are added in "
        "the order of the index.",
    .example = "mw.gather(mw.randn{3,2}, mw.tensor({{2,0},{1,1}}, 'i64'), {axis=1})",
    .cases =
        "mw.gather(mw.randn{3,4}, mw.tensor({{3,3,0},{1,3,2}}, 'i32'), {axis=-1})\n"
        "mw.gather(mw.randn{2,3,2}, mw.tensor({{{2,0},{1,1},{0,0},{2,1}}}, 'i64'), {axis=2})\n"
        "mw.gather(mw.randn{2,3,5}, mw.tensor({{{1,0},{0,0}},{{1,1},{0,1}}}, 'i64'))\n"
        "mw.gather(mw.randn{7}, mw.tensor({6,6,0,6}, 'i64'))\n"
        "mw.gather(mw.randn{3,1}, mw.tensor({{2}}, 'i64'))\n"
        "mw.gather(mw.randn{3,2}, mw.zeros({0,2}, 'i64'))",
    .inputs = {{"x"}, {"index", .doc = INDEX_DOC}},
    .outputs = {{"y"}},
    .attrs = gather_schema,
    .attrs_size = sizeof(gather_attrs),
    .flags = MW_LINEAR,
    .backward_needs = MW_NEEDS_IN(1),
    .infer = gather_infer,
    .forward = gather_forward,
    .backward = gather_backward,
};

static const mw_op scatter_add_op = {
    .name = "scatter_add",
    .version = 1,
    .doc =
        "x with the elements of source added where the index says: for axis 1 of a matrix "
        "y[index[i, j], j] += source[i, j]. The reverse of gather. Elements that meet are added "
        "in the order of the index, whatever the number of threads.",
    .example =
        "mw.scatter_add(mw.randn{3,2}, mw.tensor({{2,0},{1,0}}, 'i64'), mw.randn{2,2}, {axis=1})",
    .cases =
        "mw.scatter_add(mw.randn{3,4}, mw.tensor({{3,3,0},{1,3,2}}, 'i32'), mw.randn{2,3}, "
        "{axis=-1})\n"
        "mw.scatter_add(mw.randn{2,3,2}, mw.tensor({{{2,0},{1,1},{0,0},{2,1}}}, 'i64'), "
        "mw.randn{1,4,2}, {axis=2})\n"
        "mw.scatter_add(mw.randn{7}, mw.tensor({6,6,0,6}, 'i64'), mw.randn{4})\n"
        "mw.scatter_add(mw.randn{3,1}, mw.tensor({{2}}, 'i64'), mw.randn{1,1})\n"
        "mw.scatter_add(mw.randn{3,2}, mw.zeros({0,2}, 'i64'), mw.randn{0,2})\n"
        "mw.scatter_add(mw.randn{0,2}, mw.zeros({0,2}, 'i64'), mw.randn{0,2})",
    .inputs = {{"x"}, {"index", .doc = INDEX_DOC}, {"source", .doc = "of the index's shape"}},
    .outputs = {{"y"}},
    .attrs = gather_schema,
    .attrs_size = sizeof(gather_attrs),
    .flags = MW_LINEAR,
    .infer = scatter_add_infer,
    .forward = scatter_add_forward,
    .gradient = scatter_add_gradient,
};

static const mw_op index_select_op = {
    .name = "index_select",
    .version = 1,
    .doc =
        "Takes the entries along an axis that the index names, in its order: for axis 1 "
        "y[i, ..] = x[index[i], ..].",
    .example = "mw.index_select(mw.randn{3,2}, mw.tensor({2,0,2}, 'i64'))",
    .cases =
        "mw.index_select(mw.randn{3,1,5}, mw.tensor({4,4,0}, 'i32'), {axis=3})\n"
        "mw.index_select(mw.randn{2,3,4}, mw.tensor({1,0,1,1}, 'i64'), {axis=2})\n"
        "mw.index_select(mw.randn{7}, mw.tensor({5}, 'i64'), {axis=-1})\n"
        "mw.index_select(mw.randn{3,2}, mw.zeros({0}, 'i64'))\n"
        "mw.index_select(mw.randn{2,0}, mw.tensor({1,1,0}, 'i64'))",
    .inputs = {{"x"}, {"index", .doc = "one axis; " INDEX_DOC}},
    .outputs = {{"y"}},
    .attrs = gather_schema,
    .attrs_size = sizeof(gather_attrs),
    .flags = MW_LINEAR,
    .backward_needs = MW_NEEDS_IN(1),
    .infer = index_select_infer,
    .forward = select_forward,
    .backward = select_backward,
};

static const mw_op embedding_op = {
    .name = "embedding",
    .version = 1,
    .doc =
        "The rows of a table: y[.., :] = weight[indices[..], :], with weight [entries, d], indices "
        "of any shape [..] and y [.., d]. The gradients of a row that is taken often are added in "
        "the order of the indices.",
    .example = "mw.embedding(mw.randn{4,3}, mw.tensor({{2,0},{2,3}}, 'i64'))",
    .cases =
        "mw.embedding(mw.randn{7,5}, mw.tensor({6,6,1}, 'i32'))\n"
        "mw.embedding(mw.randn{1,3}, mw.tensor({{0},{0}}, 'i64'))\n"
        "mw.embedding(mw.randn{3,1}, mw.tensor(2, 'i64'))\n"
        "mw.embedding(mw.randn{3,2}, mw.zeros({2,0}, 'i64'))",
    .inputs = {{"weight", .doc = "[entries, d]"}, {"indices", .doc = INDEX_DOC}},
    .outputs = {{"y"}},
    .flags = MW_LINEAR,
    .backward_needs = MW_NEEDS_IN(1),
    .infer = embedding_infer,
    .forward = select_forward,
    .backward = select_backward,
};

MW_PLUGIN(&gather_op, &scatter_add_op, &index_select_op, &embedding_op)
