/* triangle.c: a matrix with zeros above or below a diagonal. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

enum { GRAIN = 16384 }; /* elements of a chunk, about */

typedef struct triangle_attrs {
  int64_t k;
} triangle_attrs;

static mw_status infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  if (it->in[0].rank < 2)
    return mw_fail(it, "x is %s, expected a matrix, or a batch of matrices in its last two axes",
                   it->host->spec_text(&it->in[0], text));
  it->out[0] = it->in[0];
  return MW_OK;
}

typedef struct job {
  const mw_call *call;
  bool lower;
  int64_t k, rows, columns, all_rows, grain;
  size_t element;
} job;

static void chunk_forward(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const int64_t end = mw_chunk_end(j->all_rows, j->grain, chunk), columns = j->columns;
  const size_t e = j->element;
  (void)worker;
  for (int64_t row = chunk * j->grain; row < end; row++) {
    /* the first column that is above the diagonal (lower), or on it */
    int64_t cut = row % j->rows + j->k + j->lower;
    cut = cut < 0 ? 0 : cut > columns ? columns : cut;
    const size_t left = (size_t)cut * e, right = (size_t)(columns - cut) * e;
    const char *x = (const char *)j->call->in[0].data + (size_t)(row * columns) * e;
    char *y = (char *)j->call->out[0].data + (size_t)(row * columns) * e;
    if (j->lower) {
      memcpy(y, x, left);
      memset(y + left, 0, right);
    } else {
      memset(y, 0, left);
      memcpy(y + left, x + left, right);
    }
  }
}

static mw_status forward(const mw_call *call, bool lower) {
  const mw_spec *x = &call->in[0].spec;
  if (call->out[0].count == 0) return MW_OK;
  job j = {.call = call,
           .lower = lower,
           .k = ((const triangle_attrs *)call->attrs)->k,
           .rows = x->shape[x->rank - 2],
           .columns = x->shape[x->rank - 1],
           .element = mw_element_size(x->dtype)};
  j.all_rows = call->out[0].count / j.columns;
  j.grain = j.columns < GRAIN ? GRAIN / j.columns : 1;
  mw_parallel(call, mw_chunks(j.all_rows, j.grain), chunk_forward, &j);
  return MW_OK;
}

static mw_status tril_forward(const mw_call *call) { return forward(call, true); }
static mw_status triu_forward(const mw_call *call) { return forward(call, false); }

/* Each is its own gradient. */
static mw_status gradient(mw_build *g) {
  const mw_setting k = mw_int("k", ((const triangle_attrs *)g->attrs)->k);
  g->din[0] = mw_make(g, g->op->name, 1, g->dout, 1, &k);
  return MW_OK;
}

static const mw_attr schema[] = {
    {.name = "k",
     .type = MW_INT,
     .offset = offsetof(triangle_attrs, k),
     .doc = "the diagonal: 0 the main one, above 0 further right, below 0 further down",
     .initial = "0",
     .least = -1e15,
     .most = 1e15},
    {0}};

#define CASES(op)                 \
  "mw." op                        \
  "(mw.randn{3,5}, {k=1})\n"      \
  "mw." op                        \
  "(mw.randn{5,3}, {k=-2})\n"     \
  "mw." op                        \
  "(mw.randn{2,1,3,3}, {k=-1})\n" \
  "mw." op                        \
  "(mw.randn{1,1}, {k=7})\n"      \
  "mw." op                        \
  "(mw.randn{2,3}, {k=-7})\n"     \
  "mw." op "(mw.randn{2,0,3})"

#define SHARED                                                                             \
  .version = 1, .inputs = {{"x"}}, .outputs = {{"y"}}, .attrs = schema,                    \
  .attrs_size = sizeof(triangle_attrs), .flags = MW_ANY_DTYPE | MW_LINEAR, .infer = infer, \
  .gradient = gradient

static const mw_op tril_op = {
    .name = "tril",
    .doc = "The lower triangle of a matrix [.., m, n]: y[i, j] = x[i, j] where j <= i + k, else 0.",
    .example = "mw.tril(mw.randn{3,3})",
    .cases = CASES("tril"),
    .forward = tril_forward,
    SHARED,
};

static const mw_op triu_op = {
    .name = "triu",
    .doc = "The upper triangle of a matrix [.., m, n]: y[i, j] = x[i, j] where j >= i + k, else 0.",
    .example = "mw.triu(mw.randn{3,3})",
    .cases = CASES("triu"),
    .forward = triu_forward,
    SHARED,
};

MW_PLUGIN(&tril_op, &triu_op)
