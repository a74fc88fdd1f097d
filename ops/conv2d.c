/* conv2d.c: two-dimensional convolution of NCHW images, and the two ops that are its derivatives.
 *
 * All three come from one sum over a batch of images x, filters w and outputs y,
 *
 *     T(x, w, y) = sum of y[n,o,i,j] x[n, c, i*stride + p*dilation - top, ...] w[o,c,p,q],
 *
 * which is linear in each of them: conv2d is its derivative in y, conv_transpose2d that in x, and
 * conv2d_weight_gradient that in w. So the gradients of each are the other two, to every order. The
 * plain kernels are here; the files conv2d_*.c have those that are fast. */
#include <string.h>

#include "../graph/moonwalk.h"
#include "conv2d.h"

/* Each op has some of them. */
typedef struct conv_attrs {
  mw_ints stride, padding, dilation, output_padding, kernel;
  int64_t groups;
  bool flip;
} conv_attrs;

/* ---- shapes ------------------------------------------------------------------------------- */

/* One direction, 0 for the height or 1 for the width. */
static int64_t padded_side(const mw_spec *x, const conv_attrs *a, int side) {
  return x->shape[2 + side] + a->padding.at[side] + a->padding.at[side + 2];
}

static int64_t extent(int64_t kernel, const conv_attrs *a, int side) {
  return (kernel - 1) * a->dilation.at[side] + 1;
}

/* Rows or columns of y that a kernel which fits gives. */
static int64_t output_side(const mw_spec *x, int64_t kernel, const conv_attrs *a, int side) {
  return (padded_side(x, a, side) - extent(kernel, a, side)) / a->stride.at[side] + 1;
}

/* Rows or columns of x from which y was made, without those that no kernel reached. */
static int64_t input_side(const mw_spec *y, int64_t kernel, const conv_attrs *a, int side) {
  return (y->shape[2 + side] - 1) * a->stride.at[side] + extent(kernel, a, side) -
         a->padding.at[side] - a->padding.at[side + 2];
}

static const char *side_name(int side) { return side == 0 ? "height" : "width"; }

/* Brings the lists to {h, w} and {top, left, bottom, right}. */
static void complete(conv_attrs *a) {
  mw_ints_fill(&a->stride, 2);
  mw_ints_fill(&a->dilation, 2);
  mw_ints_fill_sides(&a->padding, 2);
}

/* Images and filters, a bias if there can be one, of one dtype. */
static mw_status check_ranks(const mw_infer *it, const char *filters) {
  char text[MW_SPEC_TEXT];
  if (mw_expect_images(it, 0)) return MW_FAILED;
  if (it->in[1].rank != 4)
    return mw_fail(it, "w is %s, expected rank 4 %s", it->host->spec_text(&it->in[1], text),
                   filters);
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  return mw_present(&it->in[2]) ? mw_expect_same_dtype(it, 2, 0) : MW_OK;
}

/* Of an input, that its channels (its axis `axis`) can be cut into groups. */
static mw_status check_groups(const mw_infer *it, int input, int axis, const char *channels) {
  char text[MW_SPEC_TEXT];
  const int64_t groups = ((const conv_attrs *)it->attrs)->groups;
  if (it->in[input].shape[axis] % groups == 0) return MW_OK;
  return mw_fail(it, "%s is %s: its %lld %s cannot be cut into %lld groups",
                 it->op->inputs[input].name, it->host->spec_text(&it->in[input], text),
                 (long long)it->in[input].shape[axis], channels, (long long)groups);
}

static mw_status check_bias(const mw_infer *it, int64_t channels) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  const mw_spec *bias = &it->in[2];
  if (!mw_present(bias) || (bias->rank == 1 && bias->shape[0] == channels)) return MW_OK;
  return mw_fail(it, "b is %s, expected [%lld]: one number for each output channel of w %s",
                 it->host->spec_text(bias, a), (long long)channels,
                 it->host->spec_text(&it->in[1], b));
}

/* The image with its padding must have room for the dilated kernel. */
static mw_status check_room(const mw_infer *it, const mw_spec *x, int64_t kernel, int side) {
  const conv_attrs *a = it->attrs;
  const int64_t padded = padded_side(x, a, side), dilation = a->dilation.at[side];
  const char *name = side_name(side);
  if (kernel < 1) return mw_fail(it, "w has kernel %s 0, expected at least 1", name);
  if (kernel - 1 <= (padded - 1) / dilation && padded > 0) return MW_OK;
  if (kernel > INT32_MAX)
    return mw_fail(it, "w has kernel %s %lld, the padded image has %lld", name, (long long)kernel,
                   (long long)padded);
  return mw_fail(it,
                 "the kernel's %s %lld%s is larger than the padded image's %lld: "
                 "pad by %lld more, or take a smaller kernel",
                 name, (long long)extent(kernel, a, side), dilation > 1 ? " (dilated)" : "",
                 (long long)padded, (long long)(extent(kernel, a, side) - padded));
}

/* Whether the working memory of one image can be counted in bytes at all. */
static mw_status check_countable(const mw_infer *it, const mw_spec *x, const mw_spec *w,
                                 const mw_spec *y) {
  const int64_t element = (int64_t)sizeof(double), *k = w->shape;
  int64_t padded, columns;
  if (!__builtin_mul_overflow(padded_side(x, it->attrs, 0) * padded_side(x, it->attrs, 1), element,
                              &padded) &&
      !__builtin_mul_overflow(padded, k[1], &padded) &&
      !__builtin_mul_overflow(k[1] * element, k[2] * k[3], &columns) &&
      !__builtin_mul_overflow(columns, y->shape[3] + 128, &columns))
    return MW_OK;
  return mw_fail(it, "the padded images are too large for any memory");
}

static mw_status conv_infer(mw_infer *it) {
  conv_attrs *a = it->attrs;
  char text[2][MW_SPEC_TEXT];
  complete(a);
  const mw_spec *x = &it->in[0], *w = &it->in[1];
  if (check_ranks(it, "[out, in/groups, kernel height, kernel width]") ||
      check_groups(it, 0, 1, "channels") || check_groups(it, 1, 0, "output channels"))
    return MW_FAILED;
  if (w->shape[1] != x->shape[1] / a->groups) {
    mw_spec want = *w;
    want.shape[1] = x->shape[1] / a->groups;
    return mw_fail(it, "w is %s, expected %s: x has %lld channels in %lld group%s",
                   it->host->spec_text(w, text[0]), it->host->spec_text(&want, text[1]),
                   (long long)x->shape[1], (long long)a->groups, a->groups == 1 ? "" : "s");
  }
  if (check_bias(it, w->shape[0]) || check_room(it, x, w->shape[2], 0) ||
      check_room(it, x, w->shape[3], 1))
    return MW_FAILED;
  it->out[0] = (mw_spec){.dtype = x->dtype, .rank = 4, .shape = {x->shape[0], w->shape[0]}};
  for (int s = 0; s < 2; s++) it->out[0].shape[2 + s] = output_side(x, w->shape[2 + s], a, s);
  return check_countable(it, x, w, &it->out[0]);
}

/* Of conv_transpose2d: one side of the images that it makes. */
static mw_status side_infer(mw_infer *it, int side) {
  char text[MW_SPEC_TEXT];
  const conv_attrs *a = it->attrs;
  const mw_spec *x = &it->in[0];
  const int64_t kernel = it->in[1].shape[2 + side];
  const char *name = side_name(side);
  if (kernel < 1 || kernel > MW_MAX_SIDE)
    return mw_fail(it, "w has kernel %s %lld, expected 1 to 2^28", name, (long long)kernel);
  if (x->shape[2 + side] < 1)
    return mw_fail(it, "x is %s: its images are empty", it->host->spec_text(x, text));
  const int64_t size = input_side(x, kernel, a, side) + a->output_padding.at[side];
  if (size < 0)
    return mw_fail(it,
                   "padding %lld + %lld cuts off more than the %s %lld that there is: pad by %lld "
                   "less",
                   (long long)a->padding.at[side], (long long)a->padding.at[side + 2], name,
                   (long long)(size + a->padding.at[side] + a->padding.at[side + 2]),
                   (long long)-size);
  if (size > MW_MAX_SIDE)
    return mw_fail(it, "the images would have %s %lld, expected at most 2^28", name,
                   (long long)size);
  it->out[0].shape[2 + side] = size;
  return MW_OK;
}

static mw_status transpose_infer(mw_infer *it) {
  conv_attrs *a = it->attrs;
  char text[2][MW_SPEC_TEXT];
  complete(a);
  mw_ints_fill(&a->output_padding, 2);
  const mw_spec *x = &it->in[0], *w = &it->in[1];
  int64_t channels;
  if (check_ranks(it, "[in, out/groups, kernel height, kernel width]") ||
      check_groups(it, 0, 1, "channels"))
    return MW_FAILED;
  if (w->shape[0] != x->shape[1]) {
    mw_spec want = *w;
    want.shape[0] = x->shape[1];
    return mw_fail(it, "w is %s, expected %s: x has %lld channels", it->host->spec_text(w, text[0]),
                   it->host->spec_text(&want, text[1]), (long long)x->shape[1]);
  }
  if (__builtin_mul_overflow(w->shape[1], a->groups, &channels))
    return mw_fail(it, "w is %s: too many output channels in %lld groups",
                   it->host->spec_text(w, text[0]), (long long)a->groups);
  it->out[0] = (mw_spec){.dtype = x->dtype, .rank = 4, .shape = {x->shape[0], channels}};
  if (check_bias(it, channels) || side_infer(it, 0) || side_infer(it, 1)) return MW_FAILED;
  return check_countable(it, &it->out[0], w, x);
}

static mw_status weight_infer(mw_infer *it) {
  conv_attrs *a = it->attrs;
  char text[3][MW_SPEC_TEXT];
  complete(a);
  mw_ints_fill(&a->kernel, 2);
  const mw_spec *x = &it->in[0], *dy = &it->in[1];
  if (mw_expect_images(it, 0) || mw_expect_images(it, 1) || mw_expect_same_dtype(it, 1, 0) ||
      check_groups(it, 0, 1, "channels") || check_groups(it, 1, 1, "output channels"))
    return MW_FAILED;
  mw_spec w = {.dtype = x->dtype, .rank = 4, .shape = {dy->shape[1], x->shape[1] / a->groups}};
  mw_spec want = *dy;
  bool fits = dy->shape[0] == x->shape[0];
  want.shape[0] = x->shape[0];
  for (int s = 0; s < 2; s++) {
    const int64_t kernel = w.shape[2 + s] = a->kernel.at[s];
    if (check_room(it, x, kernel, s)) return MW_FAILED;
    want.shape[2 + s] = output_side(x, kernel, a, s);
    fits = fits && dy->shape[2 + s] >= 1 && dy->shape[2 + s] <= want.shape[2 + s];
  }
  if (!fits)
    return mw_fail(it, "dy is %s, expected %s: that is what conv2d makes of x %s",
                   it->host->spec_text(dy, text[0]), it->host->spec_text(&want, text[1]),
                   it->host->spec_text(x, text[2]));
  it->out[0] = w;
  return check_countable(it, x, &w, dy);
}

/* ---- plain loops: the reference ----------------------------------------------------------- */

/* What a call computes. Forward and backward of the three ops differ in what is wanted only. */
typedef struct sums {
  geometry g;
  const real *x, *w, *y;    /* what is read, */
  real *to_x, *to_w, *to_y; /* and what is wanted, or NULL */
} sums;

/* Where an output element and a kernel element meet: offsets in a plane of x, and of w. */
static bool meet(const geometry *g, int64_t oy, int64_t ox, int64_t ky, int64_t kx, int64_t *in_x,
                 int64_t *in_w) {
  const int64_t y = oy * g->sh - g->top + ky * g->dh, x = ox * g->sw - g->left + kx * g->dw;
  *in_x = y * g->w + x;
  *in_w = g->flip ? (g->kh - 1 - ky) * g->kw + g->kw - 1 - kx : ky * g->kw + kx;
  return y >= 0 && y < g->h && x >= 0 && x < g->w;
}

/* All products of one output element, the number `at` of y. Those with the padding count too: a 0
 * there times infinity is NaN. */
static void window(const sums *s, int64_t at, int64_t xs, int64_t ws, int64_t oy, int64_t ox) {
  const geometry *g = &s->g;
  const real y = s->y ? s->y[at] : 0;
  real sum = 0;
  int64_t in_x, in_w;
  for (int64_t c = 0; c < g->cg; c++)
    for (int64_t ky = 0; ky < g->kh; ky++)
      for (int64_t kx = 0; kx < g->kw; kx++) {
        const bool inside = meet(g, oy, ox, ky, kx, &in_x, &in_w);
        in_x += xs + c * g->h * g->w;
        in_w += ws + c * g->kh * g->kw;
        const real x = s->x && inside ? s->x[in_x] : 0, w = s->w ? s->w[in_w] : 0;
        sum += x * w;
        if (s->to_x && inside) s->to_x[in_x] += y * w;
        if (s->to_w) s->to_w[in_w] += y * x;
      }
  if (s->to_y) s->to_y[at] += sum;
}

static void all_windows(const sums *s) {
  const geometry *g = &s->g;
  int64_t at = 0;
  for (int64_t n = 0; n < g->n; n++)
    for (int64_t o = 0; o < g->o; o++) {
      const int64_t xs = (n * g->c + o / g->og * g->cg) * g->h * g->w,
                    ws = o * g->cg * g->kh * g->kw;
      for (int64_t oy = 0; oy < g->oh; oy++)
        for (int64_t ox = 0; ox < g->ow; ox++, at++) window(s, at, xs, ws, oy, ox);
    }
}

static void clear(const mw_array *a) {
  if (a->data) memset(a->data, 0, (size_t)a->count * sizeof(real));
}

/* The bias to every element of the output, or back. */
static void add_bias(const mw_spec *out, real *y, const real *b, const real *dy, real *db) {
  const int64_t plane = out->shape[2] * out->shape[3], planes = out->shape[0] * out->shape[1];
  for (int64_t p = 0; p < planes; p++)
    for (int64_t i = 0; i < plane; i++) {
      if (b) y[p * plane + i] += b[p % out->shape[1]];
      if (db) db[p % out->shape[1]] += dy[p * plane + i];
    }
}

static mw_status run(const mw_call *call, const roles *r) {
  const mw_spec *out = &call->out[0].spec;
  sums s = {.g = geometry_of(call, r)};
  bind(call, r->x, &s.x, &s.to_x);
  bind(call, r->w, &s.w, &s.to_w);
  bind(call, r->y, &s.y, &s.to_y);
  if (!call->backward) clear(&call->out[0]);
  for (int i = 0; i < call->n_in && call->backward; i++) clear(&call->din[i]);
  if (call->backward && !call->dout[0].data) return MW_OK;
  all_windows(&s);
  if (call->n_in <= BIAS) return MW_OK;
  if (call->backward) add_bias(out, NULL, NULL, call->dout[0].data, call->din[BIAS].data);
  else add_bias(out, call->out[0].data, call->in[BIAS].data, NULL, NULL);
  return MW_OK;
}

static mw_status run_conv(const mw_call *call) { return run(call, &of_conv); }

static mw_status run_transpose(const mw_call *call) { return run(call, &of_transpose); }

static mw_status run_weight(const mw_call *call) { return run(call, &of_weight); }

/* ---- gradients ---------------------------------------------------------------------------- */

static mw_tensor *make(mw_build *g, const char *op, mw_tensor *a, mw_tensor *b,
                       const mw_setting *own) {
  const conv_attrs *attrs = g->attrs;
  const mw_setting settings[] = {mw_list("stride", 2, attrs->stride.at),
                                 mw_list("padding", 4, attrs->padding.at),
                                 mw_list("dilation", 2, attrs->dilation.at),
                                 mw_int("groups", attrs->groups),
                                 mw_bool("flip", attrs->flip),
                                 own ? *own : (mw_setting){0}};
  return mw_make(g, op, 2, (mw_tensor *[]){a, b}, own ? 6 : 5, settings);
}

/* T's derivative in y. What was made with more than a stride of output_padding comes out larger. */
static mw_tensor *make_y(mw_build *g, mw_tensor *x, mw_tensor *w, const mw_tensor *like) {
  static const int64_t zeros[4] = {0};
  mw_tensor *y = make(g, "conv2d", x, w, NULL);
  if (!y) return NULL;
  const int64_t *got = g->host->tensor_spec(y)->shape, *want = g->host->tensor_spec(like)->shape;
  if (got[2] == want[2] && got[3] == want[3]) return y;
  const mw_setting part[] = {mw_list("start", 4, zeros), mw_list("count", 4, want)};
  return mw_make(g, "slice", 1, &y, 2, part);
}

/* T's derivative in x, with the rows and columns that no kernel reached. */
static mw_tensor *make_x(mw_build *g, mw_tensor *y, mw_tensor *w, const mw_tensor *like) {
  const mw_spec *x = g->host->tensor_spec(like);
  if (!y || !w) return NULL;
  int64_t rest[2];
  for (int s = 0; s < 2; s++)
    rest[s] = x->shape[2 + s] - input_side(g->host->tensor_spec(y),
                                           g->host->tensor_spec(w)->shape[2 + s], g->attrs, s);
  const mw_setting output_padding = mw_list("output_padding", 2, rest);
  return make(g, "conv_transpose2d", y, w, &output_padding);
}

/* T's derivative in w. */
static mw_tensor *make_w(mw_build *g, mw_tensor *x, mw_tensor *y, const mw_tensor *like) {
  const mw_setting kernel = mw_list("kernel", 2, g->host->tensor_spec(like)->shape + 2);
  return make(g, "conv2d_weight_gradient", x, y, &kernel);
}

static mw_tensor *make_b(mw_build *g) {
  const mw_setting axes = mw_list("axes", 3, (int64_t[]){0, 2, 3});
  return mw_make(g, "sum", 1, g->dout, 1, &axes);
}

static mw_status conv_gradient(mw_build *g) {
  mw_tensor *dy = g->dout[0];
  if (g->wanted[0]) g->din[0] = make_x(g, dy, g->in[1], g->in[0]);
  if (g->wanted[1]) g->din[1] = make_w(g, g->in[0], dy, g->in[1]);
  if (g->wanted[BIAS]) g->din[BIAS] = make_b(g);
  return MW_OK;
}

static mw_status transpose_gradient(mw_build *g) {
  mw_tensor *dy = g->dout[0];
  if (g->wanted[0]) g->din[0] = make_y(g, dy, g->in[1], g->in[0]);
  if (g->wanted[1]) g->din[1] = make_w(g, dy, g->in[0], g->in[1]);
  if (g->wanted[BIAS]) g->din[BIAS] = make_b(g);
  return MW_OK;
}

static mw_status weight_gradient(mw_build *g) {
  mw_tensor *dw = g->dout[0];
  if (g->wanted[0]) g->din[0] = make_x(g, g->in[1], dw, g->in[0]);
  if (g->wanted[1]) g->din[1] = make_y(g, g->in[0], dw, g->in[1]);
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define FIELD(name) offsetof(conv_attrs, name)
#define PAIR(field, text, usual, from, to)                                                       \
  {                                                                                              \
    .name = #field, .type = MW_INTS, .offset = FIELD(field), .initial = usual, .lengths = "1|2", \
    .least = from, .most = to, .doc = text                                                       \
  }
#define STRIDE PAIR(stride, "step of the kernel over the image: a number, or {h, w}", "1", 1, 1e6)
#define DILATION                                                                               \
  PAIR(dilation, "distance of neighbouring kernel elements in the image: a number, or {h, w}", \
       "1", 1, 1e6)
#define PADDING(text)                                                             \
  {                                                                               \
    .name = "padding", .type = MW_INTS, .offset = FIELD(padding), .initial = "0", \
    .lengths = "1|2|4", .least = 0, .most = 1e6, .doc = text                      \
  }
#define ZEROS PADDING("zeros around the image: a number, {h, w}, or {top, left, bottom, right}")
#define GROUPS                                                                                \
  {                                                                                           \
    .name = "groups", .type = MW_INT, .offset = FIELD(groups), .initial = "1", .least = 1,    \
    .most = 1e9, .doc = "the channels are cut into so many groups that do not see each other" \
  }
#define FLIP                                                                       \
  {                                                                                \
    .name = "flip", .type = MW_BOOLEAN, .offset = FIELD(flip), .initial = "false", \
    .doc = "turn the kernel by 180 degrees: the convolution of mathematics"        \
  }

static const mw_attr conv_schema[] = {STRIDE, ZEROS, DILATION, GROUPS, FLIP, {0}};

/* ---- what they take ----------------------------------------------------------------------- */

/* T has a multiply-add for each number of y and each weight that it is made of, wherever those of the
 * padding are zeros; so has its gradient in each of the two that a call multiplies. */
static double flops_of(const mw_call *call, int64_t y, const mw_spec *w) {
  const double products = 2.0 * (double)y * (double)(w->shape[1] * w->shape[2] * w->shape[3]);
  if (!call->backward) return products;
  double flops = 0;
  for (int i = 0; i < 2; i++) flops += call->din[i].data ? products : 0;
  return flops + (call->n_in > 2 && call->din[2].data ? (double)call->dout[0].count : 0);
}

static double conv_flops(const mw_call *call) {
  return flops_of(call, call->out[0].count, &call->in[1].spec);
}
static double transpose_flops(const mw_call *call) {
  return flops_of(call, call->in[0].count, &call->in[1].spec);
}
static double weight_flops(const mw_call *call) {
  return flops_of(call, call->in[1].count, &call->out[0].spec);
}

static const mw_op conv2d_op = {
    .name = "conv2d",
    .version = 1,
    .doc =
        "Cross-correlation of NCHW images with a bank of filters. "
        "y[n,o,i,j] = b[o] + sum over c, p, q of x[n, c, i*stride + p*dilation - top, "
        "j*stride + q*dilation - left] * w[o,c,p,q]; an output has (size + padding - "
        "(kernel - 1)*dilation - 1) / stride + 1 rows or columns, rounded down. The zeros of the "
        "padding count: times an infinite weight they give NaN.",
    .example =
        "mw.conv2d(mw.randn{2,4,6,5}, mw.randn{4,2,3,3}, mw.randn{4}, "
        "{stride=2, padding=1, groups=2})",
    .cases =
        "mw.conv2d(mw.randn{1,1,4,5}, mw.randn{2,1,3,2})\n"
        "mw.conv2d(mw.randn{2,2,3,4}, mw.randn{3,2,1,1}, mw.randn{3})\n"
        "mw.conv2d(mw.randn{2,2,3,4}, mw.randn{3,2,1,1}, mw.randn{3}, {stride={1,2}})\n"
        "mw.conv2d(mw.randn{1,2,7,6}, mw.randn{1,2,2,2}, mw.randn{1}, {stride={3,2}})\n"
        "mw.conv2d(mw.randn{1,3,5,4}, mw.randn{3,1,3,3}, {padding={1,0}, groups=3})\n"
        "mw.conv2d(mw.randn{1,2,6,5}, mw.randn{2,1,2,3}, mw.randn{2}, "
        "{padding={2,0,1,3}, dilation={3,2}, groups=2, stride={2,1}})\n"
        "mw.conv2d(mw.randn{1,1,2,2}, mw.randn{1,1,3,4}, mw.randn{1}, {padding={1,2}})\n"
        "mw.conv2d(mw.randn{1,2,4,4}, mw.randn{2,2,3,2}, {flip=true, padding=1, stride=2})\n"
        "mw.conv2d(mw.randn{0,2,3,3}, mw.randn{2,2,2,2}, mw.randn{2})\n"
        "mw.conv2d(mw.randn{2,0,3,3}, mw.randn{2,0,2,2}, mw.randn{2})\n"
        "mw.conv2d(mw.randn{1,1,0,3}, mw.randn{2,1,2,2}, mw.randn{2}, {padding=1})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"},
               {"w", .doc = "filters [out, channels/groups, kernel height, kernel width]"},
               {"b", MW_OPTIONAL, "a number for each output channel [out]"}},
    .outputs = {{"y", .doc = "[batch, out, output height, output width]"}},
    .attrs = conv_schema,
    .attrs_size = sizeof(conv_attrs),
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_IN(1),
    .batched = MW_IN(0),
    .infer = conv_infer,
    .forward = run_conv,
    .backward = run_conv,
    .gradient = conv_gradient,
    .flops = conv_flops,
};

static const mw_attr transpose_schema[] = {
    PAIR(stride, "distance of the places where neighbouring elements go: a number, or {h, w}", "1",
         1, 1e6),
    PADDING("cut off around the result: a number, {h, w}, or {top, left, bottom, right}"),
    PAIR(output_padding, "rows and columns added at the bottom and the right: a number, or {h, w}",
         "0", 0, 1e9),
    DILATION,
    GROUPS,
    FLIP,
    {0}};

static const mw_op conv_transpose2d_op = {
    .name = "conv_transpose2d",
    .version = 1,
    .doc =
        "Transposed convolution of NCHW images, which is the gradient of conv2d in its images: "
        "each "
        "element of x adds a copy of the kernel, times itself, to the result. "
        "y[n, c, i*stride + p*dilation - top, j*stride + q*dilation - left] = b[c] + the sum over "
        "o, i, j, p, q that meet there of x[n,o,i,j] * w[o,c,p,q]; y has (size - 1)*stride + "
        "(kernel - 1)*dilation + 1 - padding + output_padding rows or columns.",
    .example =
        "mw.conv_transpose2d(mw.randn{2,4,3,2}, mw.randn{4,1,3,3}, mw.randn{2}, "
        "{stride=2, padding=1, output_padding=1, groups=2})",
    .cases =
        "mw.conv_transpose2d(mw.randn{1,1,3,2}, mw.randn{1,2,2,3})\n"
        "mw.conv_transpose2d(mw.randn{2,3,2,3}, mw.randn{3,2,1,1}, mw.randn{2})\n"
        "mw.conv_transpose2d(mw.randn{1,2,2,3}, mw.randn{2,1,1,1}, mw.randn{1}, "
        "{stride={2,3}, output_padding={1,2}})\n"
        "mw.conv_transpose2d(mw.randn{1,2,2,2}, mw.randn{2,1,2,2}, mw.randn{2}, "
        "{stride={3,1}, padding={1,0,0,2}, dilation={1,2}, groups=2})\n"
        "mw.conv_transpose2d(mw.randn{1,3,3,2}, mw.randn{3,1,3,3}, {padding={1,0}, groups=3})\n"
        "mw.conv_transpose2d(mw.randn{1,2,2,2}, mw.randn{2,2,3,2}, {flip=true, stride=2})\n"
        "mw.conv_transpose2d(mw.randn{1,1,2,2}, mw.randn{1,1,2,2}, {output_padding={2,1}})\n"
        "mw.conv_transpose2d(mw.randn{0,2,3,3}, mw.randn{2,1,2,2}, mw.randn{1})\n"
        "mw.conv_transpose2d(mw.randn{1,0,2,2}, mw.randn{0,2,2,2}, mw.randn{2})\n"
        "mw.conv_transpose2d(mw.randn{1,1,1,1}, mw.randn{1,1,2,2}, {padding=1})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"},
               {"w", .doc = "filters [channels, out/groups, kernel height, kernel width]"},
               {"b", MW_OPTIONAL, "a number for each output channel [out]"}},
    .outputs = {{"y", .doc = "[batch, out, output height, output width]"}},
    .attrs = transpose_schema,
    .attrs_size = sizeof(conv_attrs),
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_IN(1),
    .batched = MW_IN(0),
    .infer = transpose_infer,
    .forward = run_transpose,
    .backward = run_transpose,
    .gradient = transpose_gradient,
    .flops = transpose_flops,
};

static const mw_attr weight_schema[] = {
    PAIR(kernel, "size of the filters: a number, or {h, w}", NULL, 1, 1 << 28),
    STRIDE,
    ZEROS,
    DILATION,
    GROUPS,
    FLIP,
    {0}};

static const mw_op conv2d_weight_gradient_op = {
    .name = "conv2d_weight_gradient",
    .version = 1,
    .doc =
        "The gradient of conv2d in its filters: how images x and the gradient dy of what conv2d "
        "made of them correlate. dw[o,c,p,q] = sum over n, i, j of dy[n,o,i,j] * "
        "x[n, c, i*stride + p*dilation - top, j*stride + q*dilation - left].",
    .example =
        "mw.conv2d_weight_gradient(mw.randn{2,4,6,5}, mw.randn{2,4,3,3}, "
        "{kernel=3, stride=2, padding=1, groups=2})",
    .cases =
        "mw.conv2d_weight_gradient(mw.randn{1,1,4,5}, mw.randn{1,2,2,4}, {kernel={3,2}})\n"
        "mw.conv2d_weight_gradient(mw.randn{2,2,3,4}, mw.randn{2,3,3,4}, {kernel=1})\n"
        "mw.conv2d_weight_gradient(mw.randn{1,2,6,5}, mw.randn{1,2,3,3}, "
        "{kernel={2,3}, padding={2,0,1,2}, dilation={3,2}, groups=2, stride={2,1}, flip=true})\n"
        "mw.conv2d_weight_gradient(mw.randn{1,2,7,6}, mw.randn{1,1,2,2}, {kernel=2, stride=2})\n"
        "mw.conv2d_weight_gradient(mw.randn{0,2,3,3}, mw.randn{0,2,2,2}, {kernel=2})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"},
               {"dy", .doc = "[batch, out, output height, output width]; rows and columns that are "
                             "left out at the bottom and the right count as zeros"}},
    .outputs = {{"dw", .doc = "[out, channels/groups, kernel height, kernel width]"}},
    .attrs = weight_schema,
    .attrs_size = sizeof(conv_attrs),
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_IN(1),
    .infer = weight_infer,
    .forward = run_weight,
    .backward = run_weight,
    .gradient = weight_gradient,
    .flops = weight_flops,
};

MW_PLUGIN(&conv2d_op, &conv_transpose2d_op, &conv2d_weight_gradient_op)
