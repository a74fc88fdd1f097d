/* matmul.c: the matrix product, with numpy's rules for vectors and for batches of matrices. */
#include "../graph/moonwalk.h"

typedef struct matmul_attrs {
  bool transpose_a, transpose_b;
} matmul_attrs;

static const mw_attr schema[] = {{.name = "transpose_a",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(matmul_attrs, transpose_a),
                                  .doc = "whether a's last two axes change places first",
                                  .initial = "false"},
                                 {.name = "transpose_b",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(matmul_attrs, transpose_b),
                                  .doc = "whether b's last two axes change places first",
                                  .initial = "false"},
                                 {0}};

/* One operand as a batch of matrices [rows, columns], after transposition. */
typedef struct side {
  mw_spec batch; /* rank and shape of the axes before the last two */
  int64_t rows, columns;
  bool transposed; /* as stored; never true of a vector */
} side;

/* As numpy has it, a vector is a row on the left and a column on the right. */
static side left_of(const mw_spec *a, bool transpose) {
  side s = {.rows = 1, .columns = a->shape[0]};
  if (a->rank == 1) return s;
  s.batch = *a;
  s.batch.rank -= 2;
  s.transposed = transpose;
  s.rows = a->shape[a->rank - (transpose ? 1 : 2)];
  s.columns = a->shape[a->rank - (transpose ? 2 : 1)];
  return s;
}

static side right_of(const mw_spec *b, bool transpose) {
  side s = {.rows = b->shape[0], .columns = 1};
  return b->rank == 1 ? s : left_of(b, transpose);
}

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status broadcast_batches(const mw_infer *it, const side *a, const side *b, mw_spec *y) {
  char text_a[MW_SPEC_TEXT], text_b[MW_SPEC_TEXT];
  if (mw_broadcast(&a->batch, &b->batch, y)) return MW_OK;
  return mw_fail(it,
                 "a is %s and b is %s: the axes before the last two do not broadcast (sizes must "
                 "be equal or 1)",
                 it->host->spec_text(&it->in[0], text_a), it->host->spec_text(&it->in[1], text_b));
}

static mw_status infer(mw_infer *it) {
  const matmul_attrs *attrs = it->attrs;
  const mw_spec *in = it->in;
  char text_a[MW_SPEC_TEXT], text_b[MW_SPEC_TEXT];
  if (mw_expect_same_dtype(it, 1, 0)) return MW_FAILED;
  for (int i = 0; i < 2; i++)
    if (in[i].rank == 0)
      return mw_fail(it, "%s is the scalar %s, expected a vector or a matrix; use mul",
                     it->op->inputs[i].name, it->host->spec_text(&in[i], text_a));
  const side a = left_of(&in[0], attrs->transpose_a), b = right_of(&in[1], attrs->transpose_b);
  if (a.columns != b.rows) {
    const bool turned = b.columns == a.columns && in[1].rank > 1;
    return mw_fail(it, "a%s is %s and b%s is %s: a has %lld columns, but b has %lld rows%s",
                   a.transposed ? " (transposed)" : "", it->host->spec_text(&in[0], text_a),
                   b.transposed ? " (transposed)" : "", it->host->spec_text(&in[1], text_b),
                   (long long)a.columns, (long long)b.rows,
                   !turned        ? ""
                   : b.transposed ? "; leave out transpose_b"
                                  : "; set transpose_b=true");
  }
  mw_spec y;
  if (broadcast_batches(it, &a, &b, &y)) return MW_FAILED;
  y.dtype = in[0].dtype;
  if (in[0].rank > 1) y.shape[y.rank++] = a.rows;
  if (in[1].rank > 1) y.shape[y.rank++] = b.columns;
  it->out[0] = y;
  return MW_OK;
}

/* ---- forward ------------------------------------------------------------------------------ */

typedef struct job {
  const mw_call *call;
  side a, b;
  mw_spec batch; /* of the result */
  mw_gemm product;
} job;

/* Where the matrix that batch i of the result is made from begins. */
static const real *matrix_of(const side *s, const mw_spec *batch, const void *data, int64_t i) {
  int64_t offset = 0, step = s->rows * s->columns;
  for (int k = 1; k <= s->batch.rank; k++) {
    const int64_t size = s->batch.shape[s->batch.rank - k], of = batch->shape[batch->rank - k];
    if (size > 1) offset += i % of * step;
    step *= size;
    i /= of;
  }
  return (const real *)data + offset;
}

static void multiply(void *arg, int64_t i, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  mw_gemm product = j->product;
  product.a = matrix_of(&j->a, &j->batch, call->in[0].data, i);
  product.b = matrix_of(&j->b, &j->batch, call->in[1].data, i);
  product.c = (real *)call->out[0].data + i * product.m * product.n;
  mw_product(call, MW_REAL, &product, worker);
}

static mw_status forward(const mw_call *call) {
  const matmul_attrs *attrs = call->attrs;
  job j = {.call = call,
           .a = left_of(&call->in[0].spec, attrs->transpose_a),
           .b = right_of(&call->in[1].spec, attrs->transpose_b)};
  const mw_spec *y = &call->out[0].spec;
  int64_t m = j.a.rows, n = j.b.columns, k = j.a.columns, batches = 1;
  if (call->out[0].count == 0) return MW_OK;
  j.batch.rank = j.a.batch.rank > j.b.batch.rank ? j.a.batch.rank : j.b.batch.rank;
  for (int i = 0; i < j.batch.rank; i++) batches *= j.batch.shape[i] = y->shape[i];
  /* Many matrices on the left of one: a single tall one. */
  if (j.b.batch.rank == 0 && !j.a.transposed) {
    m *= batches;
    batches = 1;
  }
  j.product = (mw_gemm){.m = m,
                        .n = n,
                        .k = k,
                        .transpose_a = j.a.transposed,
                        .transpose_b = j.b.transposed,
                        .lda = j.a.transposed ? m : k,
                        .ldb = j.b.transposed ? k : n,
                        .ldc = n};
  const bool large = batches == 1 || (batches < 16 && m * n * k > 1 << 20);
  for (int64_t i = 0; large && i < batches; i++) multiply(&j, i, MW_ALL_WORKERS);
  if (!large) mw_parallel(call, batches, multiply, &j);
  return MW_OK;
}

/* ---- gradient ----------------------------------------------------------------------------- */

static mw_tensor *reshape(mw_build *g, mw_tensor *x, const mw_spec *to) {
  if (!x || mw_same_shape(g->host->tensor_spec(x), to)) return x;
  return mw_make_shaped(g, "reshape", x, to->rank, to->shape);
}

static mw_tensor *product(mw_build *g, mw_tensor *a, bool transpose_a, mw_tensor *b,
                          bool transpose_b) {
  return mw_make(
      g, "matmul", 2, (mw_tensor *[]){a, b}, 2,
      (mw_setting[]){mw_bool("transpose_a", transpose_a), mw_bool("transpose_b", transpose_b)});
}

/* d, for the matrices that input i was broadcast to: summed over batches where there were fewer,
 * and without the axis that a vector was given. */
static mw_tensor *fold(mw_build *g, mw_tensor *d, int i) {
  const mw_spec *in = g->host->tensor_spec(g->in[i]);
  mw_spec matrix = *in;
  if (!d || mw_same_shape(g->host->tensor_spec(d), in)) return d;
  if (in->rank == 1) {
    matrix.rank = 2;
    matrix.shape[0] = i == 0 ? 1 : in->shape[0];
    matrix.shape[1] = i == 0 ? in->shape[0] : 1;
  }
  return reshape(g, mw_make_shaped(g, "sum_to", d, matrix.rank, matrix.shape), in);
}

/* With y = A B, where A is a or its transpose: dA = dy B', dB = A' dy. */
static mw_status gradient(mw_build *g) {
  const matmul_attrs *attrs = g->attrs;
  const mw_spec *in_a = g->host->tensor_spec(g->in[0]), *in_b = g->host->tensor_spec(g->in[1]);
  const side left = left_of(in_a, attrs->transpose_a), right = right_of(in_b, attrs->transpose_b);
  const bool ta = left.transposed, tb = right.transposed;
  const bool tall = right.batch.rank == 0 && !ta; /* see forward: one tall matrix on the left */
  int64_t rows = left.rows;
  for (int k = 0; k < left.batch.rank; k++) rows *= left.batch.shape[k];

  /* Everything as matrices. */
  mw_spec y = *g->host->tensor_spec(g->dout[0]);
  if (in_b->rank == 1) y.shape[y.rank++] = 1;
  if (in_a->rank == 1) {
    y.shape[y.rank] = y.shape[y.rank - 1];
    y.shape[y.rank++ - 1] = 1;
  }
  if (tall) y = (mw_spec){.rank = 2, .shape = {rows, right.columns}};
  mw_tensor *a = g->in[0], *b = g->in[1], *dy = reshape(g, g->dout[0], &y);
  if (tall || in_a->rank == 1)
    a = reshape(g, a, &(mw_spec){.rank = 2, .shape = {rows, left.columns}});
  if (in_b->rank == 1) b = reshape(g, b, &(mw_spec){.rank = 2, .shape = {right.rows, 1}});

  if (g->wanted[0]) {
    mw_tensor *da = ta ? product(g, b, tb, dy, true) : product(g, dy, false, b, !tb);
    g->din[0] = tall ? reshape(g, da, in_a) : fold(g, da, 0);
  }
  if (g->wanted[1]) {
    mw_tensor *db = tb ? product(g, dy, true, a, ta) : product(g, a, !ta, dy, false);
    g->din[1] = fold(g, db, 1);
  }
  return MW_OK;
}

static double flops(const mw_call *call) {
  const matmul_attrs *attrs = call->attrs;
  return 2.0 * (double)call->out[0].count *
         (double)left_of(&call->in[0].spec, attrs->transpose_a).columns;
}

static const mw_op matmul_op = {
    .name = "matmul",
    .version = 1,
    .doc =
        "The matrix product: a [.., m, k] and b [.., k, n] give y [.., m, n]. Axes before the "
        "last two broadcast; a vector is a row on the left and a column on the right.",
    .example = "mw.matmul(mw.randn{2,3,4}, mw.randn{4,5})",
    .cases =
        "mw.matmul(mw.randn{4,3}, mw.randn{4,2}, {transpose_a=true})\n"
        "mw.matmul(mw.randn{1,5}, mw.randn{3,5}, {transpose_b=true})\n"
        "mw.matmul(mw.randn{4,3}, mw.randn{2,4}, {transpose_a=true, transpose_b=true})\n"
        "mw.matmul(mw.randn{3}, mw.randn{3})\n"
        "mw.matmul(mw.randn{3}, mw.randn{2,3,2})\n"
        "mw.matmul(mw.randn{2,2,3}, mw.randn{3})\n"
        "mw.matmul(mw.randn{3}, mw.randn{2,3}, {transpose_b=true})\n"
        "mw.matmul(mw.randn{2,1,2,3}, mw.randn{3,3,2})\n"
        "mw.matmul(mw.randn{2,3}, mw.randn{3,3,1})\n"
        "mw.matmul(mw.randn{3,2,4}, mw.randn{3,5,4}, {transpose_b=true})\n"
        "mw.matmul(mw.randn{2,4,3}, mw.randn{4,2}, {transpose_a=true})\n"
        "mw.matmul(mw.randn{0,3}, mw.randn{3,2})\n"
        "mw.matmul(mw.randn{2,0}, mw.randn{0,3})\n"
        "mw.matmul(mw.randn{0,2,3}, mw.randn{3,2})",
    .inputs = {{"a", .doc = "[.., m, k]"}, {"b", .doc = "[.., k, n]"}},
    .outputs = {{"y", .doc = "[.., m, n]"}},
    .attrs = schema,
    .attrs_size = sizeof(matmul_attrs),
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
    .flops = flops,
};

MW_PLUGIN(&matmul_op)
