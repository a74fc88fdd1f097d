/* identity.c: ops that hand their input on unchanged. */
/* real: f32 */
#include "../graph/moonwalk.h"

static mw_status identity_gradient(mw_build *g) {
  g->din[0] = g->dout[0];
  return MW_OK;
}

static const mw_op identity_op = {
    .name = "identity",
    .version = 1,
    .doc = "The input itself: y = x. As an activation it leaves a layer linear.",
    .example = "mw.identity(mw.randn{2,3})",
    .cases =
        "mw.identity(mw.randn{3,1,5})\n"
        "mw.identity(mw.randn{})\n"
        "mw.identity(mw.randn{0,3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .flags = MW_ANY_DTYPE | MW_VIEW | MW_LINEAR,
    .infer = mw_infer_like,
    .gradient = identity_gradient,
};

static mw_status stop_gradient_gradient(mw_build *g) {
  g->din[0] = NULL;
  return MW_OK;
}

static const mw_op stop_gradient_op = {
    .name = "stop_gradient",
    .version = 1,
    .doc = "The input as a constant: y = x, and no gradient passes.",
    .example = "mw.stop_gradient(mw.randn{2,3})",
    .cases =
        "mw.stop_gradient(mw.randn{3,1,5})\n"
        "mw.stop_gradient(mw.randn{})\n"
        "mw.stop_gradient(mw.randn{0,3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .flags = MW_ANY_DTYPE | MW_VIEW,
    .infer = mw_infer_like,
    .gradient = stop_gradient_gradient,
};

MW_PLUGIN(&identity_op, &stop_gradient_op)
