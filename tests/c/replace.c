/* replace.c: ops that are replaced, seen from C: kept programs, and what a plugin leaves behind. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

static int closed; /* libraries so far */
static void count_closed(void *library) { (void)library, closed++; }

/* ---- versions of an op: x times its attribute ----------------------------------------------- */

typedef struct r_attrs {
  double factor;
  int64_t more;
} r_attrs;
typedef struct r_attrs_moved {
  int64_t more;
  double factor;
} r_attrs_moved;

static const mw_attr r_schema[] = {{"factor", MW_FLOAT, offsetof(r_attrs, factor), .initial = "2"},
                                   {"more", MW_INT, offsetof(r_attrs, more), .initial = "0"},
                                   {0}};
static const mw_attr r_schema_moved[] = {
    {"more", MW_INT, offsetof(r_attrs_moved, more), .initial = "0"},
    {"factor", MW_FLOAT, offsetof(r_attrs_moved, factor), .initial = "2"},
    {0}};

static size_t r_saved, r_scratch;

static mw_status r_infer(mw_infer *it) {
  it->out[0] = it->in[0];
  it->saved = r_saved;
  return MW_OK;
}
static mw_status r_forward(const mw_call *call) {
  const r_attrs *attrs = call->attrs;
  for (int64_t i = 0; i < call->in[0].count; i++)
    ((double *)call->out[0].data)[i] =
        ((const double *)call->in[0].data)[i] * attrs->factor + (double)attrs->more;
  if (call->saved) memset(call->saved, 3, r_saved);
  if (r_scratch) memset(call->scratch, 1, r_scratch);
  return MW_OK;
}
static mw_status r_forward_moved(const mw_call *call) {
  const r_attrs_moved *attrs = call->attrs;
  for (int64_t i = 0; i < call->in[0].count; i++)
    ((double *)call->out[0].data)[i] =
        ((const double *)call->in[0].data)[i] * attrs->factor * 10 + (double)attrs->more;
  return MW_OK;
}
static mw_status r_backward(const mw_call *call) {
  for (int64_t i = 0; i < call->din[0].count; i++)
    ((double *)call->din[0].data)[i] =
        ((const double *)call->dout[0].data)[i] * (call->saved ? *(const char *)call->saved : 1);
  return MW_OK;
}
static void r_workspace(const mw_call *call, mw_workspace *need) {
  (void)call;
  need->call = r_scratch;
}

static const mw_op r_op = {.name = "r_op",
                           .version = 1,
                           .doc = "y = factor x + more",
                           .example = "none",
                           .inputs = {{"x"}},
                           .outputs = {{"y"}},
                           .attrs = r_schema,
                           .attrs_size = sizeof(r_attrs),
                           .infer = r_infer,
                           .forward = r_forward,
                           .backward = r_backward,
                           .backward_needs = MW_NEEDS_SAVED,
                           .workspace = r_workspace};

static mw_plugin *current;

/* The op in place of what `current` brought; NULL takes that out. */
static mw_status replace(mw_context *ctx, const mw_op *op) {
  mw_plugin *plugin = mw_plugin_begin(ctx, "test", NULL, count_closed);
  plugin->replaces = current;
  if ((!op || !mw_host_register_op(plugin, op, sizeof *op, MW_F64)) && !mw_plugin_commit(plugin)) {
    current = plugin;
    return MW_OK;
  }
  mw_plugin_abort(plugin);
  return MW_FAILED;
}

static double first_of(mw_program *p) {
  mw_tensor *y[2] = {NULL, NULL};
  if (mw_program_run(p, y)) return -1;
  double value = *(const double *)mw_tensor_data(y[0]);
  mw_release(y[0]);
  mw_release(y[1]);
  return value;
}

static void fails(mw_context *ctx, mw_program *p, const char *why, const char *what) {
  mw_tensor *y[2];
  ok(mw_program_run(p, y) == MW_FAILED && strstr(mw_error(ctx), why), "%s", what);
  if (!strstr(mw_error(ctx), why)) printf("# %s\n", mw_error(ctx));
}

/* ---- the tests ------------------------------------------------------------------------------ */

static void test_kept_program(mw_context *ctx) {
  mw_op op = r_op;
  r_saved = r_scratch = 0;
  ok(!replace(ctx, &op), "an op");
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2});
  mw_setting settings[] = {mw_float("factor", 4), mw_int("more", 1)};
  mw_tensor *y = mw_apply(ctx, "r_op", 1, &x, 2, settings);
  mw_program *p = mw_program_new(ctx, 1, &y, 0, NULL, NULL);
  mw_release(y);
  near(first_of(p), 5, 0, "a kept program");
  r_scratch = 1000;
  closed = 0;
  ok(!replace(ctx, &op), "its op is replaced by one that wants scratch");
  is_int(closed, 0, "the old library stays open for the program");
  near(first_of(p), 5, 0, "it runs with the scratch");
  r_scratch = 100000;
  ok(!replace(ctx, &op), "and by one that wants more");
  is_int(closed, 1, "what the program does not use any more is closed");
  near(first_of(p), 5, 0, "and with that");
  r_scratch = 0;
  op.attrs = r_schema_moved;
  op.forward = r_forward_moved;
  ok(!replace(ctx, &op), "its attributes lie elsewhere");
  near(first_of(p), 41, 0, "and are found by their names");
  op.outputs[1].name = "z";
  ok(!replace(ctx, &op), "it has another output");
  fails(ctx, p, "r_op was replaced, and has other outputs now: build", "which does not fit");
  fails(ctx, p, "has other outputs", "nor the next time");
  op.outputs[1].name = NULL;
  op.workspace = NULL;
  ok(!replace(ctx, &op), "as before");
  near(first_of(p), 41, 0, "it runs again");
  op.forward = NULL;
  op.formula = "x";
  op.backward = NULL;
  ok(!replace(ctx, &op), "a formula");
  fails(ctx, p, "is made of other ops now", "does not fit a kernel's call");
  closed = 0;
  ok(!replace(ctx, NULL), "the op goes away");
  near(first_of(p), 41, 0, "and the program runs its code");
  mw_program_free(p);
  ok(!replace(ctx, &r_op), "and comes again");
  is_int(closed, 3, "nothing that is older stays open");
  mw_release(x);
}

static void test_saved_bytes(mw_context *ctx) {
  mw_op op = r_op;
  r_saved = 8;
  ok(!replace(ctx, &op), "an op that saves bytes");
  mw_tensor *x = vector(ctx, 1, (double[]){7}), *dx;
  mw_tensor *y = mw_apply(ctx, "r_op", 1, &x, 0, NULL);
  mw_grad(ctx, y, x, 1, &x, &dx);
  mw_program *p = mw_program_new(ctx, 1, &dx, 0, NULL, NULL);
  near(first_of(p), 21, 0, "a kept program of its gradient");
  ok(!replace(ctx, &op), "is refreshed");
  near(first_of(p), 21, 0, "while it saves as many");
  r_saved = 4000;
  ok(!replace(ctx, &op), "when it saves more");
  fails(ctx, p, "keeps other things for its backward now", "the program does not fit");
  near(at(dx, 0), 21, 0, "but the graph does");
  r_saved = 8;
  op.backward_needs |= MW_NEEDS_IN(0);
  ok(!replace(ctx, &op), "when its backward reads more");
  fails(ctx, p, "keeps other things for its backward now", "it does not fit either");
  mw_program_free(p);
  mw_release(dx);
  r_saved = 4000;
  ok(!replace(ctx, &r_op), "a gradient of a call that saves much");
  mw_grad(ctx, y, x, 1, &x, &dx);
  r_saved = 8;
  ok(!replace(ctx, &r_op), "which saves little now");
  near(at(y, 0), 14, 0, "and is run alone");
  ok(!replace(ctx, NULL), "before the op goes away");
  ok(mw_eval(ctx, 1, &dx) && strstr(mw_error(ctx), "r_op was replaced, and is gone now"),
     "has no code that fits");
  mw_release(dx);
  mw_release(y);
  mw_release(x);
}

/* Replaces the op on which the run that called works. */
static mw_status replace_now(void *state, bool gradient, const mw_spec *spec, void *bytes,
                             char message[MW_HOOK_TEXT]) {
  mw_op op = r_op;
  (void)gradient, (void)spec, (void)bytes;
  snprintf(message, MW_HOOK_TEXT, "it cannot be replaced");
  return replace(state, &op) || replace(state, &op) ? MW_FAILED : MW_OK;
}

static void test_inside_a_run(mw_context *ctx) {
  r_saved = r_scratch = 0;
  ok(!replace(ctx, &r_op), "an op");
  mw_hook hook = {.call = replace_now, .state = ctx};
  mw_tensor *x = vector(ctx, 1, (double[]){3}), *leaf = mw_hook_leaf(ctx, &hook);
  mw_tensor *a = apply1(ctx, "r_op", x), *h = apply2(ctx, "hooked", a, leaf);
  mw_tensor *y = apply1(ctx, "r_op", h);
  closed = 0;
  near(at(y, 0), 12, 0, "a run whose hook replaces the op ends with the code that it began with");
  is_int(closed, 1, "which is open until then");
  mw_tensor *z = apply1(ctx, "r_op", y);
  near(at(z, 0), 24, 0, "and the next has the new code");
  mw_tensor *all[] = {x, leaf, a, h, y, z};
  for (int i = 0; i < 6; i++) mw_release(all[i]);
}

static void test_nothing_half_done(mw_context *ctx) {
  const int before = mw_op_count(ctx);
  mw_op op = r_op;
  closed = 0;
  op.name = "relu";
  ok(replace(ctx, &op) && strstr(mw_error(ctx), "relu exists already, from shipped"),
     "an op of another plugin is not replaced");
  op = r_op;
  op.version = 0;
  ok(replace(ctx, &op) && strstr(mw_error(ctx), "r_op lacks a version"), "nor by a bad one");
  is_int(mw_op_count(ctx), before, "all ops are there");
  is_int(closed, 0, "and their library");
  mw_plugin *plugin = mw_plugin_begin(ctx, "unseen", NULL, NULL);
  op = r_op;
  op.name = "r_unseen";
  ok(!mw_host_register_op(plugin, &op, sizeof op, MW_F64) && !mw_op_find(ctx, "r_unseen"),
     "an op is not seen before its plugin is complete");
  ok(!mw_plugin_commit(plugin) && mw_op_find(ctx, "r_unseen"), "and is after");
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  if (!ok(ctx != NULL, "a context with the tests' ops")) return done();
  test_kept_program(ctx);
  test_saved_bytes(ctx);
  test_inside_a_run(ctx);
  test_nothing_half_done(ctx);
  mw_context_free(ctx);
  return done();
}
