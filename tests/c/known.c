/* known.c: what infer came to for a call is kept, and asked for anew where something is different. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

static int asked; /* how often infer ran */

typedef struct k_attrs {
  int64_t times, added;
} k_attrs;

static const mw_attr k_schema[] = {{"times", MW_INT, offsetof(k_attrs, times)},
                                   {"added", MW_INT, offsetof(k_attrs, added), .initial = "0"},
                                   {0}};
static const mw_attr k_schema_initial[] = {
    {"times", MW_INT, offsetof(k_attrs, times), .initial = "1"},
    {"added", MW_INT, offsetof(k_attrs, added), .initial = "0"},
    {0}};

/* y has `times` as many elements, and is given a second time; a negative `added` counts from 10. */
static mw_status k_infer(mw_infer *it) {
  k_attrs *attrs = it->attrs;
  asked++;
  if (mw_expect_rank(it, 0, 1)) return MW_FAILED;
  it->out[0] = it->out[1] = it->in[0];
  it->out[0].shape[0] = it->in[0].shape[0] * attrs->times;
  if (attrs->added < 0) attrs->added += 10;
  return MW_OK;
}

static mw_status k_forward(const mw_call *call) {
  const k_attrs *attrs = call->attrs;
  const double *x = call->in[0].data;
  for (int64_t i = 0; i < call->out[0].count; i++)
    ((double *)call->out[0].data)[i] = x[i % call->in[0].count] + (double)attrs->added;
  memcpy(call->out[1].data, x, (size_t)call->in[0].count * sizeof *x);
  return MW_OK;
}

static const mw_op k_op = {.name = "k_needs",
                           .version = 1,
                           .doc = "y = x + added, times times",
                           .example = "none",
                           .inputs = {{"x"}, {"other", MW_OPTIONAL}},
                           .outputs = {{"y"}, {"same"}},
                           .attrs = k_schema,
                           .attrs_size = sizeof(k_attrs),
                           .infer = k_infer,
                           .forward = k_forward};

/* The size of the first output of a call; -1: it failed. */
static int64_t size_of(mw_context *ctx, const char *op, int n_inputs, mw_tensor *const *inputs,
                       int n, const mw_setting *settings) {
  mw_tensor *y[2];
  if (mw_apply_all(ctx, op, n_inputs, inputs, n, settings, y) != 2) return -1;
  const int64_t size = mw_tensor_spec(y[0])->shape[0], same = mw_tensor_spec(y[1])->shape[0];
  mw_release(y[0]);
  mw_release(y[1]);
  return same == mw_tensor_spec(inputs[0])->shape[0] ? size : -2;
}

static void test_defaults(mw_context *ctx) {
  mw_tensor *two[2] = {vector(ctx, 2, (double[]){1, 2}), NULL};
  mw_tensor *three = vector(ctx, 3, (double[]){1, 2, 3});
  two[1] = two[0];
  asked = 0;
  for (int i = 0; i < 3; i++) {
    is_int(size_of(ctx, "k_initial", 1, two, 0, NULL), 2, "a call without attributes");
    is_int(size_of(ctx, "k_initial", 1, &three, 0, NULL), 3, "... and of another size");
    is_int(size_of(ctx, "k_initial", 2, two, 0, NULL), 2, "... and with another input");
  }
  is_int(asked, 3, "infer is asked once for each");
  mw_tensor *absent[2] = {two[0], NULL};
  is_int(size_of(ctx, "k_initial", 2, absent, 0, NULL), 2, "an input that is left out as NULL");
  is_int(asked, 3, "... is the same call");
  const mw_spec square = mw_spec_of(MW_F64, 2, (int64_t[]){2, 2});
  mw_tensor *matrix = mw_constant(ctx, &square, NULL);
  for (int i = 0; i < 2; i++)
    is_int(size_of(ctx, "k_initial", 1, &matrix, 0, NULL), -1, "what fails once fails again");
  is_int(asked, 5, "... and says so each time");
  mw_release(matrix);
  mw_release(two[0]);
  mw_release(three);
}

static void test_attributes(mw_context *ctx) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2});
  mw_setting none = mw_int("times", 0), twice[] = {mw_int("times", 2), mw_int("added", -3)};
  asked = 0;
  for (int i = 0; i < 2; i++) {
    is_int(size_of(ctx, "k_needs", 1, &x, 1, &none), 0, "an attribute of as many zeros as bytes");
    is_int(size_of(ctx, "k_needs", 1, &x, 2, twice), 4, "others on the same input");
  }
  is_int(asked, 2, "infer is asked once for each");
  is_int(size_of(ctx, "k_needs", 1, &x, 0, NULL), -1, "what must be set is asked for");
  ok(strstr(mw_error(ctx), "'times' is missing") != NULL, "... by its name");
  mw_tensor *y[2];
  for (int i = 0; i < 2; i++) {
    mw_apply_all(ctx, "k_needs", 1, &x, 2, twice, y);
    ok(!mw_eval(ctx, 2, y), "it runs");
    near(((const double *)mw_tensor_data(y[0]))[3], 9, 0, "... with what infer made of attributes");
    mw_release(y[0]);
    mw_release(y[1]);
  }
  mw_release(x);
}

static void test_other_context(mw_context *ctx) {
  mw_context *other = context_with_test_ops();
  mw_tensor *x = vector(other, 2, (double[]){1, 2});
  is_int(size_of(ctx, "k_initial", 1, &x, 0, NULL), -1, "a tensor of another context is refused");
  mw_release(x);
  mw_context_free(other);
}

/* What was kept for an op is not for the one in its place. */
static void test_replaced(mw_context *ctx, mw_plugin *before) {
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2});
  mw_op op = k_op;
  op.name = "k_initial";
  op.attrs = k_schema_initial;
  mw_plugin *plugin = mw_plugin_begin(ctx, "test", NULL, NULL);
  plugin->replaces = before;
  ok(!mw_host_register_op(plugin, &op, sizeof op, MW_F64) && !mw_plugin_commit(plugin),
     "the op is replaced");
  asked = 0;
  is_int(size_of(ctx, "k_initial", 1, &x, 0, NULL), 2, "the same call");
  is_int(asked, 1, "... asks the new one");
  mw_release(x);
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  mw_op initial = k_op;
  initial.name = "k_initial";
  initial.attrs = k_schema_initial;
  mw_plugin *plugin = mw_plugin_begin(ctx, "test", NULL, NULL);
  if (!ok(!mw_host_register_op(plugin, &k_op, sizeof k_op, MW_F64) &&
              !mw_host_register_op(plugin, &initial, sizeof initial, MW_F64) &&
              !mw_plugin_commit(plugin),
          "the ops of this test"))
    return done();
  test_defaults(ctx);
  test_attributes(ctx);
  test_other_context(ctx);
  test_replaced(ctx, plugin);
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "nothing is left");
  mw_context_free(ctx);
  return done();
}
