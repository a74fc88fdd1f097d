/* registry.c: what is registered, as Lua tables: ops with their schemas, kernels, and the choice
 * among them. */
#include <stdlib.h>
#include <string.h>

#include "face.h"

void face_push_spec(lua_State *L, const mw_spec *spec) {
  if (!mw_present(spec)) {
    lua_pushnil(L);
    return;
  }
  lua_createtable(L, 0, 3);
  lua_createtable(L, spec->rank, 0);
  for (int k = 0; k < spec->rank; k++) {
    lua_pushinteger(L, spec->shape[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "shape");
  lua_pushstring(L, mw_dtype_name(spec->dtype));
  lua_setfield(L, -2, "dtype");
  lua_pushinteger(L, mw_spec_count(spec));
  lua_setfield(L, -2, "count");
}

static void set_flag(lua_State *L, const char *key, bool flag) {
  lua_pushboolean(L, flag);
  lua_setfield(L, -2, key);
}

static void push_args(lua_State *L, const mw_arg *args) {
  int n = face_declared(args);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    lua_createtable(L, 0, 5);
    face_set_text(L, "name", args[i].name);
    face_set_text(L, "doc", args[i].doc);
    set_flag(L, "optional", args[i].flags & MW_OPTIONAL);
    set_flag(L, "variadic", args[i].flags & MW_VARIADIC);
    set_flag(L, "key", args[i].flags & MW_KEY);
    lua_rawseti(L, -2, i + 1);
  }
}

/* The parts of "mean|sum|none" */
static void push_choices(lua_State *L, const char *choices) {
  lua_newtable(L);
  for (int i = 1; choices; i++) {
    const char *end = strchr(choices, '|');
    lua_pushlstring(L, choices, end ? (size_t)(end - choices) : strlen(choices));
    lua_rawseti(L, -2, i);
    choices = end ? end + 1 : NULL;
  }
}

/* A default of axes as Lua counts them: "0,-1" becomes "1,-1". */
static void push_axes(lua_State *L, const char *text) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  while (*text) {
    char *end;
    long long axis = strtoll(text, &end, 10);
    if (end == text) break;
    lua_pushinteger(L, axis >= 0 ? axis + 1 : axis);
    luaL_addvalue(&buffer);
    if (*end) luaL_addchar(&buffer, *end++);
    text = end;
  }
  luaL_pushresult(&buffer);
}

static void push_attr(lua_State *L, const mw_attr *attr) {
  static const char *const types[] = {
      [MW_INT] = "int",   [MW_FLOAT] = "float", [MW_BOOLEAN] = "bool", [MW_CHOICE] = "choice",
      [MW_TEXT] = "text", [MW_INTS] = "ints",   [MW_AXIS] = "axis",    [MW_AXES] = "axes",
  };
  lua_createtable(L, 0, 9);
  face_set_text(L, "name", attr->name);
  face_set_text(L, "doc", attr->doc);
  face_set_text(L, "type", types[attr->type]);
  set_flag(L, "required", !attr->initial);
  if (attr->initial && (attr->type == MW_AXIS || attr->type == MW_AXES)) {
    push_axes(L, attr->initial);
    lua_setfield(L, -2, "default");
  } else {
    face_set_text(L, "default", attr->initial);
  }
  if (attr->choices) {
    push_choices(L, attr->choices);
    lua_setfield(L, -2, "choices");
  }
  if (attr->lengths) {
    push_choices(L, attr->lengths);
    lua_setfield(L, -2, "lengths");
  }
  if (attr->least != 0 || attr->most != 0) {
    lua_pushnumber(L, attr->least);
    lua_setfield(L, -2, "least");
    lua_pushnumber(L, attr->most);
    lua_setfield(L, -2, "most");
  }
}

/* The example and then the cases, each a Lua expression. */
static void push_cases(lua_State *L, const mw_op *op) {
  lua_newtable(L);
  lua_pushstring(L, op->example);
  lua_rawseti(L, -2, 1);
  int n = 1;
  for (const char *at = op->cases; at && *at;) {
    size_t length = strcspn(at, "\n");
    if (length) {
      lua_pushlstring(L, at, length);
      lua_rawseti(L, -2, ++n);
    }
    at += length + (at[length] != '\0');
  }
}

static void push_op_info(lua_State *L, const mw_op *op) {
  const bool composed = op->compose || op->formula;
  lua_createtable(L, 0, 16);
  face_set_text(L, "name", op->name);
  face_set_text(L, "doc", op->doc);
  face_set_text(L, "example", op->example);
  push_cases(L, op);
  lua_setfield(L, -2, "cases");
  face_set_text(L, "formula", op->formula);
  lua_newtable(L);
  for (int i = 0; i < MW_MAX_ARGS && op->inputs[i].name; i++)
    face_set_text(L, op->inputs[i].name, op->derivative[i]);
  lua_setfield(L, -2, "derivative");
  set_flag(L, "composed", composed);
  set_flag(L, "linear", op->flags & MW_LINEAR);
  set_flag(L, "elementwise", op->flags & MW_ELEMENTWISE);
  set_flag(L, "in_place", op->flags & (MW_INPLACE | MW_INPLACE_EACH));
  set_flag(L, "batched", op->batched);
  set_flag(L, "rises", op->flags & MW_RISING);
  set_flag(L, "picks", op->flags & MW_PICKS);
  lua_pushinteger(L, op->version);
  lua_setfield(L, -2, "version");
  set_flag(L, "differentiable", composed || op->backward || op->gradient);
  set_flag(L, "twice", composed || op->gradient || (op->backward && (op->flags & MW_LINEAR)));
  push_args(L, op->inputs);
  lua_setfield(L, -2, "inputs");
  push_args(L, op->outputs);
  lua_setfield(L, -2, "outputs");
  lua_newtable(L);
  for (const mw_attr *a = op->attrs; a && a->name; a++) {
    push_attr(L, a);
    lua_rawseti(L, -2, a - op->attrs + 1);
  }
  lua_setfield(L, -2, "attrs");
}

/* core.ops() -> {name = {name, version, doc, example, inputs, outputs, attrs, ...}} */
static int core_ops(lua_State *L) {
  mw_context *ctx = face_context(L);
  int n = mw_op_count(ctx);
  lua_createtable(L, 0, n);
  for (int i = 0; i < n; i++) {
    const mw_op *op = mw_op_at(ctx, i);
    push_op_info(L, op);
    lua_setfield(L, -2, op->name);
  }
  return 1;
}

/* core.op_info(name) -> the same for one op, or nil */
static int core_op_info(lua_State *L) {
  size_t length = 0;
  const char *name = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &length) : "";
  const mw_op *op = mw_op_find(face_context(L), name);
  if (!op || strlen(name) != length) return 0;
  push_op_info(L, op);
  return 1;
}

/* core.kernel_prefer(op, kernel?): programs compiled from now on take that kernel where it can */
static int core_kernel_prefer(lua_State *L) {
  const char *op = face_check_op(L, 1, "kernel_prefer")->name;
  const char *kernel =
      lua_isnoneornil(L, 2) ? NULL : face_check_text(L, 2, "kernel_prefer", "the kernel");
  if (mw_kernel_prefer(face_context(L), op, kernel)) return face_raise(L);
  return 0;
}

/* core.kernel_list(op) -> a line for each kernel: name, dtype, place */
static int core_kernel_list(lua_State *L) {
  const char *op = face_check_op(L, 1, "kernel_list")->name;
  char *text = mw_kernel_list(face_context(L), op);
  if (!text) return face_raise(L);
  lua_pushstring(L, text);
  free(text);
  return 1;
}

/* core.tune(mode, file?, budget): mode is "off", "pinned" or "measure" */
static int core_tune(lua_State *L) {
  static const char *const modes[] = {"off", "pinned", "measure", NULL};
  const int mode = luaL_checkoption(L, 1, NULL, modes);
  const char *file = lua_isnoneornil(L, 2) ? NULL : face_check_text(L, 2, "tune", "the file");
  const mw_tuning tuning = {
      .mode = (mw_tune_mode)mode, .file = file, .budget = luaL_optnumber(L, 3, 0)};
  if (mw_tune(face_context(L), &tuning)) return face_raise(L);
  return 0;
}

/* core.tuned() -> the table as text, and what there is to say of its file */
static int core_tuned(lua_State *L) {
  mw_context *ctx = face_context(L);
  char *text = mw_tune_table(ctx);
  if (!text) return face_raise(L);
  lua_pushstring(L, text);
  free(text);
  lua_pushstring(L, mw_tune_note(ctx));
  return 2;
}

static const luaL_Reg functions[] = {
    {"kernel_list", core_kernel_list},
    {"kernel_prefer", core_kernel_prefer},
    {"op_info", core_op_info},
    {"ops", core_ops},
    {"tune", core_tune},
    {"tuned", core_tuned},
    {NULL, NULL},
};

void face_open_registry(lua_State *L) { luaL_setfuncs(L, functions, 0); }
