/* png.c: writes pixels as a PNG file, by its definition (W3C, "Portable Network Graphics
 * Specification"); zlib compresses. */
#include <string.h>
#include <zlib.h>

#include "face.h"

enum { MOST_SIDE = 1 << 16 };

/* A chunk: how long its data is, its kind, the data, and the checksum of kind and data. */
static void add_chunk(luaL_Buffer *out, const char kind[4], const unsigned char *data,
                      size_t size) {
  const uLong sum = crc32_z(crc32_z(0, (const Bytef *)kind, 4), data, size);
  const unsigned char head[] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16),
                                (unsigned char)(size >> 8), (unsigned char)size};
  const unsigned char tail[] = {(unsigned char)(sum >> 24), (unsigned char)(sum >> 16),
                                (unsigned char)(sum >> 8), (unsigned char)sum};
  luaL_addlstring(out, (const char *)head, sizeof head);
  luaL_addlstring(out, kind, 4);
  luaL_addlstring(out, (const char *)data, size);
  luaL_addlstring(out, (const char *)tail, sizeof tail);
}

/* core.png(bytes, width, height, channels) -> a PNG file, as a string. Pixels are bytes, row by
 * row: 1 grey, 2 grey and opacity, 3 red, green and blue, 4 these and opacity. */
static int face_png(lua_State *L) {
  static const unsigned char kinds[] = {0, 0, 4, 2, 6}; /* of colour, by channels */
  size_t length;
  const char *bytes = luaL_checklstring(L, 1, &length);
  const lua_Integer width = face_check_integer(L, 2, "png", "the width");
  const lua_Integer height = face_check_integer(L, 3, "png", "the height");
  const lua_Integer channels = face_check_integer(L, 4, "png", "the channels");
  if (width < 1 || width > MOST_SIDE || height < 1 || height > MOST_SIDE || channels < 1 ||
      channels > 4 || length != (size_t)(width * height * channels))
    return face_error(L, "png: %zu bytes are not %lld x %lld pixels of %lld channels, 1 to 4",
                      length, (long long)width, (long long)height, (long long)channels);
  const size_t row = (size_t)(width * channels), raw_size = (row + 1) * (size_t)height;
  if (raw_size > (size_t)1 << 30) return face_error(L, "png: %zu bytes are too many", raw_size);
  uLongf size = compressBound((uLong)raw_size);
  unsigned char *raw = lua_newuserdatauv(L, raw_size, 0), *packed = lua_newuserdatauv(L, size, 0);
  for (size_t y = 0; y < (size_t)height; y++) {
    raw[y * (row + 1)] = 0; /* how the row is filtered: not at all */
    memcpy(raw + y * (row + 1) + 1, bytes + y * row, row);
  }
  if (compress2(packed, &size, raw, (uLong)raw_size, Z_DEFAULT_COMPRESSION) != Z_OK)
    return face_error(L, "png: out of memory");
  const unsigned char header[13] = {(unsigned char)(width >> 24),
                                    (unsigned char)(width >> 16),
                                    (unsigned char)(width >> 8),
                                    (unsigned char)width,
                                    (unsigned char)(height >> 24),
                                    (unsigned char)(height >> 16),
                                    (unsigned char)(height >> 8),
                                    (unsigned char)height,
                                    8 /* bits */,
                                    kinds[channels]};
  luaL_Buffer out;
  luaL_buffinit(L, &out);
  luaL_addlstring(&out, "\x89PNG\r\n\x1a\n", 8);
  add_chunk(&out, "IHDR", header, sizeof header);
  add_chunk(&out, "IDAT", packed, size);
  add_chunk(&out, "IEND", (const unsigned char *)"", 0);
  luaL_pushresult(&out);
  return 1;
}

void face_open_png(lua_State *L) {
  static const luaL_Reg functions[] = {{"png", face_png}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
