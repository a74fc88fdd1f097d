/* denormals.h: how this thread's arithmetic takes denormal numbers, which lie between 0 and the
 * least normal one. Many processors compute with one in a hundred cycles instead of one or two;
 * momentum and gradients of what learns no more decay to them, and stay there: 0.9 times a few
 * units in the last place is rounded to as many. Told to flush, a processor reads and writes 0
 * instead. Elsewhere than on the two of below nothing is told. */
#ifndef MW_DENORMALS_H
#define MW_DENORMALS_H

#include <stdbool.h>
#include <stdint.h>
#if defined __x86_64__
#include <xmmintrin.h>
#endif

/* The thread's whole control register, with the direction of rounding too. */
typedef uint64_t mw_float_mode;

static inline mw_float_mode mw_float_mode_now(void) {
#if defined __x86_64__
  return _mm_getcsr();
#elif defined __aarch64__
  mw_float_mode mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
#else
  return 0;
#endif
}

static inline void mw_float_mode_set(mw_float_mode mode) {
#if defined __x86_64__
  _mm_setcsr((unsigned)mode);
#elif defined __aarch64__
  __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory");
#else
  (void)mode;
#endif
}

/* From now on flushes, or keeps them. Gives what there was, for mw_float_mode_set(). */
static inline mw_float_mode mw_denormals_flush(bool flush) {
#if defined __x86_64__
  const mw_float_mode bits = 1u << 15 | 1u << 6; /* FTZ: of results; DAZ: of operands */
#elif defined __aarch64__
  const mw_float_mode bits = 1u << 24; /* FZ: of both */
#else
  const mw_float_mode bits = 0;
#endif
  const mw_float_mode before = mw_float_mode_now();
  const mw_float_mode mode = flush ? before | bits : before & ~bits;
  if (mode != before) mw_float_mode_set(mode);
  return before;
}

#endif
