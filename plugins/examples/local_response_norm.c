/* local_response_norm.c: each value is divided by a power of the squares of its neighbours in other
 * channels (Krizhevsky, Sutskever, Hinton, 2012): y = x s^-beta, s = k + alpha/size sum x^2.
 *
 * Forward keeps s for backward: `saved` is memory of the op's own, that is there between the
 * two. */
#include <moonwalk.h>
#include <tgmath.h>

typedef struct settings {
  int64_t size;
  double alpha, beta, k;
} settings;

/* Where the channels of one image are, and which of them are neighbours. */
typedef struct layout {
  int64_t channels, plane, before, after;
} layout;

static layout layout_of(const mw_call *call) {
  const settings *a = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  layout l = {x->shape[1], 1, a->size / 2, (a->size - 1) / 2};
  for (int d = 2; d < x->rank; d++) l.plane *= x->shape[d];
  return l;
}

static mw_status infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].rank < 2)
    return mw_fail(it, "x is %s, expected [batch, channels, ...]",
                   it->host->spec_text(&it->in[0], text));
  it->saved = mw_element_size(it->in[0].dtype);
  for (int d = 0; d < it->in[0].rank; d++) it->saved *= (size_t)it->in[0].shape[d];
  return mw_infer_like(it);
}

/* One image a chunk. Where nobody will differentiate, `saved` is NULL and y has s meanwhile. */
static void forward_image(void *arg, int64_t image, int worker) {
  const mw_call *call = arg;
  const settings *a = call->attrs;
  const layout l = layout_of(call);
  const int64_t at = image * l.channels * l.plane;
  const real *x = (const real *)call->in[0].data + at;
  real *y = (real *)call->out[0].data + at, *s = call->saved ? (real *)call->saved + at : y;
  (void)worker;
  for (int64_t c = 0; c < l.channels; c++) {
    for (int64_t p = 0; p < l.plane; p++) {
      real sum = 0;
      for (int64_t n = c - l.before; n <= c + l.after; n++)
        if (n >= 0 && n < l.channels) sum += x[n * l.plane + p] * x[n * l.plane + p];
      s[c * l.plane + p] = (real)a->k + (real)a->alpha / (real)a->size * sum;
    }
  }
  for (int64_t i = 0; i < l.channels * l.plane; i++) y[i] = x[i] * pow(s[i], (real)-a->beta);
}

static mw_status forward(const mw_call *call) {
  mw_parallel(call, call->in[0].spec.shape[0], forward_image, (void *)call);
  return MW_OK;
}

/* dx = dy s^-beta - 2 alpha beta / size x sum(dy y / s), over those to whom x is a neighbour. */
static void backward_image(void *arg, int64_t image, int worker) {
  const mw_call *call = arg;
  const settings *a = call->attrs;
  const layout l = layout_of(call);
  const int64_t at = image * l.channels * l.plane;
  const real *x = (const real *)call->in[0].data + at, *y = (const real *)call->out[0].data + at;
  const real *dy = (const real *)call->dout[0].data + at, *s = (const real *)call->saved + at;
  const real factor = (real)(2 * a->alpha * a->beta) / (real)a->size;
  real *dx = (real *)call->din[0].data + at;
  (void)worker;
  for (int64_t c = 0; c < l.channels; c++) {
    for (int64_t p = 0; p < l.plane; p++) {
      const int64_t i = c * l.plane + p;
      real sum = 0;
      for (int64_t n = c - l.after; n <= c + l.before; n++) {
        const int64_t j = n * l.plane + p;
        if (n >= 0 && n < l.channels) sum += dy[j] * y[j] / s[j];
      }
      dx[i] = dy[i] * pow(s[i], (real)-a->beta) - factor * x[i] * sum;
    }
  }
}

static mw_status backward(const mw_call *call) {
  mw_parallel(call, call->in[0].spec.shape[0], backward_image, (void *)call);
  return MW_OK;
}

static const mw_op local_response_norm = {
    .name = "local_response_norm",
    .version = 1,
    .doc =
        "Divides by the neighbours in other channels: y = x s^-beta, s = k + alpha/size sum x^2 "
        "over the size channels around. x: [batch, channels, ...], y as x (Krizhevsky et al., "
        "2012). NaN spreads to neighbours.",
    .example = "mw.local_response_norm(mw.randn{2,5,3}, {size=3, alpha=0.5})",
    .cases =
        "mw.local_response_norm(mw.randn{1,4,2,3}, {size=2, alpha=1, beta=0.5, k=2})\n"
        "mw.local_response_norm(mw.randn{3,1}, {alpha=2})\n"
        "mw.local_response_norm(mw.randn{0,3,2})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    MW_ATTRS(settings,
             MW_ATTR(settings, size, MW_INT, "5", "channels that count", .least = 1, .most = 1e6),
             MW_ATTR(settings, alpha, MW_FLOAT, "1e-4", "weight of their squares"),
             MW_ATTR(settings, beta, MW_FLOAT, "0.75", "the power"),
             MW_ATTR(settings, k, MW_FLOAT, "1", "what is added to them")),
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_OUT(0) | MW_NEEDS_SAVED,
    .infer = infer,
    .forward = forward,
    .backward = backward,
};
MW_PLUGIN(&local_response_norm)
