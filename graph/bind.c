/* bind.c: tells the steps of a program where their arrays lie. In the arena that is the same in each run;
 * of leaves and results it is looked at, and said only where it has changed. */
#include <string.h>

#include "internal.h"

void mw_unbind(mw_program *p) {
  free(p->uses);
  p->uses = NULL;
}

/* Tells a step where one of its arrays lies, and notes that it was told so if that may change. */
static void place(mw_program *p, mw_tensor *const *leaves, int slot, void **at, int *n) {
  *at = slot < 0 ? NULL : mw_slot_address(p, leaves, slot);
  mw_slot *root = slot < 0 ? NULL : mw_slot_root(p->slots, slot);
  if (!root || root->place == MW_IN_ARENA) return;
  root->bound = *at;
  p->uses[*n] = (mw_use){.at = at, .next = root->uses};
  root->uses = (*n)++;
}

static void bind_step(mw_program *p, mw_tensor *const *leaves, mw_step *step, int *n) {
  mw_call *call = &step->call;
  for (int a = 0; a < step->n_arrays; a++)
    place(p, leaves, step->slots[a], &step->arrays[a].data, n);
  place(p, leaves, step->saved, &call->saved, n);
  if (step->scratch < 0) return;
  call->worker_scratch = mw_slot_address(p, leaves, step->scratch); /* always in the arena */
  call->scratch = call->worker_scratch + step->worker_bytes;
}

static mw_status bind_all(mw_program *p, mw_tensor *const *leaves) {
  size_t most = 1;
  int n = 0;
  for (int k = 0; k < p->n_steps; k++) most += (size_t)p->steps[k].n_arrays + 1;
  mw_unbind(p);
  p->uses = malloc(most * sizeof *p->uses);
  if (!p->uses) return mw_no_memory(p->ctx);
  p->bound_to = p->ctx->arena;
  for (int i = 0; i < p->n_apart; i++) p->slots[p->apart[i]].uses = -1;
  const mw_region *region = p->regions, *none = p->regions + p->n_regions;
  for (int k = 0; k < p->n_steps; k++) {
    if (region < none && region->first == k) k = region++->end - 1;
    else bind_step(p, leaves, &p->steps[k], &n);
  }
  return MW_OK;
}

mw_status mw_bind(mw_program *p, mw_tensor *const *leaves) {
  if (!p->uses || p->bound_to != p->ctx->arena) return bind_all(p, leaves);
  for (int i = 0; i < p->n_apart; i++) {
    mw_slot *slot = &p->slots[p->apart[i]];
    if (slot->uses < 0) continue;
    void *address = mw_slot_address(p, leaves, p->apart[i]);
    if (address == slot->bound) continue;
    slot->bound = address;
    for (int u = slot->uses; u >= 0; u = p->uses[u].next) *p->uses[u].at = address;
  }
  return MW_OK;
}
