/* profile.c: core.costs, core.profile_start, core.profile_stop: what the steps of programs take. See
 * moonwalk/profile.lua. */
#include "face.h"

#define FACE_PROFILE "moonwalk.profile"

/* Pushes an owner for a profile, so that an error while it is read loses nothing. */
static mw_profile **push_owner(lua_State *L) {
  mw_profile **owner = lua_newuserdatauv(L, sizeof *owner, 0);
  *owner = NULL;
  luaL_setmetatable(L, FACE_PROFILE);
  return owner;
}

static int owner_gc(lua_State *L) {
  mw_profile **owner = luaL_checkudata(L, 1, FACE_PROFILE);
  mw_profile_free(*owner);
  *owner = NULL;
  return 0;
}

static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_count(lua_State *L, const char *key, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, key);
}

static void push_cost(lua_State *L, const mw_cost *cost) {
  lua_createtable(L, 0, 11);
  face_set_text(L, "op", cost->op);
  face_set_text(L, "kernel", cost->kernel);
  face_set_text(L, "origin", cost->origin);
  face_set_text(L, "shapes", cost->shapes);
  set_number(L, "flops", cost->flops);
  set_number(L, "bytes", cost->bytes);
  set_count(L, "node", (int64_t)cost->node);
  set_count(L, "program", cost->program + 1);
  set_count(L, "runs", cost->runs);
  set_count(L, "calls", cost->calls);
  set_number(L, "seconds", cost->seconds);
}

/* {seconds, lost, steps = {{op, kernel, ...}, ...}, spans = {step, worker, begin, seconds, step, ...}};
 * steps and workers count from 1. */
static void push_profile(lua_State *L, const mw_profile *p) {
  lua_createtable(L, 0, 4);
  set_number(L, "seconds", p->seconds);
  set_count(L, "lost", p->n_lost);
  lua_createtable(L, p->n_steps, 0);
  for (int k = 0; k < p->n_steps; k++) {
    push_cost(L, &p->steps[k]);
    lua_rawseti(L, -2, k + 1);
  }
  lua_setfield(L, -2, "steps");
  lua_createtable(L, (int)(4 * p->n_spans < INT32_MAX ? 4 * p->n_spans : INT32_MAX), 0);
  for (int64_t i = 0; i < p->n_spans; i++) {
    const mw_span *span = &p->spans[i];
    lua_pushinteger(L, span->step + 1);
    lua_rawseti(L, -2, 4 * i + 1);
    lua_pushinteger(L, span->worker + 1);
    lua_rawseti(L, -2, 4 * i + 2);
    lua_pushnumber(L, span->begin);
    lua_rawseti(L, -2, 4 * i + 3);
    lua_pushnumber(L, span->seconds);
    lua_rawseti(L, -2, 4 * i + 4);
  }
  lua_setfield(L, -2, "spans");
}

/* core.costs({y, ...}): the steps that computing them would take */
static int core_costs(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const int n = (int)lua_rawlen(L, 1);
  mw_tensor **tensors = lua_newuserdatauv(L, (size_t)n * sizeof *tensors + 1, 0);
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    tensors[i] = face_check(L, -1, "costs");
    lua_pop(L, 1); /* the list keeps it */
  }
  mw_profile **owner = push_owner(L);
  *owner = mw_costs(face_context(L), n, tensors);
  if (!*owner) return face_raise(L);
  push_profile(L, *owner);
  return 1;
}

static int core_profile_start(lua_State *L) {
  if (mw_profile_start(face_context(L))) return face_raise(L);
  return 0;
}

static int core_profile_stop(lua_State *L) {
  mw_profile **owner = push_owner(L);
  *owner = mw_profile_stop(face_context(L));
  if (!*owner) return face_raise(L);
  push_profile(L, *owner);
  return 1;
}

static const luaL_Reg functions[] = {
    {"costs", core_costs},
    {"profile_start", core_profile_start},
    {"profile_stop", core_profile_stop},
    {NULL, NULL},
};

void face_open_profile(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, FACE_PROFILE);
  lua_pushcfunction(L, owner_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, FACE_PROFILE);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
