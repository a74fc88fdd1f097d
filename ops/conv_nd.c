/* conv_nd.c: convolution of sequences and of volumes, made of the one of images. */
/* real: f32 */
#include "../graph/moonwalk.h"

typedef struct conv_attrs {
  mw_ints stride, padding, dilation, output_padding;
  int64_t groups;
  bool flip;
} conv_attrs;

/* What the ops of this file are to the checks that they share. */
typedef struct kind {
  int axes; /* that the kernel moves along */
  const char *names[3], *x, *w;
  bool transposed; /* w is [in, out/groups, ..] */
} kind;

/* ---- shapes ------------------------------------------------------------------------------- */

/* Brings the lists to one number for each axis; padding to those before, then those after. */
static void complete(conv_attrs *a, int axes) {
  mw_ints_fill(&a->stride, axes);
  mw_ints_fill(&a->dilation, axes);
  mw_ints_fill_sides(&a->padding, axes);
}

static mw_status check_ranks(const mw_infer *it, const kind *k) {
  char text[MW_SPEC_TEXT];
  const mw_spec *x = &it->in[0];
  const int rank = k->axes + 2;
  it->host->spec_text(x, text);
  if (x->rank == 2 && rank == 3)
    return mw_fail(it,
                   "x is %s, expected rank 3 %s: x:reshape{1, %lld, %lld} makes it a batch of one",
                   text, k->x, (long long)x->shape[0], (long long)x->shape[1]);
  if (x->rank != rank) return mw_fail(it, "x is %s, expected rank %d %s", text, rank, k->x);
  if (it->in[1].rank != rank)
    return mw_fail(it, "w is %s, expected rank %d %s", it->host->spec_text(&it->in[1], text), rank,
                   k->w);
  if (mw_expect_float(it, 0) || mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  return mw_present(&it->in[2]) ? mw_expect_same_dtype(it, 2, 0) : MW_OK;
}

static mw_status check_channels(const mw_infer *it, const kind *k) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  const mw_spec *x = &it->in[0], *w = &it->in[1], *bias = &it->in[2];
  const int64_t c = x->shape[1], groups = ((const conv_attrs *)it->attrs)->groups;
  mw_spec want = *w;
  want.shape[k->transposed ? 0 : 1] = k->transposed ? c : c / groups;
  if (c % groups != 0)
    return mw_fail(it, "x is %s: its %lld channels cannot be cut into %lld groups",
                   it->host->spec_text(x, a), (long long)c, (long long)groups);
  if (!k->transposed && w->shape[0] % groups != 0)
    return mw_fail(it, "w is %s: its %lld output channels cannot be cut into %lld groups",
                   it->host->spec_text(w, a), (long long)w->shape[0], (long long)groups);
  if (w->shape[0] != want.shape[0] || w->shape[1] != want.shape[1])
    return mw_fail(it, "w is %s, expected %s: x has %lld channels in %lld group%s",
                   it->host->spec_text(w, a), it->host->spec_text(&want, b), (long long)c,
                   (long long)groups, groups == 1 ? "" : "s");
  int64_t o = w->shape[0];
  if (k->transposed && __builtin_mul_overflow(w->shape[1], groups, &o))
    return mw_fail(it, "w is %s: too many output channels", it->host->spec_text(w, a));
  if (mw_present(bias) && (bias->rank != 1 || bias->shape[0] != o))
    return mw_fail(it, "b is %s, expected [%lld]: one number for each output channel of w %s",
                   it->host->spec_text(bias, a), (long long)o, it->host->spec_text(w, b));
  return MW_OK;
}

/* Along one axis: x with its padding must have room for the dilated kernel. */
static mw_status check_room(const mw_infer *it, const kind *k, int axis) {
  char text[MW_SPEC_TEXT];
  const conv_attrs *a = it->attrs;
  const int64_t size = it->in[0].shape[2 + axis], kernel = it->in[1].shape[2 + axis];
  const int64_t padded = size + a->padding.at[axis] + a->padding.at[k->axes + axis];
  if (size > MW_MAX_SIDE || kernel > MW_MAX_SIDE)
    return mw_fail(it, "%s is %s, expected at most 2^28 along each axis",
                   size > MW_MAX_SIDE ? "x" : "w",
                   it->host->spec_text(&it->in[size > MW_MAX_SIDE ? 0 : 1], text));
  if (kernel < 1)
    return mw_fail(it, "w is %s: its kernel is empty", it->host->spec_text(&it->in[1], text));
  const int64_t extent = (kernel - 1) * a->dilation.at[axis] + 1;
  if (k->transposed || extent <= padded) return MW_OK;
  return mw_fail(it,
                 "the kernel's %s %lld%s is larger than the padded x's %lld: "
                 "pad by %lld more, or take a smaller kernel",
                 k->names[axis], (long long)extent, a->dilation.at[axis] > 1 ? " (dilated)" : "",
                 (long long)padded, (long long)(extent - padded));
}

static mw_status check(mw_infer *it, const kind *k) {
  complete(it->attrs, k->axes);
  if (check_ranks(it, k) || check_channels(it, k)) return MW_FAILED;
  for (int axis = 0; axis < k->axes; axis++)
    if (check_room(it, k, axis)) return MW_FAILED;
  return MW_OK;
}

static mw_status conv1d_infer(mw_infer *it) {
  return check(it, &(kind){.axes = 1,
                           .names = {"length"},
                           .x = "[batch, channels, length]",
                           .w = "[out, in/groups, kernel length]"});
}

/* What is made on the way has axes that are products of these. */
static mw_status conv3d_infer(mw_infer *it) {
  if (check(it, &(kind){.axes = 3,
                        .names = {"depth", "height", "width"},
                        .x = "[batch, channels, depth, height, width]",
                        .w = "[out, in/groups, kernel depth, height, width]"}))
    return MW_FAILED;
  const int64_t *x = it->in[0].shape, *pad = ((const conv_attrs *)it->attrs)->padding.at;
  int64_t product;
  if (__builtin_mul_overflow(x[0], x[2] + pad[0] + pad[3], &product) ||
      __builtin_mul_overflow(x[1], it->in[1].shape[2], &product))
    return mw_fail(it, "the padded volumes are too large for any memory");
  return MW_OK;
}

/* What padding cuts off is checked here too, since conv_transpose2d would speak of a width. */
static mw_status transpose_infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  const conv_attrs *a = it->attrs;
  if (check(it, &(kind){.axes = 1,
                        .names = {"length"},
                        .x = "[batch, channels, length]",
                        .w = "[in, out/groups, kernel length]",
                        .transposed = true}))
    return MW_FAILED;
  const int64_t size = it->in[0].shape[2], cut = a->padding.at[0] + a->padding.at[1];
  const int64_t whole = (size - 1) * a->stride.at[0] +
                        (it->in[1].shape[2] - 1) * a->dilation.at[0] + 1 + a->output_padding.at[0];
  if (size < 1)
    return mw_fail(it, "x is %s: its sequences are empty", it->host->spec_text(&it->in[0], text));
  if (whole < cut)
    return mw_fail(it,
                   "padding %lld + %lld cuts off more than the length %lld that there is: pad by "
                   "%lld less",
                   (long long)a->padding.at[0], (long long)a->padding.at[1], (long long)whole,
                   (long long)(cut - whole));
  return MW_OK;
}

/* ---- compositions ------------------------------------------------------------------------- */

static mw_tensor *reshape(mw_build *b, mw_tensor *x, int rank, const int64_t *sizes) {
  return mw_make_shaped(b, "reshape", x, rank, sizes);
}

static const int64_t *shape_of(const mw_build *b, const mw_tensor *t) {
  return b->host->tensor_spec(t)->shape;
}

/* A sequence [n, c, l] is an image [n, c, 1, l]. */
static mw_status compose_flat(mw_build *b, const char *op) {
  const conv_attrs *a = b->attrs;
  const int64_t *x = shape_of(b, b->in[0]), *w = shape_of(b, b->in[1]);
  mw_tensor *in[] = {reshape(b, b->in[0], 4, (int64_t[]){x[0], x[1], 1, x[2]}),
                     reshape(b, b->in[1], 4, (int64_t[]){w[0], w[1], 1, w[2]}), b->in[2]};
  const mw_setting settings[] = {
      mw_list("stride", 2, (int64_t[]){1, a->stride.at[0]}),
      mw_list("padding", 4, (int64_t[]){0, a->padding.at[0], 0, a->padding.at[1]}),
      mw_list("dilation", 2, (int64_t[]){1, a->dilation.at[0]}),
      mw_int("groups", a->groups),
      mw_bool("flip", a->flip),
      mw_list("output_padding", 2, (int64_t[]){0, a->output_padding.at[0]}),
  };
  mw_tensor *y = mw_make(b, op, 3, in, a->output_padding.count ? 6 : 5, settings);
  if (!y) return MW_FAILED;
  const int64_t *made = shape_of(b, y);
  b->out[0] = reshape(b, y, 3, (int64_t[]){made[0], made[1], made[3]});
  return MW_OK;
}

static mw_status conv1d_compose(mw_build *b) { return compose_flat(b, "conv2d"); }

static mw_status transpose_compose(mw_build *b) { return compose_flat(b, "conv_transpose2d"); }

static int64_t output_depth(const mw_build *b) {
  const conv_attrs *a = b->attrs;
  const int64_t padded = shape_of(b, b->in[0])[2] + a->padding.at[0] + a->padding.at[3];
  return (padded - (shape_of(b, b->in[1])[2] - 1) * a->dilation.at[0] - 1) / a->stride.at[0] + 1;
}

/* The slices under the kernel at each depth become channels, [n od, c kd, h, w], in the order in
 * which w [o, cg, kd, kh, kw] has them: then it is a convolution of images. */
static mw_tensor *gather_slices(mw_build *b, int64_t kernel) {
  const conv_attrs *a = b->attrs;
  const int64_t *x = shape_of(b, b->in[0]), *pad = a->padding.at;
  const int64_t n = x[0], c = x[1], h = x[3], w = x[4];
  const int64_t od = output_depth(b);
  if (kernel == 1 && od == x[2] && pad[0] == 0) { /* stride 1: each slice is an image */
    const mw_setting perm = mw_list("perm", 5, (int64_t[]){0, 2, 1, 3, 4});
    mw_tensor *slices = mw_make(b, "transpose", 1, b->in, 1, &perm);
    return reshape(b, slices, 4, (int64_t[]){n * od, c, h, w});
  }
  if (h * w == 0) /* no slice has a column; one nothing is as good as another */
    return reshape(b, b->in[0], 4, (int64_t[]){n * od, c * kernel, h, w});
  mw_tensor *planes = reshape(b, b->in[0], 4, (int64_t[]){n, c, x[2], h * w});
  const mw_setting settings[] = {
      mw_list("kernel", 2, (int64_t[]){kernel, 1}),
      mw_list("stride", 2, (int64_t[]){a->stride.at[0], 1}),
      mw_list("padding", 4, (int64_t[]){pad[0], 0, pad[3], 0}),
      mw_list("dilation", 2, (int64_t[]){a->dilation.at[0], 1}),
  };
  mw_tensor *windows = mw_make(b, "unfold", 1, &planes, 4, settings);
  const mw_setting perm = mw_list("perm", 4, (int64_t[]){0, 2, 1, 3});
  windows = reshape(b, windows, 4, (int64_t[]){n, c * kernel, od, h * w});
  windows = mw_make(b, "transpose", 1, &windows, 1, &perm);
  return reshape(b, windows, 4, (int64_t[]){n * od, c * kernel, h, w});
}

static mw_status conv3d_compose(mw_build *b) {
  const conv_attrs *a = b->attrs;
  const int64_t *x = shape_of(b, b->in[0]), *w = shape_of(b, b->in[1]), *pad = a->padding.at;
  mw_tensor *in[] = {gather_slices(b, w[2]),
                     reshape(b, b->in[1], 4, (int64_t[]){w[0], w[1] * w[2], w[3], w[4]}), b->in[2]};
  const mw_setting settings[] = {
      mw_list("stride", 2, a->stride.at + 1),
      mw_list("padding", 4, (int64_t[]){pad[1], pad[2], pad[4], pad[5]}),
      mw_list("dilation", 2, a->dilation.at + 1),
      mw_int("groups", a->groups),
  };
  mw_tensor *y = mw_make(b, "conv2d", 3, in, 4, settings);
  if (!y) return MW_FAILED;
  const int64_t *made = shape_of(b, y);
  const int64_t od = output_depth(b);
  const mw_setting perm = mw_list("perm", 5, (int64_t[]){0, 2, 1, 3, 4});
  y = reshape(b, y, 5, (int64_t[]){x[0], od, made[1], made[2], made[3]});
  b->out[0] = mw_make(b, "transpose", 1, &y, 1, &perm);
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define FIELD(name) offsetof(conv_attrs, name)
#define LIST(field, text, usual, from, to, count)                                                \
  {                                                                                              \
    .name = #field, .type = MW_INTS, .offset = FIELD(field), .initial = usual, .lengths = count, \
    .least = from, .most = to, .doc = text                                                       \
  }
#define GROUPS                                                                                \
  {                                                                                           \
    .name = "groups", .type = MW_INT, .offset = FIELD(groups), .initial = "1", .least = 1,    \
    .most = 1e9, .doc = "the channels are cut into so many groups that do not see each other" \
  }
#define FLIP                                                                       \
  {                                                                                \
    .name = "flip", .type = MW_BOOLEAN, .offset = FIELD(flip), .initial = "false", \
    .doc = "turn the kernel round: the convolution of mathematics"                 \
  }

static const mw_attr conv1d_schema[] = {
    LIST(stride, "step of the kernel along the sequence", "1", 1, 1e6, "1"),
    LIST(padding, "zeros around the sequence: a number, or {left, right}", "0", 0, 1e6, "1|2"),
    LIST(dilation, "distance of neighbouring kernel elements", "1", 1, 1e6, "1"),
    GROUPS,
    FLIP,
    {0}};

static const mw_op conv1d_op = {
    .name = "conv1d",
    .version = 1,
    .doc =
        "Cross-correlation of sequences with a bank of filters. y[n,o,i] = b[o] + sum over c, p of "
        "x[n, c, i*stride + p*dilation - left] * w[o,c,p]; an output has (length + padding - "
        "(kernel - 1)*dilation - 1) / stride + 1 elements, rounded down.",
    .example =
        "mw.conv1d(mw.randn{2,4,7}, mw.randn{4,2,3}, mw.randn{4}, "
        "{stride=2, padding=1, groups=2})",
    .cases =
        "mw.conv1d(mw.randn{1,1,5}, mw.randn{2,1,1})\n"
        "mw.conv1d(mw.randn{3,2,6}, mw.randn{1,2,2}, {dilation=3, padding={0,2}})\n"
        "mw.conv1d(mw.randn{1,3,4}, mw.randn{3,1,5}, {padding=2, groups=3, flip=true})\n"
        "mw.conv1d(mw.randn{1,2,8}, mw.randn{2,2,2}, mw.randn{2}, {stride=3})\n"
        "mw.conv1d(mw.randn{0,2,4}, mw.randn{3,2,2}, mw.randn{3})",
    .inputs = {{"x", .doc = "sequences [batch, channels, length]"},
               {"w", .doc = "filters [out, channels/groups, kernel length]"},
               {"b", MW_OPTIONAL, "a number for each output channel [out]"}},
    .outputs = {{"y", .doc = "[batch, out, output length]"}},
    .attrs = conv1d_schema,
    .attrs_size = sizeof(conv_attrs),
    .infer = conv1d_infer,
    .compose = conv1d_compose,
};

static const mw_attr transpose_schema[] = {
    LIST(stride, "distance of the places where neighbouring elements go", "1", 1, 1e6, "1"),
    LIST(padding, "cut off around the result: a number, or {left, right}", "0", 0, 1e6, "1|2"),
    LIST(output_padding, "elements added on the right", "0", 0, 1e9, "1"),
    LIST(dilation, "distance of neighbouring kernel elements", "1", 1, 1e6, "1"),
    GROUPS,
    FLIP,
    {0}};

static const mw_op conv_transpose1d_op = {
    .name = "conv_transpose1d",
    .version = 1,
    .doc =
        "Transposed convolution of sequences, which is the gradient of conv1d in its sequences. "
        "y[n, c, i*stride + p*dilation - left] = b[c] + the sum over o, i, p that meet there of "
        "x[n,o,i] * w[o,c,p]; y has (length - 1)*stride + (kernel - 1)*dilation + 1 - padding + "
        "output_padding elements.",
    .example =
        "mw.conv_transpose1d(mw.randn{2,4,3}, mw.randn{4,1,3}, mw.randn{2}, "
        "{stride=2, padding=1, output_padding=1, groups=2})",
    .cases =
        "mw.conv_transpose1d(mw.randn{1,1,4}, mw.randn{1,2,1})\n"
        "mw.conv_transpose1d(mw.randn{1,2,3}, mw.randn{2,2,2}, mw.randn{2}, "
        "{dilation=3, padding={0,2}, flip=true})\n"
        "mw.conv_transpose1d(mw.randn{0,2,4}, mw.randn{2,1,2}, {stride=3})",
    .inputs = {{"x", .doc = "sequences [batch, channels, length]"},
               {"w", .doc = "filters [channels, out/groups, kernel length]"},
               {"b", MW_OPTIONAL, "a number for each output channel [out]"}},
    .outputs = {{"y", .doc = "[batch, out, output length]"}},
    .attrs = transpose_schema,
    .attrs_size = sizeof(conv_attrs),
    .infer = transpose_infer,
    .compose = transpose_compose,
};

static const mw_attr conv3d_schema[] = {
    LIST(stride, "step of the kernel: a number, or {d, h, w}", "1", 1, 1e6, "1|3"),
    LIST(padding,
         "zeros around the volume: a number, {d, h, w}, or {front, top, left, back, bottom, right}",
         "0", 0, 1e6, "1|3|6"),
    LIST(dilation, "distance of neighbouring kernel elements: a number, or {d, h, w}", "1", 1, 1e6,
         "1|3"),
    GROUPS,
    {0}};

static const mw_op conv3d_op = {
    .name = "conv3d",
    .version = 1,
    .doc =
        "Cross-correlation of volumes with a bank of filters. y[n,o,i,j,k] = b[o] + sum over c, p, "
        "q, r of x[n, c, i*stride + p*dilation - front, j*stride + q*dilation - top, k*stride + "
        "r*dilation - left] * w[o,c,p,q,r]; an output has (size + padding - (kernel - 1)*dilation "
        "- 1) / stride + 1 elements along each axis, rounded down.",
    .example =
        "mw.conv3d(mw.randn{1,2,4,3,3}, mw.randn{2,1,2,2,3}, mw.randn{2}, "
        "{stride=2, padding=1, groups=2})",
    .cases =
        "mw.conv3d(mw.randn{2,2,2,2,3}, mw.randn{3,2,1,1,1}, mw.randn{3})\n"
        "mw.conv3d(mw.randn{1,1,3,2,3}, mw.randn{1,1,2,1,2}, {stride={2,1,1}})\n"
        "mw.conv3d(mw.randn{1,2,4,3,2}, mw.randn{1,2,2,2,1}, mw.randn{1}, "
        "{dilation={3,1,2}, padding={1,0,1}})\n"
        "mw.conv3d(mw.randn{1,1,2,3,2}, mw.randn{2,1,3,2,2}, "
        "{padding={1,0,0,0,1,1}, stride={1,2,1}})\n"
        "mw.conv3d(mw.randn{0,1,2,2,2}, mw.randn{2,1,2,1,1}, mw.randn{2})\n"
        "mw.conv3d(mw.randn{1,1,3,0,1}, mw.randn{1,1,2,1,1}, mw.randn{1}, {padding={0,1,0}})",
    .inputs = {{"x", .doc = "volumes [batch, channels, depth, height, width]"},
               {"w", .doc = "filters [out, channels/groups, kernel depth, height, width]"},
               {"b", MW_OPTIONAL, "a number for each output channel [out]"}},
    .outputs = {{"y", .doc = "[batch, out, output depth, height, width]"}},
    .attrs = conv3d_schema,
    .attrs_size = sizeof(conv_attrs),
    .infer = conv3d_infer,
    .compose = conv3d_compose,
};

MW_PLUGIN(&conv1d_op, &conv_transpose1d_op, &conv3d_op)
