/* batch.h: bringing rows of a data set to the dtype of a batch. */
#ifndef MW_BATCH_H
#define MW_BATCH_H

#include "face.h"

/* How elements are converted. A byte has 256 values: those are converted once, and then looked
 * up. */
typedef struct batch_conversion {
  mw_dtype from, to;
  double scale;
  bool copies, looks_up;
  union {
    uint32_t narrow[256];
    uint64_t wide[256];
  } table;
} batch_conversion;

/* Whether each value of `from`, times scale, has its place in `to`. */
bool batch_widens(mw_dtype from, mw_dtype to, double scale);
void batch_conversion_init(batch_conversion *c, mw_dtype from, mw_dtype to, double scale);
/* n elements, from `from` to `to`. */
void batch_convert(const batch_conversion *c, int64_t n, const void *from, void *to);

#endif
