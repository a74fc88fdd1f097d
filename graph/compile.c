/* compile.c: turns a collection into a program: equal nodes merged, views resolved, each value
 * given a slot, each step a kernel and its call. */
#include <string.h>

#include "internal.h"

typedef struct builder {
  mw_context *ctx;
  const mw_collection *c;
  mw_program *p;
  int *first_input; /* of each node: where its references begin in refs */
  mw_ref *refs;     /* of all inputs, after merging */
  int *same;        /* of each node: the earlier node that it equals, or itself */
  int *base;        /* of each node that is kept: the slot of its first output */
} builder;

static void builder_free(builder *b) {
  free(b->first_input);
  free(b->refs);
  free(b->same);
  free(b->base);
}

static mw_status builder_new(builder *b) {
  size_t n = (size_t)b->c->n_steps + 1, inputs = 1;
  for (int k = 0; k < b->c->n_steps; k++) inputs += (size_t)b->c->steps[k]->n_in;
  b->first_input = calloc(n, sizeof *b->first_input);
  b->same = calloc(n, sizeof *b->same);
  b->base = calloc(n, sizeof *b->base);
  b->refs = calloc(inputs, sizeof *b->refs);
  if (b->first_input && b->same && b->base && b->refs) return MW_OK;
  return mw_no_memory(b->ctx);
}

/* ---- merging equal nodes ------------------------------------------------------------------- */

static mw_ref merged(const builder *b, mw_ref r) {
  if (r == MW_REF_NONE || mw_ref_is_leaf(r)) return r;
  return mw_ref_to_output(b->same[mw_ref_step(r)], mw_ref_output(r));
}

/* Two backward nodes that read no input may still differentiate calls with other inputs. */
static bool same_inputs_below(const mw_node *f, const mw_node *g) {
  for (int i = 0; f && i < f->n_in; i++) {
    if (!f->in[i] != !g->in[i]) return false;
    if (f->in[i] && !mw_spec_equal(&f->in[i]->spec, &g->in[i]->spec)) return false;
  }
  return true;
}

static bool nodes_equal(const builder *b, int k, int l) {
  const mw_node *x = b->c->steps[k], *y = b->c->steps[l];
  if (x->entry != y->entry || x->kind != y->kind || x->n_in != y->n_in) return false;
  if (x->entry->op.attrs_size && memcmp(x->attrs, y->attrs, x->entry->op.attrs_size) != 0)
    return false;
  for (int i = 0; i < x->n_out; i++)
    if (x->out[i].spec.dtype != y->out[i].spec.dtype) return false;
  return same_inputs_below(x->forward, y->forward) &&
         memcmp(b->refs + b->first_input[k], b->refs + b->first_input[l],
                (size_t)x->n_in * sizeof *b->refs) == 0;
}

static uint64_t mix(uint64_t h, uint64_t word) {
  h = (h ^ word) * UINT64_C(0x9E3779B97F4A7C15);
  return h ^ h >> 32;
}

/* Without the attributes all slices of one tensor would meet in one bucket. */
static uint64_t hash_attrs(const mw_node *node) {
  size_t size = node->entry->op.attrs_size;
  uint64_t h = (uint64_t)(uintptr_t)node->entry, word;
  for (size_t at = 0; at < size; at += sizeof word) {
    word = 0;
    memcpy(&word, (const char *)node->attrs + at,
           size - at < sizeof word ? size - at : sizeof word);
    h = mix(h, word);
  }
  return h;
}

static mw_status merge_equal_nodes(builder *b) {
  int n = b->c->n_steps;
  size_t room = 16;
  while (room < 2 * (size_t)n) room *= 2;
  int *buckets = malloc(room * sizeof *buckets);
  if (!buckets) return mw_no_memory(b->ctx);
  for (size_t i = 0; i < room; i++) buckets[i] = -1;
  int at = 0;
  for (int k = 0; k < n; k++) {
    const mw_node *node = b->c->steps[k];
    uint64_t h = hash_attrs(node);
    b->first_input[k] = at;
    b->same[k] = k;
    for (int i = 0; i < node->n_in; i++) {
      b->refs[at] = merged(b, mw_collect_ref(node->in[i]));
      h = mix(h, (uint64_t)b->refs[at++]);
    }
    if (node->entry->op.flags & MW_IMPURE) continue;
    size_t place = h & (room - 1);
    while (buckets[place] >= 0 && !nodes_equal(b, k, buckets[place]))
      place = (place + 1) & (room - 1);
    if (buckets[place] >= 0) b->same[k] = buckets[place];
    else buckets[place] = k;
  }
  free(buckets);
  return MW_OK;
}

/* ---- slots --------------------------------------------------------------------------------- */

static bool is_view(const mw_node *node) {
  return node->kind == MW_FORWARD && (node->entry->op.flags & MW_VIEW);
}

static int slot_of(const builder *b, mw_ref r) {
  if (r == MW_REF_NONE) return -1;
  if (mw_ref_is_leaf(r)) return mw_ref_leaf(r);
  return b->base[mw_ref_step(r)] + mw_ref_output(r);
}

int mw_slot_new(mw_program *p, const mw_spec *spec, mw_place place) {
  if (p->n_slots == p->slots_room) {
    const int room = 2 * p->slots_room + 16;
    mw_slot *slots = realloc(p->slots, (size_t)room * sizeof *slots);
    if (!slots) {
      mw_no_memory(p->ctx);
      return -1;
    }
    p->slots = slots;
    p->slots_room = room;
  }
  int s = p->n_slots++;
  p->slots[s] = (mw_slot){.spec = *spec,
                          .root = s,
                          .home = s,
                          .place = place,
                          .leaf = s,
                          .over = -1,
                          .bytes = mw_spec_bytes(spec)};
  return s;
}

/* The slots of what a step makes: its outputs and saved bytes. */
static mw_status make_outputs(builder *b, int k) {
  mw_program *p = b->p;
  const mw_node *node = b->c->steps[k];
  b->base[k] = p->n_slots;
  for (int i = 0; i < node->n_out + node->saves; i++)
    if (mw_slot_new(p, &node->out[i].spec, MW_IN_ARENA) < 0) return MW_FAILED;
  if (is_view(node)) {
    const mw_slot *root = mw_slot_root(p->slots, slot_of(b, b->refs[b->first_input[k]]));
    p->slots[b->base[k]].root = p->slots[b->base[k]].home = (int)(root - p->slots);
  }
  return MW_OK;
}

static mw_status make_slots(builder *b) {
  const mw_collection *c = b->c;
  for (int i = 0; i < c->n_leaves; i++)
    if (mw_slot_new(b->p, &c->leaves[i]->spec, MW_IN_LEAF) < 0) return MW_FAILED;
  b->p->n_leaves = c->n_leaves;
  for (int k = 0; k < c->n_steps; k++)
    if (b->same[k] == k && make_outputs(b, k)) return MW_FAILED;
  return MW_OK;
}

/* ---- calls --------------------------------------------------------------------------------- */

static void set_array(mw_step *step, int a, const mw_spec *spec, int slot) {
  step->arrays[a] = (mw_array){.spec = *spec, .count = mw_spec_count(spec)};
  step->slots[a] = slot;
}

static void set_forward_arrays(const builder *b, mw_step *step, const mw_node *node, int k) {
  static const mw_spec absent = {.dtype = MW_NONE};
  const mw_ref *refs = b->refs + b->first_input[k];
  int a = 0;
  for (int i = 0; i < node->n_in; i++)
    set_array(step, a++, node->in[i] ? &node->in[i]->spec : &absent, slot_of(b, refs[i]));
  for (int j = 0; j < node->n_out; j++) set_array(step, a++, &node->out[j].spec, b->base[k] + j);
}

/* in, out, dout, din: see mw_node for how a backward node lays out its inputs. */
static void set_backward_arrays(const builder *b, mw_step *step, const mw_node *node, int k) {
  static const mw_spec absent = {.dtype = MW_NONE};
  const mw_node *f = node->forward;
  const mw_ref *refs = b->refs + b->first_input[k];
  int a = 0;
  for (int i = 0; i < f->n_in; i++)
    set_array(step, a++, f->in[i] ? &f->in[i]->spec : &absent, slot_of(b, refs[i]));
  for (int j = 0; j < f->n_out; j++)
    set_array(step, a++, &f->out[j].spec, slot_of(b, refs[f->n_in + j]));
  for (int j = 0; j < f->n_out; j++)
    set_array(step, a++, &f->out[j].spec, slot_of(b, refs[f->n_in + f->n_out + 1 + j]));
  for (int i = 0; i < f->n_in; i++) {
    bool wanted = node->out[i].spec.dtype != MW_NONE;
    set_array(step, a++, f->in[i] ? &f->in[i]->spec : &absent, wanted ? b->base[k] + i : -1);
  }
  step->saved = slot_of(b, refs[f->n_in + f->n_out]);
}

/* in, out, and in a backward call dout and din follow each other. */
void mw_call_arrays(mw_call *call, const mw_array *arrays) {
  call->in = arrays;
  call->out = arrays + call->n_in;
  if (!call->backward) return;
  call->dout = call->out + call->n_out;
  call->din = call->dout + call->n_out;
}

static mw_status new_step(builder *b, mw_step *step, int k) {
  const mw_node *node = b->c->steps[k];
  const mw_node *f = node->forward ? node->forward : node;
  bool backward = node->kind == MW_BACKWARD;
  const mw_op *op = &node->entry->op;
  int n = backward ? 2 * (f->n_in + f->n_out) : f->n_in + f->n_out;
  step->entry = node->entry;
  step->entry->refs++;
  step->node = k;
  step->n_arrays = n;
  step->saved = step->scratch = step->block = -1;
  step->arrays = calloc((size_t)n, sizeof *step->arrays);
  step->slots = calloc((size_t)n, sizeof *step->slots);
  void *attrs = op->attrs_size ? malloc(op->attrs_size) : NULL;
  step->call = (mw_call){.host = &mw_host_table,
                         .context = b->ctx,
                         .op = op,
                         .attrs = attrs,
                         .backward = backward,
                         .n_in = f->n_in,
                         .n_out = f->n_out};
  if (!step->arrays || !step->slots || (op->attrs_size && !attrs)) return mw_no_memory(b->ctx);
  if (op->attrs_size) memcpy(attrs, node->attrs, op->attrs_size);
  mw_call_arrays(&step->call, step->arrays);
  if (backward) set_backward_arrays(b, step, node, k);
  else set_forward_arrays(b, step, node, k);
  return MW_OK;
}

mw_status mw_step_pick(mw_program *p, mw_step *step, mw_workspace *need) {
  mw_call *call = &step->call;
  int i = step->entry->op.dtype_of;
  mw_dtype dtype = i < call->n_in && call->in[i].spec.dtype != MW_NONE ? call->in[i].spec.dtype
                                                                       : call->out[0].spec.dtype;
  step->kernel = mw_tune_kernel(p, step, dtype);
  if (!step->kernel)
    return mw_set_error(p->ctx, "%s: no %s kernel for %s", step->entry->op.name,
                        call->backward ? "backward" : "forward", mw_dtype_name(dtype));
  *need = (mw_workspace){0};
  if (step->kernel->workspace) step->kernel->workspace(call, need);
  if (need->call > MW_MAX_SCRATCH || need->worker > MW_MAX_SCRATCH / (size_t)p->ctx->threads)
    return mw_set_error(p->ctx, "%s: asks for %zu bytes of scratch and %zu for each worker",
                        step->entry->op.name, need->call, need->worker);
  call->worker_stride = mw_aligned(need->worker);
  return MW_OK;
}

mw_status mw_step_choose(mw_program *p, mw_step *step) {
  mw_workspace need;
  if (mw_step_pick(p, step, &need)) return MW_FAILED;
  step->worker_bytes = step->call.worker_stride * (size_t)p->ctx->threads;
  size_t bytes = mw_aligned(need.call) + step->worker_bytes;
  mw_spec spec = mw_spec_of(MW_U8, 1, (int64_t[]){(int64_t)bytes});
  if (step->scratch >= 0) p->slots[step->scratch].bytes = bytes;
  else if (bytes && (step->scratch = mw_slot_new(p, &spec, MW_IN_ARENA)) < 0) return MW_FAILED;
  return MW_OK;
}

/* Forward calls whose saved bytes some backward reads write them; the others do not. */
static mw_status mark_saved(builder *b) {
  mw_program *p = b->p;
  int *maker = malloc(((size_t)p->n_slots + 1) * sizeof *maker); /* saved slot -> step */
  if (!maker) return mw_no_memory(b->ctx);
  for (int k = 0; k < p->n_steps; k++) {
    mw_step *step = &p->steps[k];
    if (!step->call.backward) maker[step->slots[step->call.n_in] + step->call.n_out - 1] = k;
    else if (step->saved >= 0) p->steps[maker[step->saved - 1]].saved = step->saved;
  }
  free(maker);
  return MW_OK;
}

static mw_status make_steps(builder *b) {
  mw_program *p = b->p;
  p->steps = calloc((size_t)b->c->n_steps + 1, sizeof *p->steps);
  if (!p->steps) return mw_no_memory(b->ctx);
  for (int k = 0; k < b->c->n_steps; k++) {
    if (b->same[k] != k || is_view(b->c->steps[k])) continue;
    if (new_step(b, &p->steps[p->n_steps++], k)) return MW_FAILED;
  }
  return mark_saved(b);
}

/* ---- the whole ------------------------------------------------------------------------------ */

static mw_status set_ends(builder *b) {
  const mw_collection *c = b->c;
  mw_program *p = b->p;
  p->n_results = c->n_results;
  p->n_updates = c->n_updates;
  p->results = calloc((size_t)c->n_results + 1, sizeof *p->results);
  p->updates = calloc((size_t)c->n_updates + 1, sizeof *p->updates);
  p->targets = calloc((size_t)c->n_updates + 1, sizeof *p->targets);
  p->fresh = calloc((size_t)c->n_updates + 1, sizeof *p->fresh);
  p->key = malloc(c->key_words * sizeof *p->key);
  if (!p->results || !p->updates || !p->targets || !p->fresh || !p->key)
    return mw_no_memory(b->ctx);
  for (int i = 0; i < c->n_results; i++) p->results[i] = slot_of(b, merged(b, c->results[i]));
  for (int i = 0; i < c->n_updates; i++) {
    p->updates[i] = slot_of(b, merged(b, c->updates[i]));
    p->targets[i] = c->targets[i];
  }
  memcpy(p->key, c->key, c->key_words * sizeof *p->key);
  p->key_words = c->key_words;
  p->hash = mw_key_hash(c->key, c->key_words);
  return MW_OK;
}

mw_program *mw_compile(mw_context *ctx, const mw_collection *c) {
  mw_program *p = calloc(1, sizeof *p);
  if (!p) {
    mw_no_memory(ctx);
    return NULL;
  }
  p->ctx = ctx;
  p->threads = ctx->threads;
  p->generation = ctx->generation;
  builder b = {.ctx = ctx, .c = c, .p = p};
  mw_status status = builder_new(&b);
  if (!status) status = merge_equal_nodes(&b);
  if (!status) status = make_slots(&b);
  if (!status) status = make_steps(&b);
  if (!status) status = set_ends(&b);
  if (!status) status = mw_commute(p);
  if (!status) status = mw_regions_find(p);
  if (!status) status = mw_plan(p);
  builder_free(&b);
  if (status) {
    mw_program_destroy(p);
    return NULL;
  }
  mw_tune_settle(ctx);
  ctx->stats.programs_compiled++;
  return p;
}

void mw_program_destroy(mw_program *p) {
  mw_regions_free(p);
  for (int k = 0; k < p->n_steps; k++) {
    p->steps[k].entry->refs--;
    free((void *)p->steps[k].call.attrs);
    free(p->steps[k].arrays);
    free(p->steps[k].slots);
  }
  for (int s = 0; s < p->n_slots; s++) mw_storage_release(p->slots[s].held);
  free(p->origins);
  for (int k = 0; k < p->n_nodes; k++) mw_release(&p->nodes[k]->out[0]);
  free(p->nodes);
  if (p->leaves)
    for (int i = 0; i < p->n_leaves; i++) mw_release(p->leaves[i]);
  free(p->leaves);
  free(p->sources);
  free(p->bound);
  free(p->steps);
  free(p->slots);
  free(p->results);
  free(p->updates);
  free(p->targets);
  free(p->fresh);
  free(p->apart);
  mw_unbind(p);
  free(p->key);
  free(p);
}
