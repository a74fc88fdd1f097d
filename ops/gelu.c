/* gelu.c: the Gaussian error linear unit, exact or approximate. */
/* real: f32 */
#include "../graph/moonwalk.h"

typedef struct gelu_attrs {
  int approximate;
} gelu_attrs;

static const mw_attr schema[] = {{.name = "approximate",
                                  .type = MW_CHOICE,
                                  .offset = offsetof(gelu_attrs, approximate),
                                  .doc = "tanh: by 0.5 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
                                  .initial = "none",
                                  .choices = "none|tanh"},
                                 {0}};

static mw_status infer(mw_infer *it) { return mw_expect_float(it, 0); }

static const mw_op gelu_op = {
    .name = "gelu",
    .version = 1,
    .doc =
        "Gaussian error linear unit: y = x P(X <= x) for a normal X (Hendrycks and Gimpel, "
        "2016).",
    .example = "mw.gelu(mw.randn{2,3})",
    .cases =
        "mw.gelu(mw.randn{2,3}, {approximate='tanh'})\n"
        "mw.gelu(mw.randn{3,1,5})\n"
        "mw.gelu(mw.randn{0,3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(gelu_attrs),
    .infer = infer,
    .formula = "approximate ? gelu_tanh(x) : gelu_erf(x)",
};

MW_PLUGIN(&gelu_op)
