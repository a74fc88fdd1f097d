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

/* Before a loop over elements none of which depends on another: y[i] may lie where x[i] lies, as it
 * does where a call writes over its input, and the loop still becomes vector instructions. */
#if defined __clang__
#define MW_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define MW_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Addresses need no alignment beyond that of an element. */
MW_INLINE mw_vector mw_load(const real *from) {
  mw_vector v;
  memcpy(&v, from, sizeof v);
  return v;
}

/* Computed here and kept in a register. Without it gcc loads again for each of two or three uses of a
 * load, or loads early: loads, not multiply-adds, would set the rate of a tile, or registers run out. */
MW_INLINE mw_vector mw_keep(mw_vector v) {
#if defined __AVX512F__ || (defined __AVX__ && MW_VECTOR_BYTES == 32)
  __asm__("" : "+v"(v));
#endif
  return v;
}

/* A load for several uses. */
MW_INLINE mw_vector mw_load_once(const real *from) { return mw_keep(mw_load(from)); }

MW_INLINE void mw_store(real *to, mw_vector v) { memcpy(to, &v, sizeof v); }

/* x in all lanes, for several uses. */
MW_INLINE mw_vector mw_splat(real x) { return mw_keep(x - (mw_vector){0}); }

/* sum += a b, rounded once where the processor can. gcc may write a product's sum over a factor instead,
 * and where all registers are taken then moves vectors about; so the instruction is named. */
MW_INLINE void mw_multiply_add(mw_vector *sum, mw_vector a, mw_vector b) {
#if (defined MW_REAL_F32 || defined MW_REAL_F64) && \
    (defined __AVX512F__ || (defined __FMA__ && MW_VECTOR_BYTES == 32))
#if defined MW_REAL_F64
  __asm__("vfmadd231pd %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
#else
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
#endif
#else
  *sum += a * b;
#endif
}

/* What comparing two vectors gives: integers as wide as the elements, -1 where it holds, else 0. */
#if defined MW_REAL_F64 || defined MW_REAL_I64
#define MW_EIGHT_BYTES
typedef int64_t mw_integer;
#elif defined MW_REAL_U8
typedef int8_t mw_integer;
#else
typedef int32_t mw_integer;
#endif
typedef mw_integer mw_mask __attribute__((vector_size(MW_VECTOR_BYTES)));

/* The lanes of a where the mask is set, of b elsewhere. */
MW_INLINE mw_vector mw_select(mw_mask mask, mw_vector a, mw_vector b) {
#if MW_VECTOR_BYTES == 32 && \
    defined __AVX2__ /* by the bits that are set in each byte of the mask */
  typedef char bytes __attribute__((vector_size(32)));
  return (mw_vector)__builtin_ia32_pblendvb256((bytes)b, (bytes)a, (bytes)mask);
#else
  return (mw_vector)((mask & (mw_mask)a) | (~mask & (mw_mask)b));
#endif
}

#if !defined MW_REAL_U8
/* Lane numbers for shuffles of two vectors, each one instruction: the low, and the high, parts of
 * every 16 bytes interleaved; the halves of both vectors; every second 16 bytes of both. */
#if MW_VECTOR_BYTES == 64 && !defined MW_EIGHT_BYTES
#define MW_LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define MW_HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define MW_FIRST_HALVES 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define MW_SECOND_HALVES 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define MW_EVEN_QUARTERS 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define MW_ODD_QUARTERS 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#elif MW_VECTOR_BYTES == 64
#define MW_LOW 0, 8, 2, 10, 4, 12, 6, 14
#define MW_HIGH 1, 9, 3, 11, 5, 13, 7, 15
#define MW_FIRST_HALVES 0, 1, 2, 3, 8, 9, 10, 11
#define MW_SECOND_HALVES 4, 5, 6, 7, 12, 13, 14, 15
#define MW_EVEN_QUARTERS 0, 1, 8, 9, 4, 5, 12, 13
#define MW_ODD_QUARTERS 2, 3, 10, 11, 6, 7, 14, 15
#elif MW_VECTOR_BYTES == 32 && !defined MW_EIGHT_BYTES
#define MW_LOW 0, 8, 1, 9, 4, 12, 5, 13
#define MW_HIGH 2, 10, 3, 11, 6, 14, 7, 15
#define MW_FIRST_HALVES 0, 1, 2, 3, 8, 9, 10, 11
#define MW_SECOND_HALVES 4, 5, 6, 7, 12, 13, 14, 15
#elif MW_VECTOR_BYTES == 32
#define MW_LOW 0, 4, 2, 6
#define MW_HIGH 1, 5, 3, 7
#define MW_FIRST_HALVES 0, 1, 4, 5
#define MW_SECOND_HALVES 2, 3, 6, 7
#elif !defined MW_EIGHT_BYTES
#define MW_LOW 0, 4, 1, 5
#define MW_HIGH 2, 6, 3, 7
#else
#define MW_LOW 0, 2
#define MW_HIGH 1, 3
#endif

#if defined __clang__ || __GNUC__ >= 12
#define MW_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MW_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (mw_mask){__VA_ARGS__})
#endif

/* Of two vectors side by side every second element, from the first or the second on; not in their
 * order, but so that each takes one instruction. And from both of these the two vectors again. */
#if MW_VECTOR_BYTES == 64 && !defined MW_EIGHT_BYTES
#define MW_EVENS 0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30
#define MW_ODDS 1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31
#define MW_TO_ORDER 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15
#define MW_FROM_ORDER 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15
#elif MW_VECTOR_BYTES == 64
#define MW_EVENS MW_LOW
#define MW_ODDS MW_HIGH
#define MW_TO_ORDER 0, 2, 4, 6, 1, 3, 5, 7
#define MW_FROM_ORDER 0, 4, 1, 5, 2, 6, 3, 7
#elif MW_VECTOR_BYTES == 32 && !defined MW_EIGHT_BYTES
#define MW_EVENS 0, 2, 8, 10, 4, 6, 12, 14
#define MW_ODDS 1, 3, 9, 11, 5, 7, 13, 15
#define MW_TO_ORDER 0, 1, 4, 5, 2, 3, 6, 7
#define MW_FROM_ORDER MW_TO_ORDER
#elif MW_VECTOR_BYTES == 32
#define MW_EVENS MW_LOW
#define MW_ODDS MW_HIGH
#define MW_TO_ORDER 0, 2, 1, 3
#define MW_FROM_ORDER MW_TO_ORDER
#elif !defined MW_EIGHT_BYTES
#define MW_EVENS 0, 2, 4, 6
#define MW_ODDS 1, 3, 5, 7
#define MW_TO_ORDER 0, 1, 2, 3
#define MW_FROM_ORDER MW_TO_ORDER
#else
#define MW_EVENS MW_LOW
#define MW_ODDS MW_HIGH
#define MW_TO_ORDER 0, 1
#define MW_FROM_ORDER MW_TO_ORDER
#endif
MW_INLINE mw_vector mw_evens(mw_vector a, mw_vector b) { return MW_SHUFFLE(a, b, MW_EVENS); }
MW_INLINE mw_vector mw_odds(mw_vector a, mw_vector b) { return MW_SHUFFLE(a, b, MW_ODDS); }
MW_INLINE mw_vector mw_zip_first(mw_vector even, mw_vector odd) {
  return MW_SHUFFLE(even, odd, MW_LOW);
}
MW_INLINE mw_vector mw_zip_second(mw_vector even, mw_vector odd) {
  return MW_SHUFFLE(even, odd, MW_HIGH);
}
/* The elements, or a mask, of such a vector in order; and the other way. */
#define mw_to_order(v) MW_SHUFFLE(v, v, MW_TO_ORDER)
#define mw_from_order(v) MW_SHUFFLE(v, v, MW_FROM_ORDER)

/* Two shuffles of rows i and i + stride, for all of MW_LANES rows: they exchange a bit of the row
 * number with one of the lane number. */
#define MW_EXCHANGE(row, stride, first, second)        \
  for (int i = 0; i < MW_LANES; i++) {                 \
    if (i & (stride)) continue;                        \
    const mw_vector a = row[i], b = row[i + (stride)]; \
    row[i] = MW_SHUFFLE(a, b, first);                  \
    row[i + (stride)] = MW_SHUFFLE(a, b, second);      \
  }

/* Transposes MW_LANES rows: all bits of the row number and the lane number change places. */
MW_INLINE void mw_transpose(mw_vector row[MW_LANES]) {
#if !defined MW_EIGHT_BYTES
  MW_EXCHANGE(row, 2, MW_LOW, MW_HIGH)
#endif
  MW_EXCHANGE(row, 1, MW_LOW, MW_HIGH)
#if MW_VECTOR_BYTES >= 32
  MW_EXCHANGE(row, MW_LANES / 2, MW_FIRST_HALVES, MW_SECOND_HALVES)
#endif
#if MW_VECTOR_BYTES == 64
  MW_EXCHANGE(row, MW_LANES / 4, MW_EVEN_QUARTERS, MW_ODD_QUARTERS)
#endif
}

/* Rows i and i + stride become one, whose lanes are sums of two lanes of each. */
#define MW_ADD_ACROSS(row, stride, first, second)           \
  for (int i = 0; i < (stride); i++)                        \
    row[i] = MW_SHUFFLE(row[i], row[i + (stride)], first) + \
             MW_SHUFFLE(row[i], row[i + (stride)], second);

/* Lane i of the result is the sum of the lanes of row i, of MW_LANES rows. */
MW_INLINE mw_vector mw_sums(mw_vector row[MW_LANES]) {
#if MW_VECTOR_BYTES >= 32
  MW_ADD_ACROSS(row, MW_LANES / 2, MW_FIRST_HALVES, MW_SECOND_HALVES)
#endif
#if MW_VECTOR_BYTES == 64
  MW_ADD_ACROSS(row, MW_LANES / 4, MW_EVEN_QUARTERS, MW_ODD_QUARTERS)
#endif
#if !defined MW_EIGHT_BYTES
  MW_ADD_ACROSS(row, 2, MW_LOW, MW_HIGH)
#endif
  MW_ADD_ACROSS(row, 1, MW_LOW, MW_HIGH)
  return row[0];
}

#endif /* not u8 */

#endif
