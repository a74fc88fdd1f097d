/* undefined_symbol.c: needs a function that nobody has. */
#include "hostile.h"

double function_of_a_missing_library(double x);

static mw_status forward(const mw_call *call) {
  *(real *)call->out[0].data = (real)function_of_a_missing_library(1);
  return MW_OK;
}

static const mw_op op = {GOOD_OP("hostile_undefined"), .forward = forward};
MW_PLUGIN(&op)
