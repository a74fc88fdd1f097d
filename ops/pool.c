/* pool.c: maxpool and meanpool, which take one number from each window of an NCHW image.
 *
 * The windows are PyTorch's. With ceil_mode a last window that hangs over the right edge counts,
 * unless it starts in the padding there. The plain kernels are here; pool_2x2.c and pool_vectors.c
 * have those that are fast. */
#include <math.h>
#include <string.h>

#include "../graph/moonwalk.h"

/* meanpool has no dilation and maxpool no count_include_pad. */
typedef struct pool_attrs {
  mw_ints kernel, stride, padding, dilation;
  bool ceil_mode, count_include_pad;
} pool_attrs;

#define SIZES(field, usual, low, text) \
  MW_ATTR(pool_attrs, field, MW_INTS, usual, text, .lengths = "1|2", .least = low, .most = 1e6)
#define FLAG(field, usual, text) MW_ATTR(pool_attrs, field, MW_BOOLEAN, usual, text)
#define KERNEL SIZES(kernel, NULL, 1, "size of the window: a number, or {h, w}")
#define STRIDE SIZES(stride, "", 1, "step of the window; the kernel's size if left out")
#define CEIL_MODE \
  FLAG(ceil_mode, "false", "round the output's size up: a last window may hang over the edge")

static const mw_attr maxpool_schema[] = {
    KERNEL,
    STRIDE,
    SIZES(padding, "0", 0,
          "cells around the image, smaller than all others; at most half the kernel"),
    SIZES(dilation, "1", 1, "distance of neighbouring cells"),
    CEIL_MODE,
    {0}};
static const mw_attr meanpool_schema[] = {
    KERNEL,
    STRIDE,
    SIZES(padding, "0", 0, "zeros around the image; at most half the kernel"),
    CEIL_MODE,
    FLAG(count_include_pad, "true", "divide by the number of all cells, those of the padding too"),
    {0}};

/* The windows along one axis. */
typedef struct windows {
  int64_t in, out; /* sizes of the image, and of the output */
  int64_t kernel, stride, padding, dilation;
} windows;

typedef struct geometry {
  int64_t planes; /* batch times channels */
  windows h, w;
  bool count_include_pad;
} geometry;

static windows windows_of(int64_t in, const pool_attrs *a, int axis) {
  windows s = {.in = in,
               .kernel = a->kernel.at[axis],
               .stride = a->stride.at[axis],
               .padding = a->padding.at[axis],
               .dilation = a->dilation.at[axis]};
  const int64_t room = in + 2 * s.padding - (s.kernel - 1) * s.dilation - 1;
  const int64_t steps = room + (a->ceil_mode ? s.stride - 1 : 0);
  s.out = steps < 0 ? 0 : steps / s.stride + 1;
  if (a->ceil_mode && s.out > 0 && (s.out - 1) * s.stride >= in + s.padding) s.out--;
  return s;
}

static geometry geometry_of(const mw_spec *x, const pool_attrs *a) {
  return (geometry){.planes = x->shape[0] * x->shape[1],
                    .h = windows_of(x->shape[2], a, 0),
                    .w = windows_of(x->shape[3], a, 1),
                    .count_include_pad = a->count_include_pad};
}

/* ---- shapes ------------------------------------------------------------------------------- */

/* Brings a list to {h, w}; an empty one to {otherwise, otherwise}. */
static void complete(mw_ints *list, const mw_ints *otherwise) {
  if (list->count == 0) *list = *otherwise;
  mw_ints_fill(list, 2);
}

static mw_status check_image(const mw_infer *it) {
  char text[MW_SPEC_TEXT];
  const mw_spec *x = &it->in[0];
  if (mw_expect_images(it, 0)) return MW_FAILED;
  if (x->shape[2] == 0 || x->shape[3] == 0)
    return mw_fail(it, "x is %s: its images are empty", it->host->spec_text(x, text));
  return MW_OK;
}

static mw_status check_windows(const mw_infer *it, const char *side, const windows *s) {
  if (2 * s->padding > s->kernel)
    return mw_fail(it, "padding is %lld along the %s, expected at most half the kernel (%lld)",
                   (long long)s->padding, side, (long long)(s->kernel / 2));
  if (s->out < 1)
    return mw_fail(it,
                   "the window's %s %lld%s is larger than the padded image's %lld: "
                   "take a kernel that fits",
                   side, (long long)((s->kernel - 1) * s->dilation + 1),
                   s->dilation > 1 ? " (dilated)" : "", (long long)(s->in + 2 * s->padding));
  return MW_OK;
}

static mw_status pool_infer(mw_infer *it) {
  static const mw_ints one = {.count = 1, .at = {1}};
  pool_attrs *a = it->attrs;
  const mw_spec *x = &it->in[0];
  complete(&a->kernel, &one);
  complete(&a->stride, &a->kernel);
  complete(&a->padding, &one);
  complete(&a->dilation, &one);
  if (check_image(it)) return MW_FAILED;
  const geometry g = geometry_of(x, a);
  if (check_windows(it, "height", &g.h) || check_windows(it, "width", &g.w)) return MW_FAILED;
  it->out[0] = (mw_spec){
      .dtype = x->dtype, .rank = 4, .shape = {x->shape[0], x->shape[1], g.h.out, g.w.out}};
  return MW_OK;
}

/* ---- planes, in parallel ------------------------------------------------------------------ */

/* One plane of x and of y, forward, or of dx and dy, backward. index: maxpool's; see there. */
typedef void plane_kernel(const geometry *g, real *image, real *output, int32_t *index);

typedef struct job {
  geometry g;
  real *images, *outputs;
  int32_t *index;
  int64_t grain; /* planes in a chunk */
  plane_kernel *kernel;
} job;

static void run_chunk(void *arg, int64_t chunk, int worker) {
  (void)worker;
  const job *j = arg;
  const int64_t image = j->g.h.in * j->g.w.in, output = j->g.h.out * j->g.w.out;
  const int64_t end = mw_chunk_end(j->g.planes, j->grain, chunk);
  for (int64_t p = chunk * j->grain; p < end; p++)
    j->kernel(&j->g, j->images + p * image, j->outputs + p * output,
              j->index ? j->index + p * output : NULL);
}

/* A chunk is as many planes as have about this many elements. */
enum { CHUNK = 32768 };

static void run_planes(const mw_call *call, const mw_array *x, const mw_array *y, int32_t *index,
                       plane_kernel *kernel) {
  job j = {.g = geometry_of(&x->spec, call->attrs),
           .images = x->data,
           .outputs = y->data,
           .index = index,
           .kernel = kernel};
  j.grain = CHUNK / (j.g.h.in * j.g.w.in) + 1;
  mw_parallel(call, mw_chunks(j.g.planes, j.grain), run_chunk, &j);
}

/* Where no gradient arrives, dx is zeros. */
static mw_status run_backward(const mw_call *call, int32_t *index, plane_kernel *kernel) {
  if (!call->din[0].data) return MW_OK;
  if (call->dout[0].data) run_planes(call, &call->din[0], &call->dout[0], index, kernel);
  else memset(call->din[0].data, 0, (size_t)call->din[0].count * sizeof(real));
  return MW_OK;
}

/* ---- maxpool ------------------------------------------------------------------------------ */

/* What is kept from forward to backward is for each output the place of its maximum in the plane
 * of x, or NOWHERE for a window without a cell of the image, which gives -infinity. */
enum { NOWHERE = -1 };

/* Whether v takes the place of best: a larger one does, and the first NaN, which then stays.
 * One condition at a time, so that loops of it become vectors. */
static inline int32_t beats(real v, real best) {
  const int32_t larger = v > best ? 1 : 0, number = best == best ? 1 : 0;
  return v != v ? number : larger;
}

static int32_t largest(const geometry *g, const real *x, int64_t y0, int64_t x0) {
  int64_t at = NOWHERE;
  for (int64_t ky = 0; ky < g->h.kernel; ky++) {
    const int64_t y = y0 + ky * g->h.dilation;
    if (y < 0 || y >= g->h.in) continue;
    for (int64_t kx = 0; kx < g->w.kernel; kx++) {
      const int64_t here = y * g->w.in + x0 + kx * g->w.dilation;
      if (here < y * g->w.in || here >= (y + 1) * g->w.in) continue;
      if (at == NOWHERE || beats(x[here], x[at])) at = here;
    }
  }
  return (int32_t)at;
}

static void maxpool_plane(const geometry *g, real *x, real *y, int32_t *index) {
  for (int64_t oy = 0; oy < g->h.out; oy++)
    for (int64_t ox = 0; ox < g->w.out; ox++) {
      const int32_t at =
          largest(g, x, oy * g->h.stride - g->h.padding, ox * g->w.stride - g->w.padding);
      *y++ = at == NOWHERE ? (real)-INFINITY : x[at];
      if (index) *index++ = at;
    }
}

static void maxpool_plane_backward(const geometry *g, real *dx, real *dy, int32_t *index) {
  memset(dx, 0, (size_t)(g->h.in * g->w.in) * sizeof(real));
  for (int64_t i = 0; i < g->h.out * g->w.out; i++)
    if (index[i] != NOWHERE) dx[index[i]] += dy[i];
}

static mw_status maxpool_infer(mw_infer *it) {
  if (pool_infer(it)) return MW_FAILED;
  const int64_t *shape = it->out[0].shape, plane = it->in[0].shape[2] * it->in[0].shape[3];
  if (plane > INT32_MAX)
    return mw_fail(it, "x has images of %lld elements, expected at most 2^31 - 1",
                   (long long)plane);
  it->saved = (size_t)(shape[0] * shape[1]) * (size_t)(shape[2] * shape[3]) * sizeof(int32_t);
  return MW_OK;
}

static mw_status maxpool_forward(const mw_call *call) {
  run_planes(call, &call->in[0], &call->out[0], call->saved, maxpool_plane);
  return MW_OK;
}

static mw_status maxpool_backward(const mw_call *call) {
  return run_backward(call, call->saved, maxpool_plane_backward);
}

/* ---- maxpool's derivatives: v taken from, or put where the maxima are --------------------- */

/* take: y has for each window the v, shaped as x, at x's maximum; 0 where a window has no cell.
 * place, its transpose: y, shaped as x, is the sum there of the windows' v. */
typedef struct maxima_job {
  geometry g;
  const real *x, *v;
  real *y;
  int64_t grain;
  bool take;
} maxima_job;

static void maxima_chunk(void *arg, int64_t chunk, int worker) {
  (void)worker;
  const maxima_job *j = arg;
  const geometry *g = &j->g;
  const int64_t image = g->h.in * g->w.in, output = g->h.out * g->w.out;
  const int64_t end = mw_chunk_end(g->planes, j->grain, chunk);
  for (int64_t p = chunk * j->grain; p < end; p++) {
    const real *x = j->x + p * image, *v = j->v + p * (j->take ? image : output);
    real *y = j->y + p * (j->take ? output : image);
    if (!j->take) memset(y, 0, (size_t)image * sizeof(real));
    for (int64_t oy = 0; oy < g->h.out; oy++)
      for (int64_t ox = 0; ox < g->w.out; ox++) {
        const int32_t at =
            largest(g, x, oy * g->h.stride - g->h.padding, ox * g->w.stride - g->w.padding);
        const int64_t window = oy * g->w.out + ox;
        if (j->take) y[window] = at == NOWHERE ? 0 : v[at];
        else if (at != NOWHERE) y[at] += v[window];
      }
  }
}

static mw_status maxima_forward(const mw_call *call, bool take) {
  maxima_job j = {.g = geometry_of(&call->in[0].spec, call->attrs),
                  .x = call->in[0].data,
                  .v = call->in[1].data,
                  .y = call->out[0].data,
                  .take = take};
  j.grain = CHUNK / (j.g.h.in * j.g.w.in) + 1;
  mw_parallel(call, mw_chunks(j.g.planes, j.grain), maxima_chunk, &j);
  return MW_OK;
}

static mw_status take_forward(const mw_call *call) { return maxima_forward(call, true); }
static mw_status place_forward(const mw_call *call) { return maxima_forward(call, false); }

static mw_status maxima_infer(mw_infer *it, bool take) {
  char text[MW_SPEC_TEXT], wanted[MW_SPEC_TEXT];
  if (mw_expect_same_dtype(it, 1, 0) || maxpool_infer(it)) return MW_FAILED;
  const mw_spec windows_spec = it->out[0], *v = &it->in[1];
  const mw_spec *expected = take ? &it->in[0] : &windows_spec;
  if (!mw_same_shape(v, expected))
    return mw_fail(it, "v is %s, expected %s", it->host->spec_text(v, text),
                   it->host->spec_text(expected, wanted));
  it->out[0] = take ? windows_spec : it->in[0];
  it->saved = 0;
  return MW_OK;
}

static mw_status take_infer(mw_infer *it) { return maxima_infer(it, true); }
static mw_status place_infer(mw_infer *it) { return maxima_infer(it, false); }

static mw_tensor *at_maxima(mw_build *g, const char *op, mw_tensor *v) {
  const pool_attrs *a = g->attrs;
  const mw_setting settings[] = {
      mw_list("kernel", 2, a->kernel.at), mw_list("stride", 2, a->stride.at),
      mw_list("padding", 2, a->padding.at), mw_list("dilation", 2, a->dilation.at),
      mw_bool("ceil_mode", a->ceil_mode)};
  return mw_make(g, op, 2, (mw_tensor *[]){g->in[0], v}, 5, settings);
}

/* Where the maxima are changes by jumps: x has no gradient from it. */
static mw_status maxpool_gradient(mw_build *g) {
  g->din[0] = at_maxima(g, "maxpool_place", g->dout[0]);
  return MW_OK;
}
static mw_status take_gradient(mw_build *g) {
  if (g->wanted[1]) g->din[1] = at_maxima(g, "maxpool_place", g->dout[0]);
  return MW_OK;
}
static mw_status place_gradient(mw_build *g) {
  if (g->wanted[1]) g->din[1] = at_maxima(g, "maxpool_take", g->dout[0]);
  return MW_OK;
}

/* ---- meanpool ----------------------------------------------------------------------------- */

/* The cells of one window along one axis. */
typedef struct span {
  int64_t first, end; /* in the image */
  int64_t cells;      /* that the mean counts */
} span;

static span span_of(const windows *s, int64_t out, bool count_include_pad) {
  const int64_t start = out * s->stride - s->padding, stop = start + s->kernel;
  const int64_t edge = s->in + s->padding; /* cells beyond the padding never count */
  span a = {.first = start > 0 ? start : 0, .end = stop < s->in ? stop : s->in};
  a.cells = count_include_pad ? (stop < edge ? stop : edge) - start : a.end - a.first;
  return a;
}

static void meanpool_plane(const geometry *g, real *x, real *y, int32_t *index) {
  (void)index;
  for (int64_t oy = 0; oy < g->h.out; oy++) {
    const span h = span_of(&g->h, oy, g->count_include_pad);
    for (int64_t ox = 0; ox < g->w.out; ox++) {
      const span w = span_of(&g->w, ox, g->count_include_pad);
      real sum = 0;
      for (int64_t i = h.first; i < h.end; i++)
        for (int64_t j = w.first; j < w.end; j++) sum += x[i * g->w.in + j];
      *y++ = sum / (real)(h.cells * w.cells);
    }
  }
}

/* Every cell of a window gets an equal share. For windows of n x n side by side this is
 * kron(dy, ones(n, n) / n^2); the loop below says it for windows that overlap too. */
static void meanpool_plane_backward(const geometry *g, real *dx, real *dy, int32_t *index) {
  (void)index;
  memset(dx, 0, (size_t)(g->h.in * g->w.in) * sizeof(real));
  for (int64_t oy = 0; oy < g->h.out; oy++) {
    const span h = span_of(&g->h, oy, g->count_include_pad);
    for (int64_t ox = 0; ox < g->w.out; ox++) {
      const span w = span_of(&g->w, ox, g->count_include_pad);
      const real share = *dy++ / (real)(h.cells * w.cells);
      for (int64_t i = h.first; i < h.end; i++)
        for (int64_t j = w.first; j < w.end; j++) dx[i * g->w.in + j] += share;
    }
  }
}

static mw_status meanpool_forward(const mw_call *call) {
  run_planes(call, &call->in[0], &call->out[0], NULL, meanpool_plane);
  return MW_OK;
}

static mw_status meanpool_backward(const mw_call *call) {
  return run_backward(call, NULL, meanpool_plane_backward);
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define SIDES                                                                                     \
  "The result has (size + 2 padding - (kernel - 1) dilation - 1) / stride + 1 rows or columns, "  \
  "rounded down, or up with ceil_mode, where a last window must begin before the padding on the " \
  "right."

/* One for each cell of each window, forward and back; but maxpool's backward has its places. */
static double cells(const mw_call *call) {
  const pool_attrs *a = call->attrs;
  const int64_t n = (call->backward ? call->dout : call->out)[0].count;
  return (double)n * (double)(a->kernel.at[0] * a->kernel.at[1]);
}
static double maxpool_flops(const mw_call *call) {
  return call->backward ? (double)call->dout[0].count : cells(call);
}
/* v has a number for each window. */
static double place_flops(const mw_call *call) {
  const pool_attrs *a = call->attrs;
  return (double)call->in[1].count * (double)(a->kernel.at[0] * a->kernel.at[1] + 1);
}

static const mw_op maxpool_op = {
    .name = "maxpool",
    .version = 1,
    .doc =
        "The largest value of each window of NCHW images. A NaN in a window is its largest value; "
        "of equal ones the first in row-major order gets the gradient. " SIDES,
    .example = "mw.maxpool(mw.randn{2,3,6,6}, {kernel=3, stride=2})",
    .cases =
        "mw.maxpool(mw.randn{1,2,5,4}, {kernel={3,2}, stride={2,1}, padding=1, ceil_mode=true})\n"
        "mw.maxpool(mw.randn{1,1,7,6}, {kernel=2, stride=3, dilation={2,1}})\n"
        "mw.maxpool(mw.randn{2,1,5,7}, {kernel=2})\n"
        "mw.maxpool(mw.randn{1,1,1,1}, {kernel=1})\n"
        "mw.maxpool(mw.randn{0,2,4,4}, {kernel=2})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"}},
    .outputs = {{"y", .doc = "[batch, channels, output height, output width]"}},
    .attrs = maxpool_schema,
    .attrs_size = sizeof(pool_attrs),
    .flags = MW_PICKS,
    .backward_needs = MW_NEEDS_SAVED,
    .batched = MW_IN(0),
    .infer = maxpool_infer,
    .forward = maxpool_forward,
    .backward = maxpool_backward,
    .gradient = maxpool_gradient,
    .flops = maxpool_flops,
};

#define AT_MAXIMA \
  .version = 1, .outputs = {{"y"}}, .attrs = maxpool_schema, .attrs_size = sizeof(pool_attrs)

static const mw_op maxpool_take_op = {
    .name = "maxpool_take",
    .doc =
        "For each window of maxpool the element of v where x has its maximum: the derivative of "
        "maxpool at x in the direction v. NaN in x counts as largest.",
    .example = "mw.maxpool_take(mw.randn{2,3,6,6}, mw.randn{2,3,6,6}, {kernel=3, stride=2})",
    .cases =
        "mw.maxpool_take(mw.randn{1,2,5,4}, mw.randn{1,2,5,4}, "
        "{kernel={3,2}, stride=2, padding=1, ceil_mode=true})\n"
        "mw.maxpool_take(mw.randn{1,1,4,5}, mw.randn{1,1,4,5}, {kernel=2, dilation=2})\n"
        "mw.maxpool_take(mw.randn{0,2,4,4}, mw.randn{0,2,4,4}, {kernel=2})",
    .inputs = {{"x", .doc = "images"}, {"v", .doc = "of x's shape"}},
    .infer = take_infer,
    .forward = take_forward,
    .gradient = take_gradient,
    AT_MAXIMA,
    .flops = cells,
};

static const mw_op maxpool_place_op = {
    .name = "maxpool_place",
    .doc =
        "Zeros but where the windows of maxpool have their maxima in x; there the sum of the "
        "windows' v: what maxpool's gradient is. NaN in x counts as largest.",
    .example = "mw.maxpool_place(mw.randn{2,3,6,6}, mw.randn{2,3,2,2}, {kernel=3, stride=2})",
    .cases =
        "mw.maxpool_place(mw.randn{1,2,5,4}, mw.randn{1,2,3,3}, "
        "{kernel={3,2}, stride=2, padding=1, ceil_mode=true})\n"
        "mw.maxpool_place(mw.randn{1,1,4,5}, mw.randn{1,1,1,1}, {kernel=2, stride=3, dilation=2})\n"
        "mw.maxpool_place(mw.randn{0,2,4,4}, mw.randn{0,2,2,2}, {kernel=2})",
    .inputs = {{"x", .doc = "images"}, {"v", .doc = "of the shape of maxpool's result"}},
    .infer = place_infer,
    .forward = place_forward,
    .gradient = place_gradient,
    AT_MAXIMA,
    .flops = place_flops,
};

static const mw_op meanpool_op = {
    .name = "meanpool",
    .version = 1,
    .doc = "The mean of each window of NCHW images. " SIDES,
    .example = "mw.meanpool(mw.randn{2,3,6,6}, {kernel=3, stride=2, padding=1})",
    .cases =
        "mw.meanpool(mw.randn{1,2,5,4}, {kernel={3,2}, stride={2,1}, padding=1, ceil_mode=true})\n"
        "mw.meanpool(mw.randn{1,2,5,4}, {kernel=3, stride=2, padding=1, ceil_mode=true, "
        "count_include_pad=false})\n"
        "mw.meanpool(mw.randn{2,1,4,6}, {kernel=2})\n"
        "mw.meanpool(mw.randn{1,1,1,1}, {kernel=1})\n"
        "mw.meanpool(mw.randn{0,2,4,4}, {kernel=2})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"}},
    .outputs = {{"y", .doc = "[batch, channels, output height, output width]"}},
    .attrs = meanpool_schema,
    .attrs_size = sizeof(pool_attrs),
    .flags = MW_LINEAR,
    .batched = MW_IN(0),
    .infer = pool_infer,
    .forward = meanpool_forward,
    .backward = meanpool_backward,
    .flops = cells,
};

MW_PLUGIN(&maxpool_op, &maxpool_take_op, &maxpool_place_op, &meanpool_op)
