/* replace.c: brings nodes and kept programs that were built with an op to the op that has replaced
 * it. Each of them is of one op until it is of the other: attributes, saved bytes and functions fit
 * together at any time. A node changes when it is next run or differentiated. One whose op is gone
 * goes on with the old code; one that the new op does not fit says so, and is to be built again. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* ---- attributes --------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

bool mw_attrs_same_layout(const mw_op *a, const mw_op *b) {
  const mw_attr *x = a->attrs, *y = b->attrs;
  if (a->attrs_size != b->attrs_size || !x != !y) return false;
  for (; x && x->name && y->name; x++, y++)
    if (strcmp(x->name, y->name) != 0 || x->type != y->type || x->offset != y->offset ||
        !same_text(x->choices, y->choices))
      return false;
  return !x || !x->name == !y->name;
}

/* The value of an attribute as a setting; a choice is written to `word`. */
static mw_setting setting_of(const mw_attr *attr, const char *attrs, char word[MW_MAX_TEXT]) {
  const void *field = attrs + attr->offset;
  mw_setting setting = {.name = attr->name};
  const char *choice = attr->choices;
  switch (attr->type) {
    case MW_INT:
    case MW_AXIS: return mw_int(attr->name, *(const int64_t *)field);
    case MW_FLOAT: return mw_float(attr->name, *(const double *)field);
    case MW_BOOLEAN: return mw_bool(attr->name, *(const bool *)field);
    case MW_TEXT: return mw_text(attr->name, field);
    case MW_CHOICE:
      for (int i = *(const int *)field; i > 0; i--) choice = strchr(choice, '|') + 1;
      snprintf(word, MW_MAX_TEXT, "%.*s", (int)strcspn(choice, "|"), choice);
      return mw_text(attr->name, word);
    case MW_INTS:
    case MW_AXES: setting.kind = MW_SET_INTS; setting.value.list = *(const mw_ints *)field;
  }
  return setting;
}

static bool has_attr(const mw_op *op, const char *name) {
  for (const mw_attr *a = op->attrs; a && a->name; a++)
    if (strcmp(a->name, name) == 0) return true;
  return false;
}

/* The attribute struct of an op, from that of the op before: each value goes by its name, and new
 * attributes have their defaults. */
static mw_status convert(mw_context *ctx, const mw_op *from, const void *old, const mw_op_entry *to,
                         void *attrs) {
  enum { MOST = 64 };
  size_t size = to->op.attrs_size;
  if (mw_attrs_same_layout(from, &to->op)) {
    if (size) memcpy(attrs, old, size);
    return MW_OK;
  }
  if (size) memcpy(attrs, to->defaults, size);
  mw_setting *settings = calloc(MOST, sizeof *settings);
  char(*words)[MW_MAX_TEXT] = calloc(MOST, sizeof *words);
  int n = 0;
  for (const mw_attr *a = from->attrs; settings && words && a && a->name && n < MOST; a++)
    if (has_attr(&to->op, a->name)) {
      settings[n] = setting_of(a, old, words[n]);
      n++;
    }
  mw_status status =
      settings && words ? mw_attrs_set(ctx, to, attrs, n, settings) : mw_no_memory(ctx);
  free(settings);
  free(words);
  return status;
}

/* ---- what a call of the old op is to the new one ------------------------------------------- */

/* A call that is there already. */
typedef struct existing {
  mw_context *ctx;
  const mw_op_entry *entry;
  const void *attrs;
  int n_in, n_out;
  mw_spec *in, *out;
} existing;

static mw_status misfit(const existing *it, const char *why) {
  return mw_set_error(it->ctx, "%s was replaced, and %s: build the expression again",
                      it->entry->op.name, why);
}

static mw_status check_fits(const existing *it, const mw_op_entry *to) {
  const mw_op_entry *from = it->entry;
  if (mw_is_composed(&to->op)) return misfit(it, "is made of other ops now");
  if (from->n_in != to->n_in || from->variadic != to->variadic)
    return misfit(it, "has other inputs now");
  if (from->n_out != to->n_out) return misfit(it, "has other outputs now");
  if ((from->op.flags ^ to->op.flags) & (MW_VIEW | MW_ORDERS))
    return misfit(it, "is another kind of op now");
  return MW_OK;
}

/* Checks the call with the new op's infer, which may bring attrs into its form. */
static mw_status infer_again(const existing *it, const mw_op_entry *to, void *attrs,
                             size_t *saved) {
  mw_spec outs[MW_MAX_ARGS] = {{0}};
  char now[MW_SPEC_TEXT], before[MW_SPEC_TEXT], why[2 * MW_SPEC_TEXT + 40];
  mw_infer call = {.host = &mw_host_table,
                   .context = it->ctx,
                   .op = &to->op,
                   .attrs = attrs,
                   .n_in = it->n_in,
                   .n_out = it->n_out,
                   .in = it->in,
                   .out = outs};
  if (to->op.infer(&call)) {
    mw_prefix_error(it->ctx, to->op.name);
    return MW_FAILED;
  }
  for (int j = 0; j < it->n_out; j++) {
    if (!mw_spec_check(it->ctx, &outs[j]) && mw_spec_equal(&outs[j], &it->out[j])) continue;
    snprintf(why, sizeof why, "gives %s now, which was %s", mw_spec_text(&outs[j], now),
             mw_spec_text(&it->out[j], before));
    return misfit(it, why);
  }
  if (call.saved > MW_MAX_SCRATCH || (call.saved && (to->op.flags & MW_VIEW)))
    return misfit(it, "asks for too many bytes to save");
  *saved = call.saved;
  return MW_OK;
}

/* The attributes of the call for the new op, in a new block; NULL when it does not fit. */
static void *attrs_for(const existing *it, const mw_op_entry *to, size_t *saved) {
  size_t size = to->op.attrs_size;
  if (check_fits(it, to)) return NULL;
  void *attrs = calloc(1, size ? size : 1);
  if (!attrs) return mw_no_memory(it->ctx), NULL;
  if (convert(it->ctx, &it->entry->op, it->attrs, to, attrs)) {
    mw_prefix_error(it->ctx, to->op.name);
    mw_append_error(it->ctx, "; the op was replaced: build the expression again");
  } else if (!infer_again(it, to, attrs, saved)) {
    return attrs;
  }
  free(attrs);
  return NULL;
}

/* ---- nodes --------------------------------------------------------------------------------- */

static void change_entry(mw_node *node, mw_op_entry *to, void *attrs) {
  node->entry->refs--;
  node->entry = to;
  to->refs++;
  if (node->own_attrs) free(node->attrs);
  node->attrs = attrs;
  node->own_attrs = true;
}

static mw_status refresh_forward(mw_node *node, mw_op_entry *to) {
  mw_spec outs[MW_MAX_ARGS];
  existing it = {.ctx = node->ctx,
                 .entry = node->entry,
                 .attrs = node->attrs,
                 .n_in = node->n_in,
                 .n_out = node->n_out,
                 .in = calloc((size_t)node->n_in + 1, sizeof(mw_spec)),
                 .out = outs};
  if (!it.in) return mw_no_memory(node->ctx);
  for (int i = 0; i < node->n_in; i++)
    if (node->in[i]) it.in[i] = node->in[i]->spec;
  for (int j = 0; j < node->n_out; j++) outs[j] = node->out[j].spec;
  size_t saved = 0;
  void *attrs = attrs_for(&it, to, &saved);
  free(it.in);
  if (!attrs) return MW_FAILED;
  if (saved && !node->may_save) {
    free(attrs);
    return misfit(&it, "keeps bytes for its backward now");
  }
  mw_tensor *kept = &node->out[node->n_out];
  if (node->saves) mw_storage_release(kept->storage);
  if (node->saves) kept->storage = NULL;
  node->saves = saved > 0;
  if (saved) kept->spec = mw_spec_of(MW_U8, 1, (int64_t[]){(int64_t)saved});
  change_entry(node, to, attrs);
  return MW_OK;
}

static void replace_input(mw_node *node, int i, mw_tensor *t, uint64_t version) {
  mw_tensor *before = node->in[i];
  node->in[i] = t ? mw_retain(t) : NULL;
  node->in_version[i] = t ? version : 0;
  node->reads_parameter |= t && t->node->kind == MW_PARAMETER;
  mw_release(before);
}

/* The same call backward, which may read other things now. */
static mw_status refresh_backward(mw_node *node, mw_op_entry *to) {
  mw_node *f = node->forward;
  const unsigned needs = to->op.backward_needs;
  const size_t size = to->op.attrs_size;
  if (mw_node_current(f)) return MW_FAILED;
  if (!to->op.backward)
    return mw_set_error(node->ctx, "%s was replaced after this gradient was built, and %s",
                        to->op.name,
                        to->op.gradient ? "builds it out of other ops now: ask for it again"
                                        : "has no gradient now: give the new code a backward");
  void *attrs = calloc(1, size ? size : 1);
  if (!attrs) return mw_no_memory(node->ctx);
  if (size) memcpy(attrs, f->attrs, size);
  for (int i = 0; i < f->n_in; i++) {
    bool needed = needs & MW_NEEDS_IN(i < to->n_in ? i : to->n_in - 1);
    replace_input(node, i, needed ? f->in[i] : NULL, f->in_version[i]);
  }
  for (int j = 0; j < f->n_out; j++)
    replace_input(node, f->n_in + j, needs & MW_NEEDS_OUT(j) ? &f->out[j] : NULL, 0);
  bool saved = f->saves && (needs & MW_NEEDS_SAVED);
  replace_input(node, f->n_in + f->n_out, saved ? &f->out[f->n_out] : NULL, 0);
  change_entry(node, to, attrs);
  return MW_OK;
}

mw_status mw_node_refresh(mw_node *node) {
  mw_op_entry *to = mw_registry_find(node->ctx, node->entry->op.name);
  if (!to && node->kind == MW_BACKWARD && node->forward->entry != node->entry)
    return mw_set_error(node->ctx, "%s was replaced, and is gone now: build the expression again",
                        node->entry->op.name);
  if (!to) return MW_OK;
  return node->kind == MW_BACKWARD ? refresh_backward(node, to) : refresh_forward(node, to);
}

/* ---- programs that are kept by hand -------------------------------------------------------- */

static mw_status take_kernel(mw_program *p, mw_step *step, mw_op_entry *to, void *attrs) {
  const int n_slots = p->n_slots;
  const size_t bytes = step->scratch < 0 ? 0 : p->slots[step->scratch].bytes;
  mw_step new = *step;
  new.entry = to;
  new.call.op = &to->op;
  new.call.attrs = attrs;
  for (int a = 0; a < new.n_arrays; a++) new.arrays[a].data = NULL;
  if (mw_step_choose(p, &new)) {
    p->n_slots = n_slots;
    if (step->scratch >= 0) p->slots[step->scratch].bytes = bytes;
    return MW_FAILED;
  }
  free((void *)step->call.attrs);
  step->entry->refs--;
  to->refs++;
  *step = new;
  return MW_OK;
}

static mw_status refresh_step(mw_program *p, mw_step *step) {
  mw_op_entry *to = mw_registry_find(p->ctx, step->entry->op.name);
  if (!to) return MW_OK;
  mw_call *call = &step->call;
  const mw_op *old = &step->entry->op;
  mw_spec outs[MW_MAX_ARGS];
  existing it = {.ctx = p->ctx,
                 .entry = step->entry,
                 .attrs = call->attrs,
                 .n_in = call->n_in,
                 .n_out = call->n_out,
                 .in = calloc((size_t)call->n_in + 1, sizeof(mw_spec)),
                 .out = outs};
  if (!it.in) return mw_no_memory(p->ctx);
  for (int i = 0; i < call->n_in; i++) it.in[i] = call->in[i].spec;
  for (int j = 0; j < call->n_out; j++) outs[j] = call->out[j].spec;
  size_t saved = 0;
  void *attrs = attrs_for(&it, to, &saved);
  free(it.in);
  if (!attrs) return MW_FAILED;
  bool reads_saved = call->backward && (old->backward_needs & MW_NEEDS_SAVED);
  mw_status status = MW_OK;
  const unsigned places = p->commuted ? 0 : MW_RISING | MW_PICKS; /* see commute.c */
  if (((old->flags ^ to->op.flags) & ~places) || old->backward_needs != to->op.backward_needs ||
      (step->saved >= 0 ? p->slots[step->saved].bytes != saved : reads_saved && saved))
    status = misfit(&it, "keeps other things for its backward now");
  if (!status) status = take_kernel(p, step, to, attrs);
  if (status) free(attrs);
  return status;
}

mw_status mw_program_refresh(mw_program *p) {
  if (p->generation == p->ctx->generation) return MW_OK;
  for (int k = 0; k < p->n_steps; k++)
    if (p->steps[k].entry->retired && refresh_step(p, &p->steps[k])) return MW_FAILED;
  if (mw_regions_find(p)) return MW_FAILED;
  p->generation = p->ctx->generation;
  p->threads = 0; /* plan again before the next run */
  return MW_OK;
}
