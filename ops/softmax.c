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

/* A line is n numbers, `step` apart. Arrays are [outer, n, step]; there is a line for each pair of
 * an outer and an inner index. Two ways through them: a line without gaps is taken along, and of
 * others, whose numbers lie far apart, up to BLOCK neighbours are taken together. */
enum { BLOCK = 64 };

typedef struct lines {
  int64_t n, step;
  int64_t count; /* neighbouring lines; 1 where step is 1 */
} lines;

typedef void (*lines_map)(lines l, const real *x, real *y);
typedef void (*lines_back)(lines l, const real *y, const real *dy, real *dx);

typedef struct job {
  const mw_call *call;
  lines_map map;
  lines_back back;
  int64_t n, step, lines, grain;
} job;

static void lines_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  const int64_t step = j->step, end = mw_chunk_end(j->lines, j->grain, chunk);
  real *y = call->out[0].data;
  (void)worker;
  for (int64_t i = chunk * j->grain, count; i < end; i += count) {
    const int64_t inner = i % step, at = (i - inner) * j->n + inner;
    count = step - inner < end - i ? step - inner : end - i;
    if (count > BLOCK) count = BLOCK;
    const lines l = {j->n, step, count};
    if (j->back)
      j->back(l, y + at, (const real *)call->dout[0].data + at, (real *)call->din[0].data + at);
    else j->map(l, (const real *)call->in[0].data + at, y + at);
  }
}

static mw_status each_line(const mw_call *call, lines_map map, lines_back back) {
  const softmax_attrs *attrs = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  job j = {.call = call, .map = map, .back = back, .n = x->shape[attrs->axis], .step = 1};
  for (int k = (int)attrs->axis + 1; k < x->rank; k++) j.step *= x->shape[k];
  if (call->out[0].count == 0) return MW_OK;
  j.lines = call->out[0].count / j.n;
  j.grain = j.n < GRAIN ? GRAIN / j.n : 1;
  if (j.step > 1 && j.grain < BLOCK) j.grain = BLOCK;
  mw_parallel(call, mw_chunks(j.lines, j.grain), lines_chunk, &j);
  return MW_OK;
}

/* ---- along a line ------------------------------------------------------------------------- */

/* Partial results of LANES neighbours at a time, so that the loops become vectors. */
enum { LANES = 16 };

/* NaN counts only as the first of all; elsewhere the exponentials bring it in. */
static inline real larger(real best, real x) { return x > best ? x : best; }

static real largest_of(int64_t n, const real *x) {
  real largest = x[0];
  int64_t i = 0;
  if (n >= LANES) {
    real lane[LANES];
    for (int j = 0; j < LANES; j++) lane[j] = largest;
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < LANES; j++) lane[j] = larger(lane[j], x[i + j]);
    for (int j = 0; j < LANES; j++) largest = larger(largest, lane[j]);
  }
  for (; i < n; i++) largest = larger(largest, x[i]);
  return largest;
}

/* The sum of f at 0 .. n-1, where f is known. */
typedef real (*term)(const real *a, const real *b, real c, int64_t i);

MW_INLINE real sum_of(int64_t n, term f, const real *a, const real *b, real c) {
  real sum = 0;
  int64_t i = 0;
  if (n >= LANES) {
    real lane[LANES] = {0};
    for (; i + LANES <= n; i += LANES)
      for (int j = 0; j < LANES; j++) lane[j] += f(a, b, c, i + j);
    for (int half = LANES / 2; half > 0; half /= 2)
      for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    sum = lane[0];
  }
  for (; i < n; i++) sum += f(a, b, c, i);
  return sum;
}

MW_INLINE real itself(const real *a, const real *b, real c, int64_t i) {
  return (void)b, (void)c, a[i];
}
MW_INLINE real product(const real *a, const real *b, real c, int64_t i) {
  return (void)c, a[i] * b[i];
}
MW_INLINE real exp_less(const real *a, const real *b, real c, int64_t i) {
  return (void)b, exp(a[i] - c);
}

/* ---- across lines ------------------------------------------------------------------------- */

static void largest_across(lines l, const real *x, real *largest) {
  for (int64_t j = 0; j < l.count; j++) largest[j] = x[j];
  for (int64_t i = 1; i < l.n; i++)
    for (int64_t j = 0; j < l.count; j++) largest[j] = larger(largest[j], x[i * l.step + j]);
}

MW_INLINE void sums_across(lines l, term f, const real *a, const real *b, const real *c,
                           real *restrict sum) {
  for (int64_t j = 0; j < l.count; j++) sum[j] = 0;
  for (int64_t i = 0; i < l.n; i++)
    for (int64_t j = 0; j < l.count; j++) sum[j] += f(a, b, c[j], i * l.step + j);
}

static const real nothing[BLOCK];

/* ---- softmax ------------------------------------------------------------------------------ */

/* Taking the largest number off first changes nothing but keeps exp() from overflowing. */
static void softmax_map(lines l, const real *x, real *y) {
  if (l.step == 1) {
    const real largest = largest_of(l.n, x);
    MW_INDEPENDENT for (int64_t i = 0; i < l.n; i++) y[i] = exp(x[i] - largest);
    const real sum = sum_of(l.n, itself, y, NULL, 0);
    MW_INDEPENDENT for (int64_t i = 0; i < l.n; i++) y[i] /= sum;
    return;
  }
  real largest[BLOCK], sum[BLOCK];
  largest_across(l, x, largest);
  for (int64_t i = 0; i < l.n; i++, x += l.step) {
    real *to = y + i * l.step;
    MW_INDEPENDENT for (int64_t j = 0; j < l.count; j++) to[j] = exp(x[j] - largest[j]);
  }
  sums_across(l, itself, y, NULL, nothing, sum);
  for (int64_t i = 0; i < l.n; i++, y += l.step)
    MW_INDEPENDENT for (int64_t j = 0; j < l.count; j++) y[j] /= sum[j];
}

/* dx = y (dy - <dy, y>) */
static void softmax_back(lines l, const real *y, const real *dy, real *dx) {
  if (l.step == 1) {
    const real dot = sum_of(l.n, product, dy, y, 0);
    MW_INDEPENDENT for (int64_t i = 0; i < l.n; i++) dx[i] = y[i] * (dy[i] - dot);
    return;
  }
  real dot[BLOCK];
  sums_across(l, product, dy, y, nothing, dot);
  for (int64_t i = 0; i < l.n; i++, y += l.step, dy += l.step, dx += l.step)
    MW_INDEPENDENT for (int64_t j = 0; j < l.count; j++) dx[j] = y[j] * (dy[j] - dot[j]);
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

static void log_softmax_map(lines l, const real *x, real *y) {
  if (l.step == 1) {
    const real largest = largest_of(l.n, x);
    const real log_sum = log(sum_of(l.n, exp_less, x, NULL, largest));
    MW_INDEPENDENT for (int64_t i = 0; i < l.n; i++) y[i] = (x[i] - largest) - log_sum;
    return;
  }
  real largest[BLOCK], log_sum[BLOCK];
  largest_across(l, x, largest);
  sums_across(l, exp_less, x, NULL, largest, log_sum);
  for (int64_t j = 0; j < l.count; j++) log_sum[j] = log(log_sum[j]);
  for (int64_t i = 0; i < l.n; i++, x += l.step, y += l.step)
    MW_INDEPENDENT for (int64_t j = 0; j < l.count; j++) y[j] = (x[j] - largest[j]) - log_sum[j];
}

/* dx = dy - exp(y) sum(dy) */
static void log_softmax_back(lines l, const real *y, const real *dy, real *dx) {
  if (l.step == 1) {
    const real sum = sum_of(l.n, itself, dy, NULL, 0);
    MW_INDEPENDENT for (int64_t i = 0; i < l.n; i++) dx[i] = dy[i] - exp(y[i]) * sum;
    return;
  }
  real sum[BLOCK];
  sums_across(l, itself, dy, NULL, nothing, sum);
  for (int64_t i = 0; i < l.n; i++, y += l.step, dy += l.step, dx += l.step)
    MW_INDEPENDENT for (int64_t j = 0; j < l.count; j++) dx[j] = dy[j] - exp(y[j]) * sum[j];
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
