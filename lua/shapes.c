/* shapes.c: draws small pictures of shapes in colour, for a data set of CIFAR-10's form that needs
 * no download: 32 by 32 pixels, ten classes, which a network tells apart by form and not by colour.
 *
 * A shape is a function that tells how far a point is inside of it, as in Quilez, "2D distance
 * functions"; place, size, rotation, colours, background and noise are drawn anew for each picture.
 * Picture k takes its random numbers from a sequence that seed and k alone decide. */
#include <math.h>

#include "../graph/philox.h"
#include "face.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE };

typedef struct draws {
  uint64_t key, counter;
  uint32_t words[4];
  int left;
} draws;

static float draw(draws *d, float low, float high) {
  if (d->left == 0) {
    mw_philox(d->key, d->counter++, d->words);
    d->left = 4;
  }
  return low + (high - low) * (float)(d->words[--d->left] >> 8) * 0x1p-24f;
}

/* How far the point x, y is outside of a shape of radius 1 around 0, 0. */
typedef float (*shape)(float x, float y);

static float most(float a, float b) { return a > b ? a : b; }
static float box(float x, float y, float w, float h) { return most(fabsf(x) - w, fabsf(y) - h); }

static float circle(float x, float y) { return hypotf(x, y) - 0.9f; }
static float square(float x, float y) { return box(x, y, 0.78f, 0.78f); }
static float ring(float x, float y) { return fabsf(hypotf(x, y) - 0.72f) - 0.22f; }
static float bar(float x, float y) { return box(x, y, 1, 0.28f); }
static float ellipse(float x, float y) { return hypotf(x, y / 0.45f) * 0.6f - 0.6f; }

static float triangle(float x, float y) {
  return most(0.866f * fabsf(x) - 0.5f * y, y) - 0.5f; /* its tip is up */
}

static float cross(float x, float y) {
  return fminf(box(x, y, 0.95f, 0.3f), box(x, y, 0.3f, 0.95f));
}

static float frame(float x, float y) { return fabsf(most(fabsf(x), fabsf(y)) - 0.65f) - 0.17f; }

/* A disc without the disc beside it. */
static float crescent(float x, float y) {
  return most(hypotf(x, y) - 0.95f, 0.8f - hypotf(x - 0.5f, y));
}

static float two_dots(float x, float y) { return hypotf(fabsf(x) - 0.6f, y) - 0.38f; }

static const struct {
  const char *name;
  shape outside;
} shapes[] = {{"circle", circle},    {"square", square}, {"triangle", triangle},
              {"cross", cross},      {"ring", ring},     {"bar", bar},
              {"ellipse", ellipse},  {"frame", frame},   {"crescent", crescent},
              {"two dots", two_dots}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Two colours that differ enough to be seen. */
static void draw_colours(draws *d, float ink[3], float paper[3]) {
  float distance;
  do {
    distance = 0;
    for (int c = 0; c < 3; c++) {
      ink[c] = draw(d, 0, 255);
      paper[c] = draw(d, 0, 255);
      distance += fabsf(ink[c] - paper[c]);
    }
  } while (distance < 180);
}

static uint8_t shape_draw(draws *d, uint8_t *image) {
  const int kind = (int)draw(d, 0, SHAPES);
  const float size = draw(d, 8, 13.5f), angle = draw(d, -0.4f, 0.4f);
  const float cosine = cosf(angle) / size, sine = sinf(angle) / size;
  const float x = SIDE / 2.0f + draw(d, -3, 3), y = SIDE / 2.0f + draw(d, -3, 3);
  const float slope_x = draw(d, -2, 2), slope_y = draw(d, -2, 2), noise = draw(d, 4, 24);
  float ink[3], paper[3];
  draw_colours(d, ink, paper);
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) {
      const float dx = (float)j + 0.5f - x, dy = (float)i + 0.5f - y;
      const float out = shapes[kind].outside(cosine * dx + sine * dy, cosine * dy - sine * dx);
      const float inside = fminf(fmaxf(0.5f - out * size, 0), 1); /* a pixel is an edge's width */
      const float light = slope_x * dx + slope_y * dy;
      for (int c = 0; c < 3; c++) {
        float v = paper[c] + inside * (ink[c] - paper[c]) + light + draw(d, -noise, noise);
        image[c * PIXELS + i * SIDE + j] = (uint8_t)fminf(fmaxf(v, 0), 255);
      }
    }
  }
  return (uint8_t)kind;
}

/* core.shapes(n, seed) -> pictures u8 [n,3,32,32], labels u8 [n], and their names */
static int face_shapes(lua_State *L) {
  const lua_Integer n = face_check_integer(L, 1, "shapes", "n");
  const uint64_t seed = (uint64_t)face_check_integer(L, 2, "shapes", "seed");
  if (n < 0) return face_error(L, "shapes: n is %lld, expected 0 or more", n);
  const mw_spec images = mw_spec_of(MW_U8, 4, (int64_t[]){n, 3, SIDE, SIDE});
  const mw_spec labels = mw_spec_of(MW_U8, 1, (int64_t[]){n});
  uint8_t *image = face_push_blank(L, &images);
  uint8_t *label = face_push_blank(L, &labels);
  for (int64_t k = 0; k < n; k++) {
    uint32_t words[4];
    mw_philox(seed, (uint64_t)k, words);
    draws d = {.key = (uint64_t)words[1] << 32 | words[0]};
    label[k] = shape_draw(&d, image + k * 3 * PIXELS);
  }
  lua_createtable(L, SHAPES, 0);
  for (int i = 0; i < SHAPES; i++) {
    lua_pushstring(L, shapes[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  return 3;
}

void face_open_shapes(lua_State *L) {
  static const luaL_Reg functions[] = {{"shapes", face_shapes}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
