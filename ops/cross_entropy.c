/* cross_entropy.c: the losses of a classifier by labels: from logits, cross_entropy, or from
 * logarithms of probabilities, nll. */
#include <stdio.h>
#include <string.h>

#include "../graph/vector_math.h"

/* With p = softmax(x) along the classes, label t, class weights w and smoothing e, an element
 * costs -sum over c of q[c] ln p[c], where q[c] = (1 - e) w[t] [c = t] + (e / C) w[c]. Its
 * gradient in x[c] is p[c] sum(q) - q[c]. The mean divides by the sum of the elements' w[t].
 * Elements whose label is ignore_index cost nothing and do not count. These are PyTorch's rules. */

typedef struct cross_entropy_attrs {
  int64_t axis, ignore_index;
  int reduction;
  double label_smoothing;
} cross_entropy_attrs;

enum { MEAN, SUM, NONE };
enum { GRAIN = 4096 }; /* logits of a chunk, about */

#define AXIS MW_ATTR(cross_entropy_attrs, axis, MW_AXIS, "1", "the axis of the classes")
#define REDUCTION                                            \
  MW_ATTR(cross_entropy_attrs, reduction, MW_CHOICE, "mean", \
          "what becomes of the elements' losses", .choices = "mean|sum|none")
#define IGNORE_INDEX                                         \
  MW_ATTR(cross_entropy_attrs, ignore_index, MW_INT, "-100", \
          "the label of elements that do not count")

static const mw_attr cross_entropy_schema[] = {
    AXIS,
    REDUCTION,
    {.name = "label_smoothing",
     .type = MW_FLOAT,
     .offset = offsetof(cross_entropy_attrs, label_smoothing),
     .doc = "how much of the weight goes to all classes evenly",
     .initial = "0",
     .least = 0,
     .most = 1},
    IGNORE_INDEX,
    {0}};
static const mw_attr nll_schema[] = {AXIS, REDUCTION, IGNORE_INDEX, {0}};

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status labels_infer(mw_infer *it) {
  cross_entropy_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0], *labels = &it->in[1], *weight = &it->in[2];
  char text_x[MW_SPEC_TEXT], text[MW_SPEC_TEXT];
  it->host->spec_text(x, text_x);
  it->host->spec_text(labels, text);
  if (mw_expect_axis(it, "axis", &attrs->axis, x->rank)) return MW_FAILED;
  const int64_t axis = attrs->axis;
  mw_spec rest = {.dtype = labels->dtype, .rank = x->rank - 1};
  for (int k = 0; k < rest.rank; k++) rest.shape[k] = x->shape[k < axis ? k : k + 1];
  if (labels->dtype == x->dtype && memcmp(labels, x, sizeof *x) == 0)
    return mw_fail(it,
                   "labels is %s, a number for each class; expected the class, counted from 0, "
                   "in i64: labels:argmax(%d) of one-hot labels",
                   text, (int)axis + 1);
  if (labels->dtype != MW_I64 && labels->dtype != MW_I32 && labels->dtype != MW_U8)
    return mw_fail(it, "labels is %s, expected i64, i32 or u8; use :cast \"i64\"", text);
  if (memcmp(labels, &rest, sizeof rest) != 0) {
    char expected[MW_SPEC_TEXT];
    return mw_fail(it, "labels is %s, expected %s: x is %s, without its axis of %lld classes", text,
                   it->host->spec_text(&rest, expected), text_x, (long long)x->shape[axis]);
  }
  if (x->shape[axis] == 0) return mw_fail(it, "x is %s and has no classes", text_x);
  if (mw_present(weight)) {
    if (mw_expect_same_dtype(it, 2, 0)) return MW_FAILED;
    if (weight->rank != 1 || weight->shape[0] != x->shape[axis])
      return mw_fail(it, "class_weight is %s, expected [%lld], one for each class of x",
                     it->host->spec_text(weight, text), (long long)x->shape[axis]);
  }
  it->out[0] = rest;
  it->out[0].dtype = x->dtype;
  if (attrs->reduction != NONE) it->out[0] = (mw_spec){.dtype = x->dtype};
  return MW_OK;
}

static mw_status cross_entropy_infer(mw_infer *it) {
  const mw_spec *x = &it->in[0];
  if (labels_infer(it)) return MW_FAILED;
  /* The probabilities; their size was checked when x was made. */
  it->saved = mw_element_size(x->dtype);
  for (int k = 0; k < x->rank; k++) it->saved *= (size_t)x->shape[k];
  return MW_OK;
}

/* ---- the loop over elements --------------------------------------------------------------- */

/* x is [outer, classes, inner]; element i is the pair (i / inner, i % inner). */
typedef struct job {
  const mw_call *call;
  bool nll; /* x holds the logarithms of probabilities already */
  int64_t classes, inner, elements, grain, ignore_index;
  real smoothing;
  const real *weight; /* of the classes, or NULL */
  real weight_sum;    /* of all classes */
  real *losses;       /* forward: one for each element */
  real scale;         /* backward: of every element */
} job;

static int64_t label_of(const mw_array *labels, int64_t i) {
  if (labels->spec.dtype == MW_I64) return ((const int64_t *)labels->data)[i];
  if (labels->spec.dtype == MW_I32) return ((const int32_t *)labels->data)[i];
  return ((const uint8_t *)labels->data)[i];
}

static job job_of(const mw_call *call, bool nll) {
  const cross_entropy_attrs *attrs = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  job j = {.call = call, .nll = nll, .classes = x->shape[attrs->axis], .inner = 1};
  for (int k = (int)attrs->axis + 1; k < x->rank; k++) j.inner *= x->shape[k];
  j.elements = call->in[1].count;
  j.grain = j.classes < GRAIN ? GRAIN / j.classes : 1;
  j.ignore_index = attrs->ignore_index;
  j.smoothing = (real)attrs->label_smoothing;
  j.weight = call->in[2].data;
  j.weight_sum = (real)j.classes;
  if (j.weight) {
    j.weight_sum = 0;
    for (int64_t c = 0; c < j.classes; c++) j.weight_sum += j.weight[c];
  }
  return j;
}

/* What the mean divides by. */
static double counted(const job *j) {
  double sum = 0;
  for (int64_t i = 0; i < j->elements; i++) {
    const int64_t label = label_of(&j->call->in[1], i);
    if (label != j->ignore_index) sum += j->weight ? (double)j->weight[label] : 1;
  }
  return sum;
}

static mw_status fail_label(const job *j, int64_t i, int64_t label) {
  const mw_spec *spec = &j->call->in[1].spec;
  int64_t at[MW_MAX_RANK] = {0};
  char place[MW_MAX_RANK * 21 + 1] = "";
  for (int k = spec->rank - 1; k >= 0; k--) {
    at[k] = i % spec->shape[k];
    i /= spec->shape[k];
  }
  for (int k = 0, n = 0; k < spec->rank; k++)
    n += snprintf(place + n, sizeof place - (size_t)n, k > 0 ? ",%lld" : "%lld", (long long)at[k]);
  return mw_fail(j->call,
                 "labels[%s] is %lld, but x has %lld classes, so that labels are 0 to "
                 "%lld (labels and positions count from 0)",
                 place, (long long)label, (long long)j->classes, (long long)j->classes - 1);
}

static mw_status check_labels(const job *j) {
  for (int64_t i = 0; i < j->elements; i++) {
    const int64_t label = label_of(&j->call->in[1], i);
    if ((label < 0 || label >= j->classes) && label != j->ignore_index)
      return fail_label(j, i, label);
  }
  return MW_OK;
}

/* ---- forward ------------------------------------------------------------------------------ */

/* The loss of one element, whose logits are `step` apart. p gets its probabilities if set. */
MW_INLINE real loss_of(const job *j, int64_t step, int64_t label, const real *x, real *p) {
  const int64_t n = j->classes;
  real largest = x[0], sum = 0;
  for (int64_t c = 1; c < n; c++) largest = x[c * step] > largest ? x[c * step] : largest;
  if (p) {
    MW_INDEPENDENT for (int64_t c = 0; c < n; c++) p[c * step] = exp(x[c * step] - largest);
    for (int64_t c = 0; c < n; c++) sum += p[c * step];
    MW_INDEPENDENT for (int64_t c = 0; c < n; c++) p[c * step] /= sum;
  } else {
    for (int64_t c = 0; c < n; c++) sum += exp(x[c * step] - largest);
  }
  if (label == j->ignore_index) return 0;
  const real log_sum = log(sum), e = j->smoothing;
  real loss = log_sum - (x[label * step] - largest); /* -ln p[label] */
  loss *= (1 - e) * (j->weight ? j->weight[label] : 1);
  if (e > 0) {
    real all = 0; /* -sum over c of w[c] ln p[c] */
    for (int64_t c = 0; c < n; c++)
      all += (j->weight ? j->weight[c] : 1) * (log_sum - (x[c * step] - largest));
    loss += e / (real)n * all;
  }
  return loss;
}

/* Mostly the classes are neighbours. */
static real element_loss(const job *j, int64_t label, const real *x, real *p) {
  return j->inner == 1 ? loss_of(j, 1, label, x, p) : loss_of(j, j->inner, label, x, p);
}

/* Where element i begins in x. */
static int64_t place_of(const job *j, int64_t i) {
  return i / j->inner * j->classes * j->inner + i % j->inner;
}

static void forward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  const int64_t end = mw_chunk_end(j->elements, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t at = place_of(j, i);
    j->losses[i] = element_loss(j, label_of(&call->in[1], i), (const real *)call->in[0].data + at,
                                call->saved ? (real *)call->saved + at : NULL);
  }
}

static void nll_losses(const job *j) {
  const real *x = j->call->in[0].data;
  for (int64_t i = 0; i < j->elements; i++) {
    const int64_t label = label_of(&j->call->in[1], i);
    if (label == j->ignore_index) j->losses[i] = 0;
    else j->losses[i] = -(j->weight ? j->weight[label] : 1) * x[place_of(j, i) + label * j->inner];
  }
}

/* Forward: losses that are summed up. Backward: two sums for each class. */
static void workspace(const mw_call *call, mw_workspace *need) {
  const cross_entropy_attrs *attrs = call->attrs;
  if (call->backward) need->call = 2 * sizeof(double) * (size_t)call->in[2].count;
  else if (attrs->reduction != NONE) need->call = (size_t)call->in[1].count * sizeof(real);
}

static mw_status forward(const mw_call *call, bool nll) {
  const cross_entropy_attrs *attrs = call->attrs;
  real *y = call->out[0].data;
  job j = job_of(call, nll);
  if (check_labels(&j)) return MW_FAILED;
  j.losses = attrs->reduction == NONE ? y : call->scratch;
  if (nll) nll_losses(&j);
  else mw_parallel(call, mw_chunks(j.elements, j.grain), forward_chunk, &j);
  if (attrs->reduction == NONE) return MW_OK;
  double sum = 0;
  for (int64_t i = 0; i < j.elements; i++) sum += (double)j.losses[i];
  *y = (real)(attrs->reduction == MEAN ? sum / counted(&j) : sum);
  return MW_OK;
}

static mw_status cross_entropy_forward(const mw_call *call) { return forward(call, false); }
static mw_status nll_forward(const mw_call *call) { return forward(call, true); }

/* ---- backward ----------------------------------------------------------------------------- */

static void backward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  const cross_entropy_attrs *attrs = call->attrs;
  const real *dy = call->dout[0].data, e = j->smoothing;
  const int64_t n = j->classes, step = j->inner, end = mw_chunk_end(j->elements, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t label = label_of(&call->in[1], i), at = place_of(j, i);
    const real *p = (const real *)call->saved + at;
    real *dx = (real *)call->din[0].data + at;
    if (label == j->ignore_index) {
      for (int64_t c = 0; c < n; c++) dx[c * step] = 0;
      continue;
    }
    const real scale = attrs->reduction == NONE ? dy[i] : j->scale;
    const real hit = (1 - e) * (j->weight ? j->weight[label] : 1), even = e / (real)n;
    const real total = hit + even * j->weight_sum;
    for (int64_t c = 0; c < n; c++) {
      const real q = (c == label ? hit : 0) + even * (j->weight ? j->weight[c] : 1);
      dx[c * step] = scale * (p[c * step] * total - q);
    }
  }
}

static void nll_slopes(const job *j) {
  const real *dy = j->call->dout[0].data;
  const cross_entropy_attrs *attrs = j->call->attrs;
  real *dx = j->call->din[0].data;
  memset(dx, 0, (size_t)j->call->din[0].count * sizeof(real));
  for (int64_t i = 0; i < j->elements; i++) {
    const int64_t label = label_of(&j->call->in[1], i);
    const real scale = attrs->reduction == NONE ? dy[i] : j->scale;
    if (label != j->ignore_index)
      dx[place_of(j, i) + label * j->inner] = -scale * (j->weight ? j->weight[label] : 1);
  }
}

/* With u[c] = (1 - e) [c = t] + e / C, the sum of u[c] (-ln p[c]) over the elements, each times its
 * dy where it has one; and how many elements have the label c. */
static void class_sums(const job *j, double *costs, double *counts) {
  const cross_entropy_attrs *attrs = j->call->attrs;
  const real *dy = j->call->dout[0].data, *p = j->nll ? j->call->in[0].data : j->call->saved;
  const double e = (double)j->smoothing, even = e / (double)j->classes;
  for (int64_t c = 0; c < j->classes; c++) costs[c] = counts[c] = 0;
  for (int64_t i = 0; i < j->elements; i++) {
    const int64_t label = label_of(&j->call->in[1], i), at = place_of(j, i);
    if (label == j->ignore_index) continue;
    const double weight = attrs->reduction == NONE ? (double)dy[i] : 1;
    counts[label]++;
    for (int64_t c = even > 0 ? 0 : label; c < (even > 0 ? j->classes : label + 1); c++) {
      const double v = (double)p[at + c * j->inner], log_p = j->nll ? v : (log)(v);
      costs[c] -= weight * ((c == label ? 1 - e : 0) + even) * log_p;
    }
  }
}

static void weight_slopes(const job *j) {
  const cross_entropy_attrs *attrs = j->call->attrs;
  double *costs = j->call->scratch, *counts = costs + j->classes, loss = 0;
  real *dw = j->call->din[2].data;
  class_sums(j, costs, counts);
  for (int64_t c = 0; c < j->classes; c++) loss += costs[c] * (double)j->weight[c];
  const double scale = attrs->reduction == NONE ? 1 : (double)j->scale;
  const double mean = attrs->reduction == MEAN ? loss / counted(j) : 0;
  for (int64_t c = 0; c < j->classes; c++) dw[c] = (real)(scale * (costs[c] - mean * counts[c]));
}

static mw_status backward(const mw_call *call, bool nll) {
  const cross_entropy_attrs *attrs = call->attrs;
  job j = job_of(call, nll);
  if (check_labels(&j)) return MW_FAILED; /* forward may not have been run */
  if (attrs->reduction != NONE) j.scale = *(const real *)call->dout[0].data;
  if (attrs->reduction == MEAN) j.scale = (real)((double)j.scale / counted(&j));
  if (call->din[2].data) weight_slopes(&j);
  if (!call->din[0].data) return MW_OK;
  if (nll) nll_slopes(&j);
  else mw_parallel(call, mw_chunks(j.elements, j.grain), backward_chunk, &j);
  return MW_OK;
}

static mw_status cross_entropy_backward(const mw_call *call) { return backward(call, false); }
static mw_status nll_backward(const mw_call *call) { return backward(call, true); }

/* ---- the gradient out of other ops -------------------------------------------------------- */

static mw_tensor *sum_classes(mw_build *g, mw_tensor *t) {
  const cross_entropy_attrs *attrs = g->attrs;
  const mw_setting settings[] = {mw_list("axes", 1, &attrs->axis), mw_bool("keepdims", true)};
  return mw_make(g, "sum", 1, &t, 2, settings);
}

static mw_tensor *scaled(mw_build *g, mw_tensor *t, double by) {
  return mw_make2(g, "mul", t, mw_make_scalar(g, g->in[0], by));
}

/* Each class's weight, along the axis of classes; 1 when none are given. */
static mw_tensor *weights(mw_build *g) {
  const cross_entropy_attrs *attrs = g->attrs;
  const mw_spec *x = g->host->tensor_spec(g->in[0]);
  int64_t along[MW_MAX_RANK] = {0};
  if (!g->in[2]) return mw_make_scalar(g, g->in[0], 1);
  for (int k = 0; k < x->rank; k++) along[k] = k == attrs->axis ? x->shape[k] : 1;
  return mw_make_shaped(g, "reshape", g->in[2], x->rank, along);
}

/* Whether c is an element's label, as 1 or 0; only 0 for those that are ignored. */
static mw_tensor *is_label(mw_build *g) {
  const cross_entropy_attrs *attrs = g->attrs;
  const mw_spec *x = g->host->tensor_spec(g->in[0]);
  const mw_setting settings[] = {mw_int("classes", x->shape[attrs->axis]),
                                 mw_int("axis", attrs->axis),
                                 mw_int("ignore_index", attrs->ignore_index),
                                 mw_text("dtype", x->dtype == MW_F32 ? "f32" : "f64")};
  return mw_make(g, "one_hot", 1, &g->in[1], 4, settings);
}

/* dy for each element, with an axis of size 1 for the classes; a scalar broadcasts as it is. */
static mw_tensor *each_dy(mw_build *g, mw_tensor *counted_weight) {
  const cross_entropy_attrs *attrs = g->attrs;
  mw_spec x = *g->host->tensor_spec(g->in[0]);
  if (attrs->reduction == SUM) return g->dout[0];
  if (attrs->reduction == MEAN) { /* where none count there is no gradient, as in the kernel */
    mw_tensor *total = mw_make1(g, "sum", counted_weight);
    mw_tensor *none = mw_make2(g, "eq", total, mw_make_scalar(g, g->in[0], 0));
    total = mw_make(g, "where", 3, (mw_tensor *[]){none, mw_make_scalar(g, g->in[0], 1), total}, 0,
                    NULL);
    return mw_make2(g, "div", g->dout[0], total);
  }
  x.shape[attrs->axis] = 1;
  return mw_make_shaped(g, "reshape", g->dout[0], x.rank, x.shape);
}

/* Over all axes but that of the classes. */
static mw_tensor *sum_elements(mw_build *g, mw_tensor *t) {
  const cross_entropy_attrs *attrs = g->attrs;
  mw_ints axes = {0};
  for (int k = 0; k < g->host->tensor_spec(g->in[0])->rank; k++)
    if (k != attrs->axis) axes.at[axes.count++] = k;
  const mw_setting settings[] = {mw_list("axes", (int)axes.count, axes.at)};
  return axes.count > 0 ? mw_make(g, "sum", 1, &t, 1, settings) : t;
}

/* dw[c] = sum of dy u[c] (-ln p[c]), and less y times the counted labels where the mean divides by
 * their weights. */
static mw_tensor *weight_gradient(mw_build *g, mw_tensor *dy, mw_tensor *log_p, mw_tensor *u,
                                  mw_tensor *label) {
  const cross_entropy_attrs *attrs = g->attrs;
  mw_tensor *costs = mw_make2(g, "mul", u, log_p);
  if (attrs->reduction == MEAN)
    costs = mw_make2(g, "add", costs, mw_make2(g, "mul", label, g->out[0]));
  return sum_elements(g, mw_make1(g, "neg", mw_make2(g, "mul", costs, dy)));
}

/* dx = dy (p sum(q) - q) */
static mw_status cross_entropy_gradient(mw_build *g) {
  const cross_entropy_attrs *attrs = g->attrs;
  const double e = attrs->label_smoothing;
  const double classes = (double)g->host->tensor_spec(g->in[0])->shape[attrs->axis];
  const mw_setting axis = mw_int("axis", attrs->axis);
  mw_tensor *label = is_label(g), *weight = weights(g);
  mw_tensor *element_weight = sum_classes(g, mw_make2(g, "mul", label, weight));
  mw_tensor *u =
      mw_make2(g, "add", scaled(g, label, 1 - e), scaled(g, sum_classes(g, label), e / classes));
  mw_tensor *q = mw_make2(g, "mul", u, weight), *dy = each_dy(g, element_weight);
  if (g->wanted[0]) {
    mw_tensor *p = mw_make(g, "softmax", 1, g->in, 1, &axis);
    mw_tensor *slope = mw_make2(g, "sub", mw_make2(g, "mul", p, sum_classes(g, q)), q);
    g->din[0] = mw_make2(g, "mul", dy, slope);
  }
  if (g->wanted[2])
    g->din[2] = weight_gradient(g, dy, mw_make(g, "log_softmax", 1, g->in, 1, &axis), u, label);
  return MW_OK;
}

static mw_status nll_gradient(mw_build *g) {
  mw_tensor *label = is_label(g), *q = mw_make2(g, "mul", label, weights(g));
  mw_tensor *dy = each_dy(g, sum_classes(g, q));
  if (g->wanted[0]) g->din[0] = mw_make1(g, "neg", mw_make2(g, "mul", dy, q));
  if (g->wanted[2]) g->din[2] = weight_gradient(g, dy, g->in[0], label, label);
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define CASES(op)                                                                   \
  "mw." op                                                                          \
  "(mw.randn{3,4}, mw.tensor({0,3,1}, 'u8'), mw.uniform({4}, 0.5, 2), "             \
  "{ignore_index=3})\n"                                                             \
  "mw." op                                                                          \
  "(mw.randn{2,3,2}, mw.tensor({{0,-100},{2,1}}, 'i64'), mw.uniform({3}, 0.5, 2), " \
  "{reduction='sum'})\n"                                                            \
  "mw." op                                                                          \
  "(mw.randn{1,3,2}, mw.tensor({{0,2}}, 'i32'), mw.uniform({3}, 0.5, 2), "          \
  "{reduction='none', axis=-2})\n"                                                  \
  "mw." op                                                                          \
  "(mw.randn{5}, mw.tensor(2, 'i64'), {axis=1})\n"                                  \
  "mw." op                                                                          \
  "(mw.randn{4,2}, mw.tensor({1,0}, 'i64'), {axis=1, reduction='none'})\n"          \
  "mw." op "(mw.randn{0,3}, mw.zeros({0}, 'i64'), {reduction='sum'})"
#define LABELS(title)                                                                            \
  .name = #title, .version = 1, .outputs = {{"y"}}, .attrs = title##_schema,                     \
  .attrs_size = sizeof(cross_entropy_attrs), .infer = title##_infer, .forward = title##_forward, \
  .backward = title##_backward, .gradient = title##_gradient, .workspace = workspace,            \
  .flops = title##_flops

/* For each logit forward what softmax takes, and backward p sum(q) - q. */
static double cross_entropy_flops(const mw_call *call) {
  return (call->backward ? 2.0 : 5.0) * (double)call->in[0].count;
}
/* For each label its weight and the sum; backward the weight. */
static double nll_flops(const mw_call *call) {
  return (call->backward ? 1.0 : 2.0) * (double)call->in[1].count;
}

static const mw_op cross_entropy_op = {
    LABELS(cross_entropy),
    .doc =
        "How badly logits predict labels: -ln softmax(x)[label]. x is [n, classes, ..], labels "
        "[n, ..] counted from 0, and one that is no class is an error; the result is a scalar, or "
        "[n, ..] without reduction. Class weights multiply the losses, and the mean divides by the "
        "weights of the labels that count: without any it is NaN.",
    .example = "mw.cross_entropy(mw.randn{4,5}, mw.tensor({0,2,1,4}, \"i64\"))",
    .cases = CASES("cross_entropy") "\n"
        "mw.cross_entropy(mw.randn{3,4}, mw.tensor({0,3,1}, 'u8'), mw.uniform({4}, 0.5, 2), "
        "{label_smoothing=0.1, ignore_index=3})\n"
        "mw.cross_entropy(mw.randn{3,4}, mw.tensor({0,2,1}, 'i32'), "
        "{reduction='none', label_smoothing=0.2})",
    .inputs = {{"x", .doc = "logits"},
               {"labels", .doc = "i64, i32 or u8"},
               {"class_weight", MW_OPTIONAL, "[classes]"}},
    .backward_needs = MW_NEEDS_IN(1) | MW_NEEDS_IN(2) | MW_NEEDS_SAVED,
};

#define nll_infer labels_infer
static const mw_op nll_op = {
    LABELS(nll),
    .doc =
        "Negative log-likelihood of labels: -x[label], for logarithms of probabilities x, such as "
        "log_softmax gives. x is [n, classes, ..], labels [n, ..] counted from 0, and one that is "
        "no class is an error; the result is a scalar, or [n, ..] without reduction. Class weights "
        "multiply the losses, and the mean divides by the weights of the labels that count: "
        "without any it is NaN.",
    .example = "mw.nll(mw.randn{4,5}, mw.tensor({0,2,1,4}, \"i64\"))",
    .cases = CASES("nll"),
    .inputs = {{"x", .doc = "logarithms of probabilities"},
               {"labels", .doc = "i64, i32 or u8"},
               {"class_weight", MW_OPTIONAL, "[classes]"}},
    .backward_needs = MW_NEEDS_IN(0) | MW_NEEDS_IN(1) | MW_NEEDS_IN(2),
};

MW_PLUGIN(&cross_entropy_op, &nll_op)
