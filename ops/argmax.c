/* argmax.c: the index of the largest value along an axis. */
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
  int64_t n, inner, grain;
} job;

static mw_status infer(mw_infer *it) {
  argmax_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  if (!mw_axis(&attrs->axis, x->rank))
    return mw_fail(it, "axis is none of x's axes: x is %s", it->host->spec_text(x, text));
  const int64_t axis = attrs->axis;
  if (x->shape[axis] == 0)
    return mw_fail(it, "x is %s: an axis of size 0 has no largest value",
                   it->host->spec_text(x, text));
  it->out[0] = (mw_spec){.dtype = MW_I64};
  for (int k = 0; k < x->rank; k++)
    if (k != axis || attrs->keepdims)
      it->out[0].shape[it->out[0].rank++] = k == axis ? 1 : x->shape[k];
  return MW_OK;
}

/* The first of n numbers, `inner` apart, that no other is greater than; the first NaN if any. */
static int64_t first_largest(const real *x, int64_t n, int64_t inner) {
  int64_t best = 0;
  real largest = x[0];
  for (int64_t i = 1; i < n; i++) {
    const real value = x[i * inner];
#if defined MW_REAL_I32 || defined MW_REAL_I64 || defined MW_REAL_U8
    if (value > largest) best = i, largest = value;
#else
    if (largest != largest) break;
    if (!(value <= largest)) best = i, largest = value; /* greater, or NaN */
#endif
  }
  return best;
}

static void argmax_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_array *y = &j->call->out[0];
  const real *x = j->call->in[0].data;
  const int64_t end = mw_chunk_end(y->count, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t outer = i / j->inner, column = i - outer * j->inner;
    ((int64_t *)y->data)[i] = first_largest(x + outer * j->n * j->inner + column, j->n, j->inner);
  }
}

static mw_status forward(const mw_call *call) {
  const argmax_attrs *attrs = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  job j = {.call = call, .n = x->shape[attrs->axis], .inner = 1};
  for (int64_t k = attrs->axis + 1; k < x->rank; k++) j.inner *= x->shape[k];
  j.grain = j.n < GRAIN ? GRAIN / j.n : 1;
  mw_parallel(call, mw_chunks(call->out[0].count, j.grain), argmax_chunk, &j);
  return MW_OK;
}

static const mw_op argmax_op = {
    .name = "argmax",
    .version = 1,
    .doc =
        "The index, from 0, of the largest value along an axis. The first of equals wins; NaN "
        "counts as largest.",
    .example = "mw.argmax(mw.randn{3,4})",
    .inputs = {{"x"}},
    .outputs = {{"y", .doc = "i64"}},
    .attrs = schema,
    .attrs_size = sizeof(argmax_attrs),
    .infer = infer,
    .forward = forward,
};

MW_PLUGIN(&argmax_op)
