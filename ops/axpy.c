/* axpy.c: a x + y for a number a, in one pass over memory: what optimizers and means that decay are
 * made of. The name is the BLAS's. */
#include "../graph/moonwalk.h"
#include "../graph/vector.h"

enum { GRAIN = 16384 };

static mw_status infer(mw_infer *it) {
  char x[MW_SPEC_TEXT], y[MW_SPEC_TEXT];
  if (mw_expect_same_dtype(it, 1, 0) || mw_expect_same_dtype(it, 2, 0)) return MW_FAILED;
  if (!mw_same_shape(&it->in[0], &it->in[1]))
    return mw_fail(it, "x is %s and y is %s: the shapes must be equal; a * x + y broadcasts",
                   it->host->spec_text(&it->in[0], x), it->host->spec_text(&it->in[1], y));
  if (it->in[2].rank != 0)
    return mw_fail(it, "a is %s, expected a number", it->host->spec_text(&it->in[2], x));
  return mw_infer_like(it);
}

static void piece(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const real *x = call->in[0].data, *y = call->in[1].data, a = *(const real *)call->in[2].data;
  real *z = call->out[0].data;
  const int64_t end = mw_chunk_end(call->out[0].count, GRAIN, chunk);
  (void)worker;
  MW_INDEPENDENT for (int64_t i = chunk * GRAIN; i < end; i++) z[i] = a * x[i] + y[i];
}

static mw_status forward(const mw_call *call) {
  mw_parallel(call, mw_chunks(call->out[0].count, GRAIN), piece, (void *)call);
  return MW_OK;
}

static double flops(const mw_call *call) { return 2 * (double)call->out[0].count; }

static const mw_op axpy_op = {
    .name = "axpy",
    .version = 1,
    .doc =
        "A multiple of one tensor and another: z = a x + y, for a number a and x and y of one "
        "shape, in "
        "one pass over memory. The product is not rounded before the sum where the processor can "
        "do "
        "without.",
    .example = "mw.axpy(mw.randn{2,3}, mw.randn{2,3}, mw.randn{})",
    .cases =
        "mw.axpy(mw.randn{7}, mw.randn{7}, 0.5)\n"
        "mw.axpy(mw.randn{}, mw.randn{}, mw.randn{})\n"
        "mw.axpy(mw.randn{3,1,2}, mw.randn{3,1,2}, -1)\n"
        "mw.axpy(mw.randn{0,3}, mw.randn{0,3}, 2)",
    .inputs = {{"x"}, {"y", .doc = "of x's shape"}, {"a", .doc = "a number"}},
    .outputs = {{"z"}},
    .flags = MW_INPLACE | MW_ELEMENTWISE | MW_SURE,
    .infer = infer,
    .forward = forward,
    .derivative = {"dz * a", "dz", "sum(dz * x)"},
    .flops = flops,
};
MW_PLUGIN(&axpy_op)
