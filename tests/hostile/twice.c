/* twice.c: two ops of one name in one library. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_twice")};
MW_PLUGIN(&op, &op)
