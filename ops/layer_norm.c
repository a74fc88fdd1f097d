/* layer_norm.c: normalisations within each example, made of normalize: layer_norm, group_norm,
 * instance_norm, and rms_norm, which takes no mean off. */
/* real: f32 */
#include <math.h>

#include "../graph/moonwalk.h"

enum { X, SCALE, BIAS };

/* layer_norm and rms_norm have axes, group_norm groups. */
typedef struct norm_attrs {
  mw_ints axes;
  int64_t groups;
  double eps;
} norm_attrs;

#define EPS(value, to) \
  MW_ATTR(norm_attrs, eps, MW_FLOAT, value, "is added to the " to, .least = 0, .most = INFINITY)
#define AXES                               \
  MW_ATTR(norm_attrs, axes, MW_AXES, "-1", \
          "the axes that are normalised together, in rising order; scale has their sizes")

static const mw_attr layer_norm_schema[] = {AXES, EPS("1e-5", "variance"), {0}};
static const mw_attr rms_norm_schema[] = {AXES, EPS("1e-6", "mean square"), {0}};
static const mw_attr group_norm_schema[] = {{.name = "groups",
                                             .type = MW_INT,
                                             .offset = offsetof(norm_attrs, groups),
                                             .least = 1,
                                             .most = 1e15,
                                             .doc = "the channels are cut into so many"},
                                            EPS("1e-5", "variance"),
                                            {0}};
static const mw_attr instance_norm_schema[] = {EPS("1e-5", "variance"), {0}};

/* ---- shapes ------------------------------------------------------------------------------- */

/* Scale and bias have this shape and x's dtype. */
static mw_status check_scales(const mw_infer *it, const mw_spec *expected, const char *what) {
  char text[MW_SPEC_TEXT], wanted[MW_SPEC_TEXT], x[MW_SPEC_TEXT];
  for (int i = SCALE; i < it->n_in; i++) {
    const mw_spec *s = &it->in[i];
    if (!mw_present(s)) continue;
    if (mw_expect_same_dtype(it, i, X)) return MW_FAILED;
    if (!mw_same_shape(s, expected))
      return mw_fail(it, "%s is %s, expected %s, %s; x is %s", it->op->inputs[i].name,
                     it->host->spec_text(s, text), it->host->spec_text(expected, wanted), what,
                     it->host->spec_text(&it->in[X], x));
  }
  return MW_OK;
}

/* Brings the axes into standard form: counted from 0, rising. */
static mw_status axes_infer(mw_infer *it) {
  norm_attrs *attrs = it->attrs;
  mw_ints *axes = &attrs->axes;
  const mw_spec *x = &it->in[X];
  if (mw_expect_float(it, X)) return MW_FAILED;
  if (axes->count == 0) return mw_fail(it, "axes is empty, expected at least one axis of x");
  if (mw_expect_reduced_axes(it, axes)) return MW_FAILED;
  mw_spec expected = {.dtype = x->dtype, .rank = (int)axes->count};
  for (int k = 0; k < expected.rank; k++) expected.shape[k] = x->shape[axes->at[k]];
  return check_scales(it, &expected, "the sizes of x's normalised axes");
}

static mw_status channels_infer(mw_infer *it, int least_rank, const char *form) {
  const mw_spec *x = &it->in[X];
  char text[MW_SPEC_TEXT];
  if (mw_expect_float(it, X)) return MW_FAILED;
  if (x->rank < least_rank)
    return mw_fail(it, "x is %s, expected %s", it->host->spec_text(x, text), form);
  const mw_spec expected = {.dtype = x->dtype, .rank = 1, .shape = {x->shape[1]}};
  return check_scales(it, &expected, "one for each channel");
}

static mw_status group_norm_infer(mw_infer *it) {
  const norm_attrs *attrs = it->attrs;
  char text[MW_SPEC_TEXT];
  if (channels_infer(it, 2, "[batch, channels, ..]")) return MW_FAILED;
  if (it->in[X].shape[1] % attrs->groups != 0)
    return mw_fail(it, "groups is %lld, which does not divide the %lld channels of x, %s",
                   (long long)attrs->groups, (long long)it->in[X].shape[1],
                   it->host->spec_text(&it->in[X], text));
  return MW_OK;
}

static mw_status instance_norm_infer(mw_infer *it) {
  return channels_infer(it, 3, "[batch, channels, length], [batch, channels, height, width], ..");
}

/* ---- what they are made of ---------------------------------------------------------------- */

static mw_tensor *normalized(mw_build *b, mw_tensor *x, int n_axes, const int64_t *axes) {
  const norm_attrs *attrs = b->attrs;
  const mw_setting settings[] = {mw_list("axes", n_axes, axes), mw_float("eps", attrs->eps)};
  return mw_make(b, "normalize", 1, &x, 2, settings);
}

/* y scale + bias, both spread along the axes that they do not have. */
static mw_tensor *scaled(mw_build *b, mw_tensor *y, int n_axes, const int64_t *axes) {
  const mw_spec *x = b->host->tensor_spec(b->in[X]);
  int64_t sizes[MW_MAX_RANK];
  for (int k = 0; k < x->rank; k++) sizes[k] = 1;
  for (int k = 0; k < n_axes; k++) sizes[axes[k]] = x->shape[axes[k]];
  for (int i = SCALE; i < b->n_in; i++)
    if (b->in[i])
      y = mw_make2(b, i == SCALE ? "mul" : "add", y,
                   mw_make_shaped(b, "reshape", b->in[i], x->rank, sizes));
  return y;
}

static mw_status layer_norm_compose(mw_build *b) {
  const mw_ints *axes = &((const norm_attrs *)b->attrs)->axes;
  const int n = (int)axes->count;
  b->out[0] = scaled(b, normalized(b, b->in[X], n, axes->at), n, axes->at);
  return MW_OK;
}

static mw_status rms_norm_compose(mw_build *b) {
  const norm_attrs *attrs = b->attrs;
  const int n = (int)attrs->axes.count;
  const mw_setting settings[] = {mw_list("axes", n, attrs->axes.at), mw_bool("keepdims", true)};
  mw_tensor *squares = mw_make1(b, "square", b->in[X]);
  mw_tensor *mean = mw_make(b, "mean", 1, &squares, 2, settings);
  mw_tensor *sum = mw_make2(b, "add", mean, mw_make_scalar(b, b->in[X], attrs->eps));
  b->out[0] = scaled(b, mw_make2(b, "mul", b->in[X], mw_make1(b, "rsqrt", sum)), n, attrs->axes.at);
  return MW_OK;
}

/* x as [batch * groups, all else], in which a row is a group. */
static mw_status normalize_groups(mw_build *b, int64_t groups) {
  const mw_spec *x = b->host->tensor_spec(b->in[X]);
  if (x->shape[1] == 0) groups = 1;
  int64_t sizes[2] = {x->shape[0] * groups, x->shape[1] / groups};
  for (int k = 2; k < x->rank; k++) sizes[1] *= x->shape[k];
  mw_tensor *rows = mw_make_shaped(b, "reshape", b->in[X], 2, sizes);
  mw_tensor *y =
      mw_make_shaped(b, "reshape", normalized(b, rows, 1, (int64_t[]){1}), x->rank, x->shape);
  b->out[0] = scaled(b, y, 1, (int64_t[]){1});
  return MW_OK;
}

static mw_status group_norm_compose(mw_build *b) {
  return normalize_groups(b, ((const norm_attrs *)b->attrs)->groups);
}

static mw_status instance_norm_compose(mw_build *b) {
  return normalize_groups(b, b->host->tensor_spec(b->in[X])->shape[1]);
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define CHANNEL_INPUTS                                                           \
  {                                                                              \
    {"x", .doc = "[batch, channels, ..]"}, {"scale", MW_OPTIONAL, "[channels]"}, \
        {"bias", MW_OPTIONAL, "[channels]"},                                     \
  }

static const mw_op layer_norm_op = {
    .name = "layer_norm",
    .version = 1,
    .doc =
        "Normalises over the last axes, or other ones (Ba et al., 2016): y = (x - mean) / "
        "sqrt(variance + eps) * scale + bias, with the biased variance.",
    .example = "mw.layer_norm(mw.randn{2,5}, mw.randn{5}, mw.randn{5})",
    .cases =
        "mw.layer_norm(mw.randn{2,3,4}, mw.randn{3,4}, nil, {axes={2,3}, eps=0.1})\n"
        "mw.layer_norm(mw.randn{3,1,4}, nil, mw.randn{3}, {axes={1}})\n"
        "mw.layer_norm(mw.randn{7})\n"
        "mw.layer_norm(mw.randn{0,3}, mw.randn{3}, mw.randn{3})",
    .inputs = {{"x"},
               {"scale", MW_OPTIONAL, "the sizes of the normalised axes"},
               {"bias", MW_OPTIONAL, "the same"}},
    .outputs = {{"y"}},
    .attrs = layer_norm_schema,
    .attrs_size = sizeof(norm_attrs),
    .infer = axes_infer,
    .compose = layer_norm_compose,
};

static const mw_op rms_norm_op = {
    .name = "rms_norm",
    .version = 1,
    .doc =
        "Divides by the root of the mean square over the last axes, or other ones (Zhang and "
        "Sennrich, 2019): y = x / sqrt(mean(x^2) + eps) * scale.",
    .example = "mw.rms_norm(mw.randn{2,5}, mw.randn{5})",
    .cases =
        "mw.rms_norm(mw.randn{2,3,4}, mw.randn{2,4}, {axes={1,3}, eps=0.1})\n"
        "mw.rms_norm(mw.randn{3,1,4})\n"
        "mw.rms_norm(mw.randn{0,3}, mw.randn{3})",
    .inputs = {{"x"}, {"scale", MW_OPTIONAL, "the sizes of the normalised axes"}},
    .outputs = {{"y"}},
    .attrs = rms_norm_schema,
    .attrs_size = sizeof(norm_attrs),
    .infer = axes_infer,
    .compose = rms_norm_compose,
};

static const mw_op group_norm_op = {
    .name = "group_norm",
    .version = 1,
    .doc =
        "Normalises groups of neighbouring channels of each example (Wu and He, 2018): y = (x - "
        "mean) / sqrt(variance + eps) * scale + bias, with the biased variance. x is [n, "
        "channels, ..].",
    .example = "mw.group_norm(mw.randn{2,4,3}, mw.randn{4}, mw.randn{4}, {groups=2})",
    .cases =
        "mw.group_norm(mw.randn{3,6,1,2}, nil, mw.randn{6}, {groups=2, eps=0.1})\n"
        "mw.group_norm(mw.randn{2,6}, mw.randn{6}, nil, {groups=3})\n"
        "mw.group_norm(mw.randn{1,3,5}, nil, nil, {groups=1})\n"
        "mw.group_norm(mw.randn{0,2,5}, nil, nil, {groups=1})",
    .inputs = CHANNEL_INPUTS,
    .outputs = {{"y"}},
    .attrs = group_norm_schema,
    .attrs_size = sizeof(norm_attrs),
    .infer = group_norm_infer,
    .compose = group_norm_compose,
};

static const mw_op instance_norm_op = {
    .name = "instance_norm",
    .version = 1,
    .doc =
        "Normalises every channel of each example (Ulyanov et al., 2016): y = (x - mean) / "
        "sqrt(variance + eps) * scale + bias, with the biased variance. x is [n, channels, ..] "
        "with at least one axis more.",
    .example = "mw.instance_norm(mw.randn{2,3,4}, mw.randn{3}, mw.randn{3})",
    .cases =
        "mw.instance_norm(mw.randn{2,3,2,3}, nil, mw.randn{3}, {eps=0.1})\n"
        "mw.instance_norm(mw.randn{1,1,5}, mw.randn{1})\n"
        "mw.instance_norm(mw.randn{2,0,3})",
    .inputs = CHANNEL_INPUTS,
    .outputs = {{"y"}},
    .attrs = instance_norm_schema,
    .attrs_size = sizeof(norm_attrs),
    .infer = instance_norm_infer,
    .compose = instance_norm_compose,
};

MW_PLUGIN(&layer_norm_op, &rms_norm_op, &group_norm_op, &instance_norm_op)
