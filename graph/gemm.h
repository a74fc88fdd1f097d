/* gemm.h: one matrix-product kernel, compiled once for each element type and instruction set. */
#ifndef MW_GEMM_H
#define MW_GEMM_H

#include "moonwalk.h"

typedef struct mw_gemm_kernel {
  size_t workspace;       /* bytes for packed panels that run() is given, 64-byte aligned */
  int64_t tile_m, tile_n; /* a parallel product is cut into pieces of this size, by shape alone */
  void (*run)(const mw_gemm *product, void *workspace); /* one thread; n, m or k may be 0 */
} mw_gemm_kernel;

#endif
