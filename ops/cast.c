/* cast.c: the same numbers in another dtype. */
/* real: f32 f64 i32 i64 u8 */
#include "../graph/moonwalk.h"

enum { GRAIN = 16384 };

typedef struct cast_attrs {
  int dtype; /* a position in TYPES */
} cast_attrs;

#define TYPES "f32|f64|i32|i64|u8|bool"
static const mw_dtype types[] = {MW_F32, MW_F64, MW_I32, MW_I64, MW_U8, MW_BOOL};

static const mw_attr schema[] = {{.name = "dtype",
                                  .type = MW_CHOICE,
                                  .offset = offsetof(cast_attrs, dtype),
                                  .doc = "the dtype of the result",
                                  .choices = TYPES},
                                 {0}};

static mw_status infer(mw_infer *it) {
  const cast_attrs *attrs = it->attrs;
  it->out[0] = it->in[0];
  it->out[0].dtype = types[attrs->dtype];
  return MW_OK;
}

/* A float loses its fraction and is brought into the range; NaN becomes 0. An integer that does
 * not fit wraps around when it is stored. */
static inline int64_t whole(real x, int64_t least, int64_t most) {
#if defined MW_REAL_I32 || defined MW_REAL_I64 || defined MW_REAL_U8
  (void)least, (void)most;
#else
  if (x != x) return 0;
  if (x <= (real)least) return least;
  if (x >= (real)most) return most;
#endif
  return (int64_t)x;
}

static void to_f32(int64_t n, const real *x, float *y) {
  for (int64_t i = 0; i < n; i++) y[i] = (float)x[i];
}
static void to_f64(int64_t n, const real *x, double *y) {
  for (int64_t i = 0; i < n; i++) y[i] = (double)x[i];
}
static void to_i32(int64_t n, const real *x, int32_t *y) {
  for (int64_t i = 0; i < n; i++) y[i] = (int32_t)whole(x[i], INT32_MIN, INT32_MAX);
}
static void to_i64(int64_t n, const real *x, int64_t *y) {
  for (int64_t i = 0; i < n; i++) y[i] = whole(x[i], INT64_MIN, INT64_MAX);
}
static void to_u8(int64_t n, const real *x, uint8_t *y) {
  for (int64_t i = 0; i < n; i++) y[i] = (uint8_t)whole(x[i], 0, UINT8_MAX);
}
static void to_bool(int64_t n, const real *x, uint8_t *y) {
  for (int64_t i = 0; i < n; i++) y[i] = x[i] != 0;
}

static void cast_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const mw_array *out = &call->out[0];
  const int64_t first = chunk * GRAIN, n = mw_chunk_end(out->count, GRAIN, chunk) - first;
  const real *x = (const real *)call->in[0].data + first;
  (void)worker;
  switch (out->spec.dtype) {
    case MW_F32: to_f32(n, x, (float *)out->data + first); break;
    case MW_F64: to_f64(n, x, (double *)out->data + first); break;
    case MW_I32: to_i32(n, x, (int32_t *)out->data + first); break;
    case MW_I64: to_i64(n, x, (int64_t *)out->data + first); break;
    case MW_U8: to_u8(n, x, (uint8_t *)out->data + first); break;
    case MW_BOOL: to_bool(n, x, (uint8_t *)out->data + first); break;
    case MW_NONE: break;
  }
}

static mw_status forward(const mw_call *call) {
  mw_parallel(call, mw_chunks(call->out[0].count, GRAIN), cast_chunk, (void *)call);
  return MW_OK;
}

/* Between floats the gradient passes; an integer stops it. */
static mw_status gradient(mw_build *g) {
  const mw_dtype dtype = g->host->tensor_spec(g->in[0])->dtype;
  const mw_setting back = mw_text("dtype", dtype == MW_F32 ? "f32" : "f64");
  g->din[0] = mw_make(g, "cast", 1, g->dout, 1, &back);
  return MW_OK;
}

static const mw_op cast_op = {
    .name = "cast",
    .version = 1,
    .doc =
        "The same numbers in another dtype. A float becomes an integer by truncation, within "
        "the integer's range, NaN as 0; bool is whether a number is not 0.",
    .example = "mw.cast(mw.randn{2,3}, {dtype=\"f64\"})",
    .cases =
        "mw.cast(mw.randn{3,1,5}, {dtype='f32'})\n"
        "mw.cast(mw.uniform({7}, -9, 9), {dtype='i32'})\n"
        "mw.cast(mw.uniform({2,3}, -9, 9), {dtype='i64'})\n"
        "mw.cast(mw.uniform({4}, -50, 300), {dtype='u8'})\n"
        "mw.cast(mw.tensor({300, -1, 0, 7}, 'i64'), {dtype='u8'})\n"
        "mw.cast(mw.tensor({3, 0, -2}, 'i32'), {dtype='bool'})\n"
        "mw.cast(mw.gt(mw.randn{2,2}, 0), {dtype='f32'})\n"
        "mw.cast(mw.randn{0,3}, {dtype='f64'})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(cast_attrs),
    .flags = MW_ELEMENTWISE,
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&cast_op)
