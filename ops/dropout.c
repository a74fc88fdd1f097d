/* dropout.c: sets random elements to 0, and scales the others so that the mean stays. */
#include <string.h>

#include "../graph/moonwalk.h"

enum { GRAIN = 16384 }; /* elements of a chunk; divisible by those of a block of words */

typedef struct dropout_attrs {
  double p;
  bool training;
} dropout_attrs;

static const mw_attr schema[] = {{.name = "p",
                                  .type = MW_FLOAT,
                                  .offset = offsetof(dropout_attrs, p),
                                  .doc = "the probability that an element becomes 0",
                                  .initial = "0.5",
                                  .least = 0,
                                  .most = 1},
                                 {.name = "training",
                                  .type = MW_BOOLEAN,
                                  .offset = offsetof(dropout_attrs, training),
                                  .doc = "false: y = x",
                                  .initial = "true"},
                                 {0}};

static mw_status infer(mw_infer *it) {
  if (mw_expect_key(it, 1)) return MW_FAILED;
  it->out[0] = it->in[0];
  return MW_OK;
}

/* ---- random words ------------------------------------------------------------------------- */

enum { LANES = 64 }; /* counters at a time */

/* What host->random gives for `counter` and the LANES - 1 that follow, word by word: Philox4x32-10
 * (Salmon et al., SC 2011), once more as loops over lanes that the compiler makes vectors of. That
 * is most of the time that this op takes. */
static void words_of(uint64_t seed, uint64_t counter, uint32_t words[4][LANES]) {
  uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint32_t c[4][LANES] = {{0}};
  for (int l = 0; l < LANES; l++) {
    c[0][l] = (uint32_t)(counter + (uint64_t)l);
    c[1][l] = (uint32_t)((counter + (uint64_t)l) >> 32);
  }
  for (int round = 0; round < 10; round++) {
    for (int l = 0; l < LANES; l++) {
      const uint64_t p = (uint64_t)0xD2511F53u * c[0][l], q = (uint64_t)0xCD9E8D57u * c[2][l];
      c[0][l] = (uint32_t)(q >> 32) ^ c[1][l] ^ key[0];
      c[2][l] = (uint32_t)(p >> 32) ^ c[3][l] ^ key[1];
      c[1][l] = (uint32_t)q;
      c[3][l] = (uint32_t)p;
    }
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  memcpy(words, c, sizeof c);
}

/* ---- elements ----------------------------------------------------------------------------- */

typedef struct drop_job {
  const mw_call *call;
  const real *from;
  real *to;
  int64_t count;
  uint64_t seed, position;
} drop_job;

/* Element i takes word i mod 4 of the generator at counter position + floor(i / 4). */
static void drop_chunk(void *arg, int64_t chunk, int worker) {
  enum { BLOCK = 4 * LANES };
  const drop_job *job = arg;
  const dropout_attrs *attrs = job->call->attrs;
  const int64_t end = mw_chunk_end(job->count, GRAIN, chunk);
  const uint64_t dropped = (uint64_t)(attrs->p * 0x1p32); /* words below it: all 2^32 when p is 1 */
  const real scale = attrs->p < 1 ? (real)(1 / (1 - attrs->p)) : 0;
  (void)worker;
  for (int64_t first = chunk * GRAIN; first < end; first += BLOCK) {
    uint32_t words[4][LANES];
    real mask[BLOCK]; /* factors and no branch, which the processor could not foresee */
    words_of(job->seed, job->position + (uint64_t)first / 4, words);
    for (int l = 0; l < LANES; l++)
      for (int w = 0; w < 4; w++) mask[4 * l + w] = words[w][l] < dropped ? 0 : scale;
    const int n = end - first < BLOCK ? (int)(end - first) : BLOCK;
    for (int i = 0; i < n; i++) job->to[first + i] = mask[i] * job->from[first + i];
  }
}

/* The same in both directions: to = from * mask / (1 - p). */
static mw_status drop(const mw_call *call, const mw_array *from, const mw_array *to) {
  const dropout_attrs *attrs = call->attrs;
  const int64_t *key = call->in[1].data;
  drop_job job = {.call = call,
                  .from = from->data,
                  .to = to->data,
                  .count = to->count,
                  .seed = (uint64_t)key[0],
                  .position = (uint64_t)key[1]};
  if (to->count == 0) return MW_OK;
  if (attrs->training && attrs->p > 0)
    mw_parallel(call, mw_chunks(job.count, GRAIN), drop_chunk, &job);
  else memmove(to->data, from->data, (size_t)to->count * sizeof(real));
  return MW_OK;
}

static mw_status forward(const mw_call *call) { return drop(call, &call->in[0], &call->out[0]); }

static mw_status backward(const mw_call *call) { return drop(call, &call->dout[0], &call->din[0]); }

static const mw_op dropout_op = {
    .name = "dropout",
    .version = 1,
    .doc =
        "Sets random elements to 0 and scales the others: y = x mask / (1 - p).\n\n"
        "mask is 0 with probability p, else 1, and is a function of the key, which backward draws "
        "again from: nothing is kept. Without a key a new one is drawn from the generator "
        "(mw.seed), and again at each run of a compiled function. With training = false or p = 0 "
        "y is x, with p = 1 it is 0. NaN and infinity times 0 are NaN. Source: "
        "Srivastava et al., \"Dropout: a simple way to prevent neural networks from overfitting\", "
        "2014.",
    .example = "mw.dropout(mw.randn{2,3}, mw.tensor({7, 1}, 'i64'))",
    .cases =
        "mw.dropout(mw.randn{3,1,5}, mw.tensor({-3, 50}, 'i64'), {p=0.25})\n"
        "mw.dropout(mw.randn{7}, mw.tensor({7, 1}, 'i64'), {p=1})\n"
        "mw.dropout(mw.randn{3,3}, mw.tensor({7, 1}, 'i64'), {p=0})\n"
        "mw.dropout(mw.randn{3,3}, mw.tensor({7, 1}, 'i64'), {p=0.5, training=false})\n"
        "mw.dropout(mw.randn{0,3}, mw.tensor({7, 1}, 'i64'))",
    .inputs = {{"x"},
               {"key", MW_OPTIONAL | MW_KEY,
                "a random key, i64[2] of {seed, position}; drawn when it is left out"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(dropout_attrs),
    .flags = MW_LINEAR | MW_INPLACE,
    .backward_needs = MW_NEEDS_IN(1),
    .infer = infer,
    .forward = forward,
    .backward = backward,
};

MW_PLUGIN(&dropout_op)
