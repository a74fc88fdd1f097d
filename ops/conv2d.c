/* conv2d.c: two-dimensional convolution of NCHW images, as plain loops and as matrix products.
 * Longer than a file should be, because an op and its kernels are one plugin. */
#include <string.h>

#include "../graph/moonwalk.h"

typedef struct conv2d_attrs {
  mw_ints stride, padding, dilation;
  int64_t groups;
  bool flip;
} conv2d_attrs;

#define FIELD(name) offsetof(conv2d_attrs, name)
static const mw_attr conv2d_schema[] = {
    {.name = "stride",
     .type = MW_INTS,
     .offset = FIELD(stride),
     .initial = "1",
     .lengths = "1|2",
     .least = 1,
     .most = 1e6,
     .doc = "step of the kernel over the image: a number, or {h, w}"},
    {.name = "padding",
     .type = MW_INTS,
     .offset = FIELD(padding),
     .initial = "0",
     .lengths = "1|2|4",
     .least = 0,
     .most = 1e6,
     .doc = "zeros around the image: a number, {h, w}, or {top, left, bottom, right}"},
    {.name = "dilation",
     .type = MW_INTS,
     .offset = FIELD(dilation),
     .initial = "1",
     .lengths = "1|2",
     .least = 1,
     .most = 1e6,
     .doc = "distance of neighbouring kernel elements in the image: a number, or {h, w}"},
    {.name = "groups",
     .type = MW_INT,
     .offset = FIELD(groups),
     .initial = "1",
     .least = 1,
     .most = 1e9,
     .doc = "the channels are cut into so many groups that do not see each other"},
    {.name = "flip",
     .type = MW_BOOLEAN,
     .offset = FIELD(flip),
     .initial = "false",
     .doc = "turn the kernel by 180 degrees: the convolution of mathematics"},
    {.name = NULL},
};

enum { TOP, LEFT, BOTTOM, RIGHT };

/* The sizes that the kernels loop over. */
typedef struct geometry {
  int64_t n, c, h, w;                /* x is [n, c, h, w] */
  int64_t o, cg, kh, kw;             /* w is [o, cg, kh, kw] */
  int64_t oh, ow;                    /* y is [n, o, oh, ow] */
  int64_t groups, og;                /* each group takes cg channels to og */
  int64_t sh, sw, dh, dw, top, left; /* stride, dilation, padding */
  int64_t ph, pw;                    /* the padded image */
  bool flip;
} geometry;

static geometry geometry_of(const mw_spec *x, const mw_spec *w, const conv2d_attrs *a) {
  geometry g = {.n = x->shape[0], .c = x->shape[1], .h = x->shape[2], .w = x->shape[3]};
  g.o = w->shape[0], g.cg = w->shape[1], g.kh = w->shape[2], g.kw = w->shape[3];
  g.groups = a->groups, g.og = g.o / g.groups, g.flip = a->flip;
  g.sh = a->stride.at[0], g.sw = a->stride.at[1];
  g.dh = a->dilation.at[0], g.dw = a->dilation.at[1];
  g.top = a->padding.at[TOP], g.left = a->padding.at[LEFT];
  g.ph = g.h + g.top + a->padding.at[BOTTOM], g.pw = g.w + g.left + a->padding.at[RIGHT];
  g.oh = (g.ph - (g.kh - 1) * g.dh - 1) / g.sh + 1;
  g.ow = (g.pw - (g.kw - 1) * g.dw - 1) / g.sw + 1;
  return g;
}

static geometry geometry_of_call(const mw_call *call) {
  return geometry_of(&call->in[0].spec, &call->in[1].spec, call->attrs);
}

/* ---- shapes ------------------------------------------------------------------------------ */

/* Brings the lists to {h, w} and {top, left, bottom, right}. */
static void complete(conv2d_attrs *a) {
  a->stride.at[1] = mw_ints_at(&a->stride, 1);
  a->dilation.at[1] = mw_ints_at(&a->dilation, 1);
  if (a->padding.count == 1) a->padding.at[LEFT] = a->padding.at[TOP];
  if (a->padding.count <= 2) {
    a->padding.at[BOTTOM] = a->padding.at[TOP];
    a->padding.at[RIGHT] = a->padding.at[LEFT];
  }
  a->stride.count = a->dilation.count = 2;
  a->padding.count = 4;
}

static mw_status check_ranks(const mw_infer *it) {
  char text[MW_SPEC_TEXT];
  const mw_spec *w = &it->in[1];
  if (mw_expect_images(it, 0)) return MW_FAILED;
  if (w->rank != 4)
    return mw_fail(it, "w is %s, expected rank 4 [out, in/groups, kernel height, kernel width]",
                   it->host->spec_text(w, text));
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  return mw_present(&it->in[2]) ? mw_expect_same_dtype(it, 2, 0) : MW_OK;
}

static mw_status check_channels(const mw_infer *it) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  const conv2d_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0], *w = &it->in[1], *bias = &it->in[2];
  const int64_t c = x->shape[1], o = w->shape[0], groups = attrs->groups;
  if (c % groups != 0)
    return mw_fail(it, "x is %s: its %lld channels cannot be cut into %lld groups",
                   it->host->spec_text(x, a), (long long)c, (long long)groups);
  if (o % groups != 0)
    return mw_fail(it, "w is %s: its %lld output channels cannot be cut into %lld groups",
                   it->host->spec_text(w, a), (long long)o, (long long)groups);
  if (w->shape[1] != c / groups) {
    mw_spec want = *w;
    want.shape[1] = c / groups;
    return mw_fail(it, "w is %s, expected %s: x has %lld channels in %lld group%s",
                   it->host->spec_text(w, a), it->host->spec_text(&want, b), (long long)c,
                   (long long)groups, groups == 1 ? "" : "s");
  }
  if (mw_present(bias) && (bias->rank != 1 || bias->shape[0] != o))
    return mw_fail(it, "b is %s, expected [%lld]: one number for each output channel of w %s",
                   it->host->spec_text(bias, a), (long long)o, it->host->spec_text(w, b));
  return MW_OK;
}

/* One direction: the image with its padding must have room for the dilated kernel. */
static mw_status check_room(const mw_infer *it, const char *side, int64_t padded, int64_t kernel,
                            int64_t dilation) {
  if (kernel < 1) return mw_fail(it, "w has kernel %s 0, expected at least 1", side);
  if (kernel - 1 <= (padded - 1) / dilation && padded > 0) return MW_OK;
  if (kernel > INT32_MAX)
    return mw_fail(it, "w has kernel %s %lld, the padded image has %lld", side, (long long)kernel,
                   (long long)padded);
  const int64_t extent = (kernel - 1) * dilation + 1;
  return mw_fail(it,
                 "the kernel's %s %lld%s is larger than the padded image's %lld: "
                 "pad by %lld more, or take a smaller kernel",
                 side, (long long)extent, dilation > 1 ? " (dilated)" : "", (long long)padded,
                 (long long)(extent - padded));
}

/* Whether the working memory of one image can be counted in bytes at all. */
static bool countable(const geometry *g) {
  const int64_t element = (int64_t)sizeof(double);
  int64_t padded, columns;
  return !__builtin_mul_overflow(g->ph * g->pw, element, &padded) &&
         !__builtin_mul_overflow(padded, g->cg, &padded) &&
         !__builtin_mul_overflow(g->cg * element, g->kh * g->kw, &columns) &&
         !__builtin_mul_overflow(columns, g->ow + 128, &columns);
}

static mw_status conv2d_infer(mw_infer *it) {
  conv2d_attrs *a = it->attrs;
  complete(a);
  if (check_ranks(it) || check_channels(it)) return MW_FAILED;
  const mw_spec *x = &it->in[0], *w = &it->in[1];
  const int64_t *pad = a->padding.at;
  if (check_room(it, "height", x->shape[2] + pad[TOP] + pad[BOTTOM], w->shape[2],
                 a->dilation.at[0]) ||
      check_room(it, "width", x->shape[3] + pad[LEFT] + pad[RIGHT], w->shape[3], a->dilation.at[1]))
    return MW_FAILED;
  const geometry g = geometry_of(x, w, a);
  if (!countable(&g)) return mw_fail(it, "the padded images are too large for any memory");
  it->out[0] = (mw_spec){.dtype = x->dtype, .rank = 4, .shape = {g.n, g.o, g.oh, g.ow}};
  return MW_OK;
}

/* ---- plain loops: the reference ---------------------------------------------------------- */

/* Where an output element and a kernel element meet: offsets in a plane of x, and of w. */
static bool meet(const geometry *g, int64_t oy, int64_t ox, int64_t ky, int64_t kx, int64_t *in_x,
                 int64_t *in_w) {
  const int64_t y = oy * g->sh - g->top + ky * g->dh, x = ox * g->sw - g->left + kx * g->dw;
  *in_x = y * g->w + x;
  *in_w = g->flip ? (g->kh - 1 - ky) * g->kw + g->kw - 1 - kx : ky * g->kw + kx;
  return y >= 0 && y < g->h && x >= 0 && x < g->w;
}

/* One output element: the sum over the channels of its group and over the kernel. */
static real window(const geometry *g, const real *x, const real *w, int64_t oy, int64_t ox) {
  real sum = 0;
  int64_t in_x, in_w;
  for (int64_t c = 0; c < g->cg; c++, x += g->h * g->w, w += g->kh * g->kw)
    for (int64_t ky = 0; ky < g->kh; ky++)
      for (int64_t kx = 0; kx < g->kw; kx++)
        if (meet(g, oy, ox, ky, kx, &in_x, &in_w)) sum += x[in_x] * w[in_w];
  return sum;
}

static mw_status conv2d_forward(const mw_call *call) {
  const geometry g = geometry_of_call(call);
  const real *x = call->in[0].data, *w = call->in[1].data, *b = call->in[2].data;
  real *y = call->out[0].data;
  for (int64_t n = 0; n < g.n; n++)
    for (int64_t o = 0; o < g.o; o++) {
      const real *xg = x + (n * g.c + o / g.og * g.cg) * g.h * g.w;
      const real *wo = w + o * g.cg * g.kh * g.kw;
      for (int64_t oy = 0; oy < g.oh; oy++)
        for (int64_t ox = 0; ox < g.ow; ox++) *y++ = window(&g, xg, wo, oy, ox) + (b ? b[o] : 0);
    }
  return MW_OK;
}

/* Spreads the gradient of one output element; dx and dw may be NULL. */
static void window_backward(const geometry *g, real dy, const real *x, const real *w, real *dx,
                            real *dw, int64_t oy, int64_t ox) {
  int64_t in_x, in_w;
  for (int64_t c = 0; c < g->cg; c++)
    for (int64_t ky = 0; ky < g->kh; ky++)
      for (int64_t kx = 0; kx < g->kw; kx++) {
        if (!meet(g, oy, ox, ky, kx, &in_x, &in_w)) continue;
        in_x += c * g->h * g->w;
        in_w += c * g->kh * g->kw;
        if (dx) dx[in_x] += dy * w[in_w];
        if (dw) dw[in_w] += dy * x[in_x];
      }
}

/* Writes zeros to every gradient that is wanted. */
static void clear_gradients(const mw_call *call) {
  for (int i = 0; i < call->n_in; i++)
    if (call->din[i].data) memset(call->din[i].data, 0, (size_t)call->din[i].count * sizeof(real));
}

static mw_status conv2d_backward(const mw_call *call) {
  const geometry g = geometry_of_call(call);
  const real *x = call->in[0].data, *w = call->in[1].data, *dy = call->dout[0].data;
  real *dx = call->din[0].data, *dw = call->din[1].data, *db = call->din[2].data;
  clear_gradients(call);
  if (!dy) return MW_OK;
  for (int64_t n = 0; n < g.n; n++)
    for (int64_t o = 0; o < g.o; o++) {
      const int64_t group = (n * g.c + o / g.og * g.cg) * g.h * g.w;
      const int64_t filter = o * g.cg * g.kh * g.kw;
      for (int64_t oy = 0; oy < g.oh; oy++)
        for (int64_t ox = 0; ox < g.ow; ox++, dy++) {
          window_backward(&g, *dy, x + group, w + filter, dx ? dx + group : NULL,
                          dw ? dw + filter : NULL, oy, ox);
          if (db) db[o] += *dy;
        }
    }
  return MW_OK;
}

/* ---- matrix products --------------------------------------------------------------------- */

/* For a band of output rows of one image and one group, the columns matrix holds for each output
 * element (a column) the k = cg * kh * kw elements of x under the kernel. Then
 *
 *     y[og, band] = w[og, k] columns[k, band]
 *     dw[og, k] += dy[og, band] columns^T
 *     dcolumns[k, band] = w^T dy[og, band], which is added back into dx where it came from.
 *
 * A band is as many output rows as keep the columns in a second-level cache. With a kernel of one
 * element, stride 1 and no padding the columns are x itself. */
enum {
  LINE = 64 / (int)sizeof(real),            /* elements in a line of cache */
  COLUMNS = 192 * 1024 / (int)sizeof(real), /* elements of a band's columns, if a row is not more */
  PARTIALS = 16,                            /* chunks of the batch that sum dw apart, at most */
  PARTIAL_BYTES = 32 * 1024 * 1024,         /* and the memory for them, if one is not more */
};

typedef struct plan {
  geometry g;
  int64_t k;
  int64_t rows, bands; /* output rows in a band; bands in an image */
  int64_t pitch;       /* distance of the rows of columns */
  int64_t touched;     /* rows of the padded image under a band */
  bool direct;         /* columns are x itself */
  int64_t images;      /* in a chunk of the batch in backward */
  int64_t partial;     /* elements of a chunk's sums: dw [o, k], then db [o] */
  const real *x, *w, *b, *dy;
  real *y, *dx, *dw, *db;
  const mw_call *call;
} plan;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* Elements in as many lines of cache as are needed, and in an odd number of lines, which spreads
 * the rows of a matrix over all the sets of a cache. */
static int64_t whole_lines(int64_t elements) { return mw_chunks(elements, LINE) * LINE; }

static int64_t odd_lines(int64_t elements) { return (mw_chunks(elements, LINE) | 1) * LINE; }

static plan plan_of(const mw_call *call) {
  const geometry g = geometry_of_call(call);
  plan p = {.g = g, .call = call, .k = g.cg * g.kh * g.kw};
  p.direct = g.kh == 1 && g.kw == 1 && g.sh == 1 && g.sw == 1 && g.ph == g.h && g.pw == g.w;
  p.rows = most(1, least(g.oh, COLUMNS / most(1, p.k * g.ow)));
  p.bands = mw_chunks(g.oh, p.rows);
  p.touched = (p.rows - 1) * g.sh + (g.kh - 1) * g.dh + 1;
  p.pitch = p.direct ? g.h * g.w : odd_lines(p.rows * g.ow);
  p.partial = most(LINE, whole_lines(g.o * p.k + g.o));
  const int64_t fit = PARTIAL_BYTES / (int64_t)sizeof(real) / p.partial;
  p.images = most(1, mw_chunks(g.n, most(1, least(PARTIALS, fit))));
  return p;
}

static void gemm_workspace(const mw_call *call, mw_workspace *need) {
  const plan p = plan_of(call);
  if (p.g.n == 0 || p.g.o == 0) return;
  if (!p.direct) need->worker = (size_t)(p.k * p.pitch + p.touched * p.g.ow) * sizeof(real);
  if (call->backward) need->call = (size_t)(mw_chunks(p.g.n, p.images) * p.partial) * sizeof(real);
}

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

/* The reverse: adds the columns in scratch to the planes of dx. */
static void col2im(const plan *p, real *scratch, int64_t y0, int64_t y1, real *dx) {
  const geometry *g = &p->g;
  const int64_t rows = y1 - y0, touched = p->touched - (p->rows - rows) * g->sh;
  real *gathered = scratch + p->k * p->pitch;
  for (int64_t c = 0; c < g->cg; c++)
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

/* One band of one image. */
static void forward_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  real *scratch = mw_worker_scratch(p->call, worker);
  const int64_t n = chunk / p->bands, y0 = chunk % p->bands * p->rows;
  const int64_t y1 = least(y0 + p->rows, g->oh), band = (y1 - y0) * g->ow, plane = g->oh * g->ow;
  for (int64_t group = 0; group < g->groups; group++) {
    const real *x = p->x + (n * g->c + group * g->cg) * g->h * g->w;
    real *y = p->y + (n * g->o + group * g->og) * plane + y0 * g->ow;
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

static mw_status gemm_forward(const mw_call *call) {
  plan p = plan_of(call);
  p.x = call->in[0].data, p.w = call->in[1].data, p.b = call->in[2].data;
  p.y = call->out[0].data;
  if (call->out[0].count > 0) mw_parallel(call, p.g.n * p.bands, forward_chunk, &p);
  return MW_OK;
}

/* dw of one group and image, added to or (first) written over the chunk's sum. */
static void backward_w(const plan *p, int64_t n, int64_t group, real *dw, bool first, real *scratch,
                       int worker) {
  const geometry *g = &p->g;
  const int64_t plane = g->oh * g->ow;
  for (int64_t y0 = 0; y0 < g->oh; y0 += p->rows) {
    const int64_t y1 = least(y0 + p->rows, g->oh);
    const real *x = p->x + (n * g->c + group * g->cg) * g->h * g->w;
    const mw_gemm product = {.m = g->og,
                             .n = p->k,
                             .k = (y1 - y0) * g->ow,
                             .a = p->dy + (n * g->o + group * g->og) * plane + y0 * g->ow,
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

/* dx of one group and image. */
static void backward_x(const plan *p, int64_t n, int64_t group, real *scratch, int worker) {
  const geometry *g = &p->g;
  const int64_t plane = g->oh * g->ow;
  real *dx = p->dx + (n * g->c + group * g->cg) * g->h * g->w;
  if (!p->direct) memset(dx, 0, (size_t)(g->cg * g->h * g->w) * sizeof(real));
  for (int64_t y0 = 0; y0 < g->oh; y0 += p->rows) {
    const int64_t y1 = least(y0 + p->rows, g->oh);
    const mw_gemm product = {.m = p->k,
                             .n = (y1 - y0) * g->ow,
                             .k = g->og,
                             .a = p->w + group * g->og * p->k,
                             .lda = p->k,
                             .transpose_a = true,
                             .b = p->dy + (n * g->o + group * g->og) * plane + y0 * g->ow,
                             .ldb = plane,
                             .c = p->direct ? dx + y0 * g->w : scratch,
                             .ldc = p->pitch};
    mw_product(p->call, MW_REAL, &product, worker);
    if (!p->direct) col2im(p, scratch, y0, y1, dx);
  }
}

enum { LANES = 32 };

/* db of one image, added to or (first) written over the chunk's sum. */
static void backward_b(const plan *p, int64_t n, real *db, bool first) {
  const geometry *g = &p->g;
  const int64_t plane = g->oh * g->ow;
  const real *dy = p->dy + n * g->o * plane;
  for (int64_t o = 0; o < g->o; o++, dy += plane) {
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
static void backward_chunk(void *arg, int64_t chunk, int worker) {
  const plan *p = arg;
  const geometry *g = &p->g;
  real *scratch = mw_worker_scratch(p->call, worker);
  real *dw = (real *)p->call->scratch + chunk * p->partial, *db = dw + g->o * p->k;
  const int64_t start = chunk * p->images, end = mw_chunk_end(g->n, p->images, chunk);
  for (int64_t n = start; n < end; n++) {
    for (int64_t group = 0; group < g->groups; group++) {
      if (p->dw) backward_w(p, n, group, dw, n == start, scratch, worker);
      if (p->dx) backward_x(p, n, group, scratch, worker);
    }
    if (p->db) backward_b(p, n, db, n == start);
  }
}

/* Adds the chunks' sums, always in the same order. */
static void add_partials(const plan *p, real *to, int64_t offset, int64_t count) {
  const real *from = (const real *)p->call->scratch + offset;
  memset(to, 0, (size_t)count * sizeof(real));
  for (int64_t chunk = 0; chunk < mw_chunks(p->g.n, p->images); chunk++)
    for (int64_t i = 0; i < count; i++) to[i] += from[chunk * p->partial + i];
}

static mw_status gemm_backward(const mw_call *call) {
  plan p = plan_of(call);
  p.x = call->in[0].data, p.w = call->in[1].data, p.dy = call->dout[0].data;
  p.dx = call->din[0].data, p.dw = call->din[1].data, p.db = call->din[2].data;
  if (!p.dy || call->dout[0].count == 0) {
    clear_gradients(call);
    return MW_OK;
  }
  mw_parallel(call, mw_chunks(p.g.n, p.images), backward_chunk, &p);
  if (p.dw) add_partials(&p, p.dw, 0, p.g.o * p.k);
  if (p.db) add_partials(&p, p.db, p.g.o * p.k, p.g.o);
  return MW_OK;
}

static const mw_op conv2d = {
    .name = "conv2d",
    .version = 1,
    .doc =
        "Cross-correlation of NCHW images with a bank of filters. "
        "y[n,o,i,j] = b[o] + sum over c, p, q of x[n, c, i*stride + p*dilation - top, "
        "j*stride + q*dilation - left] * w[o,c,p,q]; an output has (size + padding - "
        "(kernel - 1)*dilation - 1) / stride + 1 rows or columns, rounded down.",
    .example =
        "mw.conv2d(mw.randn{2,4,6,5}, mw.randn{4,2,3,3}, mw.randn{4}, "
        "{stride=2, padding=1, groups=2})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"},
               {"w", .doc = "filters [out, channels/groups, kernel height, kernel width]"},
               {"b", MW_OPTIONAL, "a number for each output channel [out]"}},
    .outputs = {{"y", .doc = "[batch, out, output height, output width]"}},
    .attrs = conv2d_schema,
    .attrs_size = sizeof(conv2d_attrs),
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_IN(1),
    .infer = conv2d_infer,
    .forward = conv2d_forward,
    .backward = conv2d_backward,
};

static const mw_kernel conv2d_gemm = {
    .op = "conv2d",
    .name = "gemm",
    .priority = 10,
    .forward = gemm_forward,
    .backward = gemm_backward,
    .workspace = gemm_workspace,
};

MW_PLUGIN_WITH_KERNELS((&conv2d), (&conv2d_gemm))
