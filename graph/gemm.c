/* gemm.c: the matrix product of one thread, for one element type and one instruction level.
 *
 * c[m,n] = op(a)[m,k] op(b)[k,n] is computed in tiles of ROWS rows by VECTORS vectors of MW_LANES
 * columns, which stay in registers while the loop over k runs. One step of that loop loads VECTORS
 * vectors of b, broadcasts ROWS elements of a, and does ROWS * VECTORS fused multiply-adds:
 *
 *     level      registers   tile      accumulators  loads : multiply-adds in a step
 *     AVX-512    32 of 64 B  8 x 3     24            11 : 24
 *     AVX, AVX2  16 of 32 B  6 x 2     12             8 : 12
 *     SSE2       16 of 16 B  4 x 2      8             6 : 8   (a multiply and an add each)
 *     AArch64    32 of 16 B  8 x 2     16            10 : 16
 *
 * The accumulators leave room for the vectors of b and a broadcast, and there are enough of them to
 * hide the latency of a fused multiply-add (4 cycles, two a cycle). Measured on a core with AVX-512
 * whose peak is 115 GFLOP/s in f32 (one multiply-add of 64 bytes a cycle): 512 x 512 x 512 at 85 to
 * 90 % of the peak, the products of LeNet-5's convolutions forward (m = 6 or 16, k = 25 or 150,
 * n = 784 or 100) at 80 and 85 %, those for dx and dw of the second at 65 %, and that for dw of the
 * first (m = 6, n = 25, k = 784, b transposed), for which packing b costs as much as using it, at
 * 35 %. With AVX2's instructions the same core does as well.
 *
 * m and n are cut evenly into tiles of at most that size (m = 10 gives 5 + 5, not 8 + 2), so no
 * tile is too low to hide the latency. The last vector of columns is moved left so that it ends at
 * column n, and its lanes that were computed already are not stored: no element out of bounds is
 * touched, and there is no slow path for the columns that are left over.
 *
 * a is read in place through its two strides, so transposing it costs nothing. b is read in place
 * too, if it is not transposed and few rows use it; else blocks of it are packed, a vector wide.
 * No product is skipped because a factor is 0: infinities and NaN go through. */
#include "gemm.h"

#include "vector.h"

#ifndef MW_GEMM
#define MW_GEMM mw_gemm_here
#endif
extern const mw_gemm_kernel MW_GEMM;

#if MW_VECTOR_BYTES == 64
enum { ROWS = 8, VECTORS = 3 };
#elif defined __AVX__
enum { ROWS = 6, VECTORS = 2 };
#elif defined __aarch64__
enum { ROWS = 8, VECTORS = 2 };
#else
enum { ROWS = 4, VECTORS = 2 };
#endif

/* A block of b is BLOCK_K by BLOCK_N elements, 512 KiB: with BLOCK_M rows of a it stays in a
 * second-level cache of 1 MiB. */
enum {
  BLOCK_M = 256,
  BLOCK_N = 2048 / (int)sizeof(real),
  BLOCK_K = 256,
  PACK_M = 48, /* from so many rows on, packing b costs less than it gains */
};

/* What one tile reads and writes. b[j] and c[j] are the first rows of the j-th vector. */
typedef struct tile {
  int64_t k;
  const real *a;
  int64_t a_row, a_step; /* distance in a of two rows, and of two steps of k */
  const real *b[VECTORS];
  int64_t b_step;
  real *c[VECTORS];
  int64_t ldc;
  int64_t first, end; /* lanes of the last vector that are stored: first .. end-1 */
  bool accumulate;
} tile;

static inline void put(real *c, mw_vector v, int64_t first, int64_t end, bool accumulate) {
  if (first == 0 && end == MW_LANES) {
    mw_store(c, accumulate ? mw_load(c) + v : v);
    return;
  }
  real lane[MW_LANES];
  mw_store(lane, v);
  for (int64_t l = first; l < end; l++) c[l] = accumulate ? c[l] + lane[l] : lane[l];
}

/* rows and vectors are constants where this is inlined, so sum[][] becomes registers. */
static inline __attribute__((always_inline)) void multiply(int rows, int vectors, const tile *t) {
  mw_vector sum[ROWS][VECTORS] = {0};
  const real *a = t->a, *b[VECTORS];
  for (int j = 0; j < vectors; j++) b[j] = t->b[j];
  const int64_t a_row = t->a_row, a_step = t->a_step, b_step = t->b_step;
  for (int64_t p = 0; p < t->k; p++) {
    mw_vector bp[VECTORS];
    for (int j = 0; j < vectors; j++) bp[j] = mw_load(b[j] + p * b_step);
    MW_UNROLL for (int i = 0; i < rows; i++) {
      const real ai = a[i * a_row];
      for (int j = 0; j < vectors; j++) sum[i][j] += ai * bp[j];
    }
    a += a_step;
  }
  MW_UNROLL for (int i = 0; i < rows; i++) MW_UNROLL for (int j = 0; j < vectors; j++) {
    const bool last = j == vectors - 1;
    put(t->c[j] + i * t->ldc, sum[i][j], last ? t->first : 0, last ? t->end : MW_LANES,
        t->accumulate);
  }
}

static inline __attribute__((always_inline)) void multiply_rows(int rows, int vectors,
                                                                const tile *t) {
  if (vectors == 1) multiply(rows, 1, t);
  else if (vectors == 2) multiply(rows, 2, t);
#if MW_VECTOR_BYTES == 64
  else multiply(rows, 3, t);
#endif
}

static void multiply_tile(int rows, int vectors, const tile *t) {
  switch (rows) {
    case 1: multiply_rows(1, vectors, t); break;
    case 2: multiply_rows(2, vectors, t); break;
    case 3: multiply_rows(3, vectors, t); break;
    case 4: multiply_rows(4, vectors, t); break;
#if defined __AVX__ || defined __aarch64__
    case 5: multiply_rows(5, vectors, t); break;
    case 6: multiply_rows(6, vectors, t); break;
#endif
#if MW_VECTOR_BYTES == 64 || defined __aarch64__
    case 7: multiply_rows(7, vectors, t); break;
    case 8: multiply_rows(8, vectors, t); break;
#endif
  }
}

/* ---- packing b --------------------------------------------------------------------------- */

/* to[k, MW_LANES] = the first `columns` columns of b[k, .], and zeros beyond them. */
static void pack_plain(real *to, const real *b, int64_t ldb, int64_t k, int64_t columns) {
  if (columns == MW_LANES)
    for (int64_t p = 0; p < k; p++) mw_store(to + p * MW_LANES, mw_load(b + p * ldb));
  else
    for (int64_t p = 0; p < k; p++)
      for (int64_t l = 0; l < MW_LANES; l++)
        to[p * MW_LANES + l] = l < columns ? b[p * ldb + l] : 0;
}

/* The same for b stored as [., k]. */
static void pack_transposed(real *to, const real *b, int64_t ldb, int64_t k, int64_t columns) {
  int64_t p = 0;
  for (; p + MW_LANES <= k; p += MW_LANES) {
    mw_vector row[MW_LANES];
    for (int l = 0; l < MW_LANES; l++)
      row[l] = l < columns ? mw_load(b + l * ldb + p) : (mw_vector){0};
    mw_transpose(row);
    for (int l = 0; l < MW_LANES; l++) mw_store(to + (p + l) * MW_LANES, row[l]);
  }
  for (; p < k; p++)
    for (int64_t l = 0; l < MW_LANES; l++) to[p * MW_LANES + l] = l < columns ? b[l * ldb + p] : 0;
}

/* ---- the product ------------------------------------------------------------------------- */

/* A part of the product: rows m0 .. m1-1, columns n0 .. n1-1, steps k0 .. k1-1. */
typedef struct part {
  const mw_gemm *product;
  int64_t m0, m1, n0, n1, k0, k1;
  const real *packed; /* the part's b, vector after vector; NULL: read in place */
} part;

static int64_t vectors_of(int64_t columns) { return (columns + MW_LANES - 1) / MW_LANES; }

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* The column where vector j of a part starts: further left than its place if it would not end
 * within the part otherwise, but never left of column 0. */
static int64_t column_of(const part *w, int64_t j) {
  const int64_t column = least(w->n0 + j * MW_LANES, w->n1 - MW_LANES);
  return column > 0 ? column : 0;
}

/* The columns of vectors j0 .. j1-1, all rows. */
static void run_columns(const part *w, int64_t j0, int64_t j1) {
  const mw_gemm *g = w->product;
  const real *a = g->a, *b = g->b;
  const int64_t k = w->k1 - w->k0, m = w->m1 - w->m0, tiles = (m + ROWS - 1) / ROWS;
  tile t = {.k = k,
            .a_row = g->transpose_a ? 1 : g->lda,
            .a_step = g->transpose_a ? g->lda : 1,
            .b_step = w->packed ? MW_LANES : g->ldb,
            .ldc = g->ldc,
            .accumulate = g->accumulate || w->k0 > 0};
  /* Lanes that were computed before may be stored again with the same bits, but not added. */
  const int64_t last = column_of(w, j1 - 1);
  if (t.accumulate || last < w->n0) t.first = w->n0 + (j1 - 1) * MW_LANES - last;
  t.end = least(MW_LANES, w->n1 - last);
  for (int64_t i = 0; i < tiles; i++) {
    const int64_t first = w->m0 + m * i / tiles, end = w->m0 + m * (i + 1) / tiles;
    t.a = a + first * t.a_row + w->k0 * t.a_step;
    for (int64_t j = j0; j < j1; j++) {
      const int64_t column = column_of(w, j);
      t.b[j - j0] = w->packed ? w->packed + j * k * MW_LANES : b + w->k0 * g->ldb + column;
      t.c[j - j0] = (real *)g->c + first * g->ldc + column;
    }
    multiply_tile((int)(end - first), (int)(j1 - j0), &t);
  }
}

static void run_part(const part *w) {
  const int64_t vectors = vectors_of(w->n1 - w->n0), tiles = (vectors + VECTORS - 1) / VECTORS;
  for (int64_t j = 0; j < tiles; j++)
    run_columns(w, vectors * j / tiles, vectors * (j + 1) / tiles);
}

static void pack(const part *w, real *to) {
  const mw_gemm *g = w->product;
  const real *b = g->b;
  const int64_t k = w->k1 - w->k0, vectors = vectors_of(w->n1 - w->n0);
  for (int64_t j = 0; j < vectors; j++, to += k * MW_LANES) {
    const int64_t column = column_of(w, j), columns = least(MW_LANES, w->n1 - column);
    if (g->transpose_b) pack_transposed(to, b + column * g->ldb + w->k0, g->ldb, k, columns);
    else pack_plain(to, b + w->k0 * g->ldb + column, g->ldb, k, columns);
  }
}

static void run(const mw_gemm *g, void *workspace) {
  const bool packs = g->transpose_b || g->n < MW_LANES || g->m >= PACK_M;
  const int64_t blocks_k = g->k > 0 ? (g->k + BLOCK_K - 1) / BLOCK_K : 1;
  part w = {.product = g, .packed = packs ? workspace : NULL};
  for (w.n0 = 0; w.n0 < g->n; w.n0 = w.n1) {
    w.n1 = least(w.n0 + BLOCK_N, g->n);
    for (int64_t block = 0; block < blocks_k; block++) {
      w.k0 = g->k * block / blocks_k;
      w.k1 = g->k * (block + 1) / blocks_k;
      if (packs) pack(&w, workspace);
      for (w.m0 = 0; w.m0 < g->m; w.m0 = w.m1) {
        w.m1 = least(w.m0 + BLOCK_M, g->m);
        run_part(&w);
      }
    }
  }
}

const mw_gemm_kernel MW_GEMM = {
    .workspace = (size_t)BLOCK_K * BLOCK_N * sizeof(real),
    .tile_m = BLOCK_M,
    .tile_n = BLOCK_N,
    .run = run,
};
