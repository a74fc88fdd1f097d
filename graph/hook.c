/* hook.c: functions of the program's own that runs call. A leaf holds the number of one, so that no
 * bytes that a user can make are taken for an address; the function goes when the leaf does. */
#include <string.h>

#include "denormals.h"
#include "internal.h"

struct mw_hook_place {
  mw_hook hook;
  int64_t number; /* of the hook that is here; 0: none */
};

/* A number is where the hook is, plus the room for places times how often it was given. */
enum { MOST_HOOKS = 1 << 20 };

static struct mw_hook_place *find_place(mw_context *ctx, int64_t number) {
  int64_t i = number % MOST_HOOKS;
  if (number <= 0 || i >= ctx->n_hooks || ctx->hooks[i].number != number) return NULL;
  return &ctx->hooks[i];
}

static struct mw_hook_place *free_place(mw_context *ctx) {
  for (int i = 0; i < ctx->n_hooks; i++)
    if (!ctx->hooks[i].number) return &ctx->hooks[i];
  int n = ctx->n_hooks ? 2 * ctx->n_hooks : 16;
  struct mw_hook_place *grown =
      n < MOST_HOOKS ? realloc(ctx->hooks, (size_t)n * sizeof *grown) : NULL;
  if (!grown) {
    mw_no_memory(ctx);
    return NULL;
  }
  memset(grown + ctx->n_hooks, 0, (size_t)(n - ctx->n_hooks) * sizeof *grown);
  ctx->hooks = grown;
  struct mw_hook_place *place = &grown[ctx->n_hooks];
  ctx->n_hooks = n;
  return place;
}

static void drop_hook(const mw_storage *storage) {
  struct mw_hook_place *place = find_place(storage->ctx, *(const int64_t *)storage->data);
  if (!place) return;
  mw_hook hook = place->hook;
  place->number = 0;
  if (hook.drop) hook.drop(hook.state);
}

mw_tensor *mw_hook_leaf(mw_context *ctx, const mw_hook *hook) {
  mw_spec spec = mw_spec_of(MW_I64, 0, NULL);
  struct mw_hook_place *place = free_place(ctx);
  mw_tensor *leaf = place ? mw_constant(ctx, &spec, NULL) : NULL;
  if (!leaf) return NULL;
  int64_t number = (int64_t)ctx->born * MOST_HOOKS + (place - ctx->hooks); /* born: never twice */
  *place = (struct mw_hook_place){.hook = *hook, .number = number};
  *(int64_t *)leaf->storage->data = number;
  leaf->storage->drop = drop_hook;
  return leaf;
}

/* What a run inside a run would overwrite. */
typedef struct held {
  mw_collection collection;
  char *arena;
  size_t arena_bytes;
  mw_stats stats;
  int threads;
} held;

static held hold(mw_context *ctx) {
  held h = {.collection = ctx->collection,
            .arena = ctx->arena,
            .arena_bytes = ctx->arena_bytes,
            .stats = ctx->stats,
            .threads = ctx->threads};
  memset(&ctx->collection, 0, sizeof ctx->collection);
  ctx->arena = NULL;
  ctx->arena_bytes = 0;
  return h;
}

static void restore(mw_context *ctx, const held *h) {
  mw_collection_free(&ctx->collection);
  free(ctx->arena);
  ctx->collection = h->collection;
  ctx->arena = h->arena;
  ctx->arena_bytes = h->arena_bytes;
  ctx->stats.nodes_last = h->stats.nodes_last;
  ctx->stats.arena_last = h->stats.arena_last;
  ctx->stats.arena_unshared = h->stats.arena_unshared;
  if (ctx->threads != h->threads)
    mw_threads_set(ctx, h->threads); /* scratch was made for so many */
}

mw_status mw_host_hook(mw_context *ctx, const mw_array *leaf, bool gradient,
                       const mw_array *value) {
  struct mw_hook_place *place = find_place(ctx, *(const int64_t *)leaf->data);
  if (!place) return mw_set_error(ctx, "there is no such hook; t:hook(f) makes one");
  mw_hook hook = place->hook; /* the places may be moved meanwhile */
  held h = hold(ctx);
  char message[MW_HOOK_TEXT] = "";
  const mw_float_mode mode = mw_denormals_flush(false); /* its arithmetic is not the kernels' */
  mw_status status = hook.call(hook.state, gradient, &value->spec, value->data, message);
  mw_float_mode_set(mode);
  restore(ctx, &h);
  return status ? mw_set_error(ctx, "%s", message) : MW_OK;
}
