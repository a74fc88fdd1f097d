/* digest.c: core.digest: 64 bits that tell whether bytes are the same. */
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "face.h"

/* One round of MurmurHash3's 64-bit finalizer (Appleby, public domain) for each word: for a given
 * state it maps words one to one, so that a single word that differs always shows. */
static uint64_t mix(uint64_t state, uint64_t word) {
  state = (state ^ word) * 0xff51afd7ed558ccdU;
  return state ^ state >> 32;
}

/* core.digest(bytes) -> 16 hexadecimal digits. Words are little-endian; the last one is filled up
 * with zeros, and the length is a word of its own. */
static int core_digest(lua_State *L) {
  size_t length;
  if (lua_type(L, 1) != LUA_TSTRING)
    return face_error(L, "digest: the bytes are %s, expected a string", face_describe(L, 1));
  const char *bytes = lua_tolstring(L, 1, &length);
  uint64_t state = mix(0x9e3779b97f4a7c15U, length), word;
  size_t i = 0;
  for (; i + sizeof word <= length; i += sizeof word) {
    memcpy(&word, bytes + i, sizeof word);
    state = mix(state, le64toh(word));
  }
  if (i < length) {
    word = 0;
    memcpy(&word, bytes + i, length - i);
    state = mix(state, le64toh(word));
  }
  char text[17];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)mix(state, 0));
  lua_pushstring(L, text);
  return 1;
}

void face_open_digest(lua_State *L) {
  static const luaL_Reg functions[] = {{"digest", core_digest}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
