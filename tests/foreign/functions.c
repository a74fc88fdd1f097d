/* functions.c: a library that knows nothing of Moonwalk, for the tests of mw.ffi. */
#include <stdint.h>

double twice(double x);
float add_f32(float a, float b);
int32_t add_i32(int32_t a, int32_t b);
int64_t add_i64(int64_t a, int64_t b);
uint8_t invert(uint8_t x);
double mixed(double x, int32_t n, float f);
void running_sum(const double *x, double *y, int64_t n);
int32_t outer_product(const float *a, const float *b, float *y, int32_t n, int32_t m, float scale);

double twice(double x) { return 2 * x; }
float add_f32(float a, float b) { return a + b; }
int32_t add_i32(int32_t a, int32_t b) { return a + b; }
int64_t add_i64(int64_t a, int64_t b) { return a + b; }
uint8_t invert(uint8_t x) { return (uint8_t)~x; }
double mixed(double x, int32_t n, float f) { return x * n + (double)f; }

void running_sum(const double *x, double *y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) y[i] = sum += x[i];
}

/* Refuses more than a hundred rows. */
int32_t outer_product(const float *a, const float *b, float *y, int32_t n, int32_t m, float scale) {
  if (n > 100) return -7;
  for (int32_t i = 0; i < n; i++)
    for (int32_t j = 0; j < m; j++) y[i * m + j] = scale * a[i] * b[j];
  return 0;
}
