/* host.c: the table that ops and plugins call back through. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static mw_status host_fail(mw_context *ctx, const char *format, ...) {
  char text[MW_ERROR_TEXT];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return mw_set_error(ctx, "%s", text);
}

const mw_host mw_host_table = {
    .abi = MW_ABI,
    .size = sizeof(mw_host),
    .version = MW_VERSION,
    .accept = mw_host_accept,
    .register_op = mw_host_register_op,
    .register_kernel = mw_host_register_kernel,
    .fail = host_fail,
    .spec_text = mw_spec_text,
    .parallel = mw_host_parallel,
    .gemm = mw_host_gemm,
    .make = mw_host_make,
    .make_constant = mw_host_make_constant,
    .tensor_spec = mw_tensor_spec,
    .random = mw_philox,
    .formula = mw_host_formula,
    .keep = mw_host_keep,
    .expect_axis = mw_host_expect_axis,
    .hook = mw_host_hook,
    .threads = mw_host_threads,
};
