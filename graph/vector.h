/* vector.h: vectors of `real`, for kernels. One source for every instruction set: a file is compiled
 * once for each, and a vector is as wide as its registers are: 64 bytes with AVX-512, 32 with AVX,
 * 16 otherwise. The arithmetic is C's own, + - * / on whole vectors and with scalars beside them.
 *
 * MW_VECTOR_BYTES may be set to another width, with which the same source still computes the same;
 * so the wide form of a kernel can be tested on a machine that lacks its instructions. */
#ifndef MW_VECTOR_H
#define MW_VECTOR_H

#include <string.h>

#include "moonwalk.h"

#ifndef MW_VECTOR_BYTES
#if defined __AVX512F__
#define MW_VECTOR_BYTES 64
#elif defined __AVX__
#define MW_VECTOR_BYTES 32
#else
#define MW_VECTOR_BYTES 16
#endif
#endif

typedef real mw_vector __attribute__((vector_size(MW_VECTOR_BYTES)));
#define MW_LANES ((int)(MW_VECTOR_BYTES / sizeof(real)))

/* Unrolls the loop that follows, of at most 16 rounds, so that arrays of vectors that it indexes
 * become registers. */
#if defined __clang__
#define MW_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MW_UNROLL _Pragma("GCC unroll 16")
#endif
#define MW_INLINE static inline __attribute__((always_inline, unused))

/* Addresses need no alignment beyond that of an element. */
MW_INLINE mw_vector mw_load(const real *from) {
  mw_vector v;
  memcpy(&v, from, sizeof v);
  return v;
}

MW_INLINE void mw_store(real *to, mw_vector v) { memcpy(to, &v, sizeof v); }

/* The interleaving of the first, and of the second, halves of two vectors. */
#if MW_VECTOR_BYTES == 64 && !defined MW_REAL_F64
#define MW_FIRST 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define MW_SECOND 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif MW_VECTOR_BYTES == 64 || (MW_VECTOR_BYTES == 32 && !defined MW_REAL_F64)
#define MW_FIRST 0, 8, 1, 9, 2, 10, 3, 11
#define MW_SECOND 4, 12, 5, 13, 6, 14, 7, 15
#elif MW_VECTOR_BYTES == 32 || !defined MW_REAL_F64
#define MW_FIRST 0, 4, 1, 5
#define MW_SECOND 2, 6, 3, 7
#else
#define MW_FIRST 0, 2
#define MW_SECOND 1, 3
#endif

#if defined __clang__ || __GNUC__ >= 12
#define MW_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#if defined MW_REAL_F64
typedef int64_t mw_lane_numbers __attribute__((vector_size(MW_VECTOR_BYTES)));
#else
typedef int32_t mw_lane_numbers __attribute__((vector_size(MW_VECTOR_BYTES)));
#endif
#define MW_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (mw_lane_numbers){__VA_ARGS__})
#endif

/* Transposes MW_LANES rows. Interleaving row i with row i + MW_LANES/2 moves the highest bit of the
 * row number to the lowest of the lane number; doing it log2(MW_LANES) times exchanges the two. */
MW_INLINE void mw_transpose(mw_vector row[MW_LANES]) {
  for (int bit = 1; bit < MW_LANES; bit *= 2) {
    mw_vector next[MW_LANES];
    for (int i = 0; i < MW_LANES / 2; i++) {
      next[2 * i] = MW_SHUFFLE(row[i], row[i + MW_LANES / 2], MW_FIRST);
      next[2 * i + 1] = MW_SHUFFLE(row[i], row[i + MW_LANES / 2], MW_SECOND);
    }
    for (int i = 0; i < MW_LANES; i++) row[i] = next[i];
  }
}

#endif
