/* conv2d_depthwise.c: the kernels of conv2d.c's three ops where each group has one channel.
 *
 * Each output plane is made of one plane of x and a filter of kh * kw numbers, so there is little
 * to do with what is loaded, and the planes are read where they lie. A tile is one vector of
 * columns by up to 8 rows of outputs:
 *
 *     for each column q of the kernel
 *       the kh weights of that column, broadcast
 *       for each row r of x under the tile: v = vector of x at row r, shifted by q
 *         for each kernel row p that sees it: sum[r - p] += weight[p] * v
 *
 * With 3 x 3 that is 10 loads for 24 multiply-adds, and takes 8 sums, 3 weights, v and a mask of 16
 * registers. The mask makes zeros of the lanes in the padding; rows in the padding are zeros of
 * their own. dx of a stride of 1 is the same with dy as the image, the kernel turned and another
 * padding. dw keeps the sums of a few columns of the kernel in registers while it goes down a
 * column of vectors. Measured on a core with AVX2, in f32, 3 x 3 on planes of 32 x 32: 32 GFLOP/s
 * for y and 31 for dx, a third of the peak, and 24 for dw.
 *
 * With a column stride the columns of x are dealt out first to as many planes. The first and the
 * last plane of a tensor are copied, too, because vectors are loaded beyond the ends of rows.
 *
 * Products with the padding's zeros are computed like all others in y and dw. In dx there are none,
 * as in the plain kernel: where a weight is not finite, and zeros would show, dx is summed by a
 * plain loop. */
#include <string.h>

#include "../graph/moonwalk.h"
#include "../graph/vector.h"
#include "conv2d.h"

/* ---- what a call computes ----------------------------------------------------------------- */

enum {
  ROWS = 8,                      /* of a tile, at most; 4 at least */
  MULTIPLIER = 4,                /* output channels for each channel, at most */
  KERNEL = 512,                  /* elements of a filter, at most */
  LARGEST = 4 * 1024 * 1024,     /* elements of a copied plane, at most */
  LINE = 64 / (int)sizeof(real), /* elements in a line of cache */
  PRODUCTS = 1024 * 1024         /* in a chunk, at least */
};

typedef struct plan {
  geometry g;
  int64_t k;                       /* elements of a filter */
  int64_t copy;                    /* elements of a copy of a plane of x or y */
  int64_t zero, zeros, table;      /* in scratch: so many zeros; the rows of images */
  int64_t channels;                /* of x in a chunk */
  const real *x, *w, *y, *b;       /* what is read, */
  real *to_x, *to_w, *to_y, *to_b; /* what is wanted, or NULL, */
  const real *dout;                /* and what to_b sums, */
  int64_t out_channels, out_plane; /* of so many channels and elements each */
  const mw_call *call;
} plan;

static plan plan_of(const mw_call *call, const roles *r) {
  const geometry g = geometry_of(call, r);
  const int64_t *out = call->out[0].spec.shape;
  plan p = {.g = g, .call = call, .k = g.kh * g.kw};
  p.out_channels = out[1], p.out_plane = out[2] * out[3];
  p.copy = most(g.sw * mw_chunks(g.w, g.sw) * g.h, g.oh * g.ow) + 2 * MW_LANES;
  p.zero = (1 + g.og) * p.copy + MW_LANES;
  p.zeros = most(g.w, g.ow) + 2 * MW_LANES;
  p.table = mw_chunks(p.zero + p.zeros, LINE) * LINE;
  p.channels = most(1, PRODUCTS / most(1, g.og * g.oh * g.ow * p.k));
  return p;
}

static void bind_all(plan *p, const roles *r) {
  const mw_call *call = p->call;
  bind(call, r->x, &p->x, &p->to_x);
  bind(call, r->w, &p->w, &p->to_w);
  bind(call, r->y, &p->y, &p->to_y);
  if (call->backward) p->dout = call->dout[0].data;
  if (call->n_in <= BIAS) return;
  if (call->backward) p->to_b = call->din[BIAS].data;
  else p->b = call->in[BIAS].data;
}

/* ---- planes that vectors are loaded from --------------------------------------------------- */

/* A plane as a kernel sees it. Column i of its part f is column i * parts + f of the tensor's.
 * MW_LANES elements before and after each part may be loaded. */
typedef struct image {
  const real *at;
  int64_t h, w;        /* rows; columns of the tensor's */
  int64_t parts, step; /* parts, and elements of each */
  int64_t pitch;       /* of a row of a part */
} image;

/* Plane `number` of `planes` of [h, w]; copied to scratch where it must be. */
static image image_of(const real *all, int64_t number, int64_t planes, int64_t h, int64_t w,
                      int64_t parts, real *scratch) {
  image m = {.at = all + number * h * w, .h = h, .w = w, .parts = parts, .pitch = w};
  if (parts == 1 && number > 0 && number < planes - 1) return m;
  const real *from = m.at;
  m.at = scratch + MW_LANES, m.pitch = mw_chunks(w, parts), m.step = h * m.pitch;
  if (parts == 1) memcpy(scratch + MW_LANES, from, (size_t)(h * w) * sizeof(real));
  for (int64_t f = 0; f < parts && parts > 1; f++) {
    real *to = scratch + MW_LANES + f * m.step;
    for (int64_t y = 0; y < h; y++, to += m.pitch) {
      const real *row = from + y * w;
      if (parts == 2)
        for (int64_t x = f; x < w; x += 2) to[x / 2] = row[x];
      else
        for (int64_t x = f, i = 0; x < w; x += parts, i++) to[i] = row[x];
    }
  }
  return m;
}

typedef int32_t lanes32 __attribute__((vector_size(MW_VECTOR_BYTES)));
typedef int64_t lanes64 __attribute__((vector_size(MW_VECTOR_BYTES)));
#if defined MW_REAL_F64
typedef lanes64 lanes;
typedef int64_t lane_int;
#else
typedef lanes32 lanes;
typedef int32_t lane_int;
#endif

/* All bits of the lanes first .. end-1, and none of the others. */
MW_INLINE lanes lanes_between(int64_t first, int64_t end) {
  lanes number = {0};
  for (int l = 0; l < MW_LANES; l++) number[l] = l;
  const lane_int a = (lane_int)most(-1, least(first, MW_LANES));
  const lane_int b = (lane_int)most(0, least(end, MW_LANES));
  return (number >= a) & (number < b);
}

MW_INLINE mw_vector keep(mw_vector v, lanes kept) { return (mw_vector)((lanes)v & kept); }

/* What one column of the kernel sees of an image from one vector of output columns: the vector in
 * row 0, if any of its lanes is in the image, and which are. */
typedef struct column {
  const real *at; /* or NULL */
  lanes kept;
} column;

/* x: the image's column under the first lane, as the tensor counts. */
MW_INLINE column column_of(const image *m, int64_t x) {
  int64_t part = 0, at = x, width = m->w;
  if (m->parts > 1) {
    part = (x % m->parts + m->parts) % m->parts;
    at = (x - part) / m->parts;
    width = part < m->w ? (m->w - part - 1) / m->parts + 1 : 0;
  }
  column c = {.kept = lanes_between(-at, width - at)};
  if (at > -MW_LANES && at < width) c.at = m->at + part * m->step + at;
  return c;
}

static const real zeros[MW_LANES];

MW_INLINE mw_vector load_row(const image *m, const column *c, int64_t y) {
  const bool inside = c->at && y >= 0 && y < m->h;
  return keep(mw_load(inside ? c->at + y * m->pitch : zeros), c->kept);
}

/* ---- correlations: y, and dx of a stride of 1 ------------------------------------------------ */

enum { DENSE = 7 }; /* rows and columns of a filter, at most, for the fastest tiles */

/* Rows of an image that the rows of a plane see. */
static int64_t table_rows(int64_t h) { return most(h, ROWS) + DENSE - 1; }

/* A plane that is the sum of `sources` images, each correlated with a filter of its own. */
typedef struct correlation {
  int sources;
  image from[MULTIPLIER];
  int64_t kh, kw, sh, sw, dh, dw, top, left;
  const real *w; /* element (p, q) of the first filter is w[p * w_row + q * w_step] */
  int64_t w_row, w_step, w_source;
  real *to; /* [h, width] */
  int64_t h, width;
  real bias;
  const real *const *table; /* of each source: its rows; NULL where there is none */
} correlation;

/* What lies below the plane is not stored. */
MW_INLINE void store_rows(int rows, const correlation *t, int64_t y0, int64_t x0,
                          const mw_vector sum[ROWS]) {
  real *to = t->to + y0 * t->width + x0;
  MW_UNROLL for (int r = 0; r < rows; r++, to += t->width) {
    if (y0 + r >= t->h) return;
    if (t->width >= MW_LANES) mw_store(to, sum[r]);
    else
      for (int64_t l = 0; l < t->width; l++) to[l] = sum[r][l];
  }
}

/* Where the columns of the kernel see the rows of an image, and which lanes are in it. */
typedef struct views {
  int64_t offset[DENSE];
  lanes kept[DENSE];
} views;

/* A tile where neighbouring outputs see neighbouring rows, the table's; rows and kh are constants
 * where this is inlined, so that sums and weights become registers. */
MW_INLINE void dense_tile(int rows, int kh, const correlation *t, const views *c, int64_t y0,
                          int64_t x0) {
  mw_vector sum[ROWS];
  MW_UNROLL for (int r = 0; r < rows; r++) sum[r] = (mw_vector){0} + t->bias;
  for (int s = 0; s < t->sources; s++)
    for (int64_t q = 0; q < t->kw; q++) {
      const real *const *row = t->table + s * table_rows(t->h) + y0;
      const real *from = t->w + s * t->w_source + q * t->w_step;
      const int64_t offset = c->offset[q];
      const lanes kept = c->kept[q];
      mw_vector w[DENSE];
      MW_UNROLL for (int p = 0; p < kh; p++) w[p] = (mw_vector){0} + from[p * t->w_row];
      MW_UNROLL for (int r = 0; r < rows + kh - 1; r++) {
        const mw_vector v = keep(mw_load(row[r] + offset), kept);
        MW_UNROLL for (int p = 0; p < kh; p++) if (r - p >= 0 && r - p < rows) sum[r - p] +=
            w[p] * v;
      }
    }
  store_rows(rows, t, y0, x0, sum);
}

/* Any other tile. */
MW_INLINE void sparse_tile(int rows, const correlation *t, int64_t y0, int64_t x0) {
  mw_vector sum[ROWS];
  MW_UNROLL for (int r = 0; r < rows; r++) sum[r] = (mw_vector){0} + t->bias;
  for (int s = 0; s < t->sources; s++)
    for (int64_t q = 0; q < t->kw; q++) {
      const image *m = &t->from[s];
      const column c = column_of(m, x0 * t->sw + q * t->dw - t->left);
      for (int64_t p = 0; p < t->kh; p++) {
        const real w = t->w[s * t->w_source + p * t->w_row + q * t->w_step];
        MW_UNROLL for (int r = 0; r < rows; r++) sum[r] +=
            w * load_row(m, &c, (y0 + r) * t->sh - t->top + p * t->dh);
      }
    }
  store_rows(rows, t, y0, x0, sum);
}

MW_INLINE void tile_of(int rows, const correlation *t, const views *c, int64_t y0, int64_t x0) {
  if (!t->table) sparse_tile(rows, t, y0, x0);
  else if (t->kh == 3) dense_tile(rows, 3, t, c, y0, x0);
  else if (t->kh == 5) dense_tile(rows, 5, t, c, y0, x0);
  else dense_tile(rows, 7, t, c, y0, x0);
}

static bool is_dense(const correlation *t) {
  return t->sh == 1 && t->sw == 1 && t->dh == 1 && (t->kh == 3 || t->kh == 5 || t->kh == 7) &&
         t->kw <= DENSE;
}

/* Row r of the table: what the first row of the kernel sees for output row r. */
static void fill_table(const correlation *t, const real **table, const real *zero) {
  for (int s = 0; s < t->sources; s++)
    for (int64_t r = 0; r < table_rows(t->h); r++) {
      const int64_t y = r - t->top;
      *table++ = y >= 0 && y < t->from[s].h ? t->from[s].at + y * t->from[s].pitch : zero;
    }
}

/* The columns' offsets for one vector of outputs; what sees only padding may look anywhere. */
static void fill_columns(const correlation *t, int64_t x0, views *c) {
  const int64_t width = t->from[0].w;
  for (int64_t q = 0; q < t->kw; q++) {
    const int64_t at = x0 + q * t->dw - t->left;
    c->offset[q] = at > -MW_LANES && at < width ? at : 0;
    c->kept[q] = lanes_between(-at, width - at);
  }
}

/* scratch: for the table, and zeros of a row's width with MW_LANES on both sides. */
static void correlate(correlation *t, void *table, const real *zero) {
  views c;
  if (is_dense(t)) fill_table(t, table, zero);
  t->table = is_dense(t) ? table : NULL;
  const int64_t tiles = mw_chunks(t->h, ROWS);
  for (int64_t j = 0; j < t->width; j += MW_LANES) {
    const int64_t x0 = most(0, least(j, t->width - MW_LANES)); /* the last ends with the row */
    if (t->table) fill_columns(t, x0, &c);
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t y0 = t->h * i / tiles, rows = t->h * (i + 1) / tiles - y0;
      switch (rows) {
        case 8: tile_of(8, t, &c, y0, x0); break;
        case 7: tile_of(7, t, &c, y0, x0); break;
        case 6: tile_of(6, t, &c, y0, x0); break;
        case 5: tile_of(5, t, &c, y0, x0); break;
        default: tile_of(4, t, &c, y0, x0); break;
      }
    }
  }
}

/* The filters of channel c, or those turned by 180 degrees. */
static void set_filters(const plan *p, int64_t c, bool turned, correlation *t) {
  const geometry *g = &p->g;
  t->w = p->w + c * g->og * p->k;
  t->w_row = g->kw, t->w_step = 1, t->w_source = p->k;
  if (g->flip != turned) t->w += p->k - 1, t->w_row = -g->kw, t->w_step = -1;
}

/* The output planes of channel c of image n. scratch is as workspace() says. */
static void compute_y(const plan *p, int64_t n, int64_t c, real *scratch) {
  const geometry *g = &p->g;
  correlation t = {.sources = 1,
                   .from = {image_of(p->x, n * g->c + c, g->n * g->c, g->h, g->w, g->sw, scratch)},
                   .kh = g->kh,
                   .kw = g->kw,
                   .sh = g->sh,
                   .sw = g->sw,
                   .dh = g->dh,
                   .dw = g->dw,
                   .top = g->top,
                   .left = g->left,
                   .h = g->oh,
                   .width = g->ow};
  set_filters(p, c, false, &t);
  for (int64_t o = c * g->og; o < (c + 1) * g->og; o++, t.w += p->k) {
    t.to = p->to_y + (n * g->o + o) * g->oh * g->ow;
    t.bias = p->b ? p->b[o] : 0;
    correlate(&t, scratch + p->table, scratch + p->zero);
  }
}

/* ---- dx ----------------------------------------------------------------------------------- */

/* Output columns first .. end-1 see the image in column kx of the kernel. */
static int64_t first_column(const geometry *g, int64_t kx) {
  const int64_t x = kx * g->dw - g->left;
  return x < 0 ? least(mw_chunks(-x, g->sw), g->ow) : 0;
}

static int64_t end_column(const geometry *g, int64_t kx) {
  const int64_t x = kx * g->dw - g->left;
  return x < g->w ? least(mw_chunks(g->w - x, g->sw), g->ow) : 0;
}

/* Adds what one plane of dy brings to a plane of dx, product by product. */
static void spread(const geometry *g, const real *dy, const real *w, real *dx) {
  for (int64_t oy = 0; oy < g->oh; oy++, dy += g->ow)
    for (int64_t ky = 0; ky < g->kh; ky++) {
      const int64_t y = oy * g->sh - g->top + ky * g->dh;
      if (y < 0 || y >= g->h) continue;
      for (int64_t kx = 0; kx < g->kw; kx++) {
        const real wk = g->flip ? w[(g->kh - 1 - ky) * g->kw + g->kw - 1 - kx] : w[ky * g->kw + kx];
        const int64_t end = end_column(g, kx), x = y * g->w + kx * g->dw - g->left;
        for (int64_t ox = first_column(g, kx); ox < end; ox++) dx[x + ox * g->sw] += wk * dy[ox];
      }
    }
}

static bool all_finite(const real *w, int64_t n) {
  bool all = true;
  for (int64_t i = 0; i < n; i++) all &= w[i] - w[i] == 0;
  return all;
}

/* Channel c of image n of dx. */
static void compute_x(const plan *p, int64_t n, int64_t c, real *scratch) {
  const geometry *g = &p->g;
  const int64_t plane = g->oh * g->ow, first = n * g->o + c * g->og;
  real *dx = p->to_x + (n * g->c + c) * g->h * g->w;
  const real bias = p->b ? p->b[c] : 0;
  if (g->sh == 1 && g->sw == 1 && all_finite(p->w + c * g->og * p->k, g->og * p->k)) {
    correlation t = {.sources = (int)g->og,
                     .kh = g->kh,
                     .kw = g->kw,
                     .sh = 1,
                     .sw = 1,
                     .dh = g->dh,
                     .dw = g->dw,
                     .top = (g->kh - 1) * g->dh - g->top,
                     .left = (g->kw - 1) * g->dw - g->left,
                     .to = dx,
                     .h = g->h,
                     .width = g->w,
                     .bias = bias};
    set_filters(p, c, true, &t);
    for (int64_t s = 0; s < g->og; s++)
      t.from[s] =
          image_of(p->y, first + s, g->n * g->o, g->oh, g->ow, 1, scratch + (1 + s) * p->copy);
    correlate(&t, scratch + p->table, scratch + p->zero);
    return;
  }
  for (int64_t i = 0; i < g->h * g->w; i++) dx[i] = bias;
  for (int64_t s = 0; s < g->og; s++)
    spread(g, p->y + (first + s) * plane, p->w + (c * g->og + s) * p->k, dx);
}

/* ---- dw ----------------------------------------------------------------------------------- */

/* For output columns j .. of an image, adds to the sums of rows p .. p+rows-1 and columns q ..
 * q+columns-1 of the filter; rows and columns are constants where this is inlined. */
MW_INLINE void sum_tile(int rows, int columns, const geometry *g, const image *x, const real *dy,
                        int64_t j, int64_t p, int64_t q, real *sums) {
  const lanes tail = lanes_between(0, g->ow - j);
  mw_vector sum[7][3];
  column c[3];
  MW_UNROLL for (int b = 0; b < columns; b++) {
    c[b] = column_of(x, j * g->sw + (q + b) * g->dw - g->left);
    c[b].kept &= tail;
    MW_UNROLL for (int a = 0; a < rows; a++) sum[a][b] =
        mw_load(sums + ((p + a) * g->kw + q + b) * MW_LANES);
  }
  for (int64_t y = 0; y < g->oh; y++) {
    const mw_vector d = keep(mw_load(dy + y * g->ow + j), tail);
    MW_UNROLL for (int b = 0; b < columns; b++) MW_UNROLL for (int a = 0; a < rows; a++)
        sum[a][b] += d * load_row(x, &c[b], y * g->sh - g->top + (p + a) * g->dh);
  }
  MW_UNROLL for (int b = 0; b < columns; b++) MW_UNROLL for (int a = 0; a < rows; a++)
      mw_store(sums + ((p + a) * g->kw + q + b) * MW_LANES, sum[a][b]);
}

/* Adds what one image brings to the sums [kh, kw, lanes] of a filter. */
static void sum_plane(const geometry *g, const image *x, const real *dy, real *sums) {
  for (int64_t j = 0; j < g->ow; j += MW_LANES) {
    int64_t q = 0;
    if (g->kh == 3)
      for (; q + 3 <= g->kw; q += 3) sum_tile(3, 3, g, x, dy, j, 0, q, sums);
    if (g->kh == 5)
      for (; q + 2 <= g->kw; q += 2) sum_tile(5, 2, g, x, dy, j, 0, q, sums);
    for (; q < g->kw; q++)
      if (g->kh == 5) sum_tile(5, 1, g, x, dy, j, 0, q, sums);
      else if (g->kh == 7) sum_tile(7, 1, g, x, dy, j, 0, q, sums);
      else
        for (int64_t p = 0; p < g->kh; p++) sum_tile(1, 1, g, x, dy, j, p, q, sums);
  }
}

/* dw of the filters of channel c. */
static void compute_w(const plan *p, int64_t c, real *scratch) {
  const geometry *g = &p->g;
  const int64_t count = g->og * p->k;
  real *sums = scratch + 2 * p->copy;
  memset(sums, 0, (size_t)(count * MW_LANES) * sizeof(real));
  for (int64_t n = 0; n < g->n; n++) {
    const image x = image_of(p->x, n * g->c + c, g->n * g->c, g->h, g->w, g->sw, scratch);
    for (int64_t s = 0; s < g->og; s++) {
      const int64_t plane = n * g->o + c * g->og + s;
      const image dy = image_of(p->y, plane, g->n * g->o, g->oh, g->ow, 1, scratch + p->copy);
      sum_plane(g, &x, dy.at, sums + s * p->k * MW_LANES);
    }
  }
  for (int64_t e = 0; e < count; e++) {
    real sum = 0;
    for (int l = 0; l < MW_LANES; l++) sum += sums[e * MW_LANES + l];
    const int64_t s = e / p->k, at = e % p->k;
    p->to_w[(c * g->og + s) * p->k + (g->flip ? p->k - 1 - at : at)] = sum;
  }
}

/* ---- the kernels -------------------------------------------------------------------------- */

/* Some channels of one image. */
static void image_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const int64_t pieces = mw_chunks(p->g.c, p->channels), n = chunk / pieces, piece = chunk % pieces;
  real *scratch = mw_worker_scratch(p->call, worker);
  memset(scratch + p->zero - MW_LANES, 0, (size_t)p->zeros * sizeof(real));
  for (int64_t c = piece * p->channels; c < mw_chunk_end(p->g.c, p->channels, piece); c++) {
    if (p->to_y) compute_y(p, n, c, scratch);
    if (p->to_x) compute_x(p, n, c, scratch);
  }
}

/* One channel of all images. */
static void filter_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  compute_w(p, chunk, mw_worker_scratch(p->call, worker));
}

static void bias_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  (void)worker;
  real total = 0;
  for (int64_t n = 0; n < p->g.n; n++) {
    const real *dy = p->dout + (n * p->out_channels + chunk) * p->out_plane;
    mw_vector lane[4] = {0}; /* sums side by side, so that none waits for another */
    int64_t i = 0;
    for (; i + 4 * MW_LANES <= p->out_plane; i += 4 * MW_LANES)
      MW_UNROLL for (int l = 0; l < 4; l++) lane[l] += mw_load(dy + i + l * MW_LANES);
    lane[0] += lane[1] + (lane[2] + lane[3]);
    for (int l = 0; l < MW_LANES; l++) total += lane[0][l];
    for (; i < p->out_plane; i++) total += dy[i];
  }
  p->to_b[chunk] = total;
}

/* Planes of MW_LANES elements: so many may be loaded before and after those that are not copied. */
static bool supports(const mw_call *call, const roles *r) {
  const plan p = plan_of(call, r);
  const geometry *g = &p.g;
  return g->cg == 1 && g->og >= 1 && g->og <= MULTIPLIER && g->n >= 1 && p.k <= KERNEL &&
         g->h * g->w >= MW_LANES && g->oh * g->ow >= MW_LANES && p.copy <= LARGEST;
}

/* A worker's scratch: copies of a plane of x and of og planes of y, a row of zeros, and tables of
 * rows; or copies of one plane of each, and sums. */
static void workspace(const mw_call *call, mw_workspace *need, const roles *r) {
  const plan p = plan_of(call, r);
  const geometry *g = &p.g;
  const size_t table = (size_t)(g->og * table_rows(most(g->h, g->oh))) * sizeof(real *);
  const size_t sums = (size_t)(2 * p.copy + g->og * p.k * MW_LANES) * sizeof(real);
  need->worker = (size_t)p.table * sizeof(real) + table;
  if (need->worker < sums) need->worker = sums;
}

static mw_status run(const mw_call *call, const roles *r) {
  plan p = plan_of(call, r);
  const geometry *g = &p.g;
  bind_all(&p, r);
  if (call->backward && !p.dout) {
    for (int i = 0; i < call->n_in; i++)
      if (call->din[i].data)
        memset(call->din[i].data, 0, (size_t)call->din[i].count * sizeof(real));
    return MW_OK;
  }
  if (p.to_y || p.to_x) mw_parallel(call, g->n * mw_chunks(g->c, p.channels), image_chunk, &p);
  if (p.to_w) mw_parallel(call, g->c, filter_chunk, &p);
  if (p.to_b) mw_parallel(call, p.out_channels, bias_chunk, &p);
  return MW_OK;
}

static mw_status run_conv(const mw_call *call) { return run(call, &of_conv); }

static mw_status run_transpose(const mw_call *call) { return run(call, &of_transpose); }

static mw_status run_weight(const mw_call *call) { return run(call, &of_weight); }

static bool supports_conv(const mw_call *call) { return supports(call, &of_conv); }

static bool supports_transpose(const mw_call *call) { return supports(call, &of_transpose); }

static bool supports_weight(const mw_call *call) { return supports(call, &of_weight); }

static void conv_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_conv);
}

static void transpose_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_transpose);
}

static void weight_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_weight);
}

#define DEPTHWISE(of, which)                                                         \
  {                                                                                  \
    .op = of, .name = "depthwise", .priority = 60, .supports = supports_##which,     \
    .forward = run_##which, .backward = run_##which, .workspace = which##_workspace, \
  }

static const mw_kernel kernels[] = {
    DEPTHWISE("conv2d", conv),
    DEPTHWISE("conv_transpose2d", transpose),
    DEPTHWISE("conv2d_weight_gradient", weight),
};

MW_PLUGIN_WITH_KERNELS((NULL), (&kernels[0], &kernels[1], &kernels[2]))
