/* softmax_online.c: another kernel for the op softmax, along the last axis: the largest number and
 * the sum of the exponentials in one pass (Milakov and Gimelshein, 2018, arXiv:1805.02867). */
#include <moonwalk.h>
#include <string.h>
#include <tgmath.h>

enum { GRAIN = 4096 }; /* numbers of a chunk, about */

/* Where the attributes of another file's op lie, its schema tells. */
static int64_t axis_of(const mw_call *call) {
  const mw_attr *attr = call->op->attrs;
  while (strcmp(attr->name, "axis") != 0) attr++;
  return *(const int64_t *)((const char *)call->attrs + attr->offset);
}

static bool supports(const mw_call *call) {
  return axis_of(call) == call->in[0].spec.rank - 1; /* infer has made it count from 0 */
}

static void softmax(int64_t n, const real *x, real *y) {
  real top = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; i++) {
    if (x[i] > top) {
      sum *= exp(top - x[i]);
      top = x[i];
    }
    sum += x[i] == top ? 1 : exp(x[i] - top); /* both may be -inf */
  }
  for (int64_t i = 0; i < n; i++) y[i] = exp(x[i] - top) / sum;
}

static int64_t row_length(const mw_call *call) {
  const mw_spec *x = &call->in[0].spec;
  return x->shape[x->rank - 1];
}

static void rows(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const int64_t n = row_length(call), count = call->in[0].count / n, grain = GRAIN / n + 1;
  (void)worker;
  for (int64_t i = chunk * grain; i < mw_chunk_end(count, grain, chunk); i++)
    softmax(n, (const real *)call->in[0].data + i * n, (real *)call->out[0].data + i * n);
}

static mw_status forward(const mw_call *call) {
  const int64_t n = row_length(call);
  if (n) mw_parallel(call, mw_chunks(call->in[0].count / n, GRAIN / n + 1), rows, (void *)call);
  return MW_OK;
}

static const mw_kernel online = {
    .op = "softmax", .name = "online", .priority = 1, .supports = supports, .forward = forward};
MW_PLUGIN_WITH_KERNELS((NULL), (&online))
