/* gemm.h: one matrix-product kernel, compiled once for each element type and instruction set. */
#ifndef MW_GEMM_H
#define MW_GEMM_H

#include "moonwalk.h"

/* Rows m0 .. m1-1 and columns n0 .. n1-1 of a product; any of them may be none. */
typedef struct mw_gemm_piece {
  int64_t m0, m1, n0, n1;
} mw_gemm_piece;

typedef struct mw_gemm_kernel {
  size_t workspace;       /* bytes for packed panels that run() is given, 64-byte aligned */
  int64_t step_m, step_n; /* pieces that begin at multiples of these waste nothing */
  /* Computes a piece on one thread. Each element has the bits that it has in the whole product,
   * however that is cut. */
  void (*run)(const mw_gemm *product, const mw_gemm_piece *piece, void *workspace);
} mw_gemm_kernel;

#endif
