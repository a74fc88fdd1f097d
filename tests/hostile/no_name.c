/* no_name.c: an op without a name. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("unused"), .name = NULL};
MW_PLUGIN(&op)
