/* misbehaved.c: registers well, and misbehaves when its ops are used. */
#include "hostile.h"

static mw_status infer_rank(mw_infer *it) {
  it->out[0] = it->in[0];
  it->out[0].rank = 99;
  return MW_OK;
}
static mw_status infer_negative(mw_infer *it) {
  it->out[0] = (mw_spec){.dtype = it->in[0].dtype, .rank = 1, .shape = {-5}};
  return MW_OK;
}
static mw_status infer_huge(mw_infer *it) {
  it->out[0] =
      (mw_spec){.dtype = it->in[0].dtype, .rank = 3, .shape = {INT64_MAX / 2, INT64_MAX / 2, 8}};
  return MW_OK;
}
static mw_status infer_dtype(mw_infer *it) {
  it->out[0] = it->in[0];
  it->out[0].dtype = (mw_dtype)77;
  return MW_OK;
}
static mw_status infer_nothing(mw_infer *it) { return (void)it, MW_OK; }
static mw_status infer_silent(mw_infer *it) { return (void)it, MW_FAILED; }
static mw_status infer_saved(mw_infer *it) {
  it->out[0] = it->in[0];
  it->saved = SIZE_MAX - 8;
  return MW_OK;
}
static mw_status forward_fails(const mw_call *call) { return mw_fail(call, "out of luck"); }
static mw_status forward_silent(const mw_call *call) { return (void)call, MW_FAILED; }
static void workspace_huge(const mw_call *call, mw_workspace *need) {
  (void)call;
  need->call = SIZE_MAX - 8;
}

/* A gradient of the wrong shape. */
static mw_status gradient_shape(mw_build *g) {
  mw_spec spec = {.dtype = g->host->tensor_spec(g->in[0])->dtype, .rank = 1, .shape = {17}};
  g->din[0] = g->host->make_constant(g, &spec, 1);
  return MW_OK;
}
/* A gradient by an op that does not exist, whose failure goes unnoticed. */
static mw_status gradient_unknown(mw_build *g) {
  g->din[0] = mw_make1(g, "no_such_op", g->dout[0]);
  return MW_OK;
}

static const mw_op bad[] = {
    {GOOD_OP("bad_rank"), .infer = infer_rank},
    {GOOD_OP("bad_negative"), .infer = infer_negative},
    {GOOD_OP("bad_huge"), .infer = infer_huge},
    {GOOD_OP("bad_dtype"), .infer = infer_dtype},
    {GOOD_OP("bad_nothing"), .infer = infer_nothing},
    {GOOD_OP("bad_silent"), .infer = infer_silent},
    {GOOD_OP("bad_saved"), .infer = infer_saved, .backward_needs = MW_NEEDS_SAVED},
    {GOOD_OP("bad_forward"), .forward = forward_fails},
    {GOOD_OP("bad_forward_silent"), .forward = forward_silent},
    {GOOD_OP("bad_workspace"), .workspace = workspace_huge},
    {GOOD_OP("bad_gradient_shape"), .backward = NULL, .gradient = gradient_shape},
    {GOOD_OP("bad_gradient_unknown"), .backward = NULL, .gradient = gradient_unknown},
    {GOOD_OP("no_gradient"), .backward = NULL},
};
MW_PLUGIN(&bad[0], &bad[1], &bad[2], &bad[3], &bad[4], &bad[5], &bad[6], &bad[7], &bad[8], &bad[9],
          &bad[10], &bad[11], &bad[12])
