/* squareplus.c: a smooth relu, y = (x + sqrt(x^2 + b)) / 2 (Barron, 2021, arXiv:2112.11687).
 * Its derivative is y / sqrt(x^2 + b), where the root is 2y - x. */
#include <math.h>
#include <moonwalk.h>

typedef struct settings {
  double b;
} settings;

/* Compiled once with real = float and once with real = double. */
static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data, b = (real)((const settings *)call->attrs)->b;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = (x[i] + (real)sqrt(x[i] * x[i] + b)) / 2;
  return MW_OK;
}

static const mw_op squareplus = {
    .name = "squareplus",
    .version = 1,
    .doc = "A smooth relu: (x + sqrt(x^2 + b)) / 2.",
    .example = "mw.squareplus(mw.randn{2,3}, {b=1})",
    .cases = "mw.squareplus(mw.randn{3,1})\nmw.squareplus(mw.randn{0,3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    MW_ATTRS(settings, MW_ATTR(settings, b, MW_FLOAT, "4", "roundness of the corner")),
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"dy * y / (2 * y - x)"},
};
MW_PLUGIN(&squareplus)
