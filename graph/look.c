/* look.c: looking at a graph: what a tensor is made of, what messages call it, attributes as text. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* ---- tensors ------------------------------------------------------------------------------ */

mw_context *mw_tensor_context(const mw_tensor *t) { return t->node->ctx; }
const mw_spec *mw_tensor_spec(const mw_tensor *t) { return &t->spec; }
const char *mw_tensor_name(const mw_tensor *t) { return t->node->name ? t->node->name : ""; }
bool mw_tensor_is_parameter(const mw_tensor *t) { return t->node->kind == MW_PARAMETER; }
const void *mw_tensor_data(const mw_tensor *t) { return t->storage ? t->storage->data : NULL; }

const char *mw_tensor_origin(const mw_tensor *t) { return t->node->origin ? t->node->origin : ""; }
void mw_tensor_set_origin(mw_tensor *t, const char *origin) { t->node->origin = origin; }

mw_status mw_tensor_set_name(mw_tensor *t, const char *name) {
  if (!mw_is_leaf(t->node)) return mw_set_error(t->node->ctx, "only a leaf can have a name");
  char *copy = strdup(name ? name : "");
  if (!copy) return mw_no_memory(t->node->ctx);
  free(t->node->name);
  t->node->name = copy;
  return MW_OK;
}

const char *mw_tensor_op(const mw_tensor *t) {
  switch (t->node->kind) {
    case MW_CONSTANT: return "constant";
    case MW_PARAMETER: return "parameter";
    case MW_INPUT: return "input";
    case MW_BACKWARD: return t->node->entry->backward_name;
    case MW_FORWARD: break;
  }
  return t->node->entry->op.name;
}

/* ---- nodes -------------------------------------------------------------------------------- */

mw_node_info mw_node_of(const mw_tensor *t) {
  const mw_node *node = t->node;
  return (mw_node_info){.id = node->born,
                        .kind = node->kind,
                        .op = node->entry ? &node->entry->op : NULL,
                        .attrs = node->attrs,
                        .n_in = node->n_in,
                        .n_out = node->n_out,
                        .output = t->index};
}

mw_tensor *mw_node_input(const mw_tensor *t, int i) {
  return i >= 0 && i < t->node->n_in ? t->node->in[i] : NULL;
}

mw_tensor *mw_node_output(const mw_tensor *t, int j) {
  mw_node *node = t->node;
  return j >= 0 && j < node->n_out && mw_present(&node->out[j].spec) ? &node->out[j] : NULL;
}

mw_tensor *mw_node_forward_of(const mw_tensor *t) {
  return t->node->forward ? &t->node->forward->out[0] : NULL;
}

/* ---- names --------------------------------------------------------------------------------- */

const char *mw_input_text(const mw_op_entry *entry, int n_in, int i, char text[MW_NAME_TEXT]) {
  const int last = entry->n_in - 1;
  if (entry->variadic && i >= last && i < n_in)
    snprintf(text, MW_NAME_TEXT, "%s[%d]", entry->op.inputs[last].name, i - last + 1);
  else if (i <= last) snprintf(text, MW_NAME_TEXT, "%s", entry->op.inputs[i].name);
  else snprintf(text, MW_NAME_TEXT, "argument %d", i + 1); /* one that the op refused */
  return text;
}

const char *mw_node_input_name(const mw_tensor *t, int i, char text[MW_NAME_TEXT]) {
  const mw_node *node = t->node, *f = node->forward;
  text[0] = '\0';
  if (i < 0 || i >= node->n_in) return text;
  if (node->kind != MW_BACKWARD || i < f->n_in)
    return mw_input_text(node->entry, f ? f->n_in : node->n_in, i, text);
  i -= f->n_in;
  if (i == f->n_out) snprintf(text, MW_NAME_TEXT, "what %s saved", node->entry->op.name);
  else if (i < f->n_out) snprintf(text, MW_NAME_TEXT, "%s", node->entry->op.outputs[i].name);
  else
    snprintf(text, MW_NAME_TEXT, "the gradient of %s",
             node->entry->op.outputs[i - f->n_out - 1].name);
  return text;
}

const char *mw_node_output_name(const mw_tensor *t, int j, char text[MW_NAME_TEXT]) {
  const mw_node *node = t->node;
  char name[MW_NAME_TEXT];
  text[0] = '\0';
  if (j < 0 || j >= node->n_out || !node->entry) return text;
  if (node->kind == MW_BACKWARD)
    snprintf(text, MW_NAME_TEXT, "the gradient of %.*s", MW_NAME_TEXT - 32,
             mw_input_text(node->entry, node->forward->n_in, j, name));
  else snprintf(text, MW_NAME_TEXT, "%s", node->entry->op.outputs[j].name);
  return text;
}

/* ---- attributes ---------------------------------------------------------------------------- */

static const void *field_of(const void *attrs, const mw_attr *attr) {
  return (const char *)attrs + attr->offset;
}

/* Whether one number may stand for the list. */
static bool takes_one(const mw_attr *attr) {
  const char *lengths = attr->lengths;
  return attr->type == MW_INTS && lengths && lengths[0] == '1' &&
         (!lengths[1] || lengths[1] == '|');
}

static bool all_equal(const mw_ints *list) {
  for (int i = 1; i < list->count; i++)
    if (list->at[i] != list->at[0]) return false;
  return list->count > 0;
}

/* infer may have counted an axis from the front, and made a list out of one number. */
static bool same_axis(int64_t a, int64_t initial, int rank) {
  return a == initial || (initial < 0 && a == initial + rank) || (a < 0 && a + rank == initial);
}

static bool same_list(const mw_attr *attr, const mw_ints *a, const mw_ints *initial, int rank) {
  if (takes_one(attr) && all_equal(a) && all_equal(initial)) return a->at[0] == initial->at[0];
  if (a->count != initial->count) return false;
  for (int i = 0; i < a->count; i++)
    if (attr->type == MW_AXES ? !same_axis(a->at[i], initial->at[i], rank)
                              : a->at[i] != initial->at[i])
      return false;
  return true;
}

bool mw_node_attr_changed(const mw_tensor *t, const mw_attr *attr) {
  const mw_node *node = t->node->forward ? t->node->forward : t->node;
  if (!node->entry || !attr->initial) return node->entry != NULL;
  const void *a = field_of(node->attrs, attr), *initial = field_of(node->entry->defaults, attr);
  const int rank = node->n_in && node->in[0] ? node->in[0]->spec.rank : 0;
  switch (attr->type) {
    case MW_INT: return *(const int64_t *)a != *(const int64_t *)initial;
    case MW_AXIS: return !same_axis(*(const int64_t *)a, *(const int64_t *)initial, rank);
    case MW_FLOAT: {
      const double x = *(const double *)a, y = *(const double *)initial;
      return !(x == y || (x != x && y != y));
    }
    case MW_BOOLEAN: return *(const bool *)a != *(const bool *)initial;
    case MW_CHOICE: return *(const int *)a != *(const int *)initial;
    case MW_TEXT: return strncmp(a, initial, MW_MAX_TEXT) != 0;
    case MW_INTS:
    case MW_AXES: return !same_list(attr, a, initial, rank);
  }
  return false;
}

typedef struct writer {
  char *at;
  size_t used, room;
} writer;

static void MW_PRINTF(2, 3) put(writer *w, const char *format, ...) {
  if (w->used >= w->room) return;
  va_list args;
  va_start(args, format);
  const int n = vsnprintf(w->at + w->used, w->room - w->used, format, args);
  va_end(args);
  if (n > 0) w->used += (size_t)n;
}

static void put_axis(writer *w, const mw_context *ctx, int64_t axis) {
  put(w, "%lld", (long long)(axis < 0 ? axis : axis + ctx->first_axis));
}

static void put_list(writer *w, const mw_context *ctx, const mw_attr *attr, const mw_ints *list) {
  if (takes_one(attr) && all_equal(list)) {
    put(w, "%lld", (long long)list->at[0]);
    return;
  }
  put(w, "{");
  for (int i = 0; i < list->count; i++) {
    if (i) put(w, ",");
    if (attr->type == MW_AXES) put_axis(w, ctx, list->at[i]);
    else put(w, "%lld", (long long)list->at[i]);
  }
  put(w, "}");
}

/* The word at a position in "mean|sum|none". */
static void put_choice(writer *w, const char *choices, int position) {
  for (; position > 0 && *choices; choices++) position -= *choices == '|';
  put(w, "%.*s", (int)strcspn(choices, "|"), choices);
}

static void put_value(writer *w, const mw_context *ctx, const mw_attr *attr, const void *field) {
  switch (attr->type) {
    case MW_INT: put(w, "%lld", (long long)*(const int64_t *)field); break;
    case MW_AXIS: put_axis(w, ctx, *(const int64_t *)field); break;
    case MW_FLOAT: put(w, "%.6g", *(const double *)field); break;
    case MW_BOOLEAN: put(w, "%s", *(const bool *)field ? "true" : "false"); break;
    case MW_CHOICE: put_choice(w, attr->choices, *(const int *)field); break;
    case MW_TEXT: put(w, "\"%.*s\"", MW_MAX_TEXT, (const char *)field); break;
    case MW_INTS:
    case MW_AXES: put_list(w, ctx, attr, field); break;
  }
}

/* An attribute takes its name and at most the longest list, MW_MAX_INTS numbers of 20 digits. */
char *mw_node_attrs_text(const mw_tensor *t, bool all) {
  enum { MOST = MW_MAX_INTS * 21 + MW_MAX_TEXT };
  const mw_node *node = t->node;
  const mw_attr *first = node->entry ? node->entry->op.attrs : NULL;
  writer w = {.room = 1};
  for (const mw_attr *a = first; a && a->name; a++) w.room += MOST + strlen(a->name);
  w.at = malloc(w.room);
  if (!w.at) {
    mw_no_memory(node->ctx);
    return NULL;
  }
  w.at[0] = '\0';
  for (const mw_attr *a = first; a && a->name; a++) {
    if (!all && !mw_node_attr_changed(t, a)) continue;
    put(&w, "%s%s ", w.used ? ", " : "", a->name);
    put_value(&w, node->ctx, a, field_of(node->attrs, a));
  }
  return w.at;
}
