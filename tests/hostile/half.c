/* half.c: registers one op, claims to be the adder of gradients with it, and then fails. */
#include "hostile.h"

static const mw_op first = {GOOD_OP("hostile_half"), .flags = MW_ADDS};
static const mw_op second = {GOOD_OP("hostile_half_second"), .infer = NULL};
MW_PLUGIN(&first, &second)
