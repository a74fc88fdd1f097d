/* unary.c: elementwise functions of one tensor. */
/* real: f32 f64 i32 i64 */
#include "../graph/moonwalk.h"

#if defined MW_REAL_I32
typedef uint32_t wrap; /* integer arithmetic wraps around instead of overflowing */
#elif defined MW_REAL_I64
typedef uint64_t wrap;
#else
#include <tgmath.h>
typedef real wrap;
#define FLOATS
#endif

/* To add a function: its loop; forward, which names the loop; its gradient; its row. A backward
 * loop is worth writing where it saves passes over memory. */

enum { GRAIN = 16384 }; /* elements of a chunk */

typedef void (*map_loop)(int64_t n, const real *x, real *y);
/* seen is x or y, whichever backward_needs names. */
typedef void (*back_loop)(int64_t n, const real *seen, const real *dy, real *dx);

typedef struct map_job {
  const mw_call *call;
  map_loop loop;
  back_loop back;
} map_job;

static mw_status infer(mw_infer *it) {
  it->out[0] = it->in[0];
  return MW_OK;
}

static void map_chunk(void *arg, int64_t chunk, int worker) {
  const map_job *job = arg;
  const mw_array *x = &job->call->in[0], *y = &job->call->out[0];
  const int64_t first = chunk * GRAIN, end = mw_chunk_end(x->count, GRAIN, chunk);
  (void)worker;
  job->loop(end - first, (const real *)x->data + first, (real *)y->data + first);
}

static mw_status map(const mw_call *call, map_loop loop) {
  map_job job = {.call = call, .loop = loop};
  mw_parallel(call, mw_chunks(call->in[0].count, GRAIN), map_chunk, &job);
  return MW_OK;
}

static mw_status give(mw_gradient *g, mw_tensor *dx) {
  g->din[0] = dx;
  return MW_OK;
}

/* What all rows share. */
#define UNARY .version = 1, .inputs = {{"x"}}, .outputs = {{"y"}}, .infer = infer

/* ---- of floats and integers --------------------------------------------------------------- */

static void neg_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = (real) - (wrap)x[i];
}
static mw_status neg_forward(const mw_call *call) { return map(call, neg_loop); }
static mw_status neg_gradient(mw_gradient *g) { return give(g, mw_make1(g, "neg", g->dout[0])); }

static const mw_op neg_op = {
    .name = "neg",
    .doc = "The negative: y = -x.",
    .example = "mw.neg(mw.randn{2,3})",
    .flags = MW_INPLACE | MW_LINEAR,
    .forward = neg_forward,
    .gradient = neg_gradient,
    UNARY,
};

/* 0 - x turns -0 into 0 as well; NaN stays. */
static void abs_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] <= 0 ? (real)(0 - (wrap)x[i]) : x[i];
}
static mw_status abs_forward(const mw_call *call) { return map(call, abs_loop); }
static mw_status abs_gradient(mw_gradient *g) {
  return give(g, mw_make2(g, "mul", g->dout[0], mw_make1(g, "sign", g->in[0])));
}

static const mw_op abs_op = {
    .name = "abs",
    .doc = "The absolute value: y = |x|. The gradient at 0 is 0.",
    .example = "mw.abs(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .forward = abs_forward,
    .gradient = abs_gradient,
    UNARY,
};

static void square_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = (real)((wrap)x[i] * (wrap)x[i]);
}
static mw_status square_forward(const mw_call *call) { return map(call, square_loop); }
static mw_status square_gradient(mw_gradient *g) {
  mw_tensor *twice = mw_make2(g, "mul", g->in[0], mw_make_scalar(g, g->in[0], 2));
  return give(g, mw_make2(g, "mul", g->dout[0], twice));
}

static const mw_op square_op = {
    .name = "square",
    .doc = "The square: y = x x.",
    .example = "mw.square(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .forward = square_forward,
    .gradient = square_gradient,
    UNARY,
};

static void sign_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] > 0 ? 1 : x[i] < 0 ? (real)-1 : x[i];
}
static mw_status sign_forward(const mw_call *call) { return map(call, sign_loop); }
static mw_status sign_gradient(mw_gradient *g) { return give(g, NULL); }

static const mw_op sign_op = {
    .name = "sign",
    .doc = "The sign: y is 1, 0 or -1; NaN stays. Its gradient is 0.",
    .example = "mw.sign(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .forward = sign_forward,
    .gradient = sign_gradient,
    UNARY,
};

/* ---- of floats ---------------------------------------------------------------------------- */

#ifdef FLOATS

static void back_chunk(void *arg, int64_t chunk, int worker) {
  const map_job *job = arg;
  const mw_call *call = job->call;
  const real *seen = call->in[0].data ? call->in[0].data : call->out[0].data;
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  const int64_t first = chunk * GRAIN, end = mw_chunk_end(call->din[0].count, GRAIN, chunk);
  (void)worker;
  job->back(end - first, seen + first, dy + first, dx + first);
}

static mw_status map_back(const mw_call *call, back_loop back) {
  map_job job = {.call = call, .back = back};
  mw_parallel(call, mw_chunks(call->din[0].count, GRAIN), back_chunk, &job);
  return MW_OK;
}

/* Written so that NaN stays NaN. */
static void relu_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0 ? 0 : x[i];
}
static void relu_back(int64_t n, const real *y, const real *dy, real *dx) {
  for (int64_t i = 0; i < n; i++) dx[i] = y[i] == 0 ? 0 : dy[i];
}
static mw_status relu_forward(const mw_call *call) { return map(call, relu_loop); }
static mw_status relu_backward(const mw_call *call) { return map_back(call, relu_back); }
static mw_status relu_gradient(mw_gradient *g) {
  mw_tensor *y = g->out[0]; /* 0, positive or NaN */
  mw_tensor *on = mw_make2(g, "ne", y, mw_make_scalar(g, y, 0));
  const bool single = g->host->tensor_spec(y)->dtype == MW_F32;
  const mw_setting dtype = mw_text("dtype", single ? "f32" : "f64");
  return give(g, mw_make2(g, "mul", g->dout[0], mw_make(g, "cast", 1, &on, 1, &dtype)));
}

static const mw_op relu_op = {
    .name = "relu",
    .doc = "Rectified linear unit: y = max(x, 0). The gradient at 0 is 0.",
    .example = "mw.relu(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .backward_needs = MW_NEEDS_OUT(0),
    .forward = relu_forward,
    .backward = relu_backward,
    .gradient = relu_gradient,
    UNARY,
};

/* Where exp(-x) overflows to infinity, the quotient is the 0 that it should be. */
static void sigmoid_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = 1 / (1 + exp(-x[i]));
}
static void sigmoid_back(int64_t n, const real *y, const real *dy, real *dx) {
  for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (y[i] * (1 - y[i]));
}
static mw_status sigmoid_forward(const mw_call *call) { return map(call, sigmoid_loop); }
static mw_status sigmoid_backward(const mw_call *call) { return map_back(call, sigmoid_back); }
static mw_status sigmoid_gradient(mw_gradient *g) {
  mw_tensor *y = g->out[0];
  mw_tensor *slope = mw_make2(g, "mul", y, mw_make2(g, "sub", mw_make_scalar(g, y, 1), y));
  return give(g, mw_make2(g, "mul", g->dout[0], slope));
}

static const mw_op sigmoid_op = {
    .name = "sigmoid",
    .doc = "Logistic function: y = 1 / (1 + exp(-x)).",
    .example = "mw.sigmoid(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .backward_needs = MW_NEEDS_OUT(0),
    .forward = sigmoid_forward,
    .backward = sigmoid_backward,
    .gradient = sigmoid_gradient,
    UNARY,
};

static void tanh_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = tanh(x[i]);
}
static void tanh_back(int64_t n, const real *y, const real *dy, real *dx) {
  for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * (1 - y[i] * y[i]);
}
static mw_status tanh_forward(const mw_call *call) { return map(call, tanh_loop); }
static mw_status tanh_backward(const mw_call *call) { return map_back(call, tanh_back); }
static mw_status tanh_gradient(mw_gradient *g) {
  mw_tensor *y = g->out[0];
  mw_tensor *slope = mw_make2(g, "sub", mw_make_scalar(g, y, 1), mw_make1(g, "square", y));
  return give(g, mw_make2(g, "mul", g->dout[0], slope));
}

static const mw_op tanh_op = {
    .name = "tanh",
    .doc = "Hyperbolic tangent: y = tanh(x).",
    .example = "mw.tanh(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .backward_needs = MW_NEEDS_OUT(0),
    .forward = tanh_forward,
    .backward = tanh_backward,
    .gradient = tanh_gradient,
    UNARY,
};

static void exp_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = exp(x[i]);
}
static mw_status exp_forward(const mw_call *call) { return map(call, exp_loop); }
static mw_status exp_gradient(mw_gradient *g) {
  return give(g, mw_make2(g, "mul", g->dout[0], g->out[0]));
}

static const mw_op exp_op = {
    .name = "exp",
    .doc = "Exponential function: y = e^x.",
    .example = "mw.exp(mw.randn{2,3})",
    .flags = MW_INPLACE,
    .forward = exp_forward,
    .gradient = exp_gradient,
    UNARY,
};

static void log_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = log(x[i]);
}
static mw_status log_forward(const mw_call *call) { return map(call, log_loop); }
static mw_status log_gradient(mw_gradient *g) {
  return give(g, mw_make2(g, "div", g->dout[0], g->in[0]));
}

static const mw_op log_op = {
    .name = "log",
    .doc = "Natural logarithm: y = ln(x); -inf at 0, NaN below.",
    .example = "mw.log(mw.uniform({2,3}, 0.5, 2))",
    .flags = MW_INPLACE,
    .forward = log_forward,
    .gradient = log_gradient,
    UNARY,
};

static void sqrt_loop(int64_t n, const real *x, real *y) {
  for (int64_t i = 0; i < n; i++) y[i] = sqrt(x[i]);
}
static mw_status sqrt_forward(const mw_call *call) { return map(call, sqrt_loop); }
static mw_status sqrt_gradient(mw_gradient *g) {
  mw_tensor *twice = mw_make2(g, "mul", g->out[0], mw_make_scalar(g, g->out[0], 2));
  return give(g, mw_make2(g, "div", g->dout[0], twice));
}

static const mw_op sqrt_op = {
    .name = "sqrt",
    .doc = "Square root: y = x^(1/2); NaN below 0.",
    .example = "mw.sqrt(mw.uniform({2,3}, 0.5, 2))",
    .flags = MW_INPLACE,
    .forward = sqrt_forward,
    .gradient = sqrt_gradient,
    UNARY,
};

MW_PLUGIN(&neg_op, &abs_op, &square_op, &sign_op, &relu_op, &sigmoid_op, &tanh_op, &exp_op, &log_op,
          &sqrt_op)
#else
MW_PLUGIN(&neg_op, &abs_op, &square_op, &sign_op)
#endif
