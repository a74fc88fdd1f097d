/* pool_vectors.c: the kernels of pool.c's maxpool and meanpool for windows that are one or two cells
 * apart along the width: MW_LANES windows of a row at a time.
 *
 * The cells of a block of windows are taken one after the other, in row-major order, each from all
 * windows at once: a load, or two and a shuffle where windows are two cells apart, then about 10
 * instructions, or one for a mean; what was found so far stays in registers. Cells outside of the
 * image are masked, where a block has any. A block that would read outside of the plane is left to
 * plain loops. With AVX2 a 3 x 3 window costs about 5 cycles. */
#include <math.h>

#include "../graph/vector.h"

/* The windows along one axis. */
typedef struct windows {
  int64_t in, out; /* sizes of the image, and of the output */
  int64_t kernel, stride, padding, dilation;
} windows;

typedef struct geometry {
  int64_t planes;
  windows h, w;
  bool count_include_pad;
} geometry;

typedef int32_t indices __attribute__((vector_size(4 * MW_LANES)));

enum { NOWHERE = -1 }; /* see pool.c: the index of a window without a cell of the image */

/* ---- one window --------------------------------------------------------------------------- */

/* What was found of MW_LANES windows so far: their maxima and these's places, or sums. */
typedef struct found {
  mw_vector value;
  mw_mask at;
} found;

/* How many cells of window k along an axis count for a mean. */
static int64_t counted(const windows *s, int64_t k, bool count_include_pad) {
  const int64_t start = k * s->stride - s->padding, stop = start + s->kernel;
  const int64_t low = count_include_pad ? start : start > 0 ? start : 0;
  const int64_t edge = s->in + (count_include_pad ? s->padding : 0);
  return (stop < edge ? stop : edge) - low;
}

static bool beats(real v, real best) { return v > best || (v != v && best == best); }

/* One window, in plain loops. */
static void one_window(const geometry *g, bool mean, const real *x, int64_t oy, int64_t ox, real *y,
                       int32_t *index) {
  int64_t at = NOWHERE;
  real sum = 0;
  for (int64_t ky = 0; ky < g->h.kernel; ky++)
    for (int64_t kx = 0; kx < g->w.kernel; kx++) {
      const int64_t row = oy * g->h.stride - g->h.padding + ky * g->h.dilation;
      const int64_t column = ox * g->w.stride - g->w.padding + kx * g->w.dilation;
      const int64_t here = row * g->w.in + column;
      if (row < 0 || row >= g->h.in || column < 0 || column >= g->w.in) continue;
      if (mean) sum += x[here];
      else if (at == NOWHERE || beats(x[here], x[at])) at = here;
    }
  if (mean) *y = sum;
  else *y = at == NOWHERE ? (real)-INFINITY : x[at];
  if (index) *index = (int32_t)at;
}

/* ---- a block of windows ------------------------------------------------------------------- */

MW_INLINE mw_mask lane_numbers(void) {
  mw_mask number = {0};
  MW_UNROLL for (int l = 0; l < MW_LANES; l++) number[l] = l;
  return number;
}

/* A cell of each window: a larger one, the first one, and the first NaN take the place. */
MW_INLINE void take(found *f, bool mean, mw_vector v, mw_mask place, mw_mask valid) {
  if (mean) {
    f->value += (mw_vector)((mw_mask)v & valid);
    return;
  }
  const mw_vector best = f->value;
  const mw_mask better = valid & ((v > best) | ((v != v) & (best == best)) | (f->at < 0));
  f->value = mw_select(better, v, best);
  f->at = (better & place) | (~better & f->at);
}

/* The windows from ox on of output row oy. `mean`, `inside` and `stride` are constants where this is
 * inlined; `inside`: no cell is outside of the image's columns. */
MW_INLINE found block_of(const geometry *g, bool mean, bool inside, int stride, const real *x,
                         int64_t oy, int64_t ox) {
  found f = {.at = (mw_mask){0} + NOWHERE};
  if (!mean) f.value += (real)-INFINITY;
  const mw_mask lanes = lane_numbers() * stride;
  for (int64_t ky = 0; ky < g->h.kernel; ky++) {
    const int64_t row = oy * g->h.stride - g->h.padding + ky * g->h.dilation;
    if (row < 0 || row >= g->h.in) continue;
    for (int64_t kx = 0; kx < g->w.kernel; kx++) {
      const int64_t column = ox * stride - g->w.padding + kx * g->w.dilation;
      const real *from = x + row * g->w.in + column;
      const mw_vector v = stride == 1
                              ? mw_load(from)
                              : mw_to_order(mw_evens(mw_load(from), mw_load(from + MW_LANES)));
      const mw_mask columns = lanes + (mw_integer)column;
      mw_mask valid = ~(mw_mask){0};
      if (!inside) valid = (columns >= 0) & (columns < (mw_integer)g->w.in);
      take(&f, mean, v, columns + (mw_integer)(row * g->w.in), valid);
    }
  }
  return f;
}

MW_INLINE found block_by_place(const geometry *g, bool mean, int stride, const real *x, int64_t oy,
                               int64_t ox) {
  const int64_t first = ox * stride - g->w.padding;
  const int64_t last = first + (MW_LANES - 1) * stride + (g->w.kernel - 1) * g->w.dilation;
  return first >= 0 && last < g->w.in ? block_of(g, mean, true, stride, x, oy, ox)
                                      : block_of(g, mean, false, stride, x, oy, ox);
}

/* Whether all that a block reads lies in the plane. Rows that are not in the image are not read. */
static bool is_safe(const geometry *g, int64_t oy, int64_t ox) {
  const int64_t top = oy * g->h.stride - g->h.padding;
  const int64_t left = ox * g->w.stride - g->w.padding;
  int64_t bottom = top + (g->h.kernel - 1) * g->h.dilation, first = top;
  while (first < 0) first += g->h.dilation;
  while (bottom >= g->h.in) bottom -= g->h.dilation;
  const int64_t end = left + (g->w.kernel - 1) * g->w.dilation + g->w.stride * MW_LANES;
  return first * g->w.in + left >= 0 && bottom * g->w.in + end <= g->h.in * g->w.in;
}

/* n windows from ox on, at most MW_LANES. */
MW_INLINE void run_windows(const geometry *g, bool mean, const real *x, int64_t oy, int64_t ox,
                           int64_t n, real *y, int32_t *index) {
  if (!is_safe(g, oy, ox)) {
    for (int64_t i = 0; i < n; i++)
      one_window(g, mean, x, oy, ox + i, y + i, index ? index + i : NULL);
    return;
  }
  const found f = g->w.stride == 1 ? block_by_place(g, mean, 1, x, oy, ox)
                                   : block_by_place(g, mean, 2, x, oy, ox);
  const indices places = __builtin_convertvector(f.at, indices);
  if (n == MW_LANES) {
    mw_store(y, f.value);
    if (index) memcpy(index, &places, sizeof places);
  } else {
    real value[MW_LANES];
    mw_store(value, f.value);
    memcpy(y, value, (size_t)n * sizeof(real));
    if (index) memcpy(index, &places, (size_t)n * sizeof(int32_t));
  }
}

/* The last block of a row overlaps the one before it. */
MW_INLINE void run_plane(const geometry *g, bool mean, const real *x, real *y, int32_t *index) {
  const int64_t n = g->w.out;
  for (int64_t oy = 0; oy < g->h.out; oy++, y += n, index += index ? n : 0)
    for (int64_t i = 0; i < n; i += MW_LANES) {
      const int64_t ox = i + MW_LANES <= n || n < MW_LANES ? i : n - MW_LANES;
      run_windows(g, mean, x, oy, ox, n < MW_LANES ? n : MW_LANES, y + ox,
                  index ? index + ox : NULL);
    }
}

static void max_plane(const geometry *g, const real *x, real *y, int32_t *index) {
  run_plane(g, false, x, y, index);
}

static void mean_plane(const geometry *g, const real *x, real *y, int32_t *index) {
  run_plane(g, true, x, y, index);
  for (int64_t oy = 0; oy < g->h.out; oy++) {
    const int64_t rows = counted(&g->h, oy, g->count_include_pad);
    for (int64_t ox = 0; ox < g->w.out; ox++)
      *y++ /= (real)(rows * counted(&g->w, ox, g->count_include_pad));
  }
}

/* ---- calls -------------------------------------------------------------------------------- */

enum { CHUNK = 32768 }; /* elements of x in a chunk, about */

typedef struct job {
  geometry g;
  const real *x;
  real *y;
  int32_t *index;
  int64_t grain; /* planes in a chunk */
  void (*plane)(const geometry *g, const real *x, real *y, int32_t *index);
} job;

static void run_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const geometry *g = &j->g;
  const int64_t image = g->h.in * g->w.in, output = g->h.out * g->w.out;
  const int64_t end = mw_chunk_end(g->planes, j->grain, chunk);
  (void)worker;
  for (int64_t p = chunk * j->grain; p < end; p++)
    j->plane(g, j->x + p * image, j->y + p * output, j->index ? j->index + p * output : NULL);
}

/* An attribute of the op, which its own file keeps in a struct of its own; NULL if it has none of
 * this name. */
static const void *attr(const mw_call *call, const char *name) {
  for (const mw_attr *a = call->op->attrs; a->name; a++)
    if (strcmp(a->name, name) == 0) return (const char *)call->attrs + a->offset;
  return NULL;
}

static windows windows_of(const mw_call *call, int axis) {
  const mw_ints *kernel = attr(call, "kernel"), *stride = attr(call, "stride");
  const mw_ints *padding = attr(call, "padding"), *dilation = attr(call, "dilation");
  return (windows){.in = call->in[0].spec.shape[2 + axis],
                   .out = call->out[0].spec.shape[2 + axis],
                   .kernel = kernel->at[axis],
                   .stride = stride->at[axis],
                   .padding = padding->at[axis],
                   .dilation = dilation ? dilation->at[axis] : 1};
}

static bool supports(const mw_call *call) { return windows_of(call, 1).stride <= 2; }

static mw_status maxpool_forward(const mw_call *call) {
  const int64_t *shape = call->in[0].spec.shape;
  job j = {.g = {shape[0] * shape[1], windows_of(call, 0), windows_of(call, 1), false},
           .x = call->in[0].data,
           .y = call->out[0].data,
           .index = call->saved,
           .plane = max_plane};
  j.grain = CHUNK / (shape[2] * shape[3]) + 1;
  mw_parallel(call, mw_chunks(j.g.planes, j.grain), run_chunk, &j);
  return MW_OK;
}

static mw_status meanpool_forward(const mw_call *call) {
  const int64_t *shape = call->in[0].spec.shape;
  job j = {.g = {shape[0] * shape[1], windows_of(call, 0), windows_of(call, 1),
                 *(const bool *)attr(call, "count_include_pad")},
           .x = call->in[0].data,
           .y = call->out[0].data,
           .plane = mean_plane};
  j.grain = CHUNK / (shape[2] * shape[3]) + 1;
  mw_parallel(call, mw_chunks(j.g.planes, j.grain), run_chunk, &j);
  return MW_OK;
}

static const mw_kernel maxpool = {
    .op = "maxpool",
    .name = "vectors",
    .priority = 5,
    .supports = supports,
    .forward = maxpool_forward,
};

static const mw_kernel meanpool = {
    .op = "meanpool",
    .name = "vectors",
    .priority = 5,
    .supports = supports,
    .forward = meanpool_forward,
};

MW_PLUGIN_WITH_KERNELS((NULL), (&maxpool, &meanpool))
