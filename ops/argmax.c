/* argmax.c: the index of the largest or smallest value along an axis. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

enum { GRAIN = 16384 }; /* numbers that a chunk reads, about */

typedef struct argmax_attrs {
  int64_t axis;
  bool keepdims;
} argmax_attrs;

static const mw_attr schema[] = {{.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(argmax_attrs, axis),
                                  .doc = "the axis that is searched",
                                  .initial = "-1"},
                                 {.name = "keepdims",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(argmax_attrs, keepdims),
                                  .doc = "whether it stays with size 1 instead of going",
                                  .initial = "false"},
                                 {0}};

/* x is [outer, n, inner], y is [outer, inner] */
typedef struct job {
  const mw_call *call;
  int64_t (*first)(const real *x, int64_t n, int64_t inner);
  int64_t n, inner, grain;
} job;

static mw_status infer(mw_infer *it) {
  argmax_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  const int64_t axis = attrs->axis;
  if (x->shape[axis] == 0)
    return mw_fail(it, "x is %s: an axis of size 0 has no extremum", it->host->spec_text(x, text));
  it->out[0] = (mw_spec){.dtype = MW_I64};
  for (int k = 0; k < x->rank; k++)
    if (k != axis || attrs->keepdims)
      it->out[0].shape[it->out[0].rank++] = k == axis ? 1 : x->shape[k];
  return MW_OK;
}

/* The first of n numbers, `inner` apart, that no other goes beyond; the first NaN if any. `within`
 * is known where this is inlined. */
static inline __attribute__((always_inline)) int64_t first_of(const real *x, int64_t n,
                                                              int64_t inner,
                                                              bool (*within)(real, real)) {
  int64_t at = 0;
  real best = x[0];
  for (int64_t i = 1; i < n; i++) {
    const real value = x[i * inner];
#if !defined MW_REAL_I32 && !defined MW_REAL_I64 && !defined MW_REAL_U8
    if (best != best) break;
#endif
    if (!within(value, best)) at = i, best = value; /* beyond it, or NaN */
  }
  return at;
}

static inline bool at_most(real a, real b) { return a <= b; }
static inline bool at_least(real a, real b) { return a >= b; }

static int64_t first_largest(const real *x, int64_t n, int64_t inner) {
  return first_of(x, n, inner, at_most);
}
static int64_t first_smallest(const real *x, int64_t n, int64_t inner) {
  return first_of(x, n, inner, at_least);
}

static void search_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_array *y = &j->call->out[0];
  const real *x = j->call->in[0].data;
  const int64_t end = mw_chunk_end(y->count, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t outer = i / j->inner, column = i - outer * j->inner;
    ((int64_t *)y->data)[i] = j->first(x + outer * j->n * j->inner + column, j->n, j->inner);
  }
}

static mw_status search(const mw_call *call,
                        int64_t (*first)(const real *x, int64_t n, int64_t inner)) {
  const argmax_attrs *attrs = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  job j = {.call = call, .first = first, .n = x->shape[attrs->axis], .inner = 1};
  for (int64_t k = attrs->axis + 1; k < x->rank; k++) j.inner *= x->shape[k];
  j.grain = j.n < GRAIN ? GRAIN / j.n : 1;
  mw_parallel(call, mw_chunks(call->out[0].count, j.grain), search_chunk, &j);
  return MW_OK;
}

static mw_status argmax_forward(const mw_call *call) { return search(call, first_largest); }
static mw_status argmin_forward(const mw_call *call) { return search(call, first_smallest); }

#define SEARCH                                                                        \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y", .doc = "i64"}}, .attrs = schema, \
  .attrs_size = sizeof(argmax_attrs), .infer = infer

static const mw_op argmax_op = {
    .name = "argmax",
    .doc =
        "The index, from 0, of the largest value along an axis. The first of equals wins; NaN "
        "counts as largest. An axis of size 0 is an error.",
    .example = "mw.argmax(mw.randn{3,4})",
    .cases =
        "mw.argmax(mw.randn{3,1,5}, {axis=1, keepdims=true})\n"
        "mw.argmax(mw.randn{7})\n"
        "mw.argmax(mw.cast(mw.uniform({4,5}, 0, 3), {dtype='i32'}), {axis=-1})\n"
        "mw.argmax(mw.randn{0,3})",
    .forward = argmax_forward,
    SEARCH,
};

static const mw_op argmin_op = {
    .name = "argmin",
    .doc =
        "The index, from 0, of the smallest value along an axis. The first of equals wins; NaN "
        "counts as smallest. An axis of size 0 is an error.",
    .example = "mw.argmin(mw.randn{3,4})",
    .cases =
        "mw.argmin(mw.randn{3,1,5}, {axis=1, keepdims=true})\n"
        "mw.argmin(mw.randn{7})\n"
        "mw.argmin(mw.cast(mw.uniform({4,5}, 0, 3), {dtype='i32'}), {axis=-1})\n"
        "mw.argmin(mw.randn{0,3})",
    .forward = argmin_forward,
    SEARCH,
};

MW_PLUGIN(&argmax_op, &argmin_op)
