/* widen.c: elements of types that tensors have not, as bytes of the type that holds them all. */
#include <string.h>

#include "face.h"

/* A float of 16 bits (IEEE 754, binary16). */
static float from_half(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, mantissa = half & 0x3ff;
  uint32_t bits;
  float value;
  if (exponent == 0) {
    value = (float)mantissa * 0x1p-24f;
    return sign ? -value : value;
  }
  bits = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | mantissa << 13;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint64_t load(const unsigned char *from, size_t size, bool big) {
  uint64_t word = 0;
  for (size_t i = 0; i < size; i++) word |= (uint64_t)from[i] << 8 * (big ? size - 1 - i : i);
  return word;
}

/* What `kind` and `size` are widened to: f of 2 bytes to f32, i and u to i32 or i64, and what
 * tensors have already to itself. */
static size_t widened(char kind, size_t size) {
  if (kind == 'f') return size == 2 ? 4 : size;
  if (kind == 'i' && size < 4) return 4;
  return kind == 'u' && size == 2 ? 4 : kind == 'u' && size == 4 ? 8 : size;
}

/* core.widen(bytes, kind, size, big) -> bytes: kind is "i", "u" or "f", size the bytes of an
 * element, big whether its first byte is the highest */
static int face_widen(lua_State *L) {
  size_t length;
  const unsigned char *from = (const unsigned char *)luaL_checklstring(L, 1, &length);
  const char kind = *face_check_text(L, 2, "widen", "kind");
  const size_t size = (size_t)face_check_integer(L, 3, "widen", "size");
  const bool big = lua_toboolean(L, 4);
  luaL_Buffer buffer;
  if (size != 1 && size != 2 && size != 4 && size != 8)
    return face_error(L, "widen: size is %zu, expected 1, 2, 4 or 8", size);
  const size_t n = length / size, to_size = widened(kind, size);
  char *to = luaL_buffinitsize(L, &buffer, n * to_size);
  for (size_t i = 0; i < n; i++, to += to_size) {
    uint64_t word = load(from + i * size, size, big);
    if (kind == 'f' && size == 2) {
      const float value = from_half((uint32_t)word);
      memcpy(to, &value, sizeof value);
      continue;
    }
    if (kind == 'i' && size < 4)
      word = size == 1 ? (uint64_t)(int8_t)word : (uint64_t)(int16_t)word;
    memcpy(to, &word, to_size); /* the lower bytes come first, as tensors have them */
  }
  luaL_pushresultsize(&buffer, n * to_size);
  return 1;
}

void face_open_widen(lua_State *L) {
  static const luaL_Reg functions[] = {{"widen", face_widen}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
