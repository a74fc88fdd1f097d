/* squareplus.c: a smooth relu, y = (x + sqrt(x^2 + b)) / 2 (Barron, 2021, arXiv:2112.11687).
 * Its derivative is y / sqrt(x^2 + b), where the root is 2y - x. */
#include <math.h>
#include <moonwalk.h>

typedef struct squareplus_attrs {
  double b;
} squareplus_attrs;
static const mw_attr attrs[] = {{.name = "b",
                                 .type = MW_FLOAT,
                                 .offset = offsetof(squareplus_attrs, b),
                                 .doc = "roundness of the corner",
                                 .initial = "4"},
                                {0}};

static mw_status infer(mw_infer *it) { return it->out[0] = it->in[0], MW_OK; }

/* Compiled once with real = float and once with real = double. */
static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data, b = (real)((const squareplus_attrs *)call->attrs)->b;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = (x[i] + (real)sqrt(x[i] * x[i] + b)) / 2;
  return MW_OK;
}

static mw_status backward(const mw_call *call) {
  const real *x = call->in[0].data, *y = call->out[0].data, *dy = call->dout[0].data;
  real *dx = call->din[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) dx[i] = dy[i] * y[i] / (2 * y[i] - x[i]);
  return MW_OK;
}

/* The same out of other ops: with it squareplus can be differentiated again. */
static mw_status gradient(mw_build *g) {
  mw_tensor *root = mw_make2(g, "sub", mw_make2(g, "add", g->out[0], g->out[0]), g->in[0]);
  g->din[0] = mw_make2(g, "mul", g->dout[0], mw_make2(g, "div", g->out[0], root));
  return MW_OK;
}

static const mw_op squareplus = {
    .name = "squareplus",
    .version = 1,
    .doc = "A smooth relu: (x + sqrt(x^2 + b)) / 2.",
    .example = "mw.squareplus(mw.randn{2,3}, {b=1})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = attrs,
    .attrs_size = sizeof(squareplus_attrs),
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_OUT(0),
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
};
MW_PLUGIN(&squareplus)
