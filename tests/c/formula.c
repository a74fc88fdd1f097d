/* formula.c: formulas and compositions: what they mean, and how they are refused. */
#include "tests/tap.h"
#include "tests/c/testops.h"

/* ---- one op for each formula, of x and w with gradients by formula too ----------------------- */

typedef struct attrs {
  double slope;
  int64_t times;
  bool flag;
  int mode;
  mw_ints axes;
} attrs;

#define FIELD(of, kind, value) \
  { .name = #of, .type = kind, .offset = offsetof(attrs, of), .initial = value }
static const mw_attr schema[] = {FIELD(slope, MW_FLOAT, "0.5"),
                                 FIELD(times, MW_INT, "3"),
                                 FIELD(flag, MW_BOOLEAN, "true"),
                                 {.name = "mode",
                                  .type = MW_CHOICE,
                                  .offset = offsetof(attrs, mode),
                                  .initial = "low",
                                  .choices = "low|high"},
                                 FIELD(axes, MW_AXES, "0"),
                                 {0}};

static int registered;

/* Each op is a plugin of its own: it can be used once that is committed. */
static mw_status enter(mw_context *ctx, const mw_op *op) {
  mw_plugin *plugin = mw_plugin_begin(ctx, "tests", NULL, NULL);
  if (!plugin) return MW_FAILED;
  if (!mw_host_register_op(plugin, op, sizeof *op, MW_F64) && !mw_plugin_commit(plugin))
    return MW_OK;
  mw_plugin_abort(plugin);
  return MW_FAILED;
}

/* Registers an op that stands for the formula, and returns its name. */
static const char *op_of(mw_context *ctx, const char *formula) {
  static char names[64][16];
  char *name = names[registered];
  snprintf(name, sizeof names[0], "f%d", registered++);
  mw_op op = {.name = name,
              .version = 1,
              .doc = "a formula",
              .example = "none",
              .inputs = {{"x"}, {"w", MW_OPTIONAL}},
              .outputs = {{"y"}},
              .attrs = schema,
              .attrs_size = sizeof(attrs),
              .formula = formula};
  if (enter(ctx, &op)) printf("# %s\n", mw_error(ctx));
  return name;
}

static double value_of(mw_context *ctx, const char *formula, double x, double w) {
  mw_tensor *in[] = {vector(ctx, 1, &x), vector(ctx, 1, &w)};
  mw_tensor *y = mw_apply(ctx, op_of(ctx, formula), 2, in, 0, NULL);
  double value = at(y, 0);
  mw_release(in[0]);
  mw_release(in[1]);
  mw_release(y);
  return value;
}

static void test_meaning(mw_context *ctx) {
  near(value_of(ctx, "x + w * 2 - 6 / x", 3, 5), 11, 0, "products before sums, from the left");
  near(value_of(ctx, "x - w - 1", 3, 5), -3, 0, "differences from the left");
  near(value_of(ctx, "x / w / 2", 20, 5), 2, 0, "quotients from the left");
  near(value_of(ctx, "-(x + w) * --2", 3, 5), -16, 0, "signs and parentheses");
  near(value_of(ctx, "x > 0 ? w : -w", -3, 5), -5, 0, "a choice, element by element");
  near(value_of(ctx, "x < 0 ? 1 : x < 4 ? w : 2", 3, 5), 5, 0, "a chain of choices");
  near(value_of(ctx, "x <= 3 ? 1 : 2", 3, 5), 1, 0, "between numbers, of x's dtype");
  near(value_of(ctx, "x != 3 ? 1 : x >= 3 ? 4 : 2", 3, 5), 4, 0, "all comparisons");
  near(value_of(ctx, "(real)2 * x + .5e1", 3, 5), 11, 0, "a cast is skipped");
  near(value_of(ctx, "x * slope + times", 3, 5), 4.5, 0, "attributes are numbers");
  near(value_of(ctx, "flag ? x : w", 3, 5), 3, 0, "a flag picks a branch");
  near(value_of(ctx, "mode ? x : w", 3, 5), 5, 0, "and so does a choice, by its position");
  near(value_of(ctx, "sum(x, axes=axes, keepdims=true) + w", 3, 5), 8, 0, "an op's attributes");
  near(value_of(ctx, "x * (1 + 2 * 3 - 7) + w", INFINITY, 5), 5, 0,
       "numbers are computed at once, and times 0 is none");
  near(value_of(ctx, "square ( x )", 3, 5), 9, 0, "spaces");
}

static void refused(mw_context *ctx, const char *formula, const char *why) {
  mw_tensor *x = vector(ctx, 1, (double[]){1});
  mw_tensor *y = mw_apply(ctx, op_of(ctx, formula), 1, &x, 0, NULL);
  const char *message = mw_error(ctx);
  if (!ok(!y && strstr(message, why), "refused: %s", formula)) printf("# %s\n", message);
  mw_release(y);
  mw_release(x);
}

static void test_refusal(mw_context *ctx) {
  refused(ctx, "x + ", "expected a value");
  refused(ctx, "x + z", "an unknown name at \"z\"");
  refused(ctx, "x + w", "an input that is absent at \"w\"");
  refused(ctx, "y + 1", "an unknown name"); /* a composition has no y yet */
  refused(ctx, "(x", "expected ')'");
  refused(ctx, "x x", "expected the end");
  refused(ctx, "3", "a number instead of a tensor");
  refused(ctx, "0", "gives no output 1");
  refused(ctx, "no_such(x)", "no op is named 'no_such'");
  refused(ctx, "sum(x, axis=1)", "unknown attribute 'axis'");
  refused(ctx, "x > 0 ? x", "expected ':'");
  refused(ctx, "x + axes", "an attribute that is no number");
  char deep[400];
  memset(deep, '(', sizeof deep - 1);
  deep[sizeof deep - 1] = '\0';
  refused(ctx, deep, "nested too deeply");
  static char chain[100000];
  for (size_t i = 0; i + 6 < sizeof chain; i += 6) memcpy(chain + i, "x ? 1:", 6);
  mw_tensor *x = vector(ctx, 1, (double[]){1});
  ok(!mw_apply(ctx, op_of(ctx, chain), 1, &x, 0, NULL) && strstr(mw_error(ctx), "too deeply"),
     "refused: a chain of 16,000 choices");
  mw_release(x);
  refused(ctx, "sum(x, axes=1e300)", "axes");
}

/* ---- gradients by formula -------------------------------------------------------------------- */

static mw_status product_forward(const mw_call *call) {
  const double *a = call->in[0].data, *b = call->in[1].data;
  double *y = call->out[0].data;
  for (int64_t i = 0; i < call->out[0].count; i++) y[i] = a[i] * a[i] * b[i];
  return MW_OK;
}

static void test_derivatives(mw_context *ctx) {
  static const mw_op op = {.name = "t_product",
                           .version = 1,
                           .doc = "a a b",
                           .example = "none",
                           .inputs = {{"a"}, {"b"}},
                           .outputs = {{"y"}},
                           .infer = like_first,
                           .forward = product_forward,
                           .derivative = {"dy * 2 * a * b", "dy * a * a"}};
  ok(!enter(ctx, &op), "an op with formulas as derivatives");
  mw_tensor *in[] = {vector(ctx, 1, (double[]){3}), vector(ctx, 1, (double[]){5})}, *first[2], *da;
  mw_tensor *y = mw_apply(ctx, "t_product", 2, in, 0, NULL);
  mw_grad(ctx, y, NULL, 2, in, first);
  near(at(first[0], 0), 30, 0, "dy/da = 2 a b");
  near(at(first[1], 0), 9, 0, "dy/db = a a");
  mw_grad(ctx, first[0], NULL, 1, in, &da);
  near(at(da, 0), 10, 0, "and again: 2 b");
  mw_tensor *all[] = {in[0], in[1], y, first[0], first[1], da};
  for (int i = 0; i < 6; i++) mw_release(all[i]);
}

/* Linear by kernels alone: y = 3x. */
static mw_status triple(const mw_array *x, const mw_array *y) {
  for (int64_t i = 0; i < x->count; i++) ((double *)y->data)[i] = 3 * ((double *)x->data)[i];
  return MW_OK;
}
static mw_status triple_forward(const mw_call *call) { return triple(&call->in[0], &call->out[0]); }
static mw_status triple_backward(const mw_call *call) {
  return triple(&call->dout[0], &call->din[0]);
}

static void test_linear(mw_context *ctx) {
  static const mw_op op = {.name = "t_triple",
                           .version = 1,
                           .doc = "3 x",
                           .example = "none",
                           .inputs = {{"x"}},
                           .outputs = {{"y"}},
                           .flags = MW_LINEAR,
                           .infer = like_first,
                           .forward = triple_forward,
                           .backward = triple_backward};
  ok(!enter(ctx, &op), "a linear op of two kernels");
  mw_tensor *x = vector(ctx, 1, (double[]){2}), *dx, *dxx, *dxxx;
  mw_tensor *y = apply1(ctx, "square", apply1(ctx, "square", apply1(ctx, "t_triple", x)));
  mw_grad(ctx, y, NULL, 1, &x, &dx);
  mw_grad(ctx, dx, NULL, 1, &x, &dxx);
  mw_grad(ctx, dxx, NULL, 1, &x, &dxxx);
  near(at(y, 0), 1296, 0, "(3x)^4");
  near(at(dx, 0), 4 * 81 * 8, 0, "4 81 x^3");
  near(at(dxx, 0), 12 * 81 * 4, 0, "12 81 x^2");
  near(at(dxxx, 0), 24 * 81 * 2, 0, "24 81 x: it is differentiated three times");
  mw_tensor *all[] = {dx, dxx, dxxx};
  for (int i = 0; i < 3; i++) mw_release(all[i]);
  mw_tensor *inner = y->node->in[0], *innermost = inner->node->in[0];
  mw_release(innermost);
  mw_release(inner);
  mw_release(y);
  mw_release(x);
}

/* ---- what is refused at registration --------------------------------------------------------- */

static void test_registration(mw_context *ctx) {
  mw_op op = {.name = "t_none",
              .version = 1,
              .doc = "nothing",
              .example = "none",
              .inputs = {{"x"}},
              .outputs = {{"y"}}};
  ok(enter(ctx, &op), "an op that does nothing is refused");
  op.formula = "x";
  op.forward = triple_forward;
  ok(enter(ctx, &op), "a formula beside a kernel too");
  ok(strstr(mw_error(ctx), "t_none: a composition has no forward"), "by this reason");
  op.forward = NULL;
  op.outputs[1].name = "z";
  ok(enter(ctx, &op), "a formula has one output");
  op.outputs[1].name = NULL;
  ok(!enter(ctx, &op), "alone it is an op");
  ok(enter(ctx, &op), "which is not registered twice");
  mw_kernel kernel = {.op = "t_none", .name = "fast", .forward = triple_forward};
  mw_plugin *plugin = mw_plugin_begin(ctx, "tests", NULL, NULL);
  ok(plugin && mw_host_register_kernel(plugin, &kernel, sizeof kernel, MW_F64),
     "and takes no kernel");
  mw_plugin_abort(plugin);
  mw_tensor *x = vector(ctx, 1, (double[]){2}), *y = apply1(ctx, "t_none", x);
  ok(x == y, "a formula that is its input gives the input");
  mw_release(x);
  mw_release(y);
}

int main(void) {
  mw_context *ctx = mw_context_new();
  if (!ctx) return 1;
  test_meaning(ctx);
  test_refusal(ctx);
  test_derivatives(ctx);
  test_linear(ctx);
  test_registration(ctx);
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "nothing is left over");
  mw_context_free(ctx);
  return done();
}
