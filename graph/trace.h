/* trace.h: the gradients of all that lies between a tensor and those that it is differentiated in,
 * for those who look at a graph. */
#ifndef MW_TRACE_H
#define MW_TRACE_H

#include "moonwalk.h"

/* One gradient that arrives at a tensor: there is one from each place where it is used. */
typedef struct mw_traced_part {
  int user;  /* the position of an output of the node that uses it; -1: none, it is y */
  int input; /* as which input of that node; -1: the node is a checkpoint, or of a gradient */
  mw_tensor *gradient;
} mw_traced_part;

typedef struct mw_traced {
  mw_tensor *tensor, *gradient; /* the gradient is the sum of its parts */
  int first, n_parts;
} mw_traced;

/* Users stand before what they use: y is the first. Tensors that no gradient reaches are not there,
 * and neither is what a checkpoint hides. All are held. */
typedef struct mw_trace {
  int n, n_parts;
  mw_traced *tensors;
  mw_traced_part *parts;
} mw_trace;

/* As mw_grad() differentiates a scalar y in x[0 .. n-1]. After a failure there is nothing to free. */
mw_status mw_trace_new(mw_context *ctx, mw_tensor *y, int n, mw_tensor *const *x, mw_trace *trace);
void mw_trace_free(mw_trace *trace);

#endif
