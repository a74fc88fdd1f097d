/* hook.c: an identity at which a function of the user's own sees what passes. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

typedef struct hooked_attrs {
  bool gradient;
} hooked_attrs;

static const mw_attr schema[] = {{.name = "gradient",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(hooked_attrs, gradient),
                                  .doc = "what passes is a gradient, not a value",
                                  .initial = "false"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  it->out[0] = it->in[0];
  if (!mw_present(&it->in[1]) || (it->in[1].dtype == MW_I64 && it->in[1].rank == 0)) return MW_OK;
  return mw_fail(it, "hook is %s, expected what t:hook(f) makes",
                 it->host->spec_text(&it->in[1], text));
}

static mw_status forward(const mw_call *call) {
  const hooked_attrs *a = call->attrs;
  const mw_array *x = &call->in[0], *y = &call->out[0];
  const size_t bytes = (size_t)x->count * mw_element_size(x->spec.dtype);
  if (y->data != x->data && bytes) memcpy(y->data, x->data, bytes);
  return call->in[1].data ? call->host->hook(call->context, &call->in[1], a->gradient, y) : MW_OK;
}

/* The derivative is that of the identity, whatever the function makes of the value. */
static mw_status gradient(mw_build *g) {
  const hooked_attrs *a = g->attrs;
  const mw_setting back = mw_bool("gradient", true);
  if (!g->wanted[0]) return MW_OK;
  g->din[0] = g->dout[0];
  if (g->in[1] && !a->gradient)
    g->din[0] = mw_make(g, "hooked", 2, (mw_tensor *[]){g->dout[0], g->in[1]}, 1, &back);
  return MW_OK;
}

static const mw_op hooked_op = {
    .name = "hooked",
    .version = 1,
    .doc =
        "The input itself, y = x, at which a function sees, and may replace, the value, and in the "
        "backward pass the gradient. t:hook(f, g) makes it; without a hook it does nothing.",
    .example = "mw.hooked(mw.randn{2,3})",
    .cases =
        "mw.hooked(mw.randn{3,1,5}, {gradient=true})\n"
        "mw.hooked(mw.randn{0,3})",
    .inputs = {{"x"}, {"hook", MW_OPTIONAL, "i64 scalar, the number of a hook"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(hooked_attrs),
    .flags = MW_ANY_DTYPE | MW_IMPURE | MW_INPLACE | MW_LINEAR,
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&hooked_op)
