/* binary.c: elementwise functions of two tensors, a row each, with numpy's broadcasting. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/vector.h"

#if defined MW_REAL_I32
typedef uint32_t wrap; /* integer arithmetic wraps around instead of overflowing */
#elif defined MW_REAL_I64
typedef uint64_t wrap;
#elif defined MW_REAL_U8
typedef uint8_t wrap;
#else
#include <tgmath.h>
typedef real wrap;
#define FLOATS
#endif

/* To add a function, add a row to one of these tables, by the dtypes that it is for:
 *
 *     ROW(name, the operator that it is in formulas or NULL, flags beside MW_INPLACE, y, da, db,
 *         where the tests draw a from, and b, doc)
 *     TEST(name, operator, y, doc)     gives bool, and has no derivative
 *
 * y is C, of a and b. da and db are formulas, of a, b, y and dy (see mw_formula); what they give is
 * summed to the shape of a and of b. A minus in front of one is that of the whole: it is taken
 * last, of what is left after summing. NORMAL, POSITIVE and the other ranges are further down. */

/* clang-format off */
#define OF_ANY_NUMBER(ROW) \
  ROW(add, "+", MW_LINEAR, (real)((wrap)a + (wrap)b), dy, dy, NORMAL, NORMAL, \
      "Sum: y = a + b. Integers wrap around.") \
  ROW(sub, "-", MW_LINEAR, (real)((wrap)a - (wrap)b), dy, -dy, NORMAL, NORMAL, \
      "Difference: y = a - b. Integers wrap around.") \
  ROW(mul, "*", 0, (real)((wrap)a * (wrap)b), dy * b, dy * a, NORMAL, NORMAL, \
      "Elementwise product: y = a b. Integers wrap around.") \
  /* Choices and no products with 0: what is infinite on one side stays there. */ \
  ROW(maximum, NULL, 0, a >= b || is_nan(a) ? a : b, a < b ? 0 : dy, a < b ? dy : 0, \
      NORMAL, NORMAL, \
      "The larger of two: y = max(a, b). NaN wins. Where the two are equal, or one is NaN, a " \
      "gets the gradient.") \
  ROW(minimum, NULL, 0, a <= b || is_nan(a) ? a : b, a > b ? 0 : dy, a > b ? dy : 0, \
      NORMAL, NORMAL, \
      "The smaller of two: y = min(a, b). NaN wins. Where the two are equal, or one is NaN, a " \
      "gets the gradient.")

#define OF_FLOATS(ROW) \
  ROW(div, "/", 0, a / b, dy / b, -dy * y / b, NORMAL, POSITIVE, \
      "Quotient: y = a / b; infinite where b is 0, NaN where a is 0 too.") \
  ROW(pow, NULL, 0, power(a, b), dy * pow_slope(a, b), \
      dy * (a == 0 ? 0 : y * log(a == 0 ? 1 : a)), POSITIVE, NORMAL, \
      "Power: y = a^b; 1 where b is 0, NaN where a is negative and b not whole. The gradient in " \
      "b is 0 where a is 0, NaN where a is negative.") \
  ROW(pow_slope, NULL, 0, b == 0 ? 0 : b * power(a, b - 1), \
      dy * b * pow_slope(a == 0 && b == 0 ? 1 : a, b - 1), \
      dy * (a == 0 ? 0 : pow(a == 0 ? 1 : a, b - 1) + y * log(a == 0 ? 1 : a)), POSITIVE, NORMAL, \
      "The derivative of a^b in a: y = b a^(b - 1), 0 where b is 0. What pow's gradient is.") \
  ROW(atan2, NULL, 0, atan2(a, b), dy * b / (a * a + b * b), -dy * a / (a * a + b * b), \
      NORMAL, POSITIVE, \
      "The angle from the positive b axis to the point (b, a), in radians from -pi to pi: the " \
      "inverse tangent of a / b in the right quadrant. The gradient at (0, 0) is NaN.")

#define TESTS(TEST) \
  TEST(eq, "==", a == b, "Whether a = b; NaN equals nothing.") \
  TEST(ne, "!=", a != b, "Whether a and b differ; NaN differs from everything.") \
  TEST(lt, "<", a < b, "Whether a < b; false where one is NaN.") \
  TEST(le, "<=", a <= b, "Whether a <= b; false where one is NaN.") \
  TEST(gt, ">", a > b, "Whether a > b; false where one is NaN.") \
  TEST(ge, ">=", a >= b, "Whether a >= b; false where one is NaN.")

#define OF_BOOL(TEST) \
  TEST(logical_and, "&&", a && b, "Whether both are true.") \
  TEST(logical_or, "||", a || b, "Whether one of two is true, or both.") \
  TEST(logical_xor, NULL, a != b, "Whether one of two is true, and not both.")
/* clang-format on */

/* ---- functions that rows call, as they call C's ------------------------------------------- */

#ifdef FLOATS
static inline bool is_nan(real x) { return x != x; }
/* Exponents that are written as numbers are the same all along a strip, and most need no pow(). */
static inline real power(real a, real b) {
  return b == 2 ? a * a : b == 1 ? a : b == 0 ? 1 : pow(a, b);
}
static inline real modulo(real a, real b) {
  const real rest = fmod(a, b);
  if (rest == 0) return copysign(rest, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}
#else
static inline bool is_nan(real x) { return (void)x, false; }
/* b is not 0. The least number divided by -1 overflows, though no remainder is left. */
static inline real modulo(real a, real b) {
  const real rest = (wrap)b + 1 == 0 ? 0 : (real)(a % b);
  return rest != 0 && (rest < 1) != (b < 1) ? (real)(rest + b) : rest;
}
#endif

/* ---- walking ------------------------------------------------------------------------------ */

enum { GRAIN = 16384 }; /* elements of a chunk */

/* n neighbouring results. a and b step from element to element, or are one number repeated. */
typedef struct strip {
  int64_t n;
  const real *a, *b;
  bool steps_a, steps_b;
  void *y;
} strip;

typedef void (*strip_loop)(strip s);

/* Axes of the result, innermost first, with the steps of a and b along each: 0 where repeated. */
typedef struct walk {
  int rank; /* at least 1 */
  int64_t size[MW_MAX_RANK], step_a[MW_MAX_RANK], step_b[MW_MAX_RANK];
} walk;

typedef struct zip_job {
  const mw_call *call;
  strip_loop loop;
  size_t out_size; /* bytes of a result */
  walk walk;
} zip_job;

/* Neighbouring axes along which both operands go on evenly become one. */
static walk walk_of(const mw_spec *a, const mw_spec *b, const mw_spec *y) {
  walk w = {.rank = 0};
  int64_t step_a = 1, step_b = 1;
  for (int k = 1; k <= y->rank; k++) {
    const int64_t size = y->shape[y->rank - k];
    const int64_t size_a = mw_size_from_end(a, k), size_b = mw_size_from_end(b, k);
    const int64_t along_a = size_a > 1 ? step_a : 0, along_b = size_b > 1 ? step_b : 0;
    const int last = w.rank - 1;
    step_a *= size_a;
    step_b *= size_b;
    if (size == 1) continue;
    if (w.rank > 0 && along_a == w.step_a[last] * w.size[last] &&
        along_b == w.step_b[last] * w.size[last]) {
      w.size[last] *= size;
    } else {
      w.size[w.rank] = size;
      w.step_a[w.rank] = along_a;
      w.step_b[w.rank++] = along_b;
    }
  }
  if (w.rank == 0) w = (walk){.rank = 1, .size = {1}, .step_a = {1}, .step_b = {1}};
  return w;
}

/* Row i: all axes but the innermost, counted in row-major order. */
static void walk_row(const walk *w, int64_t i, int64_t *offset_a, int64_t *offset_b) {
  *offset_a = *offset_b = 0;
  for (int k = 1; k < w->rank; k++) {
    const bool outermost = k == w->rank - 1;
    const int64_t at = outermost ? i : i % w->size[k];
    *offset_a += at * w->step_a[k];
    *offset_b += at * w->step_b[k];
    if (!outermost) i /= w->size[k];
  }
}

static void zip_chunk(void *arg, int64_t chunk, int worker) {
  const zip_job *job = arg;
  const walk *w = &job->walk;
  const mw_call *call = job->call;
  const real *a = call->in[0].data, *b = call->in[1].data;
  char *y = call->out[0].data;
  const int64_t inner = w->size[0], end = mw_chunk_end(call->out[0].count, GRAIN, chunk);
  (void)worker;
  for (int64_t at = chunk * GRAIN; at < end;) {
    const int64_t row = at / inner, column = at - row * inner;
    const int64_t n = inner - column < end - at ? inner - column : end - at;
    int64_t offset_a, offset_b;
    walk_row(w, row, &offset_a, &offset_b);
    job->loop((strip){.n = n,
                      .a = a + offset_a + column * w->step_a[0],
                      .b = b + offset_b + column * w->step_b[0],
                      .steps_a = w->step_a[0] != 0,
                      .steps_b = w->step_b[0] != 0,
                      .y = y + (size_t)at * job->out_size});
    at += n;
  }
}

/* Whether each operand has the elements of the result in their order, or is one number: then all is
 * one strip. */
static bool is_one_strip(const mw_call *call) {
  const int64_t count = call->out[0].count, a = call->in[0].count, b = call->in[1].count;
  return (a == count || a == 1) && (b == count || b == 1);
}

static mw_status zip(const mw_call *call, strip_loop loop) {
  const int64_t count = call->out[0].count;
  if (count == 0) return MW_OK;
  if (count <= GRAIN && is_one_strip(call)) { /* small values, of which graphs have many */
    loop((strip){.n = count,
                 .a = call->in[0].data,
                 .b = call->in[1].data,
                 .steps_a = call->in[0].count == count,
                 .steps_b = call->in[1].count == count,
                 .y = call->out[0].data});
    return MW_OK;
  }
  zip_job job = {.call = call, .loop = loop};
  job.walk = walk_of(&call->in[0].spec, &call->in[1].spec, &call->out[0].spec);
  job.out_size = call->out[0].spec.dtype == MW_BOOL ? 1 : sizeof(real);
  mw_parallel(call, mw_chunks(count, GRAIN), zip_chunk, &job);
  return MW_OK;
}

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status fail_broadcast(const mw_infer *it) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT], fit[MW_SPEC_TEXT];
  const char *why = "axes are matched from the last, and sizes must be equal or 1";
  const int small = it->in[0].rank < it->in[1].rank ? 0 : 1;
  const mw_spec *one = &it->in[small], *other = &it->in[!small];
  it->host->spec_text(&it->in[0], a);
  it->host->spec_text(&it->in[1], b);
  /* A vector that was meant for another axis than the last: the shape that puts it there. */
  for (int k = 0; one->rank == 1 && k < other->rank - 1; k++) {
    if (other->shape[k] != one->shape[0]) continue;
    mw_spec column = {.dtype = one->dtype, .rank = other->rank - k, .shape = {one->shape[0]}};
    for (int i = 1; i < column.rank; i++) column.shape[i] = 1;
    return mw_fail(it, "a is %s and b is %s, which do not broadcast: %s; reshape %s to %s", a, b,
                   why, it->op->inputs[small].name, it->host->spec_text(&column, fit));
  }
  return mw_fail(it, "a is %s and b is %s, which do not broadcast: %s", a, b, why);
}

static mw_status broadcast(mw_infer *it, mw_dtype dtype) {
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  if (!mw_broadcast(&it->in[0], &it->in[1], &it->out[0])) return fail_broadcast(it);
  it->out[0].dtype = dtype;
  return MW_OK;
}

static mw_status arithmetic_infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].dtype == MW_BOOL)
    return mw_fail(it, "a is %s, expected numbers; use :cast \"f32\"",
                   it->host->spec_text(&it->in[0], text));
  return broadcast(it, it->in[0].dtype);
}

static mw_status comparison_infer(mw_infer *it) { return broadcast(it, MW_BOOL); }

#ifdef MW_REAL_U8
static mw_status logical_infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < 2; i++)
    if (it->in[i].dtype != MW_BOOL)
      return mw_fail(it, "%s is %s, expected bool, which comparisons give", it->op->inputs[i].name,
                     it->host->spec_text(&it->in[i], text));
  return broadcast(it, MW_BOOL);
}
#endif

/* ---- gradients ---------------------------------------------------------------------------- */

/* d summed back to the shape of input i, where broadcasting had repeated that. */
static mw_tensor *fold(mw_build *g, mw_tensor *d, int i) {
  if (!d) return NULL;
  if (mw_same_shape(g->host->tensor_spec(d), g->host->tensor_spec(g->in[i]))) return d;
  return mw_make_like(g, "sum_to", d, g->in[i]);
}

static mw_status gradient(mw_build *g) {
  for (int i = 0; i < 2; i++) {
    if (!g->wanted[i]) continue;
    const char *text = g->op->derivative[i];
    const bool minus = *text == '-';
    mw_tensor *d = fold(g, mw_formula(g, text + minus), i);
    g->din[i] = d && minus ? mw_make1(g, "neg", d) : d;
  }
  return MW_OK;
}

/* ---- loops along a strip: f is known where these are inlined, and they are vectorised ----- */

static inline __attribute__((always_inline)) void strip_map(strip s, real (*f)(real, real)) {
  const real first_a = *s.a, first_b = *s.b;
  real *y = s.y;
  if (!s.steps_a) {
    MW_INDEPENDENT for (int64_t i = 0; i < s.n; i++) y[i] = f(first_a, s.b[i]);
  } else if (!s.steps_b) {
    MW_INDEPENDENT for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], first_b);
  } else {
    MW_INDEPENDENT for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], s.b[i]);
  }
}

static inline __attribute__((always_inline)) void strip_test(strip s, bool (*f)(real, real)) {
  const real first_a = *s.a, first_b = *s.b;
  uint8_t *restrict y = s.y;
  if (!s.steps_a) {
    MW_INDEPENDENT for (int64_t i = 0; i < s.n; i++) y[i] = f(first_a, s.b[i]);
  } else if (!s.steps_b) {
    MW_INDEPENDENT for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], first_b);
  } else {
    MW_INDEPENDENT for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], s.b[i]);
  }
}

/* ---- what a row becomes: a function, a loop, a kernel, an op ------------------------------ */

#define NORMAL(shape) "mw.randn" shape
#define POSITIVE(shape) "mw.uniform(" shape ", 0.5, 2)"
#define DIGITS(shape) "mw.cast(mw.uniform(" shape ", 0, 3), {dtype='i64'})"
#define BOOLS(shape) "mw.gt(mw.randn" shape ", 0)"
#define CASE(name, of_a, of_b, a, b) "mw." #name "(" of_a(a) ", " of_b(b) ")"
#define CASES(name, of_a, of_b)                                                            \
  CASE(name, of_a, of_b, "{3,1,5}", "{7,1}")                                               \
  "\n" CASE(name, of_a, of_b, "{}", "{7}") "\n" CASE(                                      \
      name, of_a, of_b, "{1,3}", "{5,1,3}") "\n" CASE(name, of_a, of_b, "{2,3}",           \
                                                      "{2,3}") "\n" CASE(name, of_a, of_b, \
                                                                         "{0,3}", "{3}")

#define LOOP(row, type, along, y_of_ab)                           \
  static inline type row##_of(real a, real b) { return y_of_ab; } \
  static void row##_loop(strip s) { along(s, row##_of); }

#define FORWARD(row) \
  static mw_status row##_forward(const mw_call *call) { return zip(call, row##_loop); }

#define OP(row, operator, of_a, of_b, text, ...)            \
  static const mw_op row##_op = {                           \
      .name = #row,                                         \
      .version = 1,                                         \
      .doc = text,                                          \
      .example = CASE(row, of_a, of_b, "{2,3}", "{2,1}"),   \
      .cases = CASES(row, of_a, of_b),                      \
      .inputs = {{"a"}, {"b", .doc = "broadcasts with a"}}, \
      .sign = operator,                                     \
      .forward = row##_forward,                             \
      __VA_ARGS__,                                          \
  };

#define OP_ROW(row, operator, its_flags, da, db, of_a, of_b, text)              \
  OP(row, operator, of_a, of_b, text, .outputs = {{"y"}}, .flags = (its_flags), \
     .infer = arithmetic_infer, .gradient = gradient, .derivative = {da, db})

#define DEFINE_ROW(row, operator, more, y, da, db, of_a, of_b, text) \
  LOOP(row, real, strip_map, y)                                      \
  FORWARD(row)                                                       \
  OP_ROW(row, operator, MW_INPLACE | MW_ELEMENTWISE | MW_SURE |(more), #da, #db, of_a, of_b, text)

#define DEFINE_TEST(row, operator, y, text)                                  \
  LOOP(row, bool, strip_test, y)                                             \
  FORWARD(row)                                                               \
  OP(row, operator, DIGITS, DIGITS, text, .outputs = {{"y", .doc = "bool"}}, \
     .flags = MW_ELEMENTWISE | MW_SURE, .infer = comparison_infer)

#define DEFINE_LOGICAL(row, operator, y, text)                             \
  LOOP(row, bool, strip_test, y)                                           \
  FORWARD(row)                                                             \
  OP(row, operator, BOOLS, BOOLS, text, .outputs = {{"y", .doc = "bool"}}, \
     .flags = MW_ELEMENTWISE | MW_SURE, .infer = logical_infer)

/* ---- the ops ------------------------------------------------------------------------------ */

#define LIST(row, ...) &row##_op,

/* The one row whose kernel looks at the numbers first: integers have no infinity to answer with. It
 * says where in the whole of b it found a 0, so it is not for strips of elements. */
LOOP(mod, real, strip_map, modulo(a, b))
static mw_status mod_forward(const mw_call *call) {
#ifndef FLOATS
  const real *b = call->in[1].data;
  for (int64_t i = 0; i < call->in[1].count && call->out[0].count > 0; i++)
    if (b[i] == 0)
      return mw_fail(
          call, "b has a 0, at element %lld counted from 0: integers have no remainder modulo 0",
          (long long)i);
#endif
  return zip(call, mod_loop);
}
OP_ROW(
    mod, NULL, MW_INPLACE, "dy", "-dy * round((a - y) / b)", NORMAL, POSITIVE,
    "The remainder of a division that rounds down: y = a - b floor(a / b), with the sign of b as "
    "in "
    "Lua and numpy. Of floats: NaN where b is 0 or a infinite; where b is infinite a itself, or b "
    "where their signs differ. Of integers: an error where b is 0.")

OF_ANY_NUMBER(DEFINE_ROW)
TESTS(DEFINE_TEST)
#if defined FLOATS
OF_FLOATS(DEFINE_ROW)
MW_PLUGIN(OF_ANY_NUMBER(LIST) OF_FLOATS(LIST) TESTS(LIST) & mod_op)
#elif defined MW_REAL_U8
OF_BOOL(DEFINE_LOGICAL)
MW_PLUGIN(OF_ANY_NUMBER(LIST) TESTS(LIST) OF_BOOL(LIST) & mod_op)
#else
MW_PLUGIN(OF_ANY_NUMBER(LIST) TESTS(LIST) & mod_op)
#endif
