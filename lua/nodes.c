/* nodes.c: core.node and core.failure: what a tensor is made of, and where something failed, as
 * tables. */
#include <stdlib.h>
#include <string.h>

#include "face.h"

/* ---- attributes -------------------------------------------------------------------------- */

static void push_axis(lua_State *L, int64_t axis) {
  lua_pushinteger(L, axis < 0 ? axis : axis + 1);
}

static void push_list(lua_State *L, const mw_attr *attr, const mw_ints *list) {
  lua_createtable(L, (int)list->count, 0);
  for (int i = 0; i < list->count; i++) {
    if (attr->type == MW_AXES) push_axis(L, list->at[i]);
    else lua_pushinteger(L, list->at[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

/* The word at a position in "mean|sum|none". */
static void push_choice(lua_State *L, const char *choices, int position) {
  for (; position > 0 && *choices; choices++) position -= *choices == '|';
  lua_pushlstring(L, choices, strcspn(choices, "|"));
}

static void push_value(lua_State *L, const mw_attr *attr, const void *field) {
  switch (attr->type) {
    case MW_INT: lua_pushinteger(L, *(const int64_t *)field); break;
    case MW_AXIS: push_axis(L, *(const int64_t *)field); break;
    case MW_FLOAT: lua_pushnumber(L, *(const double *)field); break;
    case MW_BOOLEAN: lua_pushboolean(L, *(const bool *)field); break;
    case MW_CHOICE: push_choice(L, attr->choices, *(const int *)field); break;
    case MW_TEXT: lua_pushlstring(L, field, strnlen(field, MW_MAX_TEXT)); break;
    case MW_INTS:
    case MW_AXES: push_list(L, attr, field); break;
  }
}

static void set_attributes(lua_State *L, const mw_tensor *t, const mw_node_info *node) {
  lua_newtable(L); /* attrs */
  lua_newtable(L); /* changed */
  for (const mw_attr *a = node->op->attrs; a && a->name; a++) {
    push_value(L, a, (const char *)node->attrs + a->offset);
    if (mw_node_attr_changed(t, a)) {
      lua_pushvalue(L, -1);
      lua_setfield(L, -3, a->name);
    }
    lua_setfield(L, -3, a->name);
  }
  lua_setfield(L, -3, "changed");
  lua_setfield(L, -2, "attrs");
  char *text = mw_node_attrs_text(t, false);
  if (!text) face_raise(L);
  face_set_text(L, "settings", text);
  free(text);
}

/* ---- nodes ------------------------------------------------------------------------------- */

/* What a backward reads: first the inputs of forward, its outputs, what it saved, then gradients. */
static const char *role_of(const mw_tensor *t, const mw_node_info *node, int i) {
  if (node->kind != MW_BACKWARD) return "input";
  const mw_node_info forward = mw_node_of(mw_node_forward_of(t));
  if (i < forward.n_in) return "input";
  i -= forward.n_in;
  return i < forward.n_out ? "output" : i == forward.n_out ? "saved" : "gradient";
}

static bool is_key(const mw_node_info *node, int i) {
  return node->kind == MW_FORWARD && i < face_declared(node->op->inputs) &&
         (node->op->inputs[i].flags & MW_KEY);
}

/* Sets `inputs`, and `saved` instead of the bytes that no one else may ask for. */
static void set_inputs(lua_State *L, const mw_tensor *t, const mw_node_info *node) {
  char name[MW_NAME_TEXT];
  bool saved = false;
  lua_newtable(L);
  for (int i = 0, n = 0; i < node->n_in; i++) {
    mw_tensor *input = mw_node_input(t, i);
    if (!input) continue;
    const char *role = is_key(node, i) ? "key" : role_of(t, node, i);
    if (strcmp(role, "saved") == 0) {
      saved = true;
      continue;
    }
    lua_createtable(L, 0, 3);
    face_set_tensor(L, "tensor", input);
    face_set_text(L, "name", mw_node_input_name(t, i, name));
    face_set_text(L, "role", role);
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "inputs");
  lua_pushboolean(L, saved);
  lua_setfield(L, -2, "saved");
}

static void push_outputs(lua_State *L, const mw_tensor *t, const mw_node_info *node) {
  char name[MW_NAME_TEXT];
  lua_newtable(L);
  for (int j = 0, n = 0; j < node->n_out; j++) {
    mw_tensor *output = mw_node_output(t, j);
    if (!output) continue;
    lua_createtable(L, 0, 3);
    face_set_tensor(L, "tensor", output);
    face_set_text(L, "name", mw_node_output_name(t, j, name));
    lua_pushinteger(L, j + 1);
    lua_setfield(L, -2, "output");
    lua_rawseti(L, -2, ++n);
  }
}

static void push_node(lua_State *L, mw_tensor *t) {
  static const char *const kinds[] = {[MW_CONSTANT] = "constant",
                                      [MW_PARAMETER] = "parameter",
                                      [MW_INPUT] = "input",
                                      [MW_FORWARD] = "op",
                                      [MW_BACKWARD] = "op"};
  const mw_node_info node = mw_node_of(t);
  luaL_checkstack(L, 8, NULL);
  lua_createtable(L, 0, 14);
  lua_pushinteger(L, (lua_Integer)node.id);
  lua_setfield(L, -2, "id");
  face_set_text(L, "kind", kinds[node.kind]);
  lua_pushboolean(L, node.kind == MW_BACKWARD);
  lua_setfield(L, -2, "backward");
  lua_pushinteger(L, node.output + 1);
  lua_setfield(L, -2, "output");
  face_set_text(L, "name", mw_tensor_name(t));
  face_set_text(L, "label", mw_tensor_op(t));
  face_set_text(L, "origin", mw_tensor_origin(t));
  set_inputs(L, t, &node);
  if (!node.op) return;
  face_set_text(L, "op", node.op->name);
  push_outputs(L, t, &node);
  lua_setfield(L, -2, "outputs");
  set_attributes(L, t, &node);
  if (node.kind == MW_BACKWARD) face_set_tensor(L, "forward", mw_node_forward_of(t));
}

/* core.node(t) -> what t is an output of: {id, kind, op, label, backward, name, origin, output,
 * inputs = {{name, role, tensor}, ...}, outputs = {{name, output, tensor}, ...}, attrs, changed,
 * settings, forward, saved}. Roles are "input", "key" of a random op, and of a backward "output" and
 * "gradient"; `changed` and `settings` have the attributes that are other than by default. Of a backward
 * `forward` is the first output of its node, and `saved` says whether it reads what that saves. */
static int core_node(lua_State *L) {
  push_node(L, face_check(L, 1, "node"));
  return 1;
}

/* core.uncomputed({y, ...}) -> copies of them, which have no values; see mw_uncomputed() */
static int core_uncomputed(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const int n = (int)lua_rawlen(L, 1);
  mw_tensor **tensors = lua_newuserdatauv(L, (size_t)n * sizeof *tensors + 1, 0);
  mw_tensor **copies = lua_newuserdatauv(L, (size_t)n * sizeof *copies + 1, 0);
  mw_tensor ***slots = lua_newuserdatauv(L, (size_t)n * sizeof *slots + 1, 0);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    tensors[i] = face_check(L, -1, "uncomputed");
    lua_pop(L, 1); /* the list keeps it */
    slots[i] = face_push_empty(L);
    lua_rawseti(L, -2, i + 1);
  }
  if (mw_uncomputed(face_context(L), n, tensors, copies)) return face_raise(L);
  for (int i = 0; i < n; i++) *slots[i] = copies[i];
  return 1;
}

/* core.keep_failures(on) -> what was set before */
static int core_keep_failures(lua_State *L) {
  lua_pushboolean(L, mw_failures_keep(face_context(L), lua_toboolean(L, 1)));
  return 1;
}

/* core.failure() -> the node of the last failure, with `message` and `of_gradient`; nil: there is
 * none. core.failure(false) forgets it. */
static int core_failure(lua_State *L) {
  mw_context *ctx = face_context(L);
  if (lua_isboolean(L, 1) && !lua_toboolean(L, 1)) {
    mw_failure_forget(ctx);
    return 0;
  }
  const mw_failure *failure = mw_failure_last(ctx);
  if (!failure) return 0;
  push_node(L, failure->at);
  face_set_text(L, "message", failure->message);
  lua_pushboolean(L, failure->of_gradient);
  lua_setfield(L, -2, "of_gradient");
  return 1;
}

static const luaL_Reg functions[] = {
    {"failure", core_failure},
    {"keep_failures", core_keep_failures},
    {"node", core_node},
    {"uncomputed", core_uncomputed},
    {NULL, NULL},
};

void face_open_nodes(lua_State *L) { luaL_setfuncs(L, functions, 0); }
