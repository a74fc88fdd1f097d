/* where.c: a choice between two tensors, element by element. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

enum { GRAIN = 16384 }; /* elements of a chunk */

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status infer(mw_infer *it) {
  const mw_spec *condition = &it->in[0], *a = &it->in[1], *b = &it->in[2];
  char text[3][MW_SPEC_TEXT];
  for (int i = 0; i < 3; i++) it->host->spec_text(&it->in[i], text[i]);
  if (condition->dtype != MW_BOOL)
    return mw_fail(it, "condition is %s, expected a bool tensor, which comparisons give", text[0]);
  if (mw_expect_same_dtype(it, 2, 1)) return MW_FAILED;
  if (!mw_broadcast(a, b, &it->out[0]) || !mw_broadcast(&it->out[0], condition, &it->out[0]))
    return mw_fail(it,
                   "condition %s, a %s and b %s do not broadcast: axes are matched from the last, "
                   "and sizes must be equal or 1",
                   text[0], text[1], text[2]);
  return MW_OK;
}

/* ---- the kernel --------------------------------------------------------------------------- */

/* Axes of the result, innermost first, with each input's step along them: 0 where repeated. */
typedef struct walk {
  int rank; /* at least 1 */
  int64_t size[MW_MAX_RANK], step[3][MW_MAX_RANK];
} walk;

typedef struct job {
  const mw_call *call;
  walk walk;
} job;

/* Neighbouring axes along which all three go on evenly become one. */
static walk walk_of(const mw_call *call) {
  const mw_spec *y = &call->out[0].spec;
  walk w = {.rank = 0};
  int64_t step[3] = {1, 1, 1};
  for (int k = 1; k <= y->rank; k++) {
    const int64_t size = y->shape[y->rank - k];
    int64_t along[3];
    bool even = w.rank > 0;
    for (int i = 0; i < 3; i++) {
      const mw_spec *x = &call->in[i].spec;
      const int64_t size_x = mw_size_from_end(x, k);
      along[i] = size_x > 1 ? step[i] : 0;
      step[i] *= size_x;
      even = even && along[i] == w.step[i][w.rank - 1] * w.size[w.rank - 1];
    }
    if (size == 1) continue;
    if (even) {
      w.size[w.rank - 1] *= size;
      continue;
    }
    w.size[w.rank] = size;
    for (int i = 0; i < 3; i++) w.step[i][w.rank] = along[i];
    w.rank++;
  }
  if (w.rank == 0) w = (walk){.rank = 1, .size = {1}};
  return w;
}

/* n neighbouring results. Steps are 0 or 1: known where this is inlined, and the loop is
 * vectorised, for which both sides are read whatever the condition. */
static inline __attribute__((always_inline)) void choose(int64_t n, const uint8_t *c, const real *a,
                                                         const real *b, real *restrict y,
                                                         int64_t da, int64_t db) {
  for (int64_t i = 0; i < n; i++) {
    const real yes = a[i * da], no = b[i * db];
    y[i] = c[i] ? yes : no;
  }
}

static void choose_strip(int64_t n, const uint8_t *c, const real *a, const real *b, real *y,
                         const int64_t step[3]) {
  const bool walks_a = step[1] != 0, walks_b = step[2] != 0;
  if (step[0] == 0) { /* one condition for all: x where the step is 0 is one number */
    const real *x = *c ? a : b;
    const int64_t dx = *c ? step[1] : step[2];
    for (int64_t i = 0; i < n; i++) y[i] = x[i * dx];
  } else if (walks_a && walks_b) {
    choose(n, c, a, b, y, 1, 1);
  } else if (walks_a) {
    choose(n, c, a, b, y, 1, 0);
  } else if (walks_b) {
    choose(n, c, a, b, y, 0, 1);
  } else {
    choose(n, c, a, b, y, 0, 0);
  }
}

static void chunk_forward(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const walk *w = &j->walk;
  const mw_array *in = j->call->in, *out = &j->call->out[0];
  const int64_t inner = w->size[0], end = mw_chunk_end(out->count, GRAIN, chunk);
  (void)worker;
  for (int64_t at = chunk * GRAIN; at < end;) {
    const int64_t row = at / inner, column = at - row * inner;
    const int64_t n = inner - column < end - at ? inner - column : end - at;
    int64_t offset[3], rest = row;
    for (int i = 0; i < 3; i++) offset[i] = column * w->step[i][0];
    for (int k = 1; k < w->rank; k++) {
      const int64_t position = k == w->rank - 1 ? rest : rest % w->size[k];
      for (int i = 0; i < 3; i++) offset[i] += position * w->step[i][k];
      if (k < w->rank - 1) rest /= w->size[k];
    }
    const uint8_t *c = (const uint8_t *)in[0].data + offset[0];
    const real *a = (const real *)in[1].data + offset[1], *b = (const real *)in[2].data + offset[2];
    real *y = (real *)out->data + at;
    const int64_t step[3] = {w->step[0][0], w->step[1][0], w->step[2][0]};
    choose_strip(n, c, a, b, y, step);
    at += n;
  }
}

static mw_status forward(const mw_call *call) {
  if (call->out[0].count == 0) return MW_OK;
  job j = {.call = call, .walk = walk_of(call)};
  mw_parallel(call, mw_chunks(call->out[0].count, GRAIN), chunk_forward, &j);
  return MW_OK;
}

/* ---- the op ------------------------------------------------------------------------------- */

/* The gradient goes to the side that was chosen; the other side gets zeros, also where it is
 * infinite. */
static mw_status gradient(mw_build *g) {
  mw_tensor *zero = mw_make_scalar(g, g->dout[0], 0);
  for (int i = 1; i <= 2; i++) {
    if (!g->wanted[i]) continue;
    mw_tensor *sides[] = {g->in[0], i == 1 ? g->dout[0] : zero, i == 1 ? zero : g->dout[0]};
    mw_tensor *chosen = mw_make(g, "where", 3, sides, 0, NULL);
    g->din[i] = mw_make_like(g, "sum_to", chosen, g->in[i]);
  }
  return MW_OK;
}

static const mw_op where_op = {
    .name = "where",
    .version = 1,
    .doc =
        "A choice: y = a where the condition is true, b where it is false; all three broadcast. "
        "The "
        "side that is not chosen gets no gradient, and its NaN stays unseen.",
    .example = "mw.where(mw.gt(mw.randn{2,3}, 0), mw.randn{2,3}, mw.randn{3})",
    .cases =
        "mw.where(mw.gt(mw.randn{3,1}, 0), mw.randn{1,5}, mw.randn{2,3,1})\n"
        "mw.where(mw.gt(mw.randn{7}, 0), mw.randn{7}, mw.randn{})\n"
        "mw.where(mw.gt(mw.randn{0,3}, 0), mw.randn{0,3}, mw.randn{3})",
    .inputs = {{"condition", .doc = "bool"}, {"a"}, {"b"}},
    .outputs = {{"y"}},
    .flags = MW_ELEMENTWISE,
    .dtype_of = 1,
    .sign = "?",
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&where_op)
