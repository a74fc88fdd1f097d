/* expand.c: repeats a tensor along axes, as broadcasting does. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

enum { GRAIN = 16384 }; /* elements of a chunk, about */

typedef struct expand_attrs {
  mw_ints shape;
} expand_attrs;

static const mw_attr schema[] = {{.name = "shape",
                                  .type = MW_INTS,
                                  .offset = offsetof(expand_attrs, shape),
                                  .doc = "the shape of the result"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  const mw_ints *shape = &((expand_attrs *)it->attrs)->shape;
  const mw_spec *x = &it->in[0];
  char from[MW_SPEC_TEXT], to[MW_SPEC_TEXT];
  if (shape->count > MW_MAX_RANK)
    return mw_fail(it, "shape has %lld sizes, at most %d are possible", (long long)shape->count,
                   MW_MAX_RANK);
  mw_spec y = {.dtype = x->dtype, .rank = (int)shape->count};
  for (int k = 0; k < y.rank; k++) y.shape[k] = shape->at[k];
  if (!mw_broadcasts_to(x, &y))
    return mw_fail(it,
                   "x is %s, which does not broadcast to %s: each of its sizes must be 1 or "
                   "that of the result, matched from the last axis",
                   it->host->spec_text(x, from), it->host->spec_text(&y, to));
  it->out[0] = y;
  return MW_OK;
}

typedef struct job {
  const mw_call *call;
  mw_walk rows;     /* of y, with x's steps */
  int64_t row;      /* elements of one */
  bool repeated;    /* whether they are all one element of x */
  int64_t n, grain; /* rows; those of a chunk */
  size_t element;
} job;

static mw_walk walk_of(const mw_spec *x, const mw_spec *y) {
  mw_walk w = {.rank = 0};
  int64_t step = 1;
  for (int k = 1; k <= y->rank; k++) {
    const int64_t size = y->shape[y->rank - k], size_x = mw_size_from_end(x, k);
    if (size > 1) mw_walk_add(&w, size, size_x > 1 ? step : 0);
    step *= size_x;
  }
  return w;
}

static void fill(void *y, int64_t n, const void *value, size_t element) {
  if (element == 1) {
    memset(y, *(const uint8_t *)value, (size_t)n);
  } else if (element == 4) {
    const uint32_t v = *(const uint32_t *)value;
    for (int64_t i = 0; i < n; i++) ((uint32_t *)y)[i] = v;
  } else {
    const uint64_t v = *(const uint64_t *)value;
    for (int64_t i = 0; i < n; i++) ((uint64_t *)y)[i] = v;
  }
}

static void expand_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const size_t row = (size_t)j->row * j->element;
  const int64_t end = mw_chunk_end(j->n, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const size_t from = (size_t)mw_walk_at(&j->rows, i) * j->element;
    const char *x = (const char *)j->call->in[0].data + from;
    char *y = (char *)j->call->out[0].data + (size_t)i * row;
    if (j->repeated) fill(y, j->row, x, j->element);
    else memcpy(y, x, row);
  }
}

static mw_status forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (y->count == 0) return MW_OK;
  job j = {.call = call, .rows = walk_of(&x->spec, &y->spec)};
  j.element = mw_element_size(x->spec.dtype);
  j.repeated = j.rows.rank > 0 && j.rows.step[0] == 0;
  j.row = mw_walk_inner(&j.rows);
  j.n = y->count / j.row;
  j.grain = j.row < GRAIN ? GRAIN / j.row : 1;
  mw_parallel(call, mw_chunks(j.n, j.grain), expand_chunk, &j);
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  g->din[0] = mw_make_like(g, "sum_to", g->dout[0], g->in[0]);
  return MW_OK;
}

static const mw_op expand_op = {
    .name = "expand",
    .version = 1,
    .doc = "Repeats x until it has a shape that it broadcasts to.",
    .example = "mw.expand(mw.randn{2,1}, {shape={3,2,4}})",
    .cases =
        "mw.expand(mw.randn{3,1,5}, {shape={2,3,2,5}})\n"
        "mw.expand(mw.randn{}, {shape={2,3}})\n"
        "mw.expand(mw.randn{7}, {shape={7}})\n"
        "mw.expand(mw.randn{2,1}, {shape={2,0}})\n"
        "mw.expand(mw.randn{0,1}, {shape={3,0,2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(expand_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&expand_op)
