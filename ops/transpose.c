/* transpose.c: axes in another order. */
/* real: f32 */
#include <string.h>

#include "../graph/moonwalk.h"

enum { TILE = 16, GRAIN = 16384 };

typedef struct transpose_attrs {
  mw_ints perm;
} transpose_attrs;

static const mw_attr schema[] = {
    {.name = "perm",
     .type = MW_AXES,
     .offset = offsetof(transpose_attrs, perm),
     .doc = "for each axis of y the axis of x that it is; none named: all in reverse",
     .initial = ""},
    {0}};

static mw_status infer(mw_infer *it) {
  transpose_attrs *attrs = it->attrs;
  mw_ints *perm = &attrs->perm;
  const mw_spec *x = &it->in[0];
  char text[MW_SPEC_TEXT];
  if (perm->count == 0)
    for (int k = x->rank - 1; k >= 0; k--) perm->at[perm->count++] = k;
  if (perm->count != x->rank)
    return mw_fail(it, "perm names %lld axes, x is %s and has %d", (long long)perm->count,
                   it->host->spec_text(x, text), x->rank);
  if (mw_expect_axes(it, "perm", perm, x->rank)) return MW_FAILED;
  it->out[0] = *x;
  for (int k = 0; k < x->rank; k++) it->out[0].shape[k] = x->shape[perm->at[k]];
  return MW_OK;
}

/* Axes of y, innermost first, with x's and y's step along each, in elements. */
typedef struct walk {
  int rank; /* at least 1 */
  int64_t size[MW_MAX_RANK], from[MW_MAX_RANK], to[MW_MAX_RANK];
} walk;

/* Neighbours in y that are neighbours in x too become one axis. */
static walk walk_of(const mw_spec *x, const mw_spec *y, const mw_ints *perm) {
  walk w = {.rank = 0};
  int64_t step[MW_MAX_RANK] = {0}, from = 1, to = 1;
  for (int k = x->rank - 1; k >= 0; k--) {
    step[k] = from;
    from *= x->shape[k];
  }
  for (int k = y->rank - 1; k >= 0; k--) {
    const int64_t size = y->shape[k], along = step[perm->at[k]];
    const int last = w.rank - 1;
    if (size == 1) continue;
    if (w.rank > 0 && along == w.from[last] * w.size[last]) {
      w.size[last] *= size;
    } else {
      w.size[w.rank] = size;
      w.from[w.rank] = along;
      w.to[w.rank++] = to;
    }
    to *= size;
  }
  if (w.rank == 0) w = (walk){.rank = 1, .size = {1}, .from = {1}, .to = {1}};
  return w;
}

/* Moves a matrix of elements: y[i, j] = x[j, i] with unit steps along i in x and along j in y. */
typedef void (*tile_move)(int64_t rows, int64_t columns, const char *x, int64_t x_step, char *y,
                          int64_t y_step);

static void move_1(int64_t rows, int64_t columns, const char *x, int64_t x_step, char *y,
                   int64_t y_step) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) y[i * y_step + j] = x[j * x_step + i];
}

static void move_4(int64_t rows, int64_t columns, const char *x, int64_t x_step, char *y,
                   int64_t y_step) {
  const uint32_t *from = (const void *)x;
  uint32_t *to = (void *)y;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[i * y_step + j] = from[j * x_step + i];
}

static void move_8(int64_t rows, int64_t columns, const char *x, int64_t x_step, char *y,
                   int64_t y_step) {
  const uint64_t *from = (const void *)x;
  uint64_t *to = (void *)y;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) to[i * y_step + j] = from[j * x_step + i];
}

typedef struct job {
  const mw_call *call;
  walk walk;
  int other; /* the axis of y along which x's step is 1; 0 when that is y's innermost too */
  size_t element;
  tile_move move;
  int64_t units, grain; /* positions of the axes that a unit does not cover; those of a chunk */
} job;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* One unit: a run of y's innermost axis, or a matrix of that and the other axis, tile by tile. */
static void move_unit(const job *j, const char *x, char *y) {
  const walk *w = &j->walk;
  const int64_t e = (int64_t)j->element, rows = w->size[j->other], columns = w->size[0];
  if (j->other == 0) {
    memcpy(y, x, (size_t)(columns * e));
    return;
  }
  for (int64_t r = 0; r < rows; r += TILE)
    for (int64_t c = 0; c < columns; c += TILE)
      j->move(least(TILE, rows - r), least(TILE, columns - c), x + (r + c * w->from[0]) * e,
              w->from[0], y + (r * w->to[j->other] + c) * e, w->to[j->other]);
}

static void transpose_chunk(void *arg, int64_t chunk, int worker) {
  const job *j = arg;
  const walk *w = &j->walk;
  const int64_t end = mw_chunk_end(j->units, j->grain, chunk);
  (void)worker;
  for (int64_t unit = chunk * j->grain; unit < end; unit++) {
    int64_t rest = unit, from = 0, to = 0;
    for (int k = 1; k < w->rank; k++) {
      if (k == j->other) continue;
      const int64_t at = rest % w->size[k];
      rest /= w->size[k];
      from += at * w->from[k];
      to += at * w->to[k];
    }
    move_unit(j, (const char *)j->call->in[0].data + from * (int64_t)j->element,
              (char *)j->call->out[0].data + to * (int64_t)j->element);
  }
}

static mw_status forward(const mw_call *call) {
  const transpose_attrs *attrs = call->attrs;
  const mw_array *x = &call->in[0], *y = &call->out[0];
  job j = {.call = call, .units = 1};
  if (y->count == 0) return MW_OK;
  j.walk = walk_of(&x->spec, &y->spec, &attrs->perm);
  for (int k = 0; k < j.walk.rank; k++)
    if (j.walk.from[k] == 1) j.other = k;
  for (int k = 1; k < j.walk.rank; k++)
    if (k != j.other) j.units *= j.walk.size[k];
  j.element = mw_element_size(x->spec.dtype);
  j.move = j.element == 8 ? move_8 : j.element == 4 ? move_4 : move_1;
  const int64_t covered = y->count / j.units;
  j.grain = covered < GRAIN ? GRAIN / covered : 1;
  mw_parallel(call, mw_chunks(j.units, j.grain), transpose_chunk, &j);
  return MW_OK;
}

static mw_status gradient(mw_build *g) {
  const transpose_attrs *attrs = g->attrs;
  int64_t inverse[MW_MAX_RANK] = {0};
  for (int64_t k = 0; k < attrs->perm.count; k++) inverse[attrs->perm.at[k]] = k;
  const mw_setting perm = mw_list("perm", (int)attrs->perm.count, inverse);
  g->din[0] = mw_make(g, "transpose", 1, g->dout, 1, &perm);
  return MW_OK;
}

static const mw_op transpose_op = {
    .name = "transpose",
    .version = 1,
    .doc = "Puts the axes in another order: axis k of y is axis perm[k] of x.",
    .example = "mw.transpose(mw.randn{2,3,4}, {perm={2,3,1}})",
    .cases =
        "mw.transpose(mw.randn{3,5})\n"
        "mw.transpose(mw.randn{2,3,1,5}, {perm={4,1,-2,2}})\n"
        "mw.transpose(mw.randn{7}, {perm={1}})\n"
        "mw.transpose(mw.randn{})\n"
        "mw.transpose(mw.randn{17,3,2}, {perm={2,1,3}})\n"
        "mw.transpose(mw.randn{0,3}, {perm={2,1}})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .attrs = schema,
    .attrs_size = sizeof(transpose_attrs),
    .flags = MW_ANY_DTYPE | MW_LINEAR,
    .infer = infer,
    .forward = forward,
    .gradient = gradient,
};

MW_PLUGIN(&transpose_op)
