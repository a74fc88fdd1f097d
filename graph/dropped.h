/* dropped.h: references that are given back where nothing may be freed yet: in the middle of a garbage
 * collector, say, as what a tensor frees may call functions of the program's own. */
#ifndef MW_DROPPED_H
#define MW_DROPPED_H

#include "moonwalk.h"

typedef struct mw_node *mw_dropped; /* NULL: none */

/* Gives one reference back; what nobody holds any more waits in the list. */
void mw_drop(mw_tensor *t, mw_dropped *list);
/* Frees what waits, with all that only this held. */
void mw_free_dropped(mw_dropped *list);

#endif
