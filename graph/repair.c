/* repair.c: what is said of inputs that an op refuses: where they come from, and what would repair
 * it. Knows no op by name: ancestors' integer attributes are changed a little, one at a time, and
 * shapes inferred again down to the op that refused. Only specs are computed. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

enum {
  NODES = 64,     /* ancestors looked at, the nearest ones */
  INPUTS = 64,    /* ops with more are not inferred again */
  INFERS = 20000, /* calls of infer at most: some milliseconds */
  FARTHEST = 8,   /* by how much an attribute is changed at most */
  LIKELY = 3,     /* a parameter of another size is better than a larger change */
  DESCRIBED = 4,  /* inputs at most */
  TEXT = MW_ERROR_TEXT / 2,
};

/* One change that the op would accept. */
typedef struct repair {
  const mw_node *node;
  const mw_attr *attr;
  int64_t value, change, cost;
  const mw_spec *before; /* of the op's first input that changes */
  mw_spec after;
} repair;

typedef struct search {
  const mw_node *failed;
  const mw_node *nodes[NODES], *sorted[NODES]; /* as found; inputs before what is made of them */
  int n, n_sorted, infers;
  bool changed
      [NODES]; /* of the sorted: whether its outputs differ in this trial, and what they are */
  mw_spec out[NODES][MW_MAX_ARGS];
  mw_spec failed_out[MW_MAX_ARGS];
  void *attrs; /* room for those of any of the nodes */
  repair best;
} search;

/* ---- where the inputs come from ----------------------------------------------------------- */

/* Whether a text has a word, or some words, with nothing that could be a part of it around. */
static bool has_words(const char *text, const char *words) {
  size_t length = strlen(words);
  for (const char *at = text; (at = strstr(at, words)); at++) {
    bool begins = at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_');
    if (begins && !isalnum((unsigned char)at[length]) && at[length] != '_') return true;
  }
  return false;
}

/* The name by which a message speaks of input i; false when this one does not. */
static bool mentioned(const mw_node *node, int i, char label[64]) {
  const mw_op_entry *entry = node->entry;
  const char *message = node->ctx->error;
  if (!entry->variadic || i < entry->n_in - 1) {
    snprintf(label, 64, "%s", entry->op.inputs[i].name);
    return has_words(message, label);
  }
  snprintf(label, 64, "tensor %d", i + 1);
  return has_words(message, label) || (i == 0 && has_words(message, "first"));
}

static bool same_origin(const mw_node *a, const mw_node *b) {
  return a->origin == b->origin || !a->origin || !*a->origin;
}

/* "x f32[64,256] from Flatten at net.lua:9"; less what the message or its line say already. False
 * when that leaves nothing. */
static bool describe(const mw_node *node, int i, char text[TEXT]) {
  char spec[MW_SPEC_TEXT], label[64];
  const mw_tensor *t = node->in[i];
  const char *name = t ? mw_tensor_name(t) : "";
  if (!t || !mentioned(node, i, label)) return false;
  for (int k = 0; k < i; k++)
    if (node->in[k] == t) return false;
  mw_spec_text(&t->spec, spec);
  bool shown = strstr(node->ctx->error, spec) != NULL;
  if (shown && !*name && same_origin(t->node, node)) return false;
  size_t used = (size_t)snprintf(text, TEXT, "%s%s%s", label, shown ? "" : " ", shown ? "" : spec);
  if (*name) used += (size_t)snprintf(text + used, TEXT - used, " is '%.60s'", name);
  if (same_origin(t->node, node)) return true;
  bool placed = mw_is_leaf(t->node) || strstr(t->node->origin, " at ");
  snprintf(text + used, TEXT - used, "%s from %s%s%.100s", *name ? "," : "",
           placed ? "" : mw_tensor_op(t), placed ? "" : " at ", t->node->origin);
  return true;
}

static void append_origins(const mw_node *node, char out[TEXT]) {
  char text[TEXT];
  size_t used = 0;
  int n = 0;
  for (int i = 0; i < node->n_in && n < DESCRIBED && used < TEXT; i++) {
    if (!describe(node, i, text)) continue;
    used += (size_t)snprintf(out + used, TEXT - used, "%s%s", n++ ? ", " : " (", text);
  }
  if (n && used < TEXT) snprintf(out + used, TEXT - used, ")");
}

/* ---- inferring again ---------------------------------------------------------------------- */

static int position(const search *s, const mw_node *node) {
  for (int k = 0; k < s->n_sorted; k++)
    if (s->sorted[k] == node) return k;
  return -1;
}

/* The spec of a tensor in this trial. */
static const mw_spec *spec_now(const search *s, const mw_tensor *t) {
  int k = position(s, t->node);
  return k >= 0 && s->changed[k] ? &s->out[k][t->index] : &t->spec;
}

/* The outputs that a node would have with these attributes; overwrites the attributes. */
static bool infer_again(search *s, const mw_node *node, void *attrs, const mw_spec *ins,
                        mw_spec *outs) {
  mw_infer it = {.host = &mw_host_table,
                 .context = node->ctx,
                 .op = &node->entry->op,
                 .attrs = attrs,
                 .n_in = node->n_in,
                 .n_out = node->n_out,
                 .in = ins,
                 .out = outs};
  memset(outs, 0, MW_MAX_ARGS * sizeof *outs);
  if (++s->infers > INFERS || it.op->infer(&it)) return false;
  for (int j = 0; j < node->n_out && !mw_is_composed(it.op); j++) {
    for (int k = outs[j].rank < 0 ? 0 : outs[j].rank; k < MW_MAX_RANK; k++) outs[j].shape[k] = 0;
    if (mw_spec_check(node->ctx, &outs[j])) return false;
  }
  return true;
}

/* The same with the inputs of this trial, and its own attributes but for one. */
static bool infer_node(search *s, const mw_node *node, const mw_attr *attr, int64_t value,
                       mw_spec *outs) {
  mw_spec ins[INPUTS] = {{0}};
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i]) ins[i] = *spec_now(s, node->in[i]);
  if (node->entry->op.attrs_size) memcpy(s->attrs, node->attrs, node->entry->op.attrs_size);
  if (attr && attr->type == MW_INT) {
    memcpy((char *)s->attrs + attr->offset, &value, sizeof value);
  } else if (attr) {
    mw_ints list;
    memcpy(&list, (char *)s->attrs + attr->offset, sizeof list);
    for (int i = 0; i < list.count; i++) list.at[i] = value;
    memcpy((char *)s->attrs + attr->offset, &list, sizeof list);
  }
  return infer_again(s, node, s->attrs, ins, outs);
}

/* Infers sorted[k] and notes whether that changes its outputs. */
static bool infer_sorted(search *s, int k, const mw_attr *attr, int64_t value) {
  const mw_node *node = s->sorted[k];
  if (node->kind != MW_FORWARD || node->n_in > INPUTS) return false;
  if (!infer_node(s, node, attr, value, s->out[k])) return false;
  for (int j = 0; j < node->n_out; j++)
    s->changed[k] |= !mw_spec_equal(&s->out[k][j], &node->out[j].spec);
  return true;
}

static bool has_changed_input(const search *s, const mw_node *node) {
  for (int i = 0; i < node->n_in; i++) {
    int k = node->in[i] ? position(s, node->in[i]->node) : -1;
    if (k >= 0 && s->changed[k]) return true;
  }
  return false;
}

/* ---- changing one attribute --------------------------------------------------------------- */

static bool accepted(search *s, int k, const mw_attr *attr, int64_t value) {
  memset(s->changed, 0, sizeof s->changed);
  if (!infer_sorted(s, k, attr, value) || !s->changed[k]) return false;
  for (int next = k + 1; next < s->n_sorted; next++)
    if (has_changed_input(s, s->sorted[next]) && !infer_sorted(s, next, NULL, 0)) return false;
  return has_changed_input(s, s->failed) && infer_node(s, s->failed, NULL, 0, s->failed_out);
}

static void note_best(search *s, int k, const repair *found) {
  s->best = *found;
  s->best.node = s->sorted[k];
  for (int i = 0; i < s->failed->n_in && !s->best.before; i++) {
    const mw_tensor *t = s->failed->in[i];
    if (!t || mw_spec_equal(&t->spec, spec_now(s, t))) continue;
    s->best.before = &t->spec;
    s->best.after = *spec_now(s, t);
  }
}

/* An attribute as a list. Sizes of shapes are none to guess: they have no bounds. */
static bool is_tried(const mw_node *node, const mw_attr *attr, mw_ints *list) {
  if (attr->least == 0 && attr->most == 0) return false;
  const char *field = (const char *)node->attrs + attr->offset;
  if (attr->type == MW_INTS) memcpy(list, field, sizeof *list);
  else if (attr->type == MW_INT) list->count = 1, memcpy(list->at, field, sizeof *list->at);
  else return false;
  return list->count > 0;
}

/* The cost of a change is by how much, and how many nodes that could be changed come before: an
 * early mistake shows late. Of equal ones an attribute that may be 0 is more likely to have been
 * forgotten. */
static void try_attribute(search *s, int k, const mw_attr *attr, const mw_ints *list,
                          int64_t rank) {
  int64_t low = list->at[0], high = list->at[0];
  for (int i = 1; i < list->count; i++) {
    if (list->at[i] < low) low = list->at[i];
    if (list->at[i] > high) high = list->at[i];
  }
  for (int64_t value = low - FARTHEST; value <= low + FARTHEST; value++) {
    if (value < 0 || (double)value < attr->least || (double)value > attr->most) continue;
    int64_t change = value > high ? value - low : high - value;
    if (high - value < value - low) change = value - low;
    const repair found = {.attr = attr,
                          .value = value,
                          .change = change,
                          .cost = 2 * (change + rank) + (attr->least > 0)};
    if (change == 0 || (s->best.node && found.cost >= s->best.cost)) continue;
    if (accepted(s, k, attr, value)) note_best(s, k, &found);
  }
}

static void try_all(search *s) {
  int64_t rank = 0;
  for (int k = 0; k < s->n_sorted && s->infers <= INFERS; k++) {
    const mw_node *node = s->sorted[k];
    bool any = false;
    mw_ints list;
    if (node->kind != MW_FORWARD) continue;
    for (const mw_attr *a = node->entry->op.attrs; a && a->name; a++) {
      if (!is_tried(node, a, &list)) continue;
      any = true;
      try_attribute(s, k, a, &list, rank);
    }
    rank += any;
  }
}

/* ---- the ancestors ------------------------------------------------------------------------ */

static bool found_already(const search *s, const mw_node *node) {
  for (int k = 0; k < s->n; k++)
    if (s->nodes[k] == node) return true;
  return false;
}

static void find_inputs(search *s, const mw_node *node) {
  for (int i = 0; i < node->n_in && s->n < NODES; i++) {
    const mw_node *from = node->in[i] ? node->in[i]->node : NULL;
    if (from && !mw_is_leaf(from) && !found_already(s, from)) s->nodes[s->n++] = from;
  }
}

/* Depth first through the nodes that were found: no recursion is deeper than their number. */
static void sort_from(search *s, const mw_node *node) {
  if (position(s, node) >= 0) return;
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i] && found_already(s, node->in[i]->node)) sort_from(s, node->in[i]->node);
  s->sorted[s->n_sorted++] = node;
}

static bool find_ancestors(search *s) {
  size_t most = s->failed->entry->op.attrs_size;
  find_inputs(s, s->failed);
  for (int k = 0; k < s->n; k++) find_inputs(s, s->nodes[k]);
  for (int k = 0; k < s->n; k++) {
    size_t size = s->nodes[k]->entry->op.attrs_size;
    if (size > most) most = size;
    sort_from(s, s->nodes[k]);
  }
  s->attrs = malloc(most + 1);
  return s->attrs != NULL;
}

/* ---- saying it ---------------------------------------------------------------------------- */

/* The one size in which two specs differ, or -1. */
static int64_t differing_size(const mw_spec *before, const mw_spec *after) {
  int64_t size = -1;
  if (before->rank != after->rank) return -1;
  for (int k = 0; k < after->rank; k++) {
    if (before->shape[k] == after->shape[k]) continue;
    if (size >= 0) return -1;
    size = after->shape[k];
  }
  return size;
}

/* "f32[2,3]" without the dtype. */
static const char *shape_text(const mw_spec *spec, char text[MW_SPEC_TEXT]) {
  return strchr(mw_spec_text(spec, text), '[');
}

/* "net.lua:3" of "Conv2d at net.lua:3" */
static const char *line_of(const mw_node *node) {
  const char *line = node->origin ? node->origin : "";
  for (const char *at = line; (at = strstr(at, " at ")); line = at) at += 4;
  return line;
}

static void say_repair(const search *s, char out[TEXT]) {
  const repair *r = &s->best;
  char shape[MW_SPEC_TEXT], output[MW_SPEC_TEXT + 32] = "", size[24];
  const char *line = line_of(r->node), *would;
  /* Its output tells it from another application of the op on that line. */
  for (int k = 0; k < s->n; k++) {
    if (s->nodes[k] == r->node || s->nodes[k]->entry != r->node->entry) continue;
    if (strcmp(line_of(s->nodes[k]), line) == 0)
      snprintf(output, sizeof output, " that gives %s", mw_spec_text(&r->node->out[0].spec, shape));
  }
  int64_t one = differing_size(r->before, &r->after);
  snprintf(size, sizeof size, "%" PRId64, one);
  would = one >= 0 ? size : shape_text(&r->after, shape);
  snprintf(out, TEXT, "; %s = %" PRId64 " in the %s%s%.100s%s would give %s", r->attr->name,
           r->value, r->node->entry->op.name, *line ? " at " : "", line, output, would);
}

/* ---- another parameter -------------------------------------------------------------------- */

/* Whether input i would fit with one of its sizes changed to one that another input has. */
static bool would_fit(search *s, int i, mw_spec *fitting) {
  const mw_node *node = s->failed;
  mw_spec ins[INPUTS] = {{0}};
  for (int k = 0; k < node->n_in; k++)
    if (node->in[k]) ins[k] = node->in[k]->spec;
  const mw_spec given = ins[i];
  for (int axis = 0; axis < given.rank; axis++)
    for (int other = 0; other < node->n_in; other++)
      for (int k = 0; other != i && node->in[other] && k < node->in[other]->spec.rank; k++) {
        ins[i] = given;
        ins[i].shape[axis] = node->in[other]->spec.shape[k];
        if (node->entry->op.attrs_size) memcpy(s->attrs, node->attrs, node->entry->op.attrs_size);
        if (!infer_again(s, node, s->attrs, ins, s->failed_out)) continue;
        *fitting = ins[i];
        return true;
      }
  return false;
}

/* Parameters first, then constants that were made elsewhere; the last of them first, as ops take
 * what they work on before what they work with. */
static void say_fitting(search *s, const char *message, char out[TEXT]) {
  const mw_node *node = s->failed;
  char text[MW_SPEC_TEXT];
  mw_spec fitting;
  for (int kind = MW_PARAMETER; kind >= MW_CONSTANT; kind--)
    for (int i = node->n_in - 1; i >= 0; i--) {
      const mw_node *leaf = node->in[i] ? node->in[i]->node : NULL;
      if (!leaf || leaf->kind != (mw_node_kind)kind) continue;
      if (kind == MW_CONSTANT && same_origin(leaf, node)) continue;
      if (!would_fit(s, i, &fitting)) continue;
      const char *shape = shape_text(&fitting, text), *name = mw_tensor_name(node->in[i]);
      const char *last = strrchr(name, '.');
      int declared = node->entry->n_in - 1;
      if (strstr(message, shape)) return; /* the op has said so */
      snprintf(out, TEXT, "; %s%.60s of %s would fit", *name ? "a " : "",
               *name ? (last ? last + 1 : name)
                     : node->entry->op.inputs[i < declared ? i : declared].name,
               shape);
      return;
    }
}

void mw_explain_inputs(const mw_node *node) {
  char message[MW_ERROR_TEXT], origins[TEXT] = "", advice[TEXT] = "";
  search *s = node->n_in <= INPUTS ? calloc(1, sizeof *s) : NULL;
  memcpy(message, node->ctx->error, sizeof message);
  append_origins(node, origins);
  if (s) s->failed = node;
  if (s && find_ancestors(s)) {
    try_all(s);
    const bool likely = s->best.node && s->best.change <= LIKELY;
    s->infers = 0;
    if (!likely && !strstr(message, "; ")) say_fitting(s, message, advice); /* else it has advice */
    if (s->best.node && !*advice) say_repair(s, advice);
  }
  if (s) free(s->attrs);
  free(s);
  memcpy(node->ctx->error, message, sizeof message);
  mw_append_error(node->ctx, origins);
  mw_append_error(node->ctx, advice);
}
