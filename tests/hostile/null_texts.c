/* null_texts.c: an op without doc and example. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_null_texts"), .doc = NULL, .example = NULL};
MW_PLUGIN(&op)
