/* settings.c: what a script sets of its context, threads, slicing, denormals and random numbers, and what
 * it asks about it. */
#include <string.h>

#include "face.h"

static int settings_threads(lua_State *L) {
  mw_context *ctx = face_context(L);
  if (!lua_isnoneornil(L, 1)) {
    lua_Integer n = face_check_integer(L, 1, "threads", "n");
    if (n < 1 || n > 1024)
      return face_error(L, "threads: n is %lld, expected 1 to 1024", (long long)n);
    mw_threads_set(ctx, (int)n);
  }
  lua_pushinteger(L, mw_threads(ctx));
  return 1;
}

/* core.slicing(mode?) -> the mode before; see mw_slicing */
static int settings_slicing(lua_State *L) {
  static const char *const modes[] = {"auto", "never", "always", NULL};
  mw_context *ctx = face_context(L);
  const mw_slicing before = mw_slicing_set(ctx, MW_SLICE_AS_PAYS);
  int mode = (int)before;
  if (!lua_isnoneornil(L, 1)) {
    const char *asked = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
    for (mode = 0; modes[mode] && strcmp(modes[mode], asked) != 0;) mode++;
  }
  mw_slicing_set(ctx, modes[mode] ? (mw_slicing)mode : before);
  if (!modes[mode])
    return face_error(L, "slicing: the mode is %s, expected 'auto', 'never' or 'always'",
                      face_describe(L, 1));
  lua_pushstring(L, modes[before]);
  return 1;
}

/* core.flush_denormals(on?) -> whether they were; see mw_flush_denormals() */
static int settings_flush_denormals(lua_State *L) {
  mw_context *ctx = face_context(L);
  if (!lua_isnoneornil(L, 1) && !lua_isboolean(L, 1))
    return face_error(L, "flush_denormals: on is %s, expected true or false", face_describe(L, 1));
  const bool before = mw_flush_denormals(ctx, lua_toboolean(L, 1));
  if (lua_isnoneornil(L, 1)) mw_flush_denormals(ctx, before);
  lua_pushboolean(L, before);
  return 1;
}

static int settings_seed(lua_State *L) {
  mw_seed(face_context(L), (uint64_t)face_check_integer(L, 1, "seed", "n"));
  return 0;
}

static int settings_random_state(lua_State *L) {
  uint64_t seed, position;
  mw_random_state(face_context(L), &seed, &position);
  lua_pushinteger(L, (lua_Integer)seed);
  lua_pushinteger(L, (lua_Integer)position);
  return 2;
}

static int settings_random_restore(lua_State *L) {
  lua_Integer seed = face_check_integer(L, 1, "random_restore", "seed");
  lua_Integer position = face_check_integer(L, 2, "random_restore", "position");
  mw_random_restore(face_context(L), (uint64_t)seed, (uint64_t)position);
  return 0;
}

static int settings_interrupt(lua_State *L) {
  mw_interrupt(face_context(L));
  return 0;
}

static int settings_stats(lua_State *L) {
  mw_stats stats;
  mw_context_stats(face_context(L), &stats);
  const struct {
    const char *name;
    lua_Integer value;
  } fields[] = {
      {"programs_compiled", stats.programs_compiled},
      {"programs_run", stats.programs_run},
      {"programs_cached", stats.programs_cached},
      {"nodes_last", stats.nodes_last},
      {"arena_last", (lua_Integer)stats.arena_last},
      {"slices_last", (lua_Integer)stats.slices_last},
      {"arena_unshared", (lua_Integer)stats.arena_unshared},
      {"arena_peak", (lua_Integer)stats.arena_peak},
      {"bytes_live", (lua_Integer)stats.bytes_live},
      {"bytes_peak", (lua_Integer)stats.bytes_peak},
      {"tensors_live", stats.tensors_live},
  };
  lua_newtable(L);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    lua_pushinteger(L, fields[i].value);
    lua_setfield(L, -2, fields[i].name);
  }
  return 1;
}

/* core.peak_bytes() -> the most bytes that tensors and intermediates held since the last call */
static int settings_peak(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mw_context_peak(face_context(L)));
  return 1;
}

static const luaL_Reg functions[] = {
    {"flush_denormals", settings_flush_denormals},
    {"interrupt", settings_interrupt},
    {"peak_bytes", settings_peak},
    {"random_restore", settings_random_restore},
    {"random_state", settings_random_state},
    {"seed", settings_seed},
    {"slicing", settings_slicing},
    {"stats", settings_stats},
    {"threads", settings_threads},
    {NULL, NULL},
};

void face_open_settings(lua_State *L) { luaL_setfuncs(L, functions, 0); }
