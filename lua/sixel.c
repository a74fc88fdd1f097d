/* sixel.c: pixels as a terminal with sixels draws them (DEC, "VT330/VT340 Programmer Reference
 * Manual", chapter 14): bands of six rows, in each of which every colour is drawn on its own. */
#include <stdio.h>
#include <string.h>

#include "face.h"

enum { MOST_SIDE = 1 << 14, COLOURS = 256, PLACES = 1024, NONE = -1 };
enum { REDS = 6, GREENS = 7, BLUES = 6 }; /* of pictures with too many colours */

/* Colours are told to the terminal in per cent. */
typedef struct drawing {
  int64_t height, width;
  const uint8_t *pixels; /* red, green, blue, opacity */
  int16_t *colours;      /* of each pixel, its number in the palette; NONE where nothing is drawn */
  uint8_t palette[COLOURS][3];
  int n_colours;
  luaL_Buffer out;
} drawing;

static uint8_t per_cent(int value) { return (uint8_t)((value * 100 + 127) / 255); }

/* ---- colours ------------------------------------------------------------------------------- */

/* Gives each pixel its own colour; false when there are too many. */
static bool take_exact(drawing *d) {
  int16_t places[PLACES]; /* the palette by a hash of the colour */
  for (int i = 0; i < PLACES; i++) places[i] = NONE;
  d->n_colours = 0;
  for (int64_t i = 0; i < d->height * d->width; i++) {
    const uint8_t *pixel = d->pixels + 4 * i;
    if (pixel[3] < 128) {
      d->colours[i] = NONE;
      continue;
    }
    const uint8_t c[3] = {per_cent(pixel[0]), per_cent(pixel[1]), per_cent(pixel[2])};
    unsigned at = (c[0] * 10007u + c[1] * 101u + c[2]) % PLACES;
    while (places[at] != NONE && memcmp(d->palette[places[at]], c, 3) != 0) at = (at + 1) % PLACES;
    if (places[at] == NONE) {
      if (d->n_colours == COLOURS) return false;
      memcpy(d->palette[d->n_colours], c, 3);
      places[at] = (int16_t)d->n_colours++;
    }
    d->colours[i] = places[at];
  }
  return true;
}

static int nearest_level(float value, int levels) {
  const int level = (int)(value * (float)(levels - 1) / 255 + 0.5f);
  return level < 0 ? 0 : level >= levels ? levels - 1 : level;
}

/* Passes a pixel's error on to its neighbours that come after it (Floyd and Steinberg 1976). here
 * and below are the errors of its row and the next, three for each pixel, with one more at either
 * end. */
static void diffuse(float error, float *here, float *below) {
  here[3] += error * 7 / 16;
  below[-3] += error * 3 / 16;
  below[0] += error * 5 / 16;
  below[3] += error * 1 / 16;
}

/* Gives each pixel one of a few colours, such that their mean is right. errors: for two rows. */
static void take_dithered(drawing *d, float *errors) {
  const int levels[3] = {REDS, GREENS, BLUES};
  const size_t row = 3 * (size_t)(d->width + 2);
  float *here = errors + 3, *below = errors + row + 3;
  d->n_colours = REDS * GREENS * BLUES;
  for (int i = 0; i < d->n_colours; i++) {
    const int level[3] = {i / (GREENS * BLUES), i / BLUES % GREENS, i % BLUES};
    for (int k = 0; k < 3; k++) d->palette[i][k] = (uint8_t)(level[k] * 100 / (levels[k] - 1));
  }
  memset(errors, 0, 2 * row * sizeof *errors);
  for (int64_t y = 0; y < d->height; y++) {
    for (int64_t x = 0; x < d->width; x++) {
      const uint8_t *pixel = d->pixels + 4 * (y * d->width + x);
      int colour = 0;
      if (pixel[3] < 128) {
        d->colours[y * d->width + x] = NONE;
        continue;
      }
      for (int k = 0; k < 3; k++) {
        const float value = (float)pixel[k] + here[3 * x + k];
        const int level = nearest_level(value, levels[k]);
        diffuse(value - (float)level * 255 / (float)(levels[k] - 1), here + 3 * x + k,
                below + 3 * x + k);
        colour = colour * levels[k] + level;
      }
      d->colours[y * d->width + x] = (int16_t)colour;
    }
    float *next = here;
    here = below;
    below = next;
    memset(below - 3, 0, row * sizeof *below);
  }
}

/* ---- bands --------------------------------------------------------------------------------- */

static void add_run(drawing *d, char sixel, int64_t count) {
  if (count > 3) {
    char text[32];
    luaL_addlstring(&d->out, text,
                    (size_t)snprintf(text, sizeof text, "!%lld%c", (long long)count, sixel));
  } else {
    while (count-- > 0) luaL_addchar(&d->out, sixel);
  }
}

/* One colour of six rows from y on. */
static void draw_colour(drawing *d, int64_t y, int colour) {
  const int64_t rows = d->height - y < 6 ? d->height - y : 6;
  char last = '?';
  int64_t count = 0;
  char text[16];
  luaL_addlstring(&d->out, text, (size_t)snprintf(text, sizeof text, "#%d", colour));
  for (int64_t x = 0; x < d->width; x++) {
    int bits = 0;
    for (int64_t k = 0; k < rows; k++)
      if (d->colours[(y + k) * d->width + x] == colour) bits |= 1 << k;
    const char sixel = (char)('?' + bits);
    if (sixel != last) {
      add_run(d, last, count);
      last = sixel;
      count = 0;
    }
    count++;
  }
  if (last != '?') add_run(d, last, count);
}

static void draw_band(drawing *d, int64_t y) {
  bool used[COLOURS] = {false}, first = true;
  const int64_t end = y + 6 < d->height ? y + 6 : d->height;
  for (int64_t i = y * d->width; i < end * d->width; i++)
    if (d->colours[i] != NONE) used[d->colours[i]] = true;
  for (int colour = 0; colour < d->n_colours; colour++) {
    if (!used[colour]) continue;
    if (!first) luaL_addchar(&d->out, '$'); /* back to the left */
    first = false;
    draw_colour(d, y, colour);
  }
}

/* core.sixel(bytes, width, height) -> the escape sequence that draws these pixels of four bytes:
 * red, green, blue, opacity. What is not opaque is left as it is. */
static int face_sixel(lua_State *L) {
  size_t length;
  drawing d = {.pixels = (const uint8_t *)luaL_checklstring(L, 1, &length),
               .width = face_check_integer(L, 2, "sixel", "the width"),
               .height = face_check_integer(L, 3, "sixel", "the height")};
  if (d.width < 1 || d.width > MOST_SIDE || d.height < 1 || d.height > MOST_SIDE ||
      length != (size_t)(4 * d.width * d.height))
    return face_error(L, "sixel: %zu bytes are not %lld x %lld pixels of 4", length,
                      (long long)d.width, (long long)d.height);
  d.colours = lua_newuserdatauv(L, length / 2, 0);
  if (!take_exact(&d))
    take_dithered(&d, lua_newuserdatauv(L, 6 * (size_t)(d.width + 2) * sizeof(float), 0));
  char text[64];
  luaL_buffinit(L, &d.out);
  luaL_addlstring(
      &d.out, text,
      (size_t)snprintf(text, sizeof text, "\033P0;1q\"1;1;%d;%d", (int)d.width, (int)d.height));
  for (int i = 0; i < d.n_colours; i++)
    luaL_addlstring(&d.out, text,
                    (size_t)snprintf(text, sizeof text, "#%d;2;%d;%d;%d", i, d.palette[i][0],
                                     d.palette[i][1], d.palette[i][2]));
  for (int64_t y = 0; y < d.height; y += 6) {
    if (y > 0) luaL_addchar(&d.out, '-'); /* the next six rows */
    draw_band(&d, y);
  }
  luaL_addlstring(&d.out, "\033\\", 2);
  luaL_pushresult(&d.out);
  return 1;
}

void face_open_sixel(lua_State *L) {
  static const luaL_Reg functions[] = {{"sixel", face_sixel}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
