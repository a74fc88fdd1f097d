/* run.c: runs programs, and finds the program for a request in the cache. */
#include <string.h>

#include "denormals.h"
#include "internal.h"

/* ---- the cache: few programs, the one used last in front ------------------------------------ */

uint64_t mw_key_hash(const uint64_t *words, size_t n) {
  uint64_t h = n;
  for (size_t i = 0; i < n; i++) {
    h = (h ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 29;
  }
  return h;
}

/* While one runs, a hook of it may ask for the same: its memory is in use. */
static bool is_usable(const mw_context *ctx, const mw_program *p) {
  return !p->running && !(ctx->watching ? p->commuted : p->held_back);
}

/* The hash takes longer than to look at the first few, which mostly are those of a loop. */
mw_program *mw_cache_find(mw_context *ctx, const mw_collection *c) {
  enum { FIRST = 4 };
  uint64_t hash = 0;
  for (int i = 0; i < ctx->n_cached; i++) {
    mw_program *p = ctx->cache[i];
    if (i == FIRST) hash = mw_key_hash(c->key, c->key_words);
    if (!is_usable(ctx, p)) continue;
    if (p->key_words != c->key_words || (i >= FIRST && p->hash != hash)) continue;
    if (memcmp(p->key, c->key, c->key_words * sizeof *p->key) != 0) continue;
    memmove(ctx->cache + 1, ctx->cache, (size_t)i * sizeof *ctx->cache);
    return ctx->cache[0] = p;
  }
  return NULL;
}

void mw_cache_add(mw_context *ctx, mw_program *p) {
  int last = ctx->n_cached; /* the place that becomes free for the others to move up */
  if (last == MW_MAX_CACHED) {
    do last--;
    while (last > 0 && ctx->cache[last]->running);
    mw_program_destroy(ctx->cache[last]);
    ctx->n_cached--;
  }
  memmove(ctx->cache + 1, ctx->cache, (size_t)last * sizeof *ctx->cache);
  ctx->cache[0] = p;
  ctx->n_cached++;
}

/* A program that runs, and one of whose hooks asks for this, stays until it is pushed out; it is
 * only not found any more. */
void mw_cache_clear(mw_context *ctx) {
  int kept = 0;
  for (int i = 0; i < ctx->n_cached; i++) {
    mw_program *p = ctx->cache[i];
    if (!p->running) {
      mw_program_destroy(p);
      continue;
    }
    p->key_words = 0;
    ctx->cache[kept++] = p;
  }
  ctx->n_cached = kept;
}

/* ---- running --------------------------------------------------------------------------------- */

/* There is no memory for a slot. */
static mw_status lacks_memory(mw_program *p, mw_node *const *nodes, int s) {
  const mw_slot *slot = &p->slots[s];
  mw_memory_lacks(p->ctx, slot->bytes, p->steps[slot->first].entry->op.name,
                  slot->spec.dtype == MW_NONE ? NULL : &slot->spec);
  mw_failure_note_step(p, nodes, slot->first);
  return MW_FAILED;
}

/* There is none for what lies in the arena, of which the largest is named. */
static mw_status lacks_arena(mw_program *p, mw_node *const *nodes) {
  int largest = -1;
  for (int s = 0; s < p->n_slots; s++) {
    if (p->slots[s].root != s || p->slots[s].place != MW_IN_ARENA) continue;
    if (largest < 0 || p->slots[s].bytes > p->slots[largest].bytes) largest = s;
  }
  if (largest >= 0) return lacks_memory(p, nodes, largest);
  return mw_memory_lacks(p->ctx, p->arena, NULL, NULL);
}

static mw_status grow_arena(mw_program *p, mw_node *const *nodes) {
  mw_context *ctx = p->ctx;
  const size_t bytes = p->arena;
  if (bytes <= ctx->arena_bytes) return MW_OK;
  char *arena = mw_memory_has(bytes) ? aligned_alloc(MW_ALIGN, mw_aligned(bytes)) : NULL;
  if (!arena) return lacks_arena(p, nodes);
  free(ctx->arena); /* nothing in it outlives a run */
  ctx->arena = arena;
  ctx->arena_bytes = mw_aligned(bytes);
  return MW_OK;
}

/* Whether a new value may be written over the leaf's: nobody else has that, or looks on. */
static bool is_ours(const mw_context *ctx, const mw_tensor *leaf) {
  return leaf->storage->refs == 1 && !ctx->watching;
}

/* Storage for each result; that of the last run is used again when nobody else has it. */
static mw_status prepare_results(mw_program *p, mw_tensor *const *leaves, mw_node *const *nodes) {
  for (int i = 0; i < p->n_apart; i++) {
    const int s = p->apart[i];
    mw_slot *slot = &p->slots[s];
    if (slot->place != MW_IN_RESULT) continue;
    if (slot->over >= 0 && is_ours(p->ctx, leaves[slot->over])) {
      mw_storage_release(slot->held);
      slot->held = mw_storage_retain(leaves[slot->over]->storage);
      continue;
    }
    if (slot->held && slot->held->refs == 1) continue;
    mw_storage_release(slot->held);
    slot->held = mw_storage_new(p->ctx, slot->bytes);
    if (!slot->held) return lacks_memory(p, nodes, s);
  }
  return MW_OK;
}

static mw_storage *slot_storage(mw_program *p, mw_tensor *const *leaves, int s) {
  mw_slot *root = mw_slot_root(p->slots, s);
  return root->place == MW_IN_LEAF ? leaves[root->leaf]->storage : root->held;
}

void *mw_slot_address(mw_program *p, mw_tensor *const *leaves, int s) {
  mw_slot *root = mw_slot_root(p->slots, s);
  if (root->place == MW_IN_ARENA) return p->ctx->arena + root->offset;
  return slot_storage(p, leaves, s)->data;
}

mw_status mw_step_run(mw_step *step) {
  mw_call *call = &step->call;
  mw_context *ctx = call->context;
  mw_status (*run)(const mw_call *) =
      call->backward ? step->kernel->backward : step->kernel->forward;
  char *error = mw_error_here(ctx);
  error[0] = '\0';
  if (!run(call)) return MW_OK;
  if (!error[0]) mw_set_error(ctx, "its kernel failed without saying why");
  mw_prefix_error(ctx, step->entry->op.name);
  return MW_FAILED;
}

static mw_status check_leaves(mw_context *ctx, int n, mw_tensor *const *leaves) {
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < n; i++)
    if (!leaves[i]->storage)
      return mw_set_error(ctx, "input '%s' %s has no value yet", mw_tensor_name(leaves[i]),
                          mw_spec_text(&leaves[i]->spec, text));
  return MW_OK;
}

/* A program kept by hand may find another number of threads than it was planned for. */
static mw_status fit_threads(mw_program *p) {
  int threads = p->ctx->threads;
  if (p->threads == threads) return MW_OK;
  for (int k = 0; k < p->n_steps; k++) {
    mw_step *step = &p->steps[k];
    if (step->scratch < 0 || mw_region_of(p, k)) continue;
    size_t worker_bytes = step->call.worker_stride * (size_t)threads;
    mw_slot *slot = &p->slots[step->scratch];
    slot->bytes += worker_bytes - step->worker_bytes;
    step->worker_bytes = worker_bytes;
  }
  mw_status status = mw_plan(p);
  p->threads = status ? 0 : threads; /* 0: plan again before the next run */
  return status;
}

/* nodes: of the graph that asked for the run; a program kept by hand has noted what matters. */
static mw_status run_step(mw_program *p, mw_node *const *nodes, int k) {
  mw_step *step = &p->steps[k];
  bool noted = p->ctx->recorder != NULL;
  double begin = noted ? mw_profile_now() : 0;
  mw_status status;
  if (!p->ctx->watching) status = mw_step_run(step);
  else status = mw_watch_step(step, nodes ? nodes[step->node]->origin : p->origins[k]);
  if (noted) mw_profile_call(p, k, 0, begin);
  if (status) mw_failure_note_step(p, nodes, k);
  return status;
}

/* Lets go of results that somebody has now. */
static void release_results(mw_program *p) {
  for (int i = 0; i < p->n_apart; i++) {
    mw_slot *slot = &p->slots[p->apart[i]];
    if (!slot->held || slot->held->refs == 1) continue;
    mw_storage_release(slot->held);
    slot->held = NULL;
  }
}

static mw_status run_steps(mw_program *p, mw_tensor *const *leaves, mw_node *const *nodes) {
  mw_context *ctx = p->ctx;
  if (ctx->depth == MW_MAX_DEPTH)
    return mw_set_error(ctx, "%d runs are inside each other: does a hook call itself?", ctx->depth);
  if (p->running)
    return mw_set_error(ctx, "the program is running: one of its hooks asks for it again");
  if (check_leaves(ctx, p->n_leaves, leaves) || fit_threads(p) || grow_arena(p, nodes) ||
      prepare_results(p, leaves, nodes) || (ctx->recorder && mw_profile_program(p, nodes)) ||
      mw_bind(p, leaves))
    return MW_FAILED;
  uint64_t moved = ctx->moved;
  ctx->stats.programs_run++;
  ctx->stats.nodes_last = p->n_steps;
  ctx->stats.arena_last = p->arena;
  ctx->stats.slices_last = 0;
  ctx->stats.arena_unshared = p->arena_unshared;
  if (p->arena > ctx->stats.arena_peak) ctx->stats.arena_peak = p->arena;
  if (ctx->stats.bytes_live + p->arena > ctx->peak) ctx->peak = ctx->stats.bytes_live + p->arena;
  if (!ctx->depth++) ctx->interrupted = 0;
  p->running = true;
  const mw_float_mode before = mw_denormals_flush(!ctx->keeps_denormals);
  mw_status status = MW_OK;
  const mw_region *region = p->regions, *none = p->regions + p->n_regions;
  for (int k = 0; k < p->n_steps && !status; k++) {
    if (ctx->interrupted && k <= p->sure) {
      status = mw_set_error(ctx, "interrupted");
    } else if (region < none && region->first == k) {
      status = mw_region_run(p, region, leaves, nodes);
      k = region++->end - 1;
    } else {
      status = run_step(p, nodes, k);
    }
    if (moved != ctx->moved && !status) { /* by a hook */
      status = mw_bind(p, leaves);
      moved = ctx->moved;
    }
  }
  mw_float_mode_set(before);
  p->running = false;
  ctx->depth--;
  if (status) release_results(p);
  return status;
}

/* Gives the targets their new values, all at once: every value is held before any is replaced.
 * The storage that a target had becomes the next run's, so that a loop allocates nothing. */
static void apply_updates(mw_program *p, mw_tensor *const *leaves) {
  for (int i = 0; i < p->n_updates; i++)
    p->fresh[i] = mw_storage_retain(slot_storage(p, leaves, p->updates[i]));
  for (int i = 0; i < p->n_updates; i++) {
    mw_tensor *target = leaves[p->targets[i]];
    mw_slot *root = mw_slot_root(p->slots, p->updates[i]);
    mw_storage *old = target->storage;
    target->storage = p->fresh[i];
    p->ctx->moved++;
    target->node->version++;
    if (root->place == MW_IN_RESULT && root->held == p->fresh[i] && old->refs == 1 &&
        old->bytes == root->bytes) {
      mw_storage_release(root->held);
      root->held = old;
    } else {
      mw_storage_release(old);
    }
  }
}

mw_status mw_run_request(mw_program *p, mw_tensor *const *leaves, mw_node *const *nodes, int n,
                         mw_tensor *const *tensors) {
  if (run_steps(p, leaves, nodes)) return MW_FAILED;
  for (int i = 0; i < n; i++)
    if (!tensors[i]->storage)
      tensors[i]->storage = mw_storage_retain(slot_storage(p, leaves, p->results[i]));
  apply_updates(p, leaves);
  release_results(p);
  return MW_OK;
}

/* ---- the public face ------------------------------------------------------------------------- */

mw_status mw_update(mw_context *ctx, int n, mw_tensor *const *tensors, int n_updates,
                    mw_tensor *const *targets, mw_tensor *const *values) {
  mw_request request = {
      .n = n, .n_updates = n_updates, .tensors = tensors, .targets = targets, .values = values};
  mw_collection *c = &ctx->collection;
  if (mw_collect(ctx, &request, c)) return MW_FAILED;
  if (!c->n_steps && !n_updates) return check_leaves(ctx, c->n_leaves, c->leaves);
  mw_program *p = mw_cache_find(ctx, c);
  if (!p) {
    p = mw_compile(ctx, c);
    if (!p) return MW_FAILED;
    mw_cache_add(ctx, p);
  }
  return mw_run_request(p, c->leaves, c->steps, n, tensors);
}

mw_status mw_eval(mw_context *ctx, int n, mw_tensor *const *tensors) {
  return mw_update(ctx, n, tensors, 0, NULL, NULL);
}

/* What a program kept by hand holds of a leaf. A random key it has to itself: a new value at each
 * run must not change what the graph, computed otherwise, comes to. */
static mw_tensor *own_leaf(mw_tensor *leaf) {
  if (!leaf->node->draws) return mw_retain(leaf);
  mw_tensor *key = mw_constant(leaf->node->ctx, &leaf->spec, NULL);
  if (key) key->node->draws = leaf->node->draws;
  return key;
}

/* The graph may be gone when it runs. */
mw_status mw_program_note_origins(mw_program *p, const mw_collection *c) {
  p->origins = calloc((size_t)p->n_steps + 1, sizeof *p->origins);
  if (!p->origins) return mw_no_memory(p->ctx);
  for (int k = 0; k < p->n_steps; k++) p->origins[k] = c->steps[p->steps[k].node]->origin;
  return MW_OK;
}

/* For failures alone: the graph is held as long as the program is. */
static mw_status keep_nodes(mw_program *p, const mw_collection *c) {
  if (!p->ctx->keeps_failures) return MW_OK;
  p->nodes = malloc(((size_t)c->n_steps + 1) * sizeof(mw_node *));
  if (!p->nodes) return mw_no_memory(p->ctx);
  for (int k = 0; k < c->n_steps; k++) {
    p->nodes[k] = c->steps[k];
    mw_retain(&p->nodes[k]->out[0]);
  }
  p->n_nodes = c->n_steps;
  return MW_OK;
}

size_t mw_program_memory(const mw_program *program) { return program->arena; }

mw_program *mw_program_new(mw_context *ctx, int n, mw_tensor *const *tensors, int n_updates,
                           mw_tensor *const *targets, mw_tensor *const *values) {
  mw_request request = {
      .n = n, .n_updates = n_updates, .tensors = tensors, .targets = targets, .values = values};
  mw_collection *c = &ctx->collection;
  if (mw_collect(ctx, &request, c)) return NULL;
  mw_program *p = mw_compile(ctx, c);
  if (!p) return NULL;
  p->leaves = calloc((size_t)p->n_leaves + 1, sizeof(mw_tensor *));
  if (!p->leaves || mw_program_note_origins(p, c) || keep_nodes(p, c)) {
    mw_program_destroy(p);
    mw_no_memory(ctx);
    return NULL;
  }
  ctx->refs++;
  bool complete = true;
  for (int i = 0; i < p->n_leaves; i++) complete &= (p->leaves[i] = own_leaf(c->leaves[i])) != NULL;
  if (complete) return p;
  mw_program_free(p);
  return NULL;
}

void mw_program_free(mw_program *p) {
  if (!p) return;
  mw_context *ctx = p->ctx;
  mw_program_destroy(p);
  if (ctx->refs > 1) ctx->refs--;
  else mw_context_free(ctx); /* it was the last to hold a context that its user has freed */
}

/* Constants that get their values when the program has run: nothing may fail after that. */
static mw_status make_results(mw_program *p, mw_tensor **results) {
  for (int i = 0; i < p->n_results; i++) {
    results[i] = mw_constant_sharing(p->ctx, &p->slots[p->results[i]].spec, NULL);
    if (!results[i]) return MW_FAILED;
  }
  return MW_OK;
}

static mw_status run_for(mw_program *p, mw_tensor **results) {
  if (!p->running && mw_program_refresh(p)) return MW_FAILED;
  for (int i = 0; i < p->n_leaves; i++)
    if (p->leaves[i]->node->draws && mw_random_key_next(p->leaves[i])) return MW_FAILED;
  return make_results(p, results) || run_steps(p, p->leaves, p->nodes) ? MW_FAILED : MW_OK;
}

mw_status mw_program_run(mw_program *p, mw_tensor **results) {
  for (int i = 0; i < p->n_results; i++) results[i] = NULL;
  if (run_for(p, results)) {
    for (int i = 0; i < p->n_results; i++) {
      mw_release(results[i]);
      results[i] = NULL;
    }
    return MW_FAILED;
  }
  for (int i = 0; i < p->n_results; i++)
    results[i]->storage = mw_storage_retain(slot_storage(p, p->leaves, p->results[i]));
  apply_updates(p, p->leaves);
  release_results(p);
  return MW_OK;
}
