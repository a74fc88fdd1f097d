/* null_infer.c: an op that cannot say what shape it gives. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_null_infer"), .infer = NULL};
MW_PLUGIN(&op)
