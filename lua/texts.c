/* texts.c: core.text*: the files that are built in. */
#include <string.h>

#include "face.h"

static const face_text *files_of(lua_State *L) {
  static const char *const kinds[] = {"headers", "templates", "ops", "manual", NULL};
  const face_text *const files[] = {face_headers, face_templates, face_op_files, face_manual};
  return files[luaL_checkoption(L, 1, NULL, kinds)];
}

static bool asks_for_modules(lua_State *L) {
  return strcmp(luaL_checkstring(L, 1), "modules") == 0;
}

/* core.texts(kind) -> {"conv2d.c", ...}: kind is "headers" of graph/, "templates" of
 * plugins/template/, "ops" of ops/, "manual" of docs/, or "modules" of lua/: "moonwalk/nn.lua" */
static int texts(lua_State *L) {
  lua_newtable(L);
  lua_Integer n = 0;
  if (asks_for_modules(L)) {
    for (const face_module *m = face_modules; m->name; m++) {
      lua_pushstring(L, m->chunk + 1); /* behind a "=" */
      lua_rawseti(L, -2, ++n);
    }
    return 1;
  }
  for (const face_text *file = files_of(L); file->name; file++) {
    lua_pushstring(L, file->name);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* core.text(kind, name) -> the text of that file, nil when there is none */
static int text(lua_State *L) {
  const char *name = luaL_checkstring(L, 2);
  if (asks_for_modules(L)) {
    for (const face_module *m = face_modules; m->name; m++)
      if (strcmp(m->chunk + 1, name) == 0) return lua_pushlstring(L, m->text, m->size), 1;
    return 0;
  }
  for (const face_text *file = files_of(L); file->name; file++)
    if (strcmp(file->name, name) == 0) return lua_pushstring(L, file->text), 1;
  return 0;
}

void face_open_texts(lua_State *L) {
  static const luaL_Reg functions[] = {{"text", text}, {"texts", texts}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
