/* bad_name.c: an op with a name that is no name. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("Hostile op")};
MW_PLUGIN(&op)
