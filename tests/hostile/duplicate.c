/* duplicate.c: an op whose name is taken. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("relu")};
MW_PLUGIN(&op)
