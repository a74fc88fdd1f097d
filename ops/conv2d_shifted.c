/* conv2d_shifted.c: the kernels of conv2d.c's three ops for few channels, with pixels in the lanes
 * of vectors.
 *
 * Of each channel of an image there is made, for each column of the kernel, one copy of the rows of
 * the padded image, shifted so that row r holds what that kernel column sees of it for the output
 * columns 0 .. ow-1, and nothing else:
 *
 *     copy[c][q][r][j] = padded x[c][r][j*stride + q*dilation]
 *
 * Rows follow each other without a gap, so all kernel rows see the same copy, each from another
 * place on, and the pixels of an output plane are one row of oh*ow numbers, however narrow the
 * image is: vectors cross the ends of rows, and only the last one of a plane is not full. (With a
 * row stride the rows are dealt out to as many parts, in each of which they follow each other.)
 * This is 1/kh of the columns matrix that a matrix product needs, and stays in the caches. With
 * k = (c, p, q) counting the kernel's elements, and at[k] the place where each sees the copies,
 *
 *     y[o][i]  = b[o] + sum over k of w[o][k] copy[at[k] + i]
 *     dw[o][k] = sum over i of dy[o][i] copy[at[k] + i]
 *     dcopy[c][q][r][j] = sum over o and p of w[o][c][p][q] dy[o][r - p][j], for a stride of 1,
 *
 * and dx is the sum of the shifted dcopies. For these dy is framed: each plane lies between rows of
 * zeros, so that r - p may leave it. A tile's sums over all kernel rows are in registers, where a sum
 * over the channels alone would go to memory once for each row; rows of the kernel that meet nothing
 * but the frame in a whole tile are left out.
 *
 * Each is computed in tiles of vectors that stay in registers; the registers that are left hold
 * what is loaded and a broadcast:
 *
 *     registers   y and dcopy: channels x vectors of pixels   dw: channels x kernel elements
 *     16          6 x 2 or 4 x 3                               3 x 4
 *     32          8 x 3                                        4 x 6
 *
 * With 16 registers a step of 12 multiply-adds has 8 (6 x 2) or 7 loads; two of either start in a
 * cycle, so multiply-adds set the rate. Of dw a tile sums the lanes at its end. Where the output
 * channels fill vectors, dy is turned to [pixel][channel], they are the lanes of dw, and it is the
 * copies' pixels that are broadcast: nothing is left to sum, however small the plane.
 *
 * Expected, and measured, of the peak of multiply-adds in f32: 70 to 85 % in y and dw of LeNet-5's two
 * convolutions, and 50 to 60 % in dx of the second, where a tenth of a tile's products are with the
 * frame's zeros, and the sum of the dcopies takes an eighth of the time.
 *
 * Products with the zeros of the padding and of the frame are computed like all others: where a
 * weight is infinite they are NaN, of which the plain kernel has none in dx.
 *
 * It is one long file because the three sums share the copies. */
#include <string.h>

#include "../graph/moonwalk.h"
#include "../graph/vector.h"
#include "conv2d.h"

/* ---- what a call computes ----------------------------------------------------------------- */

enum {
  LINE = 64 / (int)sizeof(real),           /* elements in a line of cache */
  COPIES = 128 * 1024 / (int)sizeof(real), /* elements of the copies that are there at once, */
  LARGEST = 4 * COPIES,                    /* and if one channel needs more */
  NEAREST = 24 * 1024 / (int)sizeof(real), /* elements that a first-level cache keeps */
  PARTIALS = 16,                           /* chunks of the batch that sum dw apart, at most */
  CHUNK_PRODUCTS = 2000000,                /* and products of one of them, at least */
  CHANNELS = 64,                           /* of a group, at most */
  CHUNK_ROWS = 4,                          /* output rows of a band of y, at least */
};

/* The copies for some rows of y. */
typedef struct layout {
  int64_t touched; /* rows of the padded image under them */
  int64_t part;    /* elements of the rows r with the same r % sh */
  int64_t pitch;   /* from one copy to the next */
} layout;

typedef struct plan {
  geometry g;
  int64_t k, plane;            /* elements of a filter and of a plane of y */
  int64_t bands;               /* into which y is cut */
  layout band, image;          /* copies for a band, and for a whole image */
  int64_t channels;            /* whose copies for one image are there at once */
  bool turned;                 /* dw is summed with output channels in the lanes, */
  int64_t lanes;               /* in so many for each group */
  int64_t strip;               /* tiles of y that are computed for all channels in turn */
  int64_t strip_x;             /* and of the copies' gradient */
  int64_t zeros, framed;       /* rows of zeros around a plane of y, and its elements with them */
  int64_t images, block;       /* in a chunk of the batch, and in a block of it */
  int64_t sums;                /* elements of dw as it is summed: [o, k], or if it is turned */
                               /* [groups, k, lanes] */
  int64_t partial;             /* elements of a chunk's sums: dw, then db */
  int32_t *at_band, *at_image; /* where each element of a filter sees the copies */
  int32_t *starts; /* [sh + 1]: the kernel's rows are listed by the part of the copies' rows that */
                   /* they meet: where those of each part start, */
  int32_t *down;   /* [kh]: and by how many rows each puts a row of y further down */
  int32_t *at_y, *at_w; /* [kh, og]: where each sees framed planes, and where its weights are */
  real *reached; /* of each vector in a row of dx and kernel column: the lanes that it reaches */
  const real *x, *w, *y, *b;       /* what is read, */
  real *to_x, *to_w, *to_y, *to_b; /* what is wanted, or NULL, */
  const real *dout;                /* and what to_b sums, */
  int64_t out_channels, out_plane; /* of so many channels and elements each */
  const mw_call *call;
} plan;

static layout layout_of(const geometry *g, int64_t rows) {
  layout l = {.touched = (rows - 1) * g->sh + (g->kh - 1) * g->dh + 1};
  l.part = mw_chunks(l.touched, g->sh) * g->ow;
  l.pitch = (mw_chunks(g->sh * l.part + MW_LANES - 1, LINE) | 1) * LINE;
  return l;
}

/* The element's number in a filter. */
static int64_t element_of(const geometry *g, int64_t c, int64_t ky, int64_t kx) {
  return g->flip ? (c * g->kh + g->kh - 1 - ky) * g->kw + g->kw - 1 - kx
                 : (c * g->kh + ky) * g->kw + kx;
}

/* Where a row of the padded image is in a copy. */
static int64_t place_of(const geometry *g, const layout *l, int64_t row) {
  return g->sh == 1 ? row * g->ow : row % g->sh * l->part + row / g->sh * g->ow;
}

static int64_t copies_of(const geometry *g, const layout *l, int64_t channels) {
  return channels * g->kw * l->pitch;
}

static plan plan_of(const mw_call *call, const roles *r) {
  const geometry g = geometry_of(call, r);
  const int64_t *out = call->out[0].spec.shape;
  plan p = {.g = g, .call = call, .k = g.cg * g.kh * g.kw, .plane = g.oh * g.ow};
  p.out_channels = out[1], p.out_plane = out[2] * out[3];
  p.image = layout_of(&g, g.oh);
  const int64_t channel = copies_of(&g, &p.image, 1);
  p.channels = most(1, least(g.cg, COPIES / channel));
  const int64_t most_bands = most(1, g.oh / mw_chunks(MW_LANES, most(1, g.ow)) / CHUNK_ROWS);
  p.bands = most(1, least(most_bands, mw_chunks(g.cg * channel, COPIES)));
  p.band = layout_of(&g, mw_chunks(g.oh, p.bands));
  p.strip = copies_of(&g, &p.band, g.cg) <= NEAREST ? p.plane : 1;
  const int64_t products = g.o * p.k * p.plane;
  p.images = most(mw_chunks(g.n, PARTIALS), mw_chunks(CHUNK_PRODUCTS, most(1, products)));
  p.images = least(p.images, most(1, g.n));
  p.lanes = mw_chunks(g.og, MW_LANES) * MW_LANES;
  p.turned = 7 * p.lanes <= 8 * g.og;
  if (!p.turned) p.lanes = g.og;
  const int64_t fit = least(COPIES / (p.channels * channel), NEAREST / most(1, g.og * p.plane));
  p.block = p.turned ? 1 : most(1, least(p.images, fit));
  p.zeros = (g.kh - 1) * g.dh / g.sh;
  p.framed = (g.oh + 2 * p.zeros) * g.ow;
  p.strip_x = g.og * p.framed <= NEAREST ? p.image.part : 1;
  p.sums = g.groups * p.lanes * p.k;
  p.partial = mw_chunks(p.sums + (call->n_in > BIAS ? p.out_channels : 0), LINE) * LINE;
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

/* ---- tiles -------------------------------------------------------------------------------- */

#if MW_VECTOR_BYTES == 64 || defined __aarch64__
enum { ROWS = 8, ROWS_OF_3 = 8, SUM_ROWS = 4, SUM_COLUMNS = 6 };
#else
enum { ROWS = 6, ROWS_OF_3 = 4, SUM_ROWS = 3, SUM_COLUMNS = 4 };
#endif
enum { VECTORS = 3 };

/* Steps of a multiply-add that all tiles take, of which at least 8 must be under way at once, for
 * rows in so many tiles and vectors in tiles of 2 or 3. */
static int64_t cost(int64_t rows, int64_t row_tiles, int64_t vectors, int64_t vector_tiles) {
  int64_t sum = 0;
  for (int i = 0; i < 2; i++)
    for (int j = 0; j < 2; j++) {
      const int64_t r = rows / row_tiles + i, v = vectors / vector_tiles + j;
      const int64_t n = i ? rows % row_tiles : row_tiles - rows % row_tiles;
      const int64_t m = j ? vectors % vector_tiles : vector_tiles - vectors % vector_tiles;
      sum += n * m * most(r * v, 8);
    }
  return sum;
}

/* Things cut evenly into tiles: `many` tiles of size + 1, then the others of `size`. */
typedef struct cut {
  int64_t tiles, size, many;
} cut;

static cut cut_into(int64_t n, int64_t tiles) {
  return (cut){.tiles = tiles, .size = n / tiles, .many = n % tiles};
}

static int64_t size_of(const cut *c, int64_t tile) { return c->size + (tile < c->many); }

static int64_t start_of(const cut *c, int64_t tile) {
  return tile * c->size + least(tile, c->many);
}

/* How rows by pixels are cut into tiles. */
typedef struct cuts {
  cut rows, vectors;
} cuts;

static cuts cuts_of(int64_t rows, int64_t pixels) {
  const int64_t vectors = mw_chunks(pixels, MW_LANES);
  const int64_t two = mw_chunks(vectors, 2), three = mw_chunks(vectors, 3);
  const int64_t of_two = mw_chunks(rows, ROWS), of_three = mw_chunks(rows, ROWS_OF_3);
  if (cost(rows, of_three, vectors, three) < cost(rows, of_two, vectors, two))
    return (cuts){cut_into(rows, of_three), cut_into(vectors, three)};
  return (cuts){cut_into(rows, of_two), cut_into(vectors, two)};
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

/* Vectors in a row of dx, where the stride is 1, and their columns: the last ends with the row. */
static int64_t columns_of(const geometry *g) { return g->sw == 1 ? mw_chunks(g->w, MW_LANES) : 0; }

static int64_t column_of(const geometry *g, int64_t j) {
  return most(0, least(j * MW_LANES, g->w - MW_LANES));
}

/* ---- the copies --------------------------------------------------------------------------- */

/* Where column kx of the kernel meets the image: output columns first .. end-1. */
typedef struct reach {
  int64_t first, end, x; /* x: image column of output column 0 */
} reach;

static reach reach_of(const geometry *g, int64_t kx) {
  reach r = {.x = kx * g->dw - g->left};
  r.first = r.x < 0 ? least(mw_chunks(-r.x, g->sw), g->ow) : 0;
  r.end = r.x < g->w ? most(r.first, least(mw_chunks(g->w - r.x, g->sw), g->ow)) : r.first;
  return r;
}

static void copy_row(const geometry *g, const reach *r, const real *row, real *to) {
  for (int64_t i = 0; i < r->first; i++) to[i] = 0;
  if (g->sw == 2) /* mostly; the compiler knows how to load every second element */
    for (int64_t i = r->first; i < r->end; i++) to[i] = row[r->x + i * 2];
  else
    for (int64_t i = r->first; i < r->end; i++) to[i] = row[r->x + i * g->sw];
  for (int64_t i = r->end; i < g->ow; i++) to[i] = 0;
}

/* Vectors j .. j+vectors-1 of some rows of an image, `step` apart, to rows that follow each other.
 * Vectors are loaded beyond both ends of a row and stored beyond its end; what they store there is
 * written over by the next row. `all`: the kernel's column meets the image in all of them. */
MW_INLINE void copy_vectors(int vectors, bool all, const geometry *g, const reach *r,
                            const real *row, int64_t rows, int64_t step, int64_t j, real *to) {
  const int64_t from_step = step * g->w, to_step = g->ow;
  lanes kept[4];
  MW_UNROLL for (int v = 0; v < vectors && !all; v++) kept[v] =
      lanes_between(r->first - (j + v) * MW_LANES, r->end - (j + v) * MW_LANES);
  row += r->x + j * MW_LANES, to += j * MW_LANES;
  for (int64_t y = 0; y < rows; y++, to += to_step, row += from_step)
    MW_UNROLL for (int v = 0; v < vectors; v++) {
      const mw_vector seen = mw_load(row + v * MW_LANES);
      mw_store(to + v * MW_LANES, all ? seen : keep(seen, kept[v]));
    }
}

MW_INLINE void copy_rows_of(bool all, const geometry *g, const reach *r, const real *row,
                            int64_t rows, int64_t step, real *to) {
  for (int64_t end = mw_chunks(g->ow, MW_LANES), j; end > 0; end = j) {
    j = (end - 1) / 4 * 4; /* the last ones first: the others write over what they store beyond */
    switch (end - j) {
      case 1: copy_vectors(1, all, g, r, row, rows, step, j, to); break;
      case 2: copy_vectors(2, all, g, r, row, rows, step, j, to); break;
      case 3: copy_vectors(3, all, g, r, row, rows, step, j, to); break;
      case 4: copy_vectors(4, all, g, r, row, rows, step, j, to); break;
    }
  }
}

static void copy_rows(const geometry *g, const reach *r, const real *row, int64_t rows,
                      int64_t step, real *to) {
  if (r->first == 0 && r->end == g->ow) copy_rows_of(true, g, r, row, rows, step, to);
  else copy_rows_of(false, g, r, row, rows, step, to);
}

/* The first and the last row of a plane of which vectors may be loaded without leaving the tensor,
 * which has so many elements before the plane and after it. */
static int64_t first_safe(const geometry *g, const reach *r, int64_t before) {
  int64_t y = 0;
  while (y < g->h && before + y * g->w + r->x < 0) y++;
  return y;
}

static int64_t last_safe(const geometry *g, const reach *r, int64_t after) {
  const int64_t past = r->x + (g->ow - 1) / MW_LANES * MW_LANES + MW_LANES - g->w;
  int64_t y = g->h - 1;
  while (y >= 0 && after + (g->h - 1 - y) * g->w < past) y--;
  return y;
}

/* One part of the copy of a channel's plane: rows y, y + sh, ... below `end` of the image. */
static void copy_part(const geometry *g, const reach *r, const real *plane, int64_t first,
                      int64_t last, int64_t y, int64_t end, real *to) {
  for (; y < end && y < 0; y += g->sh, to += g->ow) memset(to, 0, (size_t)g->ow * sizeof(real));
  for (; y < end && y < first; y += g->sh, to += g->ow) copy_row(g, r, plane + y * g->w, to);
  const int64_t stop = least(end, last + 1);
  if (y < stop) {
    const int64_t rows = g->sh == 1 ? stop - y : mw_chunks(stop - y, g->sh);
    copy_rows(g, r, plane + y * g->w, rows, g->sh, to);
    y += rows * g->sh, to += rows * g->ow;
  }
  for (; y < end && y < g->h; y += g->sh, to += g->ow) copy_row(g, r, plane + y * g->w, to);
  for (; y < end; y += g->sh, to += g->ow) memset(to, 0, (size_t)g->ow * sizeof(real));
}

/* The copies of so many channels of image n, the first of which counts within all groups, for the
 * rows of y from y0 on. */
static void copy_channels(const plan *p, const layout *l, int64_t n, int64_t channel,
                          int64_t channels, int64_t y0, real *to) {
  const geometry *g = &p->g;
  const int64_t size = g->h * g->w, planes = g->n * g->c, start = y0 * g->sh - g->top;
  for (int64_t kx = 0; kx < g->kw; kx++) {
    const reach r = reach_of(g, kx);
    const bool vectors = g->sw == 1 && r.first < r.end;
    for (int64_t c = 0; c < channels; c++) {
      const int64_t at = n * g->c + channel + c;
      const int64_t first = vectors ? first_safe(g, &r, at * size) : g->h;
      const int64_t last = vectors ? last_safe(g, &r, (planes - at - 1) * size) : -1;
      for (int64_t part = 0; part < g->sh; part++)
        copy_part(g, &r, p->x + at * size, first, last, start + part, start + l->touched,
                  to + (c * g->kw + kx) * l->pitch + part * l->part);
    }
  }
}

/* ---- y ------------------------------------------------------------------------------------ */

/* A row of tiles. */
typedef struct y_tiles {
  int64_t count, pixel, pixels; /* of vectors that start at `pixel`; the last ends with `pixels` */
  int64_t k, plane;
  const real *w, *b; /* of the first row */
  const int32_t *at;
  const real *from;
  real *to;
} y_tiles;

/* rows and vectors are constants where this is inlined, so sum[][] becomes registers. */
MW_INLINE void compute_y_tiles(int rows, int vectors, const y_tiles *t) {
  const int64_t k = t->k, plane = t->plane;
  const int32_t *at = t->at;
  const real *w = t->w;
  for (int64_t n = 0, pixel = t->pixel; n < t->count; n++, pixel += vectors * MW_LANES) {
    const int64_t last = least(pixel + (vectors - 1) * MW_LANES, t->pixels - MW_LANES);
    const real *from = t->from + pixel, *from_last = t->from + last;
    mw_vector sum[ROWS][VECTORS];
    MW_UNROLL for (int i = 0; i < rows; i++) MW_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] =
        (mw_vector){0} + t->b[i];
    for (int64_t e = 0; e < k; e++) {
      mw_vector x[VECTORS];
      MW_UNROLL for (int j = 0; j < vectors - 1; j++) x[j] =
          mw_load_once(from + at[e] + j * MW_LANES);
      x[vectors - 1] = mw_load_once(from_last + at[e]);
      MW_UNROLL for (int i = 0; i < rows; i++) {
        const real wi = w[i * k + e];
        MW_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += wi * x[j];
      }
    }
    MW_UNROLL for (int i = 0; i < rows; i++) {
      real *to = t->to + i * plane;
      MW_UNROLL for (int j = 0; j < vectors - 1; j++)
          mw_store(to + pixel + j * MW_LANES, sum[i][j]);
      mw_store(to + last, sum[i][vectors - 1]);
    }
  }
}

MW_INLINE void y_tiles_of(int rows, int64_t vectors, const y_tiles *t) {
  if (vectors == 1) compute_y_tiles(rows, 1, t);
  else if (vectors == 2) compute_y_tiles(rows, 2, t);
  else if (rows <= ROWS_OF_3) compute_y_tiles(rows, 3, t);
}

static void run_y_tiles(int64_t rows, int64_t vectors, const y_tiles *t) {
  switch (rows) {
    case 1: y_tiles_of(1, vectors, t); break;
    case 2: y_tiles_of(2, vectors, t); break;
    case 3: y_tiles_of(3, vectors, t); break;
    case 4: y_tiles_of(4, vectors, t); break;
    case 5: y_tiles_of(5, vectors, t); break;
    case 6: y_tiles_of(6, vectors, t); break;
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
    case 7: y_tiles_of(7, vectors, t); break;
    case 8: y_tiles_of(8, vectors, t); break;
#endif
  }
}

/* Rows y0 .. y1-1 of the output planes of one group, from the copies. */
static void compute_y(const plan *p, int64_t n, int64_t group, int64_t y0, int64_t y1,
                      const real *copies) {
  static const real no_bias[ROWS] = {0};
  const geometry *g = &p->g;
  const cuts c = cuts_of(g->og, (y1 - y0) * g->ow);
  real *y = p->to_y + (n * g->o + group * g->og) * p->plane + y0 * g->ow;
  y_tiles t = {
      .k = p->k, .at = p->at_band, .plane = p->plane, .pixels = (y1 - y0) * g->ow, .from = copies};
  for (int64_t v = 0; v < c.vectors.tiles; v += t.count) {
    t.pixel = start_of(&c.vectors, v) * MW_LANES;
    t.count = least(p->strip, (v < c.vectors.many ? c.vectors.many : c.vectors.tiles) - v);
    for (int64_t i = 0; i < c.rows.tiles; i++) {
      const int64_t o = start_of(&c.rows, i);
      t.w = p->w + (group * g->og + o) * p->k;
      t.b = p->b ? p->b + group * g->og + o : no_bias;
      t.to = y + o * p->plane;
      run_y_tiles(size_of(&c.rows, i), size_of(&c.vectors, v), &t);
    }
  }
}

/* One band of one image. */
static void y_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  real *copies = (real *)mw_worker_scratch(p->call, worker) + MW_LANES;
  const int64_t n = chunk / p->bands, band = chunk % p->bands;
  const int64_t y0 = g->oh * band / p->bands, y1 = g->oh * (band + 1) / p->bands;
  for (int64_t group = 0; group < g->groups; group++) {
    copy_channels(p, &p->band, n, group * g->cg, g->cg, y0, copies);
    compute_y(p, n, group, y0, y1, copies);
  }
}

/* ---- dw ----------------------------------------------------------------------------------- */

/* A column of tiles. */
typedef struct w_tiles {
  int64_t count;                     /* of tiles, */
  int64_t images, copies, outputs;   /* of images; distance of the copies, and of the y, of two */
  const real *y, *from[SUM_COLUMNS]; /* of the first row */
  int64_t plane, k;
  real *to; /* dw of the first row and column */
} w_tiles;

MW_INLINE void add_sums(int rows, int columns, mw_vector sum[SUM_ROWS][SUM_COLUMNS], real *to,
                        int64_t k) {
  mw_vector group[MW_LANES];
  real total[SUM_ROWS * SUM_COLUMNS + MW_LANES] = {0};
  const int n = rows * columns;
  MW_UNROLL for (int first = 0; first < n; first += MW_LANES) {
    MW_UNROLL for (int l = 0; l < MW_LANES; l++) group[l] =
        first + l < n ? sum[(first + l) / columns][(first + l) % columns] : (mw_vector){0};
    mw_store(total + first, mw_sums(group));
  }
  MW_UNROLL for (int i = 0; i < rows; i++) MW_UNROLL for (int j = 0; j < columns; j++)
      to[i * k + j] += total[i * columns + j];
}

MW_INLINE void w_step(int rows, int columns, mw_vector sum[SUM_ROWS][SUM_COLUMNS], const real *y,
                      int64_t plane, const real *const from[SUM_COLUMNS], int64_t i, bool all,
                      lanes kept) {
  mw_vector dy[SUM_ROWS];
  MW_UNROLL for (int r = 0; r < rows; r++) {
    dy[r] = mw_load_once(y + r * plane + i);
    if (!all) dy[r] = keep(dy[r], kept);
  }
  MW_UNROLL for (int c = 0; c < columns; c++) {
    mw_vector x = mw_load_once(from[c] + i);
    if (!all) x = keep(x, kept);
    MW_UNROLL for (int r = 0; r < rows; r++) sum[r][c] += dy[r] * x;
  }
}

/* rows and columns are constants where this is inlined. */
MW_INLINE void compute_w_tiles(int rows, int columns, const w_tiles *t) {
  const int64_t plane = t->plane, rest = plane % MW_LANES;
  const lanes none = {0}, last = lanes_between(MW_LANES - rest, MW_LANES);
  for (int64_t n = 0; n < t->count; n++) {
    mw_vector sum[SUM_ROWS][SUM_COLUMNS] = {0};
    const real *from[SUM_COLUMNS], *y = t->y + n * rows * plane;
    MW_UNROLL for (int c = 0; c < columns; c++) from[c] = t->from[c];
    for (int64_t m = 0; m < t->images; m++, y += t->outputs) {
      for (int64_t i = 0; i + MW_LANES <= plane; i += MW_LANES)
        w_step(rows, columns, sum, y, plane, from, i, true, none);
      if (rest) w_step(rows, columns, sum, y, plane, from, plane - MW_LANES, false, last);
      MW_UNROLL for (int c = 0; c < columns; c++) from[c] += t->copies;
    }
    add_sums(rows, columns, sum, t->to + n * rows * t->k, t->k);
  }
}

MW_INLINE void w_tiles_of(int rows, int64_t columns, const w_tiles *t) {
  switch (columns) {
    case 1: compute_w_tiles(rows, 1, t); break;
    case 2: compute_w_tiles(rows, 2, t); break;
    case 3: compute_w_tiles(rows, 3, t); break;
    case 4: compute_w_tiles(rows, 4, t); break;
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
    case 5: compute_w_tiles(rows, 5, t); break;
    case 6: compute_w_tiles(rows, 6, t); break;
#endif
  }
}

static void run_w_tiles(int64_t rows, int64_t columns, const w_tiles *t) {
  switch (rows) {
    case 1: w_tiles_of(1, columns, t); break;
    case 2: w_tiles_of(2, columns, t); break;
    case 3: w_tiles_of(3, columns, t); break;
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
    case 4: w_tiles_of(4, columns, t); break;
#endif
  }
}

/* Adds what images n .. n+images-1, whose copies of so many channels are there, bring to dw. */
static void compute_w(const plan *p, int64_t n, int64_t images, int64_t group, int64_t first,
                      int64_t channels, const real *copies, real *dw) {
  const geometry *g = &p->g;
  const int64_t elements = channels * g->kh * g->kw, start = first * g->kh * g->kw;
  const cut columns = cut_into(elements, mw_chunks(elements, SUM_COLUMNS));
  const cut rows = cut_into(g->og, mw_chunks(g->og, SUM_ROWS));
  w_tiles t = {.images = images,
               .copies = copies_of(g, &p->image, channels),
               .outputs = g->o * p->plane,
               .plane = p->plane,
               .k = p->k};
  for (int64_t j = 0; j < columns.tiles; j++) {
    const int64_t e0 = start_of(&columns, j), size = size_of(&columns, j);
    for (int64_t e = 0; e < size; e++) t.from[e] = copies + p->at_image[e0 + e];
    for (int64_t i = 0; i < rows.tiles; i += t.count) {
      const int64_t o = group * g->og + start_of(&rows, i);
      t.count = (i < rows.many ? rows.many : rows.tiles) - i;
      t.y = p->y + (n * g->o + o) * p->plane;
      t.to = dw + o * p->k + start + e0;
      run_w_tiles(size_of(&rows, i), size, &t);
    }
  }
}

/* ---- dw, with output channels in the lanes ------------------------------------------------- */

/* to[pixels, lanes] = the planes of one group of y, and zeros in the lanes that are left over. */
static void turn(const plan *p, const real *y, real *to) {
  const geometry *g = &p->g;
  for (int64_t o = 0; o < p->lanes; o += MW_LANES)
    for (int64_t j = 0; j < p->plane; j += MW_LANES) {
      const int64_t pixel = least(j, p->plane - MW_LANES);
      mw_vector row[MW_LANES];
      for (int l = 0; l < MW_LANES; l++)
        row[l] = o + l < g->og ? mw_load(y + (o + l) * p->plane + pixel) : (mw_vector){0};
      mw_transpose(row);
      for (int l = 0; l < MW_LANES; l++) mw_store(to + (pixel + l) * p->lanes + o, row[l]);
    }
}

/* A column of tiles. */
typedef struct turned_tiles {
  int64_t count, pixels, lanes;
  const int32_t *at; /* of the first row */
  const real *from;
  const real *y; /* [pixels, lanes], from the first vector on, */
  real *to;      /* and dw likewise, [elements, lanes] */
} turned_tiles;

/* rows and vectors are constants where this is inlined. Two pixels are summed apart where they are
 * one vector each: the tile alone would not hide the latency of its multiply-adds. */
MW_INLINE void compute_turned_tiles(int rows, int vectors, const turned_tiles *t) {
  const int apart = vectors == 1 ? 2 : 1;
  const int64_t step = t->lanes, pixels = t->pixels;
  real *to = t->to;
  for (int64_t n = 0; n < t->count; n++) {
    mw_vector sum[ROWS][VECTORS] = {0};
    const real *from[ROWS], *y = t->y;
    MW_UNROLL for (int i = 0; i < rows; i++) {
      from[i] = t->from + t->at[n * rows + i];
      MW_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = mw_load(to + i * step + j * MW_LANES);
    }
    int64_t p = 0;
    for (; p + apart <= pixels; p += apart) MW_UNROLL for (int a = 0; a < apart; a++, y += step) {
        mw_vector dy[VECTORS];
        MW_UNROLL for (int j = 0; j < vectors; j++) dy[j] = mw_load_once(y + j * MW_LANES);
        MW_UNROLL for (int i = 0; i < rows; i++) {
          const real x = from[i][p + a];
          MW_UNROLL for (int j = 0; j < vectors; j++) sum[i][a + j] += x * dy[j];
        }
      }
    if (p < pixels) {
      const mw_vector dy = mw_load(y);
      MW_UNROLL for (int i = 0; i < rows; i++) sum[i][0] += from[i][p] * dy;
    }
    MW_UNROLL for (int i = 0; i < rows; i++, to += step) {
      if (apart == 2) sum[i][0] += sum[i][1];
      MW_UNROLL for (int j = 0; j < vectors; j++) mw_store(to + j * MW_LANES, sum[i][j]);
    }
  }
}

MW_INLINE void turned_tiles_of(int rows, int64_t vectors, const turned_tiles *t) {
  if (vectors == 1) compute_turned_tiles(rows, 1, t);
  else if (vectors == 2) compute_turned_tiles(rows, 2, t);
  else if (rows <= ROWS_OF_3) compute_turned_tiles(rows, 3, t);
}

static void run_turned_tiles(int64_t rows, int64_t vectors, const turned_tiles *t) {
  switch (rows) {
    case 1: turned_tiles_of(1, vectors, t); break;
    case 2: turned_tiles_of(2, vectors, t); break;
    case 3: turned_tiles_of(3, vectors, t); break;
    case 4: turned_tiles_of(4, vectors, t); break;
    case 5: turned_tiles_of(5, vectors, t); break;
    case 6: turned_tiles_of(6, vectors, t); break;
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
    case 7: turned_tiles_of(7, vectors, t); break;
    case 8: turned_tiles_of(8, vectors, t); break;
#endif
  }
}

/* Adds what one image, whose copies of so many channels are there, brings to dw. */
static void compute_turned(const plan *p, int64_t group, int64_t first, int64_t channels,
                           const real *copies, const real *y, real *dw) {
  const geometry *g = &p->g;
  const int64_t start = first * g->kh * g->kw;
  const cuts c = cuts_of(channels * g->kh * g->kw, p->lanes);
  turned_tiles t = {.pixels = p->plane, .lanes = p->lanes, .from = copies};
  for (int64_t i = 0; i < c.rows.tiles; i += t.count) {
    t.count = (i < c.rows.many ? c.rows.many : c.rows.tiles) - i;
    t.at = p->at_image + start_of(&c.rows, i);
    for (int64_t v = 0; v < c.vectors.tiles; v++) {
      const int64_t lane = start_of(&c.vectors, v) * MW_LANES;
      t.y = y + lane;
      t.to = dw + (group * p->k + start + start_of(&c.rows, i)) * p->lanes + lane;
      run_turned_tiles(size_of(&c.rows, i), size_of(&c.vectors, v), &t);
    }
  }
}

/* dw[o, k] from its sums. */
static void turn_back(const plan *p, const real *sums, real *dw) {
  const geometry *g = &p->g;
  for (int64_t group = 0; group < g->groups; group++, sums += p->k * p->lanes)
    for (int64_t o = 0; o < g->og; o++, dw += p->k)
      for (int64_t e = 0; e < p->k; e++) dw[e] = sums[e * p->lanes + o];
}

/* ---- dx ----------------------------------------------------------------------------------- */

/* A group's planes of y, each between rows of zeros, for all places where a row of the kernel may
 * leave it. */
static void frame_planes(const plan *p, const real *y, real *to) {
  const int64_t zeros = p->zeros * p->g.ow, rest = p->framed - zeros - p->plane;
  for (int64_t o = 0; o < p->g.og; o++, y += p->plane, to += p->framed) {
    memset(to, 0, (size_t)zeros * sizeof(real));
    memcpy(to + zeros, y, (size_t)p->plane * sizeof(real));
    memset(to + zeros + p->plane, 0, (size_t)rest * sizeof(real));
  }
}

/* A row of tiles. */
typedef struct x_tiles {
  int64_t count, pixel, pixels; /* of vectors that start at `pixel`; the last ends with `pixels` */
  const plan *plan;
  int64_t first, end;  /* rows of the kernel that meet this part of the copies' rows, */
  const real *w[ROWS]; /* for each row, its weight of the first output channel and kernel row, */
  const real *y;       /* framed, the first row of the first plane */
  real *to;
  int64_t pitch; /* from one row to the next */
} x_tiles;

/* rows and vectors are constants where this is inlined. */
MW_INLINE void compute_x_tiles(int rows, int vectors, const x_tiles *t) {
  const plan *p = t->plan;
  const int32_t *at_y = p->at_y, *at_w = p->at_w;
  const int64_t pitch = t->pitch;
  const int32_t ow = (int32_t)p->g.ow, oh = (int32_t)p->g.oh; /* pixels fit 32 bits, see tables */
  const real *w[ROWS];
  MW_UNROLL for (int i = 0; i < rows; i++) w[i] = t->w[i];
  for (int64_t n = 0, pixel = t->pixel; n < t->count; n++, pixel += vectors * MW_LANES) {
    const int64_t last = least(pixel + (vectors - 1) * MW_LANES, t->pixels - MW_LANES);
    const int32_t top = (int32_t)least(pixel, last) / ow;
    const int32_t bottom = (int32_t)(last + MW_LANES - 1) / ow;
    int64_t first = t->first, end = t->end;
    while (first < end && p->down[first] + oh <= top) first++;
    while (first < end && p->down[end - 1] > bottom) end--;
    const real *y = t->y + pixel, *y_last = t->y + last;
    mw_vector sum[ROWS][VECTORS] = {0};
    for (int64_t e = first * p->g.og; e < end * p->g.og; e++) {
      const int64_t at = at_y[e], weight = at_w[e];
      mw_vector dy[VECTORS];
      MW_UNROLL for (int j = 0; j < vectors - 1; j++) dy[j] = mw_load_once(y + at + j * MW_LANES);
      dy[vectors - 1] = mw_load_once(y_last + at);
      MW_UNROLL for (int i = 0; i < rows; i++) {
        const real wi = w[i][weight];
        MW_UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += wi * dy[j];
      }
    }
    MW_UNROLL for (int i = 0; i < rows; i++) {
      real *to = t->to + i * pitch;
      MW_UNROLL for (int j = 0; j < vectors - 1; j++)
          mw_store(to + pixel + j * MW_LANES, sum[i][j]);
      mw_store(to + last, sum[i][vectors - 1]);
    }
  }
}

MW_INLINE void x_tiles_of(int rows, int64_t vectors, const x_tiles *t) {
  if (vectors == 1) compute_x_tiles(rows, 1, t);
  else if (vectors == 2) compute_x_tiles(rows, 2, t);
  else if (rows <= ROWS_OF_3) compute_x_tiles(rows, 3, t);
}

static void run_x_tiles(int64_t rows, int64_t vectors, const x_tiles *t) {
  switch (rows) {
    case 1: x_tiles_of(1, vectors, t); break;
    case 2: x_tiles_of(2, vectors, t); break;
    case 3: x_tiles_of(3, vectors, t); break;
    case 4: x_tiles_of(4, vectors, t); break;
    case 5: x_tiles_of(5, vectors, t); break;
    case 6: x_tiles_of(6, vectors, t); break;
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
    case 7: x_tiles_of(7, vectors, t); break;
    case 8: x_tiles_of(8, vectors, t); break;
#endif
  }
}

/* The gradient of the copies of so many channels of one group, from its framed planes. */
static void compute_copies(const plan *p, int64_t group, int64_t first, int64_t channels,
                           const real *framed, real *copies) {
  const geometry *g = &p->g;
  const cuts c = cuts_of(channels * g->kw, p->image.part);
  const real *w = p->w + group * g->og * p->k;
  x_tiles t = {.plan = p, .pixels = p->image.part, .pitch = p->image.pitch, .y = framed};
  for (int64_t part = 0; part < g->sh; part++) {
    t.first = p->starts[part], t.end = p->starts[part + 1];
    for (int64_t v = 0; v < c.vectors.tiles; v += t.count) {
      t.pixel = start_of(&c.vectors, v) * MW_LANES;
      t.count = least(p->strip_x, (v < c.vectors.many ? c.vectors.many : c.vectors.tiles) - v);
      for (int64_t i = 0; i < c.rows.tiles; i++) {
        const int64_t q = start_of(&c.rows, i), size = size_of(&c.rows, i);
        for (int64_t r = 0; r < size; r++)
          t.w[r] = w + element_of(g, first + (q + r) / g->kw, 0, (q + r) % g->kw);
        t.to = copies + part * p->image.part + q * p->image.pitch;
        run_x_tiles(size, size_of(&c.vectors, v), &t);
      }
    }
  }
}

/* A row of dx that steps of more than 1 reach: the sum of one row of each copy. */
static void add_row(const plan *p, const real *copies, real bias, real *dx) {
  const geometry *g = &p->g;
  for (int64_t i = 0; i < g->w; i++) dx[i] = bias;
  for (int64_t kx = 0; kx < g->kw; kx++, copies += p->image.pitch) {
    const reach r = reach_of(g, kx);
    for (int64_t i = r.first; i < r.end; i++) dx[r.x + i * g->sw] += copies[i];
  }
}

enum { TOGETHER = 8 };

/* Where the stride is 1: vector j of TOGETHER rows of dx. Of a row of less than a vector all lanes are
 * stored too, as the rows that follow are written later, but for the last ones before `end`. */
static void add_vectors(const plan *p, const real *const row[TOGETHER], real bias, int64_t j,
                        real *const dx[TOGETHER], const real *end) {
  const geometry *g = &p->g;
  const int64_t x = column_of(g, j);
  mw_vector sum[TOGETHER];
  MW_UNROLL for (int i = 0; i < TOGETHER; i++) sum[i] = (mw_vector){0} + bias;
  for (int64_t kx = 0; kx < g->kw; kx++) {
    const int64_t at = x + g->left - kx * g->dw; /* in the copy's rows */
    if (at <= -MW_LANES || at >= g->ow) continue;
    const lanes kept = (lanes)mw_load(p->reached + (j * g->kw + kx) * MW_LANES);
    const int64_t offset = kx * p->image.pitch + at;
    MW_UNROLL for (int i = 0; i < TOGETHER; i++) sum[i] += keep(mw_load(row[i] + offset), kept);
  }
  MW_UNROLL for (int i = 0; i < TOGETHER; i++) if (end - (dx[i] + x) >= MW_LANES)
      mw_store(dx[i] + x, sum[i]);
  else for (int64_t l = 0; l < end - (dx[i] + x) && l < g->w; l++) dx[i][x + l] = sum[i][l]; }

/* A plane of dx from the gradient of its copies. What lies between it and `end` is written later. */
static void add_copies(const plan *p, const real *copies, real bias, real *dx, const real *end) {
  const geometry *g = &p->g;
  const int64_t reached = most(0, least(g->h, p->image.touched - g->top));
  for (int64_t y = 0; y < reached; y += TOGETHER) {
    const real *row[TOGETHER];
    real *to[TOGETHER];
    for (int64_t i = 0; i < TOGETHER; i++) { /* the last ones may be the same row */
      const int64_t at = least(y + i, reached - 1);
      row[i] = copies + place_of(g, &p->image, at + g->top);
      to[i] = dx + at * g->w;
      if (g->sw > 1) add_row(p, row[i], bias, to[i]);
    }
    for (int64_t j = 0; j < columns_of(g); j++) add_vectors(p, row, bias, j, to, end);
  }
  for (int64_t i = reached * g->w; i < g->h * g->w; i++) dx[i] = bias;
}

/* dx of one group of an image. */
static void compute_x(const plan *p, int64_t n, int64_t group, real *copies) {
  const geometry *g = &p->g;
  real *dx = p->to_x + n * g->c * g->h * g->w;
  real *framed = copies + copies_of(g, &p->image, p->channels) + MW_LANES;
  frame_planes(p, p->y + (n * g->o + group * g->og) * p->plane, framed);
  for (int64_t first = 0; first < g->cg; first += p->channels) {
    const int64_t channels = least(p->channels, g->cg - first);
    compute_copies(p, group, first, channels, framed, copies);
    for (int64_t c = 0; c < channels; c++) {
      const int64_t channel = group * g->cg + first + c;
      add_copies(p, copies + copies_of(g, &p->image, c), p->b ? p->b[channel] : 0,
                 dx + channel * g->h * g->w, dx + (group + 1) * g->cg * g->h * g->w);
    }
  }
}

static void x_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  compute_x(p, chunk / p->g.groups, chunk % p->g.groups,
            (real *)mw_worker_scratch(p->call, worker) + MW_LANES);
}

/* ---- db, and all that is summed over the batch --------------------------------------------- */

/* db of one image, added to what is there. */
static void compute_b(const plan *p, int64_t n, real *db) {
  const int64_t plane = p->out_plane;
  const real *dy = p->dout + n * p->out_channels * plane;
  for (int64_t o = 0; o < p->out_channels; o++, dy += plane) {
    mw_vector lane[4] = {0}; /* sums side by side, so that none waits for another */
    int64_t i = 0;
    for (; i + 4 * MW_LANES <= plane; i += 4 * MW_LANES)
      MW_UNROLL for (int l = 0; l < 4; l++) lane[l] += mw_load(dy + i + l * MW_LANES);
    for (; i + MW_LANES <= plane; i += MW_LANES) lane[0] += mw_load(dy + i);
    lane[0] += lane[1] + (lane[2] + lane[3]);
    real sum = 0;
    for (int l = 0; l < MW_LANES; l++) sum += lane[0][l];
    for (; i < plane; i++) sum += dy[i];
    db[o] += sum;
  }
}

/* Adds what images n .. n+images-1 bring to dw. */
static void sum_block(const plan *p, int64_t n, int64_t images, real *copies, real *dw) {
  const geometry *g = &p->g;
  real *turned = copies + copies_of(g, &p->image, p->channels) + MW_LANES;
  for (int64_t group = 0; group < g->groups; group++) {
    if (p->turned) turn(p, p->y + (n * g->o + group * g->og) * p->plane, turned);
    for (int64_t first = 0; first < g->cg; first += p->channels) {
      const int64_t channels = least(p->channels, g->cg - first);
      for (int64_t m = 0; m < images; m++)
        copy_channels(p, &p->image, n + m, group * g->cg + first, channels, 0,
                      copies + m * copies_of(g, &p->image, channels));
      if (p->turned) compute_turned(p, group, first, channels, copies, turned, dw);
      else compute_w(p, n, images, group, first, channels, copies, dw);
    }
  }
}

/* A few images: their dx, and their sum of dw and db into the chunk's place in call scratch. */
static void sum_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  real *copies = (real *)mw_worker_scratch(p->call, worker) + MW_LANES;
  real *dw = (real *)p->call->scratch + chunk * p->partial, *db = dw + p->sums;
  const int64_t end = mw_chunk_end(g->n, p->images, chunk);
  memset(dw, 0, (size_t)p->partial * sizeof(real));
  for (int64_t n = chunk * p->images; n < end && p->to_w; n += p->block)
    sum_block(p, n, least(p->block, end - n), copies, dw);
  for (int64_t n = chunk * p->images; n < end; n++) {
    for (int64_t group = 0; group < g->groups && p->to_x; group++) compute_x(p, n, group, copies);
    if (p->to_b) compute_b(p, n, db);
  }
}

/* Adds the chunks' sums to those of the first, always in the same order. */
static void add_partials(const plan *p) {
  real *to = p->call->scratch;
  for (int64_t chunk = 1; chunk < mw_chunks(p->g.n, p->images); chunk++) {
    const real *from = to + chunk * p->partial;
    for (int64_t i = 0; i < p->partial; i++) to[i] += from[i];
  }
  if (p->to_w && p->turned) turn_back(p, to, p->to_w);
  else if (p->to_w) memcpy(p->to_w, to, (size_t)p->sums * sizeof(real));
  if (p->to_b) memcpy(p->to_b, to + p->sums, (size_t)p->out_channels * sizeof(real));
}

/* ---- the kernels -------------------------------------------------------------------------- */

static bool sums(const mw_call *call, const roles *r) { return call->backward || r->w == OUT; }

static int64_t partials_of(const plan *p, const roles *r) {
  return sums(p->call, r) ? mw_chunks(p->g.n, p->images) * p->partial : 0;
}

/* Whether the plan's numbers are far from overflowing, however large the tensors are. */
static bool countable(const mw_call *call, const roles *r) {
  const geometry g = geometry_of(call, r);
  const double touched = (double)(g.oh * g.sh + g.kh * g.dh), plane = (double)(g.oh * g.ow);
  const double filter = (double)g.cg * (double)g.kh * (double)g.kw;
  return filter * (double)g.o * plane < 1e15 && filter * touched * (double)g.ow < 1e15;
}

static bool supports(const mw_call *call, const roles *r) {
  if (!countable(call, r)) return false;
  const plan p = plan_of(call, r);
  const geometry *g = &p.g;
  if (g->n == 0 || p.k == 0 || g->o == 0 || g->h * g->w == 0 || p.plane < MW_LANES) return false;
  if (g->og * most(p.k, p.framed) > INT32_MAX) return false; /* tables have 32 bits */
  return copies_of(g, &p.band, g->cg) <= LARGEST && copies_of(g, &p.image, 1) <= LARGEST;
}

/* Where this is fast: with few channels, and planes that fill vectors, of which those of y stay in
 * the second-level cache for dw and dx. conv2d_implicit.c comes first where it fills vectors too. */
static bool suits(const mw_call *call, const roles *r) {
  if (!supports(call, r)) return false;
  const geometry g = geometry_of(call, r);
  const int64_t plane = g.oh * g.ow;
  const bool forward_only = !sums(call, r) && r->x != OUT;
  return g.cg <= CHANNELS && g.kh * g.kw > 1 &&
         (forward_only || (plane >= 4 * MW_LANES && g.og * plane <= LARGEST));
}

static void workspace(const mw_call *call, mw_workspace *need, const roles *r) {
  const plan p = plan_of(call, r);
  const int64_t band = copies_of(&p.g, &p.band, p.g.cg);
  const int64_t block = p.block * copies_of(&p.g, &p.image, p.channels);
  const int64_t turned = p.turned ? p.plane * p.lanes : 0;
  const int64_t framed = copies_of(&p.g, &p.image, p.channels) + p.g.og * p.framed;
  need->worker = (size_t)(most(band, most(block + turned, framed)) + 3 * MW_LANES) * sizeof(real);
  need->call = (size_t)(partials_of(&p, r) + columns_of(&p.g) * p.g.kw * MW_LANES) * sizeof(real) +
               (size_t)(2 * p.k + p.g.sh + 1 + p.g.kh + 2 * p.g.kh * p.g.og) * sizeof(int32_t);
}

/* The kernel's rows, and what each means for dx. */
static void list_kernel_rows(plan *p) {
  const geometry *g = &p->g;
  const int64_t step = g->flip ? -g->kw : g->kw; /* from a kernel row's weights to the next one's */
  int64_t n = 0;
  for (int64_t part = 0; part < g->sh; part++) {
    p->starts[part] = (int32_t)n;
    for (int64_t ky = 0; ky < g->kh; ky++) {
      if (ky * g->dh % g->sh != part) continue;
      p->down[n] = (int32_t)(ky * g->dh / g->sh);
      for (int64_t o = 0; o < g->og; o++) {
        p->at_y[n * g->og + o] = (int32_t)(o * p->framed + (p->zeros - p->down[n]) * g->ow);
        p->at_w[n * g->og + o] = (int32_t)(o * p->k + ky * step);
      }
      n++;
    }
  }
  p->starts[g->sh] = (int32_t)n;
}

/* Where an element of a filter is seen in the copies, and which it is; what lanes are reached. */
static void make_tables(plan *p, const roles *r) {
  const geometry *g = &p->g;
  p->reached = (real *)p->call->scratch + partials_of(p, r);
  p->at_band = (void *)(p->reached + columns_of(g) * g->kw * MW_LANES);
  p->at_image = p->at_band + p->k;
  p->starts = p->at_image + p->k;
  p->down = p->starts + g->sh + 1;
  p->at_y = p->down + g->kh;
  p->at_w = p->at_y + g->kh * g->og;
  for (int64_t ky = 0; ky < g->kh; ky++) {
    const int64_t in_band = place_of(g, &p->band, ky * g->dh);
    const int64_t in_image = place_of(g, &p->image, ky * g->dh);
    for (int64_t c = 0; c < g->cg; c++)
      for (int64_t kx = 0; kx < g->kw; kx++) {
        const int64_t e = element_of(g, c, ky, kx), copy = c * g->kw + kx;
        p->at_band[e] = (int32_t)(copy * p->band.pitch + in_band);
        if (p->to_w) p->at_image[e] = (int32_t)(copy * p->image.pitch + in_image);
      }
  }
  if (!p->to_x) return;
  list_kernel_rows(p);
  for (int64_t j = 0; j < columns_of(g); j++)
    for (int64_t kx = 0; kx < g->kw; kx++) {
      const int64_t at = column_of(g, j) + g->left - kx * g->dw;
      mw_store(p->reached + (j * g->kw + kx) * MW_LANES, (mw_vector)lanes_between(-at, g->ow - at));
    }
}

static void clear(const mw_array *a) {
  if (a->data) memset(a->data, 0, (size_t)a->count * sizeof(real));
}

static mw_status run(const mw_call *call, const roles *r) {
  plan p = plan_of(call, r);
  bind_all(&p, r);
  if (call->backward && !p.dout) {
    for (int i = 0; i < call->n_in; i++) clear(&call->din[i]);
    return MW_OK;
  }
  make_tables(&p, r);
  if (p.to_y) mw_parallel(call, p.g.n * p.bands, y_chunk, &p);
  if (p.to_w || p.to_b) {
    mw_parallel(call, mw_chunks(p.g.n, p.images), sum_chunk, &p);
    add_partials(&p);
  } else if (p.to_x) {
    mw_parallel(call, p.g.n * p.g.groups, x_chunk, &p);
  }
  return MW_OK;
}

static mw_status run_conv(const mw_call *call) { return run(call, &of_conv); }

static mw_status run_transpose(const mw_call *call) { return run(call, &of_transpose); }

static mw_status run_weight(const mw_call *call) { return run(call, &of_weight); }

static bool supports_conv(const mw_call *call) { return supports(call, &of_conv); }

static bool supports_transpose(const mw_call *call) { return supports(call, &of_transpose); }

static bool supports_weight(const mw_call *call) { return supports(call, &of_weight); }

static bool suits_conv(const mw_call *call) { return suits(call, &of_conv); }

static bool suits_transpose(const mw_call *call) { return suits(call, &of_transpose); }

static bool suits_weight(const mw_call *call) { return suits(call, &of_weight); }

static void conv_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_conv);
}

static void transpose_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_transpose);
}

static void weight_workspace(const mw_call *call, mw_workspace *need) {
  workspace(call, need, &of_weight);
}

/* Taken where it suits; elsewhere, as the one with "any" in its name, only when it is asked for. */
#define SHIFTED(of, which) .op = of, .name = "shifted", .priority = 50, .supports = suits_##which
#define ANY(of, which) .op = of, .name = "shifted_any", .priority = 5, .supports = supports_##which
#define RUNS(which) .forward = run_##which, .backward = run_##which, .workspace = which##_workspace

static const mw_kernel conv2d = {SHIFTED("conv2d", conv), RUNS(conv)};
static const mw_kernel conv2d_any = {ANY("conv2d", conv), RUNS(conv)};
static const mw_kernel transposed = {SHIFTED("conv_transpose2d", transpose), RUNS(transpose)};
static const mw_kernel transposed_any = {ANY("conv_transpose2d", transpose), RUNS(transpose)};
static const mw_kernel weights = {SHIFTED("conv2d_weight_gradient", weight), RUNS(weight)};
static const mw_kernel weights_any = {ANY("conv2d_weight_gradient", weight), RUNS(weight)};

MW_PLUGIN_WITH_KERNELS((NULL),
                       (&conv2d, &conv2d_any, &transposed, &transposed_any, &weights, &weights_any))
