/* functions.c: a library that knows nothing of Moonwalk, for the tests of mw.ffi. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

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

/* ---- to be called from Lua ----------------------------------------------------------------- */

int64_t sum_small(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f);
int8_t as_i8(int64_t x);
uint16_t as_u16(int64_t x);
uint32_t as_u32(int64_t x);
float half(float x);
double total(const double *x, int32_t n);
void fill(double *x, int32_t rows, int32_t columns, double value);
const char *joined(const char *a, const char *b);
double *numbers(void);
void *nothing(void);

int64_t sum_small(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f) {
  return a + b + c + d + e + (int64_t)f;
}
int8_t as_i8(int64_t x) { return (int8_t)x; }
uint16_t as_u16(int64_t x) { return (uint16_t)x; }
uint32_t as_u32(int64_t x) { return (uint32_t)x; }
float half(float x) { return x / 2; }

double total(const double *x, int32_t n) {
  double sum = 0;
  for (int32_t i = 0; i < n; i++) sum += x[i];
  return sum;
}

void fill(double *x, int32_t rows, int32_t columns, double value) {
  for (int32_t i = 0; i < rows * columns; i++) x[i] = value;
}

const char *joined(const char *a, const char *b) {
  static char text[64];
  if (!a || !b) return NULL;
  snprintf(text, sizeof text, "%s-%s", a, b);
  return text;
}

double *numbers(void) {
  static double found[] = {1, 2, 3};
  return found;
}

void *nothing(void) { return NULL; }

typedef struct mixture {
  int8_t small;
  double wide;
  int16_t middle;
  char name[5];
  void *link;
  float last;
} mixture;

double use_mixture(mixture *m);
double use_mixture(mixture *m) {
  m->last = 7.5F;
  return m->small + m->wide + m->middle + (double)(m->link == NULL);
}

/* ---- calling back -------------------------------------------------------------------------- */

typedef double (*over)(double x);
typedef int64_t (*reduce)(const double *x, double *y, int32_t n);
typedef void (*tell)(const char *text, void *data);
typedef uint8_t (*small)(int8_t a, uint16_t b);

double call_twice(over f, double x);
int64_t call_reduce(reduce f, int32_t n);
void call_tell(tell f, void *data);
int32_t call_small(small f);
double call_in_thread(over f, double x);
void keep(over f);
double call_kept(double x);

double call_twice(over f, double x) { return f(f(x)); }

int64_t call_reduce(reduce f, int32_t n) {
  double x[4] = {1, 2, 3, 4}, y[4] = {0};
  const int64_t result = f(n ? x : NULL, y, n);
  return result + (int64_t)y[0];
}

void call_tell(tell f, void *data) { f("hello", data); }
int32_t call_small(small f) { return f(-3, 65535); }

typedef struct job {
  over f;
  double x;
} job;

static void *run_job(void *data) {
  job *j = data;
  j->x = j->f(j->x);
  return NULL;
}

double call_in_thread(over f, double x) {
  job j = {f, x};
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_job, &j)) return 0;
  pthread_join(thread, NULL);
  return j.x;
}

static over kept;
void keep(over f) { kept = f; }
double call_kept(double x) { return kept(x); }
