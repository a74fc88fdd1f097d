/* upsample.c: images at another size, by the nearest pixel or by linear interpolation. */
#include <string.h>

#include "../graph/moonwalk.h"

enum { NEAREST, BILINEAR };

typedef struct upsample_attrs {
  mw_ints scale, size;
  int mode;
  bool align_corners;
} upsample_attrs;

/* ---- shapes ------------------------------------------------------------------------------- */

static mw_status infer(mw_infer *it) {
  char text[MW_SPEC_TEXT];
  upsample_attrs *a = it->attrs;
  const mw_spec *x = &it->in[0];
  if (mw_expect_images(it, 0)) return MW_FAILED;
  if ((a->scale.count == 0) == (a->size.count == 0))
    return mw_fail(it, "it has %s, expected either scale or size",
                   a->scale.count == 0 ? "neither scale nor size" : "both scale and size");
  if (a->align_corners && a->mode == NEAREST)
    return mw_fail(it, "align_corners has no meaning for the mode nearest; use mode='bilinear'");
  it->out[0] = *x;
  if (a->scale.count > 0) {
    mw_ints_fill(&a->scale, 2);
    for (int s = 0; s < 2; s++) it->out[0].shape[2 + s] = x->shape[2 + s] * a->scale.at[s];
  } else {
    mw_ints_fill(&a->size, 2);
    for (int s = 0; s < 2; s++) it->out[0].shape[2 + s] = a->size.at[s];
  }
  const int64_t *y = it->out[0].shape;
  if (y[2] > MW_MAX_SIDE || y[3] > MW_MAX_SIDE)
    return mw_fail(it, "the images would be %lld x %lld, expected at most 2^28 a side",
                   (long long)y[2], (long long)y[3]);
  if (y[2] * y[3] > 0 && x->shape[2] * x->shape[3] == 0)
    return mw_fail(it, "x is %s: its images are empty", it->host->spec_text(x, text));
  return MW_OK;
}

/* ---- kernels ------------------------------------------------------------------------------ */

/* Where the elements of one side of the output come from: element i is (1 - weight[i]) times
 * element low[i] of the image, and weight[i] times the next one, which there is unless weight[i] is
 * 0. low never falls. */
typedef struct side {
  int64_t in, out;
  int32_t *low;
  real *weight;
} side;

typedef struct job {
  const mw_call *call;
  side rows, columns;
  real *x, *y;
} job;

/* In integers as far as possible, so that no rounding picks another pixel. */
static void fill_side(side *s, const upsample_attrs *a) {
  for (int64_t i = 0; i < s->out; i++) {
    /* The place in the image is `over` / `under`. */
    int64_t over = (2 * i + 1) * s->in - s->out, under = 2 * s->out;
    if (a->mode == NEAREST) over = i * s->in, under = s->out;
    else if (a->align_corners) over = i * (s->in - 1), under = s->out > 1 ? s->out - 1 : 1;
    const int64_t low = over < 0 ? 0 : over / under;
    const bool between = a->mode == BILINEAR && over > 0 && low + 1 < s->in;
    s->low[i] = (int32_t)low;
    s->weight[i] = between ? (real)(over - low * under) / (real)under : 0;
  }
}

/* A weight of 0 takes nothing from an infinite neighbour. */
static inline real mix(real low, real high, real weight) {
  return weight == 0 ? low : (1 - weight) * low + weight * high;
}

/* A row of x (or two, mixed) is spread over a row of y. line has room for one more than a row. */
static void row_forward(const job *j, const real *low, real weight, real *restrict line,
                        real *restrict y) {
  const int64_t w = j->columns.in;
  const int32_t *from = j->columns.low;
  const real *share = j->columns.weight, *high = low + w;
  if (weight == 0) memcpy(line, low, (size_t)w * sizeof(real));
  else
    for (int64_t i = 0; i < w; i++) line[i] = (1 - weight) * low[i] + weight * high[i];
  line[w] = 0; /* read with a weight of 0 */
  for (int64_t i = 0; i < j->columns.out; i++)
    y[i] = mix(line[from[i]], line[from[i] + 1], share[i]);
}

static void plane_forward(void *arg, int64_t plane, int worker) {
  const job *j = arg;
  const side *rows = &j->rows;
  const int64_t w = j->columns.in, ow = j->columns.out;
  const real *x = j->x + plane * rows->in * w;
  real *y = j->y + plane * rows->out * ow, *line = mw_worker_scratch(j->call, worker);
  for (int64_t i = 0; i < rows->out; i++, y += ow) {
    const bool again = i > 0 && rows->low[i] == rows->low[i - 1] && rows->weight[i] == 0 &&
                       rows->weight[i - 1] == 0;
    if (again) memcpy(y, y - ow, (size_t)ow * sizeof(real));
    else row_forward(j, x + rows->low[i] * w, rows->weight[i], line, y);
  }
}

static void add_line(int64_t n, real *restrict line, const real *restrict dy, real weight) {
  for (int64_t i = 0; i < n; i++) line[i] += weight * dy[i];
}

/* A row of dx collects the rows of dy that took from it, and then their columns. The rows of the
 * output that begin at row i are first .. end-1; those that began above may take from it as
 * well. */
static void plane_backward(void *arg, int64_t plane, int worker) {
  const job *j = arg;
  const side *rows = &j->rows, *columns = &j->columns;
  const int64_t w = columns->in, ow = columns->out;
  real *dx = j->x + plane * rows->in * w, *line = mw_worker_scratch(j->call, worker);
  const real *dy = j->y + plane * rows->out * ow;
  memset(dx, 0, (size_t)(rows->in * w) * sizeof(real));
  for (int64_t i = 0, above = 0, first = 0; i < rows->in; i++, dx += w) {
    int64_t end = first;
    memset(line, 0, (size_t)ow * sizeof(real));
    for (int64_t r = above; r < first; r++)
      if (rows->weight[r] != 0) add_line(ow, line, dy + r * ow, rows->weight[r]);
    for (; end < rows->out && rows->low[end] == i; end++)
      add_line(ow, line, dy + end * ow, 1 - rows->weight[end]);
    for (int64_t c = 0; c < ow && end > above; c++) {
      real *to = dx + columns->low[c];
      to[0] += (1 - columns->weight[c]) * line[c];
      if (columns->weight[c] != 0) to[1] += columns->weight[c] * line[c];
    }
    above = first;
    first = end;
  }
}

static void workspace(const mw_call *call, mw_workspace *need) {
  const int64_t *x = call->in[0].spec.shape, *y = call->out[0].spec.shape;
  need->call = (size_t)(y[2] + y[3]) * (sizeof(int32_t) + sizeof(real));
  need->worker = (size_t)(x[3] + y[3] + 1) * sizeof(real);
}

static mw_status run(const mw_call *call, const mw_array *x, const mw_array *y, mw_chunk plane) {
  const int64_t *from = x->spec.shape, *to = y->spec.shape;
  real *weights = call->scratch;
  int32_t *lows = (void *)((char *)call->scratch + (size_t)(to[2] + to[3]) * sizeof(real));
  job j = {.call = call, .x = x->data, .y = y->data};
  j.rows = (side){.in = from[2], .out = to[2], .low = lows, .weight = weights};
  j.columns = (side){.in = from[3], .out = to[3], .low = lows + to[2], .weight = weights + to[2]};
  fill_side(&j.rows, call->attrs);
  fill_side(&j.columns, call->attrs);
  mw_parallel(call, from[0] * from[1], plane, &j);
  return MW_OK;
}

static mw_status forward(const mw_call *call) {
  if (call->out[0].count == 0) return MW_OK;
  return run(call, &call->in[0], &call->out[0], plane_forward);
}

static mw_status backward(const mw_call *call) {
  const mw_array *dx = &call->din[0], *dy = &call->dout[0];
  if (!dx->data || dx->count == 0) return MW_OK;
  if (dy->data && dy->count > 0) return run(call, dx, dy, plane_backward);
  memset(dx->data, 0, (size_t)dx->count * sizeof(real));
  return MW_OK;
}

/* ---- the op ------------------------------------------------------------------------------- */

static const mw_attr schema[] = {
    {.name = "scale",
     .type = MW_INTS,
     .offset = offsetof(upsample_attrs, scale),
     .initial = "",
     .lengths = "1|2",
     .least = 1,
     .most = 1e6,
     .doc = "how many times larger: a number, or {h, w}"},
    {.name = "size",
     .type = MW_INTS,
     .offset = offsetof(upsample_attrs, size),
     .initial = "",
     .lengths = "1|2",
     .least = 0,
     .most = 1 << 28,
     .doc = "the size instead, which may be smaller: a number, or {h, w}"},
    {.name = "mode",
     .type = MW_CHOICE,
     .offset = offsetof(upsample_attrs, mode),
     .initial = "nearest",
     .choices = "nearest|bilinear",
     .doc = "what lies between pixels"},
    {.name = "align_corners",
     .type = MW_BOOLEAN,
     .offset = offsetof(upsample_attrs, align_corners),
     .initial = "false",
     .doc = "bilinear: the centres of the corner pixels stay in the corners"},
    {0}};

static const mw_op upsample_op = {
    .name = "upsample",
    .version = 1,
    .doc =
        "NCHW images at another size. nearest: y[i] = x[floor(i in / out)] along both sides. "
        "bilinear: y[i] lies at (i + 1/2) in / out - 1/2 between the pixels of x, or with "
        "align_corners at i (in - 1) / (out - 1), and beyond the outermost centres is theirs. To a "
        "smaller size nothing is averaged.",
    .example = "mw.upsample(mw.randn{2,3,2,3}, {scale=2, mode='bilinear'})",
    .cases =
        "mw.upsample(mw.randn{1,2,3,2}, {scale={3,1}})\n"
        "mw.upsample(mw.randn{1,1,3,5}, {size={5,3}, mode='nearest'})\n"
        "mw.upsample(mw.randn{2,1,3,4}, {size={5,2}, mode='bilinear'})\n"
        "mw.upsample(mw.randn{1,2,3,2}, {scale={2,3}, mode='bilinear', align_corners=true})\n"
        "mw.upsample(mw.randn{1,1,3,4}, {size=1, mode='bilinear', align_corners=true})\n"
        "mw.upsample(mw.randn{1,1,1,1}, {size={2,3}, mode='bilinear'})\n"
        "mw.upsample(mw.randn{0,2,2,2}, {scale=2})",
    .inputs = {{"x", .doc = "images [batch, channels, height, width]"}},
    .outputs = {{"y", .doc = "[batch, channels, output height, output width]"}},
    .attrs = schema,
    .attrs_size = sizeof(upsample_attrs),
    .flags = MW_LINEAR,
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .workspace = workspace,
};

MW_PLUGIN(&upsample_op)
