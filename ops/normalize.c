/* normalize.c: tensors brought to mean 0 and variance 1: normalize, and batch_norm with its scale,
 * bias and running statistics. Both are in this one, long file because they share the kernel, and
 * an op's file shares nothing with others: batch_norm made of normalize would go over its tensors
 * several times more. layer_norm.c makes the other normalisations of normalize. */
#include <math.h>
#include <string.h>

#include "../graph/moonwalk.h"

enum {
  LANES = 32,   /* numbers side by side: a piece of a row, or the columns of a unit */
  GRAIN = 16384 /* numbers of a chunk, about */
};

/* ---- groups: the numbers that are normalised together ------------------------------------- */

/* A group is a position of `kept` and all positions of `gone`. The innermost axis is taken out of
 * the walk that had it. */
typedef struct layout {
  mw_walk kept, gone;
  int64_t inner;   /* its size */
  bool inner_gone; /* whether a group has rows of it; else neighbouring groups lie along it */
  int64_t groups;
  int64_t rows; /* positions of `gone` */
  double count; /* numbers in a group */
} layout;

/* Bit k of `axes` says that axis k goes. Sizes of 0 are for the caller to look out for. */
static layout layout_of(const mw_spec *x, unsigned axes) {
  layout l = {.inner_gone = true, .groups = 1, .count = 1};
  bool any = false;
  int64_t step = 1;
  for (int k = x->rank - 1; k >= 0; k--) {
    const bool gone = axes >> k & 1u;
    if (gone) l.count *= (double)x->shape[k];
    else l.groups *= x->shape[k];
    if (x->shape[k] == 1) continue;
    if (!any) l.inner_gone = gone;
    any = true;
    mw_walk_add(gone ? &l.gone : &l.kept, x->shape[k], step);
    step *= x->shape[k];
  }
  l.inner = mw_walk_inner(l.inner_gone ? &l.gone : &l.kept);
  l.rows = mw_walk_count(&l.gone);
  return l;
}

/* ---- the work ----------------------------------------------------------------------------- */

/* y = (x - mean) / sqrt(variance + eps) scale + bias, where every group has one of each; scale
 * and bias may be NULL. Backward, in a group of n numbers whose statistics are its own:
 *
 *   dx = a (dy - sum(dy)/n - h sum(dy h)/n) + dmean/n + dvariance 2 (x - mean)/n
 *
 * with a = scale / sqrt(variance + eps) and h the normalised x. Given statistics leave a dy. */
typedef struct job {
  layout l;
  bool given; /* the statistics are given, not the groups' own */
  double eps;
  const real *x, *scale, *bias;
  real *y;
  double *mean, *variance;         /* one for each group */
  const real *dy;                  /* backward; NULL for zeros */
  real *dx;                        /* may be NULL */
  double *sums;                    /* of each group: sum(dy), then of each sum(dy h) */
  const double *dmean, *dvariance; /* of each group, or NULL for zeros */
  int64_t units, grain;
} job;

/* One group with inner_gone, else up to LANES neighbours. What a lane has to do with numbers x:
 * it takes center off, and multiplies and adds. With one group, all lanes do the same. */
typedef struct unit {
  int64_t group, at; /* the first one, and where it begins in x */
  int64_t n;         /* groups */
  double center[LANES], factor[LANES], slope[LANES], offset[LANES];
  double sum[2][LANES];
} unit;

/* Pieces of n <= LANES numbers. Inlined where n is LANES, their loops are of known length. */
typedef void (*piece)(unit *u, int64_t n, const real *x, const real *dy, real *out);
#define PIECE static inline __attribute__((always_inline)) void

PIECE sum_piece(unit *u, int64_t n, const real *x, const real *dy, real *out) {
  (void)dy, (void)out;
  for (int64_t i = 0; i < n; i++) u->sum[0][i] += (double)x[i];
}

PIECE square_piece(unit *u, int64_t n, const real *x, const real *dy, real *out) {
  (void)dy, (void)out;
  for (int64_t i = 0; i < n; i++) {
    const double d = (double)x[i] - u->center[i];
    u->sum[0][i] += d * d;
  }
}

PIECE forward_piece(unit *u, int64_t n, const real *x, const real *dy, real *y) {
  (void)dy;
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    y[i] = (real)(((double)x[i] - u->center[i]) * u->factor[i] + u->offset[i]);
}

PIECE product_piece(unit *u, int64_t n, const real *x, const real *dy, real *out) {
  (void)out;
  for (int64_t i = 0; i < n; i++) {
    u->sum[0][i] += (double)dy[i];
    u->sum[1][i] += (double)dy[i] * ((double)x[i] - u->center[i]);
  }
}

PIECE backward_piece(unit *u, int64_t n, const real *x, const real *dy, real *dx) {
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    dx[i] = (real)((double)dy[i] * u->factor[i] + ((double)x[i] - u->center[i]) * u->slope[i] +
                   u->offset[i]);
}

/* Without dy. */
PIECE statistics_piece(unit *u, int64_t n, const real *x, const real *dy, real *dx) {
  (void)dy;
#pragma omp simd
  for (int64_t i = 0; i < n; i++)
    dx[i] = (real)(((double)x[i] - u->center[i]) * u->slope[i] + u->offset[i]);
}

/* All numbers of a unit, in pieces. */
static inline __attribute__((always_inline)) void each_piece(const job *j, unit *u, const real *dy,
                                                             real *out, piece run) {
  const layout *l = &j->l;
  const int64_t n = l->inner_gone ? l->inner : u->n;
  for (int64_t row = 0; row < l->rows; row++) {
    const int64_t end = u->at + mw_walk_at(&l->gone, row) + n;
    int64_t at = end - n;
    for (; at + LANES <= end; at += LANES)
      run(u, LANES, j->x + at, dy ? dy + at : NULL, out ? out + at : NULL);
    if (at < end) run(u, end - at, j->x + at, dy ? dy + at : NULL, out ? out + at : NULL);
  }
}

/* The sums, of the lanes together where these are of one group. */
static void gather(const job *j, unit *u, int which, double *to) {
  double *sum = u->sum[which];
  if (j->l.inner_gone) {
    for (int half = LANES / 2; half > 0; half /= 2)
      for (int i = 0; i < half; i++) sum[i] += sum[i + half];
  }
  for (int64_t i = 0; i < u->n; i++) to[u->group + i] = sum[i];
}

/* The group of lane i. */
static int64_t group_of(const job *j, const unit *u, int i) {
  return j->l.inner_gone ? u->group : u->group + (i < u->n ? i : u->n - 1);
}

static void statistics(const job *j, unit *u) {
  memset(u->sum, 0, sizeof u->sum);
  each_piece(j, u, NULL, NULL, sum_piece);
  gather(j, u, 0, j->mean);
  for (int64_t i = 0; i < u->n; i++) j->mean[u->group + i] /= j->l.count;
  for (int i = 0; i < LANES; i++) u->center[i] = j->mean[group_of(j, u, i)];
  memset(u->sum, 0, sizeof u->sum);
  each_piece(j, u, NULL, NULL, square_piece);
  gather(j, u, 0, j->variance);
  for (int64_t i = 0; i < u->n; i++) j->variance[u->group + i] /= j->l.count;
}

static double factor_of(const job *j, int64_t group) {
  return 1 / sqrt(j->variance[group] + j->eps);
}

static void forward_unit(const job *j, unit *u) {
  if (!j->given) statistics(j, u);
  for (int i = 0; i < LANES; i++) {
    const int64_t g = group_of(j, u, i);
    u->center[i] = j->mean[g];
    u->factor[i] = factor_of(j, g) * (j->scale ? (double)j->scale[g] : 1);
    u->offset[i] = j->bias ? (double)j->bias[g] : 0;
  }
  each_piece(j, u, NULL, j->y, forward_piece);
}

static void backward_unit(const job *j, unit *u) {
  double *sum_dy = j->sums, *sum_dy_h = j->sums + j->l.groups;
  for (int i = 0; i < LANES; i++) u->center[i] = j->mean[group_of(j, u, i)];
  memset(u->sum, 0, sizeof u->sum);
  if (j->dy) each_piece(j, u, j->dy, NULL, product_piece);
  gather(j, u, 0, sum_dy);
  gather(j, u, 1, sum_dy_h);
  for (int64_t g = u->group; g < u->group + u->n; g++) sum_dy_h[g] *= factor_of(j, g);
  if (!j->dx) return;
  for (int i = 0; i < LANES; i++) {
    const int64_t g = group_of(j, u, i);
    const double f = factor_of(j, g), a = f * (j->scale ? (double)j->scale[g] : 1);
    const double dmean = j->dmean ? j->dmean[g] : 0, dvariance = j->dvariance ? j->dvariance[g] : 0;
    u->factor[i] = a;
    u->slope[i] = j->given ? 0 : (2 * dvariance - a * f * sum_dy_h[g]) / j->l.count;
    u->offset[i] = j->given ? 0 : (dmean - a * sum_dy[g]) / j->l.count;
  }
  if (j->dy) each_piece(j, u, j->dy, j->dx, backward_piece);
  else each_piece(j, u, NULL, j->dx, statistics_piece);
}

static void run_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const layout *l = &j->l;
  const int64_t end = mw_chunk_end(j->units, j->grain, chunk);
  const int64_t across = l->inner_gone ? 1 : mw_chunks(l->inner, LANES); /* units along `inner` */
  (void)worker;
  for (int64_t k = chunk * j->grain; k < end; k++) {
    unit u = {.n = 1, .group = k, .at = mw_walk_at(&l->kept, k / across)};
    if (!l->inner_gone) {
      const int64_t column = k % across * LANES;
      u.group = k / across * l->inner + column;
      u.at += column;
      u.n = l->inner - column < LANES ? l->inner - column : LANES;
    }
    if (j->dx || j->sums) backward_unit(j, &u);
    else forward_unit(j, &u);
  }
}

/* x is not empty. */
static void run(const mw_call *call, job *j) {
  const layout *l = &j->l;
  const double unit_size = l->count * (l->inner_gone ? 1 : LANES);
  j->units = l->inner_gone ? l->groups : l->groups / l->inner * mw_chunks(l->inner, LANES);
  j->grain = unit_size < GRAIN ? (int64_t)(GRAIN / unit_size) : 1;
  mw_parallel(call, mw_chunks(j->units, j->grain), run_chunk, j);
}

/* ---- normalize ---------------------------------------------------------------------------- */

typedef struct normalize_attrs {
  mw_ints axes;
  double eps;
} normalize_attrs;

static const mw_attr normalize_schema[] = {
    {.name = "axes",
     .type = MW_AXES,
     .offset = offsetof(normalize_attrs, axes),
     .doc = "the axes of a group of numbers that are normalised together; none named: all",
     .initial = ""},
    {.name = "eps",
     .type = MW_FLOAT,
     .offset = offsetof(normalize_attrs, eps),
     .doc = "is added to the variance",
     .initial = "1e-5",
     .least = 0,
     .most = INFINITY},
    {0}};

/* Bytes of the statistics of all groups: a double for each mean, one for each variance. */
static size_t statistics_bytes(const mw_spec *x, unsigned axes) {
  return 2 * sizeof(double) * (size_t)layout_of(x, axes).groups;
}

static mw_status normalize_infer(mw_infer *it) {
  normalize_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0];
  if (mw_expect_reduced_axes(it, &attrs->axes)) return MW_FAILED;
  it->out[0] = it->out[1] = *x;
  for (int64_t i = 0; i < attrs->axes.count; i++) it->out[1].shape[attrs->axes.at[i]] = 1;
  it->out[2] = it->out[1];
  it->saved = statistics_bytes(x, mw_axes_bits(&attrs->axes));
  return MW_OK;
}

/* Forward: statistics that nobody saves. Backward: sums, and gradients of the statistics. */
static void normalize_workspace(const mw_call *call, mw_workspace *need) {
  const normalize_attrs *attrs = call->attrs;
  const size_t bytes = statistics_bytes(&call->in[0].spec, mw_axes_bits(&attrs->axes));
  need->call = call->backward ? 2 * bytes : bytes;
}

static job job_of(const mw_call *call, unsigned axes, double eps) {
  job j = {.l = layout_of(&call->in[0].spec, axes), .eps = eps, .x = call->in[0].data};
  j.mean = call->saved ? call->saved : call->scratch;
  j.variance = j.mean + j.l.groups;
  return j;
}

static mw_status normalize_forward(const mw_call *call) {
  const normalize_attrs *attrs = call->attrs;
  job j = job_of(call, mw_axes_bits(&attrs->axes), attrs->eps);
  real *mean = call->out[1].data, *variance = call->out[2].data;
  j.y = call->out[0].data;
  for (int64_t g = 0; g < call->out[1].count; g++) j.mean[g] = j.variance[g] = NAN;
  if (call->in[0].count > 0) run(call, &j);
  for (int64_t g = 0; g < call->out[1].count; g++) {
    mean[g] = (real)j.mean[g];
    variance[g] = (real)j.variance[g];
  }
  return MW_OK;
}

/* A gradient of every group as a double; NULL where none arrives. */
static const double *widened(const mw_array *d, double by, double *to) {
  if (!d->data) return NULL;
  for (int64_t g = 0; g < d->count; g++) to[g] = by * (double)((const real *)d->data)[g];
  return to;
}

static mw_status normalize_backward(const mw_call *call) {
  const normalize_attrs *attrs = call->attrs;
  if (!call->din[0].data || call->din[0].count == 0) return MW_OK;
  job j = job_of(call, mw_axes_bits(&attrs->axes), attrs->eps);
  j.sums = call->scratch;
  j.dy = call->dout[0].data;
  j.dx = call->din[0].data;
  j.dmean = widened(&call->dout[1], 1, j.sums + 2 * j.l.groups);
  j.dvariance = widened(&call->dout[2], 1, j.sums + 3 * j.l.groups);
  run(call, &j);
  return MW_OK;
}

/* ---- gradients out of other ops ----------------------------------------------------------- */

static mw_tensor *product(mw_build *g, mw_tensor *a, mw_tensor *b) {
  return mw_make2(g, "mul", a, b);
}

/* Of each group, with sizes of 1 where the group was; op is "mean" or "sum". */
static mw_tensor *over(mw_build *g, const char *op, const mw_ints *axes, mw_tensor *t) {
  const mw_setting settings[] = {mw_list("axes", (int)axes->count, axes->at),
                                 mw_bool("keepdims", true)};
  return mw_make(g, op, 1, &t, 2, settings);
}

static mw_tensor *sum_of(mw_build *g, mw_tensor *a, mw_tensor *b) {
  return a && b ? mw_make2(g, "add", a, b) : a ? a : b;
}

/* A group's own statistics, as tensors. */
typedef struct own {
  const mw_ints *axes;
  double count;
  mw_tensor *d, *factor, *h; /* x - mean; 1 / sqrt(variance + eps); normalised x */
} own;

/* The gradient that comes through the statistics and h, see job; dh, dmean and dvariance may be
 * NULL. */
static mw_tensor *through(mw_build *g, const own *o, mw_tensor *dh, mw_tensor *dmean,
                          mw_tensor *dvariance) {
  mw_tensor *dx = NULL, *count = mw_make_scalar(g, g->in[0], o->count);
  if (dh) {
    mw_tensor *along = product(g, o->h, over(g, "mean", o->axes, product(g, dh, o->h)));
    mw_tensor *rest =
        mw_make2(g, "sub", mw_make2(g, "sub", dh, over(g, "mean", o->axes, dh)), along);
    dx = product(g, rest, o->factor);
  }
  if (dvariance) {
    mw_tensor *twice = mw_make_scalar(g, g->in[0], 2);
    mw_tensor *share = mw_make2(g, "div", product(g, dvariance, twice), count);
    dx = sum_of(g, dx, product(g, o->d, share));
  }
  if (dmean) {
    mw_tensor *share = mw_make2(g, "div", dmean, count);
    dx = sum_of(g, dx, mw_make_like(g, "expand", share, g->in[0]));
  }
  return dx;
}

static mw_status normalize_gradient(mw_build *g) {
  const normalize_attrs *attrs = g->attrs;
  own o = {.axes = &attrs->axes, .count = 1};
  const mw_spec *x = g->host->tensor_spec(g->in[0]);
  for (int64_t i = 0; i < o.axes->count; i++) o.count *= (double)x->shape[o.axes->at[i]];
  o.d = mw_make2(g, "sub", g->in[0], g->out[1]);
  o.factor =
      mw_make1(g, "rsqrt", mw_make2(g, "add", g->out[2], mw_make_scalar(g, g->in[0], attrs->eps)));
  o.h = g->out[0];
  g->din[0] = through(g, &o, g->dout[0], g->dout[1], g->dout[2]);
  return MW_OK;
}

/* For each number: forward 1 for the mean, 3 for the variance, 2 to bring it there. Backward 3 for the
 * sums of dy and of dy times y, 5 for dx = factor (dy - mean(dy) - y mean(dy y)), y on the way. */
static double normalize_flops(const mw_call *call) {
  return (call->backward ? 8.0 : 6.0) * (double)call->in[0].count;
}

static const mw_op normalize_op = {
    .name = "normalize",
    .version = 1,
    .doc =
        "Brings groups of numbers to mean 0 and variance 1: y = (x - mean) / sqrt(variance + eps). "
        "A group is what lies along the axes. The variance is the biased one, mean((x - mean)^2); "
        "mean and variance have x's shape with sizes of 1 at the axes, and are NaN for groups of "
        "none.",
    .example = "mw.normalize(mw.randn{3,5}, {axes={2}})",
    .cases =
        "mw.normalize(mw.randn{3,2,4,5}, {axes={1,3,4}, eps=0.1})\n"
        "mw.normalize(mw.randn{2,3,4}, {axes={1,-1}})\n"
        "mw.normalize(mw.randn{7,3}, {axes={1}})\n"
        "mw.normalize(mw.randn{2,3,1,5}, {axes={2}})\n"
        "mw.normalize(mw.randn{5})\n"
        "mw.normalize(mw.randn{0,3}, {axes={2}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}, {"mean"}, {"variance"}},
    .attrs = normalize_schema,
    .attrs_size = sizeof(normalize_attrs),
    .flags = MW_INPLACE,
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_SAVED,
    .infer = normalize_infer,
    .forward = normalize_forward,
    .backward = normalize_backward,
    .gradient = normalize_gradient,
    .workspace = normalize_workspace,
    .flops = normalize_flops,
};

/* ---- batch_norm --------------------------------------------------------------------------- */

enum { X, SCALE, BIAS, RUNNING_MEAN, RUNNING_VAR }; /* the inputs */

typedef struct batch_norm_attrs {
  bool training;
  double eps, momentum;
} batch_norm_attrs;

static const mw_attr batch_norm_schema[] = {
    {.name = "training",
     .type = MW_BOOLEAN,
     .offset = offsetof(batch_norm_attrs, training),
     .doc = "take the batch's statistics instead of the running ones, and update these",
     .initial = "false"},
    {.name = "eps",
     .type = MW_FLOAT,
     .offset = offsetof(batch_norm_attrs, eps),
     .doc = "is added to the variance",
     .initial = "1e-5",
     .least = 0,
     .most = INFINITY},
    {.name = "momentum",
     .type = MW_FLOAT,
     .offset = offsetof(batch_norm_attrs, momentum),
     .doc = "the weight of the batch's statistics in the new running ones",
     .initial = "0.1",
     .least = 0,
     .most = 1},
    {0}};

/* All axes but the channels'. */
static unsigned batch_axes(const mw_spec *x) { return ((1u << x->rank) - 1) & ~2u; }

static mw_status check_channels(const mw_infer *it, int input) {
  const mw_spec *s = &it->in[input];
  char text[MW_SPEC_TEXT];
  if (!mw_present(s)) return MW_OK;
  if (mw_expect_same_dtype(it, input, X)) return MW_FAILED;
  if (s->rank == 1 && s->shape[0] == it->in[X].shape[1]) return MW_OK;
  return mw_fail(it, "%s is %s, expected [%lld], one for each channel of x",
                 it->op->inputs[input].name, it->host->spec_text(s, text),
                 (long long)it->in[X].shape[1]);
}

static mw_status batch_norm_infer(mw_infer *it) {
  const batch_norm_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[X];
  char text[MW_SPEC_TEXT];
  it->host->spec_text(x, text);
  if (x->rank < 2) return mw_fail(it, "x is %s, expected [batch, channels, ..]", text);
  for (int i = SCALE; i <= RUNNING_VAR; i++)
    if (check_channels(it, i)) return MW_FAILED;
  const bool given = mw_present(&it->in[RUNNING_MEAN]);
  if (given != mw_present(&it->in[RUNNING_VAR]))
    return mw_fail(it, "%s is there without %s", given ? "running_mean" : "running_var",
                   given ? "running_var" : "running_mean");
  if (!given && !attrs->training)
    return mw_fail(it,
                   "running_mean and running_var are missing; training = true takes the batch's "
                   "statistics instead");
  if (attrs->training && layout_of(x, batch_axes(x)).count == 1)
    return mw_fail(it, "x is %s: one number for each channel has no variance to train with", text);
  it->out[0] = *x;
  it->out[1] = it->out[2] = (mw_spec){.dtype = x->dtype, .rank = 1, .shape = {x->shape[1]}};
  it->saved = statistics_bytes(x, batch_axes(x));
  return MW_OK;
}

static void batch_norm_workspace(const mw_call *call, mw_workspace *need) {
  const mw_spec *x = &call->in[X].spec;
  const size_t bytes = statistics_bytes(x, batch_axes(x));
  need->call = call->backward ? 2 * bytes : bytes;
}

/* How much of the batch's statistics is in the new running ones: none where nothing is new. */
static double share_of_batch(const batch_norm_attrs *attrs, bool running, double count) {
  return !attrs->training || count == 0 ? 0 : running ? attrs->momentum : 1;
}

/* From the biased to the unbiased variance. */
static double unbiased(double count) { return count > 1 ? count / (count - 1) : 1; }

static job batch_norm_job(const mw_call *call) {
  const batch_norm_attrs *attrs = call->attrs;
  job j = job_of(call, batch_axes(&call->in[X].spec), attrs->eps);
  j.scale = call->in[SCALE].data;
  j.given = !attrs->training;
  return j;
}

static mw_status batch_norm_forward(const mw_call *call) {
  job j = batch_norm_job(call);
  const real *means = call->in[RUNNING_MEAN].data, *vars = call->in[RUNNING_VAR].data;
  const double share = share_of_batch(call->attrs, means != NULL, j.l.count);
  j.y = call->out[0].data;
  j.bias = call->in[BIAS].data;
  for (int64_t c = 0; c < j.l.groups; c++) {
    j.mean[c] = j.given ? (double)means[c] : NAN;
    j.variance[c] = j.given ? (double)vars[c] : NAN;
  }
  if (call->in[X].count > 0) run(call, &j);
  for (int64_t c = 0; c < j.l.groups; c++) {
    real *mean = (real *)call->out[1].data + c, *var = (real *)call->out[2].data + c;
    const double variance = j.variance[c] * unbiased(j.l.count);
    *mean = (real)(means ? share > 0 ? (1 - share) * (double)means[c] + share * j.mean[c]
                                     : (double)means[c]
                         : j.mean[c]);
    *var =
        (real)(vars ? share > 0 ? (1 - share) * (double)vars[c] + share * variance : (double)vars[c]
                    : variance);
  }
  return MW_OK;
}

/* The gradients of what there is one of for each channel. */
static void channel_gradients(const mw_call *call, const job *j, double share) {
  const real *new_mean = call->dout[1].data, *new_var = call->dout[2].data;
  real *scale = call->din[SCALE].data, *bias = call->din[BIAS].data;
  real *mean = call->din[RUNNING_MEAN].data, *var = call->din[RUNNING_VAR].data;
  for (int64_t c = 0; c < j->l.groups; c++) {
    const double sum = j->sums[c], sum_h = j->sums[j->l.groups + c], f = factor_of(j, c);
    const double a = f * (j->scale ? (double)j->scale[c] : 1);
    if (bias) bias[c] = (real)sum;
    if (scale) scale[c] = (real)sum_h;
    const double mean_y = j->given ? -a * sum : 0, var_y = j->given ? -a * f * sum_h / 2 : 0;
    if (mean) mean[c] = (real)(mean_y + (new_mean ? (1 - share) * (double)new_mean[c] : 0));
    if (var) var[c] = (real)(var_y + (new_var ? (1 - share) * (double)new_var[c] : 0));
  }
}

static mw_status batch_norm_backward(const mw_call *call) {
  job j = batch_norm_job(call);
  const bool running = mw_present(&call->in[RUNNING_MEAN].spec);
  const double share = share_of_batch(call->attrs, running, j.l.count);
  j.sums = call->scratch;
  j.dy = call->dout[0].data;
  j.dx = call->din[X].data;
  j.dmean = widened(&call->dout[1], share, j.sums + 2 * j.l.groups);
  j.dvariance = widened(&call->dout[2], share * unbiased(j.l.count), j.sums + 3 * j.l.groups);
  for (int64_t i = 0; i < 2 * j.l.groups; i++) j.sums[i] = 0;
  if (call->in[X].count > 0) run(call, &j);
  channel_gradients(call, &j, share);
  return MW_OK;
}

/* t [channels] as [1, channels, 1, ..]; NULL for NULL. */
static mw_tensor *along_channels(mw_build *g, mw_tensor *t) {
  const mw_spec *x = g->host->tensor_spec(g->in[X]);
  int64_t sizes[MW_MAX_RANK];
  for (int k = 0; k < x->rank; k++) sizes[k] = k == 1 ? x->shape[1] : 1;
  return t ? mw_make_shaped(g, "reshape", t, x->rank, sizes) : NULL;
}

static mw_tensor *sum_of_channels(mw_build *g, const mw_ints *axes, mw_tensor *t) {
  const mw_setting settings[] = {mw_list("axes", (int)axes->count, axes->at)};
  return mw_make(g, "sum", 1, &t, 1, settings);
}

static mw_tensor *times(mw_build *g, mw_tensor *t, double by) {
  return t && by != 0 ? product(g, t, mw_make_scalar(g, g->in[X], by)) : NULL;
}

/* The statistics that forward took, as tensors. */
static own statistics_of(mw_build *g, const mw_ints *axes, double count) {
  const batch_norm_attrs *attrs = g->attrs;
  own o = {.axes = axes, .count = count};
  mw_tensor *mean =
      attrs->training ? over(g, "mean", axes, g->in[X]) : along_channels(g, g->in[RUNNING_MEAN]);
  o.d = mw_make2(g, "sub", g->in[X], mean);
  mw_tensor *variance = attrs->training ? over(g, "mean", axes, product(g, o.d, o.d))
                                        : along_channels(g, g->in[RUNNING_VAR]);
  mw_tensor *eps = mw_make_scalar(g, g->in[X], attrs->eps);
  o.factor = mw_make1(g, "rsqrt", mw_make2(g, "add", variance, eps));
  o.h = product(g, o.d, o.factor);
  return o;
}

static mw_status batch_norm_gradient(mw_build *g) {
  const batch_norm_attrs *attrs = g->attrs;
  const mw_spec *x = g->host->tensor_spec(g->in[X]);
  mw_ints axes = {.count = 1, .at = {0}};
  for (int k = 2; k < x->rank; k++) axes.at[axes.count++] = k;
  const double count = layout_of(x, batch_axes(x)).count;
  const double share = share_of_batch(attrs, g->in[RUNNING_MEAN] != NULL, count);
  mw_tensor *dy = g->dout[0], *new_mean = g->dout[1], *new_var = g->dout[2];
  const own o = statistics_of(g, &axes, count);
  mw_tensor *dh = dy && g->in[SCALE] ? product(g, dy, along_channels(g, g->in[SCALE])) : dy;
  mw_tensor *straight = dh ? product(g, dh, o.factor) : NULL; /* as if statistics did not vary */
  g->din[X] = attrs->training
                  ? through(g, &o, dh, along_channels(g, times(g, new_mean, share)),
                            along_channels(g, times(g, new_var, share * unbiased(count))))
                  : straight;
  if (dy && g->wanted[SCALE]) g->din[SCALE] = sum_of_channels(g, &axes, product(g, dy, o.h));
  if (dy && g->wanted[BIAS]) g->din[BIAS] = sum_of_channels(g, &axes, dy);
  for (int i = RUNNING_MEAN; i <= RUNNING_VAR; i++) {
    if (!g->in[i] || !g->wanted[i]) continue;
    mw_tensor *from_y = NULL;
    if (straight && !attrs->training)
      from_y =
          i == RUNNING_MEAN
              ? times(g, sum_of_channels(g, &axes, straight), -1)
              : times(g, sum_of_channels(g, &axes, product(g, straight, product(g, o.h, o.factor))),
                      -0.5);
    g->din[i] = sum_of(g, times(g, i == RUNNING_MEAN ? new_mean : new_var, 1 - share), from_y);
  }
  return MW_OK;
}

/* Forward as normalize, and 2 for scale and bias; backward as normalize. With given statistics what is
 * left of that: forward 4, backward the 3 of the sums and the product that dx then is. */
static double batch_norm_flops(const mw_call *call) {
  const batch_norm_attrs *attrs = call->attrs;
  return (attrs->training ? 8.0 : 4.0) * (double)call->in[X].count;
}

static const mw_op batch_norm_op = {
    .name = "batch_norm",
    .version = 1,
    .doc =
        "Normalises every channel over the batch (Ioffe and Szegedy, 2015): y = (x - mean) / "
        "sqrt(variance + eps) * scale + bias. x is [n, channels, ..]. In training mean and biased "
        "variance are the batch's, and the new running statistics are (1 - momentum) running + "
        "momentum batch, with the unbiased variance; without running statistics they are the "
        "batch's. Otherwise the running ones are taken, and come out as they were. A batch of none "
        "leaves them as they were too.",
    .example =
        "mw.batch_norm(mw.randn{3,2,2,2}, mw.randn{2}, mw.randn{2}, mw.randn{2}, "
        "mw.uniform({2}, 0.5, 2), {training=true, momentum=0.3})",
    .cases =
        "mw.batch_norm(mw.randn{3,2,2,2}, mw.randn{2}, mw.randn{2}, mw.randn{2}, "
        "mw.uniform({2}, 0.5, 2), {training=false, eps=0.01})\n"
        "mw.batch_norm(mw.randn{5,3}, mw.randn{3}, nil, nil, nil, {training=true, eps=0.1})\n"
        "mw.batch_norm(mw.randn{2,1,4}, nil, mw.randn{1}, mw.randn{1}, mw.uniform({1}, 0.5, 2), "
        "{training=true})\n"
        "mw.batch_norm(mw.randn{2,3,1,3,1}, nil, nil, nil, nil, {training=true})\n"
        "mw.batch_norm(mw.randn{1,3}, nil, nil, mw.randn{3}, mw.uniform({3}, 0.5, 2))\n"
        "mw.batch_norm(mw.randn{0,3,2}, nil, nil, mw.randn{3}, mw.uniform({3}, 0.5, 2), "
        "{training=true})",
    .inputs = {{"x", .doc = "[batch, channels, ..]"},
               {"scale", MW_OPTIONAL, "[channels]"},
               {"bias", MW_OPTIONAL, "[channels]"},
               {"running_mean", MW_OPTIONAL, "[channels]"},
               {"running_var", MW_OPTIONAL, "[channels]"}},
    .outputs = {{"y"},
                {"new_mean", .doc = "[channels]: what running_mean becomes"},
                {"new_var", .doc = "[channels]: what running_var becomes"}},
    .attrs = batch_norm_schema,
    .attrs_size = sizeof(batch_norm_attrs),
    .backward_needs = MW_NEEDS_IN(X) | MW_NEEDS_IN(SCALE) | MW_NEEDS_SAVED,
    .infer = batch_norm_infer,
    .forward = batch_norm_forward,
    .backward = batch_norm_backward,
    .gradient = batch_norm_gradient,
    .workspace = batch_norm_workspace,
    .flops = batch_norm_flops,
};

MW_PLUGIN(&normalize_op, &batch_norm_op)
