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
  bool fits = x->rank <= y.rank;
  for (int k = 0; k < y.rank; k++) y.shape[k] = shape->at[k];
  for (int k = 1; fits && k <= x->rank; k++) {
    const int64_t size = x->shape[x->rank - k];
    fits = size == 1 || size == y.shape[y.rank - k];
  }
  if (!fits)
    return mw_fail(it,
                   "x is %s, which does not broadcast to %s: each of its sizes must be 1 or "
                   "that of the result, matched from the last axis",
                   it->host->spec_text(x, from), it->host->spec_text(&y, to));
  it->out[0] = y;
  return MW_OK;
}

/* Axes of y, innermost first, with x's step along each: 0 where x is repeated. */
typedef struct walk {
  int rank; /* at least 1 */
  int64_t size[MW_MAX_RANK], step[MW_MAX_RANK];
} walk;

typedef struct job {
  const mw_call *call;
  walk walk;
  size_t element;
  int64_t rows, grain; /* all axes but the innermost; those of a chunk */
} job;

static walk walk_of(const mw_spec *x, const mw_spec *y) {
  walk w = {.rank = 0};
  int64_t step = 1;
  for (int k = 1; k <= y->rank; k++) {
    const int64_t size = y->shape[y->rank - k], size_x = k <= x->rank ? x->shape[x->rank - k] : 1;
    const int64_t along = size_x > 1 ? step : 0;
    const int last = w.rank - 1;
    step *= size_x;
    if (size == 1) continue;
    if (w.rank > 0 && along == w.step[last] * w.size[last]) {
      w.size[last] *= size;
    } else {
      w.size[w.rank] = size;
      w.step[w.rank++] = along;
    }
  }
  if (w.rank == 0) w = (walk){.rank = 1, .size = {1}, .step = {1}};
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
  const walk *w = &j->walk;
  const size_t row = (size_t)w->size[0] * j->element;
  const int64_t end = mw_chunk_end(j->rows, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    int64_t rest = i, offset = 0;
    for (int k = 1; k < w->rank; k++) {
      offset += rest % w->size[k] * w->step[k];
      rest /= w->size[k];
    }
    const char *x = (const char *)j->call->in[0].data + (size_t)offset * j->element;
    char *y = (char *)j->call->out[0].data + (size_t)i * row;
    if (w->step[0]) memcpy(y, x, row);
    else fill(y, w->size[0], x, j->element);
  }
}

static mw_status forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *y = &call->out[0];
  if (y->count == 0) return MW_OK;
  job j = {.call = call, .walk = walk_of(&x->spec, &y->spec)};
  j.element = mw_element_size(x->spec.dtype);
  j.rows = y->count / j.walk.size[0];
  j.grain = j.walk.size[0] < GRAIN ? GRAIN / j.walk.size[0] : 1;
  mw_parallel(call, mw_chunks(j.rows, j.grain), expand_chunk, &j);
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  const mw_spec *x = g->host->tensor_spec(g->in[0]);
  const mw_setting shape = mw_list("shape", x->rank, x->shape);
  g->din[0] = mw_make(g, "sum_to", 1, g->dout, 1, &shape);
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
