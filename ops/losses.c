/* losses.c: how far predictions are from targets of the same shape, element by element:
 * regression, probabilities, and similarity. cross_entropy.c has the losses of labels. */
/* real: f32 */
#include <math.h>

#include "../graph/moonwalk.h"

enum { X, TARGET, WEIGHT, POS_WEIGHT };
enum { MEAN, SUM, NONE, BATCHMEAN };

typedef struct loss_attrs {
  int reduction;
  bool log_target; /* of kl_div */
  double number;   /* huber's delta, hinge's margin */
} loss_attrs;

#define REDUCTION(names)                                         \
  {                                                              \
    .name = "reduction", .type = MW_CHOICE, .initial = "mean",   \
    .offset = offsetof(loss_attrs, reduction), .choices = names, \
    .doc = "what becomes of the elements' losses"                \
  }
#define NUMBER(title, value, low, text)                                                        \
  {                                                                                            \
    .name = title, .type = MW_FLOAT, .initial = value, .offset = offsetof(loss_attrs, number), \
    .least = low, .most = INFINITY, .doc = text                                                \
  }

static const mw_attr plain_schema[] = {REDUCTION("mean|sum|none"), {0}};
static const mw_attr huber_schema[] = {
    REDUCTION("mean|sum|none"),
    NUMBER("delta", "1", 1e-300, "where the square ends and the straight line begins"),
    {0}};
static const mw_attr hinge_schema[] = {
    REDUCTION("mean|sum|none"),
    NUMBER("margin", "1", 0, "how far on its side of 0 x must be to cost nothing"),
    {0}};
static const mw_attr kl_div_schema[] = {REDUCTION("mean|sum|none|batchmean"),
                                        {.name = "log_target",
                                         .type = MW_BOOLEAN,
                                         .offset = offsetof(loss_attrs, log_target),
                                         .initial = "false",
                                         .doc = "whether target holds logarithms too"},
                                        {0}};

/* ---- shapes ------------------------------------------------------------------------------- */

/* Nothing broadcasts: a loss of [n] beside [n, 1] would be one of [n, n] unnoticed. */
static mw_status pair_infer(mw_infer *it) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  const char *names[] = {it->op->inputs[0].name, it->op->inputs[1].name};
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  if (mw_same_shape(&it->in[0], &it->in[1])) return MW_OK;
  return mw_fail(it, "%s is %s, but %s is %s: the shapes must be the same", names[1],
                 it->host->spec_text(&it->in[1], b), names[0], it->host->spec_text(&it->in[0], a));
}

/* These have a sense for integers too, without a mean. */
static mw_status error_infer(mw_infer *it) {
  const loss_attrs *attrs = it->attrs;
  if (attrs->reduction == MEAN && mw_expect_float(it, X)) return MW_FAILED;
  return pair_infer(it);
}

static mw_status float_infer(mw_infer *it) {
  return mw_expect_float(it, 0) ? MW_FAILED : pair_infer(it);
}

/* Weights may broadcast to x. */
static mw_status weighted_infer(mw_infer *it) {
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  const mw_spec *x = &it->in[X];
  if (float_infer(it)) return MW_FAILED;
  for (int i = WEIGHT; i < it->n_in; i++) {
    const mw_spec *w = &it->in[i];
    if (!mw_present(w)) continue;
    if (mw_expect_same_dtype(it, i, X)) return MW_FAILED;
    if (!mw_broadcasts_to(w, x))
      return mw_fail(it, "%s is %s, which does not broadcast to x, %s", it->op->inputs[i].name,
                     it->host->spec_text(w, a), it->host->spec_text(x, b));
  }
  return MW_OK;
}

/* ---- what they are made of ---------------------------------------------------------------- */

static mw_status reduced(mw_build *b, mw_tensor *losses) {
  const loss_attrs *attrs = b->attrs;
  const mw_spec *x = b->host->tensor_spec(b->in[X]);
  b->out[0] = losses;
  if (attrs->reduction == MEAN) b->out[0] = mw_make1(b, "mean", losses);
  else if (attrs->reduction != NONE) b->out[0] = mw_make1(b, "sum", losses);
  if (attrs->reduction == BATCHMEAN)
    b->out[0] = mw_make2(b, "div", b->out[0],
                         mw_make_scalar(b, b->in[X], x->rank > 0 ? (double)x->shape[0] : 1));
  return MW_OK;
}

static mw_status mse_compose(mw_build *b) {
  return reduced(b, mw_formula(b, "square(x - target)"));
}
static mw_status l1_compose(mw_build *b) { return reduced(b, mw_formula(b, "abs(x - target)")); }

/* With c = d kept within delta, c (d - c/2) is d^2/2 inside and delta (|d| - delta/2) outside, also
 * for an infinite d. */
static mw_status huber_compose(mw_build *b) {
  const double delta = ((const loss_attrs *)b->attrs)->number;
  mw_tensor *d = mw_make2(b, "sub", b->in[X], b->in[TARGET]);
  const mw_setting within[] = {mw_float("min", -delta), mw_float("max", delta)};
  mw_tensor *c = mw_make(b, "clip", 1, &d, 2, within);
  mw_tensor *half = mw_make2(b, "mul", c, mw_make_scalar(b, b->in[X], 0.5));
  return reduced(b, mw_make2(b, "mul", c, mw_make2(b, "sub", d, half)));
}

static mw_status hinge_compose(mw_build *b) {
  return reduced(b, mw_formula(b, "relu(margin - x * target)"));
}

static mw_tensor *weighted(mw_build *b, mw_tensor *losses) {
  return b->in[WEIGHT] ? mw_make2(b, "mul", losses, b->in[WEIGHT]) : losses;
}

/* A logarithm is at least -100, as in PyTorch: that of e^-100 and of what is below. The 1 keeps the
 * branch that is not taken from having an infinite slope. In f32 e^-100 is a denormal, which may
 * count as 0; so it is <=, which 0 is then, too. */
#define LEAST "3.720075976020836e-44"
#define LOG(x) "(" x " <= " LEAST " ? -100 : log(" x " <= " LEAST " ? 1 : " x "))"

static mw_status bce_compose(mw_build *b) {
  static const char formula[] = "-(target * " LOG("x") " + (1 - target) * " LOG("(1 - x)") ")";
  return reduced(b, weighted(b, mw_formula(b, formula)));
}

/* -ln sigmoid(x) = softplus(-x), and -ln(1 - sigmoid(x)) = softplus(x). The latter is softplus(-x)
 * + x as well, but that loses the small loss, and gradient, of a clear and right answer to
 * rounding. */
static mw_status bce_with_logits_compose(mw_build *b) {
  const char *formula = b->in[POS_WEIGHT]
                            ? "pos_weight * target * softplus(-x) + (1 - target) * softplus(x)"
                            : "target * softplus(-x) + (1 - target) * softplus(x)";
  return reduced(b, weighted(b, mw_formula(b, formula)));
}

/* 0 ln 0 is 0, and nothing is lost where the target is 0, whatever x is. */
static mw_status kl_div_compose(mw_build *b) {
  return reduced(b, mw_formula(b,
                               "log_target ? exp(target) * (target - x) : target * "
                               "(log(target == 0 ? 1 : target) - (target == 0 ? 0 : x))"));
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define PAIR .inputs = {{"x", .doc = "predictions"}, {"target", .doc = "of x's shape"}}
#define LOSS(title, schema)                                                             \
  .name = #title, .version = 1, .outputs = {{"y", .doc = "a scalar, or of x's shape"}}, \
  .attrs = schema, .attrs_size = sizeof(loss_attrs), .compose = title##_compose
#define PAIR_CASES(op)                              \
  "mw." op                                          \
  "(mw.randn{7}, mw.randn{7}, {reduction='sum'})\n" \
  "mw." op "(mw.randn{2,1,3}, mw.randn{2,1,3}, {reduction='none'})\n"

static const mw_op mse_op = {
    LOSS(mse, plain_schema),
    .doc = "Squared error: y = (x - target)^2, and its mean or sum. The mean of nothing is NaN.",
    .example = "mw.mse(mw.randn{2,3}, mw.randn{2,3})",
    .cases = PAIR_CASES("mse") "mw.mse(mw.randn{0,3}, mw.randn{0,3}, {reduction='sum'})",
    .infer = error_infer,
    PAIR,
};

static const mw_op l1_op = {
    LOSS(l1, plain_schema),
    .doc =
        "Absolute error: y = |x - target|, and its mean or sum. The gradient is 0 where x is "
        "the target.",
    .example = "mw.l1(mw.randn{2,3}, mw.randn{2,3})",
    .cases = PAIR_CASES("l1") "mw.l1(mw.randn{0,3}, mw.randn{0,3}, {reduction='sum'})",
    .infer = error_infer,
    PAIR,
};

static const mw_op huber_op = {
    LOSS(huber, huber_schema),
    .doc =
        "Huber's loss (1964), a square near 0 and a straight line away from it: with d = x - "
        "target, y = d^2 / 2 for |d| <= delta, otherwise delta (|d| - delta / 2). The gradient has "
        "no jump; the second derivative at |d| = delta is that of the square.",
    .example = "mw.huber(mw.randn{2,3}, mw.randn{2,3})",
    .cases = PAIR_CASES("huber") "mw.huber(mw.randn{5}, mw.randn{5}, {delta=0.3})\n"
                                 "mw.huber(mw.randn{0,3}, mw.randn{0,3}, {reduction='sum'})",
    .infer = float_infer,
    PAIR,
};

static const mw_op hinge_op = {
    LOSS(hinge, hinge_schema),
    .doc =
        "The loss of a classifier by the sign of x: y = max(0, margin - x target), for targets 1 "
        "and -1. The gradient at the kink is 0.",
    .example = "mw.hinge(mw.randn{2,3}, mw.sign(mw.randn{2,3}))",
    .cases = PAIR_CASES("hinge") "mw.hinge(mw.randn{5}, mw.sign(mw.randn{5}), {margin=0.3})\n"
                                 "mw.hinge(mw.randn{0,3}, mw.randn{0,3}, {reduction='sum'})",
    .infer = float_infer,
    PAIR,
};

#define CHANCES(shape) "mw.uniform(" shape ", 0.1, 0.9)"

static const mw_op bce_op = {
    LOSS(bce, plain_schema),
    .doc =
        "Binary cross-entropy of probabilities x in [0, 1]: y = -weight (target ln x + (1 - "
        "target) ln(1 - x)). A logarithm counts as at least -100, and has no gradient there; "
        "bce_with_logits needs no such rule.",
    .example = "mw.bce(" CHANCES("{2,3}") ", " CHANCES("{2,3}") ")",
    .cases =
        "mw.bce(" CHANCES("{7}") ", " CHANCES("{7}") ", mw.randn{7}, {reduction='sum'})\n"
        "mw.bce(" CHANCES("{2,1,3}") ", " CHANCES("{2,1,3}") ", mw.randn{3}, {reduction='none'})\n"
        "mw.bce(" CHANCES("{0,3}") ", " CHANCES("{0,3}") ", {reduction='sum'})",
    .inputs = {{"x", .doc = "probabilities"},
               {"target", .doc = "probabilities, of x's shape"},
               {"weight", MW_OPTIONAL, "broadcasts to x"}},
    .infer = weighted_infer,
};

static const mw_op bce_with_logits_op = {
    LOSS(bce_with_logits, plain_schema),
    .doc =
        "Binary cross-entropy of logits: with p = sigmoid(x), y = -weight (pos_weight target ln p "
        "+ (1 - target) ln(1 - p)), exact for large |x| too.",
    .example = "mw.bce_with_logits(mw.randn{2,3}, " CHANCES("{2,3}") ")",
    .cases =
        "mw.bce_with_logits(mw.randn{7}, " CHANCES("{7}") ", mw.randn{7}, {reduction='sum'})\n"
        "mw.bce_with_logits(mw.randn{2,1,3}, " CHANCES("{2,1,3}") ", nil, mw.randn{3}, "
        "{reduction='none'})\n"
        "mw.bce_with_logits(mw.randn{2,3}, " CHANCES("{2,3}") ", mw.randn{2,1}, mw.randn{3})\n"
        "mw.bce_with_logits(mw.randn{0,3}, " CHANCES("{0,3}") ", {reduction='sum'})",
    .inputs = {{"x", .doc = "logits"},
               {"target", .doc = "probabilities, of x's shape"},
               {"weight", MW_OPTIONAL, "broadcasts to x"},
               {"pos_weight", MW_OPTIONAL, "of the positive side; broadcasts to x"}},
    .infer = weighted_infer,
};

static const mw_op kl_div_op = {
    LOSS(kl_div, kl_div_schema),
    .doc =
        "Kullback-Leibler divergence from log-probabilities x: y = target (ln target - x), 0 "
        "where the target is 0; with log_target, y = exp(target) (target - x). 'mean' is over all "
        "elements; 'batchmean', the sum over x's first size, is the divergence itself.",
    .example = "mw.kl_div(mw.randn{2,3}, " CHANCES("{2,3}") ")",
    .cases =
        "mw.kl_div(mw.randn{7}, " CHANCES("{7}") ", {reduction='sum'})\n"
        "mw.kl_div(mw.randn{2,1,3}, mw.randn{2,1,3}, {reduction='none', log_target=true})\n"
        "mw.kl_div(mw.randn{4,3}, " CHANCES("{4,3}") ", {reduction='batchmean'})\n"
        "mw.kl_div(mw.randn{0,3}, " CHANCES("{0,3}") ", {reduction='sum'})",
    .inputs = {{"x", .doc = "log-probabilities"}, {"target", .doc = "probabilities, of x's shape"}},
    .infer = float_infer,
};

/* ---- cosine_similarity -------------------------------------------------------------------- */

typedef struct cosine_attrs {
  int64_t axis;
  double eps;
} cosine_attrs;

static const mw_attr cosine_schema[] = {{.name = "axis",
                                         .type = MW_AXIS,
                                         .offset = offsetof(cosine_attrs, axis),
                                         .doc = "the axis along which the vectors lie",
                                         .initial = "-1"},
                                        {.name = "eps",
                                         .type = MW_FLOAT,
                                         .offset = offsetof(cosine_attrs, eps),
                                         .doc = "a length counts as at least this",
                                         .initial = "1e-8",
                                         .least = 1e-18,
                                         .most = INFINITY},
                                        {0}};

static mw_status cosine_infer(mw_infer *it) {
  cosine_attrs *attrs = it->attrs;
  if (float_infer(it)) return MW_FAILED;
  return mw_expect_axis(it, "axis", &attrs->axis, it->in[0].rank);
}

static const mw_op cosine_similarity_op = {
    .name = "cosine_similarity",
    .version = 1,
    .doc =
        "The cosine of the angle between vectors: y = sum(a b) / (|a| |b|), where a length counts "
        "as at least eps: vectors of zeros give 0.",
    .example = "mw.cosine_similarity(mw.randn{2,3}, mw.randn{2,3})",
    .cases =
        "mw.cosine_similarity(mw.randn{5}, mw.randn{5})\n"
        "mw.cosine_similarity(mw.randn{2,3,4}, mw.randn{2,3,4}, {axis=2, eps=1e-3})\n"
        "mw.cosine_similarity(mw.randn{2,1,1}, mw.randn{2,1,1}, {axis=1})\n"
        "mw.cosine_similarity(mw.randn{0,3}, mw.randn{0,3})",
    .inputs = {{"a"}, {"b", .doc = "of a's shape"}},
    .outputs = {{"y", .doc = "a's shape without the axis"}},
    .attrs = cosine_schema,
    .attrs_size = sizeof(cosine_attrs),
    .infer = cosine_infer,
    .formula =
        "sum(a / maximum(norm(a, axes=axis, keepdims=true), eps) * "
        "(b / maximum(norm(b, axes=axis, keepdims=true), eps)), axes=axis)",
};

MW_PLUGIN(&mse_op, &l1_op, &huber_op, &hinge_op, &bce_op, &bce_with_logits_op, &kl_div_op,
          &cosine_similarity_op)
