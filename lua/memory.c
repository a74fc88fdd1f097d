/* memory.c: memory that foreign functions read and write, as Lua sees it: buffers that Lua owns,
 * views of what C hands to a callback, and pointers. Elements count from 1 and are checked. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "foreign.h"

/* ---- numbers ------------------------------------------------------------------------------- */

static const char *store_whole(lua_State *L, int index, mw_c_type type, void *at) {
  static const struct {
    int64_t least, most;
    const char *expected;
  } ranges[] = {
      [MW_C_I8] = {INT8_MIN, INT8_MAX, "an integer of 8 bits"},
      [MW_C_I16] = {INT16_MIN, INT16_MAX, "an integer of 16 bits"},
      [MW_C_I32] = {INT32_MIN, INT32_MAX, "an integer of 32 bits"},
      [MW_C_I64] = {INT64_MIN, INT64_MAX, "an integer"},
      [MW_C_U8] = {0, UINT8_MAX, "an integer from 0 to 255"},
      [MW_C_U16] = {0, UINT16_MAX, "an integer from 0 to 65535"},
      [MW_C_U32] = {0, UINT32_MAX, "an integer from 0 to 2^32 - 1"},
      [MW_C_U64] = {0, INT64_MAX, "an integer from 0"},
  };
  int integral;
  const lua_Integer value = lua_tointegerx(L, index, &integral);
  if (!integral || value < ranges[type].least || value > ranges[type].most)
    return ranges[type].expected;
  mw_c_value whole = {.u64 = (uint64_t)value};
  const mw_c_parameter p = {.type = type};
  mw_c_narrow(&p, &whole);
  memcpy(at, &whole, mw_c_size(type));
  return NULL;
}

const char *foreign_store(lua_State *L, int index, mw_c_type type, void *at) {
  if (lua_type(L, index) != LUA_TNUMBER) return "a number";
  if (type != MW_C_F32 && type != MW_C_F64) return store_whole(L, index, type, at);
  const double wide = lua_tonumber(L, index);
  const float narrow = (float)wide;
  if (type == MW_C_F32) memcpy(at, &narrow, sizeof narrow);
  else memcpy(at, &wide, sizeof wide);
  return NULL;
}

void foreign_push(lua_State *L, mw_c_type type, const void *at) {
  mw_c_value value = {.u64 = 0};
  const mw_c_parameter p = {.type = type};
  memcpy(&value, at, mw_c_size(type));
  mw_c_widen(&p, &value);
  if (type == MW_C_F32) lua_pushnumber(L, (double)value.f32);
  else if (type == MW_C_F64) lua_pushnumber(L, value.f64);
  else lua_pushinteger(L, value.i64);
}

/* ---- the userdata -------------------------------------------------------------------------- */

foreign_memory *foreign_test_memory(lua_State *L, int index) {
  return luaL_testudata(L, index, FOREIGN_MEMORY);
}

foreign_memory *foreign_live_memory(lua_State *L, int index) {
  foreign_memory *m = foreign_test_memory(L, index);
  if (!m || !m->frame) return m;
  for (const foreign_frame *f = foreign_state_of(L)->frames; f; f = f->outer)
    if (f->number == m->frame) return m;
  face_error(L, "this memory was handed to a callback, and may be used only while that runs");
  return NULL;
}

static foreign_memory *check_memory(lua_State *L, int index, const char *function) {
  foreign_memory *m = foreign_live_memory(L, index);
  if (!m)
    face_error(L, "%s: argument %d is %s, expected a buffer", function, index,
               face_describe(L, index));
  return m;
}

/* The same of which the elements can be told. */
static foreign_memory *check_elements(lua_State *L, int index, const char *function) {
  foreign_memory *m = check_memory(L, index, function);
  if (m->count < 0)
    face_error(L, "%s: nobody knows how long this memory is; p:view(n%s) says it", function,
               m->type == MW_C_VOID ? ", type" : "");
  return m;
}

foreign_memory *foreign_push_memory(lua_State *L, void *data, mw_c_type type, int64_t count) {
  foreign_memory *m = lua_newuserdatauv(L, sizeof *m, 2);
  *m = (foreign_memory){.data = data, .type = type, .count = count};
  luaL_setmetatable(L, FOREIGN_MEMORY);
  return m;
}

/* The bytes are a part of the userdata: they count in Lua's garbage collection, and go with it. */
foreign_memory *foreign_push_buffer(lua_State *L, mw_c_type type, int64_t count) {
  const size_t size = mw_c_size(type), align = 64;
  if (count < 0 || (uint64_t)count > ((uint64_t)1 << 46) / size)
    face_error(L, "ffi.buffer: %lld elements are too many", (long long)count);
  const size_t bytes = (size_t)count * size;
  foreign_memory *m = lua_newuserdatauv(L, sizeof *m + align + bytes, 2);
  const uintptr_t at = ((uintptr_t)(m + 1) + align - 1) / align * align;
  *m = (foreign_memory){.data = (unsigned char *)at, .type = type, .count = count};
  memset(m->data, 0, bytes);
  luaL_setmetatable(L, FOREIGN_MEMORY);
  return m;
}

/* ---- elements ------------------------------------------------------------------------------ */

static unsigned char *element_at(lua_State *L, const foreign_memory *m, int index) {
  int integral;
  const lua_Integer i = lua_tointegerx(L, index, &integral);
  if (!integral) face_error(L, "index %s is no integer", face_describe(L, index));
  if (m->count < 0) check_elements(L, 1, "index");
  if (i < 1 || i > m->count)
    face_error(L, "index %lld is out of range: the memory has %lld elements, counted from 1",
               (long long)i, (long long)m->count);
  return m->data + (size_t)(i - 1) * mw_c_size(m->type);
}

/* A field of a structure: its offset and type, or false. The table says offset * 16 + type. */
static bool find_field(lua_State *L, int key, size_t *offset, mw_c_type *type) {
  if (lua_getiuservalue(L, 1, 2) != LUA_TTABLE) return lua_pop(L, 1), false;
  lua_pushvalue(L, key);
  const bool found = lua_rawget(L, -2) == LUA_TNUMBER;
  const lua_Integer code = found ? lua_tointeger(L, -1) : 0;
  lua_pop(L, 2);
  *offset = (size_t)code / 16;
  *type = (mw_c_type)(code % 16);
  return found;
}

static int memory_index(lua_State *L) {
  size_t offset;
  mw_c_type type;
  if (lua_type(L, 2) == LUA_TNUMBER) {
    const foreign_memory *m = check_memory(L, 1, "index");
    foreign_push(L, m->type, element_at(L, m, 2));
    return 1;
  }
  const foreign_memory *m = foreign_test_memory(L, 1);
  if (find_field(L, 2, &offset, &type)) {
    foreign_push(L, type, m->data + offset);
    return 1;
  }
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) return 1;
  if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "type") == 0)
    return lua_pushstring(L, mw_c_name(m->type)), 1;
  return face_error(L,
                    "foreign memory has no field or method %s; it has copy, string, tensor, "
                    "totable, type, view",
                    face_describe(L, 2));
}

static void check_writable(lua_State *L, const foreign_memory *m) {
  if (m->is_const) face_error(L, "this memory is const: it may be read, but not written");
}

static int memory_newindex(lua_State *L) {
  const foreign_memory *m = check_memory(L, 1, "index");
  size_t offset;
  mw_c_type type = m->type;
  unsigned char *at;
  check_writable(L, m);
  if (lua_type(L, 2) == LUA_TNUMBER) at = element_at(L, m, 2);
  else if (find_field(L, 2, &offset, &type)) at = m->data + offset;
  else return face_error(L, "the structure has no field %s", face_describe(L, 2));
  const char *expected = foreign_store(L, 3, type, at);
  if (expected)
    return face_error(L, "element %s is %s, expected %s for %s", luaL_tolstring(L, 2, NULL),
                      face_describe(L, 3), expected, mw_c_name(type));
  return 0;
}

static int memory_length(lua_State *L) {
  lua_pushinteger(L, check_elements(L, 1, "length")->count);
  return 1;
}

static int memory_text(lua_State *L) {
  const foreign_memory *m = foreign_test_memory(L, 1);
  if (!m) return face_error(L, "expected a buffer");
  if (m->count < 0) lua_pushfstring(L, "%s* %p", mw_c_name(m->type), m->data);
  else lua_pushfstring(L, "%s[%I] %p", mw_c_name(m->type), (lua_Integer)m->count, m->data);
  return 1;
}

/* ---- to and from Lua's values -------------------------------------------------------------- */

/* m:tensor(shape?): a copy */
static int memory_tensor(lua_State *L) {
  const foreign_memory *m = check_elements(L, 1, "tensor");
  const mw_dtype dtype = mw_c_dtype(m->type);
  if (dtype == MW_NONE)
    return face_error(L, "tensor: there are no tensors of %s", mw_c_name(m->type));
  mw_spec spec = lua_isnoneornil(L, 2) ? mw_spec_of(dtype, 1, &m->count) : face_shape(L, 2, dtype);
  char text[MW_SPEC_TEXT];
  if (mw_spec_count(&spec) != m->count)
    return face_error(L, "tensor: the memory has %lld elements, expected those of %s",
                      (long long)m->count, mw_spec_text(&spec, text));
  void *to = face_push_blank(L, &spec);
  if (to) memcpy(to, m->data, mw_spec_bytes(&spec));
  return 1;
}

static void copy_table(lua_State *L, const foreign_memory *m, int index) {
  if ((int64_t)lua_rawlen(L, index) != m->count)
    face_error(L, "copy: the table has %lld elements, expected %lld",
               (long long)lua_rawlen(L, index), (long long)m->count);
  for (int64_t i = 0; i < m->count; i++, lua_pop(L, 1)) {
    lua_rawgeti(L, index, i + 1);
    const char *expected = foreign_store(L, -1, m->type, m->data + (size_t)i * mw_c_size(m->type));
    if (expected)
      face_error(L, "copy: element %lld is %s, expected %s for %s", (long long)i + 1,
                 face_describe(L, -1), expected, mw_c_name(m->type));
  }
}

/* m:copy(from): from a table of numbers, a tensor or memory, of as many elements */
static int memory_copy(lua_State *L) {
  const foreign_memory *m = check_elements(L, 1, "copy");
  check_writable(L, m);
  lua_settop(L, 2);
  const foreign_memory *other = foreign_live_memory(L, 2);
  mw_tensor *t = face_test(L, 2);
  if (lua_istable(L, 2)) {
    copy_table(L, m, 2);
  } else if (t || other) {
    const mw_c_type type = t ? mw_c_of(mw_tensor_spec(t)->dtype) : other->type;
    const int64_t count = t ? mw_spec_count(mw_tensor_spec(t)) : other->count;
    if (type != m->type || count != m->count)
      return face_error(L, "copy: the argument is %s, expected %lld elements of %s",
                        t ? face_describe(L, 2) : luaL_tolstring(L, 2, NULL), (long long)m->count,
                        mw_c_name(m->type));
    const void *from = t ? face_data(L, t) : other->data;
    if (count) memmove(check_memory(L, 1, "copy")->data, from, (size_t)count * mw_c_size(type));
  } else {
    return face_error(L, "copy: the argument is %s, expected a table, a tensor or a buffer",
                      face_describe(L, 2));
  }
  lua_settop(L, 1);
  return 1;
}

/* m:totable() -> {1, 2, 3} */
static int memory_totable(lua_State *L) {
  const foreign_memory *m = check_elements(L, 1, "table");
  lua_createtable(L, m->count < 1 << 20 ? (int)m->count : 0, 0);
  for (int64_t i = 0; i < m->count; i++) {
    foreign_push(L, m->type, m->data + (size_t)i * mw_c_size(m->type));
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* m:string(): its bytes */
static int memory_string(lua_State *L) {
  const foreign_memory *m = check_elements(L, 1, "string");
  lua_pushlstring(L, (const char *)m->data, (size_t)m->count * mw_c_size(m->type));
  return 1;
}

static mw_c_type check_type(lua_State *L, int index, const char *function) {
  const char *name = face_check_text(L, index, function, "the type");
  for (int type = MW_C_F32; type <= MW_C_U64; type++)
    if (strcmp(mw_c_name((mw_c_type)type), name) == 0) return (mw_c_type)type;
  face_error(L, "%s: the type is %s, expected f32, f64, i8, i16, i32, i64, u8, u16, u32 or u64",
             function, face_describe(L, index));
  return MW_C_VOID;
}

/* m:view(n, type?, first?): n elements of the same memory, from the first on. Of memory whose
 * length is known no more than that; else the caller says what nobody can check. */
static int memory_view(lua_State *L) {
  const foreign_memory *m = check_memory(L, 1, "view");
  const lua_Integer n = face_check_integer(L, 2, "view", "n");
  const mw_c_type type = lua_isnoneornil(L, 3) ? m->type : check_type(L, 3, "view");
  const lua_Integer first = lua_isnoneornil(L, 4) ? 1 : face_check_integer(L, 4, "view", "first");
  if (type == MW_C_VOID) return face_error(L, "view: of what type? p:view(n, \"f64\")");
  const int64_t size = (int64_t)mw_c_size(type);
  const int64_t most = m->count < 0 ? ((int64_t)1 << 46) : m->count * (int64_t)mw_c_size(m->type);
  if (n < 0 || first < 1 || n > most / size || first - 1 > most / size - n)
    return face_error(L, "view: elements %lld to %lld of %s are not all in it", (long long)first,
                      (long long)first + (n > 0 ? n - 1 : 0), luaL_tolstring(L, 1, NULL));
  foreign_memory *view = foreign_push_memory(L, m->data + (first - 1) * size, type, n);
  view->is_const = m->is_const;
  view->frame = m->frame;
  lua_pushvalue(L, 1); /* which a view of a view keeps in its turn */
  lua_setiuservalue(L, -2, 1);
  return 1;
}

/* core.ffi_buffer(type, n, fields?): zeros */
static int core_buffer(lua_State *L) {
  const mw_c_type type = check_type(L, 1, "ffi.buffer");
  const lua_Integer n = face_check_integer(L, 2, "ffi.buffer", "n");
  if (n < 0)
    return face_error(L, "ffi.buffer: n is %lld, expected a whole number from 0", (long long)n);
  lua_settop(L, 3);
  foreign_push_buffer(L, type, n);
  lua_pushvalue(L, 3);
  lua_setiuservalue(L, -2, 2);
  return 1;
}

/* core.ffi_types(): {f32 = {4, 1}}: sizes and numbers, for the fields of structures */
static int core_types(lua_State *L) {
  lua_newtable(L);
  for (int type = MW_C_F32; type <= MW_C_U64; type++) {
    lua_createtable(L, 2, 0);
    lua_pushinteger(L, (lua_Integer)mw_c_size((mw_c_type)type));
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, type);
    lua_rawseti(L, -2, 2);
    lua_setfield(L, -2, mw_c_name((mw_c_type)type));
  }
  return 1;
}

/* ---- opening ------------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"copy", memory_copy},     {"string", memory_string}, {"totable", memory_totable},
    {"tensor", memory_tensor}, {"view", memory_view},     {NULL, NULL},
};
static const luaL_Reg metamethods[] = {
    {"__newindex", memory_newindex},
    {"__len", memory_length},
    {"__tostring", memory_text},
    {NULL, NULL},
};
static const luaL_Reg functions[] = {
    {"ffi_buffer", core_buffer},
    {"ffi_types", core_types},
    {NULL, NULL},
};

void foreign_open_memory(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, FOREIGN_MEMORY);
  luaL_setfuncs(L, metamethods, 0);
  luaL_newlib(L, methods);
  lua_pushcclosure(L, memory_index, 1);
  lua_setfield(L, -2, "__index");
  lua_pushliteral(L, FOREIGN_MEMORY);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
