/* loops.c: a forward that never comes back. */
#include "hostile.h"

static volatile int64_t zero;

static mw_status loops(const mw_call *call UNUSED) {
  while (zero == 0) continue;
  return MW_OK;
}

static const mw_op op = {GOOD_OP("hostile_loops"), .forward = loops,
                         .example = "mw.hostile_loops(mw.randn{3,1,5})"};
MW_PLUGIN(&op)
