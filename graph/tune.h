/* tune.h: what is known of how fast kernels are, and choosing by it. */
#ifndef MW_TUNE_H
#define MW_TUNE_H

#include <stdio.h>

#include "internal.h"

/* One call, on one kind of machine, and what each kernel took for it: a line of the table. The
 * texts are of one allocation. times: "gemm@shipped@0.1.0=123456", in nanoseconds, or "-" for one
 * that was not worth measuring; tabs between them. */
typedef struct mw_tuned {
  char *call, *machine, *times;
} mw_tuned;

#define MW_PROCESSOR 49
typedef struct mw_tuner {
  mw_tune_mode mode;
  double budget, spent; /* seconds; budget 0: no limit */
  char *file;           /* or NULL */
  bool foreign;         /* the file is not ours to write */
  bool dirty;           /* something was measured since it was written */
  mw_tuned *tuned;
  int n, room;
  char processor[MW_PROCESSOR], machine[128];
  char note[512]; /* what was ignored, or not written, and why */
} mw_tuner;

void mw_tuner_free(mw_tuner *t);
/* The line for a call, on that machine, or (NULL) on any; NULL when there is none. */
const mw_tuned *mw_tuned_find(const mw_tuner *t, const char *call, const char *machine);
/* Puts a line into the table, in the place of one for the same call and machine. */
mw_status mw_tuned_put(mw_context *ctx, mw_tuner *t, const char *call, const char *machine,
                       const char *times);
/* What the line says a kernel takes: nanoseconds, MW_SLOW for one that was not worth measuring, or
 * MW_UNKNOWN. id is "gemm@shipped@0.1.0", or with a `whole` of false the name alone. */
#define MW_SLOW INT64_MAX
#define MW_UNKNOWN (-1)
int64_t mw_tuned_time(const mw_tuned *line, const char *id, bool whole);
/* Appends text to a stream, without what separates fields. */
void mw_tuned_escape(FILE *out, const char *text);

/* Reads t->file into the table; and writes the table there. What fails is told by t->note. False
 * when there is no table to read. */
bool mw_tuner_read(mw_context *ctx, mw_tuner *t);
void mw_tuner_write(mw_context *ctx, mw_tuner *t);

#endif
