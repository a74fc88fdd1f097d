/* profile.c: what steps take: FLOPs and bytes before a run, calls and times of one. */
#include <string.h>

#include "tests/tap.h"
#include "tests/c/testops.h"

static mw_tensor *matrix(mw_context *ctx, int64_t rows, int64_t columns) {
  const mw_spec spec = mw_spec_of(MW_F64, 2, (int64_t[]){rows, columns});
  return mw_parameter(ctx, &spec, NULL, "m");
}

static void test_costs(mw_context *ctx) {
  mw_tensor *x = matrix(ctx, 3, 4), *y = apply1(ctx, "exp", x), *z = apply2(ctx, "add", y, x);
  mw_origin_set(ctx, mw_origin(ctx, "net.lua:9"));
  mw_tensor *s = apply1(ctx, "sum", z);
  mw_origin_set(ctx, NULL);
  mw_profile *p = mw_costs(ctx, 1, &s);
  is_int(p ? p->n_steps : -1, 3, "the program of a sum has three steps");
  if (!p) return;
  const mw_cost *sum = &p->steps[2];
  is_text(sum->op, "sum", "the last of which is the sum");
  is_text(sum->shapes, "f64[3,4] -> f64[]", "of a matrix");
  is_text(sum->origin, "net.lua:9", "built at that line");
  is_text(p->steps[0].origin, "", "what was built nowhere says so");
  near(sum->flops, 12, 0, "which takes an addition for each element");
  near(sum->bytes, 13 * 8, 0, "and reads twelve numbers and writes one");
  near(p->steps[1].bytes, 3 * 12 * 8, 0, "an addition reads two matrices and writes one");
  is_int(sum->runs + sum->calls, 0, "nothing has run");
  ok(!mw_tensor_data(s), "and nothing has a value");
  mw_profile_free(p);
  mw_eval(ctx, 1, &s);
  p = mw_costs(ctx, 1, &s);
  is_int(p ? p->n_steps : -1, 0, "what has its value takes nothing");
  mw_profile_free(p);
  mw_tensor *all[] = {x, y, z, s};
  for (int i = 0; i < 4; i++) mw_release(all[i]);
}

static void test_profile(mw_context *ctx) {
  mw_tensor *x = matrix(ctx, 3, 4), *y = apply1(ctx, "exp", x), *z, *w = apply1(ctx, "t_cube", x);
  mw_program *program = mw_program_new(ctx, 1, &w, 0, NULL, NULL);
  ok(!mw_profile_start(ctx), "a profile starts");
  ok(mw_profile_start(ctx), "a second one is refused");
  ok(strstr(mw_error(ctx), "already"), "and why is said");
  for (int i = 0; i < 5; i++) {
    z = apply1(ctx, "sum", y);
    mw_eval(ctx, 1, &z); /* nobody asked for y itself, so that it is not kept */
    mw_release(z);
  }
  mw_tensor *result = NULL;
  ok(!mw_program_run(program, &result), "a program kept by hand runs");
  mw_release(result);
  mw_profile *p = mw_profile_stop(ctx);
  is_int(p ? p->n_steps : -1, 2 + 1, "a program of two steps, and the one kept by hand");
  if (!p) return;
  is_text(p->steps[0].op, "exp", "exp stands first");
  int64_t calls = 0;
  double seconds = 0, in_spans = 0;
  for (int k = 0; k < p->n_steps; k++) {
    calls += p->steps[k].calls;
    seconds += p->steps[k].seconds;
    ok(p->steps[k].calls == p->steps[k].runs, "step %d was called once a run", k);
  }
  is_int(calls, 5 * 2 + 1, "eleven calls");
  is_int(p->n_spans + p->n_lost, 11, "each a span");
  for (int64_t i = 0; i < p->n_spans; i++) in_spans += p->spans[i].seconds;
  near(in_spans, seconds, 1e-9, "which make up the steps' time");
  ok(seconds <= p->seconds, "which is a part of the whole");
  mw_profile_free(p);
  ok(!mw_profile_stop(ctx), "what was not started cannot stop");
  mw_program_free(program);
  mw_release(w);
  mw_release(y);
  mw_release(x);
}

/* A context is given back with a profile that nobody stopped. */
static void test_left_open(void) {
  mw_context *ctx = context_with_test_ops();
  mw_tensor *x = vector(ctx, 2, (double[]){1, 2}), *y = apply1(ctx, "t_cube", x);
  mw_profile_start(ctx);
  near(at(y, 1), 8, 0, "a value while a profile is taken");
  mw_release(y);
  mw_release(x);
  mw_context_free(ctx);
}

int main(void) {
  mw_context *ctx = context_with_test_ops();
  test_costs(ctx);
  test_profile(ctx);
  test_left_open();
  mw_context_free(ctx);
  return done();
}
