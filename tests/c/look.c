/* look.c: looking at a graph, and at the node where something failed. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

static void is_attrs(const mw_tensor *t, bool all, const char *want, const char *what) {
  char *text = mw_node_attrs_text(t, all);
  is_text(text, want, "%s", what);
  free(text);
}

static void test_leaves(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 1, (int64_t[]){2});
  mw_tensor *w = mw_parameter(ctx, &spec, NULL, "w"), *x = vector(ctx, 2, (double[]){1, 2});
  char text[MW_NAME_TEXT];
  mw_node_info info = mw_node_of(w);
  ok(info.kind == MW_PARAMETER && !info.op && !info.attrs && !info.n_in && !info.output,
     "a leaf has no op and no inputs");
  ok(mw_node_of(x).kind == MW_CONSTANT && mw_node_of(x).id > info.id, "ids grow");
  ok(!mw_node_input(w, 0) && mw_node_output(w, 0) == w, "it is its own output");
  is_text(mw_node_input_name(w, 0, text), "", "an input that is not there has no name");
  is_attrs(w, true, "", "nor has a leaf attributes");
  mw_release(w);
  mw_release(x);
}

static void test_forward(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 4, (double[]){1, 2, 3, 4}), *halves[MW_MAX_ARGS];
  char text[MW_NAME_TEXT];
  is_int(mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, halves), 2, "two halves");
  mw_node_info low = mw_node_of(halves[0]), high = mw_node_of(halves[1]);
  ok(low.id == high.id && low.id > mw_node_of(x).id, "are of one node, which is after its input");
  is_int(low.output, 0, "the first");
  is_int(high.output, 1, "and the second output");
  ok(low.kind == MW_FORWARD && strcmp(low.op->name, "t_split") == 0, "of its op");
  ok(mw_node_input(halves[1], 0) == x && !mw_node_input(halves[1], 1) && !mw_node_input(x, -1),
     "with its one input");
  ok(mw_node_output(halves[0], 1) == halves[1] && !mw_node_output(halves[0], 2),
     "one output leads to the other");
  is_text(mw_node_input_name(halves[0], 0, text), "x", "the input's name");
  is_text(mw_node_output_name(halves[0], 1, text), "high", "the second output's name");
  mw_setting axis = mw_int("axis", 0);
  mw_tensor *y = mw_apply(ctx, "concat", 2, halves, 1, &axis);
  is_text(mw_node_input_name(y, 1, text), "x[2]", "the second of any number of inputs");
  mw_tensor *all[] = {x, halves[0], halves[1], y};
  for (int i = 0; i < 4; i++) mw_release(all[i]);
}

static void test_backward(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 4, (double[]){1, 2, 3, 4}), *y = apply1(ctx, "t_square", x), *dx;
  char text[MW_NAME_TEXT];
  ok(!mw_grad(ctx, y, x, 1, &x, &dx), "a gradient");
  mw_node_info info = mw_node_of(dx);
  ok(info.kind == MW_BACKWARD && mw_node_forward_of(dx) == y && !mw_node_forward_of(y),
     "knows whose it is");
  is_int(info.n_in, 4, "x, y, what is saved, and the gradient of y");
  ok(mw_node_input(dx, 0) == x && !mw_node_input(dx, 1) && !mw_node_input(dx, 2) &&
         mw_node_input(dx, 3) == x,
     "of which there is what its op says that it reads");
  is_text(mw_node_input_name(dx, 0, text), "x", "an input of forward");
  is_text(mw_node_input_name(dx, 1, text), "y", "an output of forward");
  is_text(mw_node_input_name(dx, 2, text), "what t_square saved", "bytes");
  is_text(mw_node_input_name(dx, 3, text), "the gradient of y", "and a gradient");
  is_text(mw_node_output_name(dx, 0, text), "the gradient of x", "what it makes");
  mw_release(x);
  mw_release(y);
  mw_release(dx);
}

static void test_attributes(mw_context *ctx) {
  mw_spec image = mw_spec_of(MW_F32, 4, (int64_t[]){1, 1, 8, 8}),
          kernel = mw_spec_of(MW_F32, 4, (int64_t[]){2, 1, 3, 3});
  mw_tensor *x = mw_constant(ctx, &image, NULL), *w = mw_constant(ctx, &kernel, NULL);
  mw_tensor *xw[] = {x, w};
  mw_setting two[] = {mw_int("stride", 2), mw_list("padding", 2, (int64_t[]){1, 0})};
  mw_tensor *y = mw_apply(ctx, "conv2d", 2, xw, 2, two), *z = apply2(ctx, "conv2d", x, w);
  is_attrs(y, false, "stride 2, padding {1,0,1,0}", "what is other than by default");
  is_attrs(z, false, "", "nothing is, although infer has made lists of the defaults");
  is_attrs(z, true, "stride 1, padding 0, dilation 1, groups 1, flip false", "all");
  mw_tensor *last = apply1(ctx, "softmax", x);
  is_attrs(last, false, "", "the last axis, which infer counts from the front, is the default");
  mw_setting axis = mw_int("axis", 1);
  mw_tensor *first = mw_apply(ctx, "softmax", 1, &x, 1, &axis);
  is_attrs(first, false, "axis 1", "the second axis is not");
  mw_axes_count_from(ctx, 1);
  is_attrs(first, false, "axis 2", "as the language counts that asked for it");
  mw_axes_count_from(ctx, 0);
  mw_setting mean[] = {mw_list("axes", 2, (int64_t[]){2, 3}), mw_bool("keepdims", true)};
  mw_tensor *means = mw_apply(ctx, "mean", 1, &x, 2, mean);
  is_attrs(means, false, "axes {2,3}, keepdims true", "a list of axes, and a flag");
  mw_tensor *all[] = {x, w, y, z, last, first, means};
  for (int i = 0; i < 7; i++) mw_release(all[i]);
}

static void test_uncomputed(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 1, (int64_t[]){2});
  mw_tensor *w = mw_parameter(ctx, &spec, (double[]){2, 3}, "w"), *y = apply1(ctx, "t_cube", w);
  mw_tensor *ones = vector(ctx, 2, (double[]){1, 1}), *d[3] = {y, NULL, w}, *copies[3];
  ok(!mw_grad(ctx, y, ones, 1, &w, &d[1]) && !mw_eval(ctx, 2, d), "a value and its gradient");
  ok(!mw_update(ctx, 0, NULL, 1, &w, &ones), "of a parameter that is changed");
  ok(!mw_uncomputed(ctx, 3, d, copies), "copies of them");
  ok(copies[0] != y && !mw_tensor_data(copies[0]) && copies[2] == w,
     "have no values, but for leaves");
  ok(mw_node_forward_of(copies[1]) == copies[0], "and are made of each other");
  calls_forward = 0;
  near(at(copies[0], 1), 1, 0, "they are computed anew");
  near(at(copies[1], 1), 3, 0, "from what the leaves have now");
  ok(calls_forward > 0, "by kernels");
  for (int i = 0; i < 3; i++) mw_release(copies[i]);
  mw_tensor *all[] = {w, y, ones, d[1]};
  for (int i = 0; i < 4; i++) mw_release(all[i]);
}

static const mw_failure *last_failure(mw_context *ctx, const char *op, const char *message) {
  const mw_failure *f = mw_failure_last(ctx);
  if (!ok(f != NULL, "a failure is kept")) return NULL;
  is_text(mw_tensor_op(f->at), op, "of its op");
  is_text(f->message, message, "with its message");
  return f;
}

static void test_refused(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 3, (double[]){1, 2, 3}), *none[MW_MAX_ARGS];
  mw_origin_set(ctx, mw_origin(ctx, "net.lua:9"));
  ok(!mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, none), "an op refuses its input");
  mw_origin_set(ctx, NULL);
  const mw_failure *f =
      last_failure(ctx, "t_split", "t_split: x has 3 elements, expected an even number (x f64[3])");
  if (!f) return;
  ok(mw_node_input(f->at, 0) == x && !mw_node_output(f->at, 0), "with input and without outputs");
  is_text(mw_tensor_origin(f->at), "net.lua:9", "and where it was built");
  mw_setting setting = mw_int("power", 3);
  ok(!mw_apply(ctx, "t_cube", 1, &x, 1, &setting), "an attribute that the op has not");
  last_failure(ctx, "t_cube", "t_cube: unknown attribute 'power'; it has none");
  mw_tensor *two[] = {x, x};
  ok(!mw_apply(ctx, "t_square", 2, two, 0, NULL), "an input too many");
  f = last_failure(ctx, "t_square", "t_square: got 2 tensors, expected at most 1");
  char text[MW_NAME_TEXT];
  if (f) is_text(mw_node_input_name(f->at, 1, text), "argument 2", "which has no name");
  ok(!mw_apply(ctx, "silu", 2, two, 0, NULL), "a composition");
  last_failure(ctx, "silu", "silu: got 2 tensors, expected at most 1");
  mw_failure_forget(ctx);
  ok(!mw_failure_last(ctx), "it is forgotten");
  mw_release(x);
}

static void test_steps(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 1, (int64_t[]){2});
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *y = apply1(ctx, "t_cube", x);
  mw_tensor *z = apply1(ctx, "t_fail", y), *out = apply1(ctx, "t_cube", z);
  ok(mw_eval(ctx, 1, &out), "a kernel fails");
  const mw_failure *f = last_failure(ctx, "t_fail", "t_fail: element 7 is not welcome");
  ok(f && f->at == z && mw_node_input(f->at, 0) == y, "the step's node is the graph's");
  mw_failure_forget(ctx);
  mw_program *p = mw_program_new(ctx, 1, &out, 0, NULL, NULL);
  mw_release(out);
  mw_tensor *result;
  ok(p && mw_program_run(p, &result), "in a program kept by hand");
  f = last_failure(ctx, "t_fail", "t_fail: element 7 is not welcome");
  ok(f && f->at == z, "whose graph is kept as well");
  mw_program_free(p);
  mw_tensor *w = mw_parameter(ctx, &spec, (double[]){1, 2}, "w"), *v = apply1(ctx, "t_cube", w);
  ok(!mw_update(ctx, 0, NULL, 1, &w, &x) && mw_eval(ctx, 1, &v), "a stale value");
  f = mw_failure_last(ctx);
  ok(f && f->at == v && strstr(f->message, "stale value"), "has its node");
  mw_watch(ctx, true);
  mw_tensor *minus = vector(ctx, 1, (double[]){-1}), *odd = apply1(ctx, "sqrt", minus);
  mw_tensor *more = apply1(ctx, "t_cube", odd);
  ok(mw_eval(ctx, 1, &more), "the root of -1");
  f = mw_failure_last(ctx);
  ok(f && f->at == odd && strstr(f->message, "sqrt: 1 NaN"), "is where the first NaN is made");
  mw_watch(ctx, false);
  mw_tensor *all[] = {x, y, z, w, v, minus, odd, more};
  for (int i = 0; i < 8; i++) mw_release(all[i]);
  mw_failure_forget(ctx);
}

static void test_gradients(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *y = apply1(ctx, "t_fail", x), *dx;
  ok(mw_grad(ctx, y, x, 1, &x, &dx), "an op without a derivative");
  const mw_failure *f = last_failure(ctx, "t_fail", "t_fail: it has no derivative");
  ok(f && f->at == y && f->of_gradient, "it is its gradient that is missing");
  mw_release(x);
  mw_release(y);
  mw_failure_forget(ctx);
}

/* A step of training whose second run fails: the first has made it known by its structure, and what
 * is found so has forgotten its nodes. */
static void test_recipes(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 2, (int64_t[]){2, 3}),
          one = mw_spec_of(MW_I64, 1, (int64_t[]){2});
  mw_tensor *w = mw_parameter(ctx, &spec, NULL, "w");
  int found = 0, failed = 0;
  for (int i = 0; i < 3; i++) {
    mw_tensor *labels = mw_constant(ctx, &one, (int64_t[]){0, i < 2 ? 2 : 3}), *dw;
    mw_tensor *loss = apply2(ctx, "cross_entropy", w, labels);
    mw_recipe step = {.rule = "set", .n = 1, .n_differentiated = 1, .tensors = &loss};
    step.n_operands = 1, step.operands = &w;
    bool done;
    mw_status status = mw_update_again(ctx, &step, &done);
    found += done;
    if (!status && !done) {
      status = mw_grad(ctx, loss, NULL, 1, &w, &dw);
      if (!status) status = mw_update_derived(ctx, &step, 1, &w, &dw);
      mw_release(dw);
    }
    failed += status != MW_OK;
    const mw_failure *f = mw_failure_last(ctx);
    if (i == 2) ok(f && f->at == loss && mw_node_input(f->at, 1) == labels, "the node is known");
    mw_release(loss);
    mw_release(labels);
  }
  is_int(found, 1, "the second step is found by its structure");
  is_int(failed, 1, "and the third one fails");
  mw_failure_forget(ctx);
  mw_release(w);
  mw_cache_clear(ctx); /* it keeps a constant */
}

static void test_held(void) {
  mw_context *ctx = context_with_test_ops();
  mw_tensor *x = vector(ctx, 3, (double[]){1, 2, 3}), *none[MW_MAX_ARGS];
  mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, none);
  ok(!mw_failure_last(ctx), "nothing is kept unless it is wanted");
  ok(!mw_failures_keep(ctx, true), "it was not");
  mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, none);
  mw_release(x);
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 2, "what is kept holds its inputs");
  ok(mw_failures_keep(ctx, false) && !mw_failure_last(ctx), "until failures are kept no more");
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "then nothing is left");
  mw_failures_keep(ctx, true);
  x = vector(ctx, 3, (double[]){1, 2, 3});
  mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, none);
  mw_release(x);
  mw_context_free(ctx); /* the sanitizers see that all is freed */
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  if (!ok(ctx != NULL, "a context with the tests' ops")) return done();
  test_leaves(ctx);
  test_forward(ctx);
  test_backward(ctx);
  test_attributes(ctx);
  test_uncomputed(ctx);
  mw_failures_keep(ctx, true);
  test_refused(ctx);
  test_steps(ctx);
  test_gradients(ctx);
  test_recipes(ctx);
  test_held();
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "nothing is left");
  mw_context_free(ctx);
  return done();
}
