/* commit.c: puts what a plugin has registered into the registry, in place of what was there: of its
 * own earlier version, or of shipped ops and kernels that it overrides; and closes libraries. */
#include <string.h>

#include "registry.h"

/* ---- what else is to be said of an op that is replaced --------------------------------------- */

/* Whether a kernel that was written for one op can be asked to serve the other. */
static bool fits(const mw_op *op, const mw_op *other) {
  return !mw_is_composed(other) && mw_attrs_same_layout(op, other);
}

static mw_status misfit(mw_context *ctx, const mw_op_entry *new, const mw_kernel_entry *kernel) {
  return mw_set_error(ctx,
                      "op %s has other attributes now, and the kernel %s from %s is made for the "
                      "old ones",
                      new->op.name, kernel->kernel.name, kernel->plugin->origin);
}

/* Brings the kernels that other plugins gave an op, and what the user prefers, over to what replaces
 * it. Those that were made for the shipped op stay aside while another op is in its place. */
static mw_status carry_kernels(mw_plugin *plugin, const mw_op_entry *old, mw_op_entry *new) {
  mw_context *ctx = plugin->ctx;
  const bool overridden_now = old->plugin == ctx->shipped && new->plugin != ctx->shipped;
  for (int k = 0; k < old->n_kernels; k++) {
    mw_kernel_entry kernel = old->kernels[k];
    if (kernel.plugin == plugin->replaces || kernel.plugin == ctx->shipped) continue;
    if (!fits(&old->op, &new->op)) return misfit(ctx, new, &kernel);
    if (mw_entry_kernel(new, kernel.kernel.name, kernel.dtype))
      return mw_set_error(ctx, "%s has a kernel %s already, from %s", new->op.name,
                          kernel.kernel.name, kernel.plugin->origin);
    kernel.aside = new->plugin != ctx->shipped && (kernel.aside || overridden_now);
    if (mw_entry_add_kernel(new, &kernel)) return MW_FAILED;
  }
  if (overridden_now) return MW_OK; /* a choice among the shipped kernels is none of the new op */
  for (int k = 0; k < new->n_kernels && old->preferred && !new->preferred; k++)
    if (strcmp(new->kernels[k].kernel.name, old->preferred) == 0 &&
        !(new->preferred = strdup(old->preferred)))
      return mw_no_memory(ctx);
  return MW_OK;
}

static bool has_kernel_of(const mw_op_entry *entry, const mw_plugin *plugin) {
  for (int k = 0; k < entry->n_kernels; k++)
    if (entry->kernels[k].plugin == plugin) return true;
  return false;
}

/* ---- shipped ops that are overridden --------------------------------------------------------- */

mw_op_entry *mw_registry_original(const mw_context *ctx, const char *name) {
  return mw_ops_find(ctx->originals, ctx->n_originals, name);
}

/* Notes a shipped op as it was shipped, before something takes its place for the first time. */
static mw_status keep_original(mw_context *ctx, const mw_op_entry *entry) {
  if (entry->plugin != ctx->shipped || mw_registry_original(ctx, entry->op.name)) return MW_OK;
  if (mw_ops_reserve(ctx, &ctx->originals, ctx->n_originals, &ctx->originals_room, 1))
    return MW_FAILED;
  mw_op_entry *original = mw_entry_bare(entry); /* with room for all */
  if (!original) return mw_no_memory(ctx);
  for (int k = 0; k < entry->n_kernels; k++)
    if (entry->kernels[k].plugin == ctx->shipped)
      original->kernels[original->n_kernels++] = entry->kernels[k];
  free(original->preferred);
  original->preferred = NULL;
  mw_ops_insert(ctx->originals, &ctx->n_originals, original);
  return MW_OK;
}

/* Gives an entry the shipped kernels that nothing is in the place of: aside when the op itself is
 * another one, to which the shipped op's own functions mean nothing. */
static mw_status add_shipped_kernels(const mw_context *ctx, mw_op_entry *entry) {
  const mw_op_entry *original = mw_registry_original(ctx, entry->op.name);
  const bool same_op = entry->plugin == ctx->shipped;
  if (!original || (!same_op && !fits(&original->op, &entry->op))) return MW_OK;
  for (int k = 0; k < original->n_kernels; k++) {
    mw_kernel_entry kernel = original->kernels[k];
    if (mw_entry_kernel(entry, kernel.kernel.name, kernel.dtype)) continue;
    if (!same_op && strcmp(kernel.kernel.name, "plain") == 0) continue;
    kernel.aside = !same_op;
    if (mw_entry_add_kernel(entry, &kernel)) return MW_FAILED;
  }
  return MW_OK;
}

/* ---- what a commit comes to ------------------------------------------------------------------ */

/* Completes what takes the place of an op of the registry, if something does: what the plugin brings,
 * or the rest of what its earlier version had to do with. */
static mw_status stage_place_of(mw_plugin *plugin, const mw_op_entry *entry) {
  mw_context *ctx = plugin->ctx;
  const mw_plugin *old = plugin->replaces;
  mw_op_entry *place = mw_ops_find(plugin->staged, plugin->n_staged, entry->op.name);
  bool is_another = place && place->plugin == plugin;
  if (place && plugin->overrides && keep_original(ctx, entry)) return MW_FAILED;
  if (!place) {
    const mw_op_entry *original = mw_registry_original(ctx, entry->op.name);
    const bool was_its_own = old && entry->plugin == old;
    if (was_its_own && original) place = mw_entry_bare(original), is_another = true;
    else if (!was_its_own && old && has_kernel_of(entry, old)) place = mw_entry_without(entry, old);
    else return MW_OK;
    if (mw_plugin_stage(plugin, place)) return MW_FAILED;
  }
  if (is_another && carry_kernels(plugin, entry, place)) return MW_FAILED;
  return add_shipped_kernels(ctx, place);
}

static mw_status stage_all(mw_plugin *plugin) {
  for (int i = 0; i < plugin->ctx->n_ops; i++)
    if (stage_place_of(plugin, plugin->ctx->ops[i])) return MW_FAILED;
  return MW_OK;
}

/* ---- putting it into the registry ------------------------------------------------------------ */

static void retire(mw_context *ctx, mw_op_entry *entry) {
  entry->retired = true;
  entry->next = ctx->retired;
  ctx->retired = entry;
  if (ctx->adder == entry) ctx->adder = NULL;
}

/* Takes the ops of a plugin out of the registry. */
static void remove_ops(mw_context *ctx, const mw_plugin *plugin) {
  int kept = 0;
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->plugin == plugin) retire(ctx, ctx->ops[i]);
    else ctx->ops[kept++] = ctx->ops[i];
  ctx->n_ops = kept;
}

static bool in_use(const mw_context *ctx, const mw_plugin *plugin) {
  for (int i = 0; i < ctx->n_ops; i++)
    if (ctx->ops[i]->plugin == plugin || has_kernel_of(ctx->ops[i], plugin)) return true;
  for (const mw_op_entry *e = ctx->retired; e; e = e->next)
    if (e->plugin == plugin || has_kernel_of(e, plugin)) return true;
  return false;
}

/* Closes what was replaced, once nothing is left that was built with it. Only a commit does this:
 * whoever has found an op may go on using it until then. */
static void sweep(mw_context *ctx) {
  for (mw_op_entry **at = &ctx->retired; *at;) {
    mw_op_entry *entry = *at;
    if (entry->refs) {
      at = &entry->next;
    } else {
      *at = entry->next;
      mw_entry_free(entry);
    }
  }
  for (mw_plugin **at = &ctx->plugins; *at;) {
    mw_plugin *plugin = *at;
    if (!plugin->retired || in_use(ctx, plugin)) {
      at = &plugin->next;
    } else {
      *at = plugin->next;
      if (plugin->close) plugin->close(plugin->library);
      mw_plugin_free(plugin);
    }
  }
}

mw_status mw_plugin_commit(mw_plugin *plugin) {
  mw_context *ctx = plugin->ctx;
  if (stage_all(plugin) ||
      mw_ops_reserve(ctx, &ctx->ops, ctx->n_ops, &ctx->ops_room, plugin->n_staged) ||
      mw_registry_reserve_places(ctx, ctx->n_ops + plugin->n_staged))
    return MW_FAILED;
  bool replaced = plugin->replaces;
  for (int i = 0; i < plugin->n_staged; i++) {
    mw_op_entry *entry = plugin->staged[i];
    bool found;
    int place = mw_ops_place(ctx->ops, ctx->n_ops, entry->op.name, &found);
    if (found) {
      retire(ctx, ctx->ops[place]);
      ctx->ops[place] = entry;
    } else {
      mw_ops_insert(ctx->ops, &ctx->n_ops, entry);
    }
    replaced |= found;
    if ((entry->op.flags & MW_ADDS) && !ctx->adder) ctx->adder = entry;
  }
  plugin->n_staged = 0;
  if (plugin->replaces) {
    remove_ops(ctx, plugin->replaces);
    plugin->replaces->retired = true;
    plugin->replaces = NULL;
  }
  mw_registry_fill_places(ctx);
  plugin->next = ctx->plugins;
  ctx->plugins = plugin;
  if (!replaced) return MW_OK;
  ctx->generation++;
  mw_cache_clear(ctx); /* programs have chosen their kernels already */
  sweep(ctx);
  return MW_OK;
}
