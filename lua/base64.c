/* base64.c: bytes as letters, digits and two signs (RFC 4648, 4), for terminals. */
#include "face.h"

/* core.base64(bytes) -> text: four characters for each three bytes */
static int face_base64(lua_State *L) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  size_t length;
  const unsigned char *bytes = (const unsigned char *)luaL_checklstring(L, 1, &length);
  const size_t size = (length + 2) / 3 * 4;
  luaL_Buffer out;
  char *to = luaL_buffinitsize(L, &out, size);
  for (size_t i = 0; i < length; i += 3, to += 4) {
    const unsigned second = i + 1 < length ? bytes[i + 1] : 0;
    const unsigned third = i + 2 < length ? bytes[i + 2] : 0;
    const unsigned group = (unsigned)bytes[i] << 16 | second << 8 | third;
    to[0] = digits[group >> 18];
    to[1] = digits[group >> 12 & 63];
    to[2] = i + 1 < length ? digits[group >> 6 & 63] : '=';
    to[3] = i + 2 < length ? digits[group & 63] : '=';
  }
  luaL_pushresultsize(&out, size);
  return 1;
}

void face_open_base64(lua_State *L) {
  static const luaL_Reg functions[] = {{"base64", face_base64}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
