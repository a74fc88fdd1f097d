/* careless.c: registers well, and breaks what an op's kernels promise, each op in its way. For both
 * element types the test compiles it itself.
 * real: f32 f64 */
#include <stdlib.h>

#include "hostile.h"

#define COUNT(call) ((call)->out[0].count)

/* y = x, and `more` after it. */
#define FORWARD(name, more)                              \
  static mw_status name##_forward(const mw_call *call) { \
    const real *x = call->in[0].data;                    \
    real *y = call->out[0].data;                         \
    const int64_t n = COUNT(call);                       \
    for (int64_t i = 0; i < n; i++) y[i] = x[i];         \
    more;                                                \
    return MW_OK;                                        \
  }
#define OP(op_name)                                                                         \
  GOOD_OP("careless_" #op_name),                                                            \
      .forward = op_name##_forward, .example = "mw.careless_" #op_name "(mw.randn{3,1,5})", \
      .cases = "mw.careless_" #op_name "(mw.randn{7})\nmw.careless_" #op_name "(mw.randn{0,3})"

/* Unknown to the compiler. */
static volatile int64_t zero, minus = -1;

FORWARD(nothing, (void)x)
FORWARD(null, ((volatile real *)(uintptr_t)zero)[0] = 1)
FORWARD(past, y[n + zero] = 1)
FORWARD(far, y[n + 30 + zero] = 1)
FORWARD(before, y[minus] = 1)
FORWARD(reads_past, if (n) y[0] += x[n + zero])
FORWARD(divides, y[0] += (real)(n / zero))
FORWARD(aborts, abort())
FORWARD(exits, exit(3))
FORWARD(input, ((real *)(uintptr_t)x)[0] = 7)

/* Remembers how often it ran. */
static int64_t runs;
FORWARD(impure, if (n) y[0] += (real)runs++)

static mw_status unwritten_forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < COUNT(call) - 1; i++) y[i] = x[i];
  return MW_OK;
}

static mw_status adds_forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < COUNT(call); i++) y[i] += x[i];
  return MW_OK;
}

/* Which worker has a chunk shows. */
static void by_worker(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 1000 * chunk; i < mw_chunk_end(COUNT(call), 1000, chunk); i++)
    y[i] = x[i] + (real)worker;
}
static mw_status worker_forward(const mw_call *call) {
  mw_parallel(call, mw_chunks(COUNT(call), 1000), by_worker, (void *)(uintptr_t)call);
  return MW_OK;
}

/* malloc() gives what is asked for, does it not? */
static mw_status malloc_forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  volatile real *copy = malloc((size_t)COUNT(call) * sizeof(real) + 100000);
  for (int64_t i = 0; i < COUNT(call); i++) copy[i] = x[i];
  for (int64_t i = 0; i < COUNT(call); i++) y[i] = copy[i];
  free((void *)(uintptr_t)copy);
  return MW_OK;
}

/* What it computes depends on what `real` is. */
static mw_status types_forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < COUNT(call); i++) y[i] = sizeof(real) == 4 ? x[i] : 2 * x[i];
  return MW_OK;
}

#define moody_forward nothing_forward
#define gradient_forward nothing_forward
#define backward_forward nothing_forward
#define example_forward nothing_forward
static mw_status gradient_backward(const mw_call *call) {
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = (real)1.01 * dy[i];
  return MW_OK;
}

static mw_status backward_past(const mw_call *call) {
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = dy[i];
  dx[call->din[0].count + zero] = 1;
  return MW_OK;
}

/* Says that y is shorter than what forward writes. */
static mw_status lies_infer(mw_infer *it) {
  it->out[0] = it->in[0];
  if (it->out[0].rank) it->out[0].shape[it->out[0].rank - 1] /= 2;
  return MW_OK;
}
static mw_status lies_forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i];
  return MW_OK;
}

/* Says something else each time. */
static mw_status moody_infer(mw_infer *it) {
  static int64_t times;
  it->out[0] = (mw_spec){.dtype = it->in[0].dtype, .rank = 1, .shape = {++times}};
  return MW_OK;
}

/* A call without end, whose stack has one. */
static int64_t deeper(volatile int64_t *n) {
  volatile int64_t here[64] = {*n};
  return *n < 0 ? 0 : deeper(here) + here[0];
}
FORWARD(recursion, volatile int64_t start = n; y[0] += (real)deeper(&start))

static const mw_op careless[] = {
    {OP(nothing)},
    {OP(null)},
    {OP(past)},
    {OP(far)},
    {OP(before)},
    {OP(reads_past)},
    {OP(divides)},
    {OP(aborts)},
    {OP(exits)},
    {OP(input)},
    {OP(impure)},
    {OP(unwritten)},
    {OP(adds)},
    {OP(worker)},
    {OP(malloc)},
    {OP(types)},
    {OP(recursion)},
    {OP(lies), .infer = lies_infer},
    {OP(moody), .infer = moody_infer},
    {OP(gradient), .backward = gradient_backward},
    {OP(backward), .backward = backward_past},
    {OP(example), .example = "mw.careless_example('three')"},
};
MW_PLUGIN(&careless[0], &careless[1], &careless[2], &careless[3], &careless[4], &careless[5],
          &careless[6], &careless[7], &careless[8], &careless[9], &careless[10], &careless[11],
          &careless[12], &careless[13], &careless[14], &careless[15], &careless[16], &careless[17],
          &careless[18], &careless[19], &careless[20], &careless[21])
