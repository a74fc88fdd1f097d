/* lost_kernel.c: a kernel for an op that does not exist. */
#include "hostile.h"

static const mw_kernel kernel = {
    .op = "no_such_op", .name = "fast", .priority = 1, .forward = good_forward};
MW_PLUGIN_WITH_KERNELS((NULL), (&kernel))
