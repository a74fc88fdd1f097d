/* null_forward.c: an op that cannot compute. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_null_forward"), .forward = NULL};
MW_PLUGIN(&op)
