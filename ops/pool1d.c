/* pool1d.c: pooling made of other ops: along one axis, and over all axes after the channels'. */
/* real: f32 */
#include "../graph/moonwalk.h"

/* ---- maxpool1d and meanpool1d ------------------------------------------------------------- */

/* maxpool1d has no count_include_pad and meanpool1d no dilation. The lists have one entry. */
typedef struct pool1d_attrs {
  mw_ints kernel, stride, padding, dilation;
  bool ceil_mode, count_include_pad;
} pool1d_attrs;

#define SIZE(field, value, low, text) \
  MW_ATTR(pool1d_attrs, field, MW_INTS, value, text, .lengths = "1", .least = low, .most = 1e6)
#define FLAG(field, value, text) MW_ATTR(pool1d_attrs, field, MW_BOOLEAN, value, text)
#define KERNEL SIZE(kernel, NULL, 1, "size of the window")
#define STRIDE SIZE(stride, "", 1, "step of the window; the kernel's size if left out")
#define CEIL_MODE \
  FLAG(ceil_mode, "false", "round the output's size up: a last window may hang over the end")

static const mw_attr maxpool1d_schema[] = {
    KERNEL,
    STRIDE,
    SIZE(padding, "0", 0, "cells at both ends, smaller than all others; at most half the kernel"),
    SIZE(dilation, "1", 1, "distance of neighbouring cells"),
    CEIL_MODE,
    {0}};
static const mw_attr meanpool1d_schema[] = {
    KERNEL,
    STRIDE,
    SIZE(padding, "0", 0, "zeros at both ends; at most half the kernel"),
    CEIL_MODE,
    FLAG(count_include_pad, "true", "divide by the number of all cells, those of the padding too"),
    {0}};

/* What the two-dimensional op would say of images is said of sequences. */
static mw_status pool1d_infer(mw_infer *it) {
  pool1d_attrs *a = it->attrs;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  it->host->spec_text(x, text);
  if (mw_expect_float(it, 0)) return MW_FAILED;
  if (a->stride.count == 0) a->stride = a->kernel;
  if (a->dilation.count == 0) a->dilation = (mw_ints){.count = 1, .at = {1}};
  if (x->rank != 3) return mw_fail(it, "x is %s, expected rank 3 [batch, channels, length]", text);
  const long long length = (long long)x->shape[2], kernel = (long long)a->kernel.at[0];
  const long long padding = (long long)a->padding.at[0], dilation = (long long)a->dilation.at[0];
  if (length == 0) return mw_fail(it, "x is %s: its sequences are empty", text);
  if (length > MW_MAX_SIDE)
    return mw_fail(it, "x is %s, expected sequences of at most 2^28 numbers", text);
  if (2 * padding > kernel)
    return mw_fail(it, "padding is %lld, expected at most half the kernel (%lld)", padding,
                   kernel / 2);
  if ((kernel - 1) * dilation + 1 > length + 2 * padding)
    return mw_fail(it,
                   "the window's %lld%s is larger than the padded length %lld: take a kernel that "
                   "fits",
                   (kernel - 1) * dilation + 1, dilation > 1 ? " (dilated)" : "",
                   length + 2 * padding);
  return MW_OK;
}

/* Sequences as images of height 1. `more` is the attribute that only one of the two has. */
static mw_status pool1d_compose(mw_build *b, const char *op, mw_setting more) {
  const pool1d_attrs *a = b->attrs;
  const int64_t *n = b->host->tensor_spec(b->in[0])->shape;
  const mw_setting settings[] = {mw_list("kernel", 2, (int64_t[]){1, a->kernel.at[0]}),
                                 mw_list("stride", 2, (int64_t[]){1, a->stride.at[0]}),
                                 mw_list("padding", 2, (int64_t[]){0, a->padding.at[0]}),
                                 mw_bool("ceil_mode", a->ceil_mode), more};
  mw_tensor *x = mw_make_shaped(b, "reshape", b->in[0], 4, (int64_t[]){n[0], n[1], 1, n[2]});
  mw_tensor *y = mw_make(b, op, 1, &x, 5, settings);
  if (!y) return MW_FAILED;
  const int64_t length = b->host->tensor_spec(y)->shape[3];
  b->out[0] = mw_make_shaped(b, "reshape", y, 3, (int64_t[]){n[0], n[1], length});
  return MW_OK;
}

static mw_status maxpool1d_compose(mw_build *b) {
  const pool1d_attrs *a = b->attrs;
  return pool1d_compose(b, "maxpool", mw_list("dilation", 2, (int64_t[]){1, a->dilation.at[0]}));
}

static mw_status meanpool1d_compose(mw_build *b) {
  const pool1d_attrs *a = b->attrs;
  return pool1d_compose(b, "meanpool", mw_bool("count_include_pad", a->count_include_pad));
}

#define POOL1D(title)                                                                        \
  .name = #title, .version = 1, .attrs = title##_schema, .attrs_size = sizeof(pool1d_attrs), \
  .infer = pool1d_infer, .compose = title##_compose,                                         \
  .inputs = {{"x", .doc = "[batch, channels, length]"}},                                     \
  .outputs = {{"y", .doc = "[batch, channels, output length]"}}

static const mw_op maxpool1d_op = {
    POOL1D(maxpool1d),
    .doc =
        "The largest value of each window of a [batch, channels, length] tensor. A NaN in a window "
        "is its largest value; of equal ones the first gets the gradient.",
    .example = "mw.maxpool1d(mw.randn{2,3,7}, {kernel=3, stride=2})",
    .cases =
        "mw.maxpool1d(mw.randn{1,2,8}, {kernel=2, stride=3, padding=1, dilation=2, "
        "ceil_mode=true})\n"
        "mw.maxpool1d(mw.randn{2,1,1}, {kernel=1})\n"
        "mw.maxpool1d(mw.randn{0,2,4}, {kernel=2})",
};

static const mw_op meanpool1d_op = {
    POOL1D(meanpool1d),
    .doc = "The mean of each window of a [batch, channels, length] tensor.",
    .example = "mw.meanpool1d(mw.randn{2,3,7}, {kernel=3, stride=2})",
    .cases =
        "mw.meanpool1d(mw.randn{1,2,8}, {kernel=3, stride=2, padding=1, ceil_mode=true})\n"
        "mw.meanpool1d(mw.randn{1,2,8}, {kernel=3, padding=1, count_include_pad=false})\n"
        "mw.meanpool1d(mw.randn{2,1,1}, {kernel=1})\n"
        "mw.meanpool1d(mw.randn{0,2,4}, {kernel=2})",
};

/* ---- global_maxpool and global_meanpool --------------------------------------------------- */

typedef struct global_attrs {
  bool keepdims;
} global_attrs;

static const mw_attr global_schema[] = {{.name = "keepdims",
                                         .type = MW_BOOLEAN,
                                         .offset = offsetof(global_attrs, keepdims),
                                         .initial = "false",
                                         .doc = "whether the axes stay with size 1"},
                                        {0}};

static mw_status global_maxpool_infer(mw_infer *it) {
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  it->host->spec_text(x, text);
  if (x->rank < 3)
    return mw_fail(it, "x is %s, expected [batch, channels, ..] with an axis to pool", text);
  for (int k = 2; k < x->rank; k++)
    if (x->shape[k] == 0) return mw_fail(it, "x is %s: there is nothing to pool", text);
  return MW_OK;
}

static mw_status global_meanpool_infer(mw_infer *it) {
  return mw_expect_float(it, 0) ? MW_FAILED : global_maxpool_infer(it);
}

static mw_status global_compose(mw_build *b, const char *op) {
  const global_attrs *attrs = b->attrs;
  mw_ints axes = {0};
  for (int k = 2; k < b->host->tensor_spec(b->in[0])->rank; k++) axes.at[axes.count++] = k;
  const mw_setting settings[] = {mw_list("axes", (int)axes.count, axes.at),
                                 mw_bool("keepdims", attrs->keepdims)};
  b->out[0] = mw_make(b, op, 1, b->in, 2, settings);
  return MW_OK;
}

static mw_status global_maxpool_compose(mw_build *b) { return global_compose(b, "max"); }
static mw_status global_meanpool_compose(mw_build *b) { return global_compose(b, "mean"); }

#define GLOBAL(title)                                                                        \
  .name = #title, .version = 1, .attrs = global_schema, .attrs_size = sizeof(global_attrs),  \
  .infer = title##_infer, .compose = title##_compose,                                        \
  .inputs = {{"x", .doc = "[batch, channels, ..]"}},                                         \
  .outputs = {{"y", .doc = "[batch, channels], or [batch, channels, 1, ..] with keepdims"}}, \
  .example = "mw." #title "(mw.randn{2,3,4,5})",                                             \
  .cases = "mw." #title                                                                      \
           "(mw.randn{2,3,5}, {keepdims=true})\n"                                            \
           "mw." #title                                                                      \
           "(mw.randn{1,2,1,3,2})\n"                                                         \
           "mw." #title "(mw.randn{0,2,4})"

static const mw_op global_maxpool_op = {
    GLOBAL(global_maxpool),
    .doc =
        "The largest value of each channel, over all axes after it. NaN counts as largest; the "
        "first of equals gets the gradient.",
};
static const mw_op global_meanpool_op = {
    GLOBAL(global_meanpool),
    .doc = "The mean of each channel, over all axes after it.",
};

MW_PLUGIN(&maxpool1d_op, &meanpool1d_op, &global_maxpool_op, &global_meanpool_op)
