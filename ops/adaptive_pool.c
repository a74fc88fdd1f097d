/* adaptive_pool.c: adaptive_maxpool and adaptive_meanpool, whose windows follow from the size of
 * the result. */
#include <string.h>

#include "../graph/moonwalk.h"

/* Window i of n along a side of `in` cells goes from floor(i in / n) to ceil((i + 1) in / n), as in
 * PyTorch; neighbouring windows overlap where n does not divide the side. */

typedef struct adaptive_attrs {
  mw_ints size;
} adaptive_attrs;

static const mw_attr schema[] = {{.name = "size",
                                  .type = MW_INTS,
                                  .offset = offsetof(adaptive_attrs, size),
                                  .lengths = "1|2",
                                  .least = 1,
                                  .most = 1e6,
                                  .doc = "of the result: a number, or {h, w} for images"},
                                 {0}};

enum { CHUNK = 32768 }; /* elements of a chunk, about */

/* Sequences are images of height 1. */
typedef struct geometry {
  int64_t planes, in[2], out[2];
} geometry;

static geometry geometry_of(const mw_spec *x, const mw_spec *y) {
  geometry g = {.planes = x->shape[0] * x->shape[1], .in = {1, 1}, .out = {1, 1}};
  for (int k = 2; k < x->rank; k++) {
    g.in[k + 2 - x->rank] = x->shape[k];
    g.out[k + 2 - x->rank] = y->shape[k];
  }
  return g;
}

typedef struct span {
  int64_t first, end;
} span;

static span span_of(const geometry *g, int axis, int64_t i) {
  const int64_t in = g->in[axis], out = g->out[axis];
  return (span){i * in / out, ((i + 1) * in + out - 1) / out};
}

/* ---- shapes -------------------------------------------------------------------------------- */

static mw_status mean_infer(mw_infer *it) {
  const adaptive_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  it->host->spec_text(x, text);
  if (x->rank != 3 && x->rank != 4)
    return mw_fail(it,
                   "x is %s, expected [batch, channels, height, width] or [batch, channels, "
                   "length]",
                   text);
  if (x->rank == 3 && attrs->size.count == 2)
    return mw_fail(it, "size has 2 entries, but x is %s, with one axis to pool", text);
  it->out[0] = *x;
  for (int k = 2; k < x->rank; k++) {
    if (x->shape[k] == 0) return mw_fail(it, "x is %s: there is nothing to pool", text);
    if (x->shape[k] > MW_MAX_SIDE)
      return mw_fail(it, "x is %s, expected sides of at most 2^28", text);
    it->out[0].shape[k] = mw_ints_at(&attrs->size, k - 2);
  }
  return MW_OK;
}

/* Kept for backward: where in its plane each window's maximum is. */
static mw_status max_infer(mw_infer *it) {
  if (mean_infer(it)) return MW_FAILED;
  it->saved = sizeof(int64_t);
  for (int k = 0; k < it->out[0].rank; k++) {
    const size_t size = (size_t)it->out[0].shape[k];
    if (size && it->saved > (size_t)INT64_MAX / size) return mw_fail(it, "the result is too large");
    it->saved *= size;
  }
  return MW_OK;
}

/* ---- planes, in parallel ------------------------------------------------------------------- */

typedef struct job job;
typedef void window_kernel(const job *j, span h, span w, real *image, real *output, int64_t *index);

struct job {
  geometry g;
  real *images, *outputs;
  int64_t *index; /* of adaptive_maxpool, or NULL */
  int64_t grain;  /* planes in a chunk */
  bool backward;  /* images are written */
  window_kernel *kernel;
};

static void run_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const geometry *g = &j->g;
  const int64_t image = g->in[0] * g->in[1], output = g->out[0] * g->out[1];
  const int64_t end = mw_chunk_end(g->planes, j->grain, chunk);
  (void)worker;
  for (int64_t p = chunk * j->grain; p < end; p++) {
    if (j->backward) memset(j->images + p * image, 0, (size_t)image * sizeof(real));
    for (int64_t i = 0; i < output; i++)
      j->kernel(j, span_of(g, 0, i / g->out[1]), span_of(g, 1, i % g->out[1]),
                j->images + p * image, j->outputs + p * output + i,
                j->index ? j->index + p * output + i : NULL);
  }
}

static mw_status run(const mw_call *call, const mw_array *x, const mw_array *y, int64_t *index,
                     window_kernel *kernel) {
  job j = {.g = geometry_of(&x->spec, &y->spec),
           .images = x->data,
           .outputs = y->data,
           .index = index,
           .backward = call->backward,
           .kernel = kernel};
  j.grain = CHUNK / (j.g.in[0] * j.g.in[1] + j.g.out[0] * j.g.out[1]) + 1;
  mw_parallel(call, mw_chunks(j.g.planes, j.grain), run_chunk, &j);
  return MW_OK;
}

/* ---- adaptive_meanpool --------------------------------------------------------------------- */

static void mean_window(const job *j, span h, span w, real *x, real *y, int64_t *index) {
  double sum = 0;
  (void)index;
  for (int64_t i = h.first; i < h.end; i++)
    for (int64_t k = w.first; k < w.end; k++) sum += (double)x[i * j->g.in[1] + k];
  *y = (real)(sum / (double)((h.end - h.first) * (w.end - w.first)));
}

static void mean_window_backward(const job *j, span h, span w, real *dx, real *dy, int64_t *index) {
  const real share = *dy / (real)((h.end - h.first) * (w.end - w.first));
  (void)index;
  for (int64_t i = h.first; i < h.end; i++)
    for (int64_t k = w.first; k < w.end; k++) dx[i * j->g.in[1] + k] += share;
}

static mw_status mean_forward(const mw_call *call) {
  return run(call, &call->in[0], &call->out[0], NULL, mean_window);
}
static mw_status mean_backward(const mw_call *call) {
  return run(call, &call->din[0], &call->dout[0], NULL, mean_window_backward);
}

/* ---- adaptive_maxpool ---------------------------------------------------------------------- */

/* A larger number takes the place of the best, and the first NaN, which then stays. */
static void max_window(const job *j, span h, span w, real *x, real *y, int64_t *index) {
  int64_t best = h.first * j->g.in[1] + w.first;
  for (int64_t i = h.first; i < h.end; i++)
    for (int64_t k = w.first; k < w.end; k++) {
      const int64_t at = i * j->g.in[1] + k;
      if (x[best] == x[best] && (x[at] > x[best] || x[at] != x[at])) best = at;
    }
  *y = x[best];
  if (index) *index = best;
}

static void max_window_backward(const job *j, span h, span w, real *dx, real *dy, int64_t *index) {
  (void)j, (void)h, (void)w;
  dx[*index] += *dy;
}

static mw_status max_forward(const mw_call *call) {
  return run(call, &call->in[0], &call->out[0], call->saved, max_window);
}
static mw_status max_backward(const mw_call *call) {
  return run(call, &call->din[0], &call->dout[0], call->saved, max_window_backward);
}

/* -------------------------------------------------------------------------------------------- */

#define ADAPTIVE(title)                                                                      \
  .name = title, .version = 1, .attrs = schema, .attrs_size = sizeof(adaptive_attrs),        \
  .inputs = {{"x", .doc = "[batch, channels, height, width] or [batch, channels, length]"}}, \
  .outputs = {{"y"}}, .example = "mw." title "(mw.randn{2,3,7,5}, {size={3,2}})",            \
  .cases = "mw." title                                                                       \
           "(mw.randn{2,2,7}, {size=3})\n"                                                   \
           "mw." title                                                                       \
           "(mw.randn{1,2,3,4}, {size=5})\n"                                                 \
           "mw." title                                                                       \
           "(mw.randn{1,1,1,1}, {size=1})\n"                                                 \
           "mw." title "(mw.randn{0,2,4,4}, {size=2})"

static const mw_op adaptive_maxpool = {
    ADAPTIVE("adaptive_maxpool"),
    .doc =
        "The largest value of each of size windows that cover x: window i of n along a side goes "
        "from floor(i side / n) to ceil((i + 1) side / n). A NaN in a window is its largest "
        "value; of equal ones the first in row-major order gets the gradient.",
    .backward_needs = MW_NEEDS_SAVED,
    .infer = max_infer,
    .forward = max_forward,
    .backward = max_backward,
};

static const mw_op adaptive_meanpool = {
    ADAPTIVE("adaptive_meanpool"),
    .doc =
        "The mean of each of size windows that cover x: window i of n along a side goes from "
        "floor(i side / n) to ceil((i + 1) side / n).",
    .flags = MW_LINEAR,
    .infer = mean_infer,
    .forward = mean_forward,
    .backward = mean_backward,
};

MW_PLUGIN(&adaptive_maxpool, &adaptive_meanpool)
