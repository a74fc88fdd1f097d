/* hooks.c: what accompanies a run: hooks, watching for NaN, observing, denormals, interruption. */
#include <string.h>

#include "graph/denormals.h"
#include "tests/tap.h"
#include "tests/c/testops.h"

/* A hook that counts, and adds 1 to values and 2 to gradients. */
typedef struct counts {
  int values, gradients, drops;
  bool fails;
} counts;
static mw_status count_call(void *state, bool gradient, const mw_spec *spec, void *bytes,
                            char message[MW_HOOK_TEXT]) {
  counts *c = state;
  double *v = bytes;
  if (gradient) c->gradients++;
  else c->values++;
  for (int64_t i = 0; i < mw_spec_count(spec); i++) v[i] += gradient ? 2 : 1;
  if (c->fails) snprintf(message, MW_HOOK_TEXT, "not %s", "today");
  return c->fails ? MW_FAILED : MW_OK;
}
static void count_drop(void *state) { ((counts *)state)->drops++; }

static void test_hook(mw_context *ctx) {
  enum { N = 100 };
  static counts c[N];
  int64_t compiled = 0;
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2});
  for (int i = 0; i < N; i++) {
    mw_hook hook = {count_call, count_drop, &c[i]};
    mw_tensor *leaf = mw_hook_leaf(ctx, &hook), *y = apply2(ctx, "hooked", x, leaf), *dx;
    mw_release(leaf);
    mw_grad(ctx, y, x, 1, &x, &dx);
    if (mw_eval(ctx, 2, (mw_tensor *[]){y, dx}) || at(y, 1) != 3 || at(dx, 1) != 4)
      ok(false, "hook %d", i);
    if (!i) compiled = stats_of(ctx).programs_compiled;
    release_all(2, (mw_tensor *[]){y, dx});
    if (c[i].values != 1 || c[i].gradients != 1 || c[i].drops != 1) ok(false, "calls of %d", i);
  }
  ok(true, "hooks are called for a value and its gradient, and dropped");
  is_int(stats_of(ctx).programs_compiled, compiled, "by one program");
  near(at(x, 1), 2, 0, "which changes no leaf");
  counts failing = {.fails = true};
  mw_tensor *leaf = mw_hook_leaf(ctx, &(mw_hook){.call = count_call, .state = &failing});
  mw_tensor *y = apply2(ctx, "hooked", x, leaf);
  ok(mw_eval(ctx, 1, &y) && strcmp(mw_error(ctx), "hooked: not today") == 0, "one that fails");
  release_all(3, (mw_tensor *[]){x, y, leaf});
}

/* A hook that gives a leaf of the run another value, in other storage: a view had the same. */
typedef struct writer {
  mw_tensor *leaf, *view;
} writer;
static mw_status write_leaf(void *state, bool gradient, const mw_spec *spec, void *bytes,
                            char message[MW_HOOK_TEXT]) {
  (void)gradient, (void)spec, (void)bytes, (void)message;
  writer *w = state;
  double *to = mw_leaf_write(w->leaf);
  to[0] = to[1] = 100;
  mw_release(w->view); /* the last that had the storage of before */
  return MW_OK;
}

static void test_hook_moves_leaf(mw_context *ctx) {
  const mw_setting shape = mw_list("shape", 1, (int64_t[]){2});
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *y = NULL;
  for (int i = 0; i < 2; i++) { /* with a program that is compiled, and with one that has run */
    writer w = {.leaf = vector(ctx, 2, (double[]){10, 20})};
    w.view = mw_apply(ctx, "reshape", 1, &w.leaf, 1, &shape);
    mw_eval(ctx, 1, &w.view);
    mw_tensor *hook = mw_hook_leaf(ctx, &(mw_hook){.call = write_leaf, .state = &w});
    mw_tensor *hooked = apply2(ctx, "hooked", x, hook);
    mw_release(y);
    y = apply2(ctx, "add", hooked, w.leaf);
    near(at(y, 1), 102, 0, "a step sees what a hook before it has put into a leaf");
    release_all(3, (mw_tensor *[]){hook, hooked, w.leaf});
  }
  release_all(2, (mw_tensor *[]){x, y});
}

static void test_watch(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1e200, 2}), *odd = vector(ctx, 1, (double[]){NAN});
  mw_tensor *a = apply1(ctx, "t_twice", x), *y = apply1(ctx, "t_cube", a);
  mw_tensor *z = apply1(ctx, "t_cube", odd), *again = apply1(ctx, "t_cube", a);
  ok(!mw_watch(ctx, true), "runs are not watched");
  ok(mw_eval(ctx, 1, &y) && strstr(mw_error(ctx), "t_cube: 1 infinity in its result f64[2]") &&
         strstr(mw_error(ctx), "x f64[2] has min 4, max 2e+200"),
     "unless that is asked for: %s", mw_error(ctx));
  ok(!mw_eval(ctx, 1, &z), "a NaN that was there is nobody's fault");
  mw_program *p = mw_program_new(ctx, 1, &again, 0, NULL, NULL);
  mw_tensor *result;
  ok(mw_program_run(p, &result) && strstr(mw_error(ctx), "1 infinity"), "a program kept by hand");
  ok(mw_watch(ctx, false) && !mw_program_run(p, &result), "is watched or not in each run");
  ok(!mw_eval(ctx, 1, &y), "it ends");
  mw_program_free(p);
  release_all(7, (mw_tensor *[]){x, odd, a, y, z, again, result});
}

/* Products of 0 and of the least numbers; volatile, so that it is the processor that multiplies. */
static bool has_denormals(void) {
  volatile double least = 0x1p-1074, one = 1;
  return least * one > 0;
}

/* Without the flags of x86-64 that tell what has happened. */
static mw_float_mode mode_here(void) { return mw_float_mode_now() & ~(mw_float_mode)0x3f; }

static mw_status note_denormals(void *state, bool gradient, const mw_spec *spec, void *bytes,
                                char message[MW_HOOK_TEXT]) {
  (void)gradient, (void)spec, (void)bytes, (void)message;
  *(bool *)state = has_denormals();
  return MW_OK;
}

static void test_denormals(mw_context *ctx) {
  const mw_float_mode mode = mode_here();
  mw_tensor *x = vector(ctx, 1, (double[]){0x1p-1070}), *kept = apply1(ctx, "t_twice", x);
  mw_tensor *failing = apply1(ctx, "t_fail", kept);
  ok(mw_flush_denormals(ctx, false) && !mw_flush_denormals(ctx, false), "denormals are flushed");
  near(at(kept, 0), 0x1p-1069, 0, "unless they are kept");
  ok(!mw_flush_denormals(ctx, true), "so said what was set before");
#if defined __x86_64__ || defined __aarch64__
  mw_tensor *flushed = apply1(ctx, "t_twice", x);
  near(at(flushed, 0), 0, 0, "or flushed");
  mw_release(flushed);
#endif
  ok(mode_here() == mode && has_denormals(), "the caller has its arithmetic again");
  ok(mw_eval(ctx, 1, &failing) && mode_here() == mode, "also after a failure");
  bool seen = false;
  mw_tensor *leaf = mw_hook_leaf(ctx, &(mw_hook){.call = note_denormals, .state = &seen});
  mw_tensor *hooked = apply2(ctx, "hooked", x, leaf), *y = apply1(ctx, "t_twice", hooked);
  ok(!mw_eval(ctx, 1, &y) && seen, "a hook has it, too");
  release_all(6, (mw_tensor *[]){x, kept, failing, leaf, hooked, y});
}

typedef struct sights {
  int n;
  char ops[3][32];
  double sums[3];
  int64_t run;
} sights;

static void note_step(void *state, const char *op, const char *origin, int64_t run, int step, int n,
                      const mw_array *written) {
  sights *s = state;
  (void)origin, (void)step;
  if (s->n < 3) {
    snprintf(s->ops[s->n], sizeof s->ops[0], "%s", op);
    for (int64_t i = 0; n == 1 && i < written->count; i++)
      s->sums[s->n] += ((const double *)written->data)[i];
  }
  s->run = run;
  s->n++;
}

static void test_observe(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2});
  mw_tensor *a = apply1(ctx, "t_twice", x), *y = apply1(ctx, "t_cube", a),
            *z = apply1(ctx, "t_cube", y);
  sights seen = {.n = 0};
  mw_observe(ctx, note_step, &seen);
  ok(!mw_eval(ctx, 1, &y), "an observed run");
  ok(seen.n == 2 && strcmp(seen.ops[0], "t_twice") == 0 && strcmp(seen.ops[1], "t_cube") == 0,
     "tells of each step, %d", seen.n);
  near(seen.sums[0], 2 + 4, 0, "with what it has written");
  near(seen.sums[1], 8 + 64, 0, "and the next one");
  ok(!mw_watch(ctx, true) && mw_watch(ctx, false), "it is not watched for NaN");
  const int64_t run = seen.run;
  ok(!mw_eval(ctx, 1, &z) && seen.run == run + 1, "runs are told apart");
  mw_observe(ctx, NULL, NULL);
  const int n = seen.n;
  mw_tensor *other = apply1(ctx, "t_twice", z);
  ok(!mw_eval(ctx, 1, &other) && seen.n == n, "it ends");
  release_all(5, (mw_tensor *[]){x, a, y, z, other});
}

static mw_context *to_interrupt;
static mw_status interrupting_forward(const mw_call *call) {
  mw_interrupt(to_interrupt);
  return twice_forward(call);
}

static void test_interrupt(mw_context *ctx) {
  mw_op op = t_twice;
  op.name = "t_interrupt";
  op.forward = interrupting_forward;
  mw_plugin *plugin = mw_plugin_begin(ctx, "interrupt", NULL, NULL);
  if (mw_host_register_op(plugin, &op, sizeof op, MW_F64) || mw_plugin_commit(plugin)) return;
  to_interrupt = ctx;
  mw_tensor *x = vector(ctx, 1, (double[]){1}), *y = apply1(ctx, "t_interrupt", x);
  mw_tensor *z = apply1(ctx, "t_twice", y);
  ok(mw_eval(ctx, 1, &z) && strcmp(mw_error(ctx), "interrupted") == 0, "a run can be interrupted");
  mw_tensor *again = apply1(ctx, "t_twice", x);
  near(at(again, 0), 2, 0, "and the next one is not");
  release_all(4, (mw_tensor *[]){x, y, z, again});
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  if (!ok(ctx != NULL, "a context with the tests' ops")) return done();
  test_hook(ctx);
  test_hook_moves_leaf(ctx);
  test_watch(ctx);
  test_denormals(ctx);
  test_observe(ctx);
  test_interrupt(ctx);
  is_int(stats_of(ctx).tensors_live, 0, "nothing is left");
  mw_context_free(ctx);
  return done();
}
