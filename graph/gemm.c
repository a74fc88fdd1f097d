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
 * hide the latency of a fused multiply-add (4 cycles, two a cycle). A product of one, two or three
 * rows gets wider tiles, for the same reason. Where both operands are packed, four steps are one
 * round of the loop: with AVX2 87 instructions for 48 multiply-adds, 104 otherwise, which is what
 * counts on a core that two threads share.
 *
 * m and n are cut evenly into tiles of at most that size (m = 10 gives 5 + 5, not 8 + 2), so no
 * tile is too low to hide the latency. The last vector of columns is moved left so that it ends at
 * column n, and its lanes that were computed already are not stored: no element out of bounds is
 * touched, and there is no slow path for the columns that are left over.
 *
 * Blocks are the usual ones (Goto and van de Geijn, 2008): BLOCK_K steps of a tile's columns of b, a
 * panel of 16 KiB with AVX2, stay in the first-level cache while the tiles of a block of a, 256 KiB,
 * come from the second. Both are packed, in the order in which tiles read them, where reading in
 * place would cost more: see packs_a() and packs_b(). A panel is packed just before its first tile,
 * from memory that the tiles of the panel before have fetched, a piece each. If all rows are in one
 * block, it is not used again, and all panels have the same place; otherwise as many columns as fit
 * into 512 KiB are kept, for the third-level cache.
 *
 * Measured with AVX2, in f32: a tile whose operands are in the first cache takes 98 % of the peak of
 * multiply-adds; products of some hundreds of rows, columns and steps take 78 to 89 % where their
 * operands come from memory. What they lose is packing, and each tile's beginning and end.
 *
 * Few rows do not pay for packing b. If b is transposed, and so lies along k as a does, its rows
 * and a's are multiplied vector by vector along k and summed across at the end: see dots.
 *
 * No product is skipped because a factor is 0: infinities and NaN go through.
 *
 * All ways are in one file: run(), at its end, chooses between them, and they are compiled together for
 * each element type and level. */
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

enum {
  WIDEST = 8, /* vectors of a tile of one row; those of two and three rows have half as many */
  /* Steps that are packed at a time; elements of a, and of b; and of a line of a cache, at
   * multiples of which k is cut. */
  BLOCK_K = 256,
  BLOCK_A = (256 << 10) / (int)sizeof(real),
  BLOCK_B = (512 << 10) / (int)sizeof(real),
  LINE = 64 / (int)sizeof(real),
};

/* Where a way is chosen, by measurements; see the functions that do. */
enum {
  FAR = 256 / (int)sizeof(real),
  PACK_A_N = 64,
  PACK_B_M = 48,
  PACK_B_K = 32,
  PACK_STEPS = 16,
  FETCH_K = 64,
  DOTS_M = 32,
  DOTS_N = 16,
  DOTS_K = 256,
};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- tiles ------------------------------------------------------------------------------- */

/* Rows of memory that will be read: the next line begins `at` elements behind `row`. */
typedef struct memory {
  const real *row;
  int64_t at, columns, ld, lines; /* lines that are left */
} memory;

/* Into the second cache: the first is full of what is used meanwhile. */
static inline void fetch_line(memory *m) {
  __builtin_prefetch(m->row + m->at, 0, 2);
  m->at += LINE;
  if (m->at >= m->columns) m->at = 0, m->row += m->ld;
}

/* What one tile reads and writes. Vectors of columns are neighbours, but for the last one. */
typedef struct tile {
  int64_t k;
  const real *a;
  int64_t a_row, a_step; /* distance in a of two rows, and of two steps of k */
  const real *b, *b_last;
  int64_t b_step;
  real *c, *c_last;
  int64_t ldc;
  int64_t first, end; /* lanes of the last vector that are stored: first .. end-1 */
  bool accumulate;
  bool packed;  /* a and b: what a step reads of them follows the step before */
  memory *next; /* so many lines of it are fetched meanwhile */
  int64_t lines;
} tile;

static inline void put(real *c, mw_vector v, bool accumulate) {
  mw_store(c, accumulate ? mw_load(c) + v : v);
}

/* Apart, for its array would keep a sum in memory all through the loop over k. */
static __attribute__((noinline)) void put_some(real *c, mw_vector v, int64_t first, int64_t end,
                                               bool accumulate) {
  real lane[MW_LANES];
  mw_store(lane, v);
  for (int64_t l = first; l < end; l++) c[l] = accumulate ? c[l] + lane[l] : lane[l];
}

/* sum[i][j] += a[i] b[j], for one step of k. rows and vectors are constants where this is inlined,
 * so sum[][] becomes registers. */
MW_INLINE void add_step(int rows, int vectors, mw_vector sum[ROWS][WIDEST], const real *a,
                        int64_t a_row, const real *b, const real *b_last) {
  mw_vector bp[WIDEST];
  MW_UNROLL for (int j = 0; j < vectors - 1; j++) bp[j] = mw_load_once(b + j * MW_LANES);
  bp[vectors - 1] = mw_load_once(b_last);
  MW_UNROLL for (int i = 0; i < rows; i++) {
    const mw_vector ai = mw_splat(a[i * a_row]);
    MW_UNROLL for (int j = 0; j < vectors; j++) mw_multiply_add(&sum[i][j], bp[j], ai);
  }
}

MW_INLINE void add_steps(int rows, int vectors, mw_vector sum[ROWS][WIDEST], const tile *t) {
  const real *a = t->a, *b = t->b, *b_last = t->b_last;
  const int64_t a_row = t->a_row, a_step = t->a_step, b_step = t->b_step;
  for (int64_t p = 0; p < t->k; p++, a += a_step, b += b_step, b_last += b_step)
    add_step(rows, vectors, sum, a, a_row, b, b_last);
}

MW_INLINE void add_packed_steps(int rows, int vectors, mw_vector sum[ROWS][WIDEST], const tile *t) {
  enum { ROUND = 4 };
  const int64_t width = vectors * MW_LANES, last = width - MW_LANES;
  const int64_t rounds = t->k / ROUND;
  const real *a = t->a, *b = t->b;
  for (int64_t r = 0; r < rounds; r++, a += ROUND * rows, b += ROUND * width)
    MW_UNROLL for (int64_t q = 0; q < ROUND; q++)
        add_step(rows, vectors, sum, a + q * rows, 1, b + q * width, b + q * width + last);
  for (int64_t p = rounds * ROUND; p < t->k; p++, a += rows, b += width)
    add_step(rows, vectors, sum, a, 1, b, b + last);
}

MW_INLINE void put_tile(int rows, int vectors, mw_vector sum[ROWS][WIDEST], const tile *t,
                        bool accumulate) {
  const bool whole = t->first == 0 && t->end == MW_LANES;
  real *c = t->c, *c_last = t->c_last;
  MW_UNROLL for (int i = 0; i < rows; i++, c += t->ldc, c_last += t->ldc) {
    MW_UNROLL for (int j = 0; j < vectors - 1; j++) put(c + j * MW_LANES, sum[i][j], accumulate);
    if (whole) put(c_last, sum[i][vectors - 1], accumulate);
    else put_some(c_last, sum[i][vectors - 1], t->first, t->end, accumulate);
  }
}

MW_INLINE void multiply(int rows, int vectors, bool packed, const tile *t) {
  mw_vector sum[ROWS][WIDEST] = {0};
  if (t->k >= FETCH_K) /* c will be there when the sums are */
    MW_UNROLL for (int i = 0; i < rows; i++) {
      __builtin_prefetch(t->c + i * t->ldc);
      __builtin_prefetch(t->c_last + i * t->ldc);
    }
  for (int64_t r = 0; r < t->lines; r++) fetch_line(t->next);
  if (packed) add_packed_steps(rows, vectors, sum, t);
  else add_steps(rows, vectors, sum, t);
  if (t->accumulate) put_tile(rows, vectors, sum, t, true);
  else put_tile(rows, vectors, sum, t, false);
}

static int widest(int64_t rows) { return rows == 1 ? WIDEST : rows <= 3 ? WIDEST / 2 : VECTORS; }

MW_INLINE void multiply_rows(int rows, int vectors, const tile *t) {
  const int most = widest(rows);
  if (t->packed && rows >= ROWS - 1 && vectors == VECTORS) {
    multiply(rows, VECTORS, true, t);
    return;
  }
  switch (vectors) {
    case 1: multiply(rows, 1, false, t); break;
    case 2: multiply(rows, 2, false, t); break;
    case 3:
      if (most >= 3) multiply(rows, 3, false, t);
      break;
    case 4:
      if (most >= 4) multiply(rows, 4, false, t);
      break;
    case 5:
      if (most >= 5) multiply(rows, 5, false, t);
      break;
    case 6:
      if (most >= 6) multiply(rows, 6, false, t);
      break;
    case 7:
      if (most >= 7) multiply(rows, 7, false, t);
      break;
    case 8:
      if (most >= 8) multiply(rows, 8, false, t);
      break;
  }
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

/* ---- blocks ------------------------------------------------------------------------------ */

/* A part of a piece: rows m0 .. m1-1, columns n0 .. n1-1, steps k0 .. k1-1. */
typedef struct part {
  const mw_gemm *product;
  const mw_gemm_piece *piece;
  int64_t blocks_m, blocks_n, blocks_k; /* how the piece is cut */
  int64_t block_n, block_k;             /* which of them this is */
  int64_t m0, m1, n0, n1, k0, k1;
  int64_t tiles_m, vectors, tiles_n; /* how the rows, and the vectors of columns, are cut */
  real *packed_a, *packed_b;         /* tile after tile; NULL: read in place */
} part;

/* Where block or tile i of `parts` begins when `size` is cut evenly. */
static int64_t cut(int64_t size, int64_t i, int64_t parts) { return size * i / parts; }

/* How many blocks of at most `most` there are. */
static int64_t blocks(int64_t size, int64_t most) {
  return size > most ? (size + most - 1) / most : 1;
}

/* The column where vector j of a part starts: further left than its place if it would not end
 * within the part otherwise, but never left of column 0. */
static int64_t column_of(const part *w, int64_t j) {
  const int64_t column = least(w->n0 + j * MW_LANES, w->n1 - MW_LANES);
  return column > 0 ? column : 0;
}

/* ---- packing ----------------------------------------------------------------------------- */

/* to[k, vectors] = vectors of columns of b[k, .], which are neighbours, but for the last one. */
MW_INLINE void pack_plain(int64_t vectors, real *to, const real *b, const real *b_last, int64_t ldb,
                          int64_t k) {
  for (int64_t p = 0; p < k; p++, b += ldb, b_last += ldb, to += MW_LANES) {
    for (int64_t j = 0; j < vectors - 1; j++, to += MW_LANES)
      mw_store(to, mw_load(b + j * MW_LANES));
    mw_store(to, mw_load(b_last));
  }
}

/* to[k, lane] = the columns of b[k, .], fewer than a vector, and zeros. */
static void pack_narrow(real *to, const real *b, int64_t ldb, int64_t k, int64_t columns) {
  for (int64_t p = 0; p < k; p++)
    for (int64_t l = 0; l < MW_LANES; l++) to[p * MW_LANES + l] = l < columns ? b[p * ldb + l] : 0;
}

/* to[k, step] = the first `columns` rows of b[., k], and zeros up to a vector. */
static void pack_transposed(real *to, int64_t step, const real *b, int64_t ldb, int64_t k,
                            int64_t columns) {
  int64_t p = 0;
  for (; p + MW_LANES <= k; p += MW_LANES) {
    mw_vector row[MW_LANES];
    for (int l = 0; l < MW_LANES; l++)
      row[l] = l < columns ? mw_load(b + l * ldb + p) : (mw_vector){0};
    mw_transpose(row);
    for (int l = 0; l < MW_LANES; l++) mw_store(to + (p + l) * step, row[l]);
  }
  for (; p < k; p++)
    for (int64_t l = 0; l < MW_LANES; l++) to[p * step + l] = l < columns ? b[l * ldb + p] : 0;
}

/* The vectors of a tile. */
static int64_t first_vector(const part *w, int64_t j) { return cut(w->vectors, j, w->tiles_n); }

/* Where tile j's panel lies. */
static real *panel(const part *w, int64_t j) {
  const int64_t before = w->blocks_m == 1 ? 0 : first_vector(w, j);
  return w->packed_b + before * MW_LANES * (w->k1 - w->k0);
}

/* The vectors of a step lie side by side: what it reads is one piece of memory. */
static void pack_panel(const part *w, int64_t j) {
  const mw_gemm *g = w->product;
  const int64_t v0 = first_vector(w, j), vectors = first_vector(w, j + 1) - v0;
  const int64_t k = w->k1 - w->k0, step = vectors * MW_LANES;
  const real *b = (const real *)g->b + w->k0 * (g->transpose_b ? 1 : g->ldb);
  real *to = panel(w, j);
  if (g->transpose_b) {
    for (int64_t v = 0; v < vectors; v++) {
      const int64_t column = column_of(w, v0 + v), columns = least(MW_LANES, w->n1 - column);
      pack_transposed(to + v * MW_LANES, step, b + column * g->ldb, g->ldb, k, columns);
    }
  } else if (g->n < MW_LANES) {
    pack_narrow(to, b, g->ldb, k, g->n);
  } else {
    const real *first = b + column_of(w, v0), *last = b + column_of(w, v0 + vectors - 1);
    if (vectors == VECTORS) pack_plain(VECTORS, to, first, last, g->ldb, k);
    else pack_plain(vectors, to, first, last, g->ldb, k);
  }
}

/* What packing tile j's panel will read. */
static memory source(const part *w, int64_t j) {
  const mw_gemm *g = w->product;
  const int64_t column = column_of(w, first_vector(w, j));
  const int64_t columns = least(w->n0 + first_vector(w, j + 1) * MW_LANES, w->n1) - column;
  const int64_t k = w->k1 - w->k0;
  memory m = {.row = (const real *)g->b, .ld = g->ldb};
  m.row += g->transpose_b ? column * g->ldb + w->k0 : w->k0 * g->ldb + column;
  m.columns = g->transpose_b ? k : columns;
  m.lines = (g->transpose_b ? columns : k) * mw_chunks(m.columns, LINE);
  return m;
}

/* to[k, rows] from a stored as [rows, k]: whole vectors are stored, and what is written beyond a
 * step's last row is written again by the next step; the last steps are taken one by one. */
MW_INLINE void pack_rows(int rows, real *to, const real *a, int64_t lda, int64_t k) {
  enum { GROUPS = (ROWS + MW_LANES - 1) / MW_LANES };
  int64_t p = 0;
  for (; p + 2 * MW_LANES <= k; p += MW_LANES)
    for (int group = GROUPS - 1; group >= 0; group--) {
      mw_vector row[MW_LANES];
      if (group * MW_LANES >= rows) continue;
      for (int l = 0; l < MW_LANES; l++) {
        const int i = group * MW_LANES + l;
        row[l] = i < rows ? mw_load(a + i * lda + p) : (mw_vector){0};
      }
      mw_transpose(row);
      for (int l = 0; l < MW_LANES; l++) mw_store(to + (p + l) * rows + group * MW_LANES, row[l]);
    }
  for (; p < k; p++)
    for (int i = 0; i < rows; i++) to[p * rows + i] = a[i * lda + p];
}

/* The same from a stored as [k, rows]. */
MW_INLINE void pack_columns(int rows, real *to, const real *a, int64_t lda, int64_t k) {
  for (int64_t p = 0; p < k; p++) memcpy(to + p * rows, a + p * lda, (size_t)rows * sizeof(real));
}

MW_INLINE void pack_tile(int rows, bool transposed, real *to, const real *a, int64_t lda,
                         int64_t k) {
  if (transposed) pack_columns(rows, to, a, lda, k);
  else pack_rows(rows, to, a, lda, k);
}

static void pack_any_tile(int rows, bool transposed, real *to, const real *a, int64_t lda,
                          int64_t k) {
  if (rows == ROWS) pack_tile(ROWS, transposed, to, a, lda, k);
  else if (rows == ROWS - 1) pack_tile(ROWS - 1, transposed, to, a, lda, k);
  else pack_tile(rows, transposed, to, a, lda, k);
}

/* Steps k0 .. k1-1 of a part's a. */
static void pack_a_steps(const part *w, int64_t k0, int64_t k1) {
  const mw_gemm *g = w->product;
  const int64_t m = w->m1 - w->m0;
  const real *a = (const real *)g->a + (g->transpose_a ? w->m0 + k0 * g->lda : w->m0 * g->lda + k0);
  for (int64_t i = 0, i0 = 0, i1; i < w->tiles_m; i++, i0 = i1) {
    i1 = cut(m, i + 1, w->tiles_m);
    pack_any_tile((int)(i1 - i0), g->transpose_a,
                  w->packed_a + i0 * (w->k1 - w->k0) + (i1 - i0) * (k0 - w->k0),
                  a + (g->transpose_a ? i0 : i0 * g->lda), g->lda, k1 - k0);
  }
}

/* Rows of a are read along as they lie in memory: of a transposed one a few at a time. */
static void pack_a(const part *w) {
  const int64_t steps = w->product->transpose_a ? PACK_STEPS : w->k1 - w->k0;
  for (int64_t k = w->k0; k < w->k1; k += steps) pack_a_steps(w, k, least(k + steps, w->k1));
}

/* ---- running blocks ---------------------------------------------------------------------- */

/* Rows of a that are far apart share no page, and may share a set of the first cache. */
static bool packs_a(const mw_gemm *g, const mw_gemm_piece *w) {
  return g->lda >= FAR && w->n1 - w->n0 >= PACK_A_N && w->m1 - w->m0 > ROWS && g->k > 1;
}

static bool packs_b(const mw_gemm *g, const mw_gemm_piece *w) {
  return g->transpose_b || g->n < MW_LANES || (w->m1 - w->m0 >= PACK_B_M && g->k >= PACK_B_K);
}

static void place_rows(part *w, int64_t block) {
  const int64_t m0 = w->piece->m0, m = w->piece->m1 - m0;
  w->m0 = m0 + cut(m, block, w->blocks_m), w->m1 = m0 + cut(m, block + 1, w->blocks_m);
  w->tiles_m = mw_chunks(w->m1 - w->m0, ROWS);
}

enum { STEP_N = VECTORS * MW_LANES }; /* blocks of columns begin at multiples of it */

static void place_columns(part *w, int64_t block) {
  const int64_t n0 = w->piece->n0, n1 = w->piece->n1, steps = mw_chunks(n1 - n0, STEP_N);
  const int64_t most = widest(w->piece->m1 - w->piece->m0);
  w->block_n = block;
  w->n0 = n0 + cut(steps, block, w->blocks_n) * STEP_N;
  w->n1 = least(n0 + cut(steps, block + 1, w->blocks_n) * STEP_N, n1);
  w->vectors = mw_chunks(w->n1 - w->n0, MW_LANES);
  w->tiles_n = mw_chunks(w->vectors, most);
}

/* By the product alone: sums begin anew with a block, so the bits depend on it. */
static void place_steps(part *w, int64_t block) {
  const int64_t k = w->product->k, lines = mw_chunks(k, LINE);
  w->block_k = block;
  w->k0 = least(cut(lines, block, w->blocks_k) * LINE, k);
  w->k1 = least(cut(lines, block + 1, w->blocks_k) * LINE, k);
}

static part first_part(const mw_gemm *g, const mw_gemm_piece *piece, real *workspace) {
  const int64_t m = piece->m1 - piece->m0, n = piece->n1 - piece->n0;
  part w = {.product = g,
            .piece = piece,
            .packed_a = packs_a(g, piece) ? workspace + BLOCK_B : NULL,
            .packed_b = packs_b(g, piece) ? workspace : NULL};
  w.blocks_k = blocks(g->k, BLOCK_K);
  const int64_t k = least(g->k, BLOCK_K);
  w.blocks_m = blocks(m, BLOCK_A / (k ? k : 1));
  const int64_t steps = mw_chunks(n, STEP_N);
  w.blocks_n = w.packed_b && w.blocks_m == 1 ? 1 : blocks(steps, BLOCK_B / STEP_N / (k ? k : 1));
  place_rows(&w, 0), place_columns(&w, 0), place_steps(&w, 0);
  return w;
}

/* The next block of steps or columns, if there is one. */
static bool go_on(part *w) {
  if (w->block_k + 1 < w->blocks_k) {
    place_steps(w, w->block_k + 1);
  } else {
    if (w->block_n + 1 == w->blocks_n) return false;
    place_columns(w, w->block_n + 1);
    place_steps(w, 0);
  }
  return true;
}

/* What will be packed after tile j's columns, if anything. */
static memory coming(const part *w, int64_t j) {
  const bool first_rows = w->m0 == w->piece->m0, last_rows = w->m1 == w->piece->m1;
  if (w->packed_b && first_rows && j + 1 < w->tiles_n) return source(w, j + 1);
  part next = *w;
  if (w->packed_b && last_rows && j + 1 == w->tiles_n && go_on(&next)) return source(&next, 0);
  return (memory){0};
}

/* Tile j's columns, all rows. */
static void run_columns(const part *w, int64_t j) {
  const mw_gemm *g = w->product;
  const int64_t v0 = first_vector(w, j), v1 = first_vector(w, j + 1);
  const int64_t k = w->k1 - w->k0, m = w->m1 - w->m0, last = column_of(w, v1 - 1);
  const int64_t column = v1 - v0 > 1 ? w->n0 + v0 * MW_LANES : last;
  memory next = coming(w, j);
  const int64_t share = mw_chunks(next.lines, w->tiles_m);
  tile t = {.k = k,
            .a_row = g->transpose_a ? 1 : g->lda,
            .a_step = g->transpose_a ? g->lda : 1,
            .ldc = g->ldc,
            .accumulate = g->accumulate || w->k0 > 0,
            .packed = w->packed_a && w->packed_b,
            .next = &next};
  if (w->packed_b) {
    t.b_step = (v1 - v0) * MW_LANES;
    t.b = panel(w, j);
    t.b_last = t.b + t.b_step - MW_LANES;
  } else {
    t.b_step = g->ldb;
    t.b = (const real *)g->b + w->k0 * g->ldb + column;
    t.b_last = (const real *)g->b + w->k0 * g->ldb + last;
  }
  /* Lanes that were computed before may be stored again with the same bits, but not added. */
  if (t.accumulate || last < w->n0) t.first = w->n0 + (v1 - 1) * MW_LANES - last;
  t.end = least(MW_LANES, w->n1 - last);
  for (int64_t i = 0, i0 = 0, rows; i < w->tiles_m; i++, i0 += rows) {
    rows = cut(m, i + 1, w->tiles_m) - i0;
    if (w->packed_a) {
      t.a = w->packed_a + i0 * k;
      t.a_row = 1, t.a_step = rows;
    } else {
      t.a = (const real *)g->a + (w->m0 + i0) * t.a_row + w->k0 * t.a_step;
    }
    t.c = (real *)g->c + (w->m0 + i0) * g->ldc + column;
    t.c_last = (real *)g->c + (w->m0 + i0) * g->ldc + last;
    t.lines = least(share, next.lines);
    next.lines -= t.lines;
    multiply_tile((int)rows, (int)(v1 - v0), &t);
  }
}

static void run_blocks(const mw_gemm *g, const mw_gemm_piece *piece, real *workspace) {
  if (piece->m0 >= piece->m1 || piece->n0 >= piece->n1) return;
  part w = first_part(g, piece, workspace);
  do {
    for (int64_t block = 0; block < w.blocks_m; block++) {
      place_rows(&w, block);
      if (w.packed_a) pack_a(&w);
      for (int64_t j = 0; j < w.tiles_n; j++) {
        if (w.packed_b && block == 0) pack_panel(&w, j);
        run_columns(&w, j);
      }
    }
  } while (go_on(&w));
}

/* ---- few rows, with both operands along k ------------------------------------------------- */

/* DOTS sums of products at once, each a vector of partial sums: 1 x 8, 2 x 4, 3 x 2 or 4 x 2 elements
 * of c. A step of 4 x 2 loads 6 vectors for 8 multiply-adds; one row goes as fast as the first or second
 * cache gives b, and fastest from four places of it: 1 x 4 elements by two vectors of steps. */
enum {
  DOTS = 8,
  DOTS_ROWS = 4,
  DOTS_ROOM = DOTS > MW_LANES ? DOTS : MW_LANES,
  STRETCH = 4096 / (int)sizeof(real)
};

/* The last n lanes. */
static inline mw_mask last_lanes(int64_t n) {
  real number[MW_LANES];
  for (int l = 0; l < MW_LANES; l++) number[l] = (real)l;
  return mw_load(number) >= (real)(MW_LANES - n);
}

static inline mw_vector masked(const real *from, mw_mask mask) {
  return (mw_vector)((mw_mask)mw_load(from) & mask);
}

/* Some steps of k of a piece, at least MW_LANES. */
typedef struct stretch {
  const mw_gemm *product;
  const mw_gemm_piece *piece;
  int64_t start, k;
  bool accumulate;
} stretch;

/* Rows i .. i+rows-1, and `columns` columns from j on, of which the piece's are stored; `steps`
 * vectors of steps at a time, summed apart. */
MW_INLINE void dots(int rows, int columns, int steps, const stretch *s, int64_t i, int64_t j) {
  const mw_gemm *g = s->product;
  const int64_t end = s->piece->n1;
  const int n = rows * columns;
  const real *a[DOTS_ROWS], *b[DOTS];
  mw_vector sum[DOTS_ROOM] = {0};
  for (int r = 0; r < rows; r++) a[r] = (const real *)g->a + (i + r) * g->lda + s->start;
  for (int l = 0; l < columns; l++)
    b[l] = (const real *)g->b + least(j + l, end - 1) * (g->transpose_b ? g->ldb : 0) + s->start;
  int64_t p = 0;
  for (; p + steps * MW_LANES <= s->k; p += steps * MW_LANES)
    MW_UNROLL for (int v = 0; v < steps; v++) {
      mw_vector bp[DOTS];
      MW_UNROLL for (int l = 0; l < columns; l++) bp[l] = mw_load_once(b[l] + p + v * MW_LANES);
      MW_UNROLL for (int r = 0; r < rows; r++) {
        const mw_vector ap = mw_load_once(a[r] + p + v * MW_LANES);
        MW_UNROLL for (int l = 0; l < columns; l++) sum[v * n + r * columns + l] += ap * bp[l];
      }
    }
  for (; p + MW_LANES <= s->k; p += MW_LANES)
    MW_UNROLL for (int r = 0; r < rows; r++) MW_UNROLL for (int l = 0; l < columns; l++)
        sum[r * columns + l] += mw_load(a[r] + p) * mw_load(b[l] + p);
  if (p < s->k) { /* the last vector ends at k; what was in the one before becomes 0 in both */
    const mw_mask mask = last_lanes(s->k - p);
    p = s->k - MW_LANES;
    MW_UNROLL for (int r = 0; r < rows; r++) MW_UNROLL for (int l = 0; l < columns; l++)
        sum[r * columns + l] += masked(a[r] + p, mask) * masked(b[l] + p, mask);
  }
  real total[DOTS_ROOM];
  MW_UNROLL for (int v = 1; v < steps; v++) MW_UNROLL for (int l = 0; l < n; l++) {
    sum[l] += sum[v * n + l];
    sum[v * n + l] = (mw_vector){0};
  }
  MW_UNROLL for (int at = 0; at < n; at += MW_LANES) mw_store(total + at, mw_sums(sum + at));
  MW_UNROLL for (int r = 0; r < rows; r++) MW_UNROLL for (int l = 0; l < columns; l++) {
    real *c = (real *)g->c + (i + r) * g->ldc + j + l;
    if (j + l < end) *c = s->accumulate ? *c + total[r * columns + l] : total[r * columns + l];
  }
}

static void run_stretch(const stretch *s) {
  const mw_gemm_piece *w = s->piece;
  const int64_t m = w->m1 - w->m0, tiles = (m + DOTS_ROWS - 1) / DOTS_ROWS;
  if (m == 1 && s->product->m == 1) {
    for (int64_t j = w->n0; j < w->n1; j += 4) dots(1, 4, 2, s, w->m0, j);
  } else if (m == 1) { /* of several rows, whose bits do not depend on the piece */
    for (int64_t j = w->n0; j < w->n1; j += 8) dots(1, 8, 1, s, w->m0, j);
  } else if (m == 2) {
    for (int64_t j = w->n0; j < w->n1; j += 4) dots(2, 4, 1, s, w->m0, j);
  } else {
    for (int64_t j = w->n0; j < w->n1; j += 2)
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t i = cut(m, t, tiles), rows = cut(m, t + 1, tiles) - i;
        if (rows == 4) dots(4, 2, 1, s, w->m0 + i, j);
        else if (rows == 3) dots(3, 2, 1, s, w->m0 + i, j);
        else dots(2, 2, 1, s, w->m0 + i, j);
      }
  }
}

/* Stretches of k keep the rows in the first cache; where there is a single one it is used once. */
static void run_dots(const mw_gemm *g, const mw_gemm_piece *piece) {
  const int64_t stretches = g->m == 1 ? 1 : (g->k + STRETCH - 1) / STRETCH;
  for (int64_t i = 0; i < stretches; i++) {
    const int64_t start = cut(g->k, i, stretches), end = cut(g->k, i + 1, stretches);
    run_stretch(&(stretch){g, piece, start, end - start, g->accumulate || i > 0});
  }
}

static bool along_k(const mw_gemm *g) {
  return !g->transpose_a && (g->transpose_b || (g->n == 1 && g->ldb == 1)) && g->k >= MW_LANES &&
         (g->m <= DOTS_M || (g->n <= DOTS_N && g->k >= DOTS_K));
}

/* ---- one step ---------------------------------------------------------------------------- */

/* The outer product of a column and a row, which is no more work than writing it. */
static void run_outer(const mw_gemm *g, const mw_gemm_piece *w) {
  const int64_t a_row = g->transpose_a ? 1 : g->lda, b_step = g->transpose_b ? g->ldb : 1;
  const int64_t n = w->n1 - w->n0;
  const real *b = (const real *)g->b + w->n0 * b_step;
  for (int64_t i = w->m0; i < w->m1; i++) {
    const real ai = ((const real *)g->a)[i * a_row];
    real *c = (real *)g->c + i * g->ldc + w->n0;
    if (g->accumulate)
      for (int64_t j = 0; j < n; j++) c[j] += ai * b[j * b_step];
    else if (b_step == 1)
      for (int64_t j = 0; j < n; j++) c[j] = ai * b[j];
    else
      for (int64_t j = 0; j < n; j++) c[j] = ai * b[j * b_step];
  }
}

/* The way is chosen by the whole product, so that an element's bits do not depend on the piece. */
static void run(const mw_gemm *g, const mw_gemm_piece *piece, void *workspace) {
  if (g->k == 1) run_outer(g, piece);
  else if (along_k(g)) run_dots(g, piece);
  else run_blocks(g, piece, workspace);
}

const mw_gemm_kernel MW_GEMM = {
    .workspace = (size_t)(BLOCK_A + BLOCK_B) * sizeof(real),
    .step_m = ROWS,
    .step_n = STEP_N,
    .run = run,
};
