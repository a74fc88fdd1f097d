/* conv2d_winograd.c: conv2d with kernels of 3 x 3, stride 1, by Winograd's minimal filtering.
 *
 * F(4x4, 3x3) of Lavin and Gray (2015, arXiv:1509.09308): a tile of 4 x 4 pixels of y comes from
 * 6 x 6 of x, by 36 products a channel instead of 144,
 *
 *     Y = A' [ (G g G') . (B' d B) ] A,
 *
 * with the points 0, +-sqrt(1/2), +-sqrt(2) and infinity: their transforms cost the same as those
 * of the usual 0, +-1, +-2, and lose two bits less. Summed over channels these are 36 matrix
 * products, one for each of the elements xi of a transformed tile:
 *
 *     y:   M[xi][tile, o] = V[xi][tile, c] U[xi][c, o],    V = B' d B, U = G g G', y = A' M A
 *     dx:  the same of dy, with the kernels turned by 180 degrees and from o to c
 *     dw:  dU[xi][c, o] = V[xi][tile, c]' dM[xi][tile, o],  dM = A dy A', dw = G' dU G
 *
 * Transforms run on vectors of channels, for which some rows of the image are laid out anew, a
 * vector of channels a pixel. A block of tiles is as many rows of them as keep V in half of a
 * second-level cache; M and the pixels made of it are kept for one panel of filters at a time. The
 * micro-kernel broadcasts ROWS elements of V and multiplies them with VECTORS vectors along o:
 *
 *     level      registers   tile    sums  loads : multiply-adds in a step
 *     AVX-512    32 of 64 B  6 x 4   24    10 : 24
 *     AVX, AVX2  16 of 32 B  6 x 2   12     8 : 12
 *     SSE2       16 of 16 B  6 x 2   12     8 : 12   (a multiply and an add each)
 *     AArch64    32 of 16 B  6 x 4   24    10 : 24
 *
 * It takes a quarter of the direct sum's multiply-adds. Counted as if it took them all, a core with
 * AVX2 does 190 to 250 % of its peak with 64 channels or more, and 180 to 210 % with 32; dw, whose
 * sums are larger than a cache, 110 to 190 %.
 *
 * Errors in f32 grow: measured up to 3.3e-6 of the largest number in y and dx, 1e-6 in dw, at most
 * nine times those of direct sums (normal and uniform x and w, also positive ones, of 16 to 256
 * channels). Of the tolerance of the reference cases, 20 times the error of direct sums and 1e-6 of
 * the largest number, that is 40 %, so programs take it on their own.
 *
 * An infinity or NaN, in x or w, makes NaN of all of each tile that sees it: where direct sums have
 * an infinity, or a finite number beside NaN, there is NaN here. What depends on NaN is NaN. The
 * padding's zeros times an infinite weight are NaN, as the op says. Once numbers are not finite a
 * network is lost, and mw.debug.nan() looks at what comes into a step before what comes out. */
#include <string.h>

#include "../graph/moonwalk.h"
#include "../graph/vector.h"
#include "conv2d.h"

enum {
  ROWS = 6,
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
  VECTORS = 4,
#else
  VECTORS = 2,
#endif
  WIDTH = VECTORS * MW_LANES,
  SIDE = 4, /* of a tile of y, */
  SEEN = 6, /* and of what it sees of x */
  POINTS = SEEN * SEEN,
  LINE = 64 / (int)sizeof(real),  /* elements in a line of cache */
  SEEN_BYTES = 272 * 1024,        /* of V, if a row of tiles is not more */
  SLICES = 8,                     /* parts of the batch that sum dw apart, at most */
  SLICE_BYTES = 16 * 1024 * 1024, /* and the memory for them, if one is not more */
  WIDE = 64,                      /* filters of dw that a chunk sums */
};

/* ---- what a call computes ----------------------------------------------------------------- */

/* Multiplies planes of one array into planes of another: y of x, or dx of dy. */
typedef struct pass {
  const mw_call *call;
  int64_t n, channels, filters;
  int64_t h, w, oh, ow;       /* planes of what is read, and made */
  int64_t top, left;          /* zeros around it */
  int64_t depth;              /* channels in whole vectors */
  int64_t down, across;       /* tiles in a plane */
  int64_t rows, bands, tiles; /* rows of tiles in a block; blocks in a plane; tiles in a block */
  int64_t pitch, out_pitch;   /* distances of the matrices of V, and of M */
  int64_t vectors, panels;    /* of filters */
  const real *from, *weights, *bias;
  real *to;
  bool to_x, turn;               /* weights are read from their other side; and turned */
  const real *dy;                /* of dw */
  int64_t images, slices, parts; /* of the batch in a slice; slices; parts of the panels */
} pass;

/* An odd number of lines spreads the matrices over all the sets of a cache. */
static int64_t odd_lines(int64_t elements) { return (mw_chunks(elements, LINE) | 1) * LINE; }

static pass pass_of(const mw_call *call, bool to_x) {
  const int64_t *x = call->in[0].spec.shape, *y = call->out[0].spec.shape;
  const mw_ints *padding = attr(call, "padding");
  pass s = {.call = call, .n = x[0], .to_x = to_x, .weights = call->in[1].data};
  s.channels = to_x ? y[1] : x[1], s.filters = to_x ? x[1] : y[1];
  s.h = to_x ? y[2] : x[2], s.w = to_x ? y[3] : x[3];
  s.oh = to_x ? x[2] : y[2], s.ow = to_x ? x[3] : y[3];
  s.top = to_x ? 2 - padding->at[0] : padding->at[0];
  s.left = to_x ? 2 - padding->at[1] : padding->at[1];
  s.turn = *(const bool *)attr(call, "flip") != to_x;
  s.depth = mw_chunks(s.channels, MW_LANES) * MW_LANES;
  s.down = mw_chunks(s.oh, SIDE), s.across = mw_chunks(s.ow, SIDE);
  const int64_t row = POINTS * s.across * s.depth * (int64_t)sizeof(real);
  s.bands = mw_chunks(s.down, most(1, SEEN_BYTES / row));
  s.rows = mw_chunks(s.down, s.bands);
  s.bands = mw_chunks(s.down, s.rows);
  s.tiles = s.rows * s.across;
  s.pitch = odd_lines(s.tiles * s.depth), s.out_pitch = odd_lines(s.tiles * WIDTH);
  s.vectors = mw_chunks(s.filters, MW_LANES), s.panels = mw_chunks(s.vectors, VECTORS);
  return s;
}

/* The first vector of a panel; of the one behind the last it is the number of vectors. */
static int64_t vector_of(const pass *s, int64_t panel) { return s->vectors * panel / s->panels; }

/* ---- transforms of one direction ---------------------------------------------------------- */

/* The square root of 2, and of the sum of the points' squares, 2 and 1/2. */
static const real ROOT = (real)1.41421356237309505, MIDDLE = (real)2.5;

/* B' */
MW_INLINE void see(const mw_vector *d, mw_vector *v) {
  const mw_vector a = d[4] - 2 * d[2], b = ROOT / 2 * (d[3] - 2 * d[1]);
  const mw_vector c = d[4] - d[2] / 2, e = ROOT * (d[3] - d[1] / 2);
  v[0] = d[0] - MIDDLE * d[2] + d[4];
  v[1] = a + b;
  v[2] = a - b;
  v[3] = c + e;
  v[4] = c - e;
  v[5] = d[1] - MIDDLE * d[3] + d[5];
}

/* A' */
MW_INLINE void collect(const mw_vector *m, mw_vector *y) {
  const mw_vector a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
  y[0] = m[0] + a + c;
  y[1] = ROOT * (b / 2 + d);
  y[2] = a / 2 + 2 * c;
  y[3] = ROOT * (b / 4 + 2 * d) + m[5];
}

/* A */
MW_INLINE void spread(const mw_vector *y, mw_vector *m) {
  const mw_vector a = y[0] + y[2] / 2, b = ROOT * (y[1] / 2 + y[3] / 4);
  const mw_vector c = y[0] + 2 * y[2], d = ROOT * (y[1] + 2 * y[3]);
  m[0] = y[0];
  m[1] = a + b;
  m[2] = a - b;
  m[3] = c + d;
  m[4] = c - d;
  m[5] = y[3];
}

/* G */
MW_INLINE void weigh(const mw_vector *g, mw_vector *u) {
  const mw_vector a = (2 * g[0] + g[2]) / -3, b = ROOT * g[1] / -3;
  const mw_vector c = (g[0] + 2 * g[2]) / 6, d = ROOT * g[1] / 6;
  u[0] = g[0];
  u[1] = a + b;
  u[2] = a - b;
  u[3] = c + d;
  u[4] = c - d;
  u[5] = g[2];
}

/* G' */
MW_INLINE void unweigh(const mw_vector *u, mw_vector *g) {
  const mw_vector a = (u[1] + u[2]) / -3, b = (u[2] - u[1]) / 3;
  const mw_vector c = (u[3] + u[4]) / 6, d = (u[3] - u[4]) / 6;
  g[0] = u[0] + 2 * a + c;
  g[1] = ROOT * (b + d);
  g[2] = a + 2 * c + u[5];
}

typedef void transform(const mw_vector *from, mw_vector *to);

/* Elements of a matrix that lie so many numbers apart, from one row to the next and from one column
 * to the next. */
typedef struct steps {
  int64_t row, column;
} steps;

/* A transform of both directions, of in x in vectors to out x out. All but the places are constants
 * where this is inlined, so the vectors between become registers. */
MW_INLINE void both(transform *apply, int in, int out, const real *from, steps f, real *to,
                    steps t) {
  mw_vector half[SEEN][SEEN], line[SEEN], done[SEEN];
  MW_UNROLL for (int j = 0; j < in; j++) {
    MW_UNROLL for (int i = 0; i < in; i++) line[i] = mw_load(from + i * f.row + j * f.column);
    apply(line, done);
    MW_UNROLL for (int i = 0; i < out; i++) half[i][j] = done[i];
  }
  MW_UNROLL for (int i = 0; i < out; i++) {
    apply(half[i], done);
    MW_UNROLL for (int j = 0; j < out; j++) mw_store(to + i * t.row + j * t.column, done[j]);
  }
}

/* ---- images as vectors of channels -------------------------------------------------------- */

/* to[rows][cols][MW_LANES] = rows y0 .. and columns x0 .. of so many planes, zeros beyond their
 * edges and in the lanes beyond the planes. */
static void lay_out(const real *from, int64_t planes, int64_t h, int64_t w, int64_t y0, int64_t x0,
                    int64_t rows, int64_t cols, real *to) {
  const int64_t first = least(cols, most(0, -x0)), end = most(first, least(cols, w - x0));
  for (int64_t i = 0; i < rows; i++, to += cols * MW_LANES) {
    const bool inside = y0 + i >= 0 && y0 + i < h;
    const real *row = from + (y0 + i) * w + x0;
    int64_t j = 0;
    for (; j < (inside ? first : cols); j++) mw_store(to + j * MW_LANES, (mw_vector){0});
    for (; j < end; j += MW_LANES) {
      if (j + MW_LANES > end) { /* the last vector overlaps */
        if (end - first < MW_LANES) break;
        j = end - MW_LANES;
      }
      mw_vector v[MW_LANES];
      for (int l = 0; l < MW_LANES; l++)
        v[l] = l < planes ? mw_load(row + l * h * w + j) : (mw_vector){0};
      mw_transpose(v);
      for (int l = 0; l < MW_LANES; l++) mw_store(to + (j + l) * MW_LANES, v[l]);
    }
    for (; j < end; j++)
      for (int l = 0; l < MW_LANES; l++) to[j * MW_LANES + l] = l < planes ? row[l * h * w + j] : 0;
    for (j = most(j, end); j < cols; j++) mw_store(to + j * MW_LANES, (mw_vector){0});
  }
}

/* The reverse: so many rows of y from row y0 on, with the bias. from is [rows][cols][pitch]. */
static void write_out(const real *from, int64_t pitch, int64_t cols, int64_t rows, int64_t planes,
                      int64_t plane, int64_t w, const real *bias, real *to) {
  for (int64_t i = 0; i < rows; i++, from += cols * pitch, to += w)
    for (int64_t j = 0; j < w;) {
      if (j + MW_LANES > w) {
        if (w < MW_LANES) {
          for (int64_t o = 0; o < planes; o++)
            to[o * plane + j] = bias ? from[j * pitch + o] + bias[o] : from[j * pitch + o];
          j++;
          continue;
        }
        j = w - MW_LANES;
      }
      mw_vector v[MW_LANES];
      for (int l = 0; l < MW_LANES; l++) v[l] = mw_load(from + (j + l) * pitch);
      mw_transpose(v);
      for (int l = 0; l < MW_LANES && l < planes; l++)
        mw_store(to + l * plane + j, bias ? v[l] + bias[l] : v[l]);
      j += MW_LANES;
    }
}

/* ---- the micro-kernel --------------------------------------------------------------------- */

/* sum[row][.] += base[row * row_step + step * step] * panel[step][.], for all steps. */
typedef struct product {
  const real *base;
  int64_t rows, row, step, steps;
  const real *panel; /* [steps, panel_pitch] */
  int64_t panel_pitch;
  real *sum; /* [rows, sum_pitch] */
  int64_t sum_pitch;
  bool accumulate;
} product;

/* rows and vectors are constants where this is inlined, so sum[][] becomes registers. */
MW_INLINE void multiply(int rows, int vectors, const product *p, int64_t first) {
  mw_vector sum[ROWS][VECTORS] = {0};
  const real *base = p->base + first * p->row, *panel = p->panel;
  const int64_t row = p->row;
  for (int64_t step = 0; step < p->steps; step++) {
    mw_vector b[VECTORS];
    for (int j = 0; j < vectors; j++) b[j] = mw_load_once(panel + j * MW_LANES);
    MW_UNROLL for (int i = 0; i < rows; i++) {
      const real element = base[i * row];
      for (int j = 0; j < vectors; j++) sum[i][j] += element * b[j];
    }
    base += p->step;
    panel += p->panel_pitch;
  }
  real *to = p->sum + first * p->sum_pitch;
  MW_UNROLL for (int i = 0; i < rows; i++, to += p->sum_pitch)
      MW_UNROLL for (int j = 0; j < vectors; j++) mw_store(
          to + j * MW_LANES, p->accumulate ? mw_load(to + j * MW_LANES) + sum[i][j] : sum[i][j]);
}

MW_INLINE void multiply_rows(int rows, int64_t vectors, const product *p, int64_t first) {
  if (vectors == 1) multiply(rows, 1, p, first);
  else if (vectors == 2) multiply(rows, 2, p, first);
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
  else if (vectors == 3) multiply(rows, 3, p, first);
  else multiply(rows, 4, p, first);
#endif
}

/* All rows, in tiles of nearly the same size. */
static void multiply_all(const product *p, int64_t vectors) {
  const int64_t tiles = mw_chunks(p->rows, ROWS);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t first = p->rows * i / tiles;
    switch (p->rows * (i + 1) / tiles - first) {
      case 1: multiply_rows(1, vectors, p, first); break;
      case 2: multiply_rows(2, vectors, p, first); break;
      case 3: multiply_rows(3, vectors, p, first); break;
      case 4: multiply_rows(4, vectors, p, first); break;
      case 5: multiply_rows(5, vectors, p, first); break;
      case 6: multiply_rows(6, vectors, p, first); break;
    }
  }
}

/* ---- y and dx ----------------------------------------------------------------------------- */

/* U of one panel and channel: [xi][panel's vectors], xi after xi in [xi][c, vectors]. */
static void weigh_chunk(void *arg, int64_t chunk, int worker) {
  const pass *s = arg;
  const int64_t first = vector_of(s, chunk), vectors = vector_of(s, chunk + 1) - first;
  real *u = (real *)s->call->scratch + first * MW_LANES * s->channels * POINTS;
  const int64_t pitch = s->channels * vectors * MW_LANES; /* of the elements xi */
  (void)worker;
  for (int64_t c = 0; c < s->channels; c++)
    for (int64_t v = 0; v < vectors; v++) {
      real g[9 * MW_LANES] = {0};
      for (int l = 0; l < MW_LANES; l++) {
        const int64_t filter = (first + v) * MW_LANES + l;
        if (filter >= s->filters) break;
        const real *w =
            s->weights + 9 * (s->to_x ? c * s->filters + filter : filter * s->channels + c);
        for (int e = 0; e < 9; e++) g[e * MW_LANES + l] = w[s->turn ? 8 - e : e];
      }
      both(weigh, 3, SEEN, g, (steps){3 * MW_LANES, MW_LANES}, u + (c * vectors + v) * MW_LANES,
           (steps){SEEN * pitch, pitch});
    }
}

/* V of so many rows of tiles, from row of tiles t0 on: [xi][tile, depth]. */
static void see_block(const pass *s, const real *from, int64_t t0, int64_t rows, real *laid,
                      real *v) {
  const int64_t cols = s->across * SIDE + 2, line = cols * MW_LANES;
  for (int64_t c = 0; c < s->depth; c += MW_LANES) {
    lay_out(from + c * s->h * s->w, s->channels - c, s->h, s->w, t0 * SIDE - s->top, -s->left,
            rows * SIDE + 2, cols, laid);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < s->across; j++) {
        const real *tile = laid + i * SIDE * line + j * SIDE * MW_LANES;
        real *to = v + (i * s->across + j) * s->depth + c;
        both(see, SEEN, SEEN, tile, (steps){line, MW_LANES}, to,
             (steps){SEEN * s->pitch, s->pitch});
      }
  }
}

/* Worker scratch: V, M or dM, and rows of pixels. */
static int64_t laid_elements(const pass *s) {
  const int64_t seen = (s->rows * SIDE + 2) * (s->across * SIDE + 2) * MW_LANES;
  return most(seen, s->tiles * SIDE * SIDE * WIDTH);
}

static size_t worker_bytes(const pass *s) {
  return (size_t)(POINTS * (s->pitch + s->out_pitch) + laid_elements(s)) * sizeof(real);
}

/* y of M: so many tiles of a panel into laid[rows][cols][panel's vectors]. */
static void collect_block(const pass *s, const real *m, int64_t rows, int64_t vectors, real *laid) {
  const int64_t cols = s->across * SIDE, width = vectors * MW_LANES;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < s->across; j++)
      for (int64_t k = 0; k < width; k += MW_LANES) {
        const real *from = m + (i * s->across + j) * width + k;
        real *to = laid + (i * SIDE * cols + j * SIDE) * width + k;
        both(collect, SEEN, SIDE, from, (steps){SEEN * s->out_pitch, s->out_pitch}, to,
             (steps){cols * width, width});
      }
}

/* One block of tiles of one image. */
static void block_chunk(void *arg, int64_t chunk, int worker) {
  const pass *s = arg;
  const int64_t n = chunk / s->bands, t0 = chunk % s->bands * s->rows;
  const int64_t rows = least(s->rows, s->down - t0), plane = s->oh * s->ow;
  real *v = mw_worker_scratch(s->call, worker), *m = v + POINTS * s->pitch;
  real *laid = m + POINTS * s->out_pitch;
  see_block(s, s->from + n * s->channels * s->h * s->w, t0, rows, laid, v);
  for (int64_t panel = 0; panel < s->panels; panel++) {
    const int64_t first = vector_of(s, panel), vectors = vector_of(s, panel + 1) - first;
    const real *u = (const real *)s->call->scratch + first * MW_LANES * s->channels * POINTS;
    for (int64_t xi = 0; xi < POINTS; xi++) {
      const product p = {.base = v + xi * s->pitch,
                         .rows = rows * s->across,
                         .row = s->depth,
                         .step = 1,
                         .steps = s->channels,
                         .panel = u + xi * s->channels * vectors * MW_LANES,
                         .panel_pitch = vectors * MW_LANES,
                         .sum = m + xi * s->out_pitch,
                         .sum_pitch = vectors * MW_LANES};
      multiply_all(&p, vectors);
    }
    collect_block(s, m, rows, vectors, laid);
    for (int64_t k = 0; k < vectors; k++) {
      const int64_t o = (first + k) * MW_LANES;
      write_out(laid + k * MW_LANES, vectors * MW_LANES, s->across * SIDE,
                least(rows * SIDE, s->oh - t0 * SIDE), s->filters - o, plane, s->ow,
                s->bias ? s->bias + o : NULL,
                s->to + (n * s->filters + o) * plane + t0 * SIDE * s->ow);
    }
  }
}

static void run_pass(pass *s) {
  mw_parallel(s->call, s->panels, weigh_chunk, s);
  mw_parallel(s->call, s->n * s->bands, block_chunk, s);
}

/* ---- dw ----------------------------------------------------------------------------------- */

/* Elements of a slice's dU: [panel][xi][c, panel's vectors]. */
static int64_t slice_elements(const pass *s) {
  return s->vectors * MW_LANES * s->channels * POINTS;
}

/* Slices of the batch sum apart, and parts of the filters, each of which computes V anew. */
static void cut(pass *s) {
  const int64_t bytes = slice_elements(s) * (int64_t)sizeof(real);
  int64_t slices = SLICES;
  while (slices > 1 && (slices * bytes > SLICE_BYTES || slices > s->n)) slices /= 2;
  s->images = mw_chunks(s->n, slices);
  s->slices = mw_chunks(s->n, s->images);
  s->parts = most(1, least(s->panels, s->filters / WIDE));
}

/* dM of so many rows of tiles of one panel: [xi][tile, panel's vectors]. */
static void spread_block(const pass *s, const real *dy, int64_t filters, int64_t vectors,
                         int64_t t0, int64_t rows, real *laid, real *m) {
  const int64_t cols = s->across * SIDE, line = cols * MW_LANES, width = vectors * MW_LANES;
  for (int64_t k = 0; k < width; k += MW_LANES) {
    lay_out(dy + k * s->oh * s->ow, filters - k, s->oh, s->ow, t0 * SIDE, 0, rows * SIDE, cols,
            laid);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t j = 0; j < s->across; j++) {
        const real *tile = laid + i * SIDE * line + j * SIDE * MW_LANES;
        real *to = m + (i * s->across + j) * width + k;
        both(spread, SIDE, SEEN, tile, (steps){line, MW_LANES}, to,
             (steps){SEEN * s->out_pitch, s->out_pitch});
      }
  }
}

/* One slice of the batch, one part of the panels. */
static void sum_chunk(void *arg, int64_t chunk, int worker) {
  const pass *s = arg;
  const int64_t slice = chunk / s->parts, part = chunk % s->parts;
  const int64_t start = slice * s->images, end = mw_chunk_end(s->n, s->images, slice);
  real *v = mw_worker_scratch(s->call, worker), *m = v + POINTS * s->pitch;
  real *laid = m + POINTS * s->out_pitch, *sum = (real *)s->call->scratch;
  sum += slice * slice_elements(s);
  for (int64_t block = start * s->bands; block < end * s->bands; block++) {
    const int64_t n = block / s->bands, t0 = block % s->bands * s->rows;
    const int64_t rows = least(s->rows, s->down - t0);
    see_block(s, s->from + n * s->channels * s->h * s->w, t0, rows, laid, v);
    for (int64_t panel = s->panels * part / s->parts; panel < s->panels * (part + 1) / s->parts;
         panel++) {
      const int64_t first = vector_of(s, panel), vectors = vector_of(s, panel + 1) - first;
      const int64_t o = first * MW_LANES, width = vectors * MW_LANES;
      spread_block(s, s->dy + (n * s->filters + o) * s->oh * s->ow, s->filters - o, vectors, t0,
                   rows, laid, m);
      for (int64_t xi = 0; xi < POINTS; xi++) {
        const product p = {.base = v + xi * s->pitch,
                           .rows = s->channels,
                           .row = 1,
                           .step = s->depth,
                           .steps = rows * s->across,
                           .panel = m + xi * s->out_pitch,
                           .panel_pitch = width,
                           .sum = sum + (o * POINTS + xi * width) * s->channels,
                           .sum_pitch = width,
                           .accumulate = block > start * s->bands};
        multiply_all(&p, vectors);
      }
    }
  }
}

/* Adds the slices' dU of one vector of filters, always in the same order, and makes dw of it. */
static void add_chunk(void *arg, int64_t chunk, int worker) {
  const pass *s = arg;
  int64_t panel = 0;
  while (vector_of(s, panel + 1) <= chunk) panel++;
  const int64_t first = vector_of(s, panel), width = (vector_of(s, panel + 1) - first) * MW_LANES;
  const real *sum = (const real *)s->call->scratch + first * MW_LANES * POINTS * s->channels +
                    (chunk - first) * MW_LANES;
  (void)worker;
  for (int64_t c = 0; c < s->channels; c++) {
    real u[POINTS * MW_LANES], g[9 * MW_LANES];
    for (int xi = 0; xi < POINTS; xi++) {
      const real *at = sum + (xi * s->channels + c) * width;
      mw_vector total = mw_load(at);
      for (int64_t slice = 1; slice < s->slices; slice++)
        total += mw_load(at + slice * slice_elements(s));
      mw_store(u + xi * MW_LANES, total);
    }
    both(unweigh, SEEN, 3, u, (steps){SEEN * MW_LANES, MW_LANES}, g,
         (steps){3 * MW_LANES, MW_LANES});
    for (int64_t l = 0; l < MW_LANES && chunk * MW_LANES + l < s->filters; l++)
      for (int e = 0; e < 9; e++)
        s->to[((chunk * MW_LANES + l) * s->channels + c) * 9 + (s->turn ? 8 - e : e)] =
            g[e * MW_LANES + l];
  }
}

enum { LANES = 32 };

/* db of one channel: sums side by side, so that none waits for another. */
static void bias_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const int64_t *y = call->out[0].spec.shape, plane = y[2] * y[3];
  real lane[LANES] = {0}, rest = 0;
  (void)worker;
  for (int64_t n = 0; n < y[0]; n++) {
    const real *dy = (const real *)call->dout[0].data + (n * y[1] + chunk) * plane;
    int64_t i = 0;
    for (; i + LANES <= plane; i += LANES)
      for (int l = 0; l < LANES; l++) lane[l] += dy[i + l];
    for (; i < plane; i++) rest += dy[i];
  }
  for (int l = 0; l < LANES; l++) rest += lane[l];
  ((real *)call->din[2].data)[chunk] = rest;
}

/* ---- the kernel --------------------------------------------------------------------------- */

static bool supports(const mw_call *call) {
  enum { FEWEST = 16, LARGEST = 256 * 256, TILES = 12, WORKER_BYTES = 4 * 1024 * 1024 };
  const int64_t *x = call->in[0].spec.shape, *w = call->in[1].spec.shape;
  const int64_t *y = call->out[0].spec.shape;
  const mw_ints *stride = attr(call, "stride"), *dilation = attr(call, "dilation");
  if (w[2] != 3 || w[3] != 3 || *(const int64_t *)attr(call, "groups") != 1) return false;
  for (int i = 0; i < 2; i++)
    if (stride->at[i] != 1 || dilation->at[i] != 1) return false;
  if (x[1] < FEWEST || w[0] < FEWEST || x[1] * w[0] > LARGEST || x[2] < 1 || x[3] < 1) return false;
  const int64_t tiles = mw_chunks(y[2], SIDE) * mw_chunks(y[3], SIDE);
  if (x[0] * tiles < TILES || tiles * SIDE * SIDE > 2 * y[2] * y[3]) return false;
  const pass there = pass_of(call, false), back = pass_of(call, true);
  return worker_bytes(&there) <= WORKER_BYTES && worker_bytes(&back) <= WORKER_BYTES;
}

static void workspace(const mw_call *call, mw_workspace *need) {
  pass s = pass_of(call, false);
  need->worker = worker_bytes(&s);
  need->call = (size_t)slice_elements(&s) * sizeof(real);
  if (!call->backward) return;
  cut(&s);
  const pass x = pass_of(call, true);
  const size_t made = (size_t)slice_elements(&x) * sizeof(real);
  if (worker_bytes(&x) > need->worker) need->worker = worker_bytes(&x);
  need->call *= (size_t)s.slices;
  if (made > need->call) need->call = made;
}

static mw_status forward(const mw_call *call) {
  pass s = pass_of(call, false);
  s.from = call->in[0].data, s.to = call->out[0].data, s.bias = call->in[2].data;
  run_pass(&s);
  return MW_OK;
}

static mw_status backward(const mw_call *call) {
  const mw_array *din = call->din;
  if (!call->dout[0].data) {
    for (int i = 0; i < call->n_in; i++)
      if (din[i].data) memset(din[i].data, 0, (size_t)din[i].count * sizeof(real));
    return MW_OK;
  }
  if (din[0].data) {
    pass s = pass_of(call, true);
    s.from = call->dout[0].data, s.to = din[0].data;
    run_pass(&s);
  }
  if (din[1].data) {
    pass s = pass_of(call, false);
    cut(&s);
    s.from = call->in[0].data, s.dy = call->dout[0].data, s.to = din[1].data;
    mw_parallel(call, s.slices * s.parts, sum_chunk, &s);
    mw_parallel(call, s.vectors, add_chunk, &s);
  }
  if (din[2].data) mw_parallel(call, call->out[0].spec.shape[1], bias_chunk, (void *)call);
  return MW_OK;
}

static const mw_kernel winograd = {
    .op = "conv2d",
    .name = "winograd",
    .priority = 60, /* where it can serve, no direct sum keeps up */
    .supports = supports,
    .forward = forward,
    .backward = backward,
    .workspace = workspace,
};

MW_PLUGIN_WITH_KERNELS((NULL), (&winograd))
