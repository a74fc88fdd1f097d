/* vector_math.h: C's <tgmath.h>, in which f32 has functions of its own for the slowest of C's: exp,
 * expm1, log, log1p, tanh and erf. They are written without calls and branches, so that loops over
 * them become vector instructions. Coefficients: least largest error over the interval that stands
 * beside them. Errors over all floats: exp 1.1, expm1 1.7, log 0.9, log1p 1.5, tanh 2.5 and erf 2.4
 * units in the last place; NaN and infinities as C has them. f64 has C's. */
#ifndef MW_VECTOR_MATH_H
#define MW_VECTOR_MATH_H

#include <tgmath.h>

#include "vector.h"

#if !defined MW_REAL_F64
MW_INLINE float mw_float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}
MW_INLINE uint32_t mw_bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

/* e^x = 2^n (1 + p) with |r| = |x - n ln 2| <= ln(2) / 2 and p = e^r - 1. n comes from the rounding
 * that adding a large number does; 2^n in two factors, since it may be no float itself. */
typedef struct mw_power {
  float half, other_half, p; /* 2^n is half * other_half */
} mw_power;
MW_INLINE mw_power mw_power_of(float x) {
  const float large = 12582912; /* 1.5 2^23 */
  const float shifted = x * 1.44269504f + large, n = shifted - large;
  const uint32_t whole = mw_bits_of(shifted) - mw_bits_of(large);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
  const float e =
      5.000000027e-1f +
      r * (1.666657665e-1f + r * (4.166637478e-2f + r * (8.363235023e-3f + r * 1.394112434e-3f)));
  const int32_t a = (int32_t)whole >> 1, b = (int32_t)whole - a;
  return (mw_power){.half = mw_float_of((uint32_t)(a + 127) << 23),
                    .other_half = mw_float_of((uint32_t)(b + 127) << 23),
                    .p = r + r * r * e};
}
MW_INLINE float mw_within(float x, float least, float most) {
  return x < least ? least : x > most ? most : x;
}

MW_INLINE float mw_exp(float x) {
  const mw_power e = mw_power_of(mw_within(x, -104, 89));
  return (1 + e.p) * e.half * e.other_half;
}
/* 2^n p + 2^n - 1, with the last factor put outside so that nothing overflows on the way. */
MW_INLINE float mw_expm1(float x) {
  const mw_power e = mw_power_of(mw_within(x, -20, 89)); /* below it the result is -1 */
  const float y = (e.p * e.half + (e.half - 1 / e.other_half)) * e.other_half;
  return x == 0 ? x : y;
}

/* x = 2^n (1 + f) with 1 + f from sqrt(1/2) to sqrt(2): ln x = n ln 2 + f - f^2/2 + f^3 g(f). */
MW_INLINE float mw_log_of(float x, float correction) {
  const float scale = x < 1.17549435e-38f ? 8388608 : 1; /* the smallest floats are no powers */
  const uint32_t bits = mw_bits_of(x * scale) - 0x3F3504F3u;
  const float n = (float)((int32_t)bits >> 23) - (scale > 1 ? 23 : 0);
  const float f = mw_float_of((bits & 0x7FFFFFu) + 0x3F3504F3u) - 1 + correction;
  const float g = 3.333333126e-1f +
                  f * (-2.499998119e-1f +
                       f * (2.000068810e-1f +
                            f * (-1.666915068e-1f +
                                 f * (1.425115485e-1f +
                                      f * (-1.239670729e-1f +
                                           f * (1.163467722e-1f +
                                                f * (-1.165988725e-1f + f * 7.332437300e-2f)))))));
  const float rest = f * f * (f * g - 0.5f);
  return n * 0.693359375f + (f + (rest - n * 2.12194440e-4f));
}
MW_INLINE float mw_log(float x) {
  const float y = mw_log_of(x, 0);
  return x > 0 ? x <= 3.40282347e38f ? y : x : x == 0 ? -INFINITY : NAN;
}
/* By the rounding error of 1 + x, carried along. */
MW_INLINE float mw_log1p(float x) {
  const float sum = 1 + x, lost = x >= 1 ? 1 - (sum - x) : x - (sum - 1);
  const float y = mw_log(sum) + (sum > 0 && sum <= 3.40282347e38f ? lost / sum : 0);
  return x == 0 ? x : y;
}

MW_INLINE float mw_tanh(float x) {
  const float size = x < 0 ? -x : x, e = mw_expm1(2 * mw_within(size, 0, 10));
  const float y = e / (e + 2);
  return x == 0 ? x : x < 0 ? -y : y;
}

/* x s(x^2) up to 1, and 1 - e^-q(x) from there. */
MW_INLINE float mw_erf(float x) {
  const float size = mw_within(x < 0 ? -x : x, 0, 4), t = size * size;
  const float s =
      1.128379166f +
      t * (-3.761262714e-1f +
           t * (1.128360018e-1f +
                t * (-2.685444459e-2f +
                     t * (5.189535341e-3f + t * (-8.020841291e-4f + t * 7.889119573e-5f)))));
  const float q =
      -1.834441337e-4f +
      size *
          (1.129556830f +
           size * (6.332626123e-1f +
                   size * (1.083724784e-1f +
                           size * (-2.517896771e-2f +
                                   size * (4.193611050e-3f +
                                           size * (-4.391063652e-4f + size * 2.149611289e-5f))))));
  const float large = 1 - mw_exp(-q);
  return size < 1 ? x * s : x < 0 ? -large : large;
}

#undef exp
#undef expm1
#undef log
#undef log1p
#undef tanh
#undef erf
#define exp(x) mw_exp(x)
#define expm1(x) mw_expm1(x)
#define log(x) mw_log(x)
#define log1p(x) mw_log1p(x)
#define tanh(x) mw_tanh(x)
#define erf(x) mw_erf(x)
#endif

#endif
