/* plugin.c: loading plugins from Lua. */
#include <string.h>

#include "../plugins/plugin.h"
#include "face.h"

/* core.plugin_load(path) -> {"name", ...}: the ops that came with it */
static int plugin_load(lua_State *L) {
  const char *path = face_check_text(L, 1, "plugin", "the path"), *names;
  if (mw_plugin_load(face_context(L), path, &names)) return face_raise(L);
  lua_newtable(L);
  for (lua_Integer i = 1; *names; i++) {
    size_t length = strcspn(names, "\n");
    lua_pushlstring(L, names, length);
    lua_rawseti(L, -2, i);
    names += length + (names[length] == '\n');
  }
  return 1;
}

/* core.header() -> the text of moonwalk.h */
static int header(lua_State *L) {
  lua_pushstring(L, face_header);
  return 1;
}

static const luaL_Reg functions[] = {
    {"header", header},
    {"plugin_load", plugin_load},
    {NULL, NULL},
};

void face_open_plugin(lua_State *L) { luaL_setfuncs(L, functions, 0); }
