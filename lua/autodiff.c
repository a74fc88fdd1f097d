/* autodiff.c: traces of gradients, checkpoints, hooks, and watched runs from Lua. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../graph/trace.h"
#include "face.h"

/* ---- traces ------------------------------------------------------------------------------ */

static void push_part(lua_State *L, const mw_traced_part *part) {
  lua_createtable(L, 0, 3);
  if (part->user >= 0) {
    lua_pushinteger(L, part->user + 1);
    lua_setfield(L, -2, "user");
  }
  if (part->input >= 0) {
    lua_pushinteger(L, part->input + 1);
    lua_setfield(L, -2, "input");
  }
  face_set_tensor(L, "gradient", part->gradient);
}

static int push_trace(lua_State *L) {
  const mw_trace *trace = lua_touserdata(L, 1);
  lua_createtable(L, trace->n, 0);
  for (int i = 0; i < trace->n; i++) {
    const mw_traced *traced = &trace->tensors[i];
    lua_createtable(L, 0, 3);
    face_set_tensor(L, "tensor", traced->tensor);
    face_set_tensor(L, "gradient", traced->gradient);
    lua_createtable(L, traced->n_parts, 0);
    for (int k = 0; k < traced->n_parts; k++) {
      push_part(L, &trace->parts[traced->first + k]);
      lua_rawseti(L, -2, k + 1);
    }
    lua_setfield(L, -2, "parts");
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* core.trace(y, {x, ...}) -> {{tensor = y, gradient = t, parts = {{gradient = t}}},
 * {tensor = t, gradient = t, parts = {{user = 1, input = 2, gradient = t}}}, ...}: see trace.h. */
static int core_trace(lua_State *L) {
  mw_tensor *y = face_check(L, 1, "trace");
  luaL_checktype(L, 2, LUA_TTABLE);
  int n = (int)lua_rawlen(L, 2);
  mw_tensor **x = lua_newuserdatauv(L, (size_t)n * sizeof *x + 1, 0);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 2, i + 1);
    x[i] = face_check(L, -1, "trace");
    lua_pop(L, 1);
  }
  mw_trace trace;
  lua_pushcfunction(L, push_trace);
  lua_pushlightuserdata(L, &trace);
  face_mark_origin(L);
  if (mw_trace_new(face_context(L), y, n, x, &trace)) return face_raise(L);
  int status = lua_pcall(L, 1, 1, 0);
  mw_trace_free(&trace);
  if (status != LUA_OK) return lua_error(L);
  face_settle(L);
  return 1;
}

/* ---- checkpoints, watched runs ----------------------------------------------------------- */

/* core.checkpoint_begin(): what is made from now on is inside of a checkpoint made with it. */
static int core_checkpoint_begin(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mw_checkpoint_begin(face_context(L)));
  return 1;
}

/* core.checkpoint(begin, y) */
static int core_checkpoint(lua_State *L) {
  lua_Integer begin = face_check_integer(L, 1, "checkpoint", "begin");
  mw_tensor *y = face_check(L, 2, "checkpoint");
  mw_tensor *checkpoint = mw_checkpoint(face_context(L), (uint64_t)begin, y);
  if (checkpoint != y) face_push(L, checkpoint);
  else mw_release(checkpoint); /* nothing was made: the same userdata is given back */
  return 1;
}

/* core.watch(on?): sets whether runs look for NaN, and returns what was set before. */
static int core_watch(lua_State *L) {
  mw_context *ctx = face_context(L);
  bool before = mw_watch(ctx, lua_toboolean(L, 1));
  if (lua_isnone(L, 1)) mw_watch(ctx, before);
  lua_pushboolean(L, before);
  return 1;
}

/* ---- hooks ------------------------------------------------------------------------------- */

/* The functions stand in Lua's registry. They are called on a thread of their own: the one that
 * asked for the run is somewhere inside of it, and may be another one each time. */
typedef struct lua_hook {
  face_thread *caller; /* tells whether the state is still there */
  lua_State *thread;
  int value, gradient; /* references, or LUA_NOREF */
} lua_hook;

static const char thread_key = 0; /* its address is the key in Lua's registry */

typedef struct passing {
  int function;
  const mw_spec *spec;
  void *bytes;
} passing;

/* Calls the function with a tensor, and takes the one that it returns, if any. */
static int call_function(lua_State *L) {
  const passing *p = lua_touserdata(L, 1);
  char got[MW_SPEC_TEXT], want[MW_SPEC_TEXT];
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->function);
  face_push(L, mw_constant(face_context(L), p->spec, p->bytes));
  lua_call(L, 1, 1);
  if (lua_isnil(L, -1)) return 0;
  mw_tensor *result = face_test(L, -1);
  mw_spec_text(p->spec, want);
  if (!result)
    return luaL_error(L, "the hook returned %s, expected %s or nothing", face_describe(L, -1),
                      want);
  if (!mw_spec_equal(mw_tensor_spec(result), p->spec))
    return luaL_error(L, "the hook returned %s, expected %s or nothing",
                      mw_spec_text(mw_tensor_spec(result), got), want);
  const void *data = face_data(L, result);
  if (mw_spec_bytes(p->spec)) memcpy(p->bytes, data, mw_spec_bytes(p->spec));
  return 0;
}

static mw_status run_hook(void *state, bool gradient, const mw_spec *spec, void *bytes,
                          char message[MW_HOOK_TEXT]) {
  lua_hook *hook = state;
  lua_State *L = hook->thread;
  passing p = {gradient ? hook->gradient : hook->value, spec, bytes};
  if (p.function == LUA_NOREF) return MW_OK;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    snprintf(message, MW_HOOK_TEXT, "out of memory");
    return MW_FAILED;
  }
  lua_pushcfunction(L, call_function);
  lua_pushlightuserdata(L, &p);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return MW_OK;
  bool is_text = lua_type(L, -1) == LUA_TSTRING;
  snprintf(message, MW_HOOK_TEXT, "%s",
           is_text ? lua_tostring(L, -1) : "the hook raised an error that is no text");
  lua_pop(L, 1);
  return MW_FAILED;
}

static void drop_hook(void *state) {
  lua_hook *hook = state;
  if (hook->caller->L) {
    luaL_unref(hook->thread, LUA_REGISTRYINDEX, hook->value);
    luaL_unref(hook->thread, LUA_REGISTRYINDEX, hook->gradient);
  }
  face_caller_release(hook->caller);
  free(hook);
}

static int check_function(lua_State *L, int index, const char *what) {
  if (lua_isnoneornil(L, index)) return LUA_NOREF;
  if (!lua_isfunction(L, index))
    face_error(L, "hook: the function for %s is %s, expected a function or nil", what,
               face_describe(L, index));
  lua_pushvalue(L, index);
  return 0;
}

/* core.hook(t, value?, gradient?): t again, where functions see what passes. */
static int core_hook(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "hook");
  lua_settop(L, 3);
  bool sees_value = check_function(L, 2, "the value") != LUA_NOREF;
  bool sees_gradient = check_function(L, 3, "the gradient") != LUA_NOREF;
  if (!sees_value && !sees_gradient)
    return face_error(L, "hook: there is no function, for the value or for the gradient");
  lua_State *thread = face_own_thread(L, &thread_key);
  int gradient = sees_gradient ? luaL_ref(L, LUA_REGISTRYINDEX) : LUA_NOREF;
  int value = sees_value ? luaL_ref(L, LUA_REGISTRYINDEX) : LUA_NOREF;
  lua_hook *state = malloc(sizeof *state);
  if (!state) return face_error(L, "hook: out of memory");
  *state = (lua_hook){face_caller(L), thread, value, gradient};
  mw_hook hook = {.call = run_hook, .drop = drop_hook, .state = state};
  mw_tensor *leaf = mw_hook_leaf(face_context(L), &hook);
  if (!leaf) {
    drop_hook(state);
    return face_raise(L);
  }
  mw_tensor *y = mw_apply(face_context(L), "hooked", 2, (mw_tensor *[]){t, leaf}, 0, NULL);
  mw_release(leaf);
  face_push(L, y);
  return 1;
}

static const luaL_Reg functions[] = {
    {"checkpoint", core_checkpoint},
    {"checkpoint_begin", core_checkpoint_begin},
    {"hook", core_hook},
    {"trace", core_trace},
    {"watch", core_watch},
    {NULL, NULL},
};

void face_open_autodiff(lua_State *L) { luaL_setfuncs(L, functions, 0); }
