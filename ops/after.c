/* after.c: the op that gives steps an order, of which checkpoints are made. */
/* real: f32 */
#include "../graph/moonwalk.h"

static mw_status gradient(mw_build *g) {
  if (g->wanted[0]) g->din[0] = g->dout[0];
  return MW_OK;
}

static const mw_op after_op = {
    .name = "after",
    .version = 1,
    .doc =
        "The tensor x itself, once the others have been computed: y = x. It costs nothing; it "
        "gives the steps of a program an order.",
    .example = "mw.after(mw.randn{2,3}, mw.randn{2})",
    .cases =
        "mw.after(mw.randn{3,1,5}, mw.randn{1}, mw.randn{2,2})\n"
        "mw.after(mw.randn{0,3}, mw.randn{})",
    .inputs = {{"x"}, {"others", MW_VARIADIC, "of any dtypes and shapes"}},
    .outputs = {{"y"}},
    .flags = MW_ANY_DTYPE | MW_VIEW | MW_LINEAR | MW_ORDERS,
    .infer = mw_infer_like,
    .gradient = gradient,
};

MW_PLUGIN(&after_op)
