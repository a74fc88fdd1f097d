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

/* The same, but its ops and kernels may have the names of shipped ones, whose place they take, also
 * in tensors, programs and networks that exist. Kernels that others have for such an op stay aside:
 * they were written for the shipped op, and serve only where one is asked for by name. When the
 * plugin is unloaded, or no longer brings something, what is shipped is there again. */
MW_EXPORT mw_status mw_plugin_override(mw_context *ctx, const char *path, const char **names);

/* Puts the library at path in the place of the plugin that was loaded from origin: tensors,
 * programs and networks that exist use the new code when they run next. Attributes of calls that
 * exist go by their names, and a call that the new op does not fit fails when it is run, with the
 * reason; ops that the new library does not have are gone. On failure everything is as before.
 * names is as above, and the old texts are gone. The old library is closed
 * by a later load or reload, once nothing is left that was built with it. */
MW_EXPORT mw_status mw_plugin_reload(mw_context *ctx, const char *origin, const char *path,
                                     const char **names);

/* Takes the plugin that was loaded from origin out. Calls that exist still run. */
MW_EXPORT mw_status mw_plugin_unload(mw_context *ctx, const char *origin);

/* Where the code of an op comes from, or that of its kernel of some name: the path of a library, a
 * place in a script, or "shipped"; NULL when there is none. */
MW_EXPORT const char *mw_plugin_origin(mw_context *ctx, const char *op, const char *kernel);

/* The file in ops/, without its suffix, that has the shipped op of that name, or a kernel of it,
 * also while it is overridden; NULL when none is shipped. */
MW_EXPORT const char *mw_plugin_shipped(mw_context *ctx, const char *op, const char *kernel);

/* Grows whenever an op is replaced: what was derived from ops' functions may be out of date. */
MW_EXPORT uint64_t mw_plugin_generation(const mw_context *ctx);

/* A line for each plugin, the newest first, "library" or, of an op made at run time, "single", then
 * its origin, the ABI and the version that it was built for; below it "op", its name and version
 * for each op, and "kernel", op, name and dtype for each kernel of another name than "plain". Words
 * are separated by tabs. Returns a new string for the caller to free(), or NULL. */
MW_EXPORT char *mw_plugin_list(mw_context *ctx);

/* Registers an op that was made at run time, in the place of another such op of that name. Its
 * kernels serve every dtype: they go by the specs, and find what is theirs at call->op->data.
 * `owned`, in which the op and all it points to may lie, is released with the context, or when the
 * op was replaced and nothing is left that was built with it; after a failure it is still the
 * caller's. origin says where it came from, and is copied. */
MW_EXPORT mw_status mw_plugin_add(mw_context *ctx, const char *origin, const mw_op *op, void *owned,
                                  void (*release)(void *owned));

#endif
