/* softmax.c: softmax and its logarithm along an axis. */
#include "../graph/vector_math.h"

enum { GRAIN = 4096 }; /* numbers of a chunk, about */

typedef struct softmax_attrs {
  int64_t axis;
} softmax_attrs;

static const mw_attr schema[] = {{.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(softmax_attrs, axis),
                                  .doc = "the axis whose values sum to 1",
                                  .initial = "-1"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  softmax_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  it->out[0] = *x;
  return MW_OK;
}

/* A line: n numbers, `step` apart. Arrays are [outer, n, step]; there is a line for each pair of
 * an outer and an inner index. */
typedef struct line {
  int64_t n, step;
} line;

typedef void (*line_map)(line l, const real *x, real *y);
typedef void (*line_back)(line l, const real *y, const real *dy, real *dx);

typedef struct job {
  const mw_call *call;
  line line;
  line_map map;
  line_back back;
  int64_t lines, grain;
} job;

static void lines_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  const int64_t step = j->line.step, end = mw_chunk_end(j->lines, j->grain, chunk);
  real *y = call->out[0].data;
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t at = i / step * step * j->line.n + i % step;
    if (j->back)
      j->back(j->line, y + at, (const real *)call->dout[0].data + at,
              (real *)call->din[0].data + at);
    else j->map(j->line, (const real *)call->in[0].data + at, y + at);
  }
}

static mw_status each_line(const mw_call *call, line_map map, line_back back) {
  const softmax_attrs *attrs = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  job j = {.call = call, .map = map, .back = back};
  j.line = (line){.n = x->shape[attrs->axis], .step = 1};
  for (int k = (int)attrs->axis + 1; k < x->rank; k++) j.line.step *= x->shape[k];
  if (call->out[0].count == 0) return MW_OK;
  j.lines = call->out[0].count / j.line.n;
  j.grain = j.line.n < GRAIN ? GRAIN / j.line.n : 1;
  mw_parallel(call, mw_chunks(j.lines, j.grain), lines_chunk, &j);
  return MW_OK;
}

/* ---- what is said of all numbers of a line ------------------------------------------------ */

/* Partial results of LANES neighbours at a time, so that the loops become vectors. `step` is a
 * constant where these are inlined, for lines without gaps. */
enum { LANES = 16 };

/* NaN counts only as the first of all; elsewhere the exponentials bring it in. */
MW_INLINE real largest_of(int64_t n, int64_t step, const real *x) {
  real largest = x[0];
  int64_t i = 0;
  if (n >= LANES) {
    real lane[LANES];
    for (int j = 0; j < LANES; j++) lane[j] = largest;
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < LANES; j++)
        lane[j] = x[(i + j) * step] > lane[j] ? x[(i + j) * step] : lane[j];
    for (int j = 0; j < LANES; j++) largest = lane[j] > largest ? lane[j] : largest;
  }
  for (; i < n; i++) largest = x[i * step] > largest ? x[i * step] : largest;
  return largest;
}

/* The sum of f(i) for i = 0 .. n-1, where f is known. */
typedef real (*term)(const real *a, const real *b, real c, int64_t at);

MW_INLINE real sum_of(int64_t n, int64_t step, term f, const real *a, const real *b, real c) {
  real sum = 0;
  int64_t i = 0;
  if (n >= LANES) {
    real lane[LANES] = {0};
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < LANES; j++) lane[j] += f(a, b, c, (i + j) * step);
    for (int half = LANES / 2; half > 0; half /= 2)
      for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    sum = lane[0];
  }
  for (; i < n; i++) sum += f(a, b, c, i * step);
  return sum;
}

MW_INLINE real itself(const real *a, const real *b, real c, int64_t at) {
  return (void)b, (void)c, a[at];
}
MW_INLINE real product(const real *a, const real *b, real c, int64_t at) {
  return (void)c, a[at] * b[at];
}
MW_INLINE real exp_less(const real *a, const real *b, real c, int64_t at) {
  return (void)b, exp(a[at] - c);
}

/* ---- softmax ------------------------------------------------------------------------------ */

/* Taking the largest number off first changes nothing but keeps exp() from overflowing. */
MW_INLINE void softmax_line(int64_t n, int64_t step, const real *x, real *y) {
  const real largest = largest_of(n, step, x);
  MW_ELEMENTWISE for (int64_t i = 0; i < n; i++) y[i * step] = exp(x[i * step] - largest);
  const real sum = sum_of(n, step, itself, y, NULL, 0);
  MW_ELEMENTWISE for (int64_t i = 0; i < n; i++) y[i * step] /= sum;
}

/* dx = y (dy - <dy, y>) */
MW_INLINE void softmax_line_back(int64_t n, int64_t step, const real *y, const real *dy, real *dx) {
  const real dot = sum_of(n, step, product, dy, y, 0);
  MW_ELEMENTWISE for (int64_t i = 0; i < n; i++) dx[i * step] = y[i * step] * (dy[i * step] - dot);
}

static void softmax_map(line l, const real *x, real *y) {
  if (l.step == 1) softmax_line(l.n, 1, x, y);
  else softmax_line(l.n, l.step, x, y);
}

static void softmax_back(line l, const real *y, const real *dy, real *dx) {
  if (l.step == 1) softmax_line_back(l.n, 1, y, dy, dx);
  else softmax_line_back(l.n, l.step, y, dy, dx);
}

static mw_status softmax_forward(const mw_call *call) { return each_line(call, softmax_map, NULL); }
static mw_status softmax_backward(const mw_call *call) {
  return each_line(call, NULL, softmax_back);
}

/* For each number: forward a comparison, a subtraction, exp, and what sums and divides (or, of
 * logarithms, subtracts); backward four, which the formulas show. */
static double flops(const mw_call *call) {
  return (call->backward ? 4.0 : 5.0) * (double)call->in[0].count;
}

static mw_tensor *sum_along(mw_build *g, mw_tensor *t) {
  const softmax_attrs *attrs = g->attrs;
  const mw_setting settings[] = {mw_list("axes", 1, &attrs->axis), mw_bool("keepdims", true)};
  return mw_make(g, "sum", 1, &t, 2, settings);
}

static mw_status softmax_gradient(mw_build *g) {
  mw_tensor *y = g->out[0], *dy = g->dout[0];
  mw_tensor *dot = sum_along(g, mw_make2(g, "mul", dy, y));
  g->din[0] = mw_make2(g, "mul", y, mw_make2(g, "sub", dy, dot));
  return MW_OK;
}

#define SOFTMAX                                                                                \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y"}}, .attrs = schema,                        \
  .attrs_size = sizeof(softmax_attrs), .flags = MW_INPLACE, .backward_needs = MW_NEEDS_OUT(0), \
  .infer = infer, .flops = flops

static const mw_op softmax_op = {
    .name = "softmax",
    .doc =
        "Exponentials along an axis, divided by their sum: y = exp(x) / sum(exp(x)). A line of "
        "nothing but -inf, or with NaN or inf in it, gives NaN.",
    .example = "mw.softmax(mw.randn{2,3})",
    .cases =
        "mw.softmax(mw.randn{2,3,2}, {axis=2})\n"
        "mw.softmax(mw.randn{5,1}, {axis=1})\n"
        "mw.softmax(mw.randn{7})\n"
        "mw.softmax(mw.randn{2,1})\n"
        "mw.softmax(mw.randn{0,3})",
    .forward = softmax_forward,
    .backward = softmax_backward,
    .gradient = softmax_gradient,
    SOFTMAX,
};

/* ---- log_softmax -------------------------------------------------------------------------- */

MW_INLINE void log_softmax_line(int64_t n, int64_t step, const real *x, real *y) {
  const real largest = largest_of(n, step, x);
  const real log_sum = log(sum_of(n, step, exp_less, x, NULL, largest));
  MW_ELEMENTWISE for (int64_t i = 0; i < n; i++) y[i * step] = (x[i * step] - largest) - log_sum;
}

/* dx = dy - exp(y) sum(dy) */
MW_INLINE void log_softmax_line_back(int64_t n, int64_t step, const real *y, const real *dy,
                                     real *dx) {
  const real sum = sum_of(n, step, itself, dy, NULL, 0);
  MW_ELEMENTWISE for (int64_t i = 0; i < n; i++) dx[i * step] =
      dy[i * step] - exp(y[i * step]) * sum;
}

static void log_softmax_map(line l, const real *x, real *y) {
  if (l.step == 1) log_softmax_line(l.n, 1, x, y);
  else log_softmax_line(l.n, l.step, x, y);
}

static void log_softmax_back(line l, const real *y, const real *dy, real *dx) {
  if (l.step == 1) log_softmax_line_back(l.n, 1, y, dy, dx);
  else log_softmax_line_back(l.n, l.step, y, dy, dx);
}

static mw_status log_softmax_forward(const mw_call *call) {
  return each_line(call, log_softmax_map, NULL);
}
static mw_status log_softmax_backward(const mw_call *call) {
  return each_line(call, NULL, log_softmax_back);
}

static mw_status log_softmax_gradient(mw_build *g) {
  mw_tensor *dy = g->dout[0];
  mw_tensor *share = mw_make2(g, "mul", mw_make1(g, "exp", g->out[0]), sum_along(g, dy));
  g->din[0] = mw_make2(g, "sub", dy, share);
  return MW_OK;
}

static const mw_op log_softmax_op = {
    .name = "log_softmax",
    .doc =
        "The logarithm of softmax: y = x - log(sum(exp(x))). A line of nothing but -inf, or with "
        "NaN or inf in it, gives NaN.",
    .example = "mw.log_softmax(mw.randn{2,3})",
    .cases =
        "mw.log_softmax(mw.randn{2,3,2}, {axis=2})\n"
        "mw.log_softmax(mw.randn{5,1}, {axis=1})\n"
        "mw.log_softmax(mw.randn{7})\n"
        "mw.log_softmax(mw.randn{2,1})\n"
        "mw.log_softmax(mw.randn{0,3})",
    .forward = log_softmax_forward,
    .backward = log_softmax_backward,
    .gradient = log_softmax_gradient,
    SOFTMAX,
};

MW_PLUGIN(&softmax_op, &log_softmax_op)
