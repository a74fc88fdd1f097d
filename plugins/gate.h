/* gate.h: runs of a program in which every call of an op's kernel is looked at closely. */
#ifndef MW_GATE_H
#define MW_GATE_H

#define MW_NO_REAL
#include "../graph/moonwalk.h"
#include "guard.h"

/* How to run it. The results of a kernel that keeps its contract do not depend on any of this. */
typedef struct mw_gate {
  const char *op;        /* whose calls are looked at; NULL: all */
  unsigned char outputs; /* what outputs, */
  unsigned char scratch; /* scratch and saved bytes, */
  unsigned char slack;   /* and what lies around all arrays is filled with */
  bool at_end;           /* where in its pages an array lies */
  bool starved;          /* malloc() gives nothing while a kernel runs */
  int workers;           /* 1: chunks in order; more: backwards, by these workers in turn */
  mw_note *note;         /* what runs is written there */
} mw_gate;

/* Computes tensors in a program of its own: results[i] is a new constant, tensors[i] stays as it
 * is. Each call has its arrays in guarded memory, the inputs read-only. calls, unless NULL,
 * receives how many were looked at; kernel, unless NULL, the name of the last one's kernel. */
mw_status mw_gate_run(mw_context *ctx, const mw_gate *gate, int n, mw_tensor *const *tensors,
                      mw_tensor **results, int *calls, const char **kernel);

/* Lets go of what infer of all ops came to, so that the next calls ask it again. */
void mw_gate_forget(mw_context *ctx);

/* What the plugin at that path was built against. Calls nothing but its entry, which is refused. */
mw_status mw_gate_abi(mw_context *ctx, const char *path, uint32_t *abi, char version[64]);

#endif
