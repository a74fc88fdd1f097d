/* random.c: Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#include <math.h>

#include "internal.h"

/* One block: words = Philox(key = seed, counter = counter). The constants are the paper's. */
void mw_philox(uint64_t seed, uint64_t counter, uint32_t words[4]) {
  uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
  uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = 0, c3 = 0;
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ key0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ key1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

void mw_seed(mw_context *ctx, uint64_t seed) { mw_random_restore(ctx, seed, 0); }

void mw_random_state(const mw_context *ctx, uint64_t *seed, uint64_t *position) {
  *seed = ctx->seed;
  *position = ctx->position;
}

void mw_random_restore(mw_context *ctx, uint64_t seed, uint64_t position) {
  ctx->seed = seed;
  ctx->position = position;
}

mw_status mw_random_key_next(mw_tensor *key) {
  mw_context *ctx = key->node->ctx;
  uint64_t *words = mw_leaf_write(key);
  if (!words) return MW_FAILED;
  words[0] = ctx->seed;
  words[1] = ctx->position;
  ctx->position += (uint64_t)key->node->draws;
  return MW_OK;
}

mw_tensor *mw_random_key(mw_context *ctx, int64_t draws) {
  mw_spec spec = mw_spec_of(MW_I64, 1, (int64_t[]){2});
  mw_tensor *key = mw_constant(ctx, &spec, NULL);
  if (!key) return NULL;
  key->node->draws = draws;
  if (!mw_random_key_next(key)) return key;
  mw_release(key);
  return NULL;
}

/* A number in [0, 1) with as many random bits as the dtype holds exactly, so that rounding never
 * makes a 1 of it. Each block of four words gives two. */
static double unit(mw_dtype dtype, uint32_t high, uint32_t low) {
  if (dtype == MW_F32) return (double)(high >> 8) * 0x1p-24;
  return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

static void store(mw_dtype dtype, void *data, int64_t i, double value) {
  if (dtype == MW_F64) ((double *)data)[i] = value;
  else ((float *)data)[i] = (float)value;
}

/* Adding low may round up to high, which is not to be drawn. */
static void store_below(mw_dtype dtype, void *data, int64_t i, double value, double high) {
  store(dtype, data, i, value);
  double *f64 = data;
  float *f32 = data;
  if (dtype == MW_F64 && f64[i] >= high) f64[i] = nextafter(f64[i], -INFINITY);
  if (dtype == MW_F32 && (double)f32[i] >= high) f32[i] = nextafterf(f32[i], -INFINITY);
}

void mw_random_uniform(mw_context *ctx, mw_dtype dtype, int64_t n, void *data, double low,
                       double high) {
  double top = low < high ? high : INFINITY; /* an empty range gives low */
  for (int64_t i = 0; i < n; i += 2) {
    uint32_t w[4];
    mw_philox(ctx->seed, ctx->position++, w);
    double a = low + (high - low) * unit(dtype, w[0], w[1]);
    double b = low + (high - low) * unit(dtype, w[2], w[3]);
    store_below(dtype, data, i, a, top);
    if (i + 1 < n) store_below(dtype, data, i + 1, b, top);
  }
}

/* Box and Muller (1958): two uniforms give two normals. 1 - u keeps the logarithm finite. */
void mw_random_normal(mw_context *ctx, mw_dtype dtype, int64_t n, void *data, double mean,
                      double deviation) {
  const double two_pi = 6.28318530717958647692;
  for (int64_t i = 0; i < n; i += 2) {
    uint32_t w[4];
    mw_philox(ctx->seed, ctx->position++, w);
    double radius = sqrt(-2 * log(1 - unit(MW_F64, w[0], w[1])));
    double angle = two_pi * unit(MW_F64, w[2], w[3]);
    store(dtype, data, i, mean + deviation * radius * cos(angle));
    if (i + 1 < n) store(dtype, data, i + 1, mean + deviation * radius * sin(angle));
  }
}

/* A number below n without bias: words that would favour small results are drawn again. */
static uint64_t below(mw_context *ctx, uint64_t n) {
  uint64_t refuse = (0 - n) % n; /* 2^64 mod n */
  for (;;) {
    uint32_t w[4];
    mw_philox(ctx->seed, ctx->position++, w);
    uint64_t word = ((uint64_t)w[0] << 32) | w[1];
    if (word >= refuse) return word % n;
  }
}

void mw_random_permutation(mw_context *ctx, int64_t n, int64_t *order) {
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t j = (int64_t)below(ctx, (uint64_t)i + 1);
    int64_t kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
}
