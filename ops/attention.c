/* attention.c: scaled dot-product attention, made of matmul and softmax, and its causal mask. */
/* real: f32 */
#include <math.h>
#include <string.h>

#include "../graph/moonwalk.h"

/* ---- causal_mask -------------------------------------------------------------------------- */

typedef struct mask_attrs {
  int64_t rows, columns;
} mask_attrs;

#define SIZE(field, text) MW_ATTR(mask_attrs, field, MW_INT, NULL, text, .least = 0, .most = 1e9)
static const mw_attr mask_schema[] = {
    SIZE(rows, "positions that look"), SIZE(columns, "positions that are looked at"), {0}};

static mw_status mask_infer(mw_infer *it) {
  const mask_attrs *attrs = it->attrs;
  it->out[0] = (mw_spec){.dtype = MW_BOOL, .rank = 2, .shape = {attrs->rows, attrs->columns}};
  return MW_OK;
}

static mw_status mask_forward(const mw_call *call) {
  const mask_attrs *attrs = call->attrs;
  uint8_t *y = call->out[0].data;
  for (int64_t i = 0; i < attrs->rows; i++)
    for (int64_t k = 0; k < attrs->columns; k++) *y++ = k <= i;
  return MW_OK;
}

static const mw_op causal_mask_op = {
    .name = "causal_mask",
    .version = 1,
    .doc = "A bool matrix that is true at row i and column k where k <= i: what has been seen.",
    .example = "mw.causal_mask({rows=3, columns=3})",
    .cases =
        "mw.causal_mask({rows=2, columns=5})\n"
        "mw.causal_mask({rows=5, columns=1})\n"
        "mw.causal_mask({rows=0, columns=3})",
    .outputs = {{"y", .doc = "bool [rows, columns]"}},
    .attrs = mask_schema,
    .attrs_size = sizeof(mask_attrs),
    .flags = MW_ANY_DTYPE,
    .infer = mask_infer,
    .forward = mask_forward,
};

/* ---- scaled_dot_product_attention --------------------------------------------------------- */

enum { Q, K, V, MASK };

typedef struct attention_attrs {
  bool causal;
  double scale;
} attention_attrs;

static const mw_attr attention_schema[] = {
    {.name = "causal",
     .type = MW_BOOLEAN,
     .offset = offsetof(attention_attrs, causal),
     .initial = "false",
     .doc = "query i takes the keys up to i alone, counted from the first of both"},
    {.name = "scale",
     .type = MW_FLOAT,
     .offset = offsetof(attention_attrs, scale),
     .initial = "0",
     .doc = "of the scores; 0 stands for 1 / sqrt(width of q)"},
    {0}};

static mw_status check_mask(const mw_infer *it) {
  char text[MW_SPEC_TEXT];
  const mw_spec *q = &it->in[Q], *k = &it->in[K], *mask = &it->in[MASK];
  const int64_t rows = q->shape[q->rank - 2], columns = k->shape[k->rank - 2];
  if (!mw_present(mask)) return MW_OK;
  it->host->spec_text(mask, text);
  if (mask->dtype != MW_BOOL && mask->dtype != q->dtype)
    return mw_fail(it, "mask is %s, expected bool (true takes part) or q's dtype (is added)", text);
  const int64_t last = mw_size_from_end(mask, 1), before = mw_size_from_end(mask, 2);
  if ((last != columns && last != 1) || (before != rows && before != 1))
    return mw_fail(it, "mask is %s, expected [.., %lld, %lld]: queries and keys", text,
                   (long long)rows, (long long)columns);
  return MW_OK;
}

static mw_status attention_infer(mw_infer *it) {
  char text[3][MW_SPEC_TEXT];
  const mw_spec *q = &it->in[Q], *k = &it->in[K], *v = &it->in[V];
  for (int i = Q; i <= V; i++) {
    it->host->spec_text(&it->in[i], text[i]);
    if (it->in[i].rank < 2)
      return mw_fail(it, "%s is %s, expected [.., positions, width]", it->op->inputs[i].name,
                     text[i]);
    if (mw_expect_float(it, i) || mw_expect_same_dtype(it, i, Q)) return MW_FAILED;
  }
  if (q->shape[q->rank - 1] != k->shape[k->rank - 1])
    return mw_fail(it, "k is %s, but q is %s: their widths (the last sizes) must be the same",
                   text[K], text[Q]);
  if (k->shape[k->rank - 2] != v->shape[v->rank - 2])
    return mw_fail(it, "v is %s, but k is %s: there must be a value for every key", text[V],
                   text[K]);
  for (int a = 3; a <= MW_MAX_RANK; a++)
    for (int i = K; i <= V; i++)
      for (int j = Q; j < i; j++) {
        const int64_t m = mw_size_from_end(&it->in[i], a), n = mw_size_from_end(&it->in[j], a);
        if (m != n && m != 1 && n != 1)
          return mw_fail(it, "%s is %s, but %s is %s: the axes before the last two must broadcast",
                         it->op->inputs[i].name, text[i], it->op->inputs[j].name, text[j]);
      }
  return check_mask(it);
}

/* What scores that do not take part become: softmax makes 0 of it beside any other, and no NaN
 * where it is alone. */
#define NEVER (-1e30)

/* Which scores take part, as bool; NULL for all. An additive mask excludes by -infinity. */
static mw_tensor *taking_part(mw_build *b) {
  const attention_attrs *attrs = b->attrs;
  const mw_spec *q = b->host->tensor_spec(b->in[Q]), *k = b->host->tensor_spec(b->in[K]);
  mw_tensor *mask = b->in[MASK], *causal = NULL;
  if (mask && b->host->tensor_spec(mask)->dtype != MW_BOOL)
    mask = mw_make2(b, "ne", mask, mw_make_scalar(b, mask, -INFINITY));
  if (!attrs->causal) return mask;
  const mw_setting sizes[] = {mw_int("rows", q->shape[q->rank - 2]),
                              mw_int("columns", k->shape[k->rank - 2])};
  causal = mw_make(b, "causal_mask", 0, NULL, 2, sizes);
  mw_tensor *never = mask ? mw_make_scalar(b, mask, 0) : NULL;
  return mask ? mw_make(b, "where", 3, (mw_tensor *[]){causal, mask, never}, 0, NULL) : causal;
}

static mw_status attention_compose(mw_build *b) {
  const attention_attrs *attrs = b->attrs;
  const mw_spec *q = b->host->tensor_spec(b->in[Q]);
  const int64_t width = q->shape[q->rank - 1];
  const double scale = attrs->scale != 0 ? attrs->scale : width > 0 ? 1 / sqrt((double)width) : 1;
  mw_tensor *scaled = mw_make2(b, "mul", b->in[Q], mw_make_scalar(b, b->in[Q], scale));
  const mw_setting transpose = mw_bool("transpose_b", true);
  mw_tensor *scores = mw_make(b, "matmul", 2, (mw_tensor *[]){scaled, b->in[K]}, 1, &transpose);
  mw_tensor *mask = b->in[MASK], *part = taking_part(b);
  if (mask && b->host->tensor_spec(mask)->dtype != MW_BOOL)
    scores = mw_make2(b, "add", scores, mask);
  if (part)
    scores = mw_make(b, "where", 3,
                     (mw_tensor *[]){part, scores, mw_make_scalar(b, b->in[Q], NEVER)}, 0, NULL);
  mw_tensor *weights = mw_make1(b, "softmax", scores);
  if (part)
    weights = mw_make(b, "where", 3, (mw_tensor *[]){part, weights, mw_make_scalar(b, b->in[Q], 0)},
                      0, NULL);
  b->out[0] = mw_make2(b, "matmul", weights, b->in[V]);
  return MW_OK;
}

static const mw_op attention_op = {
    .name = "scaled_dot_product_attention",
    .version = 1,
    .doc =
        "Attention (Vaswani et al., 2017): y = softmax(scale q k' + mask) v. q is [.., L, d], k "
        "[.., S, d], v [.., S, e], y [.., L, e]; the axes before broadcast. A bool mask says which "
        "keys take part, another is added to the scores, where -inf keeps a key out. A query for "
        "which no key takes part gives zeros.",
    .example = "mw.scaled_dot_product_attention(mw.randn{2,3,4}, mw.randn{2,5,4}, mw.randn{2,5,2})",
    .cases =
        "mw.scaled_dot_product_attention(mw.randn{3,2}, mw.randn{3,2}, mw.randn{3,2}, "
        "{causal=true})\n"
        "mw.scaled_dot_product_attention(mw.randn{2,1,3,2}, mw.randn{2,5,2}, mw.randn{5,3}, "
        "mw.gt(mw.randn{3,5}, 0), {scale=0.3})\n"
        "mw.scaled_dot_product_attention(mw.randn{2,2,4}, mw.randn{2,3,4}, mw.randn{2,3,1}, "
        "mw.randn{3}, {causal=true})\n"
        "mw.scaled_dot_product_attention(mw.randn{3,2}, mw.randn{4,2}, mw.randn{4,2}, "
        "mw.gt(mw.randn{3,4}, 0), {causal=true})\n"
        "mw.scaled_dot_product_attention(mw.randn{1,1}, mw.randn{1,1}, mw.randn{1,1})\n"
        "mw.scaled_dot_product_attention(mw.randn{0,3,2}, mw.randn{0,5,2}, mw.randn{0,5,3})",
    .inputs = {{"q", .doc = "queries [.., L, d]"},
               {"k", .doc = "keys [.., S, d]"},
               {"v", .doc = "values [.., S, e]"},
               {"mask", MW_OPTIONAL, "broadcasts to [.., L, S]; bool, or of q's dtype"}},
    .outputs = {{"y", .doc = "[.., L, e]"}},
    .attrs = attention_schema,
    .attrs_size = sizeof(attention_attrs),
    .infer = attention_infer,
    .compose = attention_compose,
};

MW_PLUGIN(&causal_mask_op, &attention_op)
