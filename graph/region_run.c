/* region_run.c: where the values of a region lie, and its run: slice after slice, on any number of
 * threads, and the sums over the slices at the end. */
#include <pthread.h>
#include <string.h>

#include "internal.h"

/* ---- where values lie ---------------------------------------------------------------------- */

/* The slot of an array, or of the saved bytes behind the last. */
static int part_slot(const mw_part *part, int a) {
  return a < part->step.n_arrays ? part->step.slots[a] : part->step.saved;
}

static size_t slice_bytes(const mw_region *region, const mw_part *part, int a) {
  const size_t size = part->cuts[a].unit * (size_t)region->slice;
  return mw_aligned(size ? size : 1);
}

/* A last slice that is shorter may ask for more, if it takes another kernel. */
static size_t part_scratch(const mw_region *region, int k) {
  size_t most = 1;
  for (int i = 0; i < (region->last ? 2 : 1); i++) {
    const mw_part *part = i ? &region->last[k] : &region->parts[k];
    const size_t size = part->call_bytes + part->step.call.worker_stride;
    if (size > most) most = size;
  }
  return mw_aligned(most);
}

bool mw_region_reads_whole(const mw_program *p, const mw_region *region, int root) {
  for (int k = 0; k < region->end - region->first; k++) {
    const mw_part *part = &region->parts[k];
    for (int a = 0; a < part->step.n_arrays; a++) {
      const int s = part->step.slots[a];
      if (s >= 0 && part->cuts[a].role == MW_WHOLE && mw_slot_root(p->slots, s) == &p->slots[root])
        return true;
    }
  }
  return false;
}

#define NOT_TAKEN SIZE_MAX

/* Makes a root live through the region, or in the region's block, if no other step needs it. */
static void place_root(mw_program *p, const mw_region *region, const mw_part *part, int a) {
  mw_slot *root = mw_slot_root(p->slots, part_slot(part, a));
  if (root->place == MW_IN_BLOCK) return;
  if (root->place == MW_IN_ARENA && part->cuts[a].role == MW_SLICED &&
      root->first >= region->first && root->last < region->end) {
    root->place = MW_IN_BLOCK;
    root->offset = NOT_TAKEN;
    return;
  }
  if (root->first > region->first) root->first = region->first;
  if (root->last < region->end - 1) root->last = region->end - 1;
}

/* The block of one worker: values and scratch, each from the part that begins with it to the last. */
static void place_in_block(mw_program *p, mw_region *region, mw_arena *arena) {
  for (int k = 0; k < region->end - region->first; k++) {
    mw_part *part = &region->parts[k];
    const size_t scratch = part_scratch(region, k);
    for (int a = 0; a <= part->step.n_arrays; a++) {
      mw_slot *root = part_slot(part, a) < 0 ? NULL : mw_slot_root(p->slots, part_slot(part, a));
      if (root && root->place == MW_IN_BLOCK && root->offset == NOT_TAKEN)
        root->offset = mw_arena_take(arena, slice_bytes(region, part, a));
    }
    part->scratch = mw_arena_take(arena, scratch);
    if (region->last) region->last[k].scratch = part->scratch;
    mw_arena_give(arena, part->scratch, scratch);
    for (int a = 0; a <= part->step.n_arrays; a++) {
      mw_slot *root = part_slot(part, a) < 0 ? NULL : mw_slot_root(p->slots, part_slot(part, a));
      if (!root || root->place != MW_IN_BLOCK || root->last != region->first + k) continue;
      mw_arena_give(arena, root->offset, slice_bytes(region, part, a));
      root->last = -1; /* given back, whatever other arrays of the part are the same */
    }
  }
}

static mw_status place_region(mw_program *p, mw_region *region) {
  size_t most = 1;
  for (int k = 0; k < region->end - region->first; k++) {
    const mw_part *part = &region->parts[k];
    for (int a = 0; a <= part->step.n_arrays; a++)
      if (part_slot(part, a) >= 0) place_root(p, region, part, a);
    most += (size_t)part->step.n_arrays + 2;
  }
  mw_arena arena = {.pieces = malloc(most * sizeof(mw_piece))};
  if (!arena.pieces) return mw_no_memory(p->ctx);
  place_in_block(p, region, &arena);
  free(arena.pieces);
  mw_slot *block = &p->slots[region->block];
  region->worker_bytes = arena.end;
  block->bytes = arena.end * (size_t)p->ctx->threads +
                 region->sums_bytes * (size_t)mw_chunks(region->entries, region->slice);
  block->first = region->first;
  block->last = region->end - 1;
  return MW_OK;
}

mw_status mw_regions_place(mw_program *p) {
  for (int i = 0; i < p->n_regions; i++)
    if (place_region(p, &p->regions[i])) return MW_FAILED;
  return MW_OK;
}

/* ---- running ------------------------------------------------------------------------------- */

typedef struct run {
  mw_program *p;
  const mw_region *region;
  mw_tensor *const *leaves;
  mw_node *const *nodes;
  char *block;
  pthread_mutex_t lock; /* of the following: */
  int64_t failed;       /* the first slice that failed, or the number of slices */
  int failed_step;      /* in it; -1: it was interrupted */
  char *error;          /* what it said */
} run;

static char *sums_of(const run *r, int64_t slice) {
  return r->block + r->region->worker_bytes * (size_t)r->p->threads +
         r->region->sums_bytes * (size_t)slice;
}

static void *address(const run *r, int slot, const mw_cut *cut, int64_t slice, int worker) {
  if (slot < 0) return NULL;
  if (cut->role == MW_SUMMED) return sums_of(r, slice) + cut->unit;
  const mw_slot *root = mw_slot_root(r->p->slots, slot);
  if (root->place == MW_IN_BLOCK)
    return r->block + r->region->worker_bytes * (size_t)worker + root->offset;
  char *whole = mw_slot_address(r->p, r->leaves, slot);
  const size_t start = (size_t)(slice * r->region->slice);
  return cut->role == MW_SLICED ? whole + start * cut->unit : whole;
}

/* The step has its arrays in common with other threads, so they are copied. */
static mw_status run_part(const run *r, int k, const mw_part *part, int64_t slice, int worker) {
  mw_array arrays[MW_MAX_CUT];
  mw_step step = part->step;
  mw_call *call = &step.call;
  memcpy(arrays, part->step.arrays, (size_t)step.n_arrays * sizeof *arrays);
  for (int a = 0; a < step.n_arrays; a++)
    arrays[a].data = address(r, step.slots[a], &part->cuts[a], slice, worker);
  step.arrays = arrays;
  mw_call_arrays(call, arrays);
  call->saved = address(r, step.saved, &part->cuts[step.n_arrays], slice, worker);
  call->scratch = r->block + r->region->worker_bytes * (size_t)worker + part->scratch;
  call->worker_scratch = (char *)call->scratch + part->call_bytes;
  const bool noted = call->context->recorder != NULL;
  const double begin = noted ? mw_profile_now() : 0;
  mw_status status;
  if (!call->context->watching) status = mw_step_run(&step);
  else status = mw_watch_step(&step, r->nodes ? r->nodes[step.node]->origin : r->p->origins[k]);
  if (noted) mw_profile_call(r->p, k, worker, begin);
  return status;
}

/* Of several slices that fail the first one's message counts, however many threads there are. */
static void note_failure(run *r, int64_t slice, int step, const char *error) {
  pthread_mutex_lock(&r->lock);
  if (slice < r->failed) {
    r->failed = slice;
    r->failed_step = step;
    memcpy(r->error, error, MW_ERROR_TEXT);
  }
  pthread_mutex_unlock(&r->lock);
}

static bool has_failed_before(run *r, int64_t slice) {
  pthread_mutex_lock(&r->lock);
  const bool failed = r->failed < slice;
  pthread_mutex_unlock(&r->lock);
  return failed;
}

static void run_slice(void *arg, int64_t slice, int worker) {
  run *r = arg;
  const mw_region *region = r->region;
  const bool shorter = (slice + 1) * region->slice > region->entries;
  const mw_part *parts = shorter ? region->last : region->parts;
  char error[MW_ERROR_TEXT];
  if (has_failed_before(r, slice)) return;
  char *before = mw_error_divert(error);
  mw_status status = MW_OK;
  int step = -1;
  if (r->p->ctx->interrupted && region->first < r->p->sure)
    status = mw_set_error(r->p->ctx, "interrupted");
  for (int k = region->first; k < region->end && !status; k++) {
    step = k;
    status = run_part(r, k, &parts[k - region->first], slice, worker);
  }
  mw_error_divert(before);
  if (status) note_failure(r, slice, step, error);
}

/* A gradient that is a sum: the slices' sums of it, and where their sum goes. */
typedef struct total {
  const run *r;
  const mw_array *array;
  size_t offset; /* among the sums of a slice */
  void *to;
} total;

enum { SUM_GRAIN = 8192 };

static void add_sums(void *arg, int64_t chunk, int worker) {
  (void)worker;
  const total *t = arg;
  const mw_region *region = t->r->region;
  const int64_t first = chunk * SUM_GRAIN, slices = mw_chunks(region->entries, region->slice);
  const int64_t n = mw_chunk_end(t->array->count, SUM_GRAIN, chunk) - first;
  const bool wide = t->array->spec.dtype == MW_F64;
  const size_t size = wide ? sizeof(double) : sizeof(float);
  void *to = (char *)t->to + (size_t)first * size;
  for (int64_t s = 0; s < slices; s++) {
    const void *from = sums_of(t->r, s) + t->offset + (size_t)first * size;
    if (s == 0) memcpy(to, from, (size_t)n * size);
    else if (wide)
      for (int64_t i = 0; i < n; i++) ((double *)to)[i] += ((const double *)from)[i];
    else
      for (int64_t i = 0; i < n; i++) ((float *)to)[i] += ((const float *)from)[i];
  }
}

static void add_all_sums(const run *r) {
  for (int k = 0; k < r->region->end - r->region->first; k++) {
    const mw_part *part = &r->region->parts[k];
    for (int a = 0; a < part->step.n_arrays; a++) {
      const int slot = part->step.slots[a];
      if (part->cuts[a].role != MW_SUMMED || slot < 0) continue;
      total t = {.r = r,
                 .array = &part->step.arrays[a],
                 .offset = part->cuts[a].unit,
                 .to = mw_slot_address(r->p, r->leaves, slot)};
      mw_host_parallel(r->p->ctx, mw_chunks(t.array->count, SUM_GRAIN), add_sums, &t);
    }
  }
}

mw_status mw_region_run(mw_program *p, const mw_region *region, mw_tensor *const *leaves,
                        mw_node *const *nodes) {
  mw_context *ctx = p->ctx;
  const int64_t slices = mw_chunks(region->entries, region->slice);
  run r = {.p = p,
           .region = region,
           .leaves = leaves,
           .nodes = nodes,
           .block = mw_slot_address(p, leaves, region->block),
           .lock = PTHREAD_MUTEX_INITIALIZER,
           .failed = slices,
           .failed_step = -1,
           .error = ctx->error};
  if (ctx->watching) mw_run_serially(slices, run_slice, &r);
  else mw_host_parallel(ctx, slices, run_slice, &r);
  if (r.failed < slices) {
    if (r.failed_step >= 0) mw_failure_note_step(p, nodes, r.failed_step);
    return MW_FAILED;
  }
  ctx->stats.slices_last += slices;
  add_all_sums(&r);
  return MW_OK;
}
