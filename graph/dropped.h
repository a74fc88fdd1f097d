/* dropped.h: what the garbage collector of a language asks for: how much there is, and references that
 * are given back where nothing may be freed yet, as what a tensor frees may call functions of the
 * program's own. */
#ifndef MW_DROPPED_H
#define MW_DROPPED_H

#include "moonwalk.h"

typedef struct mw_node *mw_dropped; /* NULL: none */

/* Gives one reference back; what nobody holds any more waits in the list. */
void mw_drop(mw_tensor *t, mw_dropped *list);
/* Frees what waits, with all that only this held. */
void mw_free_dropped(mw_dropped *list);

/* As in mw_stats, in less time. */
typedef struct mw_live {
  size_t bytes;
  int64_t tensors;
} mw_live;
mw_live mw_context_live(const mw_context *ctx);

#endif
