/* conv2d.h: what the kernels of conv2d.c's three ops, each in a file of its own, know of a call. */
#ifndef MW_CONV2D_H
#define MW_CONV2D_H

#include <string.h>

#include "../graph/moonwalk.h"

/* Which of an op's tensors are the x, w and y of a convolution: positions of inputs, or OUT. */
enum { OUT = -1, BIAS = 2 };
typedef struct roles {
  int x, w, y;
} roles;

/* The sizes that the kernels loop over. */
typedef struct geometry {
  int64_t n, c, h, w;                /* x is [n, c, h, w] */
  int64_t o, cg, kh, kw;             /* w is [o, cg, kh, kw] */
  int64_t oh, ow;                    /* y is [n, o, oh, ow] */
  int64_t groups, og;                /* each group takes cg channels to og */
  int64_t sh, sw, dh, dw, top, left; /* stride, dilation, padding */
  bool flip;
} geometry;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* An attribute of the op, which its own file keeps in a struct of its own. */
static inline const void *attr(const mw_call *call, const char *name) {
  const mw_attr *a = call->op->attrs;
  while (strcmp(a->name, name) != 0) a++;
  return (const char *)call->attrs + a->offset;
}

static inline const mw_array *array_of(const mw_call *call, int role) {
  return role == OUT ? &call->out[0] : &call->in[role];
}

static inline geometry geometry_of(const mw_call *call, const roles *r) {
  const int64_t *x = array_of(call, r->x)->spec.shape, *w = array_of(call, r->w)->spec.shape;
  const int64_t *y = array_of(call, r->y)->spec.shape;
  const mw_ints *stride = attr(call, "stride"), *dilation = attr(call, "dilation");
  const mw_ints *padding = attr(call, "padding");
  geometry g = {.n = x[0], .c = x[1], .h = x[2], .w = x[3]};
  g.o = w[0], g.cg = w[1], g.kh = w[2], g.kw = w[3];
  g.oh = y[2], g.ow = y[3];
  g.groups = *(const int64_t *)attr(call, "groups"), g.og = g.o / g.groups;
  g.flip = *(const bool *)attr(call, "flip");
  g.sh = stride->at[0], g.sw = stride->at[1];
  g.dh = dilation->at[0], g.dw = dilation->at[1];
  g.top = padding->at[0], g.left = padding->at[1];
  return g;
}

/* One of x, w and y: read from where the call has it, or wanted where the call wants it. */
static inline void bind(const mw_call *call, int role, const real **from, real **to) {
  if (call->backward) {
    *from = role == OUT ? call->dout[0].data : call->in[role].data;
    *to = role == OUT ? NULL : call->din[role].data;
  } else {
    *from = role == OUT ? NULL : call->in[role].data;
    *to = role == OUT ? call->out[0].data : NULL;
  }
}

/* Forward and backward of an op differ in what is wanted. */
__attribute__((unused)) static const roles of_conv = {.x = 0, .w = 1, .y = OUT};
__attribute__((unused)) static const roles of_transpose = {.x = OUT, .w = 1, .y = 0};
__attribute__((unused)) static const roles of_weight = {.x = 0, .w = OUT, .y = 1};

#endif
