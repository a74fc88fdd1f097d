/* context.c: the context, its last error, and the choice of an instruction set. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dropped.h"
#include "internal.h"
#include "tune.h"

static bool level_supported(const char *name) {
#if defined __x86_64__
  if (strcmp(name, "v4") == 0)
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("fma");
  if (strcmp(name, "v3") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
#endif
  (void)name;
  return true;
}

/* The best level that this processor runs, or the one that MOONWALK_LEVEL names if it runs it. */
static const mw_level *choose_level(void) {
  const char *asked = getenv("MOONWALK_LEVEL");
  const mw_level *best = NULL;
  for (const mw_level *level = mw_levels; level->name; level++) {
    if (!level_supported(level->name)) continue;
    if (asked && strcmp(asked, level->name) == 0) return level;
    if (!best) best = level;
  }
  return best;
}

/* What MOONWALK_THREADS says if that is a number of threads, or one for each processor that this
 * process may use. */
static int default_threads(void) {
  const char *asked = getenv("MOONWALK_THREADS");
  long n = asked ? strtol(asked, NULL, 10) : 0;
  if (n < 1) n = mw_processors();
  return n > 256 ? 256 : (int)n;
}

static mw_status register_shipped(mw_context *ctx) {
  mw_plugin *shipped = mw_plugin_begin(ctx, "shipped", NULL, NULL);
  if (!shipped) return MW_FAILED;
  for (const mw_shipped *op = ctx->level->ops; op->file; op++) {
    shipped->file = op->file;
    if (op->entry(&mw_host_table, shipped)) {
      /* Our own bug: say it where it will be seen, a context without its ops is of no use. */
      fprintf(stderr, "moonwalk: %s\n", ctx->error);
      mw_plugin_abort(shipped);
      return MW_FAILED;
    }
  }
  ctx->shipped = shipped;
  if (!mw_plugin_commit(shipped)) return MW_OK;
  mw_plugin_abort(shipped);
  return MW_FAILED;
}

static void context_destroy(mw_context *ctx) {
  mw_cache_clear(ctx);
  mw_recorder_free(ctx);
  mw_collection_free(&ctx->collection);
  mw_collection_free(&ctx->recipe);
  mw_registry_free(ctx);
  mw_origins_free(&ctx->origins);
  mw_tuner_free(ctx->tuner);
  mw_pool_free(ctx->pool);
  free(ctx->workspace);
  free(ctx->arena);
  free(ctx->hooks);
  mw_blocks_clear(&ctx->blocks);
  free(ctx);
}

mw_context *mw_context_new(void) {
  mw_context *ctx = calloc(1, sizeof *ctx);
  if (!ctx) return NULL;
  ctx->refs = 1;
  ctx->level = choose_level();
  const char *slicing = getenv("MOONWALK_SLICING");
  if (slicing && strcmp(slicing, "never") == 0) ctx->slicing = MW_SLICE_NEVER;
  if (slicing && strcmp(slicing, "always") == 0) ctx->slicing = MW_SLICE_ALWAYS;
  const char *denormals = getenv("MOONWALK_DENORMALS");
  ctx->keeps_denormals = denormals && strcmp(denormals, "keep") == 0;
  if (!ctx->level || mw_threads_prepare(ctx, default_threads()) || register_shipped(ctx)) {
    context_destroy(ctx);
    return NULL;
  }
  return ctx;
}

void mw_context_free(mw_context *ctx) {
  if (!ctx) return;
  mw_cache_clear(ctx); /* cached programs hold memory that nobody will use again */
  mw_failures_keep(ctx, false);
  if (--ctx->refs == 0) context_destroy(ctx);
}

const char *mw_error(const mw_context *ctx) { return ctx->error; }

static _Thread_local char *diverted;

char *mw_error_divert(char *to) {
  char *before = diverted;
  diverted = to;
  return before;
}

char *mw_error_here(mw_context *ctx) { return diverted ? diverted : ctx->error; }

mw_status mw_set_error(mw_context *ctx, const char *format, ...) {
  /* The arguments may point into the message that is being replaced. */
  char text[MW_ERROR_TEXT];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  memcpy(mw_error_here(ctx), text, sizeof text);
  return MW_FAILED;
}

void mw_prefix_error(mw_context *ctx, const char *name) {
  mw_set_error(ctx, "%s: %.*s", name, MW_ERROR_TEXT - 64, mw_error_here(ctx));
}

void mw_append_error(mw_context *ctx, const char *text) {
  char *error = mw_error_here(ctx);
  const size_t length = strlen(error);
  snprintf(error + length, MW_ERROR_TEXT - length, "%s", text);
}

mw_status mw_no_memory(mw_context *ctx) { return mw_set_error(ctx, "out of memory"); }

mw_slicing mw_slicing_set(mw_context *ctx, mw_slicing slicing) {
  const mw_slicing before = ctx->slicing;
  if (slicing != before) mw_cache_clear(ctx);
  ctx->slicing = slicing;
  return before;
}

bool mw_flush_denormals(mw_context *ctx, bool on) {
  const bool before = !ctx->keeps_denormals;
  ctx->keeps_denormals = !on;
  return before;
}

void mw_interrupt(mw_context *ctx) { ctx->interrupted = 1; }

void mw_context_stats(const mw_context *ctx, mw_stats *stats) {
  *stats = ctx->stats;
  stats->programs_cached = ctx->n_cached;
}

mw_live mw_context_live(const mw_context *ctx) {
  return (mw_live){.bytes = ctx->stats.bytes_live, .tensors = ctx->stats.tensors_live};
}

size_t mw_context_peak(mw_context *ctx) {
  const size_t peak = ctx->peak;
  ctx->peak = ctx->stats.bytes_live;
  return peak;
}
