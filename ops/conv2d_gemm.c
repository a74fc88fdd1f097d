/* conv2d_gemm.c: the kernels of conv2d.c's three ops as matrix products.
 *
 * For a band of output rows of one image and one group, the columns matrix holds for each output
 * element (a column) the k = cg * kh * kw elements of x under the kernel. Then
 *
 *     y[og, band] = w[og, k] columns[k, band]
 *     dw[og, k] += dy[og, band] columns^T
 *     dcolumns[k, band] = w^T dy[og, band], which is added back into dx where it came from.
 *
 * A band is as many output rows as keep the columns in a second-level cache. With a kernel of one
 * element, stride 1 and no padding the columns are x itself. */
#include <string.h>

#include "../graph/moonwalk.h"
#include "conv2d.h"

/* ---- what a call computes ----------------------------------------------------------------- */

enum {
  LINE = 64 / (int)sizeof(real),            /* elements in a line of cache */
  COLUMNS = 192 * 1024 / (int)sizeof(real), /* elements of a band's columns, if a row is not more */
  PARTIALS = 16,                            /* chunks of the batch that sum dw apart, at most */
  PARTIAL_BYTES = 32 * 1024 * 1024,         /* and the memory for them, if one is not more */
  ENOUGH = 8,                               /* pieces into which work is cut, where it is easy */
  LEAST_ROWS = 192,                         /* of dcolumns, below which cutting costs speed */
};

typedef struct plan {
  geometry g;
  int64_t k;
  int64_t rows, bands;             /* output rows in a band; bands in an image */
  int64_t pitch;                   /* distance of the rows of columns */
  int64_t touched;                 /* rows of the padded image under a band */
  bool direct;                     /* columns are x itself */
  int64_t images;                  /* in a chunk of the batch, where dw is summed */
  int64_t partial;                 /* elements of a chunk's sums: dw [o, k], then db */
  int64_t channels;                /* of a piece of dx */
  const real *x, *w, *y, *b;       /* what is read, */
  real *to_x, *to_w, *to_y, *to_b; /* what is wanted, or NULL, */
  const real *dout;                /* and what to_b sums, */
  int64_t out_channels, out_plane; /* of so many channels and elements each */
  const mw_call *call;
} plan;

/* Elements in as many lines of cache as are needed, and in an odd number of lines, which spreads
 * the rows of a matrix over all the sets of a cache. */
static int64_t whole_lines(int64_t elements) { return mw_chunks(elements, LINE) * LINE; }

static int64_t odd_lines(int64_t elements) { return (mw_chunks(elements, LINE) | 1) * LINE; }

static plan plan_of(const mw_call *call, const roles *r) {
  const geometry g = geometry_of(call, r);
  const int64_t *out = call->out[0].spec.shape;
  plan p = {.g = g, .call = call, .k = g.cg * g.kh * g.kw};
  p.out_channels = out[1], p.out_plane = out[2] * out[3];
  p.direct = g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && g.top == 0 && g.left == 0 &&
             g.oh == g.h && g.ow == g.w;
  p.rows = most(1, least(g.oh, COLUMNS / most(1, p.k * g.ow)));
  p.bands = mw_chunks(g.oh, p.rows);
  p.touched = (p.rows - 1) * g.sh + (g.kh - 1) * g.dh + 1;
  p.pitch = p.direct ? g.h * g.w : odd_lines(p.rows * g.ow);
  p.partial = most(LINE, whole_lines(g.o * p.k + (call->n_in > BIAS ? p.out_channels : 0)));
  const int64_t fit = PARTIAL_BYTES / (int64_t)sizeof(real) / p.partial;
  p.images = most(1, mw_chunks(g.n, most(1, least(PARTIALS, fit))));
  const int64_t pieces = mw_chunks(ENOUGH, most(1, least(g.n * g.groups, ENOUGH)));
  p.channels = most(mw_chunks(g.cg, pieces), least(g.cg, mw_chunks(LEAST_ROWS, g.kh * g.kw)));
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

/* ---- columns ------------------------------------------------------------------------------ */

/* Rows of an image are often shorter than a call of memcpy or the start of a vector loop is worth:
 * whole moves of eight, of which the last one overlaps. */
enum { MOVE = 8 };

static inline void copy_row(real *restrict to, const real *restrict from, int64_t n) {
  if (n > 4 * MOVE) memcpy(to, from, (size_t)n * sizeof(real));
  else if (n >= 2 * MOVE) {
    memcpy(to, from, 2 * MOVE * sizeof(real));
    memcpy(to + n - 2 * MOVE, from + n - 2 * MOVE, 2 * MOVE * sizeof(real));
  } else if (n >= MOVE) {
    memcpy(to, from, MOVE * sizeof(real));
    memcpy(to + n - MOVE, from + n - MOVE, MOVE * sizeof(real));
  } else
    for (int64_t i = 0; i < n; i++) to[i] = from[i];
}

static inline void add_row(real *restrict to, const real *restrict from, int64_t n) {
  if (n < MOVE) {
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
    return;
  }
  real last[MOVE]; /* added before the others change what it overlaps */
  for (int l = 0; l < MOVE; l++) last[l] = to[n - MOVE + l] + from[n - MOVE + l];
  for (int64_t i = 0; i + MOVE < n; i += MOVE)
    for (int l = 0; l < MOVE; l++) to[i + l] += from[i + l];
  memcpy(to + n - MOVE, last, sizeof last);
}

/* Where column kx of the kernel meets the image: output columns first .. end-1, of which the first
 * is at image column x. */
typedef struct reach {
  int64_t first, end, x;
} reach;

static reach reach_of(const geometry *g, int64_t kx) {
  const int64_t start = kx * g->dw - g->left; /* image column of output column 0 */
  reach r = {.first = start < 0 ? least((-start + g->sw - 1) / g->sw, g->ow) : 0};
  const int64_t end = g->w - start; /* steps of sw beyond which the image ends */
  r.end = end <= 0 ? r.first : most(r.first, least((end + g->sw - 1) / g->sw, g->ow));
  r.x = start + r.first * g->sw;
  return r;
}

/* The row of the columns matrix for one element of the kernel. */
static inline int64_t row_of(const geometry *g, int64_t c, int64_t ky, int64_t kx) {
  return g->flip ? (c * g->kh + g->kh - 1 - ky) * g->kw + g->kw - 1 - kx
                 : (c * g->kh + ky) * g->kw + kx;
}

/* What column kx of the kernel sees of a plane of x: to[touched, ow] for the rows of the padded
 * image from y0 on. */
static void gather(const geometry *g, const real *x, int64_t y0, int64_t touched, int64_t kx,
                   real *to) {
  const reach r = reach_of(g, kx);
  for (int64_t y = y0 - g->top; y < y0 - g->top + touched; y++, to += g->ow) {
    if (y < 0 || y >= g->h || r.first == r.end) {
      memset(to, 0, (size_t)g->ow * sizeof(real));
      continue;
    }
    const real *from = x + y * g->w + r.x;
    for (int64_t i = 0; i < r.first; i++) to[i] = 0;
    if (g->sw == 1) copy_row(to + r.first, from, r.end - r.first);
    else
      for (int64_t i = r.first; i < r.end; i++) to[i] = from[(i - r.first) * g->sw];
    for (int64_t i = r.end; i < g->ow; i++) to[i] = 0;
  }
}

/* The reverse: adds from[touched, ow] to a plane of dx. */
static void scatter(const geometry *g, real *dx, int64_t y0, int64_t touched, int64_t kx,
                    const real *from) {
  const reach r = reach_of(g, kx);
  for (int64_t y = y0 - g->top; y < y0 - g->top + touched; y++, from += g->ow) {
    if (y < 0 || y >= g->h || r.first == r.end) continue;
    real *to = dx + y * g->w + r.x;
    if (g->sw == 1) add_row(to, from + r.first, r.end - r.first);
    else
      for (int64_t i = r.first; i < r.end; i++) to[(i - r.first) * g->sw] += from[i];
  }
}

/* The columns of output rows y0 .. y1-1, written to scratch, or x itself. All kernel elements of a
 * column see the same gathered rows, each from another row on. */
static const real *im2col(const plan *p, const real *x, int64_t y0, int64_t y1, real *scratch) {
  const geometry *g = &p->g;
  if (p->direct) return x + y0 * g->w;
  const int64_t rows = y1 - y0, touched = p->touched - (p->rows - rows) * g->sh;
  real *gathered = scratch + p->k * p->pitch;
  for (int64_t c = 0; c < g->cg; c++)
    for (int64_t kx = 0; kx < g->kw; kx++) {
      gather(g, x + c * g->h * g->w, y0 * g->sh, touched, kx, gathered);
      for (int64_t ky = 0; ky < g->kh; ky++) {
        real *to = scratch + row_of(g, c, ky, kx) * p->pitch;
        const real *from = gathered + ky * g->dh * g->ow;
        if (g->sh == 1) memcpy(to, from, (size_t)(rows * g->ow) * sizeof(real));
        else
          for (int64_t y = 0; y < rows; y++)
            copy_row(to + y * g->ow, from + y * g->sh * g->ow, g->ow);
      }
    }
  return scratch;
}

/* The reverse: adds the columns of so many channels in scratch to their planes of dx. */
static void col2im(const plan *p, real *scratch, int64_t channels, int64_t y0, int64_t y1,
                   real *dx) {
  const geometry *g = &p->g;
  const int64_t rows = y1 - y0, touched = p->touched - (p->rows - rows) * g->sh;
  real *gathered = scratch + p->k * p->pitch;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t kx = 0; kx < g->kw; kx++) {
      memset(gathered, 0, (size_t)(touched * g->ow) * sizeof(real));
      for (int64_t ky = 0; ky < g->kh; ky++) {
        const real *from = scratch + row_of(g, c, ky, kx) * p->pitch;
        real *to = gathered + ky * g->dh * g->ow;
        if (g->sh == 1) add_row(to, from, rows * g->ow);
        else
          for (int64_t y = 0; y < rows; y++)
            add_row(to + y * g->sh * g->ow, from + y * g->ow, g->ow);
      }
      scatter(g, dx + c * g->h * g->w, y0 * g->sh, touched, kx, gathered);
    }
}

/* ---- y ------------------------------------------------------------------------------------ */

/* One band of one image. */
static void y_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  real *scratch = mw_worker_scratch(p->call, worker);
  const int64_t n = chunk / p->bands, y0 = chunk % p->bands * p->rows;
  const int64_t y1 = least(y0 + p->rows, g->oh), band = (y1 - y0) * g->ow, plane = g->oh * g->ow;
  for (int64_t group = 0; group < g->groups; group++) {
    const real *x = p->x + (n * g->c + group * g->cg) * g->h * g->w;
    real *y = p->to_y + (n * g->o + group * g->og) * plane + y0 * g->ow;
    if (p->b)
      for (int64_t o = 0; o < g->og; o++)
        for (int64_t i = 0; i < band; i++) y[o * plane + i] = p->b[group * g->og + o];
    const mw_gemm product = {.m = g->og,
                             .n = band,
                             .k = p->k,
                             .a = p->w + group * g->og * p->k,
                             .lda = p->k,
                             .b = im2col(p, x, y0, y1, scratch),
                             .ldb = p->pitch,
                             .c = y,
                             .ldc = plane,
                             .accumulate = p->b != NULL};
    mw_product(p->call, MW_REAL, &product, worker);
  }
}

/* ---- x, w and b --------------------------------------------------------------------------- */

/* Zeros, or each channel's bias: what dx starts from. */
static void start_x(const plan *p, real *dx, int64_t first, int64_t channels) {
  const int64_t plane = p->g.h * p->g.w;
  if (!p->b) memset(dx, 0, (size_t)(channels * plane) * sizeof(real));
  else
    for (int64_t c = 0; c < channels; c++)
      for (int64_t i = 0; i < plane; i++) dx[c * plane + i] = p->b[first + c];
}

/* dx of some channels of one group and image; `first` counts within the group. */
static void compute_x(const plan *p, int64_t n, int64_t group, int64_t first, int64_t channels,
                      real *scratch, int worker) {
  const geometry *g = &p->g;
  const int64_t plane = g->oh * g->ow, channel = group * g->cg + first;
  real *dx = p->to_x + (n * g->c + channel) * g->h * g->w;
  if (!p->direct || p->b) start_x(p, dx, channel, channels);
  for (int64_t y0 = 0; y0 < g->oh; y0 += p->rows) {
    const int64_t y1 = least(y0 + p->rows, g->oh);
    const mw_gemm product = {.m = channels * g->kh * g->kw,
                             .n = (y1 - y0) * g->ow,
                             .k = g->og,
                             .a = p->w + group * g->og * p->k + first * g->kh * g->kw,
                             .lda = p->k,
                             .transpose_a = true,
                             .b = p->y + (n * g->o + group * g->og) * plane + y0 * g->ow,
                             .ldb = plane,
                             .c = p->direct ? dx + y0 * g->w : scratch,
                             .ldc = p->pitch,
                             .accumulate = p->direct && p->b};
    mw_product(p->call, MW_REAL, &product, worker);
    if (!p->direct) col2im(p, scratch, channels, y0, y1, dx);
  }
}

/* One piece of dx: some channels of a group of an image. */
static void x_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  const int64_t pieces = mw_chunks(g->cg, p->channels), first = chunk % pieces * p->channels;
  chunk /= pieces;
  compute_x(p, chunk / g->groups, chunk % g->groups, first, least(p->channels, g->cg - first),
            mw_worker_scratch(p->call, worker), worker);
}

/* dw of one group and image, added to or (first) written over the chunk's sum. */
static void compute_w(const plan *p, int64_t n, int64_t group, real *dw, bool first, real *scratch,
                      int worker) {
  const geometry *g = &p->g;
  const int64_t plane = g->oh * g->ow;
  for (int64_t y0 = 0; y0 < g->oh; y0 += p->rows) {
    const int64_t y1 = least(y0 + p->rows, g->oh);
    const real *x = p->x + (n * g->c + group * g->cg) * g->h * g->w;
    const mw_gemm product = {.m = g->og,
                             .n = p->k,
                             .k = (y1 - y0) * g->ow,
                             .a = p->y + (n * g->o + group * g->og) * plane + y0 * g->ow,
                             .lda = plane,
                             .b = im2col(p, x, y0, y1, scratch),
                             .ldb = p->pitch,
                             .transpose_b = true,
                             .c = dw + group * g->og * p->k,
                             .ldc = p->k,
                             .accumulate = !first || y0 > 0};
    mw_product(p->call, MW_REAL, &product, worker);
  }
}

enum { LANES = 32 };

/* db of one image, added to or (first) written over the chunk's sum. */
static void compute_b(const plan *p, int64_t n, real *db, bool first) {
  const int64_t plane = p->out_plane;
  const real *dy = p->dout + n * p->out_channels * plane;
  for (int64_t o = 0; o < p->out_channels; o++, dy += plane) {
    real lane[LANES] = {0}; /* sums side by side, so that none waits for another */
    int64_t i = 0;
    for (; i + LANES <= plane; i += LANES)
      for (int l = 0; l < LANES; l++) lane[l] += dy[i + l];
    real sum = first ? 0 : db[o];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    for (; i < plane; i++) sum += dy[i];
    db[o] = sum;
  }
}

/* A few images: their dx, and their sum of dw and db into the chunk's place in call scratch. */
static void sum_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  real *scratch = mw_worker_scratch(p->call, worker);
  real *dw = (real *)p->call->scratch + chunk * p->partial, *db = dw + g->o * p->k;
  const int64_t start = chunk * p->images, end = mw_chunk_end(g->n, p->images, chunk);
  for (int64_t n = start; n < end; n++) {
    for (int64_t group = 0; group < g->groups; group++) {
      if (p->to_w) compute_w(p, n, group, dw, n == start, scratch, worker);
      if (p->to_x) compute_x(p, n, group, 0, g->cg, scratch, worker);
    }
    if (p->to_b) compute_b(p, n, db, n == start);
  }
}

/* Adds the chunks' sums, always in the same order. */
static void add_partials(const plan *p, real *to, int64_t offset, int64_t count) {
  const real *from = (const real *)p->call->scratch + offset;
  memset(to, 0, (size_t)count * sizeof(real));
  for (int64_t chunk = 0; chunk < mw_chunks(p->g.n, p->images); chunk++)
    for (int64_t i = 0; i < count; i++) to[i] += from[chunk * p->partial + i];
}

/* ---- the kernels -------------------------------------------------------------------------- */

static void workspace(const mw_call *call, mw_workspace *need, const roles *r) {
  const plan p = plan_of(call, r);
  if (p.g.n == 0 || p.g.o == 0) return;
  if (!p.direct) need->worker = (size_t)(p.k * p.pitch + p.touched * p.g.ow) * sizeof(real);
  if (call->backward || r->w == OUT)
    need->call = (size_t)(mw_chunks(p.g.n, p.images) * p.partial) * sizeof(real);
}

/* Nothing to multiply: sums of nothing, and the bias. */
static mw_status run_empty(const plan *p) {
  const geometry *g = &p->g;
  if (p->to_x)
    for (int64_t n = 0; n < g->n; n++) start_x(p, p->to_x + n * g->c * g->h * g->w, 0, g->c);
  if (p->to_w) memset(p->to_w, 0, (size_t)(g->o * p->k) * sizeof(real));
  if (p->to_y) memset(p->to_y, 0, (size_t)(g->n * g->o * g->oh * g->ow) * sizeof(real));
  if (p->to_b) {
    memset(p->to_b, 0, (size_t)p->out_channels * sizeof(real));
    for (int64_t n = 0; n < g->n && p->dout; n++) compute_b(p, n, p->to_b, n == 0);
  }
  return MW_OK;
}

static mw_status run(const mw_call *call, const roles *r) {
  plan p = plan_of(call, r);
  const geometry *g = &p.g;
  bind_all(&p, r);
  if (g->n == 0 || g->o == 0 || (call->backward && !p.dout)) return run_empty(&p);
  if (p.to_y) mw_parallel(call, g->n * p.bands, y_chunk, &p);
  if (p.to_w || p.to_b) mw_parallel(call, mw_chunks(g->n, p.images), sum_chunk, &p);
  else if (p.to_x && g->c > 0)
    mw_parallel(call, g->n * g->groups * mw_chunks(g->cg, p.channels), x_chunk, &p);
  if (p.to_w) add_partials(&p, p.to_w, 0, g->o * p.k);
  if (p.to_b) add_partials(&p, p.to_b, g->o * p.k, p.out_channels);
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

static const mw_kernel conv2d = {
    .op = "conv2d",
    .name = "gemm",
    .priority = 10,
    .forward = run_conv,
    .backward = run_conv,
    .workspace = conv_workspace,
};

static const mw_kernel conv_transpose2d = {
    .op = "conv_transpose2d",
    .name = "gemm",
    .priority = 10,
    .forward = run_transpose,
    .backward = run_transpose,
    .workspace = transpose_workspace,
};

static const mw_kernel conv2d_weight_gradient = {
    .op = "conv2d_weight_gradient",
    .name = "gemm",
    .priority = 10,
    .forward = run_weight,
    .backward = run_weight,
    .workspace = weight_workspace,
};

MW_PLUGIN_WITH_KERNELS((NULL), (&conv2d, &conv_transpose2d, &conv2d_weight_gradient))
