/* cross_entropy.c: the loss of a classifier, from logits and labels. */
#include <stdio.h>
#include <string.h>
#include <tgmath.h>

#include "../graph/moonwalk.h"

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

static const mw_attr schema[] = {{.name = "axis",
                                  .type = MW_AXIS,
                                  .offset = offsetof(cross_entropy_attrs, axis),
                                  .doc = "the axis of the classes",
                                  .initial = "1"},
                                 {.name = "reduction",
                                  .type = MW_CHOICE,
                                  .offset = offsetof(cross_entropy_attrs, reduction),
                                  .doc = "what becomes of the elements' losses",
                                  .initial = "mean",
                                  .choices = "mean|sum|none"},
                                 {.name = "label_smoothing",
                                  .type = MW_FLOAT,
                                  .offset = offsetof(cross_entropy_attrs, label_smoothing),
                                  .doc = "how much of the weight goes to all classes evenly",
                                  .initial = "0",
                                  .least = 0,
                                  .most = 1},
                                 {.name = "ignore_index",
                                  .type = MW_INT,
                                  .offset = offsetof(cross_entropy_attrs, ignore_index),
                                  .doc = "the label of elements that do not count",
                                  .initial = "-100"},
                                 {0}};

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status infer(mw_infer *it) {
  cross_entropy_attrs *attrs = it->attrs;
  const mw_spec *x = &it->in[0], *labels = &it->in[1], *weight = &it->in[2];
  char text_x[MW_SPEC_TEXT], text[MW_SPEC_TEXT];
  it->host->spec_text(x, text_x);
  it->host->spec_text(labels, text);
  if (!mw_axis(&attrs->axis, x->rank))
    return mw_fail(it, "axis is none of x's axes: x is %s, expected [n, classes, ..]", text_x);
  const int64_t axis = attrs->axis;
  mw_spec rest = {.dtype = labels->dtype, .rank = x->rank - 1};
  for (int k = 0; k < rest.rank; k++) rest.shape[k] = x->shape[k < axis ? k : k + 1];
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
  /* The probabilities; their size was checked when x was made. */
  it->saved = mw_element_size(x->dtype);
  for (int k = 0; k < x->rank; k++) it->saved *= (size_t)x->shape[k];
  return MW_OK;
}

/* ---- the loop over elements --------------------------------------------------------------- */

/* x is [outer, classes, inner]; element i is the pair (i / inner, i % inner). */
typedef struct job {
  const mw_call *call;
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

static job job_of(const mw_call *call) {
  const cross_entropy_attrs *attrs = call->attrs;
  const mw_spec *x = &call->in[0].spec;
  job j = {.call = call, .classes = x->shape[attrs->axis], .inner = 1};
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
static real element_loss(const job *j, int64_t label, const real *x, real *p) {
  const int64_t n = j->classes, step = j->inner;
  real largest = x[0], sum = 0;
  for (int64_t c = 1; c < n; c++) largest = x[c * step] > largest ? x[c * step] : largest;
  for (int64_t c = 0; c < n; c++) {
    const real e = exp(x[c * step] - largest);
    if (p) p[c * step] = e;
    sum += e;
  }
  for (int64_t c = 0; p && c < n; c++) p[c * step] /= sum;
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

static void forward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  const int64_t end = mw_chunk_end(j->elements, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t at = i / j->inner * j->classes * j->inner + i % j->inner;
    j->losses[i] = element_loss(j, label_of(&call->in[1], i), (const real *)call->in[0].data + at,
                                call->saved ? (real *)call->saved + at : NULL);
  }
}

static void workspace(const mw_call *call, mw_workspace *need) {
  const cross_entropy_attrs *attrs = call->attrs;
  if (!call->backward && attrs->reduction != NONE)
    need->call = (size_t)call->in[1].count * sizeof(real);
}

static mw_status forward(const mw_call *call) {
  const cross_entropy_attrs *attrs = call->attrs;
  real *y = call->out[0].data;
  job j = job_of(call);
  if (check_labels(&j)) return MW_FAILED;
  j.losses = attrs->reduction == NONE ? y : call->scratch;
  mw_parallel(call, mw_chunks(j.elements, j.grain), forward_chunk, &j);
  if (attrs->reduction == NONE) return MW_OK;
  double sum = 0;
  for (int64_t i = 0; i < j.elements; i++) sum += (double)j.losses[i];
  *y = (real)(attrs->reduction == MEAN ? sum / counted(&j) : sum);
  return MW_OK;
}

#define NO_WEIGHT_GRADIENT "class_weight has no gradient; pass it through mw.stop_gradient"

/* ---- backward ----------------------------------------------------------------------------- */

static void backward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const mw_call *call = j->call;
  const cross_entropy_attrs *attrs = call->attrs;
  const real *dy = call->dout[0].data, e = j->smoothing;
  const int64_t n = j->classes, step = j->inner, end = mw_chunk_end(j->elements, j->grain, chunk);
  (void)worker;
  for (int64_t i = chunk * j->grain; i < end; i++) {
    const int64_t label = label_of(&call->in[1], i), at = i / step * n * step + i % step;
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

static mw_status backward(const mw_call *call) {
  const cross_entropy_attrs *attrs = call->attrs;
  job j = job_of(call);
  if (call->din[2].data) return mw_fail(call, NO_WEIGHT_GRADIENT);
  j.scale = *(const real *)call->dout[0].data;
  if (attrs->reduction == MEAN) j.scale = (real)((double)j.scale / counted(&j));
  mw_parallel(call, mw_chunks(j.elements, j.grain), backward_chunk, &j);
  return MW_OK;
}

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
  const mw_setting shape = mw_list("shape", x->rank, along);
  return mw_make(g, "reshape", 1, &g->in[2], 1, &shape);
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
  if (attrs->reduction == MEAN)
    return mw_make2(g, "div", g->dout[0], mw_make1(g, "sum", counted_weight));
  x.shape[attrs->axis] = 1;
  const mw_setting shape = mw_list("shape", x.rank, x.shape);
  return mw_make(g, "reshape", 1, g->dout, 1, &shape);
}

/* dx = dy (p sum(q) - q) */
static mw_status gradient(mw_build *g) {
  const cross_entropy_attrs *attrs = g->attrs;
  const double e = attrs->label_smoothing;
  const double classes = (double)g->host->tensor_spec(g->in[0])->shape[attrs->axis];
  if (g->wanted[2]) return mw_fail(g, NO_WEIGHT_GRADIENT);
  const mw_setting axis = mw_int("axis", attrs->axis);
  mw_tensor *p = mw_make(g, "softmax", 1, g->in, 1, &axis);
  mw_tensor *label = is_label(g), *weight = weights(g);
  mw_tensor *hit = mw_make2(g, "mul", label, weight);
  mw_tensor *element_weight = sum_classes(g, hit), *counts = sum_classes(g, label);
  mw_tensor *smooth = mw_make2(g, "mul", counts, scaled(g, weight, e / classes));
  mw_tensor *q =
      mw_make2(g, "add", mw_make2(g, "mul", label, scaled(g, element_weight, 1 - e)), smooth);
  mw_tensor *slope = mw_make2(g, "sub", mw_make2(g, "mul", p, sum_classes(g, q)), q);
  g->din[0] = mw_make2(g, "mul", each_dy(g, element_weight), slope);
  return MW_OK;
}

static const mw_op cross_entropy_op = {
    .name = "cross_entropy",
    .version = 1,
    .doc =
        "How badly logits predict labels: -ln softmax(x)[label]. x is [n, classes, ..], labels "
        "[n, ..] counted from 0; the result is a scalar, or [n, ..] without reduction.",
    .example = "mw.cross_entropy(mw.randn{4,5}, mw.tensor({0,2,1,4}, \"i64\"))",
    .inputs = {{"x", .doc = "logits"},
               {"labels", .doc = "i64, i32 or u8"},
               {"class_weight", MW_OPTIONAL, "[classes]"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(cross_entropy_attrs),
    .backward_needs = MW_NEEDS_IN(1) | MW_NEEDS_IN(2) | MW_NEEDS_SAVED,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .gradient = gradient,
    .workspace = workspace,
};

MW_PLUGIN(&cross_entropy_op)
