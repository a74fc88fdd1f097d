/* known.c: what infer came to for calls of an op that were made before. It comes to the same for the
 * same attributes on inputs of the same specs, so that a graph that is built again and again asks for
 * none of it again. */
#include <string.h>

#include "internal.h"

enum { MOST_INPUTS = 8 }; /* of a call that is kept */
_Static_assert(MW_KNOWN_PLACES == 16, "four bits of a hash say where");

static uint64_t mix(uint64_t h, uint64_t word) { return (h ^ word) * UINT64_C(0x9E3779B97F4A7C15); }

static uint64_t mix_attrs(uint64_t h, const mw_op *op, const void *attrs) {
  uint64_t word;
  for (size_t at = 0; at < op->attrs_size; at += sizeof word) {
    const size_t left = op->attrs_size - at;
    word = 0;
    memcpy(&word, (const char *)attrs + at, left < sizeof word ? left : sizeof word);
    h = mix(h ^ h >> 32, word);
  }
  return h;
}

/* Where a call is kept, if it is: in this place, or in the one beside it. */
static size_t place_of(const mw_op_entry *entry, int n, mw_tensor *const *inputs,
                       const void *attrs) {
  uint64_t h = 0;
  for (int i = 0; i < n; i++) {
    if (!inputs[i]) continue;
    const mw_spec *spec = &inputs[i]->spec;
    h = mix(h, (uint64_t)spec->dtype << 8 | (uint64_t)spec->rank);
    for (int k = 0; k < spec->rank; k++) h = mix(h, (uint64_t)spec->shape[k]);
  }
  if (attrs != entry->defaults) h = mix_attrs(h, &entry->op, attrs);
  return h >> 60; /* the bits that depend on all others */
}

/* As mw_spec_equal, here where it is called for each input of each node. */
static inline bool same_spec(const mw_spec *a, const mw_spec *b) {
  if (a->dtype != b->dtype || a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->shape[i] != b->shape[i]) return false;
  return true;
}

bool mw_known_fits(const mw_known *known, const mw_context *ctx, int n, mw_tensor *const *inputs) {
  if (n > known->n_in) return false;
  for (int i = 0; i < n; i++) {
    const mw_tensor *t = inputs[i];
    if (!t && known->in[i].dtype != MW_NONE) return false;
    if (t && (t->node->ctx != ctx || !same_spec(&t->spec, &known->in[i]))) return false;
  }
  for (int i = n; i < known->n_in; i++)
    if (known->in[i].dtype != MW_NONE) return false;
  return true;
}

static bool has_attrs(const mw_known *known, const mw_op_entry *entry, const void *attrs) {
  const size_t size = entry->op.attrs_size;
  return size == 0 || memcmp(known->attrs, attrs, size) == 0;
}

const mw_known *mw_known_find(const mw_context *ctx, mw_op_entry *entry, int n,
                              mw_tensor *const *inputs, const void *attrs) {
  const mw_known *last = entry->last_known; /* often it is that again: no hash is needed */
  if (last && mw_known_fits(last, ctx, n, inputs) && has_attrs(last, entry, attrs)) return last;
  if (n > MOST_INPUTS) return NULL;
  const size_t place = place_of(entry, n, inputs, attrs);
  for (size_t i = 0; i < 2; i++) {
    const mw_known *known = entry->known[place ^ i];
    if (known && mw_known_fits(known, ctx, n, inputs) && has_attrs(known, entry, attrs))
      return entry->last_known = known;
  }
  return NULL;
}

mw_known *mw_known_start(const mw_node *node) {
  const mw_op_entry *entry = node->entry;
  if (node->n_in > MOST_INPUTS || (entry->op.flags & MW_VARIES)) return NULL;
  const size_t n = (size_t)(node->n_in + node->n_out), size = entry->op.attrs_size;
  const size_t rounded = (size + 15) / 16 * 16;
  mw_known *known = malloc(sizeof *known + 2 * rounded + n * sizeof(mw_spec));
  if (!known) return NULL;
  known->n_in = node->n_in;
  known->attrs = known + 1;
  known->inferred = (char *)known->attrs + rounded;
  known->in = (mw_spec *)((char *)known->inferred + rounded);
  known->out = known->in + node->n_in;
  for (int i = 0; i < node->n_in; i++)
    known->in[i] = node->in[i] ? node->in[i]->spec : (mw_spec){.dtype = MW_NONE};
  if (size) memcpy(known->attrs, node->attrs, size);
  return known;
}

void mw_known_finish(mw_known *known, const mw_node *node, size_t saved) {
  known->saved = saved;
  for (int j = 0; j < node->n_out; j++) known->out[j] = node->out[j].spec;
  if (node->attrs) memcpy(known->inferred, node->attrs, node->entry->op.attrs_size);
}

void mw_known_keep(mw_op_entry *entry, int n, mw_tensor *const *inputs, bool default_attrs,
                   mw_known *known) {
  const void *attrs = default_attrs ? entry->defaults : known->attrs;
  const size_t place = place_of(entry, n, inputs, attrs);
  free(entry->known[place ^ 1]);
  entry->known[place ^ 1] = entry->known[place];
  entry->known[place] = known;
  entry->last_known = known;
}

void mw_known_forget(mw_op_entry *entry) {
  for (size_t i = 0; i < MW_KNOWN_PLACES; i++) {
    free(entry->known[i]);
    entry->known[i] = NULL;
  }
  entry->last_known = NULL;
}
