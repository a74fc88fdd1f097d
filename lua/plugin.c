/* plugin.c: loading and replacing plugins from Lua. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../plugins/plugin.h"
#include "face.h"

/* {"name", ...} of names, one a line */
static int push_names(lua_State *L, const char *names) {
  lua_newtable(L);
  for (lua_Integer i = 1; *names; i++) {
    size_t length = strcspn(names, "\n");
    lua_pushlstring(L, names, length);
    lua_rawseti(L, -2, i);
    names += length + (names[length] == '\n');
  }
  return 1;
}

/* core.plugin_load(path, overrides?) -> {"name", ...}: the ops that came with it, which may take the
 * place of shipped ones if the second is true */
static int plugin_load(lua_State *L) {
  const char *path = face_check_text(L, 1, "plugin", "the path"), *names;
  mw_status (*load)(mw_context *, const char *, const char **) =
      lua_toboolean(L, 2) ? mw_plugin_override : mw_plugin_load;
  if (load(face_context(L), path, &names)) return face_raise(L);
  return push_names(L, names);
}

/* core.plugin_origin(op, kernel?) -> where its code comes from, or nil, see mw_plugin_origin(); and the
 * file of ops/ that has the shipped one, or nil, see mw_plugin_shipped() */
static int plugin_origin(lua_State *L) {
  mw_context *ctx = face_context(L);
  const char *op = face_check_text(L, 1, "plugin", "the op");
  const char *kernel = lua_isnoneornil(L, 2) ? NULL : face_check_text(L, 2, "plugin", "the kernel");
  lua_pushstring(L, mw_plugin_origin(ctx, op, kernel));
  lua_pushstring(L, mw_plugin_shipped(ctx, op, kernel));
  return 2;
}

/* core.plugin_reload(origin, path) -> {"name", ...}: the library at path in place of a plugin */
static int plugin_reload(lua_State *L) {
  const char *origin = face_check_text(L, 1, "plugin.reload", "the plugin");
  const char *path = face_check_text(L, 2, "plugin.reload", "the path"), *names;
  if (mw_plugin_reload(face_context(L), origin, path, &names)) return face_raise(L);
  return push_names(L, names);
}

/* core.plugin_unload(origin) */
static int plugin_unload(lua_State *L) {
  const char *origin = face_check_text(L, 1, "plugin.unload", "the plugin");
  if (mw_plugin_unload(face_context(L), origin)) return face_raise(L);
  return 0;
}

/* core.plugin_list() -> a text, see mw_plugin_list() */
static int plugin_list(lua_State *L) {
  char *text = mw_plugin_list(face_context(L));
  if (!text) return face_raise(L);
  lua_pushstring(L, text);
  free(text);
  return 1;
}

/* core.plugin_generation() -> a number that grows when an op is replaced */
static int plugin_generation(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mw_plugin_generation(face_context(L)));
  return 1;
}

/* core.file_stamp(path) -> a text that changes when the file is written, nil when there is none */
static int file_stamp(lua_State *L) {
  const char *path = face_check_text(L, 1, "plugin", "the path");
  struct stat file;
  char text[100];
  if (stat(path, &file) != 0 || !S_ISREG(file.st_mode)) return luaL_pushfail(L), 1;
  snprintf(text, sizeof text, "%lld.%09ld %lld %llu", (long long)file.st_mtim.tv_sec,
           file.st_mtim.tv_nsec, (long long)file.st_size, (unsigned long long)file.st_ino);
  lua_pushstring(L, text);
  return 1;
}

/* core.installed() -> where this was installed, and the folder of the running program or nil */
static int installed(lua_State *L) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  lua_pushliteral(L, MW_PREFIX);
  while (length > 0 && length < (ssize_t)sizeof path && path[length - 1] != '/') length--;
  if (length <= 1 || length >= (ssize_t)sizeof path) lua_pushnil(L);
  else lua_pushlstring(L, path, (size_t)length - 1);
  return 2;
}

static const luaL_Reg functions[] = {
    {"file_stamp", file_stamp},
    {"installed", installed},
    {"plugin_generation", plugin_generation},
    {"plugin_list", plugin_list},
    {"plugin_load", plugin_load},
    {"plugin_origin", plugin_origin},
    {"plugin_reload", plugin_reload},
    {"plugin_unload", plugin_unload},
    {NULL, NULL},
};

void face_open_plugin(lua_State *L) { luaL_setfuncs(L, functions, 0); }
