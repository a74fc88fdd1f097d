/* upsample.c: images at another size, by the nearest pixel or by linear interpolation. */
#include <string.h>

#include "../graph/moonwalk.h"

enum { NEAREST, BILINEAR };

typedef struct upsample_attrs {
  mw_ints scale, size;
  int mode;
  bool align_corners;
} upsample_attrs;

/* An output row (or column) is (1 - weight) times row low of the image, and weight times high. */
typedef struct tap {
  int64_t low, high;
  real weight;
} tap;

/* ---- shapes ------------------------------------------------------------------------------ */

static void complete_pair(mw_ints *list) {
  list->at[1] = mw_ints_at(list, 1);
  list->count = 2;
}

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
    complete_pair(&a->scale);
    for (int s = 0; s < 2; s++) it->out[0].shape[2 + s] = x->shape[2 + s] * a->scale.at[s];
  } else {
    complete_pair(&a->size);
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

/* ---- kernels ----------------------------------------------------------------------------- */

typedef struct job {
  int64_t h, w, oh, ow; /* x is [.., h, w], y [.., oh, ow] */
  const tap *rows, *columns;
  int mode;
  real *x, *y;
} job;

/* Where the output elements of one side come from; exact, in integers as far as possible. */
static void fill_taps(tap *taps, int64_t in, int64_t out, const upsample_attrs *a) {
  for (int64_t i = 0; i < out; i++) {
    if (a->mode == NEAREST) {
      taps[i] = (tap){.low = i * in / out, .high = i * in / out};
      continue;
    }
    /* The place in the image is `over` / `under`. */
    int64_t over = (2 * i + 1) * in - out, under = 2 * out;
    if (a->align_corners) over = i * (in - 1), under = out > 1 ? out - 1 : 1;
    if (over < 0) over = 0;
    const int64_t low = over / under;
    taps[i] = (tap){.low = low, .high = low, .weight = 0};
    if (low + 1 >= in) continue;
    taps[i].high = low + 1;
    taps[i].weight = (real)(over - low * under) / (real)under;
  }
}

/* A weight of 0 takes nothing from an infinite neighbour. */
static inline real mix(real low, real high, real weight) {
  return weight == 0 ? low : (1 - weight) * low + weight * high;
}

static void plane_forward(void *arg, int64_t plane, int worker) {
  (void)worker;
  const job *j = arg;
  const real *x = j->x + plane * j->h * j->w;
  real *y = j->y + plane * j->oh * j->ow;
  for (int64_t oy = 0; oy < j->oh; oy++, y += j->ow) {
    const tap row = j->rows[oy];
    const real *low = x + row.low * j->w, *high = x + row.high * j->w;
    if (j->mode == NEAREST && oy > 0 && row.low == j->rows[oy - 1].low)
      memcpy(y, y - j->ow, (size_t)j->ow * sizeof(real));
    else if (j->mode == NEAREST)
      for (int64_t ox = 0; ox < j->ow; ox++) y[ox] = low[j->columns[ox].low];
    else
      for (int64_t ox = 0; ox < j->ow; ox++) {
        const tap c = j->columns[ox];
        y[ox] = mix(mix(low[c.low], low[c.high], c.weight),
                    mix(high[c.low], high[c.high], c.weight), row.weight);
      }
  }
}

/* Adds value to a row of dx, as the columns of the output share it out. */
static void spread(real *to, const tap *c, real value) {
  to[c->low] += c->weight == 0 ? value : (1 - c->weight) * value;
  if (c->weight != 0) to[c->high] += c->weight * value;
}

static void plane_backward(void *arg, int64_t plane, int worker) {
  (void)worker;
  const job *j = arg;
  real *dx = j->x + plane * j->h * j->w;
  const real *dy = j->y + plane * j->oh * j->ow;
  memset(dx, 0, (size_t)(j->h * j->w) * sizeof(real));
  for (int64_t oy = 0; oy < j->oh; oy++, dy += j->ow) {
    const tap row = j->rows[oy];
    const real weight = 1 - row.weight;
    for (int64_t ox = 0; ox < j->ow; ox++) {
      spread(dx + row.low * j->w, &j->columns[ox], row.weight == 0 ? dy[ox] : weight * dy[ox]);
      if (row.weight != 0) spread(dx + row.high * j->w, &j->columns[ox], row.weight * dy[ox]);
    }
  }
}

static void workspace(const mw_call *call, mw_workspace *need) {
  const int64_t *y = call->out[0].spec.shape;
  need->call = (size_t)(y[2] + y[3]) * sizeof(tap);
}

static mw_status run(const mw_call *call, const mw_array *x, const mw_array *y, mw_chunk plane) {
  const upsample_attrs *a = call->attrs;
  const int64_t *from = x->spec.shape, *to = y->spec.shape;
  tap *rows = call->scratch, *columns = rows + to[2];
  job j = {.h = from[2],
           .w = from[3],
           .oh = to[2],
           .ow = to[3],
           .rows = rows,
           .columns = columns,
           .mode = a->mode,
           .x = x->data,
           .y = y->data};
  fill_taps(rows, j.h, j.oh, a);
  fill_taps(columns, j.w, j.ow, a);
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

/* ---- the op ------------------------------------------------------------------------------ */

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

static const mw_op upsample = {
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

MW_PLUGIN(&upsample)
