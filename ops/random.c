/* random.c: random numbers as ops: functions of a key {seed, position}, whatever the threads. */
/* real: f32 */
#include <math.h>
#include <string.h>

#include "../graph/moonwalk.h"

/* The bits are Philox4x32-10, a function of the seed and a counter (Salmon, Moraes, Dror and Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Element i draws at counter position + i,
 * or, where a word is enough for it, takes word i mod 4 of counter position + floor(i / 4). */

enum { GRAIN = 4096 }; /* elements of a chunk; divisible by 4 */
#define TWO_TO_32 4294967296.0

typedef struct random_attrs {
  mw_ints shape;
  double a, b; /* low and high, mean and deviation, or p */
  int dtype;   /* a position in TYPES */
  int64_t n;
} random_attrs;

#define TYPES "f32|f64"
static const mw_dtype types[] = {MW_F32, MW_F64};

#define SHAPE(text, value)                                                                  \
  {                                                                                         \
    .name = "shape", .type = MW_INTS, .offset = offsetof(random_attrs, shape), .doc = text, \
    .initial = value, .least = 0, .most = 1e15                                              \
  }
#define NUMBER(title, field, text, value, low, high)                                       \
  {                                                                                        \
    .name = title, .type = MW_FLOAT, .offset = offsetof(random_attrs, field), .doc = text, \
    .initial = value, .least = low, .most = high                                           \
  }
#define DTYPE                                                                    \
  {                                                                              \
    .name = "dtype", .type = MW_CHOICE, .offset = offsetof(random_attrs, dtype), \
    .doc = "the dtype of the result", .initial = "f32", .choices = TYPES         \
  }
#define KEY                                                                   \
  {                                                                           \
    "key", MW_OPTIONAL | MW_KEY,                                              \
        "a random key, i64[2] of {seed, position}; drawn when it is left out" \
  }

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status set_shape(mw_infer *it) {
  const random_attrs *attrs = it->attrs;
  const mw_ints *shape = &attrs->shape;
  if (shape->count > MW_MAX_RANK)
    return mw_fail(it, "shape has %lld axes, at most %d are possible", (long long)shape->count,
                   MW_MAX_RANK);
  it->out[0] = (mw_spec){.dtype = types[attrs->dtype], .rank = (int)shape->count};
  memcpy(it->out[0].shape, shape->at, (size_t)shape->count * sizeof *shape->at);
  return MW_OK;
}

static mw_status uniform_infer(mw_infer *it) {
  const random_attrs *attrs = it->attrs;
  if (mw_expect_key(it, 0)) return MW_FAILED;
  if (!(attrs->a <= attrs->b) || !isfinite(attrs->b - attrs->a))
    return mw_fail(it, "low is %g and high is %g, expected finite numbers, low not above high",
                   attrs->a, attrs->b);
  return set_shape(it);
}

static mw_status normal_infer(mw_infer *it) {
  const random_attrs *attrs = it->attrs;
  if (mw_expect_key(it, 0)) return MW_FAILED;
  if (!(attrs->b >= 0) || !isfinite(attrs->a) || !isfinite(attrs->b))
    return mw_fail(it,
                   "mean is %g and deviation is %g, expected finite numbers, the second not "
                   "below 0",
                   attrs->a, attrs->b);
  return set_shape(it);
}

static mw_status bernoulli_infer(mw_infer *it) {
  const random_attrs *attrs = it->attrs;
  const mw_spec *p = &it->in[0];
  char text[MW_SPEC_TEXT];
  if (mw_expect_key(it, 1)) return MW_FAILED;
  if (!mw_present(p)) return set_shape(it);
  if (mw_expect_float(it, 0)) return MW_FAILED;
  if (attrs->shape.count)
    return mw_fail(it, "shape is given beside probabilities, whose shape the result has: %s",
                   it->host->spec_text(p, text));
  it->out[0] = *p;
  return MW_OK;
}

static mw_status permutation_infer(mw_infer *it) {
  const random_attrs *attrs = it->attrs;
  if (mw_expect_key(it, 0)) return MW_FAILED;
  it->out[0] = (mw_spec){.dtype = MW_I64, .rank = 1, .shape = {attrs->n}};
  return MW_OK;
}

/* ---- elements ----------------------------------------------------------------------------- */

typedef struct draw {
  const mw_call *call;
  uint64_t seed, position;
  /* n numbers from element `first` on */
  void (*fill)(const struct draw *d, int64_t first, int n, double *values);
} draw;

static void words_at(const draw *d, int64_t i, uint32_t words[4]) {
  d->call->host->random(d->seed, d->position + (uint64_t)i, words);
}

/* In [0, 1), with as many bits as the dtype holds exactly, so that rounding makes no 1 of it. */
static double unit(mw_dtype dtype, uint32_t high, uint32_t low) {
  if (dtype == MW_F32) return (double)(high >> 8) * 0x1p-24;
  return (double)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

/* Adding low may round up to high, which is not to be drawn. */
static double below(mw_dtype dtype, double value, double high) {
  if (dtype == MW_F64) return value < high ? value : nextafter(high, -INFINITY);
  return (double)(float)value < high ? value : (double)nextafterf((float)high, -INFINITY);
}

static void fill_uniform(const draw *d, int64_t first, int n, double *values) {
  const random_attrs *attrs = d->call->attrs;
  const mw_dtype dtype = d->call->out[0].spec.dtype;
  for (int i = 0; i < n; i++) {
    uint32_t w[4];
    words_at(d, first + i, w);
    values[i] = attrs->a + (attrs->b - attrs->a) * unit(dtype, w[0], w[1]);
    if (attrs->a < attrs->b) values[i] = below(dtype, values[i], attrs->b);
  }
}

/* Box and Muller (1958). 1 - u keeps the logarithm finite. */
static void fill_normal(const draw *d, int64_t first, int n, double *values) {
  const random_attrs *attrs = d->call->attrs;
  for (int i = 0; i < n; i++) {
    uint32_t w[4];
    words_at(d, first + i, w);
    const double radius = sqrt(-2 * log(1 - unit(MW_F64, w[0], w[1])));
    const double angle = 6.28318530717958647692 * unit(MW_F64, w[2], w[3]);
    values[i] = attrs->a + attrs->b * radius * cos(angle);
  }
}

static double load(const mw_array *t, int64_t i) {
  return t->spec.dtype == MW_F64 ? ((const double *)t->data)[i]
                                 : (double)((const float *)t->data)[i];
}

static void fill_bernoulli(const draw *d, int64_t first, int n, double *values) {
  const random_attrs *attrs = d->call->attrs;
  const mw_array *p = &d->call->in[0];
  uint32_t w[4];
  for (int i = 0; i < n; i++) {
    if (i % 4 == 0) words_at(d, (first + i) / 4, w);
    values[i] = w[i % 4] < (p->data ? load(p, first + i) : attrs->a) * TWO_TO_32;
  }
}

static void draw_chunk(void *arg, int64_t chunk, int worker) {
  enum { BLOCK = 256 };
  const draw *d = arg;
  const mw_array *y = &d->call->out[0];
  const int64_t end = mw_chunk_end(y->count, GRAIN, chunk);
  double values[BLOCK];
  (void)worker;
  for (int64_t first = chunk * GRAIN; first < end; first += BLOCK) {
    const int n = (int)mw_chunk_end(end - first, BLOCK, 0);
    d->fill(d, first, n, values);
    if (y->spec.dtype == MW_F64) memcpy((double *)y->data + first, values, (size_t)n * 8);
    else
      for (int i = 0; i < n; i++) ((float *)y->data)[first + i] = (float)values[i];
  }
}

static draw draw_at(const mw_call *call, const mw_array *key) {
  const int64_t *words = key->data;
  return (draw){.call = call, .seed = (uint64_t)words[0], .position = (uint64_t)words[1]};
}

static mw_status fill_all(const mw_call *call, int key,
                          void (*fill)(const draw *d, int64_t first, int n, double *values)) {
  draw d = draw_at(call, &call->in[key]);
  d.fill = fill;
  mw_parallel(call, mw_chunks(call->out[0].count, GRAIN), draw_chunk, &d);
  return MW_OK;
}

static mw_status uniform_forward(const mw_call *call) { return fill_all(call, 0, fill_uniform); }

static mw_status normal_forward(const mw_call *call) { return fill_all(call, 0, fill_normal); }

static mw_status bernoulli_forward(const mw_call *call) {
  const mw_array *p = &call->in[0];
  for (int64_t i = 0; p->data && i < p->count; i++) {
    const double value = load(p, i);
    if (!(value >= 0 && value <= 1))
      return mw_fail(call, "probabilities has the element %g, expected 0 to 1", value);
  }
  return fill_all(call, 1, fill_bernoulli);
}

/* A number below n. Words that would favour small results are passed over: the second pair is as
 * good as the first, and that it is refused too has a chance of less than (n / 2^64)^2. */
static int64_t index_below(const draw *d, int64_t i, uint64_t n) {
  uint32_t w[4];
  words_at(d, i, w);
  const uint64_t first = ((uint64_t)w[0] << 32) | w[1], second = ((uint64_t)w[2] << 32) | w[3];
  return (int64_t)((first >= (0 - n) % n ? first : second) % n);
}

/* Fisher and Yates: each place in turn, from the last, takes one of those that are left. */
static mw_status permutation_forward(const mw_call *call) {
  const draw d = draw_at(call, &call->in[0]);
  const int64_t n = call->out[0].count;
  int64_t *order = call->out[0].data;
  for (int64_t i = 0; i < n; i++) order[i] = i;
  for (int64_t i = n - 1; i > 0; i--) {
    const int64_t j = index_below(&d, i, (uint64_t)i + 1), kept = order[i];
    order[i] = order[j];
    order[j] = kept;
  }
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

static const mw_attr uniform_schema[] = {SHAPE("the shape of the result", NULL),
                                         NUMBER("low", a, "the least number", "0", 0, 0),
                                         NUMBER("high", b, "above all numbers", "1", 0, 0),
                                         DTYPE,
                                         {0}};

static const mw_op uniform_op = {
    .name = "random_uniform",
    .version = 1,
    .doc =
        "Random numbers, uniform in [low, high).\n\n"
        "Element i is a function of the key and of i alone, by Philox4x32-10 (Salmon et al., "
        "2011). Without a key a new one is drawn from the generator (mw.seed), and again at each "
        "run of a compiled function. low = high gives that number.",
    .example = "mw.random_uniform(mw.tensor({7, 1}, 'i64'), {shape={2,3}})",
    .cases =
        "mw.random_uniform(mw.tensor({-3, 50}, 'i64'), {shape={3,1,5}, low=-2, high=0.5})\n"
        "mw.random_uniform(mw.tensor({7, 1}, 'i64'), {shape={9}, dtype='f64'})\n"
        "mw.random_uniform(mw.tensor({7, 1}, 'i64'), {shape={}, low=2, high=2})\n"
        "mw.random_uniform(mw.tensor({7, 1}, 'i64'), {shape={0,3}})",
    .inputs = {KEY},
    .outputs = {{"y"}},
    .attrs = uniform_schema,
    .attrs_size = sizeof(random_attrs),
    .flags = MW_ANY_DTYPE,
    .infer = uniform_infer,
    .forward = uniform_forward,
};

static const mw_attr normal_schema[] = {
    SHAPE("the shape of the result", NULL),
    NUMBER("mean", a, "the mean", "0", 0, 0),
    NUMBER("deviation", b, "the standard deviation, 0 or more", "1", 0, 0),
    DTYPE,
    {0}};

static const mw_op normal_op = {
    .name = "random_normal",
    .version = 1,
    .doc =
        "Random numbers, normal with a mean and a standard deviation.\n\n"
        "Element i is a function of the key and of i alone, by the transform of Box and Muller "
        "(1958) of Philox4x32-10. Without a key a new one is drawn from the generator (mw.seed), "
        "and again at each run of a compiled function.",
    .example = "mw.random_normal(mw.tensor({7, 1}, 'i64'), {shape={2,3}})",
    .cases =
        "mw.random_normal(mw.tensor({-3, 50}, 'i64'), {shape={3,1,5}, mean=-2, deviation=0.5})\n"
        "mw.random_normal(mw.tensor({7, 1}, 'i64'), {shape={9}, dtype='f64'})\n"
        "mw.random_normal(mw.tensor({7, 1}, 'i64'), {shape={}, mean=2, deviation=0})\n"
        "mw.random_normal(mw.tensor({7, 1}, 'i64'), {shape={0,3}})",
    .inputs = {KEY},
    .outputs = {{"y"}},
    .attrs = normal_schema,
    .attrs_size = sizeof(random_attrs),
    .flags = MW_ANY_DTYPE,
    .infer = normal_infer,
    .forward = normal_forward,
};

/* least and most both 0 would mean no bounds. */
static const mw_attr bernoulli_schema[] = {
    NUMBER("p", a, "the probability of 1, without probabilities", "0.5", 0, 1),
    SHAPE("the shape of the result, without probabilities", ""),
    DTYPE,
    {0}};

static const mw_op bernoulli_op = {
    .name = "random_bernoulli",
    .version = 1,
    .doc =
        "1 with a probability p, else 0: one p for all, or a tensor of probabilities.\n\n"
        "probabilities gives the result's shape and dtype; numbers outside [0, 1] and NaN are an "
        "error. Its gradient is 0. Element i is a function of the key, of i and of its p alone; "
        "p is rounded up to a multiple of 2^-32. Without a key a new one is drawn from the "
        "generator (mw.seed), and again at each run of a compiled function.",
    .example = "mw.random_bernoulli(mw.uniform({2,3}, 0.2, 0.8), mw.tensor({7, 1}, 'i64'))",
    .cases =
        "mw.random_bernoulli(nil, mw.tensor({-3, 50}, 'i64'), {p=0.3, shape={3,1,5}})\n"
        "mw.random_bernoulli(nil, mw.tensor({7, 1}, 'i64'), {p=1, shape={9}, dtype='f64'})\n"
        "mw.random_bernoulli(mw.uniform({5,3}, 0.2, 0.8), mw.tensor({7, 1}, 'i64'))\n"
        "mw.random_bernoulli(mw.zeros{0,3}, mw.tensor({7, 1}, 'i64'))",
    .inputs = {{"probabilities", MW_OPTIONAL}, KEY},
    .outputs = {{"y"}},
    .attrs = bernoulli_schema,
    .attrs_size = sizeof(random_attrs),
    .flags = MW_ANY_DTYPE,
    .infer = bernoulli_infer,
    .forward = bernoulli_forward,
    .derivative = {"0"},
};

static const mw_attr permutation_schema[] = {{.name = "n",
                                              .type = MW_INT,
                                              .offset = offsetof(random_attrs, n),
                                              .doc = "how many numbers",
                                              .least = 0,
                                              .most = 1e15},
                                             {0}};

static const mw_op permutation_op = {
    .name = "random_permutation",
    .version = 1,
    .doc =
        "The numbers 0 to n - 1 in random order, i64[n].\n\n"
        "All orders are equally likely (Fisher and Yates). The order is a function of the key; "
        "without one a new one is drawn from the generator (mw.seed), and again at each run of a "
        "compiled function.",
    .example = "mw.random_permutation(mw.tensor({7, 1}, 'i64'), {n=5})",
    .cases =
        "mw.random_permutation(mw.tensor({-3, 50}, 'i64'), {n=17})\n"
        "mw.random_permutation(mw.tensor({7, 1}, 'i64'), {n=1})\n"
        "mw.random_permutation(mw.tensor({7, 1}, 'i64'), {n=0})",
    .inputs = {KEY},
    .outputs = {{"order"}},
    .attrs = permutation_schema,
    .attrs_size = sizeof(random_attrs),
    .flags = MW_ANY_DTYPE,
    .infer = permutation_infer,
    .forward = permutation_forward,
};

MW_PLUGIN(&uniform_op, &normal_op, &bernoulli_op, &permutation_op)
