/* binary.c: elementwise ops of two tensors, arithmetic and comparisons, with numpy's broadcasting. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

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

/* To add an op: its function of two numbers; its loop, which inlines the function; forward, which
 * names the loop; its gradient; its row. */

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
    const int64_t size_a = k <= a->rank ? a->shape[a->rank - k] : 1;
    const int64_t size_b = k <= b->rank ? b->shape[b->rank - k] : 1;
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

static mw_status zip(const mw_call *call, strip_loop loop) {
  const int64_t count = call->out[0].count;
  if (count == 0) return MW_OK;
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
  const mw_spec *a = &it->in[0], *b = &it->in[1];
  mw_spec y = {.dtype = dtype, .rank = a->rank > b->rank ? a->rank : b->rank};
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  for (int k = 1; k <= y.rank; k++) {
    const int64_t size_a = k <= a->rank ? a->shape[a->rank - k] : 1;
    const int64_t size_b = k <= b->rank ? b->shape[b->rank - k] : 1;
    if (size_a != size_b && size_a != 1 && size_b != 1) return fail_broadcast(it);
    y.shape[y.rank - k] = size_a == 1 ? size_b : size_a;
  }
  it->out[0] = y;
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

#define ARITHMETIC \
  .version = 1, .inputs = {{"a"}, {"b"}}, .outputs = {{"y"}}, .infer = arithmetic_infer

#define COMPARISON                                                           \
  .version = 1, .inputs = {{"a"}, {"b"}}, .outputs = {{"y", .doc = "bool"}}, \
  .infer = comparison_infer

/* ---- gradients ---------------------------------------------------------------------------- */

/* d summed back to the shape of input i, where broadcasting had repeated that. */
static mw_tensor *fold(mw_build *g, mw_tensor *d, int i) {
  if (!d) return NULL;
  const mw_spec *from = g->host->tensor_spec(d), *to = g->host->tensor_spec(g->in[i]);
  bool same = from->rank == to->rank;
  for (int k = 0; same && k < to->rank; k++) same = from->shape[k] == to->shape[k];
  if (same) return d;
  const mw_setting shape = mw_list("shape", to->rank, to->shape);
  return mw_make(g, "sum_to", 1, &d, 1, &shape);
}

/* A comparison as 1 or 0 in the dtype that is being compared. */
static mw_tensor *comparison_of(mw_build *g, const char *name, mw_tensor *a, mw_tensor *b) {
  const bool single = g->host->tensor_spec(g->in[0])->dtype == MW_F32;
  const mw_setting dtype = mw_text("dtype", single ? "f32" : "f64");
  mw_tensor *holds = mw_make2(g, name, a, b);
  return mw_make(g, "cast", 1, &holds, 1, &dtype);
}

/* ---- arithmetic --------------------------------------------------------------------------- */

/* y = f(a, b) along a strip. f is known where this is inlined, and the loops are vectorised. */
static inline __attribute__((always_inline)) void strip_map(strip s, real (*f)(real, real)) {
  const real first_a = *s.a, first_b = *s.b;
  real *y = s.y;
  if (!s.steps_a) {
    for (int64_t i = 0; i < s.n; i++) y[i] = f(first_a, s.b[i]);
  } else if (!s.steps_b) {
    for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], first_b);
  } else {
    for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], s.b[i]);
  }
}

static inline real add_of(real a, real b) { return (real)((wrap)a + (wrap)b); }
static void add_loop(strip s) { strip_map(s, add_of); }
static mw_status add_forward(const mw_call *call) { return zip(call, add_loop); }
static mw_status add_gradient(mw_build *g) {
  if (g->wanted[0]) g->din[0] = fold(g, g->dout[0], 0);
  if (g->wanted[1]) g->din[1] = fold(g, g->dout[0], 1);
  return MW_OK;
}

static const mw_op add_op = {
    .name = "add",
    .sign = "+",
    .doc = "Sum, with broadcasting: y = a + b.",
    .example = "mw.add(mw.randn{2,3}, mw.randn{3})",
    .flags = MW_INPLACE | MW_LINEAR,
    .forward = add_forward,
    .gradient = add_gradient,
    ARITHMETIC,
};

static inline real sub_of(real a, real b) { return (real)((wrap)a - (wrap)b); }
static void sub_loop(strip s) { strip_map(s, sub_of); }
static mw_status sub_forward(const mw_call *call) { return zip(call, sub_loop); }
static mw_status sub_gradient(mw_build *g) {
  if (g->wanted[0]) g->din[0] = fold(g, g->dout[0], 0);
  if (g->wanted[1]) g->din[1] = mw_make1(g, "neg", fold(g, g->dout[0], 1));
  return MW_OK;
}

static const mw_op sub_op = {
    .name = "sub",
    .sign = "-",
    .doc = "Difference, with broadcasting: y = a - b.",
    .example = "mw.sub(mw.randn{2,3}, mw.randn{2,1})",
    .flags = MW_INPLACE | MW_LINEAR,
    .forward = sub_forward,
    .gradient = sub_gradient,
    ARITHMETIC,
};

static inline real mul_of(real a, real b) { return (real)((wrap)a * (wrap)b); }
static void mul_loop(strip s) { strip_map(s, mul_of); }
static mw_status mul_forward(const mw_call *call) { return zip(call, mul_loop); }
static mw_status mul_gradient(mw_build *g) {
  if (g->wanted[0]) g->din[0] = fold(g, mw_make2(g, "mul", g->dout[0], g->in[1]), 0);
  if (g->wanted[1]) g->din[1] = fold(g, mw_make2(g, "mul", g->dout[0], g->in[0]), 1);
  return MW_OK;
}

static const mw_op mul_op = {
    .name = "mul",
    .sign = "*",
    .doc = "Elementwise product, with broadcasting: y = a b.",
    .example = "mw.mul(mw.randn{2,3}, mw.randn{2,1})",
    .flags = MW_INPLACE,
    .forward = mul_forward,
    .gradient = mul_gradient,
    ARITHMETIC,
};

#ifdef FLOATS
static inline bool is_nan(real x) { return x != x; }
#else
static inline bool is_nan(real x) { return (void)x, false; }
#endif

static inline real maximum_of(real a, real b) { return a >= b || is_nan(a) ? a : b; }
static void maximum_loop(strip s) { strip_map(s, maximum_of); }
static mw_status maximum_forward(const mw_call *call) { return zip(call, maximum_loop); }

static inline real minimum_of(real a, real b) { return a <= b || is_nan(a) ? a : b; }
static void minimum_loop(strip s) { strip_map(s, minimum_of); }
static mw_status minimum_forward(const mw_call *call) { return zip(call, minimum_loop); }

/* The gradient goes to the operand that was taken; a is where the comparison holds. */
static mw_status choice_gradient(mw_build *g, const char *comparison) {
  mw_tensor *dy = g->dout[0], *took_a = comparison_of(g, comparison, g->in[0], g->in[1]);
  if (g->wanted[0]) g->din[0] = fold(g, mw_make2(g, "mul", dy, took_a), 0);
  if (g->wanted[1]) {
    mw_tensor *took_b = mw_make2(g, "sub", mw_make_scalar(g, dy, 1), took_a);
    g->din[1] = fold(g, mw_make2(g, "mul", dy, took_b), 1);
  }
  return MW_OK;
}
static mw_status maximum_gradient(mw_build *g) { return choice_gradient(g, "ge"); }
static mw_status minimum_gradient(mw_build *g) { return choice_gradient(g, "le"); }

static const mw_op maximum_op = {
    .name = "maximum",
    .doc =
        "The larger of two, with broadcasting: y = max(a, b). NaN wins; of equals a gets the "
        "gradient.",
    .example = "mw.maximum(mw.randn{2,3}, mw.randn{3})",
    .flags = MW_INPLACE,
    .forward = maximum_forward,
    .gradient = maximum_gradient,
    ARITHMETIC,
};

static const mw_op minimum_op = {
    .name = "minimum",
    .doc =
        "The smaller of two, with broadcasting: y = min(a, b). NaN wins; of equals a gets the "
        "gradient.",
    .example = "mw.minimum(mw.randn{2,3}, mw.randn{3})",
    .flags = MW_INPLACE,
    .forward = minimum_forward,
    .gradient = minimum_gradient,
    ARITHMETIC,
};

/* ---- arithmetic of floats ----------------------------------------------------------------- */

#ifdef FLOATS

static inline real div_of(real a, real b) { return a / b; }
static void div_loop(strip s) { strip_map(s, div_of); }
static mw_status div_forward(const mw_call *call) { return zip(call, div_loop); }
static mw_status div_gradient(mw_build *g) {
  mw_tensor *dy = g->dout[0], *b = g->in[1];
  if (g->wanted[0]) g->din[0] = fold(g, mw_make2(g, "div", dy, b), 0);
  if (g->wanted[1]) {
    mw_tensor *d = mw_make2(g, "div", mw_make2(g, "mul", dy, g->out[0]), b);
    g->din[1] = mw_make1(g, "neg", fold(g, d, 1));
  }
  return MW_OK;
}

static const mw_op div_op = {
    .name = "div",
    .sign = "/",
    .doc = "Quotient, with broadcasting: y = a / b.",
    .example = "mw.div(mw.randn{2,3}, mw.uniform({3}, 0.5, 2))",
    .flags = MW_INPLACE,
    .forward = div_forward,
    .gradient = div_gradient,
    ARITHMETIC,
};

static inline real pow_of(real a, real b) { return pow(a, b); }
/* The exponents that are written as numbers most often need no pow(). */
static void pow_loop(strip s) {
  if (!s.steps_b && *s.b == 2) s.b = s.a, s.steps_b = true, strip_map(s, mul_of);
  else if (!s.steps_b && *s.b == 1) strip_map(s, mul_of); /* a times the 1 that b is */
  else strip_map(s, pow_of);
}
static mw_status pow_forward(const mw_call *call) { return zip(call, pow_loop); }

/* da = dy b a^(b - 1), and 0 where b is 0; db = dy y ln(a), and 0 where a is 0. */
static mw_status pow_gradient(mw_build *g) {
  mw_tensor *a = g->in[0], *b = g->in[1], *dy = g->dout[0], *zero = mw_make_scalar(g, a, 0);
  if (g->wanted[0]) {
    mw_tensor *less = mw_make2(g, "sub", b, comparison_of(g, "ne", b, zero));
    mw_tensor *slope = mw_make2(g, "mul", b, mw_make2(g, "pow", a, less));
    g->din[0] = fold(g, mw_make2(g, "mul", dy, slope), 0);
  }
  if (g->wanted[1]) {
    mw_tensor *base = mw_make2(g, "add", a, comparison_of(g, "eq", a, zero));
    mw_tensor *slope = mw_make2(g, "mul", g->out[0], mw_make1(g, "log", base));
    g->din[1] = fold(g, mw_make2(g, "mul", dy, slope), 1);
  }
  return MW_OK;
}

static const mw_op pow_op = {
    .name = "pow",
    .doc = "Power, with broadcasting: y = a^b; NaN where a is negative and b not whole.",
    .example = "mw.pow(mw.uniform({2,3}, 0.5, 2), mw.randn{3})",
    .flags = MW_INPLACE,
    .forward = pow_forward,
    .gradient = pow_gradient,
    ARITHMETIC,
};

#endif

/* ---- comparisons -------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void strip_test(strip s, bool (*f)(real, real)) {
  const real first_a = *s.a, first_b = *s.b;
  uint8_t *restrict y = s.y;
  if (!s.steps_a) {
    for (int64_t i = 0; i < s.n; i++) y[i] = f(first_a, s.b[i]);
  } else if (!s.steps_b) {
    for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], first_b);
  } else {
    for (int64_t i = 0; i < s.n; i++) y[i] = f(s.a[i], s.b[i]);
  }
}

static inline bool eq_of(real a, real b) { return a == b; }
static void eq_loop(strip s) { strip_test(s, eq_of); }
static mw_status eq_forward(const mw_call *call) { return zip(call, eq_loop); }

static const mw_op eq_op = {
    .name = "eq",
    .sign = "==",
    .doc = "Whether a = b, with broadcasting; NaN equals nothing.",
    .example = "mw.eq(mw.tensor({1,2,3}, \"i64\"), mw.tensor({1,0,3}, \"i64\"))",
    .forward = eq_forward,
    COMPARISON,
};

static inline bool ne_of(real a, real b) { return a != b; }
static void ne_loop(strip s) { strip_test(s, ne_of); }
static mw_status ne_forward(const mw_call *call) { return zip(call, ne_loop); }

static const mw_op ne_op = {
    .name = "ne",
    .sign = "!=",
    .doc = "Whether a and b differ, with broadcasting; NaN differs from everything.",
    .example = "mw.ne(mw.randn{2,3}, mw.randn{3})",
    .forward = ne_forward,
    COMPARISON,
};

static inline bool lt_of(real a, real b) { return a < b; }
static void lt_loop(strip s) { strip_test(s, lt_of); }
static mw_status lt_forward(const mw_call *call) { return zip(call, lt_loop); }

static const mw_op lt_op = {
    .name = "lt",
    .sign = "<",
    .doc = "Whether a < b, with broadcasting.",
    .example = "mw.lt(mw.randn{2,3}, mw.randn{3})",
    .forward = lt_forward,
    COMPARISON,
};

static inline bool le_of(real a, real b) { return a <= b; }
static void le_loop(strip s) { strip_test(s, le_of); }
static mw_status le_forward(const mw_call *call) { return zip(call, le_loop); }

static const mw_op le_op = {
    .name = "le",
    .sign = "<=",
    .doc = "Whether a <= b, with broadcasting.",
    .example = "mw.le(mw.randn{2,3}, mw.randn{3})",
    .forward = le_forward,
    COMPARISON,
};

static inline bool gt_of(real a, real b) { return a > b; }
static void gt_loop(strip s) { strip_test(s, gt_of); }
static mw_status gt_forward(const mw_call *call) { return zip(call, gt_loop); }

static const mw_op gt_op = {
    .name = "gt",
    .sign = ">",
    .doc = "Whether a > b, with broadcasting.",
    .example = "mw.gt(mw.randn{2,3}, mw.randn{3})",
    .forward = gt_forward,
    COMPARISON,
};

static inline bool ge_of(real a, real b) { return a >= b; }
static void ge_loop(strip s) { strip_test(s, ge_of); }
static mw_status ge_forward(const mw_call *call) { return zip(call, ge_loop); }

static const mw_op ge_op = {
    .name = "ge",
    .sign = ">=",
    .doc = "Whether a >= b, with broadcasting.",
    .example = "mw.ge(mw.randn{2,3}, mw.randn{3})",
    .forward = ge_forward,
    COMPARISON,
};

#ifdef FLOATS
MW_PLUGIN(&add_op, &sub_op, &mul_op, &maximum_op, &minimum_op, &div_op, &pow_op, &eq_op, &ne_op,
          &lt_op, &le_op, &gt_op, &ge_op)
#else
MW_PLUGIN(&add_op, &sub_op, &mul_op, &maximum_op, &minimum_op, &eq_op, &ne_op, &lt_op, &le_op,
          &gt_op, &ge_op)
#endif
