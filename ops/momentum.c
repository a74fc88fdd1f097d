/* momentum.c: a step of gradient descent with momentum, for a parameter and what is kept for it at
 * once: each number is read once and written once, where two axpy would go over them twice. */
#include "../graph/moonwalk.h"
#include "../graph/vector.h"

enum { GRAIN = 16384 };

typedef struct momentum_attrs {
  bool nesterov;
} momentum_attrs;

enum { P, B, G, M, S }; /* inputs, of which the first two are outputs, too */

static mw_status infer(mw_infer *it) {
  char own[MW_SPEC_TEXT], other[MW_SPEC_TEXT];
  for (int i = B; i <= S; i++)
    if (mw_expect_same_dtype(it, i, P)) return MW_FAILED;
  for (int i = B; i <= G; i++)
    if (!mw_same_shape(&it->in[i], &it->in[P]))
      return mw_fail(it, "%s is %s and p is %s: the shapes must be equal", it->op->inputs[i].name,
                     it->host->spec_text(&it->in[i], own), it->host->spec_text(&it->in[P], other));
  for (int i = M; i <= S; i++)
    if (it->in[i].rank != 0)
      return mw_fail(it, "%s is %s, expected a number", it->op->inputs[i].name,
                     it->host->spec_text(&it->in[i], own));
  return mw_infer_like(it);
}

/* All of an element is read before any of it is written, over what was read perhaps. */
static inline void move(const mw_call *call, int64_t chunk, bool nesterov) {
  const real *p = call->in[P].data, *b = call->in[B].data, *g = call->in[G].data;
  const real m = *(const real *)call->in[M].data, s = *(const real *)call->in[S].data;
  real *p_new = call->out[P].data, *b_new = call->out[B].data;
  const int64_t end = mw_chunk_end(call->out[P].count, GRAIN, chunk);
  MW_INDEPENDENT for (int64_t i = chunk * GRAIN; i < end; i++) {
    const real from = p[i], slope = g[i], kept = m * b[i] + slope;
    b_new[i] = kept;
    p_new[i] = s * (nesterov ? m * kept + slope : kept) + from;
  }
}

static void piece(void *arg, int64_t chunk, int worker) {
  const mw_call *call = arg;
  const momentum_attrs *attrs = call->attrs;
  (void)worker;
  if (attrs->nesterov) move(call, chunk, true);
  else move(call, chunk, false);
}

static mw_status forward(const mw_call *call) {
  mw_parallel(call, mw_chunks(call->out[P].count, GRAIN), piece, (void *)call);
  return MW_OK;
}

static double flops(const mw_call *call) {
  const momentum_attrs *attrs = call->attrs;
  return (attrs->nesterov ? 6 : 4) * (double)call->out[P].count;
}

static const mw_op momentum_op = {
    .name = "momentum",
    .version = 1,
    .doc =
        "A step of gradient descent with momentum, in one pass over memory: b_new = m b + g and "
        "p_new = p + s b_new, for numbers m and s and p, b and g of one shape; with nesterov p_new "
        "= p + s (m b_new + g). Products are not rounded before the sums where the processor can "
        "do without.",
    .example = "mw.momentum(mw.randn{2,3}, mw.randn{2,3}, mw.randn{2,3}, mw.randn{}, mw.randn{})",
    .cases =
        "mw.momentum(mw.randn{7}, mw.randn{7}, mw.randn{7}, 0.9, -0.1)\n"
        "mw.momentum(mw.randn{3,1,2}, mw.randn{3,1,2}, mw.randn{3,1,2}, 0.5, 2, {nesterov=true})\n"
        "mw.momentum(mw.randn{}, mw.randn{}, mw.randn{}, mw.randn{}, mw.randn{}, {nesterov=true})\n"
        "mw.momentum(mw.randn{0,3}, mw.randn{0,3}, mw.randn{0,3}, 0.9, -0.1)",
    .inputs = {{"p", .doc = "the parameter"},
               {"b", .doc = "what is kept for it, of its shape"},
               {"g", .doc = "the gradient, of its shape"},
               {"m", .doc = "a number: the momentum"},
               {"s", .doc = "a number: the learning rate, negative to go down"}},
    .outputs = {{"p_new"}, {"b_new"}},
    MW_ATTRS(momentum_attrs, MW_ATTR(momentum_attrs, nesterov, MW_BOOLEAN, "false",
                                     "p moves by m b_new + g instead of b_new")),
    .flags = MW_INPLACE_EACH | MW_ELEMENTWISE | MW_SURE,
    .infer = infer,
    .forward = forward,
    .derivative = {"dp_new", "m * (db_new + (nesterov ? s * m : s) * dp_new)",
                   "db_new + (nesterov ? s + s * m : s) * dp_new",
                   "sum(b * (db_new + (nesterov ? s * m : s) * dp_new))"
                   " + (nesterov ? s * sum(b_new * dp_new) : 0)",
                   "sum(dp_new * (nesterov ? m * b_new + g : b_new))"},
    .flops = flops,
};
MW_PLUGIN(&momentum_op)
