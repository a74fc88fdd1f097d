/* plugin.h: getting ops from a shared library into a running context. */
#ifndef MW_PLUGIN_H
#define MW_PLUGIN_H

#define MW_NO_REAL
#include "../graph/moonwalk.h"

/* Loads the library at path, which is used as it stands: no folders are searched. All of its ops
 * and kernels are registered, or none. names, unless it is NULL, receives the names of the ops
 * that came with it, one a line; the text and the library stay as long as the context. On failure
 * mw_error() names the path and the reason. */
MW_EXPORT mw_status mw_plugin_load(mw_context *ctx, const char *path, const char **names);

/* Registers an op that was made at run time. Its kernels serve every dtype: they go by the specs,
 * and find what is theirs at call->op->data. `owned`, in which the op and all it points to may lie,
 * is released with the context; after a failure it is still the caller's. origin says where it came
 * from, and is copied. */
MW_EXPORT mw_status mw_plugin_add(mw_context *ctx, const char *origin, const mw_op *op, void *owned,
                                  void (*release)(void *owned));

#endif
