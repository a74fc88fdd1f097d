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
static inline mw_status cube_gradient(mw_build *g) {
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

/* t_saver: x^3 as t_cube, by kernels alone. */
static const mw_op t_saver = {.name = "t_saver",
                              .version = 1,
                              .doc = "x^3",
                              .example = "none",
                              .inputs = {{"x"}},
                              .outputs = {{"y"}},
                              .backward_needs = MW_NEEDS_SAVED,
                              .infer = cube_infer,
                              .forward = cube_forward,
                              .backward = cube_backward};

/* t_maybe: a scalar f32, for which there is no kernel, from an input that may be absent. */
static inline mw_status maybe_infer(mw_infer *it) {
  it->out[0] = (mw_spec){.dtype = MW_F32};
  return MW_OK;
}
static const mw_op t_maybe = {.name = "t_maybe",
                              .version = 1,
                              .doc = "nothing",
                              .example = "none",
                              .inputs = {{"x", MW_OPTIONAL}},
                              .outputs = {{"y"}},
                              .infer = maybe_infer,
                              .forward = fail_forward};

/* t_workers: x, through scratch of each worker's own. */
static inline void workers_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  double *scratch = mw_worker_scratch(call, worker);
  for (int i = 0; i < 512; i++) scratch[i] = ((const double *)call->in[0].data)[chunk];
  ((double *)call->out[0].data)[chunk] = scratch[511];
}
static inline mw_status workers_forward(const mw_call *call) {
  mw_parallel(call, call->in[0].count, workers_chunk, (void *)call);
  return MW_OK;
}
static inline void workers_workspace(const mw_call *call, mw_workspace *need) {
  (void)call;
  need->worker = 512 * sizeof(double);
}
static const mw_op t_workers = {.name = "t_workers",
                                .version = 1,
                                .doc = "x",
                                .example = "none",
                                .inputs = {{"x"}},
                                .outputs = {{"y"}},
                                .infer = like_first,
                                .forward = workers_forward,
                                .workspace = workers_workspace};

static inline mw_context *context_with_test_ops(void) {
  mw_context *ctx = mw_context_new();
  mw_plugin *plugin = ctx ? mw_plugin_begin(ctx, "tests", NULL, NULL) : NULL;
  const mw_op *const ops[] = {&t_cube, &t_twice, &t_square, &t_split,
                              &t_fail, &t_saver, &t_maybe,  &t_workers};
  bool registered = plugin != NULL;
  for (size_t i = 0; registered && i < sizeof ops / sizeof *ops; i++)
    registered = !mw_host_register_op(plugin, ops[i], sizeof(mw_op), MW_F64);
  if (registered && !mw_plugin_commit(plugin)) return ctx;
  if (plugin) mw_plugin_abort(plugin);
  mw_context_free(ctx);
  return NULL;
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

static inline mw_stats stats_of(mw_context *ctx) {
  mw_stats stats;
  mw_context_stats(ctx, &stats);
  return stats;
}

static inline void release_all(int n, mw_tensor **tensors) {
  for (int i = 0; i < n; i++) mw_release(tensors[i]);
}

#endif
