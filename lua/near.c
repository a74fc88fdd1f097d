/* near.c: the word that was meant by one that is unknown. */
#include <string.h>

#include "face.h"

/* The ops' names and then the strings of a list on the stack. */
typedef struct words {
  lua_State *L;
  int list, n_ops;
} words;

static const char *next_word(const void *state, int i) {
  const words *w = state;
  if (i < w->n_ops) return mw_op_at(face_context(w->L), i)->name;
  lua_rawgeti(w->L, w->list, i - w->n_ops + 1);
  const char *word = lua_type(w->L, -1) == LUA_TSTRING ? lua_tostring(w->L, -1) : NULL;
  lua_pop(w->L, 1); /* the list keeps it */
  return word;
}

/* Pushes a list of the string keys of the table at index; sorted, as a table has no order. */
static void push_keys(lua_State *L, int index) {
  lua_Integer n = 0;
  lua_newtable(L);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) continue;
    lua_Integer at = ++n;
    for (; at > 1; at--) { /* few enough to be sorted by insertion */
      lua_rawgeti(L, -3, at - 1);
      bool in_place = strcmp(lua_tostring(L, -1), lua_tostring(L, -3)) <= 0;
      if (!in_place) lua_rawseti(L, -4, at);
      else lua_pop(L, 1);
      if (in_place) break;
    }
    lua_pushvalue(L, -2);
    lua_rawseti(L, -4, at);
  }
}

const char *face_near(lua_State *L, int index, const char *word) {
  luaL_checkstack(L, 8, NULL);
  push_keys(L, lua_absindex(L, index));
  const words w = {L, lua_gettop(L), mw_op_count(face_context(L))};
  const char *best = mw_near(word, next_word, &w);
  if (best) lua_pushstring(L, best);
  lua_remove(L, w.list);
  return best;
}

/* core.near(word, table?): the nearest among the ops and the table's keys, or nil. */
static int near_op(lua_State *L) {
  const char *word = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : "";
  lua_settop(L, 2);
  if (!lua_istable(L, 2)) lua_newtable(L);
  if (!face_near(L, -1, word)) lua_pushnil(L);
  return 1;
}

/* core.nearest(word, list): the nearest of a list of words, or nil. */
static int nearest(lua_State *L) {
  const char *word = face_check_text(L, 1, "nearest", "the word");
  luaL_checktype(L, 2, LUA_TTABLE);
  const words w = {L, 2, 0};
  lua_pushstring(L, mw_near(word, next_word, &w)); /* nil of NULL */
  return 1;
}

void face_open_near(lua_State *L) {
  static const luaL_Reg functions[] = {{"near", near_op}, {"nearest", nearest}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
