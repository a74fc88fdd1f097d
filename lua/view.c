/* view.c: the buffers of a kernel as Lua sees them: x[i], x[{i, j}], #x, x.shape. Each access is
 * checked, inputs can only be read, and after the call a view is dead. */
#include <stdlib.h>
#include <string.h>

#include "define.h"

#define VIEW "moonwalk.view"

typedef struct view {
  const bool *alive; /* in the userdata of the call, which is the view's user value */
  mw_array array;
  const char *name; /* of the input or output; like the bytes, there until the call is over */
  bool writable;
} view;

bool *face_push_call(lua_State *L) {
  bool *alive = lua_newuserdatauv(L, sizeof *alive, 0);
  *alive = true;
  return alive;
}

void face_push_view(lua_State *L, int call, const mw_array *array, const char *name,
                    bool writable) {
  view *v = lua_newuserdatauv(L, sizeof *v, 1);
  *v = (view){lua_touserdata(L, call), *array, name, writable};
  lua_pushvalue(L, call);
  lua_setiuservalue(L, -2, 1);
  luaL_setmetatable(L, VIEW);
}

/* ---- places ------------------------------------------------------------------------------- */

static const view *check_view(lua_State *L) {
  const view *v = luaL_checkudata(L, 1, VIEW);
  if (!*v->alive) luaL_error(L, "a buffer is used after its kernel has returned");
  return v;
}

/* For a message; it stays on the stack. */
static const char *spec_of(lua_State *L, const view *v) {
  char text[MW_SPEC_TEXT];
  return lua_pushstring(L, mw_spec_text(&v->array.spec, text));
}

static const view *check_writable(lua_State *L) {
  const view *v = check_view(L);
  if (!v->writable) luaL_error(L, "%s is read only: a kernel writes what it returns", v->name);
  return v;
}

/* The element that the number at index names, counted from 1 in row-major order. */
static int64_t flat_place(lua_State *L, const view *v, int index) {
  int whole;
  lua_Integer i = lua_tointegerx(L, index, &whole);
  if (!whole || i < 1 || i > v->array.count)
    luaL_error(L, "%s[%s] is out of range: %s is %s, with %I elements", v->name,
               luaL_tolstring(L, index, NULL), v->name, spec_of(L, v), (lua_Integer)v->array.count);
  return i - 1;
}

/* Adds an index along an axis to a place, both of which count from 1 in messages. */
static int64_t axis_place(lua_State *L, const view *v, int axis, int64_t place) {
  const int64_t size = v->array.spec.shape[axis];
  int whole;
  const int index = lua_gettop(L);
  lua_Integer i = lua_tointegerx(L, index, &whole);
  if (!whole || i < 1 || i > size)
    luaL_error(L, "index %s of axis %d is out of range: %s is %s", luaL_tolstring(L, index, NULL),
               axis + 1, v->name, spec_of(L, v));
  return place * size + i - 1;
}

static void check_rank(lua_State *L, const view *v, int n) {
  if (n != v->array.spec.rank)
    luaL_error(L, "%s has %d indices, but it is %s", v->name, n, spec_of(L, v));
}

/* x[{i, j}]: the element that the table at index names. */
static int64_t table_place(lua_State *L, const view *v, int index) {
  int64_t place = 0;
  check_rank(L, v, (int)lua_rawlen(L, index));
  for (int k = 0; k < v->array.spec.rank; k++, lua_pop(L, 1)) {
    lua_rawgeti(L, index, k + 1);
    place = axis_place(L, v, k, place);
  }
  return place;
}

/* x:get(i, j): the element that the n arguments from 2 on name. */
static int64_t argument_place(lua_State *L, const view *v, int n) {
  int64_t place = 0;
  check_rank(L, v, n);
  for (int k = 0; k < n; k++, lua_pop(L, 1)) {
    lua_pushvalue(L, 2 + k);
    place = axis_place(L, v, k, place);
  }
  return place;
}

static void store(lua_State *L, const view *v, int64_t place, int index) {
  const char *expected = face_store(L, index, v->array.spec.dtype, v->array.data, place);
  if (expected)
    luaL_error(L, "%s[%I] is set to %s, expected %s for %s", v->name, (lua_Integer)place + 1,
               face_describe(L, index), expected, spec_of(L, v));
}

/* ---- methods ------------------------------------------------------------------------------ */

/* x:get(i, j, ...) */
static int view_get(lua_State *L) {
  const view *v = check_view(L);
  const int64_t place = argument_place(L, v, lua_gettop(L) - 1);
  face_push_element(L, v->array.spec.dtype, v->array.data, place);
  return 1;
}

/* y:set(i, j, ..., value) */
static int view_set(lua_State *L) {
  const view *v = check_writable(L);
  if (lua_gettop(L) < 2) return luaL_error(L, "%s:set is given no value", v->name);
  store(L, v, argument_place(L, v, lua_gettop(L) - 2), lua_gettop(L));
  return 0;
}

/* y:fill(value) */
static int view_fill(lua_State *L) {
  const view *v = check_writable(L);
  const size_t size = mw_dtype_size(v->array.spec.dtype);
  if (!v->array.count) return 0;
  store(L, v, 0, 2);
  for (int64_t i = 1; i < v->array.count; i++)
    memcpy((char *)v->array.data + (size_t)i * size, v->array.data, size);
  return 0;
}

/* y:copy(t): t is a tensor, which is computed, or another buffer, of the same dtype and shape */
static int view_copy(lua_State *L) {
  const view *v = check_writable(L), *other = luaL_testudata(L, 2, VIEW);
  mw_tensor *t = face_test(L, 2);
  if (other && !*other->alive)
    return luaL_error(L, "a buffer is used after its kernel has returned");
  const mw_spec *given = other ? &other->array.spec : t ? mw_tensor_spec(t) : NULL;
  if (!given || !mw_spec_equal(given, &v->array.spec))
    return luaL_error(L, "%s:copy is given %s, expected %s", v->name,
                      other ? spec_of(L, other) : face_describe(L, 2), spec_of(L, v));
  const void *bytes = other ? other->array.data : face_data(L, t);
  if (v->array.count) memmove(v->array.data, bytes, mw_spec_bytes(given));
  return 0;
}

/* x:tensor(): a copy, which stays */
static int view_tensor(lua_State *L) {
  const view *v = check_view(L);
  face_push(L, mw_constant(face_context(L), &v->array.spec, v->array.data));
  return 1;
}

static void push_shape(lua_State *L, const mw_spec *spec) {
  lua_createtable(L, spec->rank, 0);
  for (int k = 0; k < spec->rank; k++) {
    lua_pushinteger(L, spec->shape[k]);
    lua_rawseti(L, -2, k + 1);
  }
}

/* ---- x[i] ----------------------------------------------------------------------------------- */

/* A field or a method; the first upvalue is the table of methods. */
static int push_field(lua_State *L, const view *v) {
  const char *key = lua_tostring(L, 2);
  if (strcmp(key, "shape") == 0) return push_shape(L, &v->array.spec), 1;
  if (strcmp(key, "dtype") == 0) return lua_pushstring(L, mw_dtype_name(v->array.spec.dtype)), 1;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  return luaL_error(L,
                    "%s is a buffer, which has no '%s'; it has shape, dtype, get, set, fill, copy "
                    "and tensor",
                    v->name, key);
}

static int view_index(lua_State *L) {
  const view *v = check_view(L);
  const int type = lua_type(L, 2);
  if (type == LUA_TSTRING) return push_field(L, v);
  const int64_t place = type == LUA_TTABLE ? table_place(L, v, 2) : flat_place(L, v, 2);
  face_push_element(L, v->array.spec.dtype, v->array.data, place);
  return 1;
}

static int view_newindex(lua_State *L) {
  const view *v = check_writable(L);
  store(L, v, lua_type(L, 2) == LUA_TTABLE ? table_place(L, v, 2) : flat_place(L, v, 2), 3);
  return 0;
}

static int view_len(lua_State *L) {
  lua_pushinteger(L, check_view(L)->array.count);
  return 1;
}

static int view_tostring(lua_State *L) {
  const view *v = luaL_checkudata(L, 1, VIEW);
  if (*v->alive) lua_pushfstring(L, "buffer %s %s", v->name, spec_of(L, v));
  else lua_pushliteral(L, "buffer of a kernel that has returned");
  return 1;
}

void face_open_view(lua_State *L) {
  static const luaL_Reg methods[] = {{"get", view_get},       {"set", view_set},
                                     {"fill", view_fill},     {"copy", view_copy},
                                     {"tensor", view_tensor}, {NULL, NULL}};
  static const luaL_Reg events[] = {{"__newindex", view_newindex},
                                    {"__len", view_len},
                                    {"__tostring", view_tostring},
                                    {NULL, NULL}};
  luaL_newmetatable(L, VIEW);
  luaL_setfuncs(L, events, 0);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, view_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, VIEW);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
