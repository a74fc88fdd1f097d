/* pad.c: a tensor with a border, or without its outermost entries. */
/* real: f32 f64 i32 i64 u8 */
#include <string.h>

#include "../graph/moonwalk.h"

enum { GRAIN = 16384 }; /* elements of a chunk, about */

enum { CONSTANT, REFLECT, EDGE, WRAP };

typedef struct pad_attrs {
  mw_ints pads; /* after infer: before and after for each axis */
  int mode;
  double value; /* of pad only */
} pad_attrs;

/* ---- shapes ------------------------------------------------------------------------------- */

/* One axis: x's entries from `first` on, `kept` in number, stand in y after `before` others. */
typedef struct side {
  int64_t first, kept, before, after;
} side;

static side side_of(const mw_ints *pads, int axis, int64_t size) {
  const int64_t before = pads->at[2 * axis], after = pads->at[2 * axis + 1];
  const int64_t first = before < 0 ? -before : 0, last = after < 0 ? -after : 0;
  return (side){.first = first,
                .kept = size - first - last,
                .before = before > 0 ? before : 0,
                .after = after > 0 ? after : 0};
}

static mw_status check_side(const mw_infer *it, int axis, const side *s) {
  const pad_attrs *attrs = it->attrs;
  const int64_t most = s->before > s->after ? s->before : s->after;
  const int from_end = axis - it->in[0].rank; /* the same in every language */
  char text[MW_SPEC_TEXT];
  it->host->spec_text(&it->in[0], text);
  if (s->kept < 0)
    return mw_fail(it, "pads take away more than the %lld entries of axis %d of x, which is %s",
                   (long long)it->in[0].shape[axis], from_end, text);
  if (most == 0 || attrs->mode == CONSTANT) return MW_OK;
  if (attrs->mode == REFLECT && most >= s->kept)
    return mw_fail(it,
                   "pads has %lld for axis %d, but reflect takes at most %lld there, one less than "
                   "its size: x is %s%s",
                   (long long)most, from_end, (long long)(s->kept > 0 ? s->kept - 1 : 0), text,
                   s->kept < it->in[0].shape[axis] ? ", and pads crop it" : "");
  if (s->kept == 0)
    return mw_fail(it, "axis %d is empty, so that only the mode constant can pad it: x is %s",
                   from_end, text);
  return MW_OK;
}

/* Brings pads into standard form and gives the result's shape. */
static mw_status resolve(const mw_infer *it, mw_spec *y) {
  const mw_spec *x = &it->in[0];
  mw_ints *pads = &((pad_attrs *)it->attrs)->pads;
  char text[MW_SPEC_TEXT];
  if (pads->count % 2 != 0 || pads->count > 2 * x->rank)
    return mw_fail(it,
                   "pads has %lld entries, expected two for each axis, {before, after, ..}, at "
                   "most %d: x is %s",
                   (long long)pads->count, 2 * x->rank, it->host->spec_text(x, text));
  const int64_t given = pads->count, absent = 2 * x->rank - given;
  for (int64_t k = 2 * x->rank - 1; k >= 0; k--)
    pads->at[k] = k < absent ? 0 : pads->at[k - absent];
  pads->count = 2 * x->rank;
  *y = *x;
  for (int k = 0; k < x->rank; k++) {
    for (int i = 0; i < 2; i++)
      if (pads->at[2 * k + i] < -MW_MAX_SIDE || pads->at[2 * k + i] > MW_MAX_SIDE)
        return mw_fail(it, "pads has %lld, expected at most 2^28", (long long)pads->at[2 * k + i]);
    const side s = side_of(pads, k, x->shape[k]);
    if (check_side(it, k, &s)) return MW_FAILED;
    y->shape[k] = s.before + s.kept + s.after;
  }
  return MW_OK;
}

static mw_status linear_infer(mw_infer *it) { return resolve(it, &it->out[0]); }

static mw_status pad_infer(mw_infer *it) {
  const double value = ((const pad_attrs *)it->attrs)->value;
  const mw_dtype dtype = it->in[0].dtype;
  char text[MW_SPEC_TEXT];
  mw_spec y;
  const double most = dtype == MW_BOOL ? 1 : dtype == MW_U8 ? 255 : INT32_MAX;
  const double least = dtype == MW_BOOL || dtype == MW_U8 ? 0 : INT32_MIN;
  const bool whole = value >= least && value <= most && value == (double)(int64_t)value;
  if (!mw_is_float(dtype) && !whole)
    return mw_fail(it, "value is %g, expected an integer from %.0f to %.0f, since x is %s", value,
                   least, most, it->host->spec_text(&it->in[0], text));
  return resolve(it, &y);
}

/* ---- the linear part: kernels ------------------------------------------------------------- */

typedef struct job {
  const mw_call *call;
  const mw_spec *x, *y;
  side last;                        /* of the innermost axis */
  const int64_t *from[MW_MAX_RANK]; /* for each position along y's axis that of x, or -1 */
  int64_t columns, x_columns;       /* of the innermost axis of y and of x */
  int64_t rows, grain;              /* of y; those of a chunk */
} job;

/* The position in x, or -1, of position i along an axis of y, counted from the first one kept. */
static int64_t source(int mode, const side *s, int64_t i) {
  if (i >= 0 && i < s->kept) return s->first + i;
  switch (mode) {
    case REFLECT: return s->first + (i < 0 ? -i : 2 * (s->kept - 1) - i);
    case EDGE: return s->first + (i < 0 ? 0 : s->kept - 1);
    case WRAP: return s->first + (i % s->kept + s->kept) % s->kept;
    default: return -1;
  }
}

static job job_of(const mw_call *call, const mw_spec *x, const mw_spec *y) {
  const pad_attrs *attrs = call->attrs;
  job j = {.call = call, .x = x, .y = y, .last = {.kept = 1}, .columns = 1, .x_columns = 1};
  int64_t *map = call->scratch;
  for (int k = 0; k < y->rank; k++) {
    const side s = side_of(&attrs->pads, k, x->shape[k]);
    j.from[k] = map;
    for (int64_t i = 0; i < y->shape[k]; i++) *map++ = source(attrs->mode, &s, i - s.before);
    j.last = s;
    j.columns = y->shape[k];
    j.x_columns = x->shape[k];
  }
  j.rows = 1;
  for (int k = 0; k < y->rank - 1; k++) j.rows *= y->shape[k];
  return j;
}

static void linear_workspace(const mw_call *call, mw_workspace *need) {
  const mw_spec *y = call->backward ? &call->dout[0].spec : &call->out[0].spec;
  for (int k = 0; k < y->rank; k++) need->call += (size_t)y->shape[k] * sizeof(int64_t);
}

/* The row of x that a row of y is made of, or -1. */
static int64_t row_of(const job *j, int64_t row) {
  int64_t from = 0, step = 1;
  for (int k = j->y->rank - 2; k >= 0; k--) {
    const int64_t at = j->from[k][row % j->y->shape[k]];
    if (at < 0) return -1;
    from += at * step;
    step *= j->x->shape[k];
    row /= j->y->shape[k];
  }
  return from;
}

static void forward_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const side *s = &j->last;
  const int64_t *map = j->y->rank > 0 ? j->from[j->y->rank - 1] : NULL;
  const int64_t end = mw_chunk_end(j->rows, j->grain, chunk);
  (void)worker;
  for (int64_t row = chunk * j->grain; row < end; row++) {
    const int64_t from = row_of(j, row);
    real *y = (real *)j->call->out[0].data + row * j->columns;
    if (from < 0 || j->x_columns == 0) {
      memset(y, 0, (size_t)j->columns * sizeof(real));
      continue;
    }
    const real *x = (const real *)j->call->in[0].data + from * j->x_columns;
    for (int64_t i = 0; i < s->before; i++) y[i] = map[i] < 0 ? 0 : x[map[i]];
    memcpy(y + s->before, x + s->first, (size_t)s->kept * sizeof(real));
    for (int64_t i = s->before + s->kept; i < j->columns; i++) y[i] = map[i] < 0 ? 0 : x[map[i]];
  }
}

static mw_status linear_forward(const mw_call *call) {
  const mw_array *y = &call->out[0];
  if (y->count == 0) return MW_OK;
  job j = job_of(call, &call->in[0].spec, &y->spec);
  j.grain = j.columns < GRAIN ? GRAIN / j.columns : 1;
  mw_parallel(call, mw_chunks(j.rows, j.grain), forward_chunk, &j);
  return MW_OK;
}

/* Adds a row of dy to the row of dx that it was made of, in the order of dy. */
static void add_row(const job *j, const real *dy, real *dx) {
  const side *s = &j->last;
  const int64_t *map = j->y->rank > 0 ? j->from[j->y->rank - 1] : NULL;
  for (int64_t i = 0; i < s->before; i++)
    if (map[i] >= 0) dx[map[i]] = (real)(dx[map[i]] + dy[i]);
  for (int64_t i = 0; i < s->kept; i++)
    dx[s->first + i] = (real)(dx[s->first + i] + dy[s->before + i]);
  for (int64_t i = s->before + s->kept; i < j->columns; i++)
    if (map[i] >= 0) dx[map[i]] = (real)(dx[map[i]] + dy[i]);
}

/* Blocks of leading axes that are not padded: what two of them add to never meets. */
typedef struct blocks {
  job job;
  int64_t n, grain, rows, x_size; /* rows of y and elements of x in a block */
} blocks;

static void backward_chunk(void *arg, int64_t chunk, int worker) {
  const blocks *b = arg;
  const job *j = &b->job;
  const int64_t first = chunk * b->grain, end = mw_chunk_end(b->n, b->grain, chunk);
  const real *dy = j->call->dout[0].data;
  real *dx = j->call->din[0].data;
  (void)worker;
  memset(dx + first * b->x_size, 0, (size_t)((end - first) * b->x_size) * sizeof(real));
  for (int64_t row = first * b->rows; row < end * b->rows; row++) {
    const int64_t to = row_of(j, row);
    if (to >= 0) add_row(j, dy + row * j->columns, dx + to * j->x_columns);
  }
}

static mw_status linear_backward(const mw_call *call) {
  const pad_attrs *attrs = call->attrs;
  const mw_array *dx = &call->din[0], *dy = &call->dout[0];
  blocks b = {.n = 1};
  if (dx->count == 0) return MW_OK;
  b.job = job_of(call, &dx->spec, &dy->spec);
  for (int k = 0; k < dx->spec.rank - 1 && !attrs->pads.at[2 * k] && !attrs->pads.at[2 * k + 1];
       k++)
    b.n *= dx->spec.shape[k];
  b.rows = b.job.rows / b.n;
  b.x_size = dx->count / b.n;
  b.grain = b.x_size < GRAIN ? GRAIN / b.x_size : 1;
  mw_parallel(call, mw_chunks(b.n, b.grain), backward_chunk, &b);
  return MW_OK;
}

/* ---- the whole ---------------------------------------------------------------------------- */

/* A border of another number than 0 is not linear in x: it is put in where a mask, padded in the
 * same way, says that nothing of x is. */
static mw_status pad_compose(mw_build *b) {
  const pad_attrs *attrs = b->attrs;
  static const char *const names[] = {"constant", "reflect", "edge", "wrap"};
  const mw_setting settings[] = {mw_list("pads", (int)attrs->pads.count, attrs->pads.at),
                                 mw_text("mode", names[attrs->mode])};
  mw_tensor *y = mw_make(b, "pad_linear", 1, b->in, 2, settings);
  if (attrs->mode == CONSTANT && attrs->value != 0) {
    const mw_spec flag = {.dtype = MW_BOOL};
    mw_tensor *one = b->host->make_constant(b, &flag, 1);
    mw_tensor *inside = mw_make_like(b, "expand", one, b->in[0]);
    inside = mw_make(b, "pad_linear", 1, &inside, 2, settings);
    y = mw_make(b, "where", 3,
                (mw_tensor *[]){inside, y, mw_make_scalar(b, b->in[0], attrs->value)}, 0, NULL);
  }
  b->out[0] = y;
  return MW_OK;
}

/* ---- the ops ------------------------------------------------------------------------------ */

#define PADS                                                                                     \
  {                                                                                              \
    .name = "pads", .type = MW_INTS, .offset = offsetof(pad_attrs, pads),                        \
    .doc =                                                                                       \
        "{before, after, before, after, ..}: two for each axis; a shorter list is for the last " \
        "axes. Negative ones take entries away"                                                  \
  }

#define MODE                                                                                    \
  {                                                                                             \
    .name = "mode", .type = MW_CHOICE, .offset = offsetof(pad_attrs, mode),                     \
    .doc = "what the border holds: a number, x mirrored without its edge, x's edge, or x anew", \
    .initial = "constant", .choices = "constant|reflect|edge|wrap"                              \
  }

static const mw_attr pad_schema[] = {PADS,
                                     MODE,
                                     {.name = "value",
                                      .type = MW_FLOAT,
                                      .offset = offsetof(pad_attrs, value),
                                      .doc = "the number of the mode constant",
                                      .initial = "0"},
                                     {0}};

static const mw_op pad_op = {
    .name = "pad",
    .version = 1,
    .doc =
        "Puts a border around x: pads={1,2} gives the last axis one entry before and two after, "
        "and negative pads take entries away, before others are put there. Of [a, b, c] with "
        "pads={2,2} the modes make: constant [0, 0, a, b, c, 0, 0], reflect [c, b, a, b, c, b, a], "
        "edge [a, a, a, b, c, c, c], wrap [b, c, a, b, c, a, b]. For reflect pads must be less "
        "than the size.",
    .example = "mw.pad(mw.randn{2,3}, {pads={1,2}})",
    .cases =
        "mw.pad(mw.randn{2,3}, {pads={1,0,2,1}, value=-1.5})\n"
        "mw.pad(mw.randn{3,4}, {pads={1,2,3,1}, mode='reflect'})\n"
        "mw.pad(mw.randn{2,1,3}, {pads={2,1,0,3}, mode='edge'})\n"
        "mw.pad(mw.randn{3,2}, {pads={1,2,5,1}, mode='wrap'})\n"
        "mw.pad(mw.randn{5}, {pads={-1,2}, mode='reflect'})\n"
        "mw.pad(mw.randn{4,5}, {pads={-1,-2,1,-2}, value=3})\n"
        "mw.pad(mw.randn{1,2,2,2}, {pads={0,0,1,1,0,0,0,0}})\n"
        "mw.pad(mw.randn{}, {pads={}})\n"
        "mw.pad(mw.randn{0,3}, {pads={1,1,1,1}, value=2})\n"
        "mw.pad(mw.randn{0,3}, {pads={1,1}, mode='edge'})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = pad_schema,
    .attrs_size = sizeof(pad_attrs),
    .infer = pad_infer,
    .compose = pad_compose,
};

static const mw_attr linear_schema[] = {PADS, MODE, {0}};

static const mw_op linear_op = {
    .name = "pad_linear",
    .version = 1,
    .doc =
        "What pad is made of: pad with a border of 0, of mirrored, edge or wrapped entries. It is "
        "linear in x, and so has derivatives of every order.",
    .example = "mw.pad_linear(mw.randn{2,3}, {pads={1,2}})",
    .cases =
        "mw.pad_linear(mw.randn{3,4}, {pads={1,2,3,1}, mode='reflect'})\n"
        "mw.pad_linear(mw.randn{2,1,3}, {pads={2,1,0,3}, mode='edge'})\n"
        "mw.pad_linear(mw.randn{2,3,2}, {pads={-1,2,5,1}, mode='wrap'})\n"
        "mw.pad_linear(mw.randn{4,5}, {pads={-1,-2,1,-2}})\n"
        "mw.pad_linear(mw.randn{0,3}, {pads={1,0,0,0}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = linear_schema,
    .attrs_size = sizeof(pad_attrs),
    .flags = MW_LINEAR,
    .infer = linear_infer,
    .workspace = linear_workspace,
    .forward = linear_forward,
    .backward = linear_backward,
};

MW_PLUGIN(&pad_op, &linear_op)
