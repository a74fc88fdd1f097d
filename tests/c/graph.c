/* graph.c: specs, leaves, nodes, and gradients as more graph. Expected values are arithmetic done
 * by hand: with y = x^3 the first derivative is 3x^2, the second 6x, the third 6. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

static bool says(mw_context *ctx, const char *part) {
  if (strstr(mw_error(ctx), part)) return true;
  printf("# the message is: %s\n", mw_error(ctx));
  return false;
}

static void test_specs(mw_context *ctx) {
  char text[MW_SPEC_TEXT];
  mw_spec s = mw_spec_of(MW_F32, 3, (int64_t[]){2, 3, 4});
  is_int(mw_spec_count(&s), 24, "count of 2x3x4");
  is_int((int64_t)mw_spec_bytes(&s), 96, "bytes of 2x3x4 f32");
  is_text(mw_spec_text(&s, text), "f32[2,3,4]", "a spec as text");
  s = mw_spec_of(MW_U8, 0, NULL);
  is_int(mw_spec_count(&s), 1, "a scalar has one element");
  is_text(mw_spec_text(&s, text), "u8[]", "a scalar as text");
  int64_t long_dim = INT64_MAX;
  s = mw_spec_of(
      MW_F64, 8,
      (int64_t[]){long_dim, long_dim, long_dim, long_dim, long_dim, long_dim, long_dim, long_dim});
  ok(strlen(mw_spec_text(&s, text)) < MW_SPEC_TEXT, "the longest spec fits its text");
  ok(!mw_constant(ctx, &s, NULL) && says(ctx, "too large"), "a shape that overflows is refused");
  s = mw_spec_of(MW_F64, 2, (int64_t[]){long_dim, 0});
  ok(!mw_constant(ctx, &s, NULL) && says(ctx, "too large"),
     "even next to a 0, which would hide it in the product");
  s = mw_spec_of(MW_F64, 1, (int64_t[]){-1});
  ok(!mw_constant(ctx, &s, NULL) && says(ctx, "negative"), "a negative size is refused");
  s = (mw_spec){.dtype = MW_F32, .rank = 9};
  ok(!mw_constant(ctx, &s, NULL) && says(ctx, "rank is 9"), "rank 9 is refused");
  s = (mw_spec){.dtype = (mw_dtype)77, .rank = 0};
  ok(!mw_constant(ctx, &s, NULL) && says(ctx, "dtype"), "an unknown dtype is refused");
  is_int(mw_dtype_named("i64"), MW_I64, "a dtype by name");
  is_int(mw_dtype_named("f16"), MW_NONE, "no dtype of that name");
}

static void test_leaves(mw_context *ctx) {
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){3});
  mw_tensor *zeros = mw_constant(ctx, &s, NULL);
  near(at(zeros, 2), 0, 0, "no data means zeros");
  ok(((uintptr_t)mw_tensor_data(zeros) & 63) == 0, "values are 64-byte aligned");
  s.shape[0] = 0;
  mw_tensor *empty = mw_constant(ctx, &s, NULL), *cube = apply1(ctx, "t_cube", empty);
  ok(mw_eval(ctx, 1, &cube) == MW_OK && mw_tensor_data(cube), "an empty tensor is computed");
  mw_tensor *input = mw_input(ctx, &s, "images"), *y = apply1(ctx, "t_cube", input);
  ok(mw_eval(ctx, 1, &y) && says(ctx, "'images' f64[0] has no value"),
     "an input without a value is named");
  ok(!mw_leaf_write(y) && says(ctx, "no leaf"), "the bytes of a result cannot be written");
  is_text(mw_tensor_op(zeros), "constant", "a constant's kind");
  is_text(mw_tensor_op(y), "t_cube", "a node's op");
  mw_tensor *dy;
  if (ok(!mw_grad(ctx, y, y, 1, &input, &dy), "a gradient's node"))
    is_text(mw_tensor_op(dy), "t_cube.backward", "has its own name");
  mw_release(dy);
  s = (mw_spec){.dtype = MW_F64, .rank = 1, .shape = {0, 7, 7}};
  mw_tensor *untidy = mw_constant(ctx, &s, NULL);
  is_int(mw_tensor_spec(untidy)->shape[1], 0, "a spec's entries beyond its rank are put to 0");
  mw_release(untidy);
  mw_tensor *all[] = {zeros, empty, cube, input, y};
  for (int i = 0; i < 5; i++) mw_release(all[i]);
}

static void test_apply_errors(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 3, (double[]){1, 2, 3}), *outs[MW_MAX_ARGS];
  ok(!apply1(ctx, "t_cub", x) && says(ctx, "did you mean 't_cube'"),
     "a misspelt op has a near name");
  ok(!apply1(ctx, "xyzzyplugh", x) && says(ctx, "no op is named 'xyzzyplugh'"), "or none");
  ok(!mw_apply(ctx, "t_cube", 0, NULL, 0, NULL) && says(ctx, "t_cube: argument 1 (x) is missing"),
     "a missing input is named");
  ok(!apply2(ctx, "t_cube", x, x) && says(ctx, "got 2 tensors, expected at most 1"),
     "one input too many");
  ok(!mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, outs) &&
         says(ctx, "t_split: x has 3 elements, expected an even number"),
     "infer's message, with the op in front");
  mw_setting setting = mw_int("power", 3);
  ok(!mw_apply(ctx, "t_cube", 1, &x, 1, &setting) && says(ctx, "unknown attribute 'power'"),
     "an attribute that the op has not");
  mw_spec s = mw_spec_of(MW_F32, 1, (int64_t[]){3});
  mw_tensor *x32 = mw_constant(ctx, &s, NULL);
  ok(!apply1(ctx, "t_cube", x32) && says(ctx, "x is f32[3], but kernels exist for f64"),
     "a dtype without a kernel is refused when the node is built");
  mw_tensor *bad = apply1(ctx, "t_fail", x);
  ok(mw_eval(ctx, 1, &bad) && says(ctx, "t_fail: element 7 is not welcome"),
     "a kernel's message, with the op in front");
  mw_context *other = context_with_test_ops();
  mw_tensor *bad_grad;
  ok(!apply1(other, "t_cube", x) && says(other, "another context"), "contexts do not mix");
  mw_tensor *foreign = vector(other, 1, (double[]){1});
  ok(mw_eval(ctx, 1, &foreign) && says(ctx, "constant f64[1] belongs to another context") &&
         mw_grad(ctx, x, x, 1, &foreign, &bad_grad) && says(ctx, "another context"),
     "not in an evaluation, and not in a gradient");
  mw_release(foreign);
  mw_context_free(other);
  mw_tensor *none = NULL;
  ok(!mw_apply(ctx, "t_maybe", 1, &none, 0, NULL) && says(ctx, "t_maybe: no kernel for f32"),
     "an op whose dtype comes from an input that is absent goes by its output");
  mw_release(bad);
  mw_release(x32);
  mw_release(x);
}

static void test_derivatives(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){2, -3}), *y = apply1(ctx, "t_cube", x);
  mw_tensor *ones = vector(ctx, 2, (double[]){1, 1}), *d1, *d2, *d3, *d4;
  ok(!mw_grad(ctx, y, ones, 1, &x, &d1), "the first derivative");
  near(at(d1, 0), 12, 0, "3 x^2 at 2");
  near(at(d1, 1), 27, 0, "3 x^2 at -3");
  ok(!mw_grad(ctx, d1, ones, 1, &x, &d2), "the second, through a backward node");
  near(at(d2, 0), 12, 0, "6 x at 2");
  near(at(d2, 1), -18, 0, "6 x at -3");
  ok(!mw_grad(ctx, d2, ones, 1, &x, &d3), "the third");
  near(at(d3, 0), 6, 0, "6 at 2");
  near(at(d3, 1), 6, 0, "6 at -3");
  ok(!mw_grad(ctx, d3, ones, 1, &x, &d4), "the fourth");
  near(at(d4, 1), 0, 0, "0");
  mw_tensor *all[] = {x, y, ones, d1, d2, d3, d4};
  for (int i = 0; i < 7; i++) mw_release(all[i]);
}

/* The first derivative of cube weighed by x itself is 3x^2 x, whose derivative is 9x^2: x reaches
 * the backward node twice, as its input and as dy, and must be counted once for each. */
static void test_shared_weight(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 1, (double[]){2}), *y = apply1(ctx, "t_cube", x), *d1 = NULL,
            *d2 = NULL;
  ok(!mw_grad(ctx, y, x, 1, &x, &d1) && !mw_grad(ctx, d1, NULL, 1, &x, &d2),
     "a gradient weighed by x is differentiated in x");
  near(at(d2, 0), 36, 1e-12, "9 x^2 at 2");
  mw_spec s = mw_spec_of(MW_F64, 2, (int64_t[]){1, 1});
  mw_tensor *m = mw_constant(ctx, &s, &(double){3}), *p = apply2(ctx, "dense", m, m), *d[4];
  mw_grad(ctx, p, NULL, 1, &m, &d[0]);
  ok(!mw_grad(ctx, d[0], NULL, 1, &m, &d[1]), "so is an op with one tensor as two inputs");
  near(at(d[1], 0), 2, 1e-12, "(m m)'' = 2");
  mw_tensor *all[] = {x, y, d1, d2, m, p, d[0], d[1]};
  for (int i = 0; i < 8; i++) mw_release(all[i]);
}

/* x_k is made of x_(k-1), and y is the sum of (w x_k)^3: the second walk meets n backward nodes of
 * dense, and must not go down from each through the x, of which it wants nothing: this test would
 * take twenty times as long. */
static void test_many_second_derivatives(mw_context *ctx) {
  enum { N = 20000 };
  mw_spec s = mw_spec_of(MW_F64, 2, (int64_t[]){1, 1});
  mw_tensor *w = mw_constant(ctx, &s, NULL), *x = mw_constant(ctx, &s, NULL), *y, *d1 = NULL,
            *d2 = NULL;
  mw_tensor **terms = malloc(N * sizeof *terms);
  if (!terms) return;
  for (int k = 0; k < N; k++) {
    mw_tensor *next = apply1(ctx, "neg", x), *p = apply2(ctx, "dense", w, next);
    terms[k] = apply1(ctx, "t_cube", p);
    mw_release(p);
    mw_release(x);
    x = next;
  }
  y = mw_apply(ctx, "accumulate", N, terms, 0, NULL);
  ok(!mw_grad(ctx, y, NULL, 1, &w, &d1) && !mw_grad(ctx, d1, NULL, 1, &w, &d2),
     "%d terms differentiated twice", (int)N);
  for (int k = 0; k < N; k++) mw_release(terms[k]);
  free(terms);
  mw_tensor *all[] = {w, x, y, d1, d2};
  for (int i = 0; i < 5; i++) mw_release(all[i]);
}

/* y = x^3 * x^3 + x^3 = x^6 + x^3: dy/dx = 6x^5 + 3x^2, d2y/dx2 = 30x^4 + 6x. The cube is used
 * three times, so that gradients meet at it and at x. */
static void test_fan_out(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 1, (double[]){1.5}), *cube = apply1(ctx, "t_cube", x);
  mw_tensor *six = apply2(ctx, "mul", cube, cube), *y = apply2(ctx, "add", six, cube), *d1, *d2;
  ok(!mw_grad(ctx, y, NULL, 1, &x, &d1), "one element needs no dy");
  near(at(d1, 0), 6 * 7.59375 + 3 * 2.25, 1e-12, "gradients that meet are added");
  ok(!mw_grad(ctx, d1, NULL, 1, &x, &d2), "and differentiated again");
  near(at(d2, 0), 30 * 5.0625 + 9, 1e-12, "30 x^4 + 6 x");
  mw_tensor *both[2], *wrt[] = {cube, x};
  ok(!mw_grad(ctx, y, NULL, 2, wrt, both), "an inner tensor may be asked for beside a leaf");
  near(at(both[0], 0), 2 * 3.375 + 1, 1e-12, "dy/dcube = 2 cube + 1");
  near(at(both[1], 0), at(d1, 0), 1e-12, "and the leaf's gradient is still the whole one");
  mw_tensor *all[] = {x, cube, six, y, d1, d2, both[0], both[1]};
  for (int i = 0; i < 8; i++) mw_release(all[i]);
}

static void test_several_outputs(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 4, (double[]){1, 2, 3, 4}), *half[MW_MAX_ARGS], *dx, *ones;
  is_int(mw_apply_all(ctx, "t_split", 1, &x, 0, NULL, half), 2, "two outputs");
  near(at(half[1], 0), 3, 0, "the second one's value");
  ones = vector(ctx, 2, (double[]){1, 1});
  ok(!mw_grad(ctx, half[1], ones, 1, &x, &dx), "a gradient that arrives at one output only");
  near(at(dx, 0) + at(dx, 1), 0, 0, "nothing for the first half");
  near(at(dx, 2) + at(dx, 3), 2, 0, "ones for the second");
  mw_tensor *d2;
  ok(!mw_grad(ctx, dx, x, 1, &x, &d2), "a backward that reads nothing of x");
  near(at(d2, 0), 0, 0, "does not depend on x");
  mw_tensor *all[] = {x, half[0], half[1], ones, dx, d2};
  for (int i = 0; i < 6; i++) mw_release(all[i]);
}

static void test_gradient_errors(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *other = vector(ctx, 1, (double[]){5}), *dx;
  mw_tensor *y = apply1(ctx, "t_cube", x), *z = apply1(ctx, "t_twice", x);
  ok(mw_grad(ctx, y, NULL, 1, &x, &dx) && says(ctx, "not a scalar"), "a vector wants dy");
  ok(mw_grad(ctx, y, other, 1, &x, &dx) && says(ctx, "dy is f64[1], expected f64[2]"),
     "dy has y's shape");
  ok(mw_grad(ctx, z, x, 1, &x, &dx) && says(ctx, "t_twice: it has no derivative"),
     "an op that gave no derivative is named");
  mw_tensor *q = apply1(ctx, "t_square", x), *dq;
  ok(!mw_grad(ctx, q, x, 1, &x, &dq) && mw_grad(ctx, dq, x, 1, &x, &dx) &&
         says(ctx, "t_square: it has no second derivative"),
     "so is one whose backward is a kernel alone, when it is differentiated twice");
  mw_release(q);
  mw_release(dq);
  q = apply1(ctx, "t_saver", x);
  ok(!mw_grad(ctx, q, x, 1, &x, &dq) && mw_grad(ctx, dq, x, 1, &x, &dx) &&
         says(ctx, "t_saver: it has no second derivative"),
     "also when all that it reads of x are saved bytes");
  mw_release(q);
  mw_release(dq);
  ok(!mw_grad(ctx, y, x, 1, &other, &dx), "a tensor that y does not depend on");
  near(at(dx, 0), 0, 0, "has gradient 0");
  mw_release(dx);
  mw_spec s = mw_spec_of(MW_I64, 0, NULL);
  mw_tensor *label = mw_constant(ctx, &s, NULL);
  ok(mw_grad(ctx, y, x, 1, &label, &dx) && says(ctx, "x[1] is i64[]"), "integers have no gradient");
  mw_tensor *all[] = {x, other, y, z, label};
  for (int i = 0; i < 5; i++) mw_release(all[i]);
}

/* Two layers of sigmoid against central differences; the composition has every kind of edge:
 * values reused, broadcasts, reductions, views. */
static double sigmoids(mw_context *ctx, const double *values, mw_tensor **x, mw_tensor **y) {
  *x = vector(ctx, 4, values);
  mw_setting shape = mw_list("shape", 2, (int64_t[]){2, 2});
  mw_tensor *m = mw_apply(ctx, "reshape", 1, x, 1, &shape), *p = apply2(ctx, "matmul", m, m);
  mw_tensor *s = apply1(ctx, "sigmoid", p), *q = apply2(ctx, "mul", s, m);
  *y = apply1(ctx, "sum", q);
  mw_tensor *all[] = {m, p, s, q};
  for (int i = 0; i < 4; i++) mw_release(all[i]);
  return at(*y, 0);
}

static void test_against_differences(mw_context *ctx) {
  double values[] = {0.3, -0.8, 1.1, 0.4}, step = 1e-6;
  mw_tensor *x, *y, *dx;
  sigmoids(ctx, values, &x, &y);
  ok(!mw_grad(ctx, y, NULL, 1, &x, &dx), "the gradient of a small network");
  for (int i = 0; i < 4; i++) {
    double moved[4], ends[2];
    for (int side = 0; side < 2; side++) {
      mw_tensor *x2, *y2;
      memcpy(moved, values, sizeof moved);
      moved[i] += side ? step : -step;
      ends[side] = sigmoids(ctx, moved, &x2, &y2);
      mw_release(x2);
      mw_release(y2);
    }
    near(at(dx, i), (ends[1] - ends[0]) / (2 * step), 1e-8, "agrees with differences at %d", i);
  }
  mw_release(x);
  mw_release(y);
  mw_release(dx);
}

static void test_depth(mw_context *ctx) {
  enum { DEPTH = 200000 };
  mw_tensor *x = vector(ctx, 1, (double[]){1}), *one = vector(ctx, 1, (double[]){1}), *y, *dx;
  y = mw_retain(x);
  for (int i = 0; i < DEPTH; i++) {
    mw_tensor *next = apply2(ctx, "add", y, one);
    mw_release(y);
    y = next;
  }
  near(at(y, 0), DEPTH + 1, 0, "a chain of 200,000 nodes is run");
  ok(!mw_grad(ctx, y, NULL, 1, &x, &dx), "differentiated");
  near(at(dx, 0), 1, 0, "with the right slope");
  mw_release(y);
  mw_release(dx);
  mw_release(one);
  mw_release(x);
  ok(true, "and freed, all without recursion");
}

/* A hook goes with the last tensor that needs it, which here is the last of the context's too. */
static void count_drop(void *state) { ++*(int *)state; }

static void test_hook_outlives_context(void) {
  int dropped = 0;
  mw_context *ctx = context_with_test_ops();
  mw_tensor *x = vector(ctx, 2, (double[]){2, -3});
  mw_tensor *leaf = mw_hook_leaf(ctx, &(mw_hook){.drop = count_drop, .state = &dropped});
  mw_tensor *y = apply2(ctx, "hooked", x, leaf);
  mw_release(leaf);
  mw_release(x);
  mw_context_free(ctx);
  is_int(dropped, 0, "a hook stays while a tensor needs it");
  mw_release(y);
  is_int(dropped, 1, "and goes with it, after its context");
}

static void test_origins(mw_context *ctx) {
  char text[32];
  const char *kept = mw_origin(ctx, "a.c:1"), *again, *first;
  ok(kept == mw_origin(ctx, "a.c:1"), "equal origins are one text");
  is_text(mw_origin(ctx, ""), "", "an empty one is unknown");
  first = mw_origin(ctx, "b.c:0");
  for (int i = 1; i < 1000; i++) {
    snprintf(text, sizeof text, "b.c:%d", i);
    mw_origin(ctx, text);
  }
  again = mw_origin(ctx, "b.c:0");
  ok(first == again, "and stay where they are when there are many");
  mw_tensor *x = vector(ctx, 2, (double[]){2, -3});
  is_text(mw_tensor_origin(x), "", "nobody said where");
  ok(mw_origin_set(ctx, kept) == NULL, "none was set");
  mw_tensor *y = apply1(ctx, "t_cube", x), *dx, *ddx;
  is_text(mw_tensor_origin(y), "a.c:1", "a node has the origin that was set");
  ok(mw_origin_set(ctx, first) == kept, "setting gives the one before");
  ok(!mw_grad(ctx, y, y, 1, &x, &dx), "a gradient");
  is_text(mw_tensor_origin(dx), "a.c:1", "has the origin of its node");
  ok(!mw_grad(ctx, dx, dx, 1, &x, &ddx), "a second gradient");
  is_text(mw_tensor_origin(y), "a.c:1", "y keeps its own");
  ok(mw_origin_set(ctx, NULL) == first, "gradients leave the origin as it was");
  mw_tensor_set_origin(x, kept);
  is_text(mw_tensor_origin(x), "a.c:1", "a leaf can be given one");
  mw_release(ddx);
  mw_release(dx);
  mw_release(y);
  mw_release(x);
}

static mw_tensor *ones(mw_context *ctx, int rank, const int64_t *shape) {
  mw_spec spec = mw_spec_of(MW_F64, rank, shape);
  return mw_constant(ctx, &spec, NULL);
}

/* conv2d 28 -> 24, maxpool -> 12; with padding 2 it would be 28 and 14. */
static void test_repair(mw_context *ctx) {
  mw_tensor *image = ones(ctx, 4, (int64_t[]){1, 1, 28, 28});
  mw_tensor *filter = ones(ctx, 4, (int64_t[]){1, 1, 5, 5});
  mw_origin_set(ctx, mw_origin(ctx, "net.c:7"));
  mw_tensor *y = apply2(ctx, "conv2d", image, filter);
  mw_origin_set(ctx, mw_origin(ctx, "net.c:8"));
  mw_setting kernel = mw_int("kernel", 2), shape = mw_list("shape", 1, (int64_t[]){196});
  mw_tensor *pooled = mw_apply(ctx, "maxpool", 1, &y, 1, &kernel);
  mw_origin_set(ctx, mw_origin(ctx, "net.c:9"));
  int64_t live[2];
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  live[0] = stats.tensors_live;
  ok(!mw_apply(ctx, "reshape", 1, &pooled, 1, &shape), "a shape that does not fit");
  ok(says(ctx, "reshape: x is f64[1,1,12,12] with 144 elements") &&
         says(ctx,
              " (x from maxpool at net.c:8); padding = 2 in the conv2d at net.c:7 would give "
              "[1,1,14,14]"),
     "is said with where it comes from and what would repair it");
  shape = mw_list("shape", 1, (int64_t[]){197});
  ok(!mw_apply(ctx, "reshape", 1, &pooled, 1, &shape) && !strstr(mw_error(ctx), "would"),
     "or without, where nothing would");
  mw_context_stats(ctx, &stats);
  live[1] = stats.tensors_live;
  is_int(live[1], live[0], "the search makes no nodes");
  mw_origin_set(ctx, NULL);
  mw_release(pooled);
  mw_release(y);
  mw_release(filter);
  mw_release(image);
}

typedef struct axis_attrs {
  int64_t axis;
} axis_attrs;
static mw_status axis_infer(mw_infer *it) {
  it->out[0] = it->in[0];
  return mw_expect_axis(it, "axis", &((axis_attrs *)it->attrs)->axis, it->in[0].rank);
}
static const mw_attr axis_schema[] = {
    {.name = "axis", .type = MW_AXIS, .offset = offsetof(axis_attrs, axis)}, {0}};
static const mw_op t_axis = {.name = "t_axis",
                             .version = 1,
                             .doc = "x",
                             .example = "none",
                             .inputs = {{"x"}},
                             .outputs = {{"y"}},
                             .attrs = axis_schema,
                             .attrs_size = sizeof(axis_attrs),
                             .infer = axis_infer,
                             .forward = twice_forward};

static void test_axes(mw_context *ctx) {
  mw_plugin *plugin = mw_plugin_begin(ctx, "more tests", NULL, NULL);
  ok(!mw_host_register_op(plugin, &t_axis, sizeof(mw_op), MW_F64) && !mw_plugin_commit(plugin),
     "an op with an axis");
  mw_tensor *cube = ones(ctx, 2, (int64_t[]){2, 3}), *line = ones(ctx, 1, (int64_t[]){2});
  mw_tensor *scalar = ones(ctx, 0, NULL);
  mw_setting axis = mw_int("axis", 5), last = mw_int("axis", -2);
  mw_tensor *y = mw_apply(ctx, "t_axis", 1, &cube, 1, &last);
  ok(y != NULL, "the first axis, from the end");
  ok(!mw_apply(ctx, "t_axis", 1, &cube, 1, &axis) &&
         says(ctx,
              "t_axis: axis 5 is out of range for x f64[2,3]: expected 0 to 1, or -1 to -2 "
              "from the end"),
     "an axis that is none, as C counts");
  mw_axes_count_from(ctx, 1);
  ok(!mw_apply(ctx, "t_axis", 1, &cube, 1, &axis) &&
         says(ctx, "axis 6 is out of range for x f64[2,3]: expected 1 to 2, or -1 to -2"),
     "and as another language does");
  ok(!mw_apply(ctx, "t_axis", 1, &line, 1, &last) &&
         says(ctx, "axis -2 is out of range for x f64[2]: expected 1, or -1"),
     "of one axis");
  ok(!mw_apply(ctx, "t_axis", 1, &scalar, 1, &last) && says(ctx, "f64[]: there are no axes"),
     "of none");
  mw_axes_count_from(ctx, 0);
  mw_release(y);
  mw_release(scalar);
  mw_release(line);
  mw_release(cube);
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  if (!ok(ctx != NULL, "a context with the tests' ops")) return done();
  test_specs(ctx);
  test_leaves(ctx);
  test_apply_errors(ctx);
  test_derivatives(ctx);
  test_shared_weight(ctx);
  test_many_second_derivatives(ctx);
  test_fan_out(ctx);
  test_several_outputs(ctx);
  test_gradient_errors(ctx);
  test_against_differences(ctx);
  test_depth(ctx);
  test_origins(ctx);
  test_hook_outlives_context();
  test_repair(ctx);
  test_axes(ctx);
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "nothing is left");
  mw_context_free(ctx);
  return done();
}
