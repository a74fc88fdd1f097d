/* registry.h: what registry.c, which looks ops up and takes new ones, shares with commit.c, which
 * puts them into the place of others. Nothing else includes it. */
#ifndef MW_REGISTRY_H
#define MW_REGISTRY_H

#include "internal.h"

void mw_entry_free(mw_op_entry *entry);
void mw_plugin_free(mw_plugin *plugin);

/* ---- tables of ops, sorted by name --------------------------------------------------------- */

/* The place of name in a table, or where it belongs. */
int mw_ops_place(mw_op_entry *const *ops, int n, const char *name, bool *found);
mw_op_entry *mw_ops_find(mw_op_entry *const *ops, int n, const char *name); /* or NULL */
/* Makes room for so many more. */
mw_status mw_ops_reserve(mw_context *ctx, mw_op_entry ***ops, int n, int *room, int more);
void mw_ops_insert(mw_op_entry **ops, int *n, mw_op_entry *entry); /* where there is room */
/* The registry's second table, by hashes: room for n ops, and filled anew. */
mw_status mw_registry_reserve_places(mw_context *ctx, int n);
void mw_registry_fill_places(mw_context *ctx);

/* ---- entries that are not in the registry yet ----------------------------------------------- */

/* The same entry once more, without kernels. NULL when memory is short. */
mw_op_entry *mw_entry_bare(const mw_op_entry *entry);
/* The same, without the kernels of one plugin. */
mw_op_entry *mw_entry_without(const mw_op_entry *entry, const mw_plugin *plugin);
mw_status mw_entry_add_kernel(mw_op_entry *entry, const mw_kernel_entry *kernel);
/* The kernel of that name for a dtype, or NULL. */
mw_kernel_entry *mw_entry_kernel(const mw_op_entry *entry, const char *name, mw_dtype dtype);
/* Puts an entry among those that a commit brings in. Takes the entry, also when it fails. */
mw_status mw_plugin_stage(mw_plugin *plugin, mw_op_entry *entry);

#endif
