/* layer.c: functions whose call is a layer's: what is built meanwhile has the layer's origin. Calls of
 * modules among them, of which a step makes one for each layer. */
#include "face.h"

/* ---- scopes ------------------------------------------------------------------------------ */

/* What a layer hides while it runs, until its frame ends, be it by an error. The scopes stand in a
 * weak table by their numbers, to be used again: one that was given up with its coroutine goes. */
typedef struct scope {
  face_layer *layer;
  const char *origin;
  lua_State *in;
  int number, next_free;
} scope;

static const char scopes_key = 0, scope_metatable = 0;

/* The first upvalues of functions that enter layers: the table of scopes, and where the layer that
 * runs is noted. */
enum { SCOPES = 1, LAYER, FURTHER };

static void push_entering(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &scopes_key);
  lua_pushlightuserdata(L, face_layer_of(face_state_of(L)));
}

static int scope_close(lua_State *L) {
  scope *s = lua_touserdata(L, 1);
  face_layer *layer = s->layer;
  layer->origin = s->origin;
  layer->in = s->in;
  s->next_free = layer->free_scope;
  layer->free_scope = s->number;
  return 0;
}

static void push_scope(lua_State *L, face_layer *layer) {
  int number = layer->free_scope;
  if (number) lua_rawgeti(L, lua_upvalueindex(SCOPES), number);
  else lua_pushnil(L);
  scope *s = lua_touserdata(L, -1);
  if (!s) { /* none is free, or those were collected */
    lua_pop(L, 1);
    if (!number) number = ++layer->n_scopes;
    s = lua_newuserdatauv(L, sizeof *s, 0);
    *s = (scope){.layer = layer, .number = number};
    lua_rawgetp(L, LUA_REGISTRYINDEX, &scope_metatable);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawseti(L, lua_upvalueindex(SCOPES), number);
  }
  layer->free_scope = s->next_free;
  s->next_free = 0;
  s->origin = layer->origin;
  s->in = layer->in;
  lua_toclose(L, -1);
}

/* table[weak keys or values] */
static void push_weak_table(lua_State *L, const char *mode) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

static void open_scopes(lua_State *L) {
  push_weak_table(L, "v");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &scopes_key);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, scope_close);
  lua_setfield(L, -2, "__close");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &scope_metatable);
}

/* ---- layers ------------------------------------------------------------------------------ */

/* From here to the end of the frame what is built has the origin at index, if it is one. */
static void enter_layer(lua_State *L, int index) {
  const char *origin = lua_islightuserdata(L, index) ? lua_touserdata(L, index) : NULL;
  face_layer *layer = lua_touserdata(L, lua_upvalueindex(LAYER));
  push_scope(L, layer);
  layer->origin = origin;
  layer->in = L;
}

/* What lies on the stack above its first `base` places. */
static int results(lua_State *L, int status, lua_KContext base) {
  (void)status;
  return lua_gettop(L) - (int)base;
}

/* What core.layer makes: further upvalues are the function and the table of origins by module. An
 * entry, see core.entry, too, for `return net(x)`. */
static int run_layer(lua_State *L) {
  int n = lua_gettop(L);
  luaL_checkstack(L, n + 8, "too many arguments");
  lua_pushvalue(L, 1);
  lua_rawget(L, lua_upvalueindex(FURTHER + 1));
  enter_layer(L, n + 1);
  lua_pushvalue(L, lua_upvalueindex(FURTHER));
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  lua_callk(L, n, LUA_MULTRET, n + 2, results);
  return results(L, LUA_OK, n + 2);
}

/* core.layer(fn, origins): a function that calls fn(module, ...); meanwhile what is built has the
 * origin that the table has for the module. */
static int core_layer(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  push_entering(L);
  lua_rotate(L, 1, 2);
  lua_pushcclosure(L, run_layer, 4);
  return 1;
}

/* ---- modules ----------------------------------------------------------------------------- */

mw_spec *face_output_of(lua_State *L, int own) {
  lua_rawgeti(L, own, FACE_OUTPUT);
  mw_spec *noted = lua_touserdata(L, -1);
  if (!noted) {
    noted = lua_newuserdatauv(L, sizeof *noted, 0);
    *noted = (mw_spec){.dtype = MW_NONE};
    lua_rawseti(L, own, FACE_OUTPUT);
  }
  lua_pop(L, 1);
  return noted;
}

/* Keeps the spec of the tensor at index, or none where it is none, in the table at own. */
static void note_output(lua_State *L, int own, int index) {
  const mw_tensor *t = lua_gettop(L) >= index ? face_test(L, index) : NULL;
  *face_output_of(L, own) = t ? *mw_tensor_spec(t) : (mw_spec){.dtype = MW_NONE};
}

/* core.note_output(own, y): what a call of a module does with its first result. */
static int core_note_output(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  note_output(L, 1, 2);
  return 0;
}

/* core.noted_output(own): its shape, or nil. */
static int core_noted_output(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_rawgeti(L, 1, FACE_OUTPUT);
  const mw_spec *noted = lua_touserdata(L, -1);
  if (!noted || noted->dtype == MW_NONE) return lua_pushnil(L), 1;
  lua_createtable(L, noted->rank, 0);
  for (int i = 0; i < noted->rank; i++) {
    lua_pushinteger(L, noted->shape[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* The results of forward lie above base; two places below it is the module's own table. */
static int module_done(lua_State *L, int status, lua_KContext base) {
  (void)status;
  note_output(L, (int)base - 2, (int)base + 1);
  return lua_gettop(L) - (int)base;
}

/* Further upvalues of call_module; from CALL on they are the names of fields. */
enum { PRIVATE = FURTHER, CLOSE, OBSERVER, CALL, OPEN, FORWARD, FIELDS };

/* Pushes what the table at index has by the name that is an upvalue. */
static int push_named(lua_State *L, int table, int name) {
  lua_pushvalue(L, lua_upvalueindex(name));
  return lua_rawget(L, table);
}

/* Pushes the method forward of the module at 1, whose fields are on top: what was put into the
 * module itself, past its fields, or else the field, or that of the class. */
static void push_forward(lua_State *L) {
  const int fields = lua_gettop(L);
  if (push_named(L, 1, FORWARD) != LUA_TNIL) return;
  if (push_named(L, fields, FORWARD) == LUA_TNIL && lua_getmetatable(L, 1) &&
      push_named(L, -2, FORWARD) == LUA_TNIL)
    lua_getfield(L, -2, "forward"); /* inherited */
  lua_replace(L, fields + 1);
  lua_settop(L, fields + 1);
}

/* Whether it is a list whose every item is known, called with x alone: then that is done, without a
 * scope, as the items have their origins and nothing can go wrong. */
static bool run_known_list(lua_State *L, int own) {
  const int top = lua_gettop(L), fields = top + 2;
  push_named(L, own, OPEN);
  if (lua_toboolean(L, -1)) return lua_settop(L, top), false;
  push_named(L, own, FIELDS);
  push_forward(L);
  if (face_is_sequence(L, fields + 1) && face_run_whole_list(L, own, fields + 1, 2)) return true;
  return lua_settop(L, top), false;
}

/* module(...), what core.module_call makes; see there. */
static int call_module(lua_State *L) {
  int n = lua_gettop(L), own = n + 1, base = n + 3;
  luaL_checkstack(L, n + 24, "too many arguments");
  lua_pushvalue(L, 1);
  if (lua_rawget(L, lua_upvalueindex(PRIVATE)) != LUA_TTABLE)
    return face_error(L, "what is called is %s, expected a module", face_describe(L, 1));
  const bool seen = push_named(L, lua_upvalueindex(OBSERVER), CALL) != LUA_TNIL;
  lua_settop(L, own);
  if (!seen && n == 2 && run_known_list(L, own)) return note_output(L, own, lua_gettop(L)), 1;
  lua_rawgeti(L, own, FACE_ORIGIN);
  enter_layer(L, own + 1);
  push_named(L, own, OPEN);
  if (lua_toboolean(L, -1)) {
    lua_pushvalue(L, lua_upvalueindex(CLOSE));
    lua_pushvalue(L, 1);
    lua_pushvalue(L, own);
    for (int i = 2; i <= n; i++) lua_pushvalue(L, i);
    lua_call(L, n + 1, 0);
  }
  lua_settop(L, base);
  if (push_named(L, lua_upvalueindex(OBSERVER), CALL) == LUA_TNIL) {
    lua_settop(L, base);
    push_named(L, own, FIELDS);
    push_forward(L);
    if (n > 1 && face_is_forward(L, base + 2)) { /* what it does, without the call */
      n = face_run_forward(L, base + 2, base + 1, 2);
      note_output(L, own, lua_gettop(L) - n + 1);
      return n;
    }
    lua_replace(L, base + 1);
  }
  for (int i = 1; i <= n; i++) lua_pushvalue(L, i);
  lua_callk(L, n, LUA_MULTRET, base, module_done);
  return module_done(L, LUA_OK, base);
}

bool face_is_module_call(lua_State *L, int index) {
  return lua_tocfunction(L, index) == call_module;
}

/* core.module_call(private, close, observer): the function that calls a module: its method forward,
 * while what is built has the module's origin, after close(module, own, ...) where own.open says
 * so. own is what the table private has for the module, where own[2] is its origin; see also
 * core.noted_output. While observer.call is set, it is called in place of forward. */
static int core_module_call(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  push_entering(L);
  lua_rotate(L, 1, 2);
  static const char *const names[] = {"call", "open", "forward", "fields"};
  for (int i = 0; i < 4; i++) lua_pushstring(L, names[i]);
  lua_pushcclosure(L, call_module, FIELDS);
  return 1;
}

static const luaL_Reg functions[] = {
    {"layer", core_layer},
    {"module_call", core_module_call},
    {"note_output", core_note_output},
    {"noted_output", core_noted_output},
    {NULL, NULL},
};

void face_open_layer(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  open_scopes(L);
}
