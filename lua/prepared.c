/* prepared.c: ops with their attributes, set once for many calls, as layers have them; and methods
 * forward that apply one to their module's parameters. */
#include "face.h"

/* Its user values are the op's name and the table of attributes, or nil. */
typedef struct prepared {
  const void *tag;
  mw_prepared *it; /* NULL: not yet */
} prepared;

static const char tag = 0;
#define METATABLE "moonwalk.prepared"

static prepared *test_prepared(lua_State *L, int index) {
  prepared *p = lua_rawlen(L, index) == sizeof *p ? lua_touserdata(L, index) : NULL;
  return p && p->tag == &tag ? p : NULL;
}

static int prepared_gc(lua_State *L) {
  prepared *p = test_prepared(L, 1);
  if (p) mw_prepared_free(p->it);
  if (p) p->it = NULL;
  return 0;
}

/* core.prepare(op, attributes?): an op with attributes, which are from now on not to be changed.
 * They are checked when it is first applied, and again when the op was replaced. */
static int core_prepare(lua_State *L) {
  face_check_text(L, 1, "prepare", "the op");
  if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  prepared *p = lua_newuserdatauv(L, sizeof *p, 2);
  *p = (prepared){.tag = &tag};
  luaL_setmetatable(L, METATABLE);
  for (int i = 1; i <= 2; i++) {
    lua_pushvalue(L, i);
    lua_setiuservalue(L, -2, i);
  }
  return 1;
}

static void make_ready(lua_State *L, prepared *p, int index) {
  if (p->it && !mw_prepared_stale(p->it)) return;
  lua_getiuservalue(L, index, 1);
  const int table = lua_getiuservalue(L, index, 2) == LUA_TTABLE ? lua_gettop(L) : 0;
  mw_prepared *it = face_prepare(L, lua_tostring(L, -2), table);
  mw_prepared_free(p->it);
  p->it = it;
  lua_pop(L, 2);
}

/* Applies the op at index to the arguments above it as core.call does. */
static int apply_by_name(lua_State *L, int index) {
  lua_getiuservalue(L, index, 2);
  if (lua_isnil(L, -1)) lua_pop(L, 1);
  lua_getiuservalue(L, index, 1);
  lua_replace(L, index);
  return face_apply(L, lua_tostring(L, index), index + 1);
}

enum { MOST = 8 };

/* The same, in less time where the arguments are tensors and nil. */
static int apply(lua_State *L, face_state *state, prepared *p, int index) {
  mw_tensor *in[MOST], *outputs[MW_MAX_ARGS], **slots[MW_MAX_ARGS];
  const int last = lua_gettop(L);
  int n = last - index;
  face_begin(L, state);
  if (n > MOST) return apply_by_name(L, index);
  for (int i = 0; i < n; i++) {
    in[i] = face_test(L, index + 1 + i);
    if (!in[i] && !lua_isnil(L, index + 1 + i)) return apply_by_name(L, index);
  }
  while (n > 0 && !in[n - 1]) n--;
  make_ready(L, p, index);
  const int n_out = face_declared(mw_prepared_op(p->it)->outputs);
  for (int i = 0; i < n_out; i++)
    slots[i] = n > 0 && in[0] ? face_push_empty_like(L, index + 1) : face_push_empty(L);
  if (mw_apply_prepared(p->it, n, in, outputs) != n_out) return face_raise(L);
  for (int i = 0; i < n_out; i++) *slots[i] = outputs[i];
  face_settle_state(L, state);
  return n_out;
}

/* Upvalues of a method forward: where the state is, fields by module, "applied", and the names of
 * the parameters. */
enum { STATE = 1, FIELDS, APPLIED, NAMES };

/* Upvalue i of the function at an index, or of the one that runs, 0; false: there is none. */
static bool push_upvalue(lua_State *L, int function, int i) {
  if (function) return lua_getupvalue(L, function, i) != NULL;
  if (lua_type(L, lua_upvalueindex(i)) == LUA_TNONE) return false;
  lua_pushvalue(L, lua_upvalueindex(i));
  return true;
}

int face_run_forward(lua_State *L, int function, int fields, int x) {
  const int index = lua_gettop(L) + 2;
  push_upvalue(L, function, STATE);
  push_upvalue(L, function, APPLIED);
  lua_rawget(L, fields);
  prepared *p = test_prepared(L, index);
  if (!p)
    return face_error(L,
                      "forward: the module has no field 'applied': is its class's method init "
                      "replaced by one that does not call it?");
  lua_pushvalue(L, x);
  for (int i = NAMES; push_upvalue(L, function, i); i++) lua_rawget(L, fields);
  return apply(L, lua_touserdata(L, index - 1), p, index);
}

bool face_applied_by(lua_State *L, int function, int fields, face_applied *applied) {
  const int top = lua_gettop(L);
  push_upvalue(L, function, APPLIED);
  lua_rawget(L, fields);
  prepared *p = test_prepared(L, -1);
  bool usual = p != NULL;
  *applied = (face_applied){.op = p ? &p->it : NULL};
  for (int i = NAMES, n = 1; usual && push_upvalue(L, function, i); i++, n++) {
    lua_rawget(L, fields);
    mw_tensor *const *t = face_test_place(L, -1);
    usual = n < FACE_FEW && (t || lua_isnil(L, -1));
    if (usual && t) applied->in[n] = t;
    if (usual && t) applied->n_in = n + 1;
    lua_settop(L, top);
  }
  if (!applied->n_in) applied->n_in = 1;
  lua_settop(L, top);
  return usual;
}

static int forward(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  if (lua_rawget(L, lua_upvalueindex(FIELDS)) != LUA_TTABLE)
    return face_error(L, "forward: its first argument is %s, expected a module",
                      face_describe(L, 1));
  return face_run_forward(L, 0, 3, 2);
}

bool face_is_forward(lua_State *L, int index) { return lua_tocfunction(L, index) == forward; }

/* core.forward(fields, name ...): a method forward(module, x) that applies the prepared op
 * module.applied to x and the module's fields of these names; fields has the fields of each
 * module. */
static int core_forward(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const int names = lua_gettop(L) - 1;
  for (int i = 0; i < names; i++) face_check_text(L, i + 2, "forward", "a name");
  lua_pushlightuserdata(L, face_state_of(L));
  lua_insert(L, 1);
  lua_pushliteral(L, "applied");
  lua_insert(L, APPLIED);
  lua_pushcclosure(L, forward, names + NAMES - 1);
  return 1;
}

static const luaL_Reg functions[] = {
    {"forward", core_forward},
    {"prepare", core_prepare},
    {NULL, NULL},
};

void face_open_prepared(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, METATABLE);
  lua_pushcfunction(L, prepared_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, METATABLE);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
