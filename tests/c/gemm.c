/* gemm.c: every matrix-product kernel that this processor can run, against a plain triple loop. */
#include <stdlib.h>

#include "graph/internal.h"
#include "tests/tap.h"

enum { F32, F64 };
static const double epsilon_of[] = {0x1p-23, 0x1p-52};
static const size_t size_of[] = {sizeof(float), sizeof(double)};

/* A matrix of one of the types, of exactly rows * ld elements less the last row's slack, so that
 * a sanitizer sees the first element read too many. */
typedef struct matrix {
  int type;
  int64_t rows, columns, ld;
  void *data;
} matrix;

static uint64_t state = 1;

static double draw(void) { /* in [-1, 1), exact in float */
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(int64_t)(state >> 40) / 0x1p23 - 1;
}

static int64_t draw_below(int64_t n) { return (int64_t)((draw() + 1) / 2 * (double)n); }

static double get(const matrix *m, int64_t i, int64_t j) {
  const int64_t at = i * m->ld + j;
  return m->type == F32 ? (double)((float *)m->data)[at] : ((double *)m->data)[at];
}

static void set(matrix *m, int64_t at, double value) {
  if (m->type == F32) ((float *)m->data)[at] = (float)value;
  else ((double *)m->data)[at] = value;
}

static int64_t extent(const matrix *m) {
  return m->rows > 0 ? (m->rows - 1) * m->ld + m->columns : 0;
}

static matrix matrix_new(int type, int64_t rows, int64_t columns, int64_t slack) {
  matrix m = {type, rows, columns, columns + slack, NULL};
  m.data = malloc((size_t)extent(&m) * size_of[type] + 1);
  if (!m.data) abort();
  for (int64_t i = 0; i < extent(&m); i++) set(&m, i, draw());
  return m;
}

static const mw_gemm_kernel *kernel_of(const mw_level *level, int type) {
  return type == F32 ? level->gemm_f32 : level->gemm_f64;
}

static void run_whole(const mw_level *level, int type, const mw_gemm *product, void *workspace) {
  const mw_gemm_piece whole = {0, product->m, 0, product->n};
  kernel_of(level, type)->run(product, &whole, workspace);
}

/* One product. Returns the largest error in units of what rounding allows: at most 1 is right.
 * The elements between the rows of c must keep their values. */
static double error_of(const mw_level *level, int type, const int64_t size[3], int flags,
                       int64_t slack, void *workspace) {
  const bool ta = flags & 1, tb = flags & 2, accumulate = flags & 4;
  const int64_t m = size[0], n = size[1], k = size[2];
  matrix a = matrix_new(type, ta ? k : m, ta ? m : k, slack);
  matrix b = matrix_new(type, tb ? n : k, tb ? k : n, slack);
  matrix c = matrix_new(type, m, n, slack), before = matrix_new(type, m, n, slack);
  memcpy(before.data, c.data, (size_t)extent(&c) * size_of[type]);
  const mw_gemm product = {m, n, k, a.data, b.data, c.data, a.ld, b.ld, c.ld, ta, tb, accumulate};
  run_whole(level, type, &product, workspace);
  double worst = 0;
  for (int64_t i = 0; i < m; i++) {
    for (int64_t j = 0; j < n; j++) {
      long double sum = accumulate ? (long double)get(&before, i, j) : 0, scale = fabsl(sum);
      for (int64_t p = 0; p < k; p++) {
        const long double term = (long double)(ta ? get(&a, p, i) : get(&a, i, p)) *
                                 (tb ? get(&b, j, p) : get(&b, p, j));
        sum += term;
        scale += fabsl(term);
      }
      const double allowed = (double)(k + 1) * epsilon_of[type] * (double)scale;
      const double error = fabs((double)(sum - (long double)get(&c, i, j)));
      if (error > 0 && !(error / allowed <= worst)) worst = error / allowed;
    }
    for (int64_t j = n; j < c.ld && i + 1 < m; j++)
      if (get(&c, i, j) != get(&before, i, j)) worst = INFINITY;
  }
  free(a.data), free(b.data), free(c.data), free(before.data);
  return worst;
}

static double error_of_all_ways(const mw_level *level, int type, const int64_t size[3],
                                void *workspace) {
  double worst = 0;
  for (int flags = 0; flags < 8; flags++)
    worst = fmax(worst, error_of(level, type, size, flags, (size[0] + flags) % 2 * 3, workspace));
  return worst;
}

static void test_shapes(const mw_level *level, int type, void *workspace) {
  static const int64_t shapes[][3] = {
      {6, 784, 25},  {6, 25, 784},   {16, 100, 150}, {150, 100, 16},  {16, 150, 100},
      {64, 120, 40}, {10, 84, 64},   {64, 10, 84},   {1, 1, 1},       {1, 512, 3},
      {3, 1, 512},   {50, 7, 300},   {300, 33, 9},   {2, 1100, 5},    {3, 1030, 260},
      {48, 515, 5},  {1, 120, 400},  {9, 1, 530},    {2, 7, 84},      {31, 5, 1100},
      {32, 9, 33},   {33, 9, 33},    {5, 300, 1},    {140, 130, 300}, {270, 129, 35},
      {7, 150, 600}, {600, 16, 257}, {1, 3, 5000},   {330, 700, 200}, {270, 530, 261},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    const int64_t *s = shapes[i];
    const double error = error_of_all_ways(level, type, s, workspace);
    ok(error <= 1, "%s %s %lld x %lld x %lld: transposed or not, added or not", level->name,
       type == F32 ? "f32" : "f64", (long long)s[0], (long long)s[1], (long long)s[2]);
    if (error > 1) printf("# %g times what rounding allows\n", error);
  }
}

static void test_every_small_shape(const mw_level *level, int type, void *workspace) {
  double worst = 0;
  for (int64_t m = 0; m <= 17; m++)
    for (int64_t n = 0; n <= 35; n += n < 18 ? 1 : 3)
      for (int64_t k = 0; k <= 17; k += k < 3 ? 1 : 7)
        worst = fmax(worst, error_of_all_ways(level, type, (int64_t[]){m, n, k}, workspace));
  ok(worst <= 1, "%s %s every small shape, empty ones too", level->name,
     type == F32 ? "f32" : "f64");
}

static void test_random_shapes(const mw_level *level, int type, void *workspace) {
  double worst = 0;
  for (int i = 0; i < 150; i++) {
    const int64_t size[3] = {draw_below(90), draw_below(120), draw_below(330)};
    worst = fmax(worst, error_of(level, type, size, i % 8, draw_below(4), workspace));
  }
  ok(worst <= 1, "%s %s random shapes", level->name, type == F32 ? "f32" : "f64");
}

/* 0 times infinity is NaN, wherever the 0 is; and no NaN comes from anywhere else. */
static void test_not_finite(const mw_level *level, int type, void *workspace) {
  enum { M = 7, N = 37, K = 19 };
  bool right = true;
  for (int flags = 0; flags < 4; flags++) {
    const bool ta = flags & 1, tb = flags & 2;
    matrix a = matrix_new(type, ta ? K : M, ta ? M : K, 0);
    matrix b = matrix_new(type, tb ? N : K, tb ? K : N, 0), c = matrix_new(type, M, N, 0);
    for (int64_t i = 0; i < M; i++) /* column 4 of op(a) is 0 and 1 in turn */
      set(&a, ta ? 4 * a.ld + i : i * a.ld + 4, (double)(i % 2));
    set(&b, tb ? 30 * b.ld + 4 : 4 * b.ld + 30, INFINITY); /* op(b)[4][30] */
    const mw_gemm product = {M, N, K, a.data, b.data, c.data, a.ld, b.ld, c.ld, ta, tb, false};
    run_whole(level, type, &product, workspace);
    for (int64_t i = 0; i < M; i++)
      for (int64_t j = 0; j < N; j++) {
        const double got = get(&c, i, j);
        if (j != 30) right = right && isfinite(got);
        else right = right && (i % 2 ? isinf(got) && got > 0 : isnan(got));
      }
    free(a.data), free(b.data), free(c.data);
  }
  ok(right, "%s %s 0 times infinity is NaN", level->name, type == F32 ? "f32" : "f64");
}

/* The product in one piece, and cut anywhere, has the same bits. */
static void test_pieces(const mw_level *level, int type, void *workspace) {
  static const int64_t shapes[][3] = {{1, 70, 90},    {30, 41, 1100}, {37, 90, 1},
                                      {130, 300, 40}, {64, 40, 300},  {3, 200, 33}};
  bool same = true;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes * 8; i++) {
    const int64_t *size = shapes[i / 8], m = size[0], n = size[1], k = size[2];
    const bool ta = i & 1, tb = i & 2, accumulate = i & 4;
    matrix a = matrix_new(type, ta ? k : m, ta ? m : k, 0);
    matrix b = matrix_new(type, tb ? n : k, tb ? k : n, 0);
    matrix c = matrix_new(type, m, n, 0), d = matrix_new(type, m, n, 0);
    memcpy(d.data, c.data, (size_t)extent(&c) * size_of[type]);
    mw_gemm product = {m, n, k, a.data, b.data, c.data, a.ld, b.ld, c.ld, ta, tb, accumulate};
    run_whole(level, type, &product, workspace);
    product.c = d.data;
    const int64_t at_m[] = {0, m / 3, m / 3 + (m > 2), m}, at_n[] = {0, n / 4, n / 4 + 17, n};
    for (int row = 0; row < 3; row++)
      for (int column = 0; column < 3; column++)
        kernel_of(level, type)
            ->run(&product,
                  &(mw_gemm_piece){at_m[row], at_m[row + 1], at_n[column], at_n[column + 1]},
                  workspace);
    same = same && memcmp(c.data, d.data, (size_t)extent(&c) * size_of[type]) == 0;
    free(a.data), free(b.data), free(c.data), free(d.data);
  }
  ok(same, "%s %s the same bits in pieces", level->name, type == F32 ? "f32" : "f64");
}

static bool runs_here(const mw_level *level) {
#if defined __x86_64__
  if (strcmp(level->name, "v4") == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  if (strcmp(level->name, "v3") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
#endif
  (void)level;
  return true;
}

int main(void) {
  for (const mw_level *level = mw_levels; level->name; level++) {
    if (!runs_here(level)) {
      skip(level->name, "this processor lacks the instructions");
      continue;
    }
    for (int type = F32; type <= F64; type++) {
      const size_t bytes = kernel_of(level, type)->workspace;
      void *workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
      if (!workspace) abort();
      ok(bytes <= 1024 * 1024, "%s %s workspace is at most 1 MiB", level->name,
         type == F32 ? "f32" : "f64");
      test_shapes(level, type, workspace);
      test_every_small_shape(level, type, workspace);
      test_random_shapes(level, type, workspace);
      test_not_finite(level, type, workspace);
      test_pieces(level, type, workspace);
      free(workspace);
    }
  }
  return done();
}
