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
                                  .doc = "size of the result: a number, or {h, w} for images"},
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

/* ---- shapes ------------------------------------------------------------------------------- */

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

/* ---- planes, in parallel ------------------------------------------------------------------ */

typedef struct job job;
/* One window: the cells that it has in the plane of the image, and its number in the output. x is
 * the plane that the maxima are looked for in, where that is another one. */
typedef void window_kernel(const job *j, span h, span w, const real *x, real *image, real *output,
                           int64_t *index);

struct job {
  geometry g;
  const real *x; /* of _take and _place, otherwise NULL */
  real *images, *outputs;
  int64_t *index; /* of adaptive_maxpool, or NULL */
  int64_t grain;  /* planes in a chunk */
  bool to_images; /* which are written, and begin as zeros */
  window_kernel *kernel;
};

static void run_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const geometry *g = &j->g;
  const int64_t image = g->in[0] * g->in[1], output = g->out[0] * g->out[1];
  const int64_t end = mw_chunk_end(g->planes, j->grain, chunk);
  (void)worker;
  for (int64_t p = chunk * j->grain; p < end; p++) {
    if (j->to_images) memset(j->images + p * image, 0, (size_t)image * sizeof(real));
    for (int64_t i = 0; i < output; i++)
      j->kernel(j, span_of(g, 0, i / g->out[1]), span_of(g, 1, i % g->out[1]),
                j->x ? j->x + p * image : NULL, j->images + p * image, j->outputs + p * output + i,
                j->index ? j->index + p * output + i : NULL);
  }
}

static mw_status run(const mw_call *call, job j, const mw_array *images, const mw_array *outputs) {
  j.g = geometry_of(&images->spec, &outputs->spec);
  j.images = images->data;
  j.outputs = outputs->data;
  j.grain = CHUNK / (j.g.in[0] * j.g.in[1] + j.g.out[0] * j.g.out[1]) + 1;
  mw_parallel(call, mw_chunks(j.g.planes, j.grain), run_chunk, &j);
  return MW_OK;
}

/* ---- adaptive_meanpool -------------------------------------------------------------------- */

static void mean_window(const job *j, span h, span w, const real *unused, real *x, real *y,
                        int64_t *index) {
  double sum = 0;
  (void)index, (void)unused;
  for (int64_t i = h.first; i < h.end; i++)
    for (int64_t k = w.first; k < w.end; k++) sum += (double)x[i * j->g.in[1] + k];
  *y = (real)(sum / (double)((h.end - h.first) * (w.end - w.first)));
}

static void mean_window_backward(const job *j, span h, span w, const real *x, real *dx, real *dy,
                                 int64_t *index) {
  const real share = *dy / (real)((h.end - h.first) * (w.end - w.first));
  (void)index, (void)x;
  for (int64_t i = h.first; i < h.end; i++)
    for (int64_t k = w.first; k < w.end; k++) dx[i * j->g.in[1] + k] += share;
}

static mw_status mean_forward(const mw_call *call) {
  return run(call, (job){.kernel = mean_window}, &call->in[0], &call->out[0]);
}
static mw_status mean_backward(const mw_call *call) {
  const job j = {.kernel = mean_window_backward, .to_images = true};
  return run(call, j, &call->din[0], &call->dout[0]);
}

/* ---- adaptive_maxpool --------------------------------------------------------------------- */

/* Where a window's maximum is: a larger number takes the place of the best, and the first NaN,
 * which then stays. */
static int64_t largest(const job *j, span h, span w, const real *x) {
  int64_t best = h.first * j->g.in[1] + w.first;
  for (int64_t i = h.first; i < h.end; i++)
    for (int64_t k = w.first; k < w.end; k++) {
      const int64_t at = i * j->g.in[1] + k;
      if (x[best] == x[best] && (x[at] > x[best] || x[at] != x[at])) best = at;
    }
  return best;
}

static void max_window(const job *j, span h, span w, const real *unused, real *x, real *y,
                       int64_t *index) {
  const int64_t best = largest(j, h, w, x);
  (void)unused;
  *y = x[best];
  if (index) *index = best;
}

static void max_window_backward(const job *j, span h, span w, const real *x, real *dx, real *dy,
                                int64_t *index) {
  (void)j, (void)h, (void)w, (void)x;
  dx[*index] += *dy;
}

static mw_status max_forward(const mw_call *call) {
  return run(call, (job){.kernel = max_window, .index = call->saved}, &call->in[0], &call->out[0]);
}
static mw_status max_backward(const mw_call *call) {
  const job j = {.kernel = max_window_backward, .index = call->saved, .to_images = true};
  return run(call, j, &call->din[0], &call->dout[0]);
}

/* ---- its derivatives, as maxpool's: v taken from, or put where the maxima of x are -------- */

static void take_window(const job *j, span h, span w, const real *x, real *v, real *y,
                        int64_t *index) {
  (void)index;
  *y = v[largest(j, h, w, x)];
}

static void place_window(const job *j, span h, span w, const real *x, real *y, real *v,
                         int64_t *index) {
  (void)index;
  y[largest(j, h, w, x)] += *v;
}

static mw_status take_forward(const mw_call *call) {
  const job j = {.kernel = take_window, .x = call->in[0].data};
  return run(call, j, &call->in[1], &call->out[0]);
}
static mw_status place_forward(const mw_call *call) {
  const job j = {.kernel = place_window, .x = call->in[0].data, .to_images = true};
  return run(call, j, &call->out[0], &call->in[1]);
}

static mw_status maxima_infer(mw_infer *it, bool take) {
  char text[MW_SPEC_TEXT], wanted[MW_SPEC_TEXT];
  if (mw_expect_same_dtype(it, 1, 0) || mean_infer(it)) return MW_FAILED;
  const mw_spec windows = it->out[0], *v = &it->in[1], *expected = take ? &it->in[0] : &windows;
  if (!mw_same_shape(v, expected))
    return mw_fail(it, "v is %s, expected %s", it->host->spec_text(v, text),
                   it->host->spec_text(expected, wanted));
  it->out[0] = take ? windows : it->in[0];
  return MW_OK;
}

static mw_status take_infer(mw_infer *it) { return maxima_infer(it, true); }
static mw_status place_infer(mw_infer *it) { return maxima_infer(it, false); }

static mw_tensor *at_maxima(mw_build *g, const char *op, mw_tensor *v) {
  const mw_ints *size = &((const adaptive_attrs *)g->attrs)->size;
  const mw_setting settings[] = {mw_list("size", (int)size->count, size->at)};
  return mw_make(g, op, 2, (mw_tensor *[]){g->in[0], v}, 1, settings);
}

static mw_status max_gradient(mw_build *g) {
  g->din[0] = at_maxima(g, "adaptive_maxpool_place", g->dout[0]);
  return MW_OK;
}
static mw_status take_gradient(mw_build *g) {
  if (g->wanted[1]) g->din[1] = at_maxima(g, "adaptive_maxpool_place", g->dout[0]);
  return MW_OK;
}
static mw_status place_gradient(mw_build *g) {
  if (g->wanted[1]) g->din[1] = at_maxima(g, "adaptive_maxpool_take", g->dout[0]);
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

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

/* The cells of all windows, which overlap where the sizes do not divide. */
static double cells_between(const mw_spec *x, const mw_spec *y) {
  const geometry g = geometry_of(x, y);
  double along[2] = {0, 0};
  for (int axis = 0; axis < 2; axis++)
    for (int64_t i = 0; i < g.out[axis]; i++) {
      const span s = span_of(&g, axis, i);
      along[axis] += (double)(s.end - s.first);
    }
  return (double)g.planes * along[0] * along[1];
}
/* One for each cell, forward and back; but maxpool's backward has its places. */
static double cells(const mw_call *call) {
  return cells_between(&call->in[0].spec, &call->out[0].spec);
}
static double max_flops(const mw_call *call) {
  return call->backward ? (double)call->dout[0].count : cells(call);
}
static double place_flops(const mw_call *call) {
  return cells_between(&call->in[0].spec, &call->in[1].spec) + (double)call->in[1].count;
}

static const mw_op adaptive_maxpool_op = {
    ADAPTIVE("adaptive_maxpool"),
    .doc =
        "The largest value of each window, where the windows cover x and the result has the given "
        "size: window i of n along a side goes from floor(i side / n) to ceil((i + 1) side / n). A "
        "NaN in a window is its largest "
        "value; of equal ones the first in row-major order gets the gradient.",
    .backward_needs = MW_NEEDS_SAVED,
    .infer = max_infer,
    .forward = max_forward,
    .backward = max_backward,
    .gradient = max_gradient,
    .flops = max_flops,
};

#define AT_MAXIMA \
  .version = 1, .outputs = {{"y"}}, .attrs = schema, .attrs_size = sizeof(adaptive_attrs)

static const mw_op adaptive_maxpool_take_op = {
    .name = "adaptive_maxpool_take",
    .doc =
        "For each window of adaptive_maxpool the element of v where x has its maximum: the "
        "derivative of adaptive_maxpool at x in the direction v. NaN in x counts as largest.",
    .example = "mw.adaptive_maxpool_take(mw.randn{2,3,7,5}, mw.randn{2,3,7,5}, {size={3,2}})",
    .cases =
        "mw.adaptive_maxpool_take(mw.randn{2,1,7}, mw.randn{2,1,7}, {size=3})\n"
        "mw.adaptive_maxpool_take(mw.randn{0,2,4}, mw.randn{0,2,4}, {size=2})",
    .inputs = {{"x"}, {"v", .doc = "of x's shape"}},
    .infer = take_infer,
    .forward = take_forward,
    .gradient = take_gradient,
    AT_MAXIMA,
    .flops = cells,
};

static const mw_op adaptive_maxpool_place_op = {
    .name = "adaptive_maxpool_place",
    .doc =
        "Zeros but where the windows of adaptive_maxpool have their maxima in x; there the sum of "
        "the windows' v: what adaptive_maxpool's gradient is. NaN in x counts as largest.",
    .example = "mw.adaptive_maxpool_place(mw.randn{2,3,7,5}, mw.randn{2,3,3,2}, {size={3,2}})",
    .cases =
        "mw.adaptive_maxpool_place(mw.randn{2,1,7}, mw.randn{2,1,3}, {size=3})\n"
        "mw.adaptive_maxpool_place(mw.randn{0,2,4}, mw.randn{0,2,2}, {size=2})",
    .inputs = {{"x"}, {"v", .doc = "of the shape of adaptive_maxpool's result"}},
    .infer = place_infer,
    .forward = place_forward,
    .gradient = place_gradient,
    AT_MAXIMA,
    .flops = place_flops,
};

static const mw_op adaptive_meanpool_op = {
    ADAPTIVE("adaptive_meanpool"),
    .doc =
        "The mean of each window, where the windows cover x and the result has the given size: "
        "window i of n along a side goes from floor(i side / n) to ceil((i + 1) side / n).",
    .flags = MW_LINEAR,
    .infer = mean_infer,
    .forward = mean_forward,
    .backward = mean_backward,
    .flops = cells,
};

MW_PLUGIN(&adaptive_maxpool_op, &adaptive_maxpool_take_op, &adaptive_maxpool_place_op,
          &adaptive_meanpool_op)
