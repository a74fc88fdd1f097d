/* composed_reductions.c: reductions that are made of sum, mean and max. */
/* real: f32 */
#include <math.h>

#include "../graph/moonwalk.h"

/* The attributes of all of these; var, std and norm have one more, in its place. */
typedef struct reduction_attrs {
  mw_ints axes;
  bool keepdims;
  double correction; /* of var and std */
  double p;          /* of norm */
} reduction_attrs;

#define AXES MW_ATTR(reduction_attrs, axes, MW_AXES, "", "the axes that go; none named: all")
#define KEEPDIMS \
  MW_ATTR(reduction_attrs, keepdims, MW_BOOLEAN, "false", "whether they stay with size 1 instead")

static const mw_attr plain_schema[] = {AXES, KEEPDIMS, {0}};

static const mw_attr var_schema[] = {AXES,
                                     KEEPDIMS,
                                     {.name = "correction",
                                      .type = MW_FLOAT,
                                      .offset = offsetof(reduction_attrs, correction),
                                      .doc = "what is taken off the count of numbers: 1 estimates "
                                             "from a sample, 0 describes all there is",
                                      .initial = "1"},
                                     {0}};

static const mw_attr norm_schema[] = {AXES,
                                      KEEPDIMS,
                                      {.name = "p",
                                       .type = MW_FLOAT,
                                       .offset = offsetof(reduction_attrs, p),
                                       .doc = "the power: 2 is Euclid's norm; above 0, may be inf",
                                       .initial = "2"},
                                      {0}};

#define COMPOSED(schema)                                                \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y"}}, .attrs = schema, \
  .attrs_size = sizeof(reduction_attrs)

/* ---- checks ------------------------------------------------------------------------------- */

static mw_status expect_axes(mw_infer *it) {
  return mw_expect_reduced_axes(it, &((reduction_attrs *)it->attrs)->axes);
}

static mw_status float_infer(mw_infer *it) {
  return mw_expect_float(it, 0) ? MW_FAILED : expect_axes(it);
}

static mw_status bool_infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].dtype == MW_BOOL) return expect_axes(it);
  return mw_fail(it, "x is %s, expected bool, which comparisons give",
                 it->host->spec_text(&it->in[0], text));
}

static mw_status norm_infer(mw_infer *it) {
  const reduction_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  if (float_infer(it)) return MW_FAILED;
  if (!(attrs->p > 0)) return mw_fail(it, "p is %g, expected a number above 0", attrs->p);
  for (int64_t i = 0; isinf(attrs->p) && i < attrs->axes.count; i++)
    if (x->shape[attrs->axes.at[i]] == 0)
      return mw_fail(it, "x is %s: an axis of size 0 has no extremum, which p = inf asks for",
                     it->host->spec_text(x, text));
  return MW_OK;
}

/* ---- what they are made of ---------------------------------------------------------------- */

static mw_tensor *choose(mw_build *b, mw_tensor *condition, mw_tensor *yes, mw_tensor *no) {
  return mw_make(b, "where", 3, (mw_tensor *[]){condition, yes, no}, 0, NULL);
}

/* f(x) where x is not 0, and 0 where it is. f is not asked at 0, where its slope is infinite: the
 * gradient is 0 there. f is sqrt, or x to a power. */
static mw_tensor *root(mw_build *b, mw_tensor *x, double power) {
  if (!x) return NULL;
  mw_tensor *zero = mw_make_scalar(b, x, 0), *is_zero = mw_make2(b, "eq", x, zero);
  mw_tensor *safe = choose(b, is_zero, mw_make_scalar(b, x, 1), x);
  mw_tensor *y = power == 0.5 ? mw_make1(b, "sqrt", safe)
                              : mw_make2(b, "pow", safe, mw_make_scalar(b, x, power));
  return choose(b, is_zero, zero, y);
}

/* How many numbers of x a reduction with keepdims brings together. */
static double group_size(const mw_spec *x, const mw_spec *kept) {
  double n = 1;
  for (int k = 0; k < x->rank; k++)
    if (kept->shape[k] != x->shape[k]) n *= (double)x->shape[k];
  return n;
}

static mw_status var_compose(mw_build *b) {
  const reduction_attrs *attrs = b->attrs;
  mw_tensor *mean = mw_formula(b, "mean(x, axes=axes, keepdims=true)");
  if (!mean) return MW_FAILED;
  const double n = group_size(b->host->tensor_spec(b->in[0]), b->host->tensor_spec(mean));
  mw_tensor *sum = mw_formula(
      b, "sum(square(x - mean(x, axes=axes, keepdims=true)), axes=axes, keepdims=keepdims)");
  if (!sum) return MW_FAILED;
  b->out[0] = mw_make2(b, "div", sum, mw_make_scalar(b, sum, fmax(0, n - attrs->correction)));
  return MW_OK;
}

static mw_status std_compose(mw_build *b) {
  b->out[0] =
      root(b, mw_formula(b, "var(x, axes=axes, keepdims=keepdims, correction=correction)"), 0.5);
  return MW_OK;
}

static bool is_empty(const mw_spec *spec) {
  for (int k = 0; k < spec->rank; k++)
    if (spec->shape[k] == 0) return true;
  return false;
}

/* What the numbers of a group are divided by, and the result multiplied, so that no power of them
 * overflows, and not all underflow: the largest, for squares rounded to a power of 2, by which
 * division is exact. The result does not depend on it, so it passes no gradient. */
static mw_tensor *norm_scale(mw_build *b, double p) {
  const reduction_attrs *attrs = b->attrs;
  const mw_setting kept[] = {mw_list("axes", (int)attrs->axes.count, attrs->axes.at),
                             mw_bool("keepdims", true)};
  mw_tensor *size = mw_make1(b, "abs", b->in[0]);
  mw_tensor *top = mw_make1(b, "stop_gradient", mw_make(b, "max", 1, &size, 2, kept));
  mw_tensor *one = mw_make_scalar(b, b->in[0], 1);
  top = choose(b, mw_make1(b, "isinf", top), one, top);
  top = choose(b, mw_make2(b, "eq", top, mw_make_scalar(b, b->in[0], 0)), one, top);
  return p == 2 ? mw_make1(b, "exp2", mw_make1(b, "floor", mw_make1(b, "log2", top))) : top;
}

/* (sum of |x|^p)^(1/p) for finite p. */
static mw_tensor *power_norm(mw_build *b, mw_tensor *x, double p) {
  const reduction_attrs *attrs = b->attrs;
  const mw_setting over[] = {mw_list("axes", (int)attrs->axes.count, attrs->axes.at),
                             mw_bool("keepdims", attrs->keepdims)};
  mw_tensor *powers = p == 2 ? mw_make1(b, "square", x) : root(b, mw_make1(b, "abs", x), p);
  return root(b, mw_make(b, "sum", 1, &powers, 2, over), 1 / p);
}

static mw_status norm_compose(mw_build *b) {
  const double p = ((const reduction_attrs *)b->attrs)->p;
  if (p == 1) b->out[0] = mw_formula(b, "sum(abs(x), axes=axes, keepdims=keepdims)");
  else if (isinf(p)) b->out[0] = mw_formula(b, "max(abs(x), axes=axes, keepdims=keepdims)");
  else if (is_empty(b->host->tensor_spec(b->in[0]))) b->out[0] = power_norm(b, b->in[0], p);
  else {
    mw_tensor *scale = norm_scale(b, p);
    mw_tensor *y = power_norm(b, mw_make2(b, "div", b->in[0], scale), p);
    if (!y) return MW_FAILED;
    const mw_spec *spec = b->host->tensor_spec(y);
    const mw_setting shape = mw_list("shape", spec->rank, spec->shape);
    b->out[0] = mw_make2(b, "mul", y, mw_make(b, "reshape", 1, &scale, 1, &shape));
  }
  return MW_OK;
}

/* The numbers are moved down by their largest, so that no exponential overflows; that passes no
 * gradient, since the result does not depend on it. Where the largest is infinite so is the result,
 * and 0 stands in for the numbers: the gradient is 0 instead of NaN. */
static mw_status logsumexp_compose(mw_build *b) {
  mw_tensor *x = b->in[0];
  mw_tensor *y = mw_formula(b, "log(sum(exp(x), axes=axes, keepdims=keepdims))");
  if (!y) return MW_FAILED;
  if (is_empty(b->host->tensor_spec(x))) { /* -inf, whose slope stays out of all derivatives */
    b->out[0] = mw_make1(b, "stop_gradient", y);
    return MW_OK;
  }
  const reduction_attrs *attrs = b->attrs;
  const mw_setting axes = mw_list("axes", (int)attrs->axes.count, attrs->axes.at);
  const mw_setting kept[] = {axes, mw_bool("keepdims", true)};
  const mw_setting same[] = {axes, mw_bool("keepdims", attrs->keepdims)};
  mw_tensor *top = mw_make1(b, "stop_gradient", mw_make(b, "max", 1, &x, 2, kept));
  mw_tensor *zero = mw_make_scalar(b, x, 0), *infinite = mw_make1(b, "isinf", top);
  mw_tensor *shift = choose(b, infinite, zero, top);
  mw_tensor *moved = choose(b, infinite, zero, mw_make2(b, "sub", x, shift));
  mw_tensor *powers = mw_make1(b, "exp", moved);
  mw_tensor *sum = mw_make(b, "sum", 1, &powers, 2, same);
  top = mw_make_like(b, "reshape", top, y);
  infinite = mw_make_like(b, "reshape", infinite, y);
  b->out[0] = choose(b, infinite, top, mw_make2(b, "add", mw_make1(b, "log", sum), top));
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

static const mw_op var_op = {
    .name = "var",
    .doc =
        "The variance over axes: the sum of (x - mean)^2, divided by the count of numbers less "
        "`correction`, or by 0 where that is negative. By default an estimate from a sample, as in "
        "PyTorch: NaN of one number.",
    .example = "mw.var(mw.randn{2,3}, {axes={2}})",
    .cases =
        "mw.var(mw.randn{3,1,5})\n"
        "mw.var(mw.randn{4,2,3}, {axes={1,3}, keepdims=true, correction=0})\n"
        "mw.var(mw.randn{7}, {axes={-1}, correction=1.5})\n"
        "mw.var(mw.randn{0,3}, {axes={2}})",
    .infer = float_infer,
    .compose = var_compose,
    COMPOSED(var_schema),
};

static const mw_op std_op = {
    .name = "std",
    .doc =
        "The standard deviation over axes: the square root of var. The gradient is 0 where it is "
        "0.",
    .example = "mw.std(mw.randn{2,3}, {axes={2}})",
    .cases =
        "mw.std(mw.randn{3,1,5})\n"
        "mw.std(mw.randn{4,2,3}, {axes={1,3}, keepdims=true, correction=0})\n"
        "mw.std(mw.randn{7}, {axes={-1}, correction=1.5})\n"
        "mw.std(mw.randn{0,3}, {axes={2}})",
    .infer = float_infer,
    .compose = std_compose,
    COMPOSED(var_schema),
};

static const mw_op norm_op = {
    .name = "norm",
    .doc =
        "The p-norm over axes: y = (sum of |x|^p)^(1/p); the largest |x| for p = inf, where the "
        "first of equals gets the gradient and an axis of size 0 is an error. The gradient is 0 "
        "where y is 0, and in an x that is 0. Only a norm that is too large itself overflows.",
    .example = "mw.norm(mw.randn{2,3}, {axes={2}})",
    .cases =
        "mw.norm(mw.randn{3,1,5}, {p=1})\n"
        "mw.norm(mw.randn{7}, {p=3})\n"
        "mw.norm(mw.randn{4,2,3}, {axes={1,3}, keepdims=true, p=1.5})\n"
        "mw.norm(mw.randn{4,2}, {axes={-2}, p=math.huge})\n"
        "mw.norm(mw.randn{5}, {p=0.5})\n"
        "mw.norm(mw.randn{0,3}, {axes={2}})",
    .infer = norm_infer,
    .compose = norm_compose,
    COMPOSED(norm_schema),
};

static const mw_op logsumexp_op = {
    .name = "logsumexp",
    .doc =
        "The logarithm of a sum of exponentials over axes: y = ln(sum of e^x), without overflow. "
        "-inf of nothing. The gradient is softmax, and 0 where y is infinite.",
    .example = "mw.logsumexp(mw.randn{2,3}, {axes={2}})",
    .cases =
        "mw.logsumexp(mw.randn{3,1,5})\n"
        "mw.logsumexp(mw.randn{4,2,3}, {axes={1,3}, keepdims=true})\n"
        "mw.logsumexp(mw.randn{7}, {axes={-1}})\n"
        "mw.logsumexp(mw.randn{0,3}, {axes={2}})",
    .infer = float_infer,
    .compose = logsumexp_compose,
    COMPOSED(plain_schema),
};

#define OF_BOOL(op, text, made_of)                                          \
  static const mw_op op##_op = {                                            \
      .name = #op,                                                          \
      .doc = text,                                                          \
      .example = "mw." #op "(mw.gt(mw.randn{2,3}, 0), {axes={2}})",         \
      .cases = "mw." #op                                                    \
               "(mw.gt(mw.randn{3,1,2}, 0), {axes={1,3}, keepdims=true})\n" \
               "mw." #op                                                    \
               "(mw.gt(mw.randn{2,9}, 0), {axes={-2}})\n"                   \
               "mw." #op "(mw.gt(mw.randn{7}, 3))\nmw." #op                 \
               "(mw.gt(mw.randn{7}, -3))\n"                                 \
               "mw." #op "(mw.gt(mw.randn{0,3}, 0), {axes={1}})",           \
      .infer = bool_infer,                                                  \
      .formula = made_of,                                                   \
      COMPOSED(plain_schema),                                               \
  };

OF_BOOL(all, "Whether all are true over axes. Of nothing: true.",
        "sum(logical_not(x), axes=axes, keepdims=keepdims) == 0")
OF_BOOL(any, "Whether any is true over axes. Of nothing: false.",
        "sum(x, axes=axes, keepdims=keepdims) != 0")

MW_PLUGIN(&var_op, &std_op, &norm_op, &logsumexp_op, &all_op, &any_op)
