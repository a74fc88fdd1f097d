/* testops.h: small ops of the C tests' own, whose calls can be counted. f64 only. */
#ifndef TESTOPS_H
#define TESTOPS_H

#include "graph/internal.h"

static int calls_forward, calls_backward, calls_saved;

static inline mw_status like_first(mw_infer *it) {
  it->out[0] = it->in[0];
  return MW_OK;
}

/* t_cube: x^3. Keeps x^2 for backward, and has a gradient too, for the second derivative. */
static inline mw_status cube_infer(mw_infer *it) {
  it->out[0] = it->in[0];
  it->saved = (size_t)mw_spec_count(&it->in[0]) * sizeof(double);
  return MW_OK;
}
static inline mw_status cube_forward(const mw_call *call) {
  const double *x = call->in[0].data;
  double *y = call->out[0].data, *squares = call->saved;
  calls_forward++;
  if (squares) calls_saved++;
  for (int64_t i = 0; i < call->in[0].count; i++) {
    y[i] = x[i] * x[i] * x[i];
    if (squares) squares[i] = x[i] * x[i];
  }
  return MW_OK;
}
static inline mw_status cube_backward(const mw_call *call) {
  const double *squares = call->saved, *dy = call->dout[0].data;
  double *dx = call->din[0].data;
  calls_backward++;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = 3 * squares[i] * dy[i];
  return MW_OK;
}
static inline mw_status cube_gradient(mw_gradient *g) {
  mw_tensor *x = g->in[0];
  mw_tensor *square = mw_make2(g, "mul", x, x);
  g->din[0] = mw_make2(g, "mul", mw_make2(g, "mul", square, mw_make_scalar(g, x, 3)), g->dout[0]);
  return MW_OK;
}
static const mw_op t_cube = {.name = "t_cube",
                             .version = 1,
                             .doc = "x^3",
                             .example = "none",
                             .inputs = {{"x"}},
                             .outputs = {{"y"}},
                             .backward_needs = MW_NEEDS_SAVED,
                             .infer = cube_infer,
                             .forward = cube_forward,
                             .backward = cube_backward,
                             .gradient = cube_gradient};

/* t_twice: 2x in place; no derivative at all. */
static inline mw_status twice_forward(const mw_call *call) {
  const double *x = call->in[0].data;
  double *y = call->out[0].data;
  calls_forward++;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = 2 * x[i];
  return MW_OK;
}
static const mw_op t_twice = {.name = "t_twice",
                              .version = 1,
                              .doc = "2x",
                              .example = "none",
                              .inputs = {{"x"}},
                              .outputs = {{"y"}},
                              .flags = MW_INPLACE,
                              .infer = like_first,
                              .forward = twice_forward};

/* t_square: x^2 with a backward kernel and no more. */
static inline mw_status square_forward(const mw_call *call) {
  const double *x = call->in[0].data;
  double *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i] * x[i];
  return MW_OK;
}
static inline mw_status square_backward(const mw_call *call) {
  const double *x = call->in[0].data, *dy = call->dout[0].data;
  double *dx = call->din[0].data;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = 2 * x[i] * dy[i];
  return MW_OK;
}
static const mw_op t_square = {.name = "t_square",
                               .version = 1,
                               .doc = "x^2",
                               .example = "none",
                               .inputs = {{"x"}},
                               .outputs = {{"y"}},
                               .backward_needs = MW_NEEDS_IN(0),
                               .infer = like_first,
                               .forward = square_forward,
                               .backward = square_backward};

/* t_split: both halves of a vector, as two outputs. Kernel derivative only. */
static inline mw_status split_infer(mw_infer *it) {
  if (mw_expect_rank(it, 0, 1)) return MW_FAILED;
  if (it->in[0].shape[0] % 2)
    return mw_fail(it, "x has %d elements, expected an even number", (int)it->in[0].shape[0]);
  it->out[0] = it->out[1] = it->in[0];
  it->out[0].shape[0] = it->out[1].shape[0] = it->in[0].shape[0] / 2;
  return MW_OK;
}
static inline mw_status split_forward(const mw_call *call) {
  size_t half = (size_t)call->out[0].count * sizeof(double);
  memcpy(call->out[0].data, call->in[0].data, half);
  memcpy(call->out[1].data, (const char *)call->in[0].data + half, half);
  return MW_OK;
}
static inline mw_status split_backward(const mw_call *call) {
  int64_t half = call->out[0].count;
  double *dx = call->din[0].data;
  for (int j = 0; j < 2; j++) {
    const double *dy = call->dout[j].data; /* NULL where no gradient arrives */
    for (int64_t i = 0; i < half; i++) dx[j * half + i] = dy ? dy[i] : 0;
  }
  return MW_OK;
}
static const mw_op t_split = {.name = "t_split",
                              .version = 1,
                              .doc = "halves",
                              .example = "none",
                              .inputs = {{"x"}},
                              .outputs = {{"low"}, {"high"}},
                              .infer = split_infer,
                              .forward = split_forward,
                              .backward = split_backward};

/* t_fail: fails when it is run. */
static inline mw_status fail_forward(const mw_call *call) {
  return mw_fail(call, "element %d is not welcome", 7);
}
static const mw_op t_fail = {.name = "t_fail",
                             .version = 1,
                             .doc = "fails",
                             .example = "none",
                             .inputs = {{"x"}},
                             .outputs = {{"y"}},
                             .infer = like_first,
                             .forward = fail_forward};

static inline mw_context *context_with_test_ops(void) {
  mw_context *ctx = mw_context_new();
  mw_plugin *plugin = ctx ? mw_plugin_begin(ctx, "tests", NULL, NULL) : NULL;
  const mw_op *const ops[] = {&t_cube, &t_twice, &t_square, &t_split, &t_fail};
  for (size_t i = 0; plugin && i < sizeof ops / sizeof *ops; i++)
    if (mw_host_register_op(plugin, ops[i], sizeof(mw_op), MW_F64)) return NULL;
  if (!plugin || mw_plugin_commit(plugin)) return NULL;
  return ctx;
}

/* ---- short names for what the tests do all the time ---------------------------------------- */

static inline mw_tensor *vector(mw_context *ctx, int n, const double *values) {
  mw_spec spec = mw_spec_of(MW_F64, 1, (int64_t[]){n});
  return mw_constant(ctx, &spec, values);
}
static inline mw_tensor *apply1(mw_context *ctx, const char *op, mw_tensor *x) {
  return mw_apply(ctx, op, 1, &x, 0, NULL);
}
static inline mw_tensor *apply2(mw_context *ctx, const char *op, mw_tensor *a, mw_tensor *b) {
  return mw_apply(ctx, op, 2, (mw_tensor *[]){a, b}, 0, NULL);
}
static inline double at(mw_tensor *t, int i) {
  if (!t || mw_eval(mw_tensor_context(t), 1, &t)) return NAN;
  return ((const double *)mw_tensor_data(t))[i];
}

#endif
