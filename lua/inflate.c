/* inflate.c: what reading and writing zip archives needs of zlib. */
#include <zlib.h>

#include "face.h"

/* core.inflate(bytes, size) -> the `size` bytes that are compressed in them (deflate, without a
 * header), or nil and a message */
static int face_inflate(lua_State *L) {
  size_t length;
  const char *from = luaL_checklstring(L, 1, &length);
  const lua_Integer size = face_check_integer(L, 2, "inflate", "size");
  luaL_Buffer buffer;
  z_stream stream = {.next_in = (Bytef *)(uintptr_t)from};
  /* One byte of deflate gives at most 1032 (zlib's technical details). */
  if (size < 0 || (uint64_t)size / 1032 > length)
    return luaL_pushfail(L), lua_pushliteral(L, "damaged: it cannot hold that much"), 2;
  char *to = luaL_buffinitsize(L, &buffer, (size_t)size); /* may raise, so before zlib's memory */
  int code = inflateInit2(&stream, -MAX_WBITS);
  size_t left = (size_t)size, waiting = length;
  stream.next_out = (Bytef *)to;
  while (code == Z_OK) {
    const uInt step = 1u << 30;
    if (stream.avail_in == 0 && waiting > 0) {
      stream.avail_in = waiting < step ? (uInt)waiting : step;
      waiting -= stream.avail_in;
    }
    if (stream.avail_out == 0 && left > 0) {
      stream.avail_out = left < step ? (uInt)left : step;
      left -= stream.avail_out;
    }
    code = inflate(&stream, Z_NO_FLUSH);
  }
  const bool whole = code == Z_STREAM_END && left == 0 && stream.avail_out == 0;
  inflateEnd(&stream);
  luaL_pushresultsize(&buffer, (size_t)size);
  if (whole) return 1;
  luaL_pushfail(L);
  lua_pushliteral(L, "damaged: its compressed data is not what it says");
  return 2;
}

/* core.crc32(bytes) -> the checksum of zip and PNG files */
static int face_crc32(lua_State *L) {
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  lua_pushinteger(L, (lua_Integer)crc32_z(crc32_z(0, NULL, 0), (const Bytef *)bytes, length));
  return 1;
}

void face_open_inflate(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"inflate", face_inflate}, {"crc32", face_crc32}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
