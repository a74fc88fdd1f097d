/* plan.c: decides where each value of a program lies. Results get storage of their own; all else
 * shares one arena: a value has its bytes from the step that makes it to the last that reads it. */
#include <string.h>

#include "internal.h"

/* The steps between which each root is needed. In a region, scratch is part of its block. */
static void find_lifetimes(mw_program *p) {
  for (int s = 0; s < p->n_slots; s++) {
    p->slots[s].first = p->slots[s].last = -1;
    if (p->slots[s].place == MW_IN_BLOCK) p->slots[s].place = MW_IN_ARENA; /* decided anew */
  }
  for (int k = 0; k < p->n_steps; k++) {
    mw_step *step = &p->steps[k];
    const bool in_region = mw_region_of(p, k) != NULL;
    for (int a = 0; a < step->n_arrays + 2; a++) {
      int s = a < step->n_arrays    ? step->slots[a]
              : a == step->n_arrays ? step->saved
              : in_region           ? -1
                                    : step->scratch;
      if (s < 0) continue;
      mw_slot *root = mw_slot_root(p->slots, s);
      if (root->first < 0) root->first = k;
      root->last = k;
    }
  }
}

static void place_results(mw_program *p) {
  for (int i = 0; i < p->n_results + p->n_updates; i++) {
    int s = i < p->n_results ? p->results[i] : p->updates[i - p->n_results];
    mw_slot *root = mw_slot_root(p->slots, s);
    if (root->place == MW_IN_ARENA) root->place = MW_IN_RESULT;
  }
}

/* Whether an op with these flags may write its output j over its input i. */
static bool allows(unsigned flags, int i, int j) {
  return ((flags & MW_INPLACE) && j == 0 && i < 2) || ((flags & MW_INPLACE_EACH) && i == j);
}

/* Whether step k may write its array `to` over the array `from`, which lies in such a place: nobody
 * reads that afterwards, and the step itself reads those bytes in no other way. */
static bool can_overwrite(const mw_program *p, int k, int from, int to, mw_place place) {
  const mw_step *step = &p->steps[k];
  const mw_region *region = mw_region_of(p, k);
  const int s = step->slots[from], o = step->slots[to];
  if (s < 0 || !mw_spec_equal(&p->slots[s].spec, &p->slots[o].spec)) return false;
  const mw_slot *root = mw_slot_root(p->slots, s);
  if (root->place != place || root->last != k) return false;
  if (region && mw_region_reads_whole(p, region, (int)(root - p->slots))) return false;
  /* x * x: element by element that is no conflict */
  const int alike = (step->entry->op.flags & MW_INPLACE) && to == step->call.n_in ? 2 : 0;
  for (int a = 0; a < to; a++) {
    const bool same = a == from || (a < alike && step->slots[a] == s);
    if (step->slots[a] >= 0 && !same && mw_slot_root(p->slots, step->slots[a]) == root)
      return false;
  }
  return true;
}

/* Lays the array `to` of step k over the array `from`, if both are in the arena. */
static bool write_over(mw_program *p, int k, int from, int to) {
  const mw_step *step = &p->steps[k];
  const int o = step->slots[to];
  if (o < 0 || p->slots[o].place != MW_IN_ARENA || p->slots[o].root != o ||
      !can_overwrite(p, k, from, to, MW_IN_ARENA))
    return false;
  mw_slot *root = mw_slot_root(p->slots, step->slots[from]);
  root->last = p->slots[o].last;
  p->slots[o].root = (int)(root - p->slots);
  return true;
}

/* Outputs over inputs, or the gradient in an op's only input over that of its only output. */
static void write_in_place(mw_program *p) {
  for (int k = 0; k < p->n_steps; k++) {
    const mw_call *call = &p->steps[k].call;
    const unsigned flags = p->steps[k].entry->op.flags;
    if (!(flags & (MW_INPLACE | MW_INPLACE_EACH))) continue;
    if (call->backward) {
      if ((flags & MW_INPLACE) && (flags & MW_ELEMENTWISE) && call->n_in == 1 && call->n_out == 1)
        write_over(p, k, 2, 3);
      continue;
    }
    for (int j = 0; j < call->n_out; j++)
      for (int i = 0; i < call->n_in; i++)
        if (allows(flags, i, j) && write_over(p, k, i, call->n_in + j)) break;
  }
}

/* The first step from which on none can fail. Regions run as one. */
static int first_sure(const mw_program *p) {
  int k = p->n_steps;
  while (k > 0 && (p->steps[k - 1].entry->op.flags & MW_SURE)) k--;
  const mw_region *region = k < p->n_steps ? mw_region_of(p, k) : NULL;
  return region && region->first < k ? region->end : k;
}

/* How many results and new values of parameters a root is. */
static int times_given(const mw_program *p, int root) {
  int n = 0;
  for (int i = 0; i < p->n_results + p->n_updates; i++) {
    const int s = i < p->n_results ? p->results[i] : p->updates[i - p->n_results];
    n += mw_slot_root(p->slots, s) == &p->slots[root];
  }
  return n;
}

/* Whether step k may write slot o over a leaf. */
static bool can_replace(const mw_program *p, int k, int o, int leaf) {
  const mw_step *step = &p->steps[k];
  const mw_region *region = mw_region_of(p, k);
  if (p->slots[leaf].last < k) return !region || !mw_region_reads_whole(p, region, leaf);
  const mw_call *call = &step->call;
  for (int j = 0; j < call->n_out && !call->backward; j++)
    for (int i = 0; i < call->n_in && step->slots[call->n_in + j] == o; i++)
      if (step->slots[i] == leaf && allows(step->entry->op.flags, i, j) &&
          can_overwrite(p, k, i, call->n_in + j, MW_IN_LEAF))
        return true;
  return false;
}

/* New values of parameters over their old ones: only where the run will come to its end, and makes
 * nothing else of either. Elsewhere they have storage of their own, and all take their places at
 * once. */
static void write_over_targets(mw_program *p) {
  const int sure = first_sure(p);
  p->sure = p->n_steps;
  for (int s = 0; s < p->n_slots; s++) p->slots[s].over = -1;
  for (int i = 0; i < p->n_updates; i++) {
    mw_slot *root = mw_slot_root(p->slots, p->updates[i]);
    const int o = (int)(root - p->slots), k = root->first, leaf = p->targets[i];
    if (root->place != MW_IN_RESULT || k < sure || times_given(p, o) > 1 || times_given(p, leaf) ||
        !can_replace(p, k, o, leaf))
      continue;
    root->over = leaf;
    const mw_region *region = mw_region_of(p, k);
    const int from = region ? region->first : k;
    if (from < p->sure) p->sure = from;
  }
}

/* Roots in the arena, chained by a step at which something happens to them. */
static void chain_roots(const mw_program *p, int *heads, int *next, bool by_last) {
  for (int k = 0; k < p->n_steps; k++) heads[k] = -1;
  for (int s = p->n_slots - 1; s >= 0; s--) {
    const mw_slot *slot = &p->slots[s];
    if (slot->root != s || slot->place != MW_IN_ARENA || slot->first < 0) continue;
    int k = by_last ? slot->last : slot->first;
    next[s] = heads[k];
    heads[k] = s;
  }
}

static mw_status list_apart(mw_program *p) {
  int *apart = realloc(p->apart, ((size_t)p->n_slots + 1) * sizeof *apart);
  if (!apart) return mw_no_memory(p->ctx);
  p->apart = apart;
  p->n_apart = 0;
  for (int s = 0; s < p->n_slots; s++) {
    const mw_slot *slot = &p->slots[s];
    if (slot->root == s && (slot->place == MW_IN_LEAF || slot->place == MW_IN_RESULT))
      apart[p->n_apart++] = s;
  }
  return MW_OK;
}

mw_status mw_plan(mw_program *p) {
  mw_unbind(p);
  find_lifetimes(p);
  place_results(p);
  write_in_place(p);
  write_over_targets(p);
  if (mw_regions_place(p) || list_apart(p)) return MW_FAILED;
  size_t n = (size_t)p->n_slots + 1, steps = (size_t)p->n_steps + 1;
  mw_arena a = {.pieces = malloc(n * sizeof(mw_piece))};
  int *chains = malloc((2 * n + 2 * steps) * sizeof *chains);
  if (!a.pieces || !chains) {
    free(a.pieces);
    free(chains);
    return mw_no_memory(p->ctx);
  }
  int *born = chains, *dying = born + steps, *next_born = dying + steps,
      *next_dying = next_born + n;
  chain_roots(p, born, next_born, false);
  chain_roots(p, dying, next_dying, true);
  p->arena_unshared = 0;
  for (int k = 0; k < p->n_steps; k++) {
    for (int s = born[k]; s >= 0; s = next_born[s]) {
      size_t bytes = mw_aligned(p->slots[s].bytes ? p->slots[s].bytes : 1);
      p->slots[s].offset = mw_arena_take(&a, bytes);
      p->arena_unshared += bytes;
    }
    for (int s = dying[k]; s >= 0; s = next_dying[s])
      mw_arena_give(&a, p->slots[s].offset, mw_aligned(p->slots[s].bytes ? p->slots[s].bytes : 1));
  }
  p->arena = a.end;
  free(a.pieces);
  free(chains);
  return MW_OK;
}
