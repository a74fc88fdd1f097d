/* picture.c: a part of a tensor as the pixels of a picture: reduced or enlarged to a size, in red,
 * green and blue. */
#include <math.h>

#include "face.h"

enum { MOST_SIDE = 1 << 16 };
static const int64_t most_bytes = (int64_t)1 << 28;

/* Where the pixels of a picture lie: those of a row one after the other. */
typedef struct place {
  int64_t first, plane, stride; /* elements: to the first, from channel to channel, row to row */
  int64_t height, width;
  int channels; /* 1: grey; 3: red, green, blue */
} place;

typedef struct canvas {
  mw_dtype dtype;
  const void *data;
  place from;
  int64_t height, width;
  double low, high; /* what is shown black, and what in full */
} canvas;

static double element(mw_dtype dtype, const void *data, int64_t i) {
  switch (dtype) {
    case MW_F32: return (double)((const float *)data)[i];
    case MW_F64: return ((const double *)data)[i];
    case MW_I32: return ((const int32_t *)data)[i];
    case MW_I64: return (double)((const int64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
  }
}

/* How much of pixel i of `from` along an axis pixel k of `to` covers, in parts of 1 / to. */
static int64_t covered(int64_t i, int64_t from, int64_t k, int64_t to) {
  const int64_t begin = i * to > k * from ? i * to : k * from;
  const int64_t end = (i + 1) * to < (k + 1) * from ? (i + 1) * to : (k + 1) * from;
  return end - begin;
}

/* The mean of what pixel y, x covers: where it covers less than a pixel, that one. */
static double mean(const canvas *c, int channel, int64_t y, int64_t x) {
  const place *p = &c->from;
  const int64_t top = y * p->height / c->height, left = x * p->width / c->width;
  double sum = 0, total = 0;
  for (int64_t i = top; i * c->height < (y + 1) * p->height; i++) {
    const double down = (double)covered(i, p->height, y, c->height);
    const int64_t row = p->first + channel * p->plane + i * p->stride;
    for (int64_t j = left; j * c->width < (x + 1) * p->width; j++) {
      const double weight = down * (double)covered(j, p->width, x, c->width);
      sum += weight * element(c->dtype, c->data, row + j);
      total += weight;
    }
  }
  return sum / total;
}

static uint8_t shade(const canvas *c, double value) {
  if (c->high <= c->low) return value > c->high ? 255 : 0;
  const double share = (value - c->low) / (c->high - c->low);
  return !(share > 0) ? 0 : share >= 1 ? 255 : (uint8_t)(share * 255 + 0.5); /* 0: also of NaN */
}

/* What is no number is magenta. Returns whether there is any; marks has a 1 for each. */
static bool paint(const canvas *c, uint8_t *pixel, char *marks) {
  bool any = false;
  for (int64_t y = 0; y < c->height; y++) {
    for (int64_t x = 0; x < c->width; x++, pixel += 3, marks++) {
      double values[3];
      bool broken = false;
      for (int k = 0; k < c->from.channels; k++) {
        values[k] = mean(c, k, y, x);
        broken = broken || isnan(values[k]);
      }
      for (int k = 0; k < 3; k++)
        pixel[k] =
            broken ? (uint8_t)(k == 1 ? 0 : 255) : shade(c, values[c->from.channels == 3 ? k : 0]);
      *marks = broken;
      any = any || broken;
    }
  }
  return any;
}

static int64_t field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  const int64_t value = face_check_integer(L, -1, "picture", name);
  lua_pop(L, 1);
  return value;
}

/* Raises unless all of it lies within `count` elements. */
static place check_place(lua_State *L, int index, int64_t count) {
  luaL_checktype(L, index, LUA_TTABLE);
  const place p = {.first = field(L, index, "first"),
                   .plane = field(L, index, "plane"),
                   .stride = field(L, index, "stride"),
                   .height = field(L, index, "height"),
                   .width = field(L, index, "width"),
                   .channels = (int)field(L, index, "channels")};
  int64_t end = -1, rows = 0, planes = 0;
  const bool sizes = p.first >= 0 && p.plane >= 0 && p.stride >= 0 && p.height >= 1 &&
                     p.width >= 1 && (p.channels == 1 || p.channels == 3) && p.height <= count &&
                     p.width <= count && p.first <= count - p.width;
  const bool overflow = __builtin_mul_overflow(p.height - 1, p.stride, &rows) ||
                        __builtin_mul_overflow(p.channels - 1, p.plane, &planes) ||
                        __builtin_add_overflow(rows, planes, &end) ||
                        __builtin_add_overflow(end, p.first + p.width, &end);
  if (!sizes || overflow || end > count)
    face_error(L, "picture: the pixels are not all in the tensor's %lld elements",
               (long long)count);
  return p;
}

/* core.picture(t, {first, plane, stride, height, width, channels}, height, width, low, high) ->
 * the pixels, three bytes each, of a picture of that size; and, if there is a NaN, a string that
 * has for each pixel a 1 where it is one. Pixels that are made fewer are means. */
static int face_picture(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "picture");
  canvas c = {.dtype = mw_tensor_spec(t)->dtype,
              .from = check_place(L, 2, mw_spec_count(mw_tensor_spec(t))),
              .height = face_check_integer(L, 3, "picture", "the height"),
              .width = face_check_integer(L, 4, "picture", "the width"),
              .low = luaL_checknumber(L, 5),
              .high = luaL_checknumber(L, 6)};
  if (c.height < 1 || c.width < 1 || c.height > MOST_SIDE || c.width > MOST_SIDE ||
      c.height * c.width > most_bytes / 3)
    return face_error(L, "picture: it would be %lld pixels high and %lld wide", (long long)c.height,
                      (long long)c.width);
  c.data = face_data(L, t);
  const size_t count = (size_t)(c.height * c.width);
  char *marks = lua_newuserdatauv(L, count, 0);
  luaL_Buffer out;
  uint8_t *pixels = (uint8_t *)luaL_buffinitsize(L, &out, 3 * count);
  const bool any = paint(&c, pixels, marks);
  luaL_pushresultsize(&out, 3 * count);
  if (!any) return 1;
  lua_pushlstring(L, marks, count);
  return 2;
}

void face_open_picture(lua_State *L) {
  static const luaL_Reg functions[] = {{"picture", face_picture}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
