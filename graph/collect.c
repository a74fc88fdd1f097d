/* collect.c: lists what has to run for some tensors, and writes its structure down as a key.
 *
 * Whatever has a value already is a leaf here. The key has the specs of the leaves and the ops,
 * attributes and wiring of the steps, in the order of the walk, and no value or address of a
 * tensor: two walks with the same key need the same program, bound to other leaves.
 *
 * The walk for a recipe does not stop at values where gradients go further. What is built of it is
 * the same for the same key: that tells which steps have values, too. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

struct mw_visit {
  mw_node *node;
  int next; /* dependency */
};

/* Makes room for one more item in an array. */
static mw_status reserve(mw_context *ctx, void *array, size_t *room, size_t needed, size_t size) {
  if (needed <= *room) return MW_OK;
  size_t grown_room = needed < 32 ? 64 : 2 * needed;
  void *grown = realloc(*(void **)array, grown_room * size);
  if (!grown) return mw_no_memory(ctx);
  *(void **)array = grown;
  *room = grown_room;
  return MW_OK;
}

static mw_status key_words(mw_context *ctx, mw_collection *c, size_t n) {
  return reserve(ctx, &c->key, &c->key_room, c->key_words + n, sizeof *c->key);
}

mw_ref mw_collect_ref(const mw_tensor *t) {
  if (!t) return MW_REF_NONE;
  if (t->mark == t->node->ctx->walk) return mw_ref_to_leaf(t->local);
  return mw_ref_to_output(t->node->local, t->index);
}

static void add_spec(mw_collection *c, const mw_spec *spec, uint64_t flags) {
  c->key[c->key_words++] = flags << 16 | (uint64_t)spec->dtype << 8 | (uint64_t)spec->rank;
  for (int i = 0; i < spec->rank; i++) c->key[c->key_words++] = (uint64_t)spec->shape[i];
}

static mw_status add_leaf(mw_context *ctx, mw_collection *c, mw_tensor *t) {
  if (t->mark == ctx->walk) return MW_OK;
  if (reserve(ctx, &c->leaves, &c->leaves_room, (size_t)c->n_leaves + 1, sizeof *c->leaves) ||
      key_words(ctx, c, 1 + MW_MAX_RANK))
    return MW_FAILED;
  t->mark = ctx->walk;
  t->local = c->n_leaves;
  c->leaves[c->n_leaves++] = t;
  add_spec(c, &t->spec, 0);
  return MW_OK;
}

/* What a backward node writes: which gradients are wanted, and the specs of inputs that it does
 * not read. Nothing else in the key tells those. */
static mw_status add_wanted(mw_context *ctx, mw_collection *c, const mw_node *node) {
  const mw_node *f = node->forward;
  if (key_words(ctx, c, (size_t)f->n_in * (1 + MW_MAX_RANK))) return MW_FAILED;
  for (int i = 0; i < f->n_in; i++) {
    uint64_t wanted = node->out[i].spec.dtype != MW_NONE;
    if (f->in[i] && !node->in[i]) add_spec(c, &f->in[i]->spec, wanted);
    else c->key[c->key_words++] = wanted << 16;
  }
  return MW_OK;
}

/* What else decides how a step's gradient is built: which outputs have values, and the call that a
 * backward node differentiates. */
static mw_status add_more(mw_context *ctx, mw_collection *c, const mw_node *node) {
  size_t n = (size_t)(node->n_out + node->saves), words = (n + 63) / 64;
  if (key_words(ctx, c, words + 1)) return MW_FAILED;
  memset(c->key + c->key_words, 0, words * sizeof *c->key);
  for (size_t i = 0; i < n; i++)
    if (node->out[i].storage) c->key[c->key_words + i / 64] |= UINT64_C(1) << i % 64;
  c->key_words += words;
  bool listed = node->forward && c->extent == MW_TO_LEAVES;
  c->key[c->key_words++] = listed ? (uint64_t)node->forward->local : 0;
  return MW_OK;
}

static mw_status add_step(mw_context *ctx, mw_collection *c, mw_node *node) {
  if (mw_node_check_fresh(node)) {
    mw_failure_note(ctx, node, false);
    return MW_FAILED;
  }
  size_t attrs = node->entry->op.attrs_size, attr_words = (attrs + 7) / 8;
  if (reserve(ctx, &c->steps, &c->steps_room, (size_t)c->n_steps + 1, sizeof *c->steps) ||
      key_words(ctx, c, 2 + attr_words + (size_t)node->n_in))
    return MW_FAILED;
  node->local = c->n_steps;
  c->steps[c->n_steps++] = node;
  c->key[c->key_words++] = (uint64_t)(uintptr_t)node->entry;
  c->key[c->key_words++] = (uint64_t)node->kind << 32 | (uint64_t)node->n_in;
  if (attrs) {
    c->key[c->key_words + attr_words - 1] = 0; /* the last word may be filled in part */
    memcpy(&c->key[c->key_words], node->attrs, attrs);
    c->key_words += attr_words;
  }
  for (int i = 0; i < node->n_in; i++)
    c->key[c->key_words++] = (uint64_t)mw_collect_ref(node->in[i]);
  if (node->kind == MW_BACKWARD && add_wanted(ctx, c, node)) return MW_FAILED;
  return c->extent == MW_TO_VALUES ? MW_OK : add_more(ctx, c, node);
}

static mw_status push_node(mw_context *ctx, mw_collection *c, size_t *depth, mw_node *node) {
  if (node->mark == ctx->walk) return MW_OK;
  if (c->extent == MW_TO_LEAVES && node->again) /* the copy that is made of it goes by its birth */
    return mw_set_error(ctx, "the structure of a checkpoint is not known");
  if (mw_node_current(node) ||
      reserve(ctx, &c->stack, &c->stack_room, *depth + 1, sizeof *c->stack))
    return MW_FAILED;
  node->mark = ctx->walk;
  c->stack[(*depth)++] = (struct mw_visit){.node = node};
  return MW_OK;
}

/* The value of a step that a recipe's walk has listed is that step's, unless it was met before. */
static bool is_leaf_here(const mw_context *ctx, const mw_collection *c, const mw_tensor *t) {
  if (mw_is_leaf(t->node)) return true;
  if (!t->storage || c->extent == MW_TO_LEAVES) return false;
  return c->extent == MW_TO_VALUES || t->mark == ctx->walk || t->node->mark != ctx->walk;
}

static mw_status push(mw_context *ctx, mw_collection *c, size_t *depth, mw_tensor *t) {
  return is_leaf_here(ctx, c, t) ? add_leaf(ctx, c, t) : push_node(ctx, c, depth, t->node);
}

/* Depth first, inputs before what is made of them, with a stack of its own. */
static mw_status add_tensor(mw_context *ctx, mw_collection *c, mw_tensor *t, mw_ref *ref) {
  size_t depth = 0;
  if (push(ctx, c, &depth, t)) return MW_FAILED;
  while (depth) {
    struct mw_visit *top = &c->stack[depth - 1];
    mw_node *node = top->node;
    int i = top->next++;
    if (i < node->n_in) {
      if (node->in[i] && push(ctx, c, &depth, node->in[i])) return MW_FAILED;
    } else if (i == node->n_in && node->forward && c->extent == MW_TO_LEAVES) {
      if (push_node(ctx, c, &depth, node->forward)) return MW_FAILED;
    } else {
      depth--;
      if (add_step(ctx, c, c->stack[depth].node)) return MW_FAILED;
    }
  }
  *ref = mw_collect_ref(t);
  return MW_OK;
}

/* The marks of a walk mean nothing on tensors of another context. */
static mw_status check_context(mw_context *ctx, int n, mw_tensor *const *tensors) {
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < n; i++)
    if (tensors[i]->node->ctx != ctx)
      return mw_set_error(ctx, "%s %s belongs to another context", mw_tensor_op(tensors[i]),
                          mw_spec_text(&tensors[i]->spec, text));
  return MW_OK;
}

static mw_status add_targets(mw_context *ctx, const mw_request *request, mw_collection *c) {
  char text[MW_SPEC_TEXT], other[MW_SPEC_TEXT];
  for (int i = 0; i < request->n_updates; i++) {
    mw_tensor *target = request->targets[i];
    const mw_spec *value = &request->values[i]->spec;
    if (target->node->kind != MW_PARAMETER)
      return mw_set_error(ctx, "update: target %d is a %s, expected a parameter", i + 1,
                          mw_tensor_op(target));
    const char *name = mw_tensor_name(target);
    char label[96];
    if (*name) snprintf(label, sizeof label, "parameter '%s'", name);
    else snprintf(label, sizeof label, "parameter %d", i + 1);
    if (!mw_spec_equal(&target->spec, value))
      return mw_set_error(ctx, "update: %s is %s, its new value is %s", label,
                          mw_spec_text(&target->spec, text), mw_spec_text(value, other));
    if (target->node->mark == ctx->walk) /* the walk itself marks no leaf's node */
      return mw_set_error(ctx, "update: %s is given two values", label);
    target->node->mark = ctx->walk;
    if (add_leaf(ctx, c, target)) return MW_FAILED;
    c->targets[i] = target->local;
  }
  return MW_OK;
}

mw_status mw_collect(mw_context *ctx, const mw_request *request, mw_collection *c) {
  int n = request->n, n_updates = request->n_updates;
  c->n_leaves = c->n_steps = 0;
  c->key_words = 0;
  c->extent = MW_TO_VALUES;
  c->n_results = n;
  c->n_updates = n_updates;
  ctx->walk++;
  if (check_context(ctx, n, request->tensors) || check_context(ctx, n_updates, request->targets) ||
      check_context(ctx, n_updates, request->values))
    return MW_FAILED;
  if (reserve(ctx, &c->results, &c->results_room, (size_t)n, sizeof *c->results) ||
      reserve(ctx, &c->updates, &c->updates_room, (size_t)n_updates, sizeof *c->updates) ||
      reserve(ctx, &c->targets, &c->targets_room, (size_t)n_updates, sizeof *c->targets))
    return MW_FAILED;
  for (int i = 0; i < n; i++)
    if (add_tensor(ctx, c, request->tensors[i], &c->results[i])) return MW_FAILED;
  for (int i = 0; i < n_updates; i++)
    if (add_tensor(ctx, c, request->values[i], &c->updates[i])) return MW_FAILED;
  if (add_targets(ctx, request, c)) return MW_FAILED;
  if (key_words(ctx, c, 3 + (size_t)n + 2 * (size_t)n_updates)) return MW_FAILED;
  c->key[c->key_words++] = 0; /* neither a leaf nor a step begins with it */
  c->key[c->key_words++] = (uint64_t)n;
  for (int i = 0; i < n; i++) c->key[c->key_words++] = (uint64_t)c->results[i];
  c->key[c->key_words++] = (uint64_t)n_updates;
  for (int i = 0; i < n_updates; i++) {
    c->key[c->key_words++] = (uint64_t)c->updates[i];
    c->key[c->key_words++] = (uint64_t)c->targets[i];
  }
  return MW_OK;
}

/* First a word that begins no other key, and the rule. */
static mw_status add_rule(mw_context *ctx, mw_collection *c, const char *rule) {
  size_t length = strlen(rule), words = length / 8 + 1;
  if (key_words(ctx, c, 1 + words)) return MW_FAILED;
  c->key[0] = UINT64_MAX;
  c->key[words] = 0;
  memcpy(c->key + 1, rule, length);
  c->key_words = 1 + words;
  return MW_OK;
}

mw_status mw_collect_recipe(mw_context *ctx, const mw_recipe *recipe, mw_collection *c) {
  int n = recipe->n, n_operands = recipe->n_operands;
  c->n_leaves = c->n_steps = c->n_updates = 0;
  c->key_words = 0;
  c->n_results = n + n_operands;
  ctx->walk++;
  if (check_context(ctx, n, recipe->tensors) || check_context(ctx, n_operands, recipe->operands) ||
      reserve(ctx, &c->results, &c->results_room, (size_t)c->n_results, sizeof *c->results) ||
      add_rule(ctx, c, recipe->rule))
    return MW_FAILED;
  for (int i = 0; i < c->n_results; i++) {
    c->extent = i < recipe->n_differentiated ? MW_TO_LEAVES : MW_BESIDE_STEPS;
    if (add_tensor(ctx, c, i < n ? recipe->tensors[i] : recipe->operands[i - n], &c->results[i]))
      return MW_FAILED;
  }
  if (key_words(ctx, c, 3 + (size_t)c->n_results)) return MW_FAILED;
  c->key[c->key_words++] = 0; /* neither a leaf nor a step begins with it */
  c->key[c->key_words++] = (uint64_t)n << 32 | (uint64_t)recipe->n_differentiated;
  c->key[c->key_words++] = (uint64_t)n_operands;
  for (int i = 0; i < c->n_results; i++) c->key[c->key_words++] = (uint64_t)c->results[i];
  return MW_OK;
}

void mw_collection_free(mw_collection *c) {
  free(c->leaves);
  free(c->steps);
  free(c->results);
  free(c->updates);
  free(c->targets);
  free(c->key);
  free(c->stack);
}
