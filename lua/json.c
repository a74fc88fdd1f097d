/* json.c: JSON from and to Lua, by cJSON.
 *
 * Objects and arrays become tables, null becomes core.null, numbers without a fraction become
 * integers up to 2^53, beyond which JSON's readers disagree, and floats after that. What Lua would
 * silently lose is refused: a name twice in an object, a NUL in a string. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

#define FACE_JSON "moonwalk.json"
#define DEEPEST 200                        /* arrays and objects in one another */
#define LARGEST_INTEGER 9007199254740992.0 /* 2^53 */

/* What cJSON allocates, for Lua to free, also when an error is raised. */
typedef struct json {
  cJSON *root;
  char *text;
} json;

static json *push_json(lua_State *L) {
  json *it = lua_newuserdatauv(L, sizeof *it, 0);
  *it = (json){NULL, NULL};
  luaL_setmetatable(L, FACE_JSON);
  return it;
}

static int json_gc(lua_State *L) {
  json *it = luaL_testudata(L, 1, FACE_JSON);
  if (!it) return 0;
  cJSON_Delete(it->root);
  cJSON_free(it->text);
  *it = (json){NULL, NULL};
  return 0;
}

/* ---- decoding ---------------------------------------------------------------------------- */

/* Each pushes a value and returns true, or a message and returns false. */
static bool push_value(lua_State *L, const cJSON *item, int depth);

static bool push_array(lua_State *L, const cJSON *array, int depth) {
  lua_newtable(L);
  lua_Integer i = 0;
  const cJSON *item;
  cJSON_ArrayForEach(item, array) {
    if (!push_value(L, item, depth + 1)) return false;
    lua_rawseti(L, -2, ++i);
  }
  return true;
}

static bool push_object(lua_State *L, const cJSON *object, int depth) {
  lua_newtable(L);
  const cJSON *item;
  cJSON_ArrayForEach(item, object) {
    lua_pushstring(L, item->string);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) != LUA_TNIL) {
      lua_pushfstring(L, "the name '%s' is there twice", item->string);
      return false;
    }
    lua_pop(L, 1);
    if (!push_value(L, item, depth + 1)) return false;
    lua_rawset(L, -3);
  }
  return true;
}

static bool push_value(lua_State *L, const cJSON *item, int depth) {
  if (depth > DEEPEST) {
    lua_pushfstring(L, "arrays and objects are nested deeper than %d", DEEPEST);
    return false;
  }
  luaL_checkstack(L, 8, "JSON is nested too deeply");
  double number = item->valuedouble;
  switch (item->type & 0xFF) {
    case cJSON_True: lua_pushboolean(L, 1); return true;
    case cJSON_False: lua_pushboolean(L, 0); return true;
    case cJSON_NULL: lua_pushlightuserdata(L, NULL); return true;
    case cJSON_String: lua_pushstring(L, item->valuestring); return true;
    case cJSON_Array: return push_array(L, item, depth);
    case cJSON_Object: return push_object(L, item, depth);
    default: break;
  }
  if (!isfinite(number)) {
    lua_pushliteral(L, "a number is too large");
    return false;
  }
  if (number == floor(number) && fabs(number) <= LARGEST_INTEGER)
    lua_pushinteger(L, (lua_Integer)number);
  else lua_pushnumber(L, number);
  return true;
}

/* C strings would end at a NUL, written as itself or as an escape. */
static bool has_nul(const char *text, size_t length) {
  if (memchr(text, '\0', length)) return true;
  for (const char *at = text; (at = strchr(at, '\\')); at += 2) {
    if (strncmp(at, "\\u0000", 6) == 0) return true;
    if (at[1] == '\0') return false;
  }
  return false;
}

/* core.json_decode(text) -> value, or nil and a message */
static int json_decode(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING)
    return face_error(L, "json_decode: the text is %s, expected a string", face_describe(L, 1));
  size_t length;
  const char *text = lua_tolstring(L, 1, &length), *end = text;
  if (has_nul(text, length)) {
    lua_pushnil(L);
    lua_pushliteral(L, "JSON: a NUL character is not supported");
    return 2;
  }
  json *it = push_json(L);
  /* Lua's strings end with a NUL, which cJSON wants to see after the value. */
  it->root = cJSON_ParseWithLengthOpts(text, length + 1, &end, 1);
  if (!it->root) {
    lua_pushnil(L);
    lua_pushfstring(L, "JSON: no valid value at byte %I", (lua_Integer)(end - text) + 1);
    return 2;
  }
  if (push_value(L, it->root, 0)) return 1;
  lua_pushnil(L);
  lua_pushfstring(L, "JSON: %s", lua_tostring(L, -2));
  return 2;
}

/* ---- encoding ---------------------------------------------------------------------------- */

static cJSON *new_item(lua_State *L, int index, int depth);
static void fill_item(lua_State *L, cJSON *item, int depth);

static void check_memory(lua_State *L, const void *made) {
  if (!made) face_error(L, "json_encode: out of memory");
}

static void check_no_nul(lua_State *L, int index) {
  if (strlen(lua_tostring(L, index)) != lua_rawlen(L, index))
    face_error(L, "json_encode: a string has a NUL character");
}

/* Attached to what Lua frees before it is filled, so that an error leaves nothing behind. */
static void add_items(lua_State *L, cJSON *array, int depth) {
  lua_Unsigned n = lua_rawlen(L, -1);
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
    if (!lua_isinteger(L, -2) || (lua_Unsigned)lua_tointeger(L, -2) - 1 >= n)
      face_error(L, "json_encode: a list has the key %s", face_describe(L, -2));
  for (lua_Unsigned i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, (lua_Integer)i);
    cJSON *item = new_item(L, lua_gettop(L), depth);
    cJSON_AddItemToArray(array, item);
    fill_item(L, item, depth);
    lua_pop(L, 1);
  }
}

static int by_letter(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In the order of the names, so that equal tables give equal text. */
static void add_members(lua_State *L, cJSON *object, int depth) {
  int table = lua_gettop(L);
  size_t n = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      face_error(L, "json_encode: a table has the key %s, expected names", face_describe(L, -2));
    check_no_nul(L, -2);
    n++;
  }
  const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
  size_t k = 0;
  for (lua_pushnil(L); lua_next(L, table) && k < n; lua_pop(L, 1)) names[k++] = lua_tostring(L, -2);
  qsort(names, k, sizeof *names, by_letter);
  for (size_t i = 0; i < k; i++) {
    lua_getfield(L, table, names[i]);
    cJSON *item = new_item(L, lua_gettop(L), depth);
    if (!cJSON_AddItemToObject(object, names[i], item)) {
      cJSON_Delete(item);
      check_memory(L, NULL);
    }
    fill_item(L, item, depth);
    lua_pop(L, 1);
  }
  lua_settop(L, table);
}

static cJSON *new_number(lua_State *L, int index) {
  char text[32];
  if (lua_isinteger(L, index)) { /* all its digits, which a double may not have */
    snprintf(text, sizeof text, "%lld", (long long)lua_tointeger(L, index));
    return cJSON_CreateRaw(text);
  }
  double x = lua_tonumber(L, index);
  if (!isfinite(x)) face_error(L, "json_encode: JSON has no number for %g", x);
  /* The fewest digits that are read as x again; cJSON's own would lose a last bit. */
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, x);
    if (strtod(text, NULL) == x) break;
  }
  return cJSON_CreateRaw(text);
}

/* An item for the value at index; a table's is still empty. */
static cJSON *new_item(lua_State *L, int index, int depth) {
  cJSON *item = NULL;
  if (depth > DEEPEST) face_error(L, "json_encode: tables are nested deeper than %d", DEEPEST);
  luaL_checkstack(L, 8, "tables are nested too deeply");
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: item = cJSON_CreateBool(lua_toboolean(L, index)); break;
    case LUA_TNUMBER: item = new_number(L, index); break;
    case LUA_TSTRING:
      check_no_nul(L, index);
      item = cJSON_CreateString(lua_tostring(L, index));
      break;
    case LUA_TTABLE:
      item = lua_rawlen(L, index) ? cJSON_CreateArray() : cJSON_CreateObject();
      break;
    case LUA_TLIGHTUSERDATA:
      if (!lua_touserdata(L, index)) {
        item = cJSON_CreateNull();
        break;
      }
      /* fall through */
    default: face_error(L, "json_encode: JSON has nothing for %s", face_describe(L, index));
  }
  check_memory(L, item);
  return item;
}

/* Fills an array or object from the table on top of the stack. */
static void fill_item(lua_State *L, cJSON *item, int depth) {
  if (cJSON_IsArray(item)) add_items(L, item, depth + 1);
  if (cJSON_IsObject(item)) add_members(L, item, depth + 1);
}

/* core.json_encode(value) -> text. A table with a list part is an array, any other an object. */
static int json_encode(lua_State *L) {
  lua_settop(L, 1);
  json *it = push_json(L);
  lua_pushvalue(L, 1);
  it->root = new_item(L, 3, 0);
  fill_item(L, it->root, 0);
  it->text = cJSON_PrintUnformatted(it->root);
  check_memory(L, it->text);
  lua_pushstring(L, it->text);
  return 1;
}

static const luaL_Reg functions[] = {
    {"json_decode", json_decode},
    {"json_encode", json_encode},
    {NULL, NULL},
};

void face_open_json(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  luaL_newmetatable(L, FACE_JSON);
  lua_pushcfunction(L, json_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}
