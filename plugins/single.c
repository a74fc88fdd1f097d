/* single.c: registers one op that was made while the program runs. */
#include <stdlib.h>

#include "../graph/internal.h"
#include "plugin.h"

/* What the registry holds, and closes after the last that was built with the op. */
typedef struct single {
  void *owned;
  void (*release)(void *owned);
} single;

static void close_single(void *opened) {
  single *it = opened;
  it->release(it->owned);
  free(it);
}

mw_status mw_plugin_add(mw_context *ctx, const char *origin, const mw_op *op, void *owned,
                        void (*release)(void *owned)) {
  single *it = malloc(sizeof *it);
  if (!it) return mw_no_memory(ctx);
  *it = (single){.owned = owned, .release = release};
  mw_plugin *plugin = mw_plugin_begin(ctx, origin, it, close_single);
  if (!plugin) {
    free(it);
    return MW_FAILED;
  }
  const mw_op_entry *there = op->name ? mw_registry_find(ctx, op->name) : NULL;
  if (there && there->plugin->close == close_single) plugin->replaces = there->plugin;
  mw_op any = *op;
  any.flags |= MW_ANY_DTYPE;
  if (!mw_host_register_op(plugin, &any, sizeof any, MW_F32) && !mw_plugin_commit(plugin))
    return MW_OK;
  mw_plugin_abort(plugin);
  free(it);
  return MW_FAILED;
}
