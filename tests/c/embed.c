/* embed.c: the public interface from C. It includes nothing but moonwalk.h and is linked with the
 * shared library, so that a function without MW_EXPORT is found out. Expected values are hand
 * arithmetic. */
#include <moonwalk.h>
#include <stdlib.h>
#include <tap.h>

static double at(const mw_tensor *t, int i) {
  const void *data = mw_tensor_data(t);
  if (!data) return NAN;
  if (mw_tensor_spec(t)->dtype == MW_F64) return ((const double *)data)[i];
  return (double)((const float *)data)[i];
}

/* y = sum(x * w) with x = [1 2 3; 4 5 6] and w = [1 0 -1; 2 1 0] */
static void graph_and_gradient(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F32, 2, (int64_t[]){2, 3});
  mw_tensor *x = mw_constant(ctx, &spec, (float[]){1, 2, 3, 4, 5, 6});
  mw_tensor *w = mw_parameter(ctx, &spec, (float[]){1, 0, -1, 2, 1, 0}, "w");
  mw_tensor *p = mw_apply(ctx, "mul", 2, (mw_tensor *[]){x, w}, 0, NULL);
  mw_tensor *y = mw_apply(ctx, "sum", 1, &p, 0, NULL), *dw = NULL;
  if (!ok(y != NULL, "a graph is built")) printf("# %s\n", mw_error(ctx));
  is_int(mw_tensor_spec(y)->rank, 0, "its shape is known before it runs");
  ok(mw_tensor_data(y) == NULL, "its value is not");
  is_text(mw_tensor_name(w), "w", "a parameter has its name");
  ok(mw_tensor_is_parameter(w) && !mw_tensor_is_parameter(x), "and is known as one");
  if (!is_int(mw_grad(ctx, y, NULL, 1, &w, &dw), MW_OK, "it is differentiated")) {
    printf("# %s\n", mw_error(ctx));
    exit(1);
  }
  is_int(mw_eval(ctx, 2, (mw_tensor *[]){y, dw}), MW_OK, "value and gradient run");
  near(at(y, 0), 1 - 3 + 8 + 5, 0, "the value");
  for (int i = 0; i < 6; i++) near(at(dw, i), i + 1, 0, "the gradient in w[%d] is x[%d]", i, i);
  mw_release(dw), mw_release(y), mw_release(p), mw_release(w), mw_release(x);
}

/* The third derivative of x^3 at 2, by differentiating three times. */
static void again_and_again(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F64, 0, NULL);
  mw_tensor *x = mw_parameter(ctx, &spec, (double[]){2}, "x");
  mw_tensor *square = mw_apply(ctx, "mul", 2, (mw_tensor *[]){x, x}, 0, NULL);
  mw_tensor *d[4] = {mw_apply(ctx, "mul", 2, (mw_tensor *[]){square, x}, 0, NULL)};
  for (int i = 0; i < 3; i++) mw_grad(ctx, d[i], NULL, 1, &x, &d[i + 1]);
  is_int(mw_eval(ctx, 4, d), MW_OK, "three derivatives run in one program");
  const double want[] = {8, 12, 12, 6};
  for (int i = 0; i < 4; i++) near(at(d[i], 0), want[i], 1e-12, "derivative %d of x^3 at 2", i);
  for (int i = 0; i < 4; i++) mw_release(d[i]);
  mw_release(square), mw_release(x);
}

/* w = w - 0.25 * 2w, and so w / 2, step by step; the program is compiled once. */
static void updates(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F32, 0, NULL);
  mw_tensor *w = mw_parameter(ctx, &spec, (float[]){8}, "w"), *stale = NULL;
  mw_tensor *rate = mw_constant(ctx, &spec, (float[]){0.25f});
  mw_stats before, after;
  mw_context_stats(ctx, &before);
  for (int i = 0; i < 4; i++) {
    mw_tensor *y = mw_apply(ctx, "mul", 2, (mw_tensor *[]){w, w}, 0, NULL), *dw = NULL;
    mw_grad(ctx, y, NULL, 1, &w, &dw);
    mw_tensor *change = mw_apply(ctx, "mul", 2, (mw_tensor *[]){rate, dw}, 0, NULL);
    mw_tensor *next = mw_apply(ctx, "sub", 2, (mw_tensor *[]){w, change}, 0, NULL);
    if (i == 0) stale = mw_apply(ctx, "neg", 1, &w, 0, NULL);
    is_int(mw_update(ctx, 1, &y, 1, &w, &next), MW_OK, "step %d", i + 1);
    near(at(y, 0), 64 >> (2 * i), 0, "the loss before step %d", i + 1);
    near(at(w, 0), 8.0 / (2 << i), 0, "w after step %d", i + 1);
    mw_release(y), mw_release(dw), mw_release(change), mw_release(next);
  }
  mw_context_stats(ctx, &after);
  is_int(after.programs_compiled - before.programs_compiled, 1, "four steps compile one program");
  is_int(after.programs_run - before.programs_run, 4, "and run it four times");
  is_int(mw_eval(ctx, 1, &stale), MW_FAILED, "a node older than its parameter's value is refused");
  ok(strstr(mw_error(ctx), "w") != NULL, "and the parameter is named: %s", mw_error(ctx));
  mw_release(stale), mw_release(rate), mw_release(w);
}

/* A program kept by hand, whose input is fed at each run. */
static void program(mw_context *ctx) {
  mw_spec spec = mw_spec_of(MW_F32, 1, (int64_t[]){2});
  mw_tensor *x = mw_input(ctx, &spec, "x"), *result = NULL;
  mw_tensor *y = mw_apply(ctx, "neg", 1, &x, 0, NULL);
  mw_program *p = mw_program_new(ctx, 1, &y, 0, NULL, NULL);
  if (!ok(p != NULL, "a program is compiled")) printf("# %s\n", mw_error(ctx));
  for (int run = 1; run <= 2 && p; run++) {
    float *data = mw_leaf_write(x);
    if (data) data[0] = (float)run, data[1] = (float)(10 * run);
    is_int(mw_program_run(p, &result), MW_OK, "run %d", run);
    near(at(result, 0), -run, 0, "its first number");
    near(at(result, 1), -10 * run, 0, "its second number");
    mw_release(result);
  }
  mw_program_free(p);
  mw_release(y), mw_release(x);
}

static void failures(mw_context *ctx) {
  char text[MW_SPEC_TEXT];
  mw_spec two = mw_spec_of(MW_F32, 1, (int64_t[]){2}),
          three = mw_spec_of(MW_F32, 1, (int64_t[]){3});
  is_text(mw_spec_text(&three, text), "f32[3]", "a spec as text");
  mw_tensor *a = mw_constant(ctx, &two, NULL), *b = mw_constant(ctx, &three, NULL);
  ok(!mw_apply(ctx, "add", 2, (mw_tensor *[]){a, b}, 0, NULL),
     "shapes that do not fit are refused");
  ok(strstr(mw_error(ctx), "f32[2]") && strstr(mw_error(ctx), "f32[3]") &&
         strstr(mw_error(ctx), "add"),
     "with op and shapes: %s", mw_error(ctx));
  ok(!mw_apply(ctx, "convd2", 1, &a, 0, NULL), "an unknown op is refused");
  ok(strstr(mw_error(ctx), "convd2") != NULL, "with its name: %s", mw_error(ctx));
  mw_setting wrong = mw_int("axess", 1);
  ok(!mw_apply(ctx, "sum", 1, &a, 1, &wrong), "an unknown attribute is refused");
  ok(strstr(mw_error(ctx), "axes") != NULL, "with the known ones: %s", mw_error(ctx));
  mw_release(a), mw_release(b);
}

/* Threads may change how a sum is computed, not what comes out. */
static void threads(mw_context *ctx) {
  enum { N = 300000 };
  mw_spec spec = mw_spec_of(MW_F32, 1, (int64_t[]){N});
  mw_tensor *x = mw_constant(ctx, &spec, NULL);
  mw_seed(ctx, 7);
  mw_random_normal(ctx, MW_F32, N, mw_leaf_write(x), 0, 1);
  double sums[2] = {0, 1};
  for (int i = 0; i < 2; i++) {
    mw_threads_set(ctx, i + 1);
    mw_tensor *sum = mw_apply(ctx, "sum", 1, &x, 0, NULL);
    mw_eval(ctx, 1, &sum);
    sums[i] = at(sum, 0);
    mw_release(sum);
  }
  near(sums[1], sums[0], 0, "a sum has the same bits with one and two threads");
  mw_release(x);
}

int main(void) {
  mw_context *ctx = mw_context_new();
  if (!ok(ctx != NULL, "a context")) return done();
  ok(mw_op_count(ctx) > 0 && mw_op_find(ctx, "add"), "the shipped ops are registered");
  graph_and_gradient(ctx);
  again_and_again(ctx);
  updates(ctx);
  program(ctx);
  failures(ctx);
  threads(ctx);
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  is_int(stats.tensors_live, 0, "every tensor was given back");
  mw_context_free(ctx);
  return done();
}
