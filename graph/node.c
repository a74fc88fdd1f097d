/* node.c: tensors and nodes: leaves, applying an op, counted references. */
#include <stdio.h>
#include <string.h>

#include "dropped.h"
#include "internal.h"
#include "prepared.h"

/* ---- making and freeing ------------------------------------------------------------------- */

/* A node with its tensors, inputs and attributes in one block. */
static mw_node *node_new(mw_context *ctx, mw_node_kind kind, mw_op_entry *entry, int n_in,
                         int n_slots) {
  const size_t outputs = (size_t)n_slots * sizeof(mw_tensor);
  const size_t inputs = (size_t)n_in * (sizeof(mw_tensor *) + sizeof(uint64_t));
  const size_t attrs = entry ? entry->op.attrs_size : 0;
  const size_t attrs_at = (sizeof(mw_node) + outputs + inputs + 15) / 16 * 16;
  mw_node *node = mw_block_new(&ctx->blocks, attrs_at + attrs);
  if (!node) {
    mw_no_memory(ctx);
    return NULL;
  }
  memset(node, 0, attrs_at + attrs);
  node->out = (mw_tensor *)(node + 1);
  node->in = (mw_tensor **)(node->out + n_slots);
  node->in_version = (uint64_t *)(node->in + n_in);
  node->attrs = attrs ? (char *)node + attrs_at : NULL;
  node->bytes = attrs_at + attrs;
  node->ctx = ctx;
  node->origin = ctx->origin;
  node->refs = 1;
  node->kind = kind;
  node->entry = entry;
  if (entry) entry->refs++;
  node->n_in = n_in;
  node->n_out = n_slots;
  for (int i = 0; i < n_slots; i++) {
    node->out[i].node = node;
    node->out[i].index = i;
  }
  ctx->refs++;
  node->born = ++ctx->born;
  ctx->stats.tensors_live++;
  return node;
}

/* One of an op, with room for saved bytes or without. */
static mw_node *forward_new(mw_context *ctx, mw_op_entry *entry, int n_in, bool may_save) {
  mw_node *node = node_new(ctx, MW_FORWARD, entry, n_in, entry->n_out + may_save);
  if (!node) return NULL;
  node->n_out = entry->n_out;
  node->may_save = may_save;
  return node;
}

/* Gives one reference back; a node that nobody holds any more goes onto the list. */
static void drop(mw_node *node, mw_node **list) {
  if (!node || --node->refs > 0) return;
  node->next = *list;
  *list = node;
}

static void node_free(mw_node *node, mw_node **list) {
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i]) drop(node->in[i]->node, list);
  drop(node->forward, list);
  for (int i = 0; i < node->n_out + node->saves; i++) mw_storage_release(node->out[i].storage);
  if (node->entry) node->entry->refs--;
  mw_context *ctx = node->ctx;
  if (node->own_attrs) free(node->attrs);
  free(node->name);
  mw_block_free(&ctx->blocks, node, node->bytes);
  ctx->stats.tensors_live--;
  if (--ctx->refs == 0) {
    ctx->refs = 1; /* the last node of a context that its user has freed */
    mw_context_free(ctx);
  }
}

mw_tensor *mw_retain(mw_tensor *t) {
  t->node->refs++;
  return t;
}

/* A long chain of nodes is freed by a loop: recursion would overflow the stack. */
void mw_free_dropped(mw_dropped *list) {
  while (*list) {
    mw_node *node = *list;
    *list = node->next;
    node_free(node, list);
  }
}

void mw_drop(mw_tensor *t, mw_dropped *list) { drop(t->node, list); }

void mw_release(mw_tensor *t) {
  mw_node *list = NULL;
  if (t) drop(t->node, &list);
  mw_free_dropped(&list);
}

/* ---- leaves ------------------------------------------------------------------------------- */

static mw_tensor *leaf_new(mw_context *ctx, mw_node_kind kind, const mw_spec *spec,
                           mw_storage *storage, const char *name) {
  mw_node *node = node_new(ctx, kind, NULL, 0, 1);
  if (node && name && *name && !(node->name = strdup(name))) {
    mw_release(&node->out[0]);
    mw_no_memory(ctx);
    node = NULL;
  }
  if (!node) {
    mw_storage_release(storage);
    return NULL;
  }
  node->out[0].spec = mw_spec_of(spec->dtype, spec->rank, spec->shape);
  node->out[0].storage = storage;
  return &node->out[0];
}

static mw_tensor *leaf_with_data(mw_context *ctx, mw_node_kind kind, const mw_spec *spec,
                                 const void *data, const char *name) {
  if (mw_spec_check(ctx, spec)) return NULL;
  size_t bytes = mw_spec_bytes(spec);
  mw_storage *storage = mw_storage_new(ctx, bytes);
  if (!storage) return mw_memory_lacks(ctx, bytes, NULL, spec), NULL;
  if (data && bytes) memcpy(storage->data, data, bytes);
  else memset(storage->data, 0, bytes);
  return leaf_new(ctx, kind, spec, storage, name);
}

mw_tensor *mw_constant(mw_context *ctx, const mw_spec *spec, const void *data) {
  return leaf_with_data(ctx, MW_CONSTANT, spec, data, NULL);
}

mw_tensor *mw_parameter(mw_context *ctx, const mw_spec *spec, const void *data, const char *name) {
  return leaf_with_data(ctx, MW_PARAMETER, spec, data, name);
}

mw_tensor *mw_input(mw_context *ctx, const mw_spec *spec, const char *name) {
  if (mw_spec_check(ctx, spec)) return NULL;
  return leaf_new(ctx, MW_INPUT, spec, NULL, name);
}

mw_tensor *mw_constant_sharing(mw_context *ctx, const mw_spec *spec, mw_storage *storage) {
  return leaf_new(ctx, MW_CONSTANT, spec, storage, NULL);
}

mw_tensor *mw_constant_filled(mw_context *ctx, const mw_spec *spec, double value) {
  mw_tensor *t = mw_constant(ctx, spec, NULL);
  if (!t || value == 0) return t;
  int64_t count = mw_spec_count(spec);
  void *data = t->storage->data;
  for (int64_t i = 0; i < count; i++) switch (spec->dtype) {
      case MW_F32: ((float *)data)[i] = (float)value; break;
      case MW_F64: ((double *)data)[i] = value; break;
      case MW_I32: ((int32_t *)data)[i] = (int32_t)value; break;
      case MW_I64: ((int64_t *)data)[i] = (int64_t)value; break;
      case MW_U8: ((uint8_t *)data)[i] = (uint8_t)value; break;
      case MW_BOOL: ((uint8_t *)data)[i] = value != 0; break;
      case MW_NONE: break;
    }
  return t;
}

void *mw_leaf_write(mw_tensor *t) {
  mw_context *ctx = t->node->ctx;
  if (!mw_is_leaf(t->node)) {
    mw_set_error(ctx, "the result of %s is no leaf: its bytes cannot be written", mw_tensor_op(t));
    return NULL;
  }
  if (!t->storage || t->storage->refs > 1) {
    mw_storage *own = mw_storage_new(ctx, mw_spec_bytes(&t->spec));
    if (!own) return mw_memory_lacks(ctx, mw_spec_bytes(&t->spec), NULL, &t->spec), NULL;
    if (t->storage) memcpy(own->data, t->storage->data, own->bytes);
    mw_storage_release(t->storage);
    t->storage = own;
    ctx->moved++;
  }
  t->node->version++;
  return t->storage->data;
}

/* ---- applying ----------------------------------------------------------------------------- */

static void set_input(mw_node *node, int i, mw_tensor *t) {
  if (!t) return;
  node->in[i] = mw_retain(t);
  node->in_version[i] = t->node->version;
  node->reads_parameter |= t->node->kind == MW_PARAMETER;
}

mw_status mw_node_check_versions(const mw_node *node) {
  char text[MW_SPEC_TEXT];
  for (int i = 0; i < node->n_in; i++) {
    const mw_tensor *t = node->in[i];
    if (!t || t->node->kind != MW_PARAMETER || t->node->version == node->in_version[i]) continue;
    const char *name = mw_tensor_name(t);
    return mw_set_error(node->ctx,
                        "stale value: %s was built from %s%s%s%s before the parameter was "
                        "updated; build the expression again, or ask for its value before the "
                        "update",
                        node->entry->op.name, *name ? "parameter '" : "a parameter ", name,
                        *name ? "' " : "", mw_spec_text(&t->spec, text));
  }
  return MW_OK;
}

static mw_status check_inputs(mw_context *ctx, const mw_op_entry *entry, int n,
                              mw_tensor *const *inputs) {
  char text[MW_SPEC_TEXT];
  int most = entry->variadic ? INT32_MAX : entry->n_in;
  if (n > most) return mw_set_error(ctx, "got %d tensors, expected at most %d", n, entry->n_in);
  for (int i = 0; i < (n > entry->required ? n : entry->required); i++) {
    const mw_arg *arg = &entry->op.inputs[i < entry->n_in ? i : entry->n_in - 1];
    bool needed = !(arg->flags & (MW_OPTIONAL | MW_KEY));
    if ((i >= n || !inputs[i]) && needed)
      return mw_set_error(ctx, "argument %d (%s) is missing, expected a tensor", i + 1, arg->name);
    if (i < n && inputs[i] && inputs[i]->node->ctx != ctx)
      return mw_set_error(ctx, "%s %s belongs to another context", arg->name,
                          mw_spec_text(&inputs[i]->spec, text));
  }
  return MW_OK;
}

/* The dtype that picks an op's kernel: that of an input, or of the output when it has none. */
static mw_dtype kernel_dtype(const mw_node *node) {
  int i = node->entry->op.dtype_of;
  return i < node->n_in && node->in[i] ? node->in[i]->spec.dtype : node->out[0].spec.dtype;
}

static mw_status check_served(const mw_node *node) {
  const mw_op_entry *entry = node->entry;
  mw_dtype dtype = kernel_dtype(node);
  if (mw_registry_serves(entry, dtype)) return MW_OK;
  char served[64] = "";
  const char *first = NULL;
  size_t used = 0;
  for (int d = MW_F32; d <= MW_BOOL; d++) {
    if (!mw_registry_serves(entry, (mw_dtype)d) || used >= sizeof served) continue;
    const char *name = mw_dtype_name((mw_dtype)d);
    if (!first) first = name;
    used += (size_t)snprintf(served + used, sizeof served - used, "%s%s", used ? ", " : "", name);
  }
  if (entry->op.dtype_of >= node->n_in || !node->in[entry->op.dtype_of])
    return mw_set_error(node->ctx, "no kernel for %s, only for %s", mw_dtype_name(dtype), served);
  char text[MW_SPEC_TEXT];
  return mw_set_error(node->ctx, "%s is %s, but kernels exist for %s; use :cast \"%s\"",
                      entry->op.inputs[entry->op.dtype_of].name,
                      mw_spec_text(&node->in[entry->op.dtype_of]->spec, text), served,
                      first ? first : "");
}

static mw_status run_infer(mw_node *node, size_t *saved) {
  enum { FEW = 16 };
  mw_spec few[FEW], outs[MW_MAX_ARGS];
  mw_spec *ins = node->n_in <= FEW ? few : malloc((size_t)node->n_in * sizeof *ins);
  if (!ins) return mw_no_memory(node->ctx);
  for (int i = 0; i < node->n_in; i++)
    ins[i] = node->in[i] ? node->in[i]->spec : (mw_spec){.dtype = MW_NONE};
  memset(outs, 0, (size_t)node->n_out * sizeof *outs);
  mw_infer it = {.host = &mw_host_table,
                 .context = node->ctx,
                 .op = &node->entry->op,
                 .attrs = node->attrs,
                 .n_in = node->n_in,
                 .n_out = node->n_out,
                 .in = ins,
                 .out = outs};
  mw_status status = node->entry->op.infer(&it);
  if (ins != few) free(ins);
  if (status) {
    mw_explain_inputs(node);
    return MW_FAILED;
  }
  if (it.saved > MW_MAX_SCRATCH)
    return mw_set_error(node->ctx, "asks for %zu bytes to save for backward", it.saved);
  if (mw_is_composed(it.op)) return MW_OK;
  *saved = it.saved;
  for (int i = 0; i < node->n_out; i++) {
    for (int k = outs[i].rank < 0 ? 0 : outs[i].rank; k < MW_MAX_RANK; k++) outs[i].shape[k] = 0;
    if (mw_spec_check(node->ctx, &outs[i])) return MW_FAILED;
    node->out[i].spec = outs[i];
  }
  bool view = node->entry->op.flags & MW_VIEW;
  if (view && mw_spec_bytes(&outs[0]) != mw_spec_bytes(&node->in[0]->spec))
    return mw_set_error(node->ctx, "infer gives another number of bytes than those viewed");
  if (view && it.saved) return mw_set_error(node->ctx, "a view cannot save bytes: it is never run");
  return MW_OK;
}

enum { UNFINISHED = -1 };

/* Draws the random key of an op that takes one and was given none. How far the generator moves is
 * known when the output is: see finish_key. */
static mw_status draw_key(mw_node *node) {
  const mw_op_entry *entry = node->entry;
  for (int i = 0; i < entry->n_in && entry->takes_key; i++) {
    if (!(entry->op.inputs[i].flags & MW_KEY) || node->in[i]) continue;
    mw_tensor *key = mw_random_key(node->ctx, 0);
    if (!key) return MW_FAILED;
    key->node->draws = UNFINISHED;
    set_input(node, i, key);
    mw_release(key);
  }
  return MW_OK;
}

/* One position for each element of the first output. */
static void finish_key(mw_node *node, const mw_spec *out) {
  const mw_op_entry *entry = node->entry;
  for (int i = 0; i < entry->n_in; i++) {
    mw_tensor *key = node->in[i];
    if (!(entry->op.inputs[i].flags & MW_KEY) || key->node->draws != UNFINISHED) continue;
    key->node->draws = mw_spec_count(out);
    node->ctx->position += (uint64_t)key->node->draws;
  }
}

/* For a node that its op does not accept: lets go of it; what it was is in the message, and, while
 * failures are kept, remembered. */
static mw_node *refuse(mw_node *node) {
  mw_prefix_error(node->ctx, node->entry->op.name);
  mw_failure_note(node->ctx, node, false);
  mw_release(&node->out[0]);
  return NULL;
}

/* A node with its inputs and the attributes that it begins with, not yet inferred. One more output
 * than declared has room for the saved bytes. */
static mw_node *node_with_inputs(mw_context *ctx, mw_op_entry *entry, int n_inputs,
                                 mw_tensor *const *inputs, const void *attrs) {
  const mw_op *op = &entry->op;
  int n_in = n_inputs > entry->n_in ? n_inputs : entry->n_in;
  mw_node *node = forward_new(ctx, entry, n_in, true);
  if (!node) {
    mw_prefix_error(ctx, op->name);
    return NULL;
  }
  if (op->attrs_size) memcpy(node->attrs, attrs, op->attrs_size);
  for (int i = 0; i < n_inputs; i++) set_input(node, i, inputs[i]);
  return check_inputs(ctx, entry, n_inputs, inputs) ? refuse(node) : node;
}

/* The same with settings, and with a key if it takes one. */
static mw_node *node_with_settings(mw_context *ctx, mw_op_entry *entry, int n_inputs,
                                   mw_tensor *const *inputs, int n_settings,
                                   const mw_setting *settings) {
  mw_node *node = node_with_inputs(ctx, entry, n_inputs, inputs, entry->defaults);
  if (!node) return NULL;
  if (!mw_attrs_set(ctx, entry, node->attrs, n_settings, settings) && !draw_key(node)) return node;
  return refuse(node);
}

static void set_saved(mw_node *node, size_t saved) {
  if (!saved) return;
  node->saves = true;
  node->out[node->n_out].spec = mw_spec_of(MW_U8, 1, (int64_t[]){(int64_t)saved});
}

/* Gives the node its outputs' specs. */
static mw_status infer_outputs(mw_node *node, size_t *saved) {
  /* Without that input it is infer that says the dtype. */
  const int of = node->entry->op.dtype_of;
  const bool known = of < node->n_in && node->in[of];
  if ((known && check_served(node)) || run_infer(node, saved) || (!known && check_served(node)))
    return MW_FAILED;
  set_saved(node, *saved);
  finish_key(node, &node->out[0].spec);
  return MW_OK;
}

/* Makes of a node what infer came to for such a call. */
static void recall(mw_node *node, const mw_known *known) {
  for (int j = 0; j < node->n_out; j++) node->out[j].spec = known->out[j];
  if (node->attrs) memcpy(node->attrs, known->inferred, node->entry->op.attrs_size);
  set_saved(node, known->saved);
  if (node->entry->takes_key) finish_key(node, &node->out[0].spec);
}

/* A node for a call that is known; nothing is called, and nothing but memory can be wrong. */
static mw_node *node_known(mw_context *ctx, mw_op_entry *entry, const mw_known *known, int n_inputs,
                           mw_tensor *const *inputs) {
  const bool may_save = known->saved || entry->op.backward;
  mw_node *node = forward_new(ctx, entry, known->n_in, may_save);
  if (!node) {
    mw_prefix_error(ctx, entry->op.name);
    return NULL;
  }
  for (int i = 0; i < n_inputs; i++) set_input(node, i, inputs[i]);
  recall(node, known);
  return node;
}

/* Infers, and gives *known, NULL or freed before, what is to be kept of it. */
static mw_status infer_noting(mw_node *node, mw_known **known) {
  size_t saved = 0;
  *known = mw_known_start(node);
  if (infer_outputs(node, &saved)) {
    free(*known);
    *known = NULL;
    return MW_FAILED;
  }
  if (*known) mw_known_finish(*known, node, saved);
  return MW_OK;
}

mw_node *mw_node_forward(mw_context *ctx, mw_op_entry *entry, int n_inputs,
                         mw_tensor *const *inputs, int n_settings, const mw_setting *settings) {
  const bool by_default = n_settings == 0 && !entry->must_set;
  const mw_known *found = NULL;
  if (by_default) found = mw_known_find(ctx, entry, n_inputs, inputs, entry->defaults);
  if (found) return node_known(ctx, entry, found, n_inputs, inputs);
  mw_node *node = node_with_settings(ctx, entry, n_inputs, inputs, n_settings, settings);
  if (!node) return NULL;
  const void *attrs = by_default ? entry->defaults : node->attrs;
  if (!by_default || entry->takes_key)
    found = mw_known_find(ctx, entry, node->n_in, node->in, attrs);
  if (found) {
    recall(node, found);
    return node;
  }
  mw_known *known;
  if (infer_noting(node, &known)) return refuse(node);
  if (known) mw_known_keep(entry, node->n_in, node->in, by_default, known);
  return node;
}

/* The node of a composition, NULL after a failure, holds its inputs and attributes while it is
 * built, and is dropped. */
static int build_composed(mw_node *node, mw_tensor **outputs) {
  size_t saved;
  if (!node) return 0;
  const mw_op_entry *entry = node->entry;
  if ((entry->op.infer && run_infer(node, &saved)) || mw_build_outputs(node, outputs)) {
    refuse(node);
    return 0;
  }
  finish_key(node, &outputs[0]->spec);
  const int n_out = entry->n_out;
  mw_release(&node->out[0]);
  return n_out;
}

/* One reference for each output. */
static int hand_out(mw_node *node, mw_tensor **outputs) {
  for (int i = 0; i < node->n_out; i++) outputs[i] = &node->out[i];
  node->refs += node->n_out - 1;
  return node->n_out;
}

mw_node *mw_node_like(const mw_node *like, mw_tensor *const *inputs) {
  const mw_op *op = &like->entry->op;
  mw_node *node = forward_new(like->ctx, like->entry, like->n_in, like->may_save);
  if (!node) return NULL;
  node->origin = like->origin;
  node->saves = like->saves;
  if (op->attrs_size) memcpy(node->attrs, like->attrs, op->attrs_size);
  for (int i = 0; i < like->n_in; i++) set_input(node, i, inputs[i]);
  for (int j = 0; j < like->n_out + like->saves; j++) node->out[j].spec = like->out[j].spec;
  return node;
}

mw_node *mw_node_backward(mw_node *forward, mw_tensor *const *dout, const bool *wanted) {
  const mw_op *op = &forward->entry->op;
  int n_in = forward->n_in, n_out = forward->n_out;
  mw_node *node = node_new(forward->ctx, MW_BACKWARD, forward->entry, n_in + n_out + 1 + n_out,
                           n_in ? n_in : 1);
  if (!node) return NULL;
  if (op->attrs_size) memcpy(node->attrs, forward->attrs, op->attrs_size);
  node->origin = forward->origin;
  node->forward = forward;
  forward->refs++;
  int declared = forward->entry->n_in;
  for (int i = 0; i < n_in; i++) {
    if (op->backward_needs & MW_NEEDS_IN(i < declared ? i : declared - 1))
      set_input(node, i, forward->in[i]);
    if (wanted[i]) node->out[i].spec = forward->in[i]->spec;
  }
  for (int j = 0; j < n_out; j++) {
    if (op->backward_needs & MW_NEEDS_OUT(j)) set_input(node, n_in + j, &forward->out[j]);
    set_input(node, n_in + n_out + 1 + j, dout[j]);
  }
  if (forward->saves && (op->backward_needs & MW_NEEDS_SAVED))
    set_input(node, n_in + n_out, &forward->out[n_out]);
  return node;
}

uint64_t mw_ops_age(const mw_context *ctx) { return ctx->generation + 1; }
mw_op_entry *mw_op_entry_of(const mw_context *ctx, const char *name) {
  return mw_registry_find(ctx, name);
}
const mw_op *mw_entry_op(const mw_op_entry *entry) { return &entry->op; }

/* NULL + error when there is none of that name. */
static mw_op_entry *find_entry(mw_context *ctx, const char *op) {
  mw_op_entry *entry = mw_registry_find(ctx, op);
  if (entry) return entry;
  const char *near = mw_op_near(ctx, op);
  mw_set_error(ctx, near ? "no op is named '%s'; did you mean '%s'?" : "no op is named '%s'", op,
               near);
  return NULL;
}

int mw_apply_entry(mw_context *ctx, mw_op_entry *entry, int n_inputs, mw_tensor *const *inputs,
                   int n_settings, const mw_setting *settings, mw_tensor **outputs) {
  if (mw_is_composed(&entry->op))
    return build_composed(node_with_settings(ctx, entry, n_inputs, inputs, n_settings, settings),
                          outputs);
  mw_node *node = mw_node_forward(ctx, entry, n_inputs, inputs, n_settings, settings);
  return node ? hand_out(node, outputs) : 0;
}

int mw_apply_all(mw_context *ctx, const char *op, int n_inputs, mw_tensor *const *inputs,
                 int n_settings, const mw_setting *settings, mw_tensor **outputs) {
  mw_op_entry *entry = find_entry(ctx, op);
  return entry ? mw_apply_entry(ctx, entry, n_inputs, inputs, n_settings, settings, outputs) : 0;
}

mw_tensor *mw_apply(mw_context *ctx, const char *op, int n_inputs, mw_tensor *const *inputs,
                    int n_settings, const mw_setting *settings) {
  mw_tensor *outputs[MW_MAX_ARGS];
  int n = mw_apply_all(ctx, op, n_inputs, inputs, n_settings, settings, outputs);
  for (int i = 1; i < n; i++) mw_release(outputs[i]);
  return n ? outputs[0] : NULL;
}

/* ---- prepared ops -------------------------------------------------------------------------- */

struct mw_prepared {
  mw_context *ctx;
  mw_op_entry *entry;
  void *attrs;     /* as they were set */
  mw_known *known; /* the last call, or NULL */
};

mw_prepared *mw_prepare(mw_context *ctx, const char *op, int n_settings,
                        const mw_setting *settings) {
  mw_op_entry *entry = find_entry(ctx, op);
  if (!entry) return NULL;
  const size_t head = mw_aligned(sizeof(mw_prepared));
  mw_prepared *p = calloc(1, head + entry->op.attrs_size);
  if (!p) return mw_no_memory(ctx), NULL;
  *p = (mw_prepared){.ctx = ctx, .entry = entry, .attrs = (char *)p + head};
  if (entry->op.attrs_size) memcpy(p->attrs, entry->defaults, entry->op.attrs_size);
  if (mw_attrs_set(ctx, entry, p->attrs, n_settings, settings)) {
    free(p);
    mw_prefix_error(ctx, entry->op.name);
    return NULL;
  }
  entry->refs++;
  ctx->refs++;
  return p;
}

void mw_prepared_free(mw_prepared *p) {
  if (!p) return;
  mw_context *ctx = p->ctx;
  p->entry->refs--;
  free(p->known);
  free(p);
  if (ctx->refs > 1) ctx->refs--;
  else mw_context_free(ctx); /* it was the last to hold a context that its user has freed */
}

const mw_op *mw_prepared_op(const mw_prepared *p) { return &p->entry->op; }
bool mw_prepared_stale(const mw_prepared *p) { return p->entry->retired; }

bool mw_prepared_knows(const mw_prepared *p, int n_inputs, mw_tensor *const *inputs) {
  return p->known && !p->entry->retired && mw_known_fits(p->known, p->ctx, n_inputs, inputs);
}

mw_tensor *mw_apply_known(const mw_prepared *p, int n_inputs, mw_tensor *const *inputs) {
  mw_node *node = node_known(p->ctx, p->entry, p->known, n_inputs, inputs);
  return node ? &node->out[0] : NULL;
}

int mw_apply_prepared(mw_prepared *p, int n_inputs, mw_tensor *const *inputs, mw_tensor **outputs) {
  mw_node *node = node_with_inputs(p->ctx, p->entry, n_inputs, inputs, p->attrs);
  if (node && draw_key(node)) node = refuse(node);
  if (!node) return 0;
  if (mw_prepared_knows(p, node->n_in, node->in)) {
    recall(node, p->known);
    return hand_out(node, outputs);
  }
  if (mw_is_composed(&p->entry->op)) return build_composed(node, outputs);
  mw_known *known;
  if (infer_noting(node, &known)) {
    refuse(node);
    return 0;
  }
  free(p->known);
  p->known = known;
  return hand_out(node, outputs);
}
