/* pool_2x2.c: the kernels of pool.c's maxpool and meanpool for windows of 2 x 2 side by side.
 *
 * MW_LANES windows are taken at once. Two vectors from each of the two rows are separated into left
 * and right cells, which gives the four cells of every window in four vectors; backward interleaves
 * again, and writes each element of dx once. A block loads 4 vectors, stores 1 or 2, and computes
 * about 30 instructions without a branch: 2 to 3 bytes of x a cycle with AVX2, as fast as the second
 * cache gives it.
 *
 * The last block of a row overlaps the one before it. In planes with rows narrower than a block,
 * blocks reach into the rows that follow, which are written after it; where a chunk's planes end, a
 * block goes through a buffer. */
#include "../graph/vector.h"

/* Planes of x are [h, w], those of y [oh, ow]. */
typedef struct shape {
  int64_t planes, h, w, oh, ow;
} shape;

/* Where a block is: its rows are w elements apart, the first begins at element `start` of the
 * plane. */
typedef struct place {
  int64_t start, w;
} place;

/* index has what pool.c keeps: for each window the place of its maximum in the plane. */
typedef void (*reduce_block)(const real *a, const real *b, place at, real *y, int32_t *index);
typedef void (*spread_block)(real *a, real *b, place at, const real *dy, const int32_t *index);

typedef int32_t indices __attribute__((vector_size(4 * MW_LANES)));

enum { PAIRS = 2 * MW_LANES }; /* elements of a block's row */

/* ---- maxpool ------------------------------------------------------------------------------ */

/* Whether v takes the place of best: a larger one does, and the first NaN, which then stays. */
MW_INLINE mw_mask beats(mw_vector v, mw_vector best) { return ~(v <= best) & (best == best); }

/* The positions of the windows' first cells, as mw_evens has them. */
MW_INLINE mw_mask positions(place at) {
  mw_mask position = {0};
  MW_UNROLL for (int l = 0; l < MW_LANES; l++) position[l] = 2 * l;
  return mw_from_order(position) + (mw_integer)at.start;
}

/* Of the two cells of a row the right one counts if it is larger; of the rows, the lower one. A
 * mask's lanes are 0 or -1. */
MW_INLINE void max_block(const real *a, const real *b, place at, real *y, int32_t *index) {
  const mw_vector a0 = mw_load(a), a1 = mw_load(a + MW_LANES);
  const mw_vector b0 = mw_load(b), b1 = mw_load(b + MW_LANES);
  const mw_vector left_a = mw_evens(a0, a1), right_a = mw_odds(a0, a1);
  const mw_vector left_b = mw_evens(b0, b1), right_b = mw_odds(b0, b1);
  const mw_mask in_a = beats(right_a, left_a), in_b = beats(right_b, left_b);
  const mw_vector best_a = mw_select(in_a, right_a, left_a);
  const mw_vector best_b = mw_select(in_b, right_b, left_b);
  const mw_mask below = beats(best_b, best_a);
  mw_store(y, mw_to_order(mw_select(below, best_b, best_a)));
  if (!index) return;
  const mw_mask first = positions(at), at_a = first - in_a;
  const mw_mask at_b = first + (mw_integer)at.w - in_b;
  const mw_mask best = mw_to_order((below & at_b) | (~below & at_a));
  const indices found = __builtin_convertvector(best, indices);
  memcpy(index, &found, sizeof found);
}

/* Each cell gets dy if it is its window's maximum, else 0. */
MW_INLINE void max_spread(real *a, real *b, place at, const real *dy, const int32_t *index) {
  indices found;
  memcpy(&found, index, sizeof found);
  const mw_mask maximum = mw_from_order(__builtin_convertvector(found, mw_mask));
  const mw_mask first = positions(at), second = first + (mw_integer)at.w;
  const mw_mask d = (mw_mask)mw_from_order(mw_load(dy));
  const mw_vector left_a = (mw_vector)(d & (maximum == first));
  const mw_vector right_a = (mw_vector)(d & (maximum == first + 1));
  const mw_vector left_b = (mw_vector)(d & (maximum == second));
  const mw_vector right_b = (mw_vector)(d & (maximum == second + 1));
  mw_store(a, mw_zip_first(left_a, right_a));
  mw_store(a + MW_LANES, mw_zip_second(left_a, right_a));
  mw_store(b, mw_zip_first(left_b, right_b));
  mw_store(b + MW_LANES, mw_zip_second(left_b, right_b));
}

/* ---- meanpool ----------------------------------------------------------------------------- */

MW_INLINE void mean_block(const real *a, const real *b, place at, real *y, int32_t *index) {
  const mw_vector a0 = mw_load(a), a1 = mw_load(a + MW_LANES);
  const mw_vector b0 = mw_load(b), b1 = mw_load(b + MW_LANES);
  const mw_vector above = mw_evens(a0, a1) + mw_odds(a0, a1);
  mw_store(y, mw_to_order((above + mw_evens(b0, b1) + mw_odds(b0, b1)) / 4));
  (void)at, (void)index;
}

MW_INLINE void mean_spread(real *a, real *b, place at, const real *dy, const int32_t *index) {
  const mw_vector share = mw_from_order(mw_load(dy) / 4);
  const mw_vector first = mw_zip_first(share, share), second = mw_zip_second(share, share);
  mw_store(a, first);
  mw_store(a + MW_LANES, second);
  mw_store(b, first);
  mw_store(b + MW_LANES, second);
  (void)at, (void)index;
}

/* ---- planes: the block is known where these are inlined ----------------------------------- */

/* How many of the first rows of y whole blocks may begin at, if a block is not to leave this plane
 * and those after it, `planes` in all. */
static int64_t safe_rows(const shape *s, int64_t planes) {
  int64_t rows = s->oh;
  if (s->ow >= MW_LANES) return rows;
  const int64_t x = planes * s->h * s->w - PAIRS - s->w, y = planes * s->oh * s->ow - MW_LANES;
  while (rows > 0 && (2 * (rows - 1) * s->w > x || (rows - 1) * s->ow > y)) rows--;
  return rows;
}

/* `planes` counts this one and those that follow it, and are written after it. */
MW_INLINE void reduce_plane(const shape *s, int64_t planes, const real *x, real *y, int32_t *index,
                            reduce_block block) {
  const int64_t w = s->w, n = s->ow, safe = safe_rows(s, planes);
  for (int64_t i = 0; i < s->oh; i++, y += n, index += index ? n : 0) {
    const real *a = x + 2 * i * w, *b = a + w;
    if (i < safe) {
      for (int64_t j = 0; j < n; j += MW_LANES) {
        const int64_t k = j + MW_LANES <= n || n < MW_LANES ? j : n - MW_LANES;
        block(a + 2 * k, b + 2 * k, (place){2 * (i * w + k), w}, y + k, index ? index + k : NULL);
      }
      continue;
    }
    real whole_a[PAIRS] = {0}, whole_b[PAIRS] = {0}, whole_y[MW_LANES];
    int32_t whole_index[MW_LANES];
    memcpy(whole_a, a, (size_t)n * 2 * sizeof(real));
    memcpy(whole_b, b, (size_t)n * 2 * sizeof(real));
    block(whole_a, whole_b, (place){2 * i * w, w}, whole_y, index ? whole_index : NULL);
    memcpy(y, whole_y, (size_t)n * sizeof(real));
    if (index) memcpy(index, whole_index, (size_t)n * sizeof(int32_t));
  }
}

/* Cells in no window get 0. */
MW_INLINE void spread_plane(const shape *s, int64_t planes, real *dx, const real *dy,
                            const int32_t *index, spread_block block) {
  const int64_t w = s->w, n = s->ow, safe = safe_rows(s, planes);
  for (int64_t i = 0; i < s->oh; i++, dy += n, index += index ? n : 0) {
    real *a = dx + 2 * i * w, *b = a + w;
    if (i < safe) {
      for (int64_t j = 0; j < n; j += MW_LANES) {
        const int64_t k = j + MW_LANES <= n || n < MW_LANES ? j : n - MW_LANES;
        block(a + 2 * k, b + 2 * k, (place){2 * (i * w + k), w}, dy + k, index ? index + k : NULL);
      }
    } else {
      real whole_a[PAIRS], whole_b[PAIRS], whole_dy[MW_LANES] = {0};
      int32_t whole_index[MW_LANES] = {0};
      memcpy(whole_dy, dy, (size_t)n * sizeof(real));
      if (index) memcpy(whole_index, index, (size_t)n * sizeof(int32_t));
      block(whole_a, whole_b, (place){2 * i * w, w}, whole_dy, whole_index);
      memcpy(a, whole_a, (size_t)n * 2 * sizeof(real));
      memcpy(b, whole_b, (size_t)n * 2 * sizeof(real));
    }
    for (int64_t j = 2 * n; j < w; j++) a[j] = b[j] = 0;
  }
  if (s->h > 2 * s->oh)
    memset(dx + 2 * s->oh * w, 0, (size_t)((s->h - 2 * s->oh) * w) * sizeof(real));
}

/* ---- calls -------------------------------------------------------------------------------- */

typedef void (*plane_kernel)(const shape *s, int64_t planes, real *image, real *output,
                             int32_t *index);

static void max_plane(const shape *s, int64_t planes, real *x, real *y, int32_t *index) {
  if (index) reduce_plane(s, planes, x, y, index, max_block);
  else reduce_plane(s, planes, x, y, NULL, max_block);
}

static void max_plane_backward(const shape *s, int64_t planes, real *dx, real *dy, int32_t *index) {
  spread_plane(s, planes, dx, dy, index, max_spread);
}

static void mean_plane(const shape *s, int64_t planes, real *x, real *y, int32_t *index) {
  (void)index;
  reduce_plane(s, planes, x, y, NULL, mean_block);
}

static void mean_plane_backward(const shape *s, int64_t planes, real *dx, real *dy,
                                int32_t *index) {
  (void)index;
  spread_plane(s, planes, dx, dy, NULL, mean_spread);
}

enum { CHUNK = 32768 }; /* elements of x in a chunk, about */

typedef struct job {
  shape shape;
  real *images, *outputs;
  int32_t *index;
  int64_t grain; /* planes in a chunk */
  plane_kernel kernel;
} job;

static void run_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const shape *s = &j->shape;
  const int64_t image = s->h * s->w, output = s->oh * s->ow;
  const int64_t end = mw_chunk_end(s->planes, j->grain, chunk);
  (void)worker;
  for (int64_t p = chunk * j->grain; p < end; p++)
    j->kernel(s, end - p, j->images + p * image, j->outputs + p * output,
              j->index ? j->index + p * output : NULL);
}

static void run(const mw_call *call, const mw_array *x, const mw_array *y, plane_kernel kernel) {
  const int64_t *in = x->spec.shape, *out = y->spec.shape;
  job j = {.shape = {in[0] * in[1], in[2], in[3], out[2], out[3]},
           .images = x->data,
           .outputs = y->data,
           .index = call->saved,
           .kernel = kernel};
  j.grain = CHUNK / (in[2] * in[3]) + 1;
  mw_parallel(call, mw_chunks(j.shape.planes, j.grain), run_chunk, &j);
}

/* Where no gradient arrives, dx is zeros. */
static void run_backward(const mw_call *call, plane_kernel kernel) {
  const mw_array *dx = &call->din[0];
  if (!dx->data) return;
  if (call->dout[0].data) run(call, dx, &call->dout[0], kernel);
  else memset(dx->data, 0, (size_t)dx->count * sizeof(real));
}

static mw_status maxpool_forward(const mw_call *call) {
  return run(call, &call->in[0], &call->out[0], max_plane), MW_OK;
}
static mw_status maxpool_backward(const mw_call *call) {
  return run_backward(call, max_plane_backward), MW_OK;
}
static mw_status meanpool_forward(const mw_call *call) {
  return run(call, &call->in[0], &call->out[0], mean_plane), MW_OK;
}
static mw_status meanpool_backward(const mw_call *call) {
  return run_backward(call, mean_plane_backward), MW_OK;
}

/* Whether an attribute of the op, if it has it, is {value, value}. */
static bool is_pair(const mw_call *call, const char *name, int64_t value) {
  for (const mw_attr *a = call->op->attrs; a->name; a++) {
    if (strcmp(a->name, name) != 0) continue;
    const mw_ints *pair = (const void *)((const char *)call->attrs + a->offset);
    return pair->at[0] == value && pair->at[1] == value;
  }
  return true;
}

/* No window hangs over the edge, as one may with ceil_mode. */
static bool supports(const mw_call *call) {
  const int64_t *in = call->in[0].spec.shape, *out = call->out[0].spec.shape;
  return is_pair(call, "kernel", 2) && is_pair(call, "stride", 2) && is_pair(call, "padding", 0) &&
         is_pair(call, "dilation", 1) && 2 * out[2] <= in[2] && 2 * out[3] <= in[3];
}

static const mw_kernel maxpool = {
    .op = "maxpool",
    .name = "2x2",
    .priority = 10,
    .supports = supports,
    .forward = maxpool_forward,
    .backward = maxpool_backward,
};

static const mw_kernel meanpool = {
    .op = "meanpool",
    .name = "2x2",
    .priority = 10,
    .supports = supports,
    .forward = meanpool_forward,
    .backward = meanpool_backward,
};

MW_PLUGIN_WITH_KERNELS((NULL), (&maxpool, &meanpool))
