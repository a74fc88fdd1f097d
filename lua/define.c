/* define.c: ops that are written in Lua:
 *
 *     mw.op {name = "swish", inputs = {"x"}, attrs = {{"beta", default = 1}},
 *            define = function(x, attrs) return x * mw.sigmoid(attrs.beta * x) end}
 *
 * A definition is a composition: `define` builds the result out of other ops, and derivatives of
 * every order follow. Or it has kernels: `forward`, `backward`, see kernel.c. It is an op like any
 * other: attributes checked, in mw, help and completion. */
#include <stdlib.h>
#include <string.h>

#include "../plugins/plugin.h"
#include "define.h"

static const char thread_key = 0; /* its address is the key in Lua's registry */

static void definition_free(void *owned) {
  definition *d = owned;
  if (d->caller->L &&
      lua_checkstack(d->thread, 1)) { /* its functions; the key has a place already */
    lua_pushnil(d->thread);
    lua_rawsetp(d->thread, LUA_REGISTRYINDEX, d);
  }
  for (int i = 0; i < d->n_texts; i++) free(d->texts[i]);
  face_caller_release(d->caller);
  free(d);
}

/* ---- reading the table: checked in Lua already, see lua/moonwalk/define.lua ---------------- */

/* The field of the table on top as a text of the definition's own, or NULL. */
static const char *text_field(lua_State *L, definition *d, const char *field) {
  const char *copy = NULL;
  if (lua_getfield(L, -1, field) == LUA_TSTRING) {
    if (d->n_texts < (int)(sizeof d->texts / sizeof *d->texts)) copy = strdup(lua_tostring(L, -1));
    if (!copy) luaL_error(L, "op: out of memory");
    d->texts[d->n_texts++] = (char *)(uintptr_t)copy;
  }
  lua_pop(L, 1);
  return copy;
}

static bool flag_field(lua_State *L, const char *field) {
  lua_getfield(L, -1, field);
  bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

static void read_args(lua_State *L, definition *d, const char *field, mw_arg *args) {
  lua_getfield(L, -1, field);
  luaL_checktype(L, -1, LUA_TTABLE);
  for (int i = 0; i < MW_MAX_ARGS && lua_rawgeti(L, -1, i + 1) == LUA_TTABLE; i++) {
    args[i].name = text_field(L, d, "name");
    args[i].doc = text_field(L, d, "doc");
    args[i].flags = (flag_field(L, "optional") ? MW_OPTIONAL : 0) |
                    (flag_field(L, "variadic") ? MW_VARIADIC : 0);
    lua_pop(L, 1);
    if (i + 1 == MW_MAX_ARGS) lua_pushnil(L);
  }
  lua_pop(L, 2);
}

static size_t read_type(const char *name, mw_attr_type *type) {
  static const struct {
    const char *name;
    mw_attr_type type;
    size_t size; /* rounded up, so that every field is aligned */
  } types[] = {
      {"int", MW_INT, 8},
      {"float", MW_FLOAT, 8},
      {"bool", MW_BOOLEAN, 8},
      {"choice", MW_CHOICE, 8},
      {"text", MW_TEXT, MW_MAX_TEXT},
      {"ints", MW_INTS, sizeof(mw_ints)},
      {"axis", MW_AXIS, 8},
      {"axes", MW_AXES, sizeof(mw_ints)},
  };
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (strcmp(types[i].name, name) != 0) continue;
    *type = types[i].type;
    return types[i].size;
  }
  return 0;
}

static void read_attrs(lua_State *L, definition *d) {
  size_t size = 0;
  lua_getfield(L, -1, "attrs");
  luaL_checktype(L, -1, LUA_TTABLE);
  int n = (int)lua_rawlen(L, -1);
  for (int i = 0; i < n && i < MOST_ATTRS; i++) {
    mw_attr *attr = &d->attrs[i];
    if (lua_rawgeti(L, -1, i + 1) != LUA_TTABLE)
      luaL_error(L, "op: attribute %d is no table", i + 1);
    attr->name = text_field(L, d, "name");
    attr->doc = text_field(L, d, "doc");
    attr->initial = text_field(L, d, "initial");
    attr->choices = text_field(L, d, "choices");
    attr->offset = size;
    const char *type = text_field(L, d, "type");
    size_t bytes = type ? read_type(type, &attr->type) : 0;
    if (!attr->name || !bytes) luaL_error(L, "op: attribute %d lacks its name or its type", i + 1);
    size += bytes;
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  if (n > 0) {
    d->op.attrs = d->attrs;
    d->op.attrs_size = size;
  }
}

/* ---- calling Lua --------------------------------------------------------------------------- */

static void push_list(lua_State *L, const mw_ints *list, bool axes) {
  lua_createtable(L, (int)list->count, 0);
  for (int i = 0; i < list->count; i++) {
    lua_pushinteger(L, list->at[i] + (axes && list->at[i] >= 0));
    lua_rawseti(L, -2, i + 1);
  }
}

static void push_choice(lua_State *L, const char *choices, int position) {
  for (; position > 0; position--) choices = strchr(choices, '|') + 1;
  lua_pushlstring(L, choices, strcspn(choices, "|"));
}

void face_push_attrs(lua_State *L, const mw_op *op, const char *attrs) {
  lua_newtable(L);
  for (const mw_attr *a = op->attrs; a && a->name; a++) {
    const void *field = attrs + a->offset;
    const int64_t *integer = field;
    switch (a->type) {
      case MW_INT: lua_pushinteger(L, *integer); break;
      case MW_AXIS: lua_pushinteger(L, *integer + (*integer >= 0)); break;
      case MW_FLOAT: lua_pushnumber(L, *(const double *)field); break;
      case MW_BOOLEAN: lua_pushboolean(L, *(const bool *)field); break;
      case MW_CHOICE: push_choice(L, a->choices, *(const int *)field); break;
      case MW_TEXT: lua_pushstring(L, field); break;
      case MW_INTS: push_list(L, field, false); break;
      case MW_AXES: push_list(L, field, true); break;
    }
    lua_setfield(L, -2, a->name);
  }
}

void face_push_tensor(lua_State *L, mw_tensor *t) {
  if (t) *face_push_empty(L) = mw_retain(t);
  else lua_pushnil(L);
}

void face_push_part(lua_State *L, const mw_op *op, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, op->data);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* define(inputs ..., attrs) -> outputs ...; runs protected, on a mw_build. */
static int call_define(lua_State *L) {
  mw_build *b = lua_touserdata(L, 1);
  luaL_checkstack(L, b->n_in + MW_MAX_ARGS + 8, NULL);
  face_push_part(L, b->op, "define");
  for (int i = 0; i < b->n_in; i++) face_push_tensor(L, b->in[i]);
  face_push_attrs(L, b->op, b->attrs);
  lua_call(L, b->n_in + 1, b->n_out);
  for (int j = 0; j < b->n_out; j++) {
    mw_tensor *t = face_test(L, -b->n_out + j);
    if (!t)
      return luaL_error(L, "define returns %s as %s, expected a tensor",
                        face_describe(L, -b->n_out + j), b->op->outputs[j].name);
    b->out[j] = mw_build_keep(b, mw_retain(t));
  }
  return 0;
}

static mw_status compose(mw_build *b) {
  const definition *d = b->op->data;
  return face_call_back(d->caller, b->host, b->context, call_define, b);
}

/* ---- registering --------------------------------------------------------------------------- */

static bool has(lua_State *L, const char *field) {
  bool found = lua_getfield(L, -1, field) != LUA_TNIL;
  lua_pop(L, 1);
  return found;
}

/* The functions of the table on top, and what it says of them. */
static void read_functions(lua_State *L, mw_op *op) {
  if (has(L, "define")) {
    op->compose = compose;
    op->flags = MW_VARIES;
    return;
  }
  op->infer = face_kernel_infer;
  op->forward = face_kernel_run;
  op->backward = has(L, "backward") ? face_kernel_run : NULL;
  op->gradient = has(L, "gradient") ? face_kernel_gradient : NULL;
  op->flags = (flag_field(L, "linear") ? MW_LINEAR : 0) |
              (flag_field(L, "impure") ? MW_IMPURE : 0) | (op->gradient ? MW_VARIES : 0);
  lua_getfield(L, -1, "backward_needs");
  op->backward_needs = (unsigned)lua_tointeger(L, -1);
  lua_pop(L, 1);
}

/* Reads the table at 1 into the definition at 2; an error leaves it to be freed. */
static int read_definition(lua_State *L) {
  definition *d = lua_touserdata(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  d->op = (mw_op){.version = 1, .data = d};
  d->op.name = text_field(L, d, "name");
  d->op.doc = text_field(L, d, "doc");
  d->op.example = text_field(L, d, "example");
  d->op.cases = text_field(L, d, "cases");
  read_args(L, d, "inputs", d->op.inputs);
  read_args(L, d, "outputs", d->op.outputs);
  read_attrs(L, d);
  read_functions(L, &d->op);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, d);
  return 0;
}

/* core.define(table, origin): the table as lua/moonwalk/define.lua has checked it */
static int core_define(lua_State *L) {
  const char *origin = face_check_text(L, 2, "op", "the origin");
  lua_State *thread = face_own_thread(L, &thread_key);
  lua_settop(L, 2);
  definition *d = calloc(1, sizeof *d);
  if (!d) return face_error(L, "op: out of memory");
  d->caller = face_caller(L);
  d->thread = thread;
  lua_pushcfunction(L, read_definition);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, d);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    definition_free(d);
    return lua_error(L);
  }
  if (!mw_plugin_add(face_context(L), origin, &d->op, d, definition_free)) return 0;
  definition_free(d);
  return face_raise(L);
}

static const luaL_Reg functions[] = {
    {"define", core_define},
    {NULL, NULL},
};

void face_open_define(lua_State *L) {
  face_open_view(L);
  luaL_setfuncs(L, functions, 0);
}
