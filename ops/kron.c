/* kron.c: the Kronecker product. */
#include "../graph/moonwalk.h"

enum { MOST = MW_MAX_RANK / 2 }; /* gradient makes two axes of each */

/* a's and b's sizes with 1 in front where one has fewer axes; y's are their products. */
typedef struct pairs {
  int rank;
  int64_t a[MOST], b[MOST];
} pairs;

static pairs pairs_of(const mw_spec *a, const mw_spec *b) {
  pairs p = {.rank = a->rank > b->rank ? a->rank : b->rank};
  for (int k = 1; k <= p.rank; k++) {
    p.a[p.rank - k] = mw_size_from_end(a, k);
    p.b[p.rank - k] = mw_size_from_end(b, k);
  }
  return p;
}

static mw_status infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  for (int i = 0; i < 2; i++)
    if (it->in[i].rank > MOST)
      return mw_fail(it, "%s is %s, expected at most %d axes", it->op->inputs[i].name,
                     it->host->spec_text(&it->in[i], text), MOST);
  const pairs p = pairs_of(&it->in[0], &it->in[1]);
  mw_spec y = {.dtype = it->in[0].dtype, .rank = p.rank};
  for (int k = 0; k < p.rank; k++)
    if (__builtin_mul_overflow(p.a[k], p.b[k], &y.shape[k]))
      return mw_fail(it, "the result's sizes are too large");
  it->out[0] = y;
  return MW_OK;
}

/* A row of y: row i of a, each number of it times row j of b. */
static void kron_row(const real *a, int64_t n_a, const real *b, int64_t n_b, real *restrict y) {
  for (int64_t i = 0; i < n_a; i++)
    for (int64_t j = 0; j < n_b; j++) y[i * n_b + j] = a[i] * b[j];
}

static mw_status forward(const mw_call *call) {
  const pairs p = pairs_of(&call->in[0].spec, &call->in[1].spec);
  const real *a = call->in[0].data, *b = call->in[1].data;
  real *y = call->out[0].data;
  if (call->out[0].count == 0) return MW_OK;
  const int last = p.rank - 1;
  const int64_t n_a = last < 0 ? 1 : p.a[last], n_b = last < 0 ? 1 : p.b[last];
  const int64_t rows = call->out[0].count / (n_a * n_b);
  for (int64_t row = 0; row < rows; row++) {
    int64_t rest = row, at_a = 0, at_b = 0, step_a = n_a, step_b = n_b;
    for (int k = last - 1; k >= 0; k--) {
      const int64_t i = rest % (p.a[k] * p.b[k]);
      rest /= p.a[k] * p.b[k];
      at_a += i / p.b[k] * step_a;
      at_b += i % p.b[k] * step_b;
      step_a *= p.a[k];
      step_b *= p.b[k];
    }
    kron_row(a + at_a, n_a, b + at_b, n_b, y + row * n_a * n_b);
  }
  return MW_OK;
}

/* With y as [a1, b1, a2, b2, ..] and the other operand beside its own axes: products, summed over
 * the other's axes. */
static mw_tensor *side(mw_build *g, const pairs *p, int i) {
  int64_t paired[MW_MAX_RANK], own[MW_MAX_RANK], other[MW_MAX_RANK];
  for (int k = 0; k < p->rank; k++) {
    paired[2 * k] = p->a[k];
    paired[2 * k + 1] = p->b[k];
    own[2 * k] = i == 0 ? p->a[k] : 1;
    own[2 * k + 1] = i == 0 ? 1 : p->b[k];
    other[2 * k] = i == 0 ? 1 : p->a[k];
    other[2 * k + 1] = i == 0 ? p->b[k] : 1;
  }
  const int rank = 2 * p->rank;
  mw_tensor *beside = mw_make_shaped(g, "reshape", g->in[1 - i], rank, other);
  mw_tensor *dy = mw_make_shaped(g, "reshape", g->dout[0], rank, paired);
  mw_tensor *sums = mw_make_shaped(g, "sum_to", mw_make2(g, "mul", dy, beside), rank, own);
  return mw_make_like(g, "reshape", sums, g->in[i]);
}

static mw_status gradient(mw_build *g) {
  const pairs p = pairs_of(g->host->tensor_spec(g->in[0]), g->host->tensor_spec(g->in[1]));
  for (int i = 0; i < 2; i++)
    if (g->wanted[i]) g->din[i] = side(g, &p, i);
  return MW_OK;
}

static const mw_op kron_op = {
    .name = "kron",
    .version = 1,
    .doc =
        "The Kronecker product: each number of a, times the whole of b. y[i p + k, j q + l] = "
        "a[i, j] b[k, l], where b is [p, q]; likewise for other ranks up to 4.",
    .example = "mw.kron(mw.randn{2,3}, mw.randn{3,2})",
    .cases =
        "mw.kron(mw.randn{5}, mw.randn{2,3})\n"
        "mw.kron(mw.randn{1,2,3,1}, mw.randn{1,1,2,2})\n"
        "mw.kron(mw.randn{}, mw.randn{3,1})\n"
        "mw.kron(mw.randn{}, mw.randn{})\n"
        "mw.kron(mw.randn{2,0}, mw.randn{3,2})",
    .inputs = {{"a"}, {"b"}},
    .outputs = {{"y"}},
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&kron_op)
