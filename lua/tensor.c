/* tensor.c: the Lua type of tensors: its userdata, elements, leaves, fields, and indexing. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

/* ---- the userdata ------------------------------------------------------------------------ */

/* Known by its tag, which takes less than to ask for its metatable. */
typedef struct box {
  const void *tag;
  mw_tensor *tensor; /* NULL: not filled in yet, or collected */
} box;

static const char tag = 0, metatable_key = 0; /* their addresses are what they are for */

static box *to_box(lua_State *L, int index) {
  box *b = lua_rawlen(L, index) == sizeof *b ? lua_touserdata(L, index) : NULL;
  return b && b->tag == &tag ? b : NULL;
}

mw_tensor **face_push_empty(lua_State *L) {
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (box){.tag = &tag};
  lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_key);
  lua_setmetatable(L, -2);
  return &b->tensor;
}

mw_tensor **face_push_empty_like(lua_State *L, int index) {
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (box){.tag = &tag};
  if (!lua_getmetatable(L, index)) lua_pushnil(L); /* debug.setmetatable() takes it away */
  lua_setmetatable(L, -2);
  return &b->tensor;
}

void face_set_tensor(lua_State *L, const char *key, mw_tensor *t) {
  mw_tensor **slot = face_push_empty(L);
  *slot = mw_retain(t);
  lua_setfield(L, -2, key);
}

void face_set_text(lua_State *L, const char *key, const char *text) {
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

mw_tensor *face_test(lua_State *L, int index) {
  const box *b = to_box(L, index);
  return b ? b->tensor : NULL;
}

mw_tensor *const *face_test_place(lua_State *L, int index) {
  const box *b = to_box(L, index);
  return b ? &b->tensor : NULL;
}

mw_tensor *face_check(lua_State *L, int index, const char *function) {
  mw_tensor *t = face_test(L, index);
  if (!t && to_box(L, index))
    face_error(L, "%s: argument %d is a tensor that was collected", function, index);
  if (!t)
    face_error(L, "%s: argument %d is %s, expected a tensor", function, index,
               face_describe(L, index));
  return t;
}

const void *face_data(lua_State *L, mw_tensor *t) {
  const void *data = mw_tensor_data(t);
  if (data) return data;
  if (mw_eval(face_context(L), 1, &t)) face_raise(L);
  face_settle(L);
  return mw_tensor_data(t);
}

/* What a box held that Lua has freed. Other userdata of the size may be in the same place later. */
static mw_tensor *box_freed(void *payload) {
  box *b = payload;
  if (b->tag != &tag) return NULL;
  b->tag = NULL;
  return b->tensor;
}

/* A finalizer, where the state's allocator does not show what was freed. It takes Lua longer than all
 * else that becomes of a box, and keeps what is dead for another collection. */
static int tensor_gc(lua_State *L) {
  box *b = to_box(L, 1);
  if (!b) return 0;
  mw_tensor *t = b->tensor;
  b->tensor = NULL;
  mw_release(t);
  return 0;
}

/* ---- elements ---------------------------------------------------------------------------- */

const char *face_store(lua_State *L, int index, mw_dtype dtype, void *data, int64_t i) {
  if (dtype == MW_BOOL && lua_isboolean(L, index)) {
    ((uint8_t *)data)[i] = (uint8_t)lua_toboolean(L, index);
    return NULL;
  }
  if (lua_type(L, index) != LUA_TNUMBER) return dtype == MW_BOOL ? "true or false" : "a number";
  if (dtype == MW_F32) return ((float *)data)[i] = (float)lua_tonumber(L, index), NULL;
  if (dtype == MW_F64) return ((double *)data)[i] = lua_tonumber(L, index), NULL;
  int integral;
  lua_Integer n = lua_tointegerx(L, index, &integral);
  if (!integral) return "an integer";
  switch (dtype) {
    case MW_I64: ((int64_t *)data)[i] = n; return NULL;
    case MW_I32:
      if (n < INT32_MIN || n > INT32_MAX) return "an integer of 32 bits";
      ((int32_t *)data)[i] = (int32_t)n;
      return NULL;
    case MW_U8:
      if (n < 0 || n > UINT8_MAX) return "an integer from 0 to 255";
      ((uint8_t *)data)[i] = (uint8_t)n;
      return NULL;
    default:
      if (n < 0 || n > 1) return "true or false";
      ((uint8_t *)data)[i] = (uint8_t)n;
      return NULL;
  }
}

void face_push_element(lua_State *L, mw_dtype dtype, const void *data, int64_t i) {
  switch (dtype) {
    case MW_F32: lua_pushnumber(L, (double)((const float *)data)[i]); break;
    case MW_F64: lua_pushnumber(L, ((const double *)data)[i]); break;
    case MW_I32: lua_pushinteger(L, ((const int32_t *)data)[i]); break;
    case MW_I64: lua_pushinteger(L, ((const int64_t *)data)[i]); break;
    case MW_U8: lua_pushinteger(L, ((const uint8_t *)data)[i]); break;
    default: lua_pushboolean(L, ((const uint8_t *)data)[i]); break;
  }
}

/* ---- reading arguments ------------------------------------------------------------------- */

static const char *next_dtype(const void *state, int i) {
  (void)state;
  return i <= MW_BOOL - MW_F32 ? mw_dtype_name((mw_dtype)(MW_F32 + i)) : NULL;
}

const char *face_near_dtype(const char *name) {
  static const char *const elsewhere[][2] = {
      {"float32", "f32"}, {"float", "f32"}, {"single", "f32"}, {"float64", "f64"},
      {"double", "f64"},  {"int32", "i32"}, {"int", "i32"},    {"int64", "i64"},
      {"long", "i64"},    {"uint8", "u8"},  {"byte", "u8"},    {"boolean", "bool"},
  };
  for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
    if (strcmp(name, elsewhere[i][0]) == 0) return elsewhere[i][1];
  return mw_near(name, next_dtype, NULL);
}

mw_dtype face_dtype(lua_State *L, int index, mw_dtype fallback) {
  if (lua_isnoneornil(L, index)) return fallback;
  size_t length;
  const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
  mw_dtype dtype = name && strlen(name) == length ? mw_dtype_named(name) : MW_NONE;
  if (dtype == MW_NONE && lua_isinteger(L, index))
    face_error(L, "dtype is %s, expected a string; a shape is one table, such as {2, 3}",
               face_describe(L, index));
  const char *near = name ? face_near_dtype(name) : NULL;
  if (dtype == MW_NONE)
    face_error(L, "dtype is %s, expected 'f32', 'f64', 'i32', 'i64', 'u8' or 'bool'%s%s%s",
               face_describe(L, index), near ? "; did you mean '" : "", near ? near : "",
               near ? "'?" : "");
  return dtype;
}

/* The size at the top of the stack, as the next one of the spec. */
static void read_size(lua_State *L, mw_spec *spec) {
  int integral = 0;
  lua_Integer size = 0;
  if (lua_type(L, -1) == LUA_TNUMBER) size = lua_tointegerx(L, -1, &integral);
  if (!integral || size < 0)
    face_error(L, "size %d of the shape is %s, expected an integer of 0 or more", spec->rank + 1,
               face_describe(L, -1));
  spec->shape[spec->rank++] = size;
}

mw_spec face_shape(lua_State *L, int index, mw_dtype dtype) {
  mw_spec spec = mw_spec_of(dtype, 0, NULL);
  index = lua_absindex(L, index);
  if (lua_type(L, index) == LUA_TNUMBER) {
    lua_pushvalue(L, index);
    read_size(L, &spec);
    lua_pop(L, 1);
  } else if (lua_istable(L, index)) {
    lua_Unsigned rank = lua_rawlen(L, index);
    if (rank > MW_MAX_RANK)
      face_error(L, "the shape has %d sizes, at most %d are possible",
                 rank > 1000 ? 1000 : (int)rank, MW_MAX_RANK);
    for (lua_Unsigned i = 1; i <= rank; i++) {
      lua_rawgeti(L, index, (lua_Integer)i);
      read_size(L, &spec);
      lua_pop(L, 1);
    }
  } else {
    face_error(L, "the shape is %s, expected a table such as {2, 3}", face_describe(L, index));
  }
  int64_t bytes = (int64_t)mw_dtype_size(dtype);
  for (int i = 0; i < spec.rank; i++) {
    int64_t size = spec.shape[i] ? spec.shape[i] : 1;
    char text[MW_SPEC_TEXT];
    if (__builtin_mul_overflow(bytes, size, &bytes))
      face_error(L, "the shape %s is too large to address", mw_spec_text(&spec, text));
  }
  return spec;
}

/* ---- leaves ------------------------------------------------------------------------------ */

static const char *optional_name(lua_State *L, int index, const char *function) {
  return lua_isnoneornil(L, index) ? NULL : face_check_text(L, index, function, "name");
}

/* core.param(value, name?): a parameter that starts with the value of a tensor or a table. */
static int tensor_param(lua_State *L) {
  const char *name = optional_name(L, 2, "param");
  if (!face_test(L, 1)) {
    face_push_nested(L, 1, MW_NONE);
    lua_replace(L, 1);
  }
  mw_tensor *from = face_check(L, 1, "param");
  const void *data = face_data(L, from);
  face_push(L, mw_parameter(face_context(L), mw_tensor_spec(from), data, name));
  return 1;
}

/* core.input(shape, dtype?, name?): a leaf that core.feed gives its value */
static int tensor_input(lua_State *L) {
  mw_spec spec = face_shape(L, 1, face_dtype(L, 2, MW_F32));
  face_push(L, mw_input(face_context(L), &spec, optional_name(L, 3, "input")));
  return 1;
}

/* core.feed(leaf, value): copies the value of a tensor of the same spec into a leaf. */
static int tensor_feed(lua_State *L) {
  mw_tensor *leaf = face_check(L, 1, "feed"), *value = face_check(L, 2, "feed");
  const mw_spec *spec = mw_tensor_spec(leaf);
  char a[MW_SPEC_TEXT], b[MW_SPEC_TEXT];
  if (!mw_spec_equal(spec, mw_tensor_spec(value)))
    return face_error(L, "feed: the value is %s, expected %s",
                      mw_spec_text(mw_tensor_spec(value), a), mw_spec_text(spec, b));
  if (mw_spec_count(spec) == 0) return 0;
  const void *from = face_data(L, value);
  void *to = mw_leaf_write(leaf);
  if (!to) return face_raise(L);
  if (to != from) memcpy(to, from, mw_spec_bytes(spec));
  return 0;
}

/* core.set_scalars({leaf, ...}, {number, ...}) */
static int tensor_set_scalars(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer n = (lua_Integer)lua_rawlen(L, 1);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 1, i);
    lua_rawgeti(L, 2, i);
    mw_tensor *leaf = face_check(L, -2, "set_scalars");
    const mw_spec *spec = mw_tensor_spec(leaf);
    if (spec->rank != 0) return face_error(L, "set_scalars: leaf %lld is no scalar", (long long)i);
    void *to = mw_leaf_write(leaf);
    if (!to) return face_raise(L);
    const char *expected = face_store(L, -1, spec->dtype, to, 0);
    if (expected)
      return face_error(L, "set_scalars: number %lld is %s, expected %s", (long long)i,
                        face_describe(L, -1), expected);
    lua_pop(L, 2);
  }
  return 0;
}

static int tensor_name(lua_State *L) {
  lua_pushstring(L, mw_tensor_name(face_check(L, 1, "name")));
  return 1;
}

/* core.spec(t) -> "f32[2,3]" */
static int tensor_spec(lua_State *L) {
  char text[MW_SPEC_TEXT];
  lua_pushstring(L, mw_spec_text(mw_tensor_spec(face_check(L, 1, "spec")), text));
  return 1;
}

/* core.computed(t) -> whether its value is there */
static int tensor_computed(lua_State *L) {
  lua_pushboolean(L, mw_tensor_data(face_check(L, 1, "computed")) != NULL);
  return 1;
}

static int tensor_set_name(lua_State *L) {
  const char *name = optional_name(L, 2, "set_name");
  if (mw_tensor_set_name(face_check(L, 1, "set_name"), name ? name : "")) return face_raise(L);
  lua_settop(L, 1);
  return 1;
}

static int tensor_is_param(lua_State *L) {
  mw_tensor *t = face_test(L, 1);
  lua_pushboolean(L, t && mw_tensor_is_parameter(t));
  return 1;
}

static int tensor_is_tensor(lua_State *L) {
  lua_pushboolean(L, face_test(L, 1) != NULL);
  return 1;
}

/* ---- fields and indexing ----------------------------------------------------------------- */

static int push_shape(lua_State *L, const mw_spec *spec) {
  lua_createtable(L, spec->rank, 0);
  for (int i = 0; i < spec->rank; i++) {
    lua_pushinteger(L, spec->shape[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* Where the user built t: "net.lua:9", "Conv2d at net.lua:3"; nil when nobody knows. */
static int push_origin(lua_State *L, const mw_tensor *t) {
  const char *origin = mw_tensor_origin(t);
  lua_pushstring(L, *origin ? origin : NULL);
  return 1;
}

/* t[i]: the part of t at position i of its first axis, from 1, negative from the end. The one after
 * the last is nil, as in a table: it is where ipairs() ends. */
static int tensor_at(lua_State *L, mw_tensor *t) {
  const mw_spec *spec = mw_tensor_spec(t);
  char text[MW_SPEC_TEXT];
  int integral;
  int64_t i = lua_tointegerx(L, 2, &integral), n = spec->shape[0];
  mw_spec_text(spec, text);
  if (!integral) return face_error(L, "index %s is no integer", face_describe(L, 2));
  if (spec->rank == 0) return face_error(L, "%s is a scalar, it has no axis to index", text);
  if (i == n + 1) {
    lua_pushnil(L);
    return 1;
  }
  if (i == 0 || i > n || i < -n)
    return face_error(L, "index %lld is out of range: axis 1 of %s has size %lld, counted from 1",
                      (long long)i, text, (long long)n);
  int64_t start[MW_MAX_RANK] = {i > 0 ? i - 1 : n + i};
  int64_t count[MW_MAX_RANK] = {1};
  for (int k = 1; k < spec->rank; k++) count[k] = spec->shape[k];
  mw_setting part[] = {mw_list("start", spec->rank, start), mw_list("count", spec->rank, count)};
  mw_setting shape = mw_list("shape", spec->rank - 1, spec->shape + 1);
  face_mark_origin(L);
  mw_tensor *row = mw_apply(face_context(L), "slice", 1, &t, 2, part);
  face_push_marked(L, row);
  face_push_marked(L, mw_apply(face_context(L), "reshape", 1, &row, 1, &shape));
  return 1;
}

/* What some ops and methods are called in other frameworks; core.elsewhere has the ops alone. */
#define FACE_ELSEWHERE "moonwalk.elsewhere"
static const char *const elsewhere[][2] = {
    {"cat", "concat"},
    {"clamp", "clip"},
    {"concatenate", "concat"},
    {"detach", "stop_gradient"},
    {"empty", "zeros"},
    {"full_like", "full(t.shape, value, t.dtype)"},
    {"linear", "dense"},
    {"manual_seed", "seed"},
    {"mm", "matmul"},
    {"no_grad", "stop_gradient"},
    {"ones_like", "ones(t.shape, t.dtype)"},
    {"permute", "transpose"},
    {"rand", "uniform"},
    {"randint", "uniform({n}, low, high):floor()"},
    {"randn_like", "randn(t.shape, t.dtype)"},
    {"randperm", "permutation"},
    {"repeat", "repeat_interleave"},
    {"swapaxes", "transpose"},
    {"take", "index_select"},
    {"take_along_axis", "gather"},
    {"view", "reshape"},
    {"zeros_like", "zeros(t.shape, t.dtype)"},
    {NULL, NULL},
    {"T", "transpose"},
    {"backward", "mw.grad(y, {x})"},
    {"double", "cast \"f64\""},
    {"float", "cast \"f32\""},
    {"grad", "mw.grad(y, {x})"},
    {"long", "cast \"i64\""},
    {"ndim", "rank"},
    {"numpy", "totable"},
    {"requires_grad", "mw.param(t)"},
    {"size", "shape"},
    {"t", "transpose"},
    {"tolist", "totable"},
};

static void push_elsewhere(lua_State *L, bool of_tensors) {
  lua_newtable(L);
  for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
    if (!elsewhere[i][0] && !of_tensors) return;
    if (!elsewhere[i][0]) continue;
    lua_pushstring(L, elsewhere[i][1]);
    lua_setfield(L, -2, elsewhere[i][0]);
  }
}

/* Pushes the nearest of the methods, the ops and the fields. */
static const char *near_field(lua_State *L, const char *key) {
  static const char *const fields[] = {"dtype", "origin", "rank", "shape"};
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, lua_upvalueindex(1)); lua_pop(L, 1)) {
    lua_pushvalue(L, -2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -5);
  }
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushboolean(L, true);
    lua_setfield(L, -2, fields[i]);
  }
  return face_near(L, -1, key);
}

/* __index; its upvalue is the table of methods. An op that was asked for is kept there. */
static int tensor_index(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "index");
  if (lua_type(L, 2) == LUA_TNUMBER) return tensor_at(L, t);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) != LUA_TSTRING)
    return face_error(L, "a tensor is indexed by %s, expected an integer or a name",
                      face_describe(L, 2));
  const char *key = face_check_text(L, 2, "a tensor's field", "its name");
  const mw_spec *spec = mw_tensor_spec(t);
  if (strcmp(key, "shape") == 0) return push_shape(L, spec);
  if (strcmp(key, "dtype") == 0) return lua_pushstring(L, mw_dtype_name(spec->dtype)), 1;
  if (strcmp(key, "rank") == 0) return lua_pushinteger(L, spec->rank), 1;
  if (strcmp(key, "origin") == 0) return push_origin(L, t);
  if (mw_op_find(face_context(L), key)) {
    face_push_op(L, key);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(1));
    return 1;
  }
  lua_getfield(L, LUA_REGISTRYINDEX, FACE_ELSEWHERE);
  lua_getfield(L, -1, key);
  const char *near = lua_isstring(L, -1) ? lua_tostring(L, -1) : near_field(L, key);
  if (near)
    return face_error(L, "a tensor has no field, method or op '%s'; did you mean '%s'?", key, near);
  return face_error(L, "a tensor has no field, method or op '%s'; mw.help() lists the ops", key);
}

static int tensor_newindex(lua_State *L) {
  return face_error(L,
                    "a tensor cannot be written to at %s: build a new one (mw.concat, arithmetic)",
                    face_describe(L, 2));
}

static int tensor_length(lua_State *L) {
  const mw_spec *spec = mw_tensor_spec(face_check(L, 1, "length"));
  if (spec->rank == 0) return face_error(L, "a scalar has no length");
  lua_pushinteger(L, spec->shape[0]);
  return 1;
}

/* Lua makes a boolean of whatever a comparison returns, so that these cannot be elementwise. */
static int tensor_less(lua_State *L) {
  return face_error(L,
                    "tensors cannot be compared with < or >, which give one boolean in Lua; "
                    "a:lt(b) and a:gt(b) compare elementwise");
}

static int tensor_less_equal(lua_State *L) {
  return face_error(L,
                    "tensors cannot be compared with <= or >=, which give one boolean in Lua; "
                    "a:le(b) and a:ge(b) compare elementwise");
}

static int tensor_negate(lua_State *L) {
  lua_settop(L, 1); /* Lua gives the operand twice */
  return face_apply(L, "neg", 1);
}

/* ---- opening ----------------------------------------------------------------------------- */

static const luaL_Reg metamethods[] = {
    {"__newindex", tensor_newindex}, {"__len", tensor_length}, {"__lt", tensor_less},
    {"__le", tensor_less_equal},     {"__unm", tensor_negate}, {NULL, NULL},
};

static const struct {
  const char *event, *op;
} operators[] = {
    {"__add", "add"}, {"__sub", "sub"}, {"__mul", "mul"},
    {"__div", "div"}, {"__pow", "pow"}, {"__mod", "mod"},
};

static const luaL_Reg functions[] = {
    {"computed", tensor_computed},
    {"feed", tensor_feed},
    {"input", tensor_input},
    {"is_param", tensor_is_param},
    {"is_tensor", tensor_is_tensor},
    {"name", tensor_name},
    {"param", tensor_param},
    {"set_name", tensor_set_name},
    {"spec", tensor_spec},
    {"set_scalars", tensor_set_scalars},
    {NULL, NULL},
};

/* Sees to it that what a box holds is released after it; the metatable is on top of the stack. */
static void end_boxes(lua_State *L) {
  box *b = lua_newuserdatauv(L, sizeof *b, 0);
  *b = (box){.tag = NULL};
  mw_dropped *dropped = face_watch(L, b, sizeof *b, box_freed);
  lua_pop(L, 1);
  if (dropped) {
    face_free_after_collections(L, dropped);
    return;
  }
  lua_pushcfunction(L, tensor_gc);
  lua_setfield(L, -2, "__gc");
}

/* core.methods is the table of what t:name() finds before it looks for an op. */
void face_open_tensor(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  push_elsewhere(L, false);
  lua_setfield(L, -2, "elsewhere");
  push_elsewhere(L, true);
  lua_setfield(L, LUA_REGISTRYINDEX, FACE_ELSEWHERE);
  luaL_newmetatable(L, FACE_TENSOR);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &metatable_key);
  luaL_setfuncs(L, metamethods, 0);
  end_boxes(L);
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
    face_push_op(L, operators[i].op);
    lua_setfield(L, -2, operators[i].event);
  }
  lua_newtable(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, -4, "methods");
  lua_pushcclosure(L, tensor_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, FACE_TENSOR); /* all that getmetatable() gives */
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
