/* peak.c: core.peak: how many multiply-adds the processor does at best, by doing nothing else.
 *
 * Each loop keeps CHAINS independent sums in registers: more than the latency (4 or 5 cycles) times
 * the units (2) of any processor so far, and few enough for 16 registers with the factor and what is
 * added. There is one for each width of registers, as graph/vector.h has them. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "face.h"

enum { CHAINS = 12, MOST_THREADS = 256 };

/* Does `rounds` rounds; returns floating-point operations of one, and what keeps the sums alive. */
typedef double spin(int64_t rounds, volatile float *sink);

#define UNROLL _Pragma("GCC unroll 16")

#if defined __x86_64__
__attribute__((target("avx512f"))) static double spin_64(int64_t rounds, volatile float *sink) {
  typedef float vector __attribute__((vector_size(64)));
  vector sum[CHAINS], by = *sink + (vector){0}, plus = by + 1;
  for (int i = 0; i < CHAINS; i++) sum[i] = by * (float)i; /* no two alike */
  for (int64_t r = 0; r < rounds; r++) UNROLL
  for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * by + plus;
  for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
  *sink = sum[0][0] > 1e30F ? 0 : *sink;
  return 2.0 * CHAINS * 16;
}

__attribute__((target("avx2,fma"))) static double spin_32(int64_t rounds, volatile float *sink) {
  typedef float vector __attribute__((vector_size(32)));
  vector sum[CHAINS], by = *sink + (vector){0}, plus = by + 1;
  for (int i = 0; i < CHAINS; i++) sum[i] = by * (float)i; /* no two alike */
  for (int64_t r = 0; r < rounds; r++) UNROLL
  for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * by + plus;
  for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
  *sink = sum[0][0] > 1e30F ? 0 : *sink;
  return 2.0 * CHAINS * 8;
}
#endif

static double spin_16(int64_t rounds, volatile float *sink) {
  typedef float vector __attribute__((vector_size(16)));
  vector sum[CHAINS], by = *sink + (vector){0}, plus = by + 1;
  for (int i = 0; i < CHAINS; i++) sum[i] = by * (float)i; /* no two alike */
  for (int64_t r = 0; r < rounds; r++) UNROLL
  for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * by + plus;
  for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
  *sink = sum[0][0] > 1e30F ? 0 : *sink;
  return 2.0 * CHAINS * 4;
}

static spin *choose(const char **name) {
#if defined __x86_64__
  *name = "AVX-512";
  if (__builtin_cpu_supports("avx512f")) return spin_64;
  *name = "AVX2";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return spin_32;
  *name = "SSE2";
#else
  *name = "128-bit vectors";
#endif
  return spin_16;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of some short runs, each of about a millisecond: what else goes on only takes away. */
static void *measure(void *rate) {
  enum { RUNS = 30, ROUNDS = 100000 };
  const char *name;
  spin *run = choose(&name);
  volatile float sink = 0.5F;
  double best = 0;
  for (int i = 0; i < RUNS; i++) {
    const double begin = now(), flops = run(ROUNDS, &sink) * ROUNDS, seconds = now() - begin;
    if (seconds > 0 && flops / seconds > best) best = flops / seconds;
  }
  *(double *)rate = best;
  return NULL;
}

/* core.peak(threads?) -> float32 FLOP/s of that many threads together, one if left out; the vectors
 * that were used, "AVX2"; how many processors there are */
static int core_peak(lua_State *L) {
  const lua_Integer n = lua_isnoneornil(L, 1) ? 1 : face_check_integer(L, 1, "peak", "threads");
  if (n < 1 || n > MOST_THREADS)
    return face_error(L, "peak: threads is %lld, expected 1 to %d", (long long)n, MOST_THREADS);
  pthread_t others[MOST_THREADS];
  double rates[MOST_THREADS] = {0}, sum = 0;
  int started = 1;
  while (started < n && !pthread_create(&others[started], NULL, measure, &rates[started]))
    started++;
  measure(&rates[0]);
  for (int i = 1; i < started; i++) pthread_join(others[i], NULL);
  for (int i = 0; i < started; i++) sum += rates[i];
  const char *name;
  choose(&name);
  lua_pushnumber(L, sum);
  lua_pushstring(L, name);
  lua_pushinteger(L, sysconf(_SC_NPROCESSORS_ONLN));
  return 3;
}

static const luaL_Reg functions[] = {{"peak", core_peak}, {NULL, NULL}};

void face_open_peak(lua_State *L) { luaL_setfuncs(L, functions, 0); }
