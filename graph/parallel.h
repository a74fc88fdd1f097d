/* parallel.h: the one parallel loop. */
#ifndef MW_PARALLEL_H
#define MW_PARALLEL_H

#include <stdint.h>

#define MW_NO_REAL
#include "moonwalk.h"

/* Calls run(arg, chunk, worker) for the chunks 0 to chunks - 1, on the context's threads; workers
 * have numbers below mw_threads(). For the thread that uses the context. */
void mw_host_parallel(mw_context *ctx, int64_t chunks, mw_chunk run, void *arg);
/* The same on this thread alone; loops inside, too. */
void mw_run_serially(int64_t chunks, mw_chunk run, void *arg);

#endif
