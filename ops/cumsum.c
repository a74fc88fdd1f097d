/* cumsum.c: sums from the beginning of an axis to each place. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

#if defined MW_REAL_I32 || defined MW_REAL_I64 || defined MW_REAL_U8
typedef int64_t total;    /* what a sum is kept in */
typedef uint64_t running; /* it wraps around and does not overflow */
#else
typedef real total;
typedef double running;
#endif

enum {
  GRAIN = 16384, /* numbers of a chunk, about */
  STRIP = 256    /* neighbouring columns that are summed side by side */
};

typedef struct cumsum_attrs {
  int64_t axis;
  bool reverse, exclusive;
} cumsum_attrs;

static const mw_attr schema[] = {{.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(cumsum_attrs, axis),
                                  .doc = "the axis along which it sums",
                                  .initial = "-1"},
                                 {.name = "reverse",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(cumsum_attrs, reverse),
                                  .doc = "whether it begins at the end",
                                  .initial = "false"},
                                 {.name = "exclusive",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(cumsum_attrs, exclusive),
                                  .doc = "whether each place is left out of its sum",
                                  .initial = "false"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  cumsum_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  it->out[0] = *x;
  if (!mw_is_float(x->dtype)) it->out[0].dtype = MW_I64;
  return MW_OK;
}

/* x and y are [outer, n, inner]; a strip is up to STRIP columns of one [n, inner]. */
typedef struct job {
  const real *x;
  total *y;
  int64_t n, inner, strips, grain, count; /* strips of one [n, inner]; of a chunk; of all */
  bool reverse, exclusive;
} job;

static void sum_strip(const job *j, int64_t columns, const real *x, total *y) {
  running sum[STRIP];
  for (int64_t c = 0; c < columns; c++) sum[c] = 0;
  for (int64_t i = 0; i < j->n; i++) {
    const int64_t row = (j->reverse ? j->n - 1 - i : i) * j->inner;
    for (int64_t c = 0; c < columns; c++) {
      const running before = sum[c];
      sum[c] += (running)x[row + c];
      y[row + c] = (total)(j->exclusive ? before : sum[c]);
    }
  }
}

static void sum_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const int64_t end = mw_chunk_end(j->count, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t outer = i / j->strips, first = (i - outer * j->strips) * STRIP;
    const int64_t at = outer * j->n * j->inner + first;
    sum_strip(j, j->inner - first < STRIP ? j->inner - first : STRIP, j->x + at, j->y + at);
  }
}

static mw_status sum_along(const mw_call *call, const mw_array *x, const mw_array *y,
                           bool reverse) {
  const cumsum_attrs *attrs = call->attrs;
  if (x->count == 0) return MW_OK;
  job j = {.x = x->data,
           .y = y->data,
           .n = x->spec.shape[attrs->axis],
           .inner = 1,
           .reverse = reverse,
           .exclusive = attrs->exclusive};
  for (int64_t k = attrs->axis + 1; k < x->spec.rank; k++) j.inner *= x->spec.shape[k];
  j.strips = mw_chunks(j.inner, STRIP);
  j.count = x->count / (j.n * j.inner) * j.strips;
  const int64_t work = j.n * (j.inner < STRIP ? j.inner : STRIP);
  j.grain = work < GRAIN ? GRAIN / work : 1;
  mw_parallel(call, mw_chunks(j.count, j.grain), sum_chunk, &j);
  return MW_OK;
}

static mw_status forward(const mw_call *call) {
  const cumsum_attrs *attrs = call->attrs;
  return sum_along(call, &call->in[0], &call->out[0], attrs->reverse);
}

#if !defined MW_REAL_I32 && !defined MW_REAL_I64 && !defined MW_REAL_U8
/* A number is in all sums from its place on: the gradient is summed from the other end. */
static mw_status backward(const mw_call *call) {
  const cumsum_attrs *attrs = call->attrs;
  return sum_along(call, &call->dout[0], &call->din[0], !attrs->reverse);
}
#define BACKWARD backward
#else
#define BACKWARD NULL
#endif

static const mw_op cumsum_op = {
    .name = "cumsum",
    .version = 1,
    .doc =
        "Running sums along an axis: y[i] = x[0] + ... + x[i]. Integers and bool are added up in "
        "i64.",
    .example = "mw.cumsum(mw.randn{2,3})",
    .cases =
        "mw.cumsum(mw.randn{3,1,5}, {axis=1})\n"
        "mw.cumsum(mw.randn{7}, {reverse=true})\n"
        "mw.cumsum(mw.randn{2,4,3}, {axis=-2, exclusive=true})\n"
        "mw.cumsum(mw.randn{5,2}, {axis=1, exclusive=true, reverse=true})\n"
        "mw.cumsum(mw.tensor({3, 200, 100}, 'u8'))\n"
        "mw.cumsum(mw.randn{0,3}, {axis=1})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(cumsum_attrs),
    .flags = MW_LINEAR,
    .infer = infer,
    .forward = forward,
    .backward = BACKWARD,
};

MW_PLUGIN(&cumsum_op)
