/* dense.c: the fully connected layer. */
#include <string.h>

#include "../graph/moonwalk.h"

enum {
  COLUMNS = 64, /* of dy that a chunk sums */
  ROWS = 1024   /* summed at a time: a large float loses what is added to it */
};

/* x is [.., in], w is [out, in], b is [out], y is [.., out]; rows is the size of .. */
static int64_t rows_of(const mw_spec *spec) {
  int64_t rows = 1;
  for (int k = 0; k < spec->rank - 1; k++) rows *= spec->shape[k];
  return rows;
}

static mw_status infer(mw_infer *it) {
  const mw_spec *x = &it->in[0], *w = &it->in[1], *b = &it->in[2];
  char text_b[MW_SPEC_TEXT], text_w[MW_SPEC_TEXT];
  if (mw_expect_rank(it, 1, 2) || mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  if (x->rank == 0) return mw_fail(it, "x is a scalar, expected [.., in]");
  if (x->shape[x->rank - 1] != w->shape[1]) {
    int64_t features = 1;
    for (int k = 1; k < x->rank; k++) features *= x->shape[k];
    return mw_fail(it, "x has %lld columns, weight expects %lld%s",
                   (long long)x->shape[x->rank - 1], (long long)w->shape[1],
                   features == w->shape[1]                ? "; use x:flatten() first"
                   : x->shape[x->rank - 1] == w->shape[0] ? "; w is [out, in]: transpose it"
                                                          : "");
  }
  if (mw_present(b)) {
    if (mw_expect_same_dtype(it, 2, 0)) return MW_FAILED;
    if (b->rank != 1 || b->shape[0] != w->shape[0])
      return mw_fail(it, "b is %s, expected [%lld], one for each output of w, which is %s",
                     it->host->spec_text(b, text_b), (long long)w->shape[0],
                     it->host->spec_text(w, text_w));
  }
  it->out[0] = *x;
  it->out[0].shape[x->rank - 1] = w->shape[0];
  return MW_OK;
}

/* y begins as b in every row, and the product is added to it. */
static mw_status forward(const mw_call *call) {
  const mw_array *x = &call->in[0], *w = &call->in[1], *b = &call->in[2], *y = &call->out[0];
  const int64_t rows = rows_of(&x->spec), n_in = w->spec.shape[1], n_out = w->spec.shape[0];
  const bool biased = b->data != NULL;
  for (int64_t i = 0; biased && i < rows; i++)
    memcpy((real *)y->data + i * n_out, b->data, (size_t)n_out * sizeof(real));
  mw_gemm product = {.m = rows,
                     .n = n_out,
                     .k = n_in,
                     .a = x->data,
                     .b = w->data,
                     .c = y->data,
                     .lda = n_in,
                     .ldb = n_in,
                     .ldc = n_out,
                     .transpose_b = true,
                     .accumulate = biased};
  mw_product(call, MW_REAL, &product, MW_ALL_WORKERS);
  return MW_OK;
}

/* db = the sum of dy's rows */
static void bias_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const int64_t n_out = call->din[2].count, rows = rows_of(&call->dout[0].spec);
  const int64_t first = chunk * COLUMNS, n = mw_chunk_end(n_out, COLUMNS, chunk) - first;
  const real *dy = (const real *)call->dout[0].data + first;
  real *db = (real *)call->din[2].data + first, block[COLUMNS];
  double sum[COLUMNS] = {0};
  (void)worker;
  for (int64_t row = 0; row < rows; row += ROWS) {
    const int64_t end = row + ROWS < rows ? row + ROWS : rows;
    for (int64_t j = 0; j < n; j++) block[j] = 0;
    for (int64_t i = row; i < end; i++)
      for (int64_t j = 0; j < n; j++) block[j] += dy[i * n_out + j];
    for (int64_t j = 0; j < n; j++) sum[j] += (double)block[j];
  }
  for (int64_t j = 0; j < n; j++) db[j] = (real)sum[j];
}

static mw_status backward(const mw_call *call) {
  const mw_array *x = &call->in[0], *w = &call->in[1], *dy = &call->dout[0];
  const int64_t rows = rows_of(&dy->spec), n_out = w->spec.shape[0], n_in = w->spec.shape[1];
  if (call->din[0].data) {
    mw_gemm dx = {.m = rows,
                  .n = n_in,
                  .k = n_out,
                  .a = dy->data,
                  .b = w->data,
                  .c = call->din[0].data,
                  .lda = n_out,
                  .ldb = n_in,
                  .ldc = n_in};
    mw_product(call, MW_REAL, &dx, MW_ALL_WORKERS);
  }
  if (call->din[1].data) {
    mw_gemm dw = {.m = n_out,
                  .n = n_in,
                  .k = rows,
                  .a = dy->data,
                  .b = x->data,
                  .c = call->din[1].data,
                  .lda = n_out,
                  .ldb = n_in,
                  .ldc = n_in,
                  .transpose_a = true};
    mw_product(call, MW_REAL, &dw, MW_ALL_WORKERS);
  }
  if (call->din[2].data) mw_parallel(call, mw_chunks(n_out, COLUMNS), bias_chunk, (void *)call);
  return MW_OK;
}

/* Leading axes become one. */
static mw_tensor *matrix(mw_build *g, mw_tensor *t) {
  const mw_spec *spec = g->host->tensor_spec(t);
  if (spec->rank == 2) return t;
  const int64_t sizes[] = {rows_of(spec), spec->shape[spec->rank - 1]};
  return mw_make_shaped(g, "reshape", t, 2, sizes);
}

static mw_status gradient(mw_build *g) {
  mw_tensor *dy = g->dout[0];
  if (g->wanted[0]) g->din[0] = mw_make2(g, "matmul", dy, g->in[1]);
  if (g->wanted[1]) {
    const mw_setting transpose = mw_bool("transpose_a", true);
    mw_tensor *both[] = {matrix(g, dy), matrix(g, g->in[0])};
    g->din[1] = mw_make(g, "matmul", 2, both, 1, &transpose);
  }
  if (g->wanted[2]) g->din[2] = mw_make_like(g, "sum_to", dy, g->in[2]);
  return MW_OK;
}

/* A multiply-add for each number of y and each of x's columns; an addition for each of dy in db. */
static double flops(const mw_call *call) {
  const double products = 2.0 * (double)call->out[0].count * (double)call->in[1].spec.shape[1];
  if (!call->backward) return products;
  return (call->din[0].data ? products : 0) + (call->din[1].data ? products : 0) +
         (call->din[2].data ? (double)call->dout[0].count : 0);
}

static const mw_op dense_op = {
    .name = "dense",
    .version = 1,
    .doc =
        "Fully connected layer: y = x w' + b, with x [.., in], w [out, in], b [out] and "
        "y [.., out].",
    .example = "mw.dense(mw.randn{3,4}, mw.randn{2,4}, mw.randn{2})",
    .cases =
        "mw.dense(mw.randn{2,3,4}, mw.randn{5,4})\n"
        "mw.dense(mw.randn{4}, mw.randn{2,4}, mw.randn{2})\n"
        "mw.dense(mw.randn{7,1}, mw.randn{1,1}, mw.randn{1})\n"
        "mw.dense(mw.randn{0,3}, mw.randn{2,3}, mw.randn{2})\n"
        "mw.dense(mw.randn{2,0}, mw.randn{3,0}, mw.randn{3})",
    .inputs = {{"x", .doc = "[.., in]"}, {"w", .doc = "[out, in]"}, {"b", MW_OPTIONAL, "[out]"}},
    .outputs = {{"y", .doc = "[.., out]"}},
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_IN(1),
    .batched = MW_IN(0),
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .flops = flops,
};

MW_PLUGIN(&dense_op)
