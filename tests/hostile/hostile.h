/* hostile.h: a well-formed op that the broken plugins of this folder spoil, each in its way. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <moonwalk.h>

#define UNUSED __attribute__((unused))

UNUSED static mw_status good_infer(mw_infer *it) { return it->out[0] = it->in[0], MW_OK; }

UNUSED static mw_status good_forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = x[i];
  return MW_OK;
}

UNUSED static mw_status good_backward(const mw_call *call) {
  const real *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->din[0].count; i++) dx[i] = dy[i];
  return MW_OK;
}

/* Initialisers of a mw_op; later ones replace earlier ones, which compilers like to point out. */
#pragma GCC diagnostic ignored "-Woverride-init"
#pragma GCC diagnostic ignored "-Wpragmas"
#define GOOD_OP(op_name)                                                                \
  .name = op_name, .version = 1, .doc = "Copies x.", .example = op_name "(mw.ones{2})", \
  .inputs = {{"x"}}, .outputs = {{"y"}}, .infer = good_infer, .forward = good_forward,  \
  .backward = good_backward

#endif
