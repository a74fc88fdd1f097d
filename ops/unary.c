/* unary.c: elementwise functions of one tensor, a row each. */
/* real: f32 f64 i32 i64 */
#include "../graph/vector.h"

#if defined MW_REAL_I32
typedef uint32_t wrap; /* integer arithmetic wraps around instead of overflowing */
#elif defined MW_REAL_I64
typedef uint64_t wrap;
#else
#include "../graph/vector_math.h"
typedef real wrap;
#define FLOATS
#endif

/* To add a function, add a row to one of these tables, by the dtypes that it is for:
 *
 *     ROW(name, what backward reads: X, Y or XY, y, dx, where the tests draw x from, doc)
 *     RISE           is MW_RISING besides
 *     ROW1, ROW2     have one and two attributes: name, default, doc of each, before y
 *     STEP(name, y, doc)     is constant but for jumps: its derivative is 0
 *
 * y and dx are C, of x, y and dy, and of the attributes. dx is compiled into the backward kernel,
 * and its text is also the formula from which higher derivatives are built (see mw_formula); so it
 * calls nothing but functions that are ops too. NORMAL, POSITIVE and the other ranges are further
 * down. */

/* clang-format off */
#define OF_ANY_NUMBER(ROW, STEP) \
  /* 0 - x turns -0 into 0 as well; NaN stays. */ \
  ROW(abs, X, x <= 0 ? (real)(0 - (wrap)x) : x, dy * sign(x), NORMAL, \
      "The absolute value: y = |x|. The gradient at 0 is 0.") \
  ROW(square, X, (real)((wrap)x * (wrap)x), dy * (x + x), NORMAL, "The square: y = x x.") \
  STEP(sign, sign(x), "The sign: y is 1, 0 or -1; NaN stays. Its gradient is 0.")

#define OF_FLOATS(ROW, RISE, ROW1, ROW2, STEP) \
  STEP(floor, floor(x), "Rounds down, to the next integer. Its gradient is 0.") \
  STEP(ceil, ceil(x), "Rounds up, to the next integer. Its gradient is 0.") \
  STEP(round, rint(x), \
      "Rounds to the nearest integer, halves to the even one. Its gradient is 0.") \
  \
  ROW(exp, Y, exp(x), dy * y, NORMAL, "Exponential function: y = e^x.") \
  ROW(exp2, Y, exp2(x), dy * (y * (real)0.69314718055994530942), NORMAL, "Power of 2: y = 2^x.") \
  ROW(expm1, Y, expm1(x), dy * (y + 1), NORMAL, \
      "Exponential function less 1: y = e^x - 1, exact for small x.") \
  ROW(log, X, log(x), dy / x, POSITIVE, "Natural logarithm: y = ln(x); -inf at 0, NaN below.") \
  ROW(log2, X, log2(x), dy / x * (real)1.44269504088896340736, POSITIVE, \
      "Logarithm of base 2; -inf at 0, NaN below.") \
  ROW(log10, X, log10(x), dy / x * (real)0.43429448190325182765, POSITIVE, \
      "Logarithm of base 10; -inf at 0, NaN below.") \
  ROW(log1p, X, log1p(x), dy / (1 + x), POSITIVE, \
      "Logarithm of 1 + x: y = ln(1 + x), exact for small x; -inf at -1, NaN below.") \
  ROW(sqrt, Y, sqrt(x), dy / (y + y), POSITIVE, "Square root: y = x^(1/2); NaN below 0.") \
  ROW(rsqrt, Y, 1 / sqrt(x), -dy * y * y * y / 2, POSITIVE, \
      "Reciprocal of the square root: y = x^(-1/2); inf at 0, NaN below.") \
  ROW(reciprocal, Y, 1 / x, -dy * y * y, POSITIVE, \
      "Reciprocal: y = 1 / x; infinite at 0, with the sign of 0.") \
  ROW(sin, X, sin(x), dy * cos(x), NORMAL, "Sine of x in radians; NaN at infinity.") \
  ROW(cos, X, cos(x), -dy * sin(x), NORMAL, "Cosine of x in radians; NaN at infinity.") \
  ROW(tan, Y, tan(x), dy * (1 + y * y), WITHIN_1, "Tangent of x in radians; NaN at infinity.") \
  ROW(asin, X, asin(x), dy / sqrt(1 - x * x), WITHIN_1, \
      "Inverse sine, in radians from -pi/2 to pi/2; NaN outside [-1, 1].") \
  ROW(acos, X, acos(x), -dy / sqrt(1 - x * x), WITHIN_1, \
      "Inverse cosine, in radians from 0 to pi; NaN outside [-1, 1].") \
  ROW(atan, X, atan(x), dy / (1 + x * x), NORMAL, \
      "Inverse tangent, in radians from -pi/2 to pi/2.") \
  ROW(sinh, X, sinh(x), dy * cosh(x), NORMAL, "Hyperbolic sine: y = (e^x - e^-x) / 2.") \
  ROW(cosh, X, cosh(x), dy * sinh(x), NORMAL, "Hyperbolic cosine: y = (e^x + e^-x) / 2.") \
  ROW(tanh, Y, tanh(x), dy * (1 - y * y), NORMAL, "Hyperbolic tangent: y = tanh(x).") \
  ROW(asinh, X, asinh(x), dy / sqrt(x * x + 1), NORMAL, \
      "Inverse hyperbolic sine: y = ln(x + sqrt(x^2 + 1)).") \
  ROW(acosh, X, acosh(x), dy / sqrt((x - 1) * (x + 1)), ABOVE_1, \
      "Inverse hyperbolic cosine: y = ln(x + sqrt(x^2 - 1)); NaN below 1.") \
  ROW(atanh, X, atanh(x), dy / ((1 - x) * (1 + x)), WITHIN_1, \
      "Inverse hyperbolic tangent: y = ln((1 + x) / (1 - x)) / 2; infinite at 1 and -1, NaN " \
      "beyond.") \
  ROW(erf, X, erf(x), dy * (real)1.12837916709551257390 * exp(-x * x), NORMAL, \
      "Error function: y = 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x.") \
  \
  ROW(sigmoid, Y, sigmoid(x), dy * (y * (1 - y)), NORMAL, \
      "Logistic function: y = 1 / (1 + exp(-x)).") \
  /* Written so that NaN stays NaN. */ \
  RISE(relu, Y, x < 0 ? 0 : x, y == 0 ? 0 : dy, NORMAL, \
      "Rectified linear unit: y = max(x, 0). The gradient at 0 is 0.") \
  ROW1(leaky_relu, X, negative_slope, "0.01", "y / x below 0", \
      x < 0 ? negative_slope * x : x, x > 0 ? dy : negative_slope * dy, NORMAL, \
      "Leaky rectifier: y = x above 0, negative_slope x below. The gradient at 0 is " \
      "negative_slope.") \
  ROW1(elu, XY, alpha, "1", "-alpha is the limit at -inf", \
      x > 0 ? x : alpha * expm1(x), x > 0 ? dy : dy * (y + alpha), NORMAL, \
      "Exponential linear unit: y = x above 0, alpha (e^x - 1) below.") \
  ROW(selu, XY, \
      (real)1.05070098735548049342 * (x > 0 ? x : (real)1.67326324235437728482 * expm1(x)), \
      x > 0 ? dy * (real)1.05070098735548049342 : dy * (y + (real)1.75809934084737685994), NORMAL, \
      "Self-normalising unit: y = 1.0507 elu(x, alpha = 1.6733) (Klambauer et al., 2017).") \
  ROW(gelu_erf, X, x / 2 * (1 + erf(x * (real)0.70710678118654752440)), \
      dy * ((1 + erf(x * (real)0.70710678118654752440)) / 2 + \
            x * (real)0.39894228040143267794 * exp(-x * x / 2)), NORMAL, \
      "Gaussian error linear unit: y = x P(X <= x) for normal X (Hendrycks and Gimpel, 2016).") \
  ROW(gelu_tanh, X, \
      x / 2 * (1 + tanh((real)0.79788456080286535588 * (x + (real)0.044715 * x * x * x))), \
      dy * ((1 + tanh((real)0.79788456080286535588 * (x + (real)0.044715 * x * x * x))) / 2 + \
            (1 - square(tanh((real)0.79788456080286535588 * (x + (real)0.044715 * x * x * x)))) * \
            (x * (real)0.39894228040143267794) * (1 + (real)0.134145 * x * x)), \
      NORMAL, \
      "GELU by its approximation: y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).") \
  ROW(silu, X, x * sigmoid(x), dy * (sigmoid(x) * (1 + x * (1 - sigmoid(x)))), NORMAL, \
      "Sigmoid linear unit, also called swish: y = x / (1 + exp(-x)).") \
  ROW(softplus, X, (x > 0 ? x : 0) + log1p(exp(x > 0 ? -x : x)), dy * sigmoid(x), NORMAL, \
      "A smooth rectifier: y = ln(1 + e^x).") \
  ROW(softsign, X, x > 0 ? x / (1 + x) : x / (1 - x), \
      dy / square(x > 0 ? 1 + x : 1 - x), NORMAL, \
      "A sigmoid by a quotient: y = x / (1 + |x|); NaN at infinity.") \
  /* tanh(ln(1 + e^x)) by sigmoids, which neither overflow nor cancel. */ \
  ROW(mish, X, x * sigmoid(x) * (1 + sigmoid(-x)) / (1 + square(sigmoid(-x))), \
      dy * sigmoid(x) * ((1 + sigmoid(-x)) / (1 + square(sigmoid(-x))) + \
                         x * square(2 * sigmoid(-x) / (1 + square(sigmoid(-x))))), NORMAL, \
      "A smooth rectifier: y = x tanh(softplus(x)) (Misra, 2019).") \
  ROW(hardsigmoid, X, x <= -3 ? 0 : x >= 3 ? 1 : x / 6 + (real)0.5, \
      x <= -3 ? 0 : x >= 3 ? 0 : dy / 6, NORMAL, \
      "A sigmoid of straight lines: y = 0 up to -3, 1 from 3 on, x/6 + 1/2 between.") \
  ROW(hardswish, X, x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6, \
      x <= -3 ? 0 : x >= 3 ? dy : dy * (x + x + 3) / 6, NORMAL, \
      "A silu of straight lines: y = x hardsigmoid(x), 0 up to -3, x from 3 on (Howard et al., " \
      "2019).") \
  ROW2(clip, X, min, "-inf", "the least y", max, "inf", "the greatest y", \
      x < min ? min : x > max ? max : x, x < min ? 0 : x > max ? 0 : dy, NORMAL, \
      "Keeps y within [min, max]. No gradient passes outside; at the bounds it does.") \
  ROW2(hardtanh, X, min, "-1", "the least y", max, "1", "the greatest y", \
      x < min ? min : x > max ? max : x, x <= min ? 0 : x >= max ? 0 : dy, NORMAL, \
      "A tanh of straight lines: y = x within [min, max], else the bound, where no gradient " \
      "passes.")
/* clang-format on */

/* ---- functions that rows call, as they call C's ------------------------------------------- */

static inline real sign(real x) { return x > 0 ? 1 : x < 0 ? (real)-1 : x; }
#ifdef FLOATS
/* 1 / (1 + e^-x), or below 0 the same times e^x / e^x, so that nothing overflows. */
static inline real sigmoid(real x) {
  const real e = exp(x < 0 ? x : -x);
  return (x < 0 ? e : 1) / (1 + e);
}
static inline real square(real x) { return x * x; }
#endif

/* ---- what all rows share ------------------------------------------------------------------ */

enum { GRAIN = 16384 }; /* elements of a chunk */

/* The fields of rows that have attributes, whatever the rows call them. */
typedef struct attrs {
  double first, second;
} attrs;

typedef void (*map_loop)(int64_t n, const attrs *a, const real *xs, real *ys);
typedef void (*back_loop)(int64_t n, const attrs *a, const real *xs, const real *ys,
                          const real *dys, real *dxs);

typedef struct map_job {
  const mw_call *call;
  map_loop loop;
  back_loop back;
} map_job;

static void map_chunk(void *arg, int64_t chunk, int worker) {
  const map_job *job = arg;
  const mw_array *x = &job->call->in[0], *y = &job->call->out[0];
  const int64_t first = chunk * GRAIN, end = mw_chunk_end(x->count, GRAIN, chunk);
  (void)worker;
  job->loop(end - first, job->call->attrs, (const real *)x->data + first, (real *)y->data + first);
}

static inline mw_status map(const mw_call *call, map_loop loop) {
  map_job job = {.call = call, .loop = loop};
  mw_parallel(call, mw_chunks(call->in[0].count, GRAIN), map_chunk, &job);
  return MW_OK;
}

#ifdef FLOATS
/* A loop that does not read x or y is given dy in its place. */
static void back_chunk(void *arg, int64_t chunk, int worker) {
  const map_job *job = arg;
  const mw_call *call = job->call;
  const real *dy = call->dout[0].data;
  const real *x = call->in[0].data ? call->in[0].data : dy;
  const real *y = call->out[0].data ? call->out[0].data : dy;
  real *dx = call->din[0].data;
  const int64_t first = chunk * GRAIN, end = mw_chunk_end(call->din[0].count, GRAIN, chunk);
  (void)worker;
  job->back(end - first, call->attrs, x + first, y + first, dy + first, dx + first);
}

static inline mw_status map_back(const mw_call *call, back_loop back) {
  map_job job = {.call = call, .back = back};
  mw_parallel(call, mw_chunks(call->din[0].count, GRAIN), back_chunk, &job);
  return MW_OK;
}
#endif

#define NORMAL(shape) "mw.randn" shape
#define POSITIVE(shape) "mw.uniform(" shape ", 0.5, 2)"
#define WITHIN_1(shape) "mw.uniform(" shape ", -0.9, 0.9)"
#define ABOVE_1(shape) "mw.uniform(" shape ", 1.1, 3)"
#define CASE(name, domain, shape) "mw." #name "(" domain(shape) ")"
#define CASES(name, domain)     \
  CASE(name, domain, "{3,1,5}") \
  "\n" CASE(name, domain, "{7}") "\n" CASE(name, domain, "{}") "\n" CASE(name, domain, "{0,3}")
#define CASE1(name, domain, p) "\nmw." #name "(" domain("{2,5}") ", {" p "=0.3})"
#define CASE2(name, domain, p, q) "\nmw." #name "(" domain("{2,5}") ", {" p "=-0.5, " q "=0.75})"

#define NEEDS_X MW_NEEDS_IN(0)
#define NEEDS_Y MW_NEEDS_OUT(0)
#define NEEDS_XY (MW_NEEDS_IN(0) | MW_NEEDS_OUT(0))

/* ---- what a row becomes: loops, kernels, an op. `names` declares the attributes. ---------- */

#define FORWARD(row, y_of_x, names)                                             \
  static void row##_loop(int64_t n, const attrs *a, const real *xs, real *ys) { \
    names;                                                                      \
    (void)a;                                                                    \
    MW_INDEPENDENT                                                              \
    for (int64_t i = 0; i < n; i++) {                                           \
      const real x = xs[i];                                                     \
      ys[i] = y_of_x;                                                           \
    }                                                                           \
  }                                                                             \
  static mw_status row##_forward(const mw_call *call) { return map(call, row##_loop); }

#ifdef FLOATS
#define BACKWARD(row, dx_of_x, names)                                               \
  static void row##_back(int64_t n, const attrs *a, const real *xs, const real *ys, \
                         const real *dys, real *dxs) {                              \
    names;                                                                          \
    (void)a;                                                                        \
    MW_INDEPENDENT                                                                  \
    for (int64_t i = 0; i < n; i++) {                                               \
      const real x = xs[i], y = ys[i], dy = dys[i];                                 \
      (void)x;                                                                      \
      (void)y;                                                                      \
      dxs[i] = dx_of_x;                                                             \
    }                                                                               \
  }                                                                                 \
  static mw_status row##_backward(const mw_call *call) { return map_back(call, row##_back); }
#define KERNEL_OF(row) .backward = row##_backward
#else
#define BACKWARD(row, dx_of_x, names)
#define KERNEL_OF(row) .backward = NULL
#endif

#define OP(row, domain, further, text, ...)  \
  static const mw_op row##_op = {            \
      .name = #row,                          \
      .version = 1,                          \
      .doc = text,                           \
      .example = CASE(row, domain, "{2,3}"), \
      .cases = CASES(row, domain) further,   \
      .inputs = {{"x"}},                     \
      .outputs = {{"y"}},                    \
      .infer = mw_infer_like,                \
      .forward = row##_forward,              \
      __VA_ARGS__,                           \
  };

#define DEFINE_STEP(row, y, text) \
  FORWARD(row, y, )               \
  OP(row, NORMAL, "", text, .flags = MW_INPLACE | MW_ELEMENTWISE | MW_SURE, .derivative = {"0"})

#define FLAGS_OF(needs) (MW_INPLACE | MW_ELEMENTWISE | MW_SURE | (NEEDS_##needs ? 0 : MW_LINEAR))

#define DEFINE_ROW(row, needs, y, dx, domain, text)                                    \
  FORWARD(row, y, )                                                                    \
  BACKWARD(row, dx, )                                                                  \
  OP(row, domain, "", text, .flags = FLAGS_OF(needs), .backward_needs = NEEDS_##needs, \
     .derivative = {#dx}, KERNEL_OF(row))

/* dx handed on to DEFINE_ROW would be a text in which tgmath.h's macros are expanded. */
#define DEFINE_RISE(row, needs, y, dx, domain, text)                                               \
  FORWARD(row, y, )                                                                                \
  BACKWARD(row, dx, )                                                                              \
  OP(row, domain, "", text, .flags = FLAGS_OF(needs) | MW_RISING, .backward_needs = NEEDS_##needs, \
     .derivative = {#dx}, KERNEL_OF(row))

#define FIELD(field, title, value, text)                                            \
  {                                                                                 \
    .name = title, .type = MW_FLOAT, .offset = offsetof(attrs, field), .doc = text, \
    .initial = value                                                                \
  }

#define DEFINE_ROW1(row, needs, p, p_value, p_text, y, dx, domain, text)                        \
  FORWARD(row, y, const real p = (real)a->first)                                                \
  BACKWARD(row, dx, const real p = (real)a->first)                                              \
  static const mw_attr row##_schema[] = {FIELD(first, #p, p_value, p_text), {0}};               \
  OP(row, domain, CASE1(row, domain, #p), text, .flags = MW_INPLACE | MW_ELEMENTWISE | MW_SURE, \
     .attrs = row##_schema, .attrs_size = sizeof(attrs), .backward_needs = NEEDS_##needs,       \
     .derivative = {#dx}, KERNEL_OF(row))

#define DEFINE_ROW2(row, needs, p, p_value, p_text, q, q_value, q_text, y, dx, domain, text) \
  FORWARD(row, y, const real p = (real)a->first; const real q = (real)a->second)             \
  BACKWARD(row, dx, const real p = (real)a->first; const real q = (real)a->second)           \
  static const mw_attr row##_schema[] = {                                                    \
      FIELD(first, #p, p_value, p_text), FIELD(second, #q, q_value, q_text), {0}};           \
  OP(row, domain, CASE2(row, domain, #p, #q), text,                                          \
     .flags = MW_INPLACE | MW_ELEMENTWISE | MW_SURE, .attrs = row##_schema,                  \
     .attrs_size = sizeof(attrs), .backward_needs = NEEDS_##needs, .derivative = {#dx},      \
     KERNEL_OF(row))

/* ---- the ops ------------------------------------------------------------------------------ */

#define LIST_STEP(row, ...) &row##_op,
#define LIST_ROW(row, ...) &row##_op,

/* The one row that formulas write as a sign. */
FORWARD(neg, (real) - (wrap)x, )
OP(neg, NORMAL, "", "The negative: y = -x.",
   .flags = MW_INPLACE | MW_ELEMENTWISE | MW_SURE | MW_LINEAR, .derivative = {"-dy"}, .sign = "-")
OF_ANY_NUMBER(DEFINE_ROW, DEFINE_STEP)
#ifdef FLOATS
OF_FLOATS(DEFINE_ROW, DEFINE_RISE, DEFINE_ROW1, DEFINE_ROW2, DEFINE_STEP)
MW_PLUGIN(&neg_op, OF_ANY_NUMBER(LIST_ROW, LIST_STEP)
                       OF_FLOATS(LIST_ROW, LIST_ROW, LIST_ROW, LIST_ROW, LIST_STEP) NULL)
#else
MW_PLUGIN(&neg_op, OF_ANY_NUMBER(LIST_ROW, LIST_STEP) NULL)
#endif
