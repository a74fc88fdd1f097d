/* accumulate.c: the sum of any number of equal tensors; gradients that meet are added by it. */
#include <string.h>

#include "../graph/vector.h"

enum { GRAIN = 16384, BLOCK = 2048 }; /* numbers of a chunk; of a piece of it, kept in cache */

static mw_status infer(mw_infer *it) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  it->out[0] = it->in[0];
  for (int i = 1; i < it->n_in; i++)
    if (memcmp(&it->in[i], &it->in[0], sizeof(mw_spec)) != 0)
      return mw_fail(it, "tensor %d is %s, but the first is %s: all must be alike", i + 1,
                     it->host->spec_text(&it->in[i], b), it->host->spec_text(&it->in[0], a));
  return MW_OK;
}

static void add(int64_t n, const real *a, const real *b, real *y) {
  MW_INDEPENDENT for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
}

static void sum_chunk(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  real *y = call->out[0].data;
  const int64_t end = mw_chunk_end(call->out[0].count, GRAIN, chunk);
  (void)worker;
  for (int64_t at = chunk * GRAIN; at < end; at += BLOCK) {
    const int64_t n = at + BLOCK < end ? BLOCK : end - at;
    const real *sum = (const real *)call->in[0].data + at;
    for (int i = 1; i < call->n_in; i++) {
      add(n, sum, (const real *)call->in[i].data + at, y + at);
      sum = y + at;
    }
    if (sum != y + at) memcpy(y + at, sum, (size_t)n * sizeof(real));
  }
}

static mw_status forward(const mw_call *call) {
  mw_parallel(call, mw_chunks(call->out[0].count, GRAIN), sum_chunk, (void *)call);
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  for (int i = 0; i < g->n_in; i++)
    if (g->wanted[i]) g->din[i] = g->dout[0];
  return MW_OK;
}

static const mw_op accumulate_op = {
    .name = "accumulate",
    .version = 1,
    .doc = "The sum of tensors of one dtype and shape: y = x1 + x2 + ...",
    .example = "mw.accumulate(mw.randn{2,3}, mw.randn{2,3}, mw.randn{2,3})",
    .cases =
        "mw.accumulate(mw.randn{3,1,5})\n"
        "mw.accumulate(mw.randn{7}, mw.randn{7})\n"
        "mw.accumulate(mw.randn{}, mw.randn{}, mw.randn{}, mw.randn{})\n"
        "mw.accumulate(mw.randn{0,3}, mw.randn{0,3})",
    .inputs = {{"x", MW_VARIADIC}},
    .outputs = {{"y"}},
    .flags = MW_ADDS | MW_INPLACE | MW_LINEAR | MW_ELEMENTWISE | MW_SURE,
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&accumulate_op)
