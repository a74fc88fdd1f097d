/* program.c: programs: what is merged, kept, shared, cached, updated, and refused. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

static void test_merging(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2});
  mw_tensor *a = apply1(ctx, "t_cube", x), *b = apply1(ctx, "t_cube", x);
  mw_tensor *aa = apply1(ctx, "t_cube", a), *bb = apply1(ctx, "t_cube", b);
  mw_tensor *y = apply2(ctx, "add", aa, bb), *unused = apply1(ctx, "t_fail", x);
  calls_forward = calls_saved = 0;
  near(at(y, 1), 1024, 0, "2^9 + 2^9");
  is_int(calls_forward, 2, "equal nodes are merged: two calls for four nodes");
  is_int(calls_saved, 0, "nothing is saved for a backward that nobody asked for");
  ok(mw_tensor_data(unused) == NULL, "what nobody asked for is not run");
  release_all(7, (mw_tensor *[]){x, a, b, aa, bb, y, unused});
}

static void test_saved_and_shared_forward(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *y = apply1(ctx, "t_cube", x), *dx;
  mw_grad(ctx, y, x, 1, &x, &dx);
  calls_forward = calls_backward = calls_saved = 0;
  ok(!mw_eval(ctx, 2, (mw_tensor *[]){y, dx}), "a value and its gradient in one program");
  is_int(calls_forward, 1, "run forward once");
  is_int(calls_saved, 1, "keeping what backward reads");
  is_int(calls_backward, 1, "and backward once");
  near(at(dx, 1), 3 * 4 * 2, 0, "dx = 3 x^2 dy");
  calls_forward = 0;
  near(at(y, 1), 8, 0, "a value is kept");
  is_int(calls_forward, 0, "and not computed again");
  release_all(3, (mw_tensor *[]){x, y, dx});
}

static void test_cache(mw_context *ctx) {
  int64_t before = stats_of(ctx).programs_compiled;
  for (int i = 0; i < 50; i++) {
    mw_tensor *x = vector(ctx, 2, (double[]){i, 2}), *y = apply1(ctx, "t_cube", x);
    if (at(y, 0) != (double)i * i * i) ok(false, "step %d", i);
    release_all(2, (mw_tensor *[]){x, y});
  }
  is_int(stats_of(ctx).programs_compiled - before, 1, "50 steps of one structure compile once");
  mw_tensor *x = vector(ctx, 3, (double[]){1, 2, 3}), *y = apply1(ctx, "t_cube", x);
  near(at(y, 2), 27, 0, "another shape");
  is_int(stats_of(ctx).programs_compiled - before, 2, "is another program");
  for (int n = 1; n < 300; n++) { /* more structures than the cache holds */
    mw_tensor *v = vector(ctx, 1, (double[]){1}), *w = mw_retain(v);
    for (int i = 0; i < n; i++) {
      mw_tensor *next = apply2(ctx, "add", w, v);
      mw_release(w);
      w = next;
    }
    if (at(w, 0) != n + 1) ok(false, "a chain of %d", n);
    release_all(2, (mw_tensor *[]){v, w});
  }
  ok(stats_of(ctx).programs_cached <= MW_MAX_CACHED, "the cache keeps a bounded number");
  release_all(2, (mw_tensor *[]){x, y});
}

/* A chain of n vectors needs two of them at once, or one in place, and not n. */
static void test_memory(mw_context *ctx) {
  enum { N = 1000, LENGTH = 40 };
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){N});
  mw_tensor *x = mw_constant(ctx, &s, NULL);
  const char *ops[] = {"t_cube", "t_twice"};
  for (int kind = 0; kind < 2; kind++) {
    mw_tensor *y = mw_retain(x);
    for (int i = 0; i < LENGTH; i++) {
      mw_tensor *next = apply1(ctx, ops[kind], y);
      mw_release(y);
      y = next;
    }
    ok(!mw_eval(ctx, 1, &y), "a chain of %s", ops[kind]);
    int64_t vectors = (int64_t)(stats_of(ctx).arena_last / (N * sizeof(double)));
    is_int(vectors, kind ? 1 : 2, "of 40 values needs room for so many at once");
    if (!kind)
      is_int((int64_t)stats_of(ctx).arena_unshared, 39 * 8000, "39 if they did not share it");
    mw_release(y);
  }
  mw_release(x);
}

/* y = 2x in place must not touch x, a result, or a value that is read later. */
static void test_in_place(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 5});
  mw_tensor *c = apply1(ctx, "t_cube", x), *d = apply1(ctx, "t_twice", c);
  mw_tensor *e = apply2(ctx, "add", c, d), *f = apply1(ctx, "t_twice", x);
  ok(!mw_eval(ctx, 3, (mw_tensor *[]){e, f, d}), "in place where allowed");
  near(at(e, 1), 125 + 250, 0, "a value read later is not overwritten");
  near(at(x, 1), 5, 0, "nor a leaf");
  near(at(d, 1), 250, 0, "nor a result");
  near(at(f, 1), 10, 0, "and the values are right");
  release_all(5, (mw_tensor *[]){x, c, d, e, f});
}

static void test_views(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 4, (double[]){1, 2, 3, 4});
  mw_setting shape = mw_list("shape", 2, (int64_t[]){2, 2});
  mw_tensor *m = mw_apply(ctx, "reshape", 1, &x, 1, &shape);
  near(at(m, 3), 4, 0, "a view of a leaf");
  ok(mw_tensor_data(m) == mw_tensor_data(x), "has the leaf's own bytes");
  mw_tensor *c = apply1(ctx, "t_cube", x), *v = mw_apply(ctx, "reshape", 1, &c, 1, &shape);
  mw_tensor *w = apply1(ctx, "t_twice", v), *y = apply2(ctx, "matmul", v, w);
  /* [[1,8],[27,64]] times twice itself */
  near(at(y, 0), 2 * (1 + 8 * 27), 0, "a view in the middle, read twice");
  double *bytes = mw_leaf_write(x);
  bytes[3] = 9;
  near(at(m, 3), 4, 0, "writing a leaf does not change what was computed from it");
  near(at(x, 3), 9, 0, "but the leaf");
  release_all(6, (mw_tensor *[]){x, m, c, v, w, y});
}

static mw_tensor *parameter(mw_context *ctx, double value, const char *name) {
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){1});
  return mw_parameter(ctx, &s, &value, name);
}

static void test_updates(mw_context *ctx) {
  mw_tensor *a = parameter(ctx, 1, "a"), *b = parameter(ctx, 10, "b");
  mw_tensor *targets[] = {a, b}, *swapped[] = {b, a};
  ok(!mw_update(ctx, 0, NULL, 2, targets, swapped), "all at once:");
  near(at(a, 0) * 100 + at(b, 0), 1001, 0, "two parameters are exchanged");
  mw_tensor *sum = apply2(ctx, "add", a, b), *cube = apply1(ctx, "t_cube", a);
  mw_tensor *both[] = {sum, sum};
  ok(!mw_update(ctx, 1, &sum, 2, targets, both), "one value for two parameters, and a result");
  near(at(a, 0) + at(b, 0) + at(sum, 0), 33, 0, "each has it");
  ok(mw_eval(ctx, 1, &cube) && strstr(mw_error(ctx),
                                      "stale value: t_cube was built from parameter "
                                      "'a' f64[1] before"),
     "what was built from a parameter before its update is stale");
  near(at(sum, 0), 11, 0, "what was computed before it is not");
  mw_tensor *da;
  ok(mw_grad(ctx, sum, NULL, 1, &a, &da) && strstr(mw_error(ctx), "stale"),
     "but it cannot be differentiated any more");
  double *bytes = mw_leaf_write(a);
  bytes[0] = 3;
  near(at(b, 0), 11, 0, "parameters that shared a value part when one is written");
  mw_tensor *fresh = apply1(ctx, "t_cube", a);
  near(at(fresh, 0), 27, 0, "and the new value counts");
  release_all(5, (mw_tensor *[]){a, b, sum, cube, fresh});
}

static void test_update_errors(mw_context *ctx) {
  mw_tensor *a = parameter(ctx, 1, "a"), *c = vector(ctx, 1, (double[]){2}), *long_one;
  long_one = vector(ctx, 2, (double[]){1, 2});
  mw_tensor *bad = apply1(ctx, "t_fail", a), *twice[] = {a, a}, *values[] = {c, c};
  ok(mw_update(ctx, 0, NULL, 1, &c, &a) && strstr(mw_error(ctx), "target 1 is a constant"),
     "only parameters are updated");
  ok(mw_update(ctx, 0, NULL, 1, &a, &long_one) && strstr(mw_error(ctx), "new value is f64[2]"),
     "with values of their spec");
  ok(mw_update(ctx, 0, NULL, 2, twice, values) && strstr(mw_error(ctx), "two values"),
     "one value each");
  ok(mw_update(ctx, 0, NULL, 1, &a, &bad), "a step that fails");
  near(at(a, 0), 1, 0, "changes nothing");
  release_all(4, (mw_tensor *[]){a, c, long_one, bad});
}

/* The loop of a training: memory and programs stay what they were after the first step. */
static void test_loop(mw_context *ctx) {
  mw_tensor *w = parameter(ctx, 4, "w");
  int64_t compiled = 0;
  size_t bytes = 0;
  for (int step = 0; step < 1000; step++) {
    mw_tensor *rate = vector(ctx, 1, (double[]){0.1}), *loss = apply2(ctx, "mul", w, w), *dw;
    mw_grad(ctx, loss, NULL, 1, &w, &dw);
    mw_tensor *change = apply2(ctx, "mul", rate, dw), *next = apply2(ctx, "sub", w, change);
    if (mw_update(ctx, 1, &loss, 1, &w, &next)) ok(false, "step %d: %s", step, mw_error(ctx));
    release_all(5, (mw_tensor *[]){rate, loss, dw, change, next});
    if (step == 1) {
      compiled = stats_of(ctx).programs_compiled;
      bytes = stats_of(ctx).bytes_live;
    }
  }
  is_int(stats_of(ctx).programs_compiled - compiled, 0, "a training loop compiles once");
  is_int((int64_t)(stats_of(ctx).bytes_live - bytes), 0, "and keeps no bytes");
  near(at(w, 0), 0, 1e-12, "w -= 0.2 w ends at 0"); /* 4 * 0.8^1000 */
  mw_release(w);
}

static void test_program_by_hand(mw_context *ctx) {
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){1});
  mw_tensor *x = mw_input(ctx, &s, "x"), *w = parameter(ctx, 2, "w");
  mw_tensor *y = apply2(ctx, "mul", x, w), *grown = apply2(ctx, "add", w, w), *result;
  mw_program *p = mw_program_new(ctx, 1, &y, 1, &w, &grown);
  ok(p != NULL, "a program with an input");
  ok(mw_program_run(p, &result) && strstr(mw_error(ctx), "input 'x' f64[1] has no value"),
     "wants its value");
  mw_release(y);
  mw_release(grown);
  double expected[] = {3 * 2, 4 * 4, 5 * 8};
  for (int i = 0; i < 3; i++) {
    *(double *)mw_leaf_write(x) = i + 3;
    ok(!mw_program_run(p, &result), "run %d", i + 1);
    near(at(result, 0), expected[i], 0, "with the input and the parameter of now");
    mw_release(result);
  }
  mw_release(x);
  mw_release(w);
  mw_program_free(p);
}

/* What each worker writes is as long as the number of threads says that the program runs with. */
static void test_program_and_threads(mw_context *ctx) {
  int before = mw_threads(ctx);
  mw_threads_set(ctx, 1);
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){4096});
  mw_tensor *x = mw_constant(ctx, &s, NULL), *y = apply1(ctx, "t_workers", x), *result;
  double *values = mw_leaf_write(x);
  for (int i = 0; i < 4096; i++) values[i] = i;
  mw_program *p = mw_program_new(ctx, 1, &y, 0, NULL, NULL);
  size_t needed[3];
  for (int i = 0; i < 3; i++) {
    mw_threads_set(ctx, (int[]){1, 64, 2}[i]);
    bool right = !mw_program_run(p, &result);
    for (int k = 0; right && k < 4096; k++) right = at(result, k) == k;
    ok(right, "a program kept while the number of threads changes");
    needed[i] = stats_of(ctx).arena_last;
    is_int((int64_t)mw_program_memory(p), (int64_t)needed[i], "which says how much that takes");
    mw_release(result);
  }
  is_int((int64_t)needed[1], 64 * (int64_t)needed[0], "has scratch for each of them");
  is_int((int64_t)needed[2], 2 * (int64_t)needed[0], "and no more than that");
  mw_program_free(p);
  release_all(2, (mw_tensor *[]){x, y});
  mw_threads_set(ctx, before);
}

/* meanpool's backward reads neither input nor output: dy and the attributes are the same for an
 * image of 4x4 and for one of 5x5, whose last row and column are in no window. */
static void test_backward_of_other_shapes(mw_context *ctx) {
  mw_spec small = mw_spec_of(MW_F64, 4, (int64_t[]){1, 1, 4, 4}), large = small, half = small;
  large.shape[2] = large.shape[3] = 5;
  half.shape[2] = half.shape[3] = 2;
  mw_tensor *a = mw_constant(ctx, &small, NULL), *b = mw_constant(ctx, &large, NULL);
  mw_tensor *dy = mw_constant(ctx, &half, (double[]){4, 8, 12, 16});
  mw_setting kernel = mw_int("kernel", 2);
  mw_tensor *y[] = {mw_apply(ctx, "meanpool", 1, &a, 1, &kernel),
                    mw_apply(ctx, "meanpool", 1, &b, 1, &kernel)};
  mw_tensor *da, *db, *again, *both[2];
  mw_grad(ctx, y[0], dy, 1, &a, &da);
  mw_grad(ctx, y[1], dy, 1, &b, &db);
  near(at(da, 15), 4, 0, "a backward that reads only dy");
  ok(at(db, 4) == 0 && at(db, 5) == 1 && at(db, 18) == 4 && at(db, 24) == 0,
     "is another program for another shape");
  mw_grad(ctx, y[0], dy, 1, &a, &both[0]);
  mw_grad(ctx, y[1], dy, 1, &b, &both[1]);
  ok(!mw_eval(ctx, 2, both) && at(both[0], 15) == 4 && at(both[1], 18) == 4 && at(both[1], 24) == 0,
     "and not merged with it in one");
  mw_grad(ctx, y[0], dy, 1, &a, &again);
  int64_t compiled = stats_of(ctx).programs_compiled;
  near(at(again, 0), 1, 0, "the same shape again");
  is_int(stats_of(ctx).programs_compiled, compiled, "is found again");
  release_all(10, (mw_tensor *[]){a, b, dy, y[0], y[1], da, db, both[0], both[1], again});
}

/* Nodes that differ in their attributes alone, a long chain of views, and many parameters: so many
 * that a quadratic way through them would be seen at once. */
static void test_many(mw_context *ctx) {
  enum { N = 40000 };
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){N});
  mw_tensor *x = mw_constant(ctx, &s, NULL), *cube = apply1(ctx, "t_cube", x), *y;
  mw_tensor **parts = calloc(N, sizeof *parts), **w = calloc(N, sizeof *w);
  double *values = mw_leaf_write(x);
  if (!parts || !w) return;
  for (int i = 0; i < N; i++) {
    values[i] = 1;
    mw_setting settings[] = {mw_list("start", 1, (int64_t[]){i}),
                             mw_list("count", 1, (int64_t[]){1})};
    parts[i] = mw_apply(ctx, "slice", 1, &cube, 2, settings);
  }
  y = mw_apply(ctx, "accumulate", N, parts, 0, NULL);
  near(at(y, 0), N, 0, "%d slices of one tensor", (int)N);
  for (int i = 0; i < N; i++) mw_release(parts[i]);
  mw_release(y);
  mw_tensor *view = apply1(ctx, "t_cube", cube);
  for (int i = 0; i < N; i++) {
    mw_setting shape = mw_list("shape", 2, (int64_t[]){1 + i % 2, N / (1 + i % 2)});
    mw_tensor *next = mw_apply(ctx, "reshape", 1, &view, 1, &shape);
    mw_release(view);
    view = next;
    parts[i] = apply1(ctx, "sum", view);
  }
  y = mw_apply(ctx, "accumulate", 10, parts, 0, NULL);
  ok(!mw_eval(ctx, 1, &parts[N - 1]) && !mw_eval(ctx, 1, &y), "a chain of %d views", (int)N);
  near(at(parts[N - 1], 0), N, 0, "shows the first one's bytes");
  for (int i = 0; i < N; i++) mw_release(parts[i]);
  mw_release(y);
  mw_release(view);
  for (int i = 0; i < N; i++) w[i] = parameter(ctx, i, "");
  for (int i = 0; i < N; i++) parts[i] = w[N - 1 - i];
  ok(!mw_update(ctx, 0, NULL, N, w, parts), "%d parameters updated at once", (int)N);
  near(at(w[0], 0), N - 1, 0, "each has its value");
  release_all(N, w);
  free(parts);
  free(w);
  release_all(2, (mw_tensor *[]){x, cube});
}

/* (low + high) of x^9, cut in halves; a checkpoint hides what is between. */
static mw_tensor *halves(mw_context *ctx, mw_tensor *x, bool hide) {
  uint64_t begin = mw_checkpoint_begin(ctx);
  mw_tensor *a = apply1(ctx, "t_cube", x), *b = apply1(ctx, "t_cube", a), *parts[MW_MAX_ARGS];
  mw_apply_all(ctx, "t_split", 1, &b, 0, NULL, parts);
  mw_tensor *y = apply2(ctx, "add", parts[0], parts[1]);
  mw_tensor *shown = hide ? mw_checkpoint(ctx, begin, y) : mw_retain(y);
  release_all(5, (mw_tensor *[]){a, b, parts[0], parts[1], y});
  return shown;
}

static void test_checkpoint(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *dy = vector(ctx, 1, (double[]){3}), *dx[2];
  for (int hide = 0; hide < 2; hide++) {
    mw_tensor *y = halves(ctx, x, hide);
    ok(!mw_grad(ctx, y, dy, 1, &x, &dx[hide]), "a gradient %s", hide ? "by a checkpoint" : "");
    calls_forward = calls_backward = calls_saved = 0;
    ok(!mw_eval(ctx, 2, (mw_tensor *[]){y, dx[hide]}), "computed with its value");
    near(at(y, 0), 1 + 512, 0, "which is the same");
    is_int(calls_forward, hide ? 4 : 2, "what is hidden is computed again");
    is_int(calls_saved, 2, "and bytes are saved once");
    is_int(calls_backward, 2, "for one backward pass");
    mw_release(y);
  }
  ok(memcmp(mw_tensor_data(dx[0]), mw_tensor_data(dx[1]), 16) == 0, "the gradients are the same");
  near(at(dx[1], 1), 3 * 9 * 256, 0, "and right");
  mw_tensor *same = mw_checkpoint(ctx, mw_checkpoint_begin(ctx), dx[1]);
  ok(same == dx[1], "a checkpoint of what was there before is that itself");
  release_all(5, (mw_tensor *[]){x, dy, dx[0], dx[1], same});
}

static void test_abort(mw_context *ctx) {
  int before = mw_op_count(ctx);
  mw_op op = t_twice;
  op.name = "t_half_registered";
  mw_plugin *plugin = mw_plugin_begin(ctx, "half", NULL, NULL);
  ok(!mw_host_register_op(plugin, &op, sizeof op, MW_F64), "a plugin registers an op");
  ok(mw_host_register_op(plugin, &t_cube, sizeof op, MW_F64) == MW_FAILED &&
         strstr(mw_error(ctx), "op t_cube exists already, from tests"),
     "and then one that exists");
  op.name = "t_bad_view";
  op.flags = MW_VIEW;
  op.inputs[0].flags = MW_OPTIONAL;
  ok(mw_host_register_op(plugin, &op, sizeof op, MW_F64) == MW_FAILED &&
         strstr(mw_error(ctx), "its first input is not optional"),
     "a view of nothing is refused");
  mw_plugin_abort(plugin);
  is_int(mw_op_count(ctx), before, "taken back, it leaves nothing");
  ok(!mw_op_find(ctx, "t_half_registered"), "not even the first");
}

/* w <- w - rate dloss, where loss = sum(w^3), by recipe. Returns how often it was built. */
static int descend(mw_context *ctx, mw_tensor *w, double rate, const char *rule, bool late) {
  mw_spec scalar = mw_spec_of(MW_F64, 0, NULL);
  mw_tensor *y = apply1(ctx, "t_cube", w), *loss = apply1(ctx, "sum", y);
  mw_tensor *operands[] = {w, mw_constant(ctx, &scalar, &rate)};
  mw_recipe step = {.rule = rule,
                    .n = 1,
                    .n_differentiated = 1,
                    .tensors = &loss,
                    .n_operands = 2,
                    .operands = operands};
  bool done = true;
  if (late) mw_eval(ctx, 1, &y);
  mw_status status = mw_update_again(ctx, &step, &done);
  int built = !done;
  if (!status && built) {
    mw_tensor *dw = NULL;
    mw_grad(ctx, loss, NULL, 1, &w, &dw);
    mw_tensor *change = apply2(ctx, "mul", dw, operands[1]), *new = apply2(ctx, "sub", w, change);
    status = mw_update_derived(ctx, &step, 1, &w, &new);
    release_all(3, (mw_tensor *[]){dw, change, new});
  }
  if (status || !mw_tensor_data(loss)) ok(false, "a step: %s", mw_error(ctx));
  release_all(3, (mw_tensor *[]){operands[1], loss, y});
  return built;
}

static void test_recipes(mw_context *ctx) {
  mw_spec s = mw_spec_of(MW_F64, 1, (int64_t[]){2});
  mw_tensor *w = mw_parameter(ctx, &s, (double[]){1, 2}, "w");
  mw_tensor *v = mw_parameter(ctx, &s, (double[]){0.5, 1}, "v");
  int64_t compiled = stats_of(ctx).programs_compiled;
  is_int(descend(ctx, w, 0.125, "descent", false), 1, "a first step is built");
  near(at(w, 1), 2 - 0.125 * 3 * 4, 0, "w - rate 3 w^2");
  is_int(descend(ctx, w, 0.5, "descent", false), 0, "a second one is found");
  near(at(w, 1), 0.5 - 0.5 * 3 * 0.25, 0, "with its own rate");
  near(at(w, 0), 0.625 - 0.5 * 3 * 0.625 * 0.625, 0, "from the values of now");
  is_int(descend(ctx, v, 0.25, "descent", false), 0, "another parameter is the same structure");
  near(at(v, 0), 0.5 - 0.25 * 3 * 0.25, 0, "and has its own value");
  is_int(stats_of(ctx).programs_compiled - compiled, 1, "it is all one program");
  is_int(descend(ctx, v, 0.25, "another", false), 1, "another rule is built");
  is_int(descend(ctx, v, 0.25, "another", true), 1, "so is what has values in its middle");
  is_int(descend(ctx, v, 0.25, "another", true), 0, "and that is found, too");
  mw_watch(ctx, true);
  is_int(descend(ctx, v, 0.25, "another", true), 1, "a watched run is built");
  mw_watch(ctx, false);
  for (int i = 0; i < 2 * MW_MAX_CACHED; i++) { /* more than are remembered */
    char rule[24];
    snprintf(rule, sizeof rule, "rule %d", i);
    if (!descend(ctx, v, 0.125, rule, false)) ok(false, "rule %d", i);
  }
  ok(stats_of(ctx).programs_cached <= MW_MAX_CACHED, "a bounded number is remembered");
  is_int(descend(ctx, v, 0.25, "descent", false), 1, "what was pushed out is built again");

  bool done = true;
  mw_tensor *stale = apply1(ctx, "t_cube", v), *loss = apply1(ctx, "sum", stale);
  mw_recipe step = {.rule = "descent", .n = 1, .n_differentiated = 1, .tensors = &loss};
  descend(ctx, v, 0.25, "descent", false);
  ok(!mw_update_again(ctx, &step, &done) && !done, "a stale loss is not found");
  ok(mw_update_derived(ctx, &step, 0, NULL, NULL) && strstr(mw_error(ctx), "stale"), "but refused");
  release_all(4, (mw_tensor *[]){loss, stale, w, v});
  mw_cache_clear(ctx); /* each program keeps a constant, the 1 that its gradient begins with */
}

static void test_lifetime(void) {
  mw_context *ctx = context_with_test_ops();
  mw_tensor *x = vector(ctx, 1, (double[]){3}), *y = apply1(ctx, "t_cube", x);
  mw_context_free(ctx);
  near(at(y, 0), 27, 0, "tensors keep their context alive");
  mw_release(x);
  mw_release(y);
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  if (!ok(ctx != NULL, "a context with the tests' ops")) return done();
  test_merging(ctx);
  test_saved_and_shared_forward(ctx);
  test_cache(ctx);
  test_memory(ctx);
  test_in_place(ctx);
  test_views(ctx);
  test_updates(ctx);
  test_update_errors(ctx);
  test_loop(ctx);
  test_program_by_hand(ctx);
  test_program_and_threads(ctx);
  test_backward_of_other_shapes(ctx);
  test_many(ctx);
  test_checkpoint(ctx);
  test_abort(ctx);
  test_recipes(ctx);
  is_int(stats_of(ctx).tensors_live, 0, "nothing is left");
  mw_context_free(ctx);
  test_lifetime();
  return done();
}
