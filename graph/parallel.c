/* parallel.c: the one parallel loop, and matrix products cut into pieces for it.
 * What is computed is cut by shape; threads only decide who does which piece. */
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>

#include "internal.h"

mw_status mw_threads_prepare(mw_context *ctx, int threads) {
  size_t f32 = ctx->level->gemm_f32->workspace, f64 = ctx->level->gemm_f64->workspace;
  size_t stride = mw_aligned(f32 > f64 ? f32 : f64);
  char *workspace = aligned_alloc(MW_ALIGN, (size_t)threads * stride);
  mw_pool *pool = mw_pool_new(threads - 1);
  if (!workspace || !pool) {
    free(workspace);
    mw_pool_free(pool);
    return mw_no_memory(ctx);
  }
  free(ctx->workspace);
  mw_pool_free(ctx->pool);
  ctx->pool = pool;
  ctx->workspace = workspace;
  ctx->workspace_stride = stride;
  ctx->threads = threads;
  return MW_OK;
}

void mw_threads_set(mw_context *ctx, int threads) {
  threads = threads < 1 ? 1 : threads > 256 ? 256 : threads;
  if (threads == ctx->threads || mw_threads_prepare(ctx, threads)) return;
  mw_cache_clear(ctx); /* programs have scratch for each worker */
}

int mw_threads(const mw_context *ctx) { return ctx->threads; }

/* This thread's number in the loop that it is in, or NONE. A loop inside another runs on one
 * thread, as worker 0 of its own: the number that tells threads apart is the outer loop's. */
enum { NONE = -1 };
static _Thread_local int here = NONE;

/* A loop's chunks are cut into as many runs as threads take part, and each thread begins with its
 * own: what it wrote in the loop before, of as many chunks, is still in its cache. Then it helps
 * with the runs of those that came late. */
enum { MOST_RUNS = 32 };
typedef struct loop {
  int64_t chunks;
  mw_chunk run;
  void *arg;
  int runs;
  struct {
    alignas(64) atomic_llong next; /* apart from what all threads only read */
  } own[MOST_RUNS];
} loop;

static int64_t first_of(const loop *l, int r) { return l->chunks * r / l->runs; }

static void run_chunks(void *arg, int worker) {
  loop *l = arg;
  here = worker;
  for (int i = 0; i < l->runs; i++) {
    const int r = (worker + i) % l->runs;
    const int64_t end = first_of(l, r + 1);
    for (int64_t c;
         (c = atomic_fetch_add_explicit(&l->own[r].next, 1, memory_order_relaxed)) < end;)
      l->run(l->arg, c, worker);
  }
  here = NONE;
}

void mw_host_parallel(mw_context *ctx, int64_t chunks, mw_chunk run, void *arg) {
  int threads = chunks < ctx->threads ? (int)chunks : ctx->threads;
  if (threads <= 1 || here != NONE) {
    for (int64_t c = 0; c < chunks; c++) run(arg, c, 0);
    return;
  }
  loop l = {.chunks = chunks, .run = run, .arg = arg};
  l.runs = threads < MOST_RUNS ? threads : MOST_RUNS;
  for (int r = 0; r < l.runs; r++) atomic_init(&l.own[r].next, first_of(&l, r));
  mw_pool_run(ctx->pool, threads - 1, run_chunks, &l);
}

int mw_host_threads(const mw_context *ctx) { return here == NONE ? ctx->threads : 1; }

void mw_run_serially(int64_t chunks, mw_chunk run, void *arg) {
  const int before = here;
  if (here == NONE) here = 0;
  for (int64_t c = 0; c < chunks; c++) run(arg, c, 0);
  here = before;
}

static void *own_workspace(const mw_context *ctx) {
  return ctx->workspace + (size_t)(here == NONE ? 0 : here) * ctx->workspace_stride;
}

/* ---- matrix products --------------------------------------------------------------------- */

typedef struct split {
  mw_context *ctx;
  const mw_gemm_kernel *kernel;
  const mw_gemm *product;
  int64_t rows, columns; /* of pieces */
} split;

/* Multiply-adds of a piece: at least LEAST, and at least LARGE where there are ENOUGH pieces. */
enum { LEAST = 1 << 18, LARGE = 1 << 24, ENOUGH = 8 };

/* Halves the longer side until pieces are small. */
static void cut(split *s) {
  const mw_gemm *g = s->product;
  for (s->rows = s->columns = 1;;) {
    const int64_t height = g->m / s->rows, width = g->n / s->columns;
    const bool wide = width >= 2 * s->kernel->step_n, high = height >= 2 * s->kernel->step_m;
    const int64_t least = s->rows * s->columns < ENOUGH ? LEAST : LARGE;
    if ((!wide && !high) || height * width < 2 * least / (g->k > 0 ? g->k : 1)) return;
    if (wide && (width >= height || !high)) s->columns *= 2;
    else s->rows *= 2;
  }
}

/* Where piece i of `pieces` begins, at a multiple of step. */
static int64_t start_of(int64_t size, int64_t step, int64_t i, int64_t pieces) {
  const int64_t start = mw_chunks(size, step) * i / pieces * step;
  return start < size ? start : size;
}

static void run_piece(void *arg, int64_t chunk, int worker) {
  const split *s = arg;
  const mw_gemm *g = s->product;
  const mw_gemm_kernel *kernel = s->kernel;
  const int64_t i = chunk / s->columns, j = chunk % s->columns;
  const mw_gemm_piece piece = {start_of(g->m, kernel->step_m, i, s->rows),
                               start_of(g->m, kernel->step_m, i + 1, s->rows),
                               start_of(g->n, kernel->step_n, j, s->columns),
                               start_of(g->n, kernel->step_n, j + 1, s->columns)};
  (void)worker;
  kernel->run(g, &piece, own_workspace(s->ctx));
}

void mw_host_gemm(mw_context *ctx, mw_dtype dtype, const mw_gemm *product, int worker) {
  const mw_gemm_kernel *kernel = dtype == MW_F64 ? ctx->level->gemm_f64 : ctx->level->gemm_f32;
  if (worker != MW_ALL_WORKERS || ctx->threads == 1 || here != NONE) {
    const mw_gemm_piece whole = {0, product->m, 0, product->n};
    kernel->run(product, &whole, own_workspace(ctx));
    return;
  }
  split s = {.ctx = ctx, .kernel = kernel, .product = product};
  cut(&s);
  mw_host_parallel(ctx, s.rows * s.columns, run_piece, &s);
}
