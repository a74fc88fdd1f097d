/* philox.h: the random number generator's one function, for parts that draw on threads of their
 * own and so cannot go through a context. */
#ifndef MW_PHILOX_H
#define MW_PHILOX_H

#include <stdint.h>

/* One block of Philox4x32-10: four words that depend on seed and counter alone. */
void mw_philox(uint64_t seed, uint64_t counter, uint32_t words[4]);

#endif
