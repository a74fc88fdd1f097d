/* sort.c: the order of the elements along an axis, and what is made of it. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

enum {
  GRAIN = 4096, /* elements of a chunk, about */
  RUN = 16      /* elements that are sorted by insertion before runs are merged */
};

typedef struct sort_attrs {
  int64_t axis, k; /* k: of topk only */
  bool descending;
} sort_attrs;

/* ---- argsort: the one kernel -------------------------------------------------------------- */

/* x is [outer, n, inner] and so is y; a line is n elements, inner apart. */
typedef struct job {
  const mw_call *call;
  int64_t n, inner, lines, grain;
  bool descending;
} job;

static mw_status check_axis(mw_infer *it) {
  sort_attrs *attrs = it->attrs;
  return mw_expect_axis(it, "axis", &attrs->axis, it->in[0].rank);
}

static mw_status argsort_infer(mw_infer *it) {
  if (check_axis(it)) return MW_FAILED;
  it->out[0] = it->in[0];
  it->out[0].dtype = MW_I64;
  return MW_OK;
}

/* Whether a comes before b and they may not stay as they are: equals never do. */
static inline bool before(real a, real b, bool descending) {
#if !defined MW_REAL_I32 && !defined MW_REAL_I64 && !defined MW_REAL_U8
  if (b != b) return a == a; /* NaN comes last in either order */
#endif
  return descending ? a > b : a < b;
}

/* Sorts indices first .. end by insertion. */
static void sort_run(const real *x, int64_t *order, int64_t first, int64_t end, bool descending) {
  for (int64_t i = first + 1; i < end; i++) {
    const int64_t moved = order[i];
    int64_t to = i;
    for (; to > first && before(x[moved], x[order[to - 1]], descending); to--)
      order[to] = order[to - 1];
    order[to] = moved;
  }
}

/* from[first .. middle) and from[middle .. end) are sorted; of equals the left one's come first. */
static void merge(const real *x, const int64_t *from, int64_t *to, int64_t first, int64_t middle,
                  int64_t end, bool descending) {
  int64_t left = first, right = middle;
  for (int64_t i = first; i < end; i++) {
    const bool take_right =
        right < end && (left == middle || before(x[from[right]], x[from[left]], descending));
    to[i] = take_right ? from[right++] : from[left++];
  }
}

/* The stable order of x[0 .. n), in `a` or in `b`, which are n long; the one that it is in. */
static const int64_t *sort_line(const real *x, int64_t n, int64_t *a, int64_t *b, bool descending) {
  for (int64_t i = 0; i < n; i++) a[i] = i;
  for (int64_t i = 0; i < n; i += RUN) sort_run(x, a, i, i + RUN < n ? i + RUN : n, descending);
  for (int64_t width = RUN; width < n; width *= 2) {
    for (int64_t i = 0; i < n; i += 2 * width) {
      const int64_t middle = i + width < n ? i + width : n;
      merge(x, a, b, i, middle, i + 2 * width < n ? i + 2 * width : n, descending);
    }
    int64_t *sorted = b;
    b = a;
    a = sorted;
  }
  return a;
}

static void argsort_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const int64_t end = mw_chunk_end(j->lines, j->grain, chunk), n = j->n;
  int64_t *a = mw_worker_scratch(j->call, worker), *b = a + n;
  void *after = b + n;
  real *line = after;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t at = i / j->inner * n * j->inner + i % j->inner;
    const real *x = (const real *)j->call->in[0].data + at;
    int64_t *y = (int64_t *)j->call->out[0].data + at;
    for (int64_t k = 0; k < n; k++) line[k] = x[k * j->inner];
    const int64_t *order = sort_line(line, n, a, b, j->descending);
    for (int64_t k = 0; k < n; k++) y[k * j->inner] = order[k];
  }
}

static void argsort_workspace(const mw_call *call, mw_workspace *need) {
  const sort_attrs *attrs = call->attrs;
  const int64_t n = call->in[0].spec.shape[attrs->axis];
  need->worker = (size_t)n * (2 * sizeof(int64_t) + sizeof(real));
}

static mw_status argsort_forward(const mw_call *call) {
  const sort_attrs *attrs = call->attrs;
  const mw_array *x = &call->in[0];
  job j = {
      .call = call, .n = x->spec.shape[attrs->axis], .inner = 1, .descending = attrs->descending};
  if (x->count == 0) return MW_OK;
  for (int k = (int)attrs->axis + 1; k < x->spec.rank; k++) j.inner *= x->spec.shape[k];
  j.lines = x->count / j.n;
  j.grain = j.n < GRAIN ? GRAIN / j.n : 1;
  mw_parallel(call, mw_chunks(j.lines, j.grain), argsort_chunk, &j);
  return MW_OK;
}

/* ---- compositions: gather has the derivative ---------------------------------------------- */

static mw_tensor *order_of(mw_build *b, bool descending) {
  const sort_attrs *attrs = b->attrs;
  return mw_make(b, "argsort", 1, b->in, 2,
                 (mw_setting[]){mw_int("axis", attrs->axis), mw_bool("descending", descending)});
}

static void give(mw_build *b, mw_tensor *indices) {
  const sort_attrs *attrs = b->attrs;
  const mw_setting axis = mw_int("axis", attrs->axis);
  b->out[0] = mw_make(b, "gather", 2, (mw_tensor *[]){b->in[0], indices}, 1, &axis);
  b->out[1] = indices;
}

static mw_status sort_compose(mw_build *b) {
  give(b, order_of(b, ((const sort_attrs *)b->attrs)->descending));
  return MW_OK;
}

static mw_status topk_infer(mw_infer *it) {
  const sort_attrs *attrs = it->attrs;
  char text[MW_SPEC_TEXT];
  if (check_axis(it)) return MW_FAILED;
  if (attrs->k <= it->in[0].shape[attrs->axis]) return MW_OK;
  return mw_fail(it, "k is %lld, but the axis of x, which is %s, has %lld entries",
                 (long long)attrs->k, it->host->spec_text(&it->in[0], text),
                 (long long)it->in[0].shape[attrs->axis]);
}

static mw_status topk_compose(mw_build *b) {
  const sort_attrs *attrs = b->attrs;
  mw_spec y = *b->host->tensor_spec(b->in[0]);
  const int64_t start[MW_MAX_RANK] = {0};
  y.shape[attrs->axis] = attrs->k;
  mw_tensor *order = order_of(b, attrs->descending);
  give(b,
       mw_make(b, "slice", 1, &order, 2,
               (mw_setting[]){mw_list("start", y.rank, start), mw_list("count", y.rank, y.shape)}));
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define AXIS MW_ATTR(sort_attrs, axis, MW_AXIS, "-1", "the axis along which elements are compared")

static const mw_attr sort_schema[] = {AXIS,
                                      {.name = "descending",
                                       .type = MW_BOOLEAN,
                                       .offset = offsetof(sort_attrs, descending),
                                       .doc = "whether the largest comes first",
                                       .initial = "false"},
                                      {0}};

#define ORDER                                                                                   \
  "Equal elements stay in their order (the sort is stable); NaN comes last, whether ascending " \
  "or descending."

static const mw_op argsort_op = {
    .name = "argsort",
    .version = 1,
    .doc = "The indices, from 0, that would sort x along an axis. " ORDER,
    .example = "mw.argsort(mw.randn{3,4})",
    .cases =
        "mw.argsort(mw.randn{5,2}, {axis=1, descending=true})\n"
        "mw.argsort(mw.randn{3,1,7})\n"
        "mw.argsort(mw.randn{67}, {axis=-1})\n"
        "mw.argsort(mw.randn{0,3}, {axis=1})",
    .inputs = {{"x"}},
    .outputs = {{"indices", .doc = "i64"}},
    .attrs = sort_schema,
    .attrs_size = sizeof(sort_attrs),
    .infer = argsort_infer,
    .workspace = argsort_workspace,
    .forward = argsort_forward,
};

static const mw_op sort_op = {
    .name = "sort",
    .version = 1,
    .doc =
        "Sorts x along an axis: gives the values, and the indices, from 0, where they "
        "were. " ORDER " The gradient goes back through the values.",
    .example = "mw.sort(mw.randn{3,4})",
    .cases =
        "mw.sort(mw.randn{5,2}, {axis=1, descending=true})\n"
        "mw.sort(mw.randn{3,1,7})\n"
        "mw.sort(mw.randn{19}, {axis=-1})\n"
        "mw.sort(mw.randn{0,3}, {axis=1})",
    .inputs = {{"x"}},
    .outputs = {{"values"}, {"indices", .doc = "i64"}},
    .attrs = sort_schema,
    .attrs_size = sizeof(sort_attrs),
    .infer = check_axis,
    .compose = sort_compose,
};

static const mw_attr topk_schema[] = {{.name = "k",
                                       .type = MW_INT,
                                       .offset = offsetof(sort_attrs, k),
                                       .doc = "how many are taken",
                                       .least = 0,
                                       .most = 1e15},
                                      AXIS,
                                      {.name = "largest",
                                       .type = MW_BOOLEAN,
                                       .offset = offsetof(sort_attrs, descending),
                                       .doc = "false takes the smallest instead",
                                       .initial = "true"},
                                      {0}};

static const mw_op topk_op = {
    .name = "topk",
    .version = 1,
    .doc =
        "The k largest elements along an axis, the largest first: gives the values, and the "
        "indices, from 0, where they were. k may be at most the size. Of equals the first ones are "
        "taken. NaN comes last, "
        "and so is there only where k numbers are not. The gradient goes back through the "
        "values.",
    .example = "mw.topk(mw.randn{3,4}, {k=2})",
    .cases =
        "mw.topk(mw.randn{5,2}, {k=3, axis=1, largest=false})\n"
        "mw.topk(mw.randn{3,1,7}, {k=1})\n"
        "mw.topk(mw.randn{5}, {k=5, axis=-1})\n"
        "mw.topk(mw.randn{0,3}, {k=2})\n"
        "mw.topk(mw.randn{2,3}, {k=0})",
    .inputs = {{"x"}},
    .outputs = {{"values"}, {"indices", .doc = "i64"}},
    .attrs = topk_schema,
    .attrs_size = sizeof(sort_attrs),
    .infer = topk_infer,
    .compose = topk_compose,
};

MW_PLUGIN(&argsort_op, &sort_op, &topk_op)
