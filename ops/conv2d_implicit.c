/* conv2d_implicit.c: the kernels of conv2d.c's three ops for many channels, as matrix products whose
 * large factor, the matrix of columns, is never written.
 *
 * In that matrix the element for a pixel (an element of the result) and a tap (a channel and an
 * element of the kernel) is x[place of the pixel + offset of the tap], once the image has been
 * copied with its padding. So the products read the copy itself, through two lists of offsets:
 *
 *     y[pixel, o]  = sum over taps    x[pixel + tap]  w[tap, o]
 *     dw[tap, o]   = sum over pixels  x[pixel + tap]  dy[pixel, o]
 *     dx[pixel, c] = sum over taps    dy[pixel + tap] w[tap, c]
 *
 * All are one micro-kernel: ROWS elements of the copy are broadcast and multiplied with VECTORS
 * vectors along the channels of the result, whose sums stay in registers through the loop:
 *
 *     level      registers   tile    sums  loads : multiply-adds in a step
 *     AVX-512    32 of 64 B  6 x 4   24    11 : 24
 *     AVX, AVX2  16 of 32 B  6 x 2   12     9 : 12
 *     SSE2       16 of 16 B  6 x 2   12     9 : 12   (a multiply and an add each)
 *     AArch64    32 of 16 B  6 x 4   24    11 : 24
 *
 * A load more than a packed matrix product has, for the offset; two loads and two multiply-adds a
 * cycle hide them all. What the vectors run along is packed: w once a call, into panels of
 * [tap, channels of a tile]; dy for each band, by transposing. A band is as many rows of the result
 * as keep the copy in half of a second-level cache. Pixels of a band are cut into tiles without
 * regard to where rows end, so no shape leaves lanes idle but channels that are no multiple of a
 * vector. BLOCK steps of a panel stay in a first-level cache while all tiles of a band use it. The
 * sums of y and dx are kept apart, [pixel, channel], until they are complete, and then transposed.
 *
 * With a stride, the pixels of dx that have the same rest by it, a phase, see the same taps of dy
 * next to one another: each phase is a sum of its own, with stride 1. In dx, elements of dy beyond
 * its edges count as zeros, like padding; with an infinite weight they give NaN.
 *
 * Expected, and measured on a core with AVX2, of the peak of multiply-adds in f32: 90 to 95 % with
 * 64 channels or more, in each direction; 80 to 85 % with 16 and 32. Lists, copy and micro-kernel
 * serve all three sums, so that they share one file. */
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
  BLOCK = 1024 / (int)sizeof(real),      /* steps, of which a panel's part fits in L1 */
  COPY = 192 * 1024 / (int)sizeof(real), /* elements of a band's copy, if a row is not more */
  LINE = 64 / (int)sizeof(real),         /* elements in a line of cache */
  SUMMED = 320,                          /* pixels in a band of dw: their dy fits in L1 */
  SLICES = 8,                            /* parts of the batch that sum dw apart, at most */
  SLICE_BYTES = 16 * 1024 * 1024,        /* and the memory for them, if one is not more */
  WIDE = 128,                            /* channels of dw that a chunk sums */
};

/* Beyond these another kernel serves. */
enum { STRIDE = 4, KERNEL = 256, WORKER_BYTES = 8 * 1024 * 1024 };

/* ---- what a call computes ----------------------------------------------------------------- */

/* One direction of a pass. Pixel i of a phase is at phase + i * step of the result, and meets its
 * kernel element k at i * advance + place_of(k) of what is read. */
typedef struct axis {
  int64_t size, from_size; /* of the result, and of what is read */
  int64_t step, advance;
  int64_t kernel, dilation, padding;
  int64_t low, high; /* the least and the largest place_of() */
} axis;

/* Pixels of the result that see the same taps. */
typedef struct phase {
  int64_t y, x;       /* the first of them */
  int64_t rows, cols; /* so many */
  int64_t elements;   /* of the kernel, in the lists kernel[] and place[] of the pass */
  int64_t first;      /* where they start there */
  int64_t taps;       /* elements of all channels */
} phase;

/* Multiplies planes of `from`, through w, into planes of another array. */
typedef struct pass {
  axis y, x;
  int64_t channels, filters; /* read and made by a group */
  bool to_x;                 /* it makes dx; w is read from its other side */
  int64_t pitch, plane;      /* of the copy: distances of rows and of channels */
  int64_t rows, bands;       /* rows of a phase in a band; bands in an image */
  int64_t pixels;            /* in a band, at most */
  int64_t vectors, panels;   /* of a group's filters */
  int n_phases;
  phase phases[STRIDE * STRIDE];
} pass;

typedef struct plan {
  geometry g;
  const mw_call *call;
  const real *x, *w, *y, *b;       /* what is read, */
  real *to_x, *to_w, *to_y, *to_b; /* what is wanted, or NULL, */
  const real *dout;                /* and what to_b sums */
} plan;

static plan plan_of(const mw_call *call, const roles *r) {
  plan p = {.g = geometry_of(call, r), .call = call};
  bind(call, r->x, &p.x, &p.to_x);
  bind(call, r->w, &p.w, &p.to_w);
  bind(call, r->y, &p.y, &p.to_y);
  if (call->backward) p.dout = call->dout[0].data;
  if (call->n_in <= BIAS) return p;
  if (call->backward) p.to_b = call->din[BIAS].data;
  else p.b = call->in[BIAS].data;
  return p;
}

/* ---- passes ------------------------------------------------------------------------------- */

/* Whether pixels of a phase meet element k of the kernel, and where. Of y there is one phase, which
 * meets all. In dx a pixel p meets what y has at (p + padding - k * dilation) / step, if that is
 * whole. */
static bool place_of(const axis *a, int64_t at_phase, int64_t k, bool to_x, int64_t *place) {
  const int64_t distance = k * a->dilation - a->padding;
  *place = to_x ? (at_phase - distance) / a->step : distance;
  return !to_x || (at_phase - distance) % a->step == 0;
}

static void measure(axis *a, bool to_x) {
  bool any = false;
  for (int64_t i = 0; i < least(a->step, a->size); i++)
    for (int64_t k = 0; k < a->kernel; k++) {
      int64_t place;
      if (!place_of(a, i, k, to_x, &place)) continue;
      a->low = any ? least(a->low, place) : place;
      a->high = any ? most(a->high, place) : place;
      any = true;
    }
}

/* Of pixels, in the longest phase. */
static int64_t longest(const axis *a) { return mw_chunks(a->size, a->step); }

/* Rows or columns of the copy under so many pixels of a phase. */
static int64_t reach(const axis *a, int64_t pixels) {
  return (pixels - 1) * a->advance + a->high - a->low + 1;
}

static void add_phases(pass *s) {
  int64_t first = 0;
  for (int64_t y = 0; y < least(s->y.step, s->y.size); y++)
    for (int64_t x = 0; x < least(s->x.step, s->x.size); x++) {
      phase *f = &s->phases[s->n_phases++];
      *f = (phase){.y = y, .x = x, .first = first};
      f->rows = mw_chunks(s->y.size - y, s->y.step), f->cols = mw_chunks(s->x.size - x, s->x.step);
      int64_t place;
      for (int64_t ky = 0; ky < s->y.kernel; ky++)
        for (int64_t kx = 0; kx < s->x.kernel; kx++)
          f->elements +=
              place_of(&s->y, y, ky, s->to_x, &place) && place_of(&s->x, x, kx, s->to_x, &place);
      f->taps = s->channels * f->elements;
      first += f->elements;
    }
}

/* The pass that makes y, or dx, in bands of at most so many pixels. */
static pass pass_of(const geometry *g, bool to_x, int64_t pixels) {
  pass s = {.to_x = to_x};
  s.channels = to_x ? g->og : g->cg, s.filters = to_x ? g->cg : g->og;
  s.y = (axis){.kernel = g->kh, .dilation = g->dh, .padding = g->top};
  s.x = (axis){.kernel = g->kw, .dilation = g->dw, .padding = g->left};
  s.y.size = to_x ? g->h : g->oh, s.y.from_size = to_x ? g->oh : g->h;
  s.x.size = to_x ? g->w : g->ow, s.x.from_size = to_x ? g->ow : g->w;
  s.y.step = to_x ? g->sh : 1, s.y.advance = to_x ? 1 : g->sh;
  s.x.step = to_x ? g->sw : 1, s.x.advance = to_x ? 1 : g->sw;
  measure(&s.y, to_x);
  measure(&s.x, to_x);
  add_phases(&s);
  const int64_t rows = longest(&s.y), cols = longest(&s.x);
  s.pitch = reach(&s.x, cols);
  const int64_t row = most(1, s.channels * s.pitch), fit = COPY / row - reach(&s.y, 1);
  s.rows = most(1, least(least(rows, fit / s.y.advance + 1), pixels / most(1, cols)));
  s.bands = mw_chunks(rows, s.rows);
  s.rows = most(1, mw_chunks(rows, most(1, s.bands)));
  s.bands = mw_chunks(rows, s.rows);
  s.pixels = s.rows * cols;
  /* An odd number of lines spreads the channels over all the sets of a cache. */
  s.plane = (mw_chunks(reach(&s.y, s.rows) * s.pitch, LINE) | 1) * LINE;
  s.vectors = mw_chunks(s.filters, MW_LANES), s.panels = mw_chunks(s.vectors, VECTORS);
  return s;
}

/* The first vector of a panel; of the one behind the last it is the number of vectors. */
static int64_t vector_of(const pass *s, int64_t panel) { return s->vectors * panel / s->panels; }

/* Where the taps of a phase lie, from the place of a pixel on: channel after channel, in the order
 * of the kernel's elements. A flipped kernel meets the image in the reverse order. */
static void list_taps(const geometry *g, const pass *s, const phase *f, int64_t *tap,
                      int64_t *element) {
  int64_t n = 0, y, x;
  for (int64_t ky = 0; ky < g->kh; ky++)
    for (int64_t kx = 0; kx < g->kw; kx++) {
      const int64_t meets_y = g->flip ? g->kh - 1 - ky : ky,
                    meets_x = g->flip ? g->kw - 1 - kx : kx;
      if (!place_of(&s->y, f->y, meets_y, s->to_x, &y)) continue;
      if (!place_of(&s->x, f->x, meets_x, s->to_x, &x)) continue;
      if (element) element[n] = ky * g->kw + kx;
      for (int64_t c = 0; c < s->channels; c++)
        tap[c * f->elements + n] = c * s->plane + (y - s->y.low) * s->pitch + x - s->x.low;
      n++;
    }
}

/* Where the pixels in so many rows of a phase lie, row after row. */
static void list_pixels(const pass *s, int64_t rows, int64_t cols, int64_t *pixel) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < cols; j++) *pixel++ = i * s->y.advance * s->pitch + j * s->x.advance;
}

/* ---- the copy ----------------------------------------------------------------------------- */

/* Whole vectors, of which the last overlaps. */
static inline void copy_row(real *restrict to, const real *restrict from, int64_t n) {
  int64_t i = 0;
  for (; i + MW_LANES <= n; i += MW_LANES) mw_store(to + i, mw_load(from + i));
  if (i < n && n >= MW_LANES) mw_store(to + n - MW_LANES, mw_load(from + n - MW_LANES));
  else
    for (; i < n; i++) to[i] = from[i];
}

/* What the pixels in so many rows of a phase from row i0 on see of a group's planes, with zeros
 * around: to[channels][reach, pitch]. */
static void copy_band(const pass *s, const real *from, int64_t i0, int64_t rows, real *to) {
  const int64_t h = s->y.from_size, w = s->x.from_size, y0 = i0 * s->y.advance + s->y.low;
  const int64_t x0 = s->x.low, first = most(0, -x0), end = most(first, least(s->pitch, w - x0));
  const int64_t touched = reach(&s->y, rows);
  for (int64_t c = 0; c < s->channels; c++, from += h * w)
    for (int64_t i = 0; i < touched; i++) {
      real *row = to + c * s->plane + i * s->pitch;
      if (y0 + i < 0 || y0 + i >= h || first >= s->pitch) {
        memset(row, 0, (size_t)s->pitch * sizeof(real));
        continue;
      }
      for (int64_t j = 0; j < first; j++) row[j] = 0;
      copy_row(row + first, from + (y0 + i) * w + x0 + first, end - first);
      for (int64_t j = end; j < s->pitch; j++) row[j] = 0;
    }
}

/* ---- the micro-kernel --------------------------------------------------------------------- */

/* sum[row][.] += base[row][offset[step]] * panel[step][.], for all steps. */
typedef struct tile {
  const real *base[ROWS];
  const int64_t *offset;
  const real *panel; /* [steps, vectors of the tile] */
  int64_t steps;
  real *sum; /* [rows, vectors of the tile] */
  bool accumulate;
} tile;

/* rows and vectors are constants where this is inlined, so sum[][] becomes registers. */
MW_INLINE void multiply(int rows, int vectors, const tile *t) {
  mw_vector sum[ROWS][VECTORS] = {0};
  const real *base[ROWS], *panel = t->panel;
  for (int i = 0; i < rows; i++) base[i] = t->base[i];
  for (int64_t step = 0; step < t->steps; step++) {
    const int64_t at = t->offset[step];
    mw_vector p[VECTORS];
    for (int j = 0; j < vectors; j++) p[j] = mw_load_once(panel + j * MW_LANES);
    MW_UNROLL for (int i = 0; i < rows; i++) {
      const real element = base[i][at];
      for (int j = 0; j < vectors; j++) sum[i][j] += element * p[j];
    }
    panel += vectors * MW_LANES;
  }
  real *to = t->sum;
  MW_UNROLL for (int i = 0; i < rows; i++) MW_UNROLL for (int j = 0; j < vectors; j++) {
    mw_store(to, t->accumulate ? mw_load(to) + sum[i][j] : sum[i][j]);
    to += MW_LANES;
  }
}

MW_INLINE void multiply_rows(int rows, int64_t vectors, const tile *t) {
  if (vectors == 1) multiply(rows, 1, t);
  else if (vectors == 2) multiply(rows, 2, t);
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
  else if (vectors == 3) multiply(rows, 3, t);
  else multiply(rows, 4, t);
#endif
}

static void multiply_tile(int64_t rows, int64_t vectors, const tile *t) {
  switch (rows) {
    case 1: multiply_rows(1, vectors, t); break;
    case 2: multiply_rows(2, vectors, t); break;
    case 3: multiply_rows(3, vectors, t); break;
    case 4: multiply_rows(4, vectors, t); break;
    case 5: multiply_rows(5, vectors, t); break;
    case 6: multiply_rows(6, vectors, t); break;
  }
}

/* All tiles of rows whose bases are copy + place[row]. */
static void multiply_all(tile *t, int64_t vectors, const real *copy, const int64_t *place,
                         int64_t rows) {
  const int64_t tiles = mw_chunks(rows, ROWS);
  real *sum = t->sum;
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t first = rows * i / tiles, end = rows * (i + 1) / tiles;
    for (int64_t r = first; r < end; r++) t->base[r - first] = copy + place[r];
    t->sum = sum + first * vectors * MW_LANES;
    multiply_tile(end - first, vectors, t);
  }
  t->sum = sum;
}

/* ---- panels of w -------------------------------------------------------------------------- */

/* A call's memory: w in panels, for each group and phase; and the lists. */
typedef struct shared {
  const plan *p;
  const pass *s;
  real *panels;                   /* [group][phase][panel][tap, vectors of the panel] */
  int64_t *tap, *element, *pixel; /* of all phases, one after the other */
  const real *from;
  real *to;
} shared;

static int64_t panel_elements(const pass *s, const geometry *g) {
  return s->vectors * MW_LANES * s->channels * g->kh * g->kw;
}

static size_t shared_bytes(const pass *s, const geometry *g) {
  const int64_t elements = g->kh * g->kw;
  return (size_t)(g->groups * panel_elements(s, g)) * sizeof(real) +
         (size_t)((s->channels + 1) * elements + s->n_phases * s->pixels) * sizeof(int64_t);
}

static shared shared_of(const plan *p, const pass *s, const real *from, real *to) {
  shared m = {.p = p, .s = s, .from = from, .to = to, .panels = p->call->scratch};
  m.tap = (void *)(m.panels + p->g.groups * panel_elements(s, &p->g));
  m.element = m.tap + s->channels * p->g.kh * p->g.kw;
  m.pixel = m.element + p->g.kh * p->g.kw;
  for (int i = 0; i < s->n_phases; i++) {
    const phase *f = &s->phases[i];
    list_taps(&p->g, s, f, m.tap + s->channels * f->first, m.element + f->first);
    list_pixels(s, s->rows, f->cols, m.pixel + i * s->pixels);
  }
  return m;
}

static real *panel_of(const shared *m, int64_t group, const phase *f, int64_t panel) {
  const pass *s = m->s;
  return m->panels + group * panel_elements(s, &m->p->g) +
         s->vectors * MW_LANES * s->channels * f->first + vector_of(s, panel) * MW_LANES * f->taps;
}

/* Packs one panel of a group, all its phases. Lanes beyond the filters are zeros. */
static void pack_chunk(void *arg, int64_t chunk, int worker) {
  const shared *m = arg;
  const pass *s = m->s;
  const geometry *g = &m->p->g;
  const int64_t group = chunk / s->panels, panel = chunk % s->panels, kernel = g->kh * g->kw;
  const int64_t first = vector_of(s, panel) * MW_LANES;
  const int64_t lanes = vector_of(s, panel + 1) * MW_LANES - first;
  (void)worker;
  for (int i = 0; i < s->n_phases; i++) {
    const phase *f = &s->phases[i];
    const int64_t *element = m->element + f->first;
    real *to = panel_of(m, group, f, panel);
    for (int64_t c = 0; c < s->channels; c++, to += f->elements * lanes)
      for (int64_t l = 0; l < lanes; l++) {
        const int64_t filter = first + l, o = s->to_x ? c : filter, in = s->to_x ? filter : c;
        const real *w = m->p->w + ((group * g->og + o) * g->cg + in) * kernel;
        for (int64_t e = 0; e < f->elements; e++)
          to[e * lanes + l] = filter < s->filters ? w[element[e]] : 0;
      }
  }
}

/* ---- y and dx ----------------------------------------------------------------------------- */

/* Writes sums [pixel, lanes] of so many pixels of a phase, those of rows i0 .. to the planes of so
 * many filters, from to[0] on, with the bias added. */
static void write_sums(const pass *s, const phase *f, int64_t i0, const real *sum, int64_t pixels,
                       int64_t lanes, int64_t filters, const real *bias, real *to) {
  const int64_t plane = s->y.size * s->x.size;
  int64_t p = 0;
  if (s->x.step == 1 && s->y.step == 1)
    for (; p + MW_LANES <= pixels; p += MW_LANES)
      for (int64_t o = 0; o < filters; o += MW_LANES) {
        mw_vector row[MW_LANES];
        MW_UNROLL for (int l = 0; l < MW_LANES; l++) row[l] = mw_load(sum + (p + l) * lanes + o);
        mw_transpose(row);
        real *at = to + o * plane + i0 * f->cols + p;
        for (int l = 0; l < MW_LANES && o + l < filters; l++)
          mw_store(at + l * plane, bias ? row[l] + bias[o + l] : row[l]);
      }
  for (; p < pixels; p++) {
    const int64_t y = f->y + (i0 + p / f->cols) * s->y.step, x = f->x + p % f->cols * s->x.step;
    for (int64_t o = 0; o < filters; o++)
      to[o * plane + y * s->x.size + x] = bias ? sum[p * lanes + o] + bias[o] : sum[p * lanes + o];
  }
}

/* One phase of a band: all panels. */
static void run_phase(const shared *m, int64_t n, int64_t group, int number, int64_t i0,
                      const real *copy, real *sum) {
  const pass *s = m->s;
  const phase *f = &s->phases[number];
  const int64_t pixels = (least(i0 + s->rows, f->rows) - i0) * f->cols;
  const int64_t blocks = most(1, mw_chunks(f->taps, BLOCK));
  const int64_t *tap = m->tap + s->channels * f->first;
  for (int64_t panel = 0; panel < s->panels && pixels > 0; panel++) {
    const int64_t first = vector_of(s, panel) * MW_LANES;
    const int64_t vectors = vector_of(s, panel + 1) - vector_of(s, panel);
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t start = f->taps * block / blocks, end = f->taps * (block + 1) / blocks;
      tile t = {.offset = tap + start,
                .panel = panel_of(m, group, f, panel) + start * vectors * MW_LANES,
                .steps = end - start,
                .sum = sum,
                .accumulate = block > 0};
      multiply_all(&t, vectors, copy, m->pixel + number * s->pixels, pixels);
    }
    const int64_t filter = group * s->filters + first;
    write_sums(s, f, i0, sum, pixels, vectors * MW_LANES,
               least(vectors * MW_LANES, s->filters - first), m->p->b ? m->p->b + filter : NULL,
               m->to + (n * m->p->g.groups * s->filters + filter) * s->y.size * s->x.size);
  }
}

/* One band of one image. */
static void band_chunk(void *arg, int64_t chunk, int worker) {
  const shared *m = arg;
  const pass *s = m->s;
  const int64_t n = chunk / s->bands, i0 = chunk % s->bands * s->rows, groups = m->p->g.groups;
  const int64_t rows = least(s->rows, longest(&s->y) - i0), from = s->y.from_size * s->x.from_size;
  real *copy = mw_worker_scratch(m->p->call, worker), *sum = copy + s->channels * s->plane;
  for (int64_t group = 0; group < groups; group++) {
    copy_band(s, m->from + (n * groups + group) * s->channels * from, i0, rows, copy);
    for (int i = 0; i < s->n_phases; i++) run_phase(m, n, group, i, i0, copy, sum);
  }
}

static void run_pass(const plan *p, const pass *s, const real *from, real *to) {
  shared m = shared_of(p, s, from, to);
  mw_parallel(p->call, p->g.groups * s->panels, pack_chunk, &m);
  mw_parallel(p->call, p->g.n * s->bands, band_chunk, &m);
}

/* ---- dw ----------------------------------------------------------------------------------- */

/* Slices of the batch sum apart. Where there are many filters, so do parts of them. */
typedef struct sums {
  const plan *p;
  const pass *s;
  int64_t slices, images; /* in the call, and in a slice */
  int64_t parts;          /* of the panels */
  int64_t taps, group;    /* elements of a slice's sums for a group: [panel][tap, its vectors] */
  real *sum;              /* [slice][group] */
  int64_t *tap, *pixel;
} sums;

static sums sums_of(const plan *p, const pass *s) {
  const geometry *g = &p->g;
  sums m = {.p = p, .s = s, .taps = g->cg * g->kh * g->kw};
  m.group = s->vectors * MW_LANES * m.taps;
  const int64_t fit = SLICE_BYTES / (int64_t)sizeof(real) / most(1, g->groups * m.group);
  m.images = most(1, mw_chunks(g->n, most(1, least(SLICES, fit))));
  m.slices = mw_chunks(g->n, m.images);
  m.parts = most(1, least(s->panels, s->filters / WIDE));
  return m;
}

static size_t sums_bytes(const sums *m) {
  return (size_t)(m->slices * m->p->g.groups * m->group) * sizeof(real) +
         (size_t)(m->taps + m->s->pixels) * sizeof(int64_t);
}

/* to[pixels, lanes] = so many planes of dy, transposed, and zeros in the lanes beyond them. */
static void transpose_planes(const real *dy, int64_t plane, int64_t planes, int64_t pixels,
                             int64_t lanes, real *to) {
  for (int64_t o = 0; o < lanes; o += MW_LANES) {
    int64_t p = 0;
    for (; p + MW_LANES <= pixels; p += MW_LANES) {
      mw_vector row[MW_LANES];
      for (int l = 0; l < MW_LANES; l++)
        row[l] = o + l < planes ? mw_load(dy + (o + l) * plane + p) : (mw_vector){0};
      mw_transpose(row);
      for (int l = 0; l < MW_LANES; l++) mw_store(to + (p + l) * lanes + o, row[l]);
    }
    for (; p < pixels; p++)
      for (int64_t l = o; l < o + MW_LANES; l++)
        to[p * lanes + l] = l < planes ? dy[l * plane + p] : 0;
  }
}

/* Adds a band of one image to the sums of a slice, for panels first .. end-1 of a group. */
static void sum_band(const sums *m, int64_t n, int64_t group, int64_t band, int64_t first,
                     int64_t end, real *sum, bool accumulate, real *copy) {
  const pass *s = m->s;
  const geometry *g = &m->p->g;
  const int64_t y0 = band * s->rows, rows = least(s->rows, g->oh - y0), plane = g->oh * g->ow;
  real *panel = copy + s->channels * s->plane;
  copy_band(s, m->p->x + (n * g->c + group * g->cg) * g->h * g->w, y0, rows, copy);
  for (int64_t i = first; i < end; i++) {
    const int64_t vector = vector_of(s, i), vectors = vector_of(s, i + 1) - vector;
    const int64_t filter = vector * MW_LANES;
    transpose_planes(m->p->y + (n * g->o + group * g->og + filter) * plane + y0 * g->ow, plane,
                     g->og - filter, rows * g->ow, vectors * MW_LANES, panel);
    tile t = {.offset = m->pixel,
              .panel = panel,
              .steps = rows * g->ow,
              .sum = sum + filter * m->taps,
              .accumulate = accumulate};
    multiply_all(&t, vectors, copy, m->tap, m->taps);
  }
}

/* One slice of the batch, one part of the panels. */
static void sum_chunk(void *arg, int64_t chunk, int worker) {
  const sums *m = arg;
  const pass *s = m->s;
  const int64_t slice = chunk / m->parts, part = chunk % m->parts, groups = m->p->g.groups;
  const int64_t start = slice * m->images, end = mw_chunk_end(m->p->g.n, m->images, slice);
  for (int64_t n = start; n < end; n++)
    for (int64_t group = 0; group < groups; group++)
      for (int64_t band = 0; band < s->bands; band++)
        sum_band(m, n, group, band, s->panels * part / m->parts, s->panels * (part + 1) / m->parts,
                 m->sum + (slice * groups + group) * m->group, n > start || band > 0,
                 mw_worker_scratch(m->p->call, worker));
}

/* Adds the slices' sums of one panel, always in the same order, and transposes them into dw. */
static void add_chunk(void *arg, int64_t chunk, int worker) {
  const sums *m = arg;
  const pass *s = m->s;
  const geometry *g = &m->p->g;
  const int64_t group = chunk / s->vectors, filter = chunk % s->vectors * MW_LANES;
  int64_t panel = 0;
  while (vector_of(s, panel + 1) * MW_LANES <= filter) panel++;
  const int64_t first = vector_of(s, panel) * MW_LANES;
  const int64_t lanes = vector_of(s, panel + 1) * MW_LANES - first;
  const real *sum = m->sum + group * m->group + first * m->taps + filter - first;
  real *dw = m->p->to_w + (group * g->og + filter) * m->taps;
  (void)worker;
  for (int64_t tap = 0; tap < m->taps; tap += MW_LANES) {
    const int64_t taps = least(MW_LANES, m->taps - tap);
    mw_vector row[MW_LANES] = {0};
    for (int64_t slice = 0; slice < m->slices; slice++)
      for (int64_t t = 0; t < taps; t++)
        row[t] += mw_load(sum + slice * g->groups * m->group + (tap + t) * lanes);
    mw_transpose(row);
    for (int l = 0; l < MW_LANES && filter + l < g->og; l++)
      memcpy(dw + l * m->taps + tap, &row[l], (size_t)taps * sizeof(real));
  }
}

static void run_weights(const plan *p, const pass *s) {
  sums m = sums_of(p, s);
  m.sum = p->call->scratch;
  m.tap = (void *)(m.sum + m.slices * p->g.groups * m.group);
  m.pixel = m.tap + m.taps;
  list_taps(&p->g, s, &s->phases[0], m.tap, NULL);
  list_pixels(s, s->rows, p->g.ow, m.pixel);
  mw_parallel(p->call, m.slices * m.parts, sum_chunk, &m);
  mw_parallel(p->call, p->g.groups * s->vectors, add_chunk, &m);
}

enum { LANES = 32 };

/* db of one channel: sums side by side, so that none waits for another. */
static void bias_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const int64_t *out = p->call->out[0].spec.shape, plane = out[2] * out[3];
  real lane[LANES] = {0}, rest = 0;
  (void)worker;
  for (int64_t n = 0; n < out[0]; n++) {
    const real *dy = p->dout + (n * out[1] + chunk) * plane;
    int64_t i = 0;
    for (; i + LANES <= plane; i += LANES)
      for (int l = 0; l < LANES; l++) lane[l] += dy[i + l];
    for (; i < plane; i++) rest += dy[i];
  }
  for (int l = 0; l < LANES; l++) rest += lane[l];
  p->to_b[chunk] = rest;
}

/* ---- the kernels -------------------------------------------------------------------------- */

/* For y and dx a band may have as many pixels as the copy has room for; their sums are small. */
enum { ALL = 1024 };

static size_t worker_bytes(const pass *s, int64_t panel) {
  return (size_t)(s->channels * s->plane + s->pixels * panel) * sizeof(real);
}

static void workspace(const mw_call *call, mw_workspace *need, const roles *r) {
  const plan p = {.g = geometry_of(call, r), .call = call};
  const bool back = call->backward;
  const struct {
    bool wanted, to_x, sums;
  } parts[] = {{back == (r->y != OUT), false, false},
               {back == (r->x != OUT), true, false},
               {back == (r->w != OUT), false, true}};
  for (int i = 0; i < 3; i++) {
    if (!parts[i].wanted) continue;
    const pass s = pass_of(&p.g, parts[i].to_x, parts[i].sums ? SUMMED : ALL);
    const sums m = sums_of(&p, &s);
    const size_t bytes = parts[i].sums ? sums_bytes(&m) : shared_bytes(&s, &p.g);
    const size_t worker = worker_bytes(&s, VECTORS * MW_LANES);
    need->call = need->call > bytes ? need->call : bytes;
    need->worker = need->worker > worker ? need->worker : worker;
  }
}

static bool supports(const mw_call *call, const roles *r) {
  const geometry g = geometry_of(call, r);
  mw_workspace need = {0};
  if (g.n < 1 || g.cg < 1 || g.og < 1 || g.oh * g.ow < 1 || g.h * g.w < 1) return false;
  if (g.sh > STRIDE || g.sw > STRIDE || g.kh * g.kw > KERNEL) return false;
  workspace(call, &need, r);
  return need.worker <= WORKER_BYTES;
}

/* Vectors run along the channels of what is made: these should fill one or two. With fewer,
 * conv2d_shifted.c is faster. Kernels of one element copy for nothing. */
static bool suits(const mw_call *call, const roles *r) {
  enum { ENOUGH = 16 };
  const geometry g = geometry_of(call, r);
  return g.og >= ENOUGH && g.cg >= ENOUGH && g.kh * g.kw > 1 && supports(call, r);
}

static mw_status run(const mw_call *call, const roles *r) {
  const plan p = plan_of(call, r);
  const geometry *g = &p.g;
  if (call->backward && !p.dout) {
    for (int i = 0; i < call->n_in; i++)
      if (call->din[i].data)
        memset(call->din[i].data, 0, (size_t)call->din[i].count * sizeof(real));
    return MW_OK;
  }
  if (p.to_y) {
    const pass s = pass_of(g, false, ALL);
    run_pass(&p, &s, p.x, p.to_y);
  }
  if (p.to_x) {
    const pass s = pass_of(g, true, ALL);
    run_pass(&p, &s, p.y, p.to_x);
  }
  if (p.to_w) {
    const pass s = pass_of(g, false, SUMMED);
    run_weights(&p, &s);
  }
  if (p.to_b) mw_parallel(call, call->out[0].spec.shape[1], bias_chunk, (void *)&p);
  return MW_OK;
}

static mw_status run_conv(const mw_call *call) { return run(call, &of_conv); }

static mw_status run_transpose(const mw_call *call) { return run(call, &of_transpose); }

static mw_status run_weight(const mw_call *call) { return run(call, &of_weight); }

static void conv_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_conv);
}

static void transpose_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_transpose);
}

static void weight_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_weight);
}

static bool supports_conv(const mw_call *call) { return supports(call, &of_conv); }

static bool supports_transpose(const mw_call *call) { return supports(call, &of_transpose); }

static bool supports_weight(const mw_call *call) { return supports(call, &of_weight); }

static bool suits_conv(const mw_call *call) { return suits(call, &of_conv); }

static bool suits_transpose(const mw_call *call) { return suits(call, &of_transpose); }

static bool suits_weight(const mw_call *call) { return suits(call, &of_weight); }

/* With few channels these may still be the fastest; below conv2d_gemm.c they serve on request. */
#define IMPLICIT(of, which) .op = of, .name = "implicit", .priority = 55, .supports = suits_##which
#define IMPLICIT_ANY(of, which) \
  .op = of, .name = "implicit_any", .priority = 5, .supports = supports_##which
#define RUNS(which) .forward = run_##which, .backward = run_##which, .workspace = which##_workspace

static const mw_kernel kernels[] = {
    {IMPLICIT("conv2d", conv), RUNS(conv)},
    {IMPLICIT("conv_transpose2d", transpose), RUNS(transpose)},
    {IMPLICIT("conv2d_weight_gradient", weight), RUNS(weight)},
    {IMPLICIT_ANY("conv2d", conv), RUNS(conv)},
    {IMPLICIT_ANY("conv_transpose2d", transpose), RUNS(transpose)},
    {IMPLICIT_ANY("conv2d_weight_gradient", weight), RUNS(weight)},
};

MW_PLUGIN_WITH_KERNELS((NULL), (&kernels[0], &kernels[1], &kernels[2], &kernels[3], &kernels[4],
                                &kernels[5]))
