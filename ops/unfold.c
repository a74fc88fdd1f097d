/* unfold.c: unfold lays the windows of images out as columns, fold adds such columns up again. */
#include <string.h>

#include "../graph/moonwalk.h"

typedef struct fold_attrs {
  mw_ints size, kernel, stride, padding, dilation; /* unfold takes the size from x */
} fold_attrs;

enum { TOP, LEFT, BOTTOM, RIGHT };

/* The sizes that the kernels loop over. */
typedef struct geometry {
  int64_t planes, h, w;   /* images [planes, h, w]; a plane is a channel of an image */
  int64_t kh, kw, oh, ow; /* columns [planes, kh kw, oh ow] */
  int64_t sh, sw, dh, dw, top, left;
} geometry;

/* ---- shapes ------------------------------------------------------------------------------- */

static void complete(fold_attrs *a) {
  mw_ints_fill(&a->kernel, 2);
  mw_ints_fill(&a->stride, 2);
  mw_ints_fill(&a->dilation, 2);
  mw_ints_fill_sides(&a->padding, 2);
}

/* Of a side, 0 for the height or 1 for the width: so many windows; 0 where not one fits. */
static int64_t windows(const fold_attrs *a, int64_t size, int side) {
  const int64_t padded = size + a->padding.at[side] + a->padding.at[side + 2];
  const int64_t extent = (a->kernel.at[side] - 1) * a->dilation.at[side] + 1;
  return extent > padded ? 0 : (padded - extent) / a->stride.at[side] + 1;
}

static mw_status check_windows(const mw_infer *it, int64_t size, int side) {
  const fold_attrs *a = it->attrs;
  if (windows(a, size, side) > 0) return MW_OK;
  return mw_fail(it,
                 "the window's %s %lld%s is larger than the padded image's %lld: pad, or take a "
                 "smaller kernel",
                 side == 0 ? "height" : "width",
                 (long long)((a->kernel.at[side] - 1) * a->dilation.at[side] + 1),
                 a->dilation.at[side] > 1 ? " (dilated)" : "",
                 (long long)(size + a->padding.at[side] + a->padding.at[side + 2]));
}

/* The columns [n, c kh kw, L] of images [n, c, h, w]. */
static mw_status columns_of(const mw_infer *it, const mw_spec *images, mw_spec *columns) {
  const fold_attrs *a = it->attrs;
  const int64_t *shape = images->shape, kernel = a->kernel.at[0] * a->kernel.at[1];
  *columns = (mw_spec){.dtype = images->dtype, .rank = 3, .shape = {shape[0]}};
  if (check_windows(it, shape[2], 0) || check_windows(it, shape[3], 1)) return MW_FAILED;
  columns->shape[2] = windows(a, shape[2], 0) * windows(a, shape[3], 1);
  if (__builtin_mul_overflow(shape[1], kernel, &columns->shape[1]))
    return mw_fail(it, "%lld channels of windows of %lld are too many", (long long)shape[1],
                   (long long)kernel);
  return MW_OK;
}

static mw_status unfold_infer(mw_infer *it) {
  complete(it->attrs);
  if (mw_expect_images(it, 0)) return MW_FAILED;
  return columns_of(it, &it->in[0], &it->out[0]);
}

static mw_status fold_infer(mw_infer *it) {
  char text[2][MW_SPEC_TEXT];
  fold_attrs *a = it->attrs;
  const mw_spec *x = &it->in[0];
  complete(a);
  mw_ints_fill(&a->size, 2);
  if (x->rank != 3)
    return mw_fail(it, "x is %s, expected rank 3 [batch, channels * kernel, windows]",
                   it->host->spec_text(x, text[0]));
  const int64_t kernel = a->kernel.at[0] * a->kernel.at[1];
  if (x->shape[1] % kernel != 0)
    return mw_fail(it, "x is %s: its second size is not a multiple of the kernel's %lld elements",
                   it->host->spec_text(x, text[0]), (long long)kernel);
  mw_spec y = {.dtype = x->dtype,
               .rank = 4,
               .shape = {x->shape[0], x->shape[1] / kernel, a->size.at[0], a->size.at[1]}};
  mw_spec want;
  if (columns_of(it, &y, &want)) return MW_FAILED;
  if (x->shape[2] != want.shape[2])
    return mw_fail(it, "x is %s, expected %s: images of %lld x %lld have %lld x %lld windows",
                   it->host->spec_text(x, text[0]), it->host->spec_text(&want, text[1]),
                   (long long)a->size.at[0], (long long)a->size.at[1],
                   (long long)windows(a, a->size.at[0], 0),
                   (long long)windows(a, a->size.at[1], 1));
  it->out[0] = y;
  return MW_OK;
}

/* ---- kernels ------------------------------------------------------------------------------ */

typedef struct job {
  geometry g;
  real *images, *columns;
} job;

static geometry geometry_of(const mw_spec *images, const fold_attrs *a) {
  const int64_t *shape = images->shape;
  return (geometry){.planes = shape[0] * shape[1],
                    .h = shape[2],
                    .w = shape[3],
                    .kh = a->kernel.at[0],
                    .kw = a->kernel.at[1],
                    .oh = windows(a, shape[2], 0),
                    .ow = windows(a, shape[3], 1),
                    .sh = a->stride.at[0],
                    .sw = a->stride.at[1],
                    .dh = a->dilation.at[0],
                    .dw = a->dilation.at[1],
                    .top = a->padding.at[TOP],
                    .left = a->padding.at[LEFT]};
}

/* One row of the columns of one element of the kernel takes its elements from one row of the
 * image; those first .. end-1 of them are within it, and the first of these is at column x. */
typedef struct reach {
  int64_t first, end, x;
} reach;

static reach reach_of(const geometry *g, int64_t kx) {
  const int64_t start = kx * g->dw - g->left, stop = g->w - start;
  reach r = {.first = start < 0 ? (-start + g->sw - 1) / g->sw : 0,
             .end = stop > 0 ? (stop + g->sw - 1) / g->sw : 0};
  if (r.end > g->ow) r.end = g->ow;
  if (r.first > r.end) r.first = r.end;
  r.x = start + r.first * g->sw;
  return r;
}

static void unfold_row(real *to, const real *image, const geometry *g, reach r) {
  for (int64_t i = 0; i < r.first; i++) to[i] = 0;
  if (g->sw == 1 && r.end > r.first)
    memcpy(to + r.first, image + r.x, (size_t)(r.end - r.first) * sizeof(real));
  else
    for (int64_t i = r.first; i < r.end; i++) to[i] = image[r.x + (i - r.first) * g->sw];
  for (int64_t i = r.end; i < g->ow; i++) to[i] = 0;
}

/* One plane, [h, w] to [kh kw, oh ow]. */
static void unfold_plane(void *arg, int64_t plane, int worker) {
  (void)worker;
  const job *j = arg;
  const geometry *g = &j->g;
  const real *image = j->images + plane * g->h * g->w;
  real *to = j->columns + plane * g->kh * g->kw * g->oh * g->ow;
  for (int64_t ky = 0; ky < g->kh; ky++)
    for (int64_t kx = 0; kx < g->kw; kx++) {
      const reach r = reach_of(g, kx);
      for (int64_t oy = 0; oy < g->oh; oy++, to += g->ow) {
        const int64_t y = oy * g->sh + ky * g->dh - g->top;
        if (y >= 0 && y < g->h) unfold_row(to, image + y * g->w, g, r);
        else memset(to, 0, (size_t)g->ow * sizeof(real));
      }
    }
}

/* The reverse: [kh kw, oh ow] added up to [h, w]. */
static void fold_plane(void *arg, int64_t plane, int worker) {
  (void)worker;
  const job *j = arg;
  const geometry *g = &j->g;
  real *image = j->images + plane * g->h * g->w;
  const real *from = j->columns + plane * g->kh * g->kw * g->oh * g->ow;
  memset(image, 0, (size_t)(g->h * g->w) * sizeof(real));
  for (int64_t ky = 0; ky < g->kh; ky++)
    for (int64_t kx = 0; kx < g->kw; kx++) {
      const reach r = reach_of(g, kx);
      for (int64_t oy = 0; oy < g->oh; oy++, from += g->ow) {
        const int64_t y = oy * g->sh + ky * g->dh - g->top;
        if (y < 0 || y >= g->h) continue;
        for (int64_t i = r.first; i < r.end; i++)
          image[y * g->w + r.x + (i - r.first) * g->sw] += from[i];
      }
    }
}

/* Zeros where no gradient arrives. */
static mw_status run(const mw_call *call, const mw_array *images, const mw_array *columns,
                     mw_chunk plane, const mw_array *result) {
  if (!result->data || result->count == 0) return MW_OK;
  if (!images->data || !columns->data) {
    memset(result->data, 0, (size_t)result->count * sizeof(real));
    return MW_OK;
  }
  job j = {.g = geometry_of(&images->spec, call->attrs),
           .images = images->data,
           .columns = columns->data};
  mw_parallel(call, j.g.planes, plane, &j);
  return MW_OK;
}

static mw_status unfold_forward(const mw_call *call) {
  return run(call, &call->in[0], &call->out[0], unfold_plane, &call->out[0]);
}

static mw_status unfold_backward(const mw_call *call) {
  return run(call, &call->din[0], &call->dout[0], fold_plane, &call->din[0]);
}

static mw_status fold_forward(const mw_call *call) {
  return run(call, &call->out[0], &call->in[0], fold_plane, &call->out[0]);
}

static mw_status fold_backward(const mw_call *call) {
  return run(call, &call->dout[0], &call->din[0], unfold_plane, &call->din[0]);
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define PAIR(field, text, usual, from)                                                        \
  {                                                                                           \
    .name = #field, .type = MW_INTS, .offset = offsetof(fold_attrs, field), .initial = usual, \
    .lengths = "1|2", .least = from, .most = 1e6, .doc = text                                 \
  }
#define WINDOWS                                                                           \
  PAIR(kernel, "size of the windows: a number, or {h, w}", NULL, 1),                      \
      PAIR(stride, "step of the windows: a number, or {h, w}", "1", 1),                   \
      {.name = "padding",                                                                 \
       .type = MW_INTS,                                                                   \
       .offset = offsetof(fold_attrs, padding),                                           \
       .initial = "0",                                                                    \
       .lengths = "1|2|4",                                                                \
       .least = 0,                                                                        \
       .most = 1e6,                                                                       \
       .doc = "zeros around the image: a number, {h, w}, or {top, left, bottom, right}"}, \
      PAIR(dilation, "distance of neighbouring elements of a window: a number, or {h, w}", "1", 1)

static const mw_attr unfold_schema[] = {WINDOWS, {0}};

static const mw_op unfold_op = {
    .name = "unfold",
    .version = 1,
    .doc =
        "Lays the windows of NCHW images out as columns (im2col): y[n, (c*kh + p)*kw + q, i*ow + "
        "j] "
        "= x[n, c, i*stride + p*dilation - top, j*stride + q*dilation - left], for oh x ow windows "
        "of kh x kw; 0 in the padding. A matrix product with filters is a convolution then.",
    .example = "mw.unfold(mw.randn{2,3,4,5}, {kernel={2,3}, stride={2,1}, padding=1})",
    .cases =
        "mw.unfold(mw.randn{1,1,3,3}, {kernel=1})\n"
        "mw.unfold(mw.randn{1,2,7,5}, {kernel=2, stride=3, dilation={3,2}})\n"
        "mw.unfold(mw.randn{1,1,2,2}, {kernel=3, padding={0,2,1,0}})\n"
        "mw.unfold(mw.randn{0,2,3,3}, {kernel=2})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"}},
    .outputs = {{"y", .doc = "[batch, channels * kh * kw, oh * ow]"}},
    .attrs = unfold_schema,
    .attrs_size = sizeof(fold_attrs),
    .flags = MW_LINEAR,
    .infer = unfold_infer,
    .forward = unfold_forward,
    .backward = unfold_backward,
};

static const mw_attr fold_schema[] = {{.name = "size",
                                       .type = MW_INTS,
                                       .offset = offsetof(fold_attrs, size),
                                       .lengths = "1|2",
                                       .least = 0,
                                       .most = 1 << 28,
                                       .doc = "of the images: a number, or {h, w}"},
                                      WINDOWS,
                                      {0}};

static const mw_op fold_op = {
    .name = "fold",
    .version = 1,
    .doc =
        "Adds the columns that unfold makes up to images again (col2im): each element goes to "
        "where "
        "unfold would take it from, and what meets there is added. It is unfold's gradient, not "
        "its "
        "inverse: where windows overlap the sum is larger.",
    .example = "mw.fold(mw.randn{2,12,6}, {size={4,3}, kernel=2})",
    .cases =
        "mw.fold(mw.randn{1,2,9}, {size=3, kernel=1})\n"
        "mw.fold(mw.randn{1,8,2}, {size={7,5}, kernel=2, stride={3,2}, dilation={2,3}})\n"
        "mw.fold(mw.randn{2,9,2}, {size={2,3}, kernel=3, padding={0,1,1,0}})\n"
        "mw.fold(mw.randn{0,4,4}, {size=3, kernel=2})",
    .inputs = {{"x", .doc = "columns [batch, channels * kh * kw, oh * ow]"}},
    .outputs = {{"y", .doc = "[batch, channels, height, width]"}},
    .attrs = fold_schema,
    .attrs_size = sizeof(fold_attrs),
    .flags = MW_LINEAR,
    .infer = fold_infer,
    .forward = fold_forward,
    .backward = fold_backward,
};

MW_PLUGIN(&unfold_op, &fold_op)
