/* diag.c: diagonals of matrices, taken out and put in, and their sum. */
/* real: f32 */
#include "../graph/moonwalk.h"

typedef struct diag_attrs {
  int64_t k;
} diag_attrs;

/* A matrix [m, n] as a row of m n numbers has its diagonal k at first, first + n + 1, ... */
typedef struct line {
  int64_t first, count, step;
} line;

static line line_of(int64_t m, int64_t n, int64_t k) {
  const int64_t down = k < 0 ? -k : 0, right = k > 0 ? k : 0;
  const int64_t count = m - down < n - right ? m - down : n - right;
  if (count <= 0) return (line){.step = 1};
  return (line){.first = down * n + right, .count = count, .step = n + 1};
}

static int64_t k_of(const mw_build *b) { return ((const diag_attrs *)b->attrs)->k; }

/* [.., m, n] becomes [.., count] */
static mw_tensor *take(mw_build *b, mw_tensor *x) {
  mw_spec flat = *b->host->tensor_spec(x);
  int64_t start[MW_MAX_RANK] = {0}, step[MW_MAX_RANK];
  const int last = flat.rank - 2;
  const int64_t m = flat.shape[last], n = flat.shape[last + 1];
  const line l = line_of(m, n, k_of(b));
  flat.rank--;
  flat.shape[last] = m * n;
  mw_tensor *rows = mw_make_shaped(b, "reshape", x, flat.rank, flat.shape);
  for (int k = 0; k < last; k++) step[k] = 1;
  start[last] = l.first;
  step[last] = l.step;
  flat.shape[last] = l.count;
  return mw_make(
      b, "slice", 1, &rows, 3,
      (mw_setting[]){mw_list("start", flat.rank, start), mw_list("count", flat.rank, flat.shape),
                     mw_list("step", flat.rank, step)});
}

/* [.., n] becomes [.., n + |k|, n + |k|] */
static mw_tensor *put(mw_build *b, mw_tensor *x) {
  const int64_t k = k_of(b);
  mw_spec y = *b->host->tensor_spec(x);
  int64_t start[MW_MAX_RANK] = {0}, step[MW_MAX_RANK];
  const int last = y.rank - 1;
  const int64_t side = y.shape[last] + (k < 0 ? -k : k);
  const line l = line_of(side, side, k);
  for (int i = 0; i < last; i++) step[i] = 1;
  start[last] = l.first;
  step[last] = l.step;
  y.shape[last] = side * side;
  mw_tensor *rows =
      mw_make(b, "place", 1, &x, 3,
              (mw_setting[]){mw_list("shape", y.rank, y.shape), mw_list("start", y.rank, start),
                             mw_list("step", y.rank, step)});
  y.shape[last] = y.shape[y.rank++] = side;
  return mw_make_shaped(b, "reshape", rows, y.rank, y.shape);
}

static mw_status expect_matrix(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].rank >= 2) return MW_OK;
  return mw_fail(it, "x is %s, expected a matrix, or a batch of matrices in its last two axes",
                 it->host->spec_text(&it->in[0], text));
}

static mw_status expect_vector(mw_infer *it) {
  const mw_spec *x = &it->in[0];
  const int64_t k = ((const diag_attrs *)it->attrs)->k;
  char text[MW_SPEC_TEXT];
  if (x->rank == 0 || x->rank == MW_MAX_RANK)
    return mw_fail(it, "x is %s, expected a vector, or a batch of vectors in its last axis",
                   it->host->spec_text(x, text));
  const int64_t side = x->shape[x->rank - 1] + (k < 0 ? -k : k);
  if (side > MW_MAX_SIDE)
    return mw_fail(it, "the result would have %lld rows, at most 2^28 are possible",
                   (long long)side);
  return MW_OK;
}

static mw_status expect_either(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].rank == 1) return expect_vector(it);
  if (it->in[0].rank == 2) return MW_OK;
  return mw_fail(it, "x is %s, expected a vector or a matrix; diagonal and diag_embed take batches",
                 it->host->spec_text(&it->in[0], text));
}

static mw_status diagonal_compose(mw_build *b) {
  b->out[0] = take(b, b->in[0]);
  return MW_OK;
}

static mw_status embed_compose(mw_build *b) {
  b->out[0] = put(b, b->in[0]);
  return MW_OK;
}

static mw_status diag_compose(mw_build *b) {
  b->out[0] = b->host->tensor_spec(b->in[0])->rank == 1 ? put(b, b->in[0]) : take(b, b->in[0]);
  return MW_OK;
}

static mw_status trace_compose(mw_build *b) {
  mw_tensor *entries = take(b, b->in[0]);
  const mw_setting axes = mw_list("axes", 1, (int64_t[]){-1});
  b->out[0] = mw_make(b, "sum", 1, &entries, 1, &axes);
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

static const mw_attr schema[] = {
    {.name = "k",
     .type = MW_INT,
     .offset = offsetof(diag_attrs, k),
     .doc = "the diagonal: 0 the main one, above 0 further right, below 0 further down",
     .initial = "0",
     .least = -MW_MAX_SIDE,
     .most = MW_MAX_SIDE},
    {0}};

#define SHARED                                                          \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y"}}, .attrs = schema, \
  .attrs_size = sizeof(diag_attrs), .flags = MW_ANY_DTYPE | MW_LINEAR

static const mw_op diagonal_op = {
    .name = "diagonal",
    .doc = "The diagonal of a matrix [.., m, n]: y[.., i] = x[.., i, i + k].",
    .example = "mw.diagonal(mw.randn{3,3})",
    .cases =
        "mw.diagonal(mw.randn{2,3,5}, {k=2})\n"
        "mw.diagonal(mw.randn{5,3}, {k=-1})\n"
        "mw.diagonal(mw.randn{1,2,1}, {k=1})\n"
        "mw.diagonal(mw.randn{3,0})\n"
        "mw.diagonal(mw.randn{2,0,3,4})",
    .infer = expect_matrix,
    .compose = diagonal_compose,
    SHARED,
};

static const mw_op embed_op = {
    .name = "diag_embed",
    .doc =
        "Matrices with x on their diagonal and 0 elsewhere: y[.., i, i + k] = x[.., i]; "
        "[.., n] becomes [.., n + |k|, n + |k|].",
    .example = "mw.diag_embed(mw.randn{2,3})",
    .cases =
        "mw.diag_embed(mw.randn{3,1,2}, {k=1})\n"
        "mw.diag_embed(mw.randn{5}, {k=-2})\n"
        "mw.diag_embed(mw.randn{2,0}, {k=1})\n"
        "mw.diag_embed(mw.randn{0})",
    .infer = expect_vector,
    .compose = embed_compose,
    SHARED,
};

static const mw_op diag_op = {
    .name = "diag",
    .doc =
        "The matrix with a vector on its diagonal, or the diagonal of a matrix. diag_embed and "
        "diagonal do so for batches.",
    .example = "mw.diag(mw.randn{3})",
    .cases =
        "mw.diag(mw.randn{3,5}, {k=1})\n"
        "mw.diag(mw.randn{5,3}, {k=-4})\n"
        "mw.diag(mw.randn{1}, {k=-2})\n"
        "mw.diag(mw.randn{2,3}, {k=3})\n"
        "mw.diag(mw.randn{0})",
    .infer = expect_either,
    .compose = diag_compose,
    SHARED,
};

static const mw_op trace_op = {
    .name = "trace",
    .doc =
        "The sum of the diagonal of a matrix [.., m, n]: y = sum over i of x[.., i, i + k]. "
        "Integers are added up in i64; an empty diagonal gives 0.",
    .example = "mw.trace(mw.randn{3,3})",
    .cases =
        "mw.trace(mw.randn{2,3,5}, {k=1})\n"
        "mw.trace(mw.randn{5,1}, {k=-2})\n"
        "mw.trace(mw.randn{0,3})\n"
        "mw.trace(mw.randn{1,1})",
    .infer = expect_matrix,
    .compose = trace_compose,
    SHARED,
};

MW_PLUGIN(&diagonal_op, &embed_op, &diag_op, &trace_op)
