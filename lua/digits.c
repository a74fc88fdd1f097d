/* digits.c: draws digits that look written by hand, for a data set that needs no download.
 *
 * A digit is a skeleton: the path of a pen in a box 70 wide and 100 high, in one of a few styles.
 * Each image bends and moves its skeleton (points that tremble, an elastic distortion as in
 * Simard, Steinkraus and Platt, ICDAR 2003, then size, slant, rotation and place), draws it with a
 * pen of some width, pressure and softness, and adds noise. Image k takes its random numbers from
 * a place in the generator's sequence that k alone decides, and so depends on seed and k alone. */
#include <math.h>
#include <string.h>

#include "face.h"

#define SIDE 28 /* pixels of an image */
#define PIXELS (SIDE * SIDE)
#define GRID 4       /* points of the elastic distortion, each way */
#define POINTS 32    /* most points of a skeleton */
#define PIECES 5     /* straight pieces that a curve has between two points */
#define DRAWS 1024   /* random numbers for an image: at most 4 POINTS + 2 GRID^2 + PIXELS + 20 */
#define DRAWS_LOG 16 /* images are 2^16 blocks of the generator apart */

typedef struct pen_point {
  int8_t x, y; /* x 0 to 70 from the left, y 0 to 100 from the top */
} pen_point;
#define LIFT \
  { -1, -1 } /* the pen leaves the paper */
#define CORNER(x, y) \
  {x, y}, { x, y } /* a point met twice is a corner, any other a bend */

typedef struct skeleton {
  int digit;
  pen_point points[POINTS]; /* a point of zeros after the first ends it */
} skeleton;
/* In order of digit. No skeleton has a point at 0, 0 itself. */
/* clang-format off */
static const skeleton skeletons[] = {
    {0, {{38, 0}, {12, 15}, {1, 50}, {12, 88}, {35, 100}, {60, 85}, {70, 50}, {58, 14}, {36, 1}}},
    {0, {{52, 6}, {24, 3}, {5, 34}, {6, 74}, {30, 100}, {56, 84}, {64, 45}, {52, 12}, {34, 8}}},
    {0, {{30, 2}, {8, 28}, {6, 70}, {26, 99}, {50, 90}, {60, 56}, {54, 16}, {26, 0}, {14, 14}}},
    {1, {{35, 1}, {36, 50}, {34, 100}}},
    {1, {{12, 22}, CORNER(38, 1), {37, 50}, {36, 100}}},
    {1, {{14, 20}, CORNER(36, 1), {36, 100}, LIFT, {8, 100}, {36, 99}, {64, 100}}},
    {2, {{4, 22}, {18, 3}, {42, 1}, {60, 18}, {50, 45}, {22, 76}, CORNER(1, 100), {34, 96},
         {70, 98}}},
    {2, {{6, 18}, {28, 1}, {56, 8}, {58, 34}, {36, 68}, {12, 94}, {3, 84}, {20, 78}, {44, 92},
         {72, 94}}},
    {2, {{10, 12}, {40, 1}, {58, 20}, {44, 52}, CORNER(6, 98), {68, 100}}},
    {3, {{6, 10}, {30, 1}, {56, 10}, {52, 34}, CORNER(24, 46), {54, 54}, {66, 76}, {44, 98},
         {16, 98}, {1, 86}}},
    {3, {{6, 2}, CORNER(60, 2), CORNER(28, 42), {60, 54}, {62, 82}, {34, 100}, {2, 90}}},
    {3, {{4, 16}, {28, 1}, {54, 16}, {40, 40}, {26, 45}, {46, 50}, {62, 70}, {44, 96}, {14, 96},
         {4, 84}}},
    {4, {{16, 2}, {8, 30}, CORNER(2, 56), {30, 57}, {70, 52}, LIFT, {54, 6}, {50, 50}, {46, 100}}},
    {4, {{50, 1}, {22, 38}, CORNER(1, 68), {72, 66}, LIFT, {50, 2}, {50, 50}, {49, 100}}},
    {4, {{10, 1}, {5, 38}, {24, 54}, {52, 44}, CORNER(62, 2), {57, 50}, {54, 100}}},
    {5, {{16, 2}, CORNER(10, 44), {36, 38}, {62, 54}, {60, 84}, {32, 100}, {1, 90}, LIFT, {16, 2},
         {40, 2}, {66, 1}}},
    {5, {{64, 2}, CORNER(18, 4), CORNER(10, 44), {42, 40}, {62, 62}, {50, 92}, {18, 100}, {1, 88}}},
    {5, {{66, 4}, {30, 3}, {12, 22}, {24, 42}, {52, 54}, {58, 80}, {34, 100}, {4, 92}}},
    {6, {{52, 1}, {22, 24}, {5, 60}, {12, 92}, {38, 100}, {60, 80}, {50, 57}, {26, 57}, {8, 76}}},
    {6, {{40, 1}, {14, 36}, {3, 72}, {16, 98}, {44, 98}, {58, 78}, {42, 60}, {16, 66}, {6, 82}}},
    {6, {{34, 1}, {10, 40}, {6, 78}, {28, 100}, {54, 88}, {54, 62}, {34, 52}, {12, 64}}},
    {7, {{2, 4}, CORNER(64, 2), {44, 46}, {30, 100}}},
    {7, {{2, 6}, CORNER(64, 3), {42, 50}, {30, 100}, LIFT, {16, 54}, {40, 51}, {62, 48}}},
    {7, {{4, 22}, CORNER(7, 5), CORNER(64, 4), {44, 44}, {36, 100}}},
    {8, {{58, 14}, {34, 1}, {10, 14}, {20, 38}, {50, 58}, {62, 82}, {34, 100}, {6, 84}, {20, 58},
         {52, 34}, {60, 12}}},
    {8, {{34, 46}, {12, 26}, {30, 1}, {58, 20}, {34, 46}, {5, 72}, {30, 100}, {64, 78}, {34, 46}}},
    {8, {{54, 10}, {26, 2}, {14, 22}, {34, 46}, {58, 72}, {40, 99}, {10, 90}, {14, 66}, {40, 44},
         {56, 8}}},
    {9, {{58, 20}, {34, 1}, {6, 16}, {8, 42}, {34, 52}, CORNER(58, 22), {56, 60}, {46, 100}}},
    {9, {{56, 14}, {30, 2}, {6, 22}, {16, 48}, {44, 44}, CORNER(58, 14), {60, 60}, {42, 92},
         {12, 98}}},
    {9, {{60, 8}, {28, 4}, {5, 26}, {22, 48}, {54, 38}, CORNER(60, 8), {57, 50}, {52, 100}}},
};
/* clang-format on */
#define SKELETONS ((int)(sizeof skeletons / sizeof *skeletons))

typedef struct vec {
  float x, y;
} vec;

/* The random numbers of one image, uniform in [0, 1). */
typedef struct draws {
  float at[DRAWS];
  int next;
} draws;

static float draw(draws *d, float low, float high) { return low + (high - low) * d->at[d->next++]; }

/* A number around 0, mostly near it: the sum of two uniforms. */
static float tremble(draws *d, float most) {
  float first = draw(d, -0.5f, 0.5f);
  return most * (first + draw(d, -0.5f, 0.5f));
}

/* The skeleton's points with y from -0.5 to 0.5 and x to match, each moved a little. */
static int skeleton_points(const skeleton *s, draws *d, float tremor, vec *p, bool *lift) {
  int n = 0;
  for (; n < POINTS && (n == 0 || s->points[n].x || s->points[n].y); n++) {
    const pen_point *q = &s->points[n];
    lift[n] = q->x < 0;
    if (n > 0 && q->x == q[-1].x && q->y == q[-1].y) {
      p[n] = p[n - 1]; /* both halves of a corner move together */
    } else {
      p[n].x = (float)(q->x - 35) / 100 + tremble(d, tremor);
      p[n].y = (float)(q->y - 50) / 100 + tremble(d, tremor);
    }
  }
  return n;
}

/* Catmull and Rom's curve through b and c, at 0 <= t <= 1 from b to c. */
static vec curve(vec a, vec b, vec c, vec d, float t) {
  float t2 = t * t, t3 = t2 * t;
  float wa = -t3 + 2 * t2 - t, wb = 3 * t3 - 5 * t2 + 2, wc = -3 * t3 + 4 * t2 + t, wd = t3 - t2;
  return (vec){0.5f * (wa * a.x + wb * b.x + wc * c.x + wd * d.x),
               0.5f * (wa * a.y + wb * b.y + wc * c.y + wd * d.y)};
}

#define MOST_VERTICES (POINTS * PIECES)
/* The pen's path as straight pieces: from each vertex to the next, unless the pen is lifted. */
typedef struct path {
  int n;
  vec at[MOST_VERTICES];
  bool lift[MOST_VERTICES]; /* the pen leaves the paper after this vertex */
} path;

static void path_trace(path *to, int n, const vec *p, const bool *lift) {
  to->n = 0;
  for (int i = 0; i < n; i++) {
    if (lift[i]) continue;
    bool last = i + 1 == n || lift[i + 1];
    vec before = i == 0 || lift[i - 1] ? p[i] : p[i - 1];
    vec next = last ? p[i] : p[i + 1];
    vec after = last || i + 2 == n || lift[i + 2] ? next : p[i + 2];
    for (int piece = 0; piece < (last ? 1 : PIECES); piece++) {
      to->lift[to->n] = last;
      to->at[to->n++] = curve(before, p[i], next, after, (float)piece / PIECES);
    }
  }
}

/* Moves every vertex by a smooth field: random vectors on a grid, and between them a blend. */
static void path_bend(path *p, draws *d, float strength) {
  vec field[GRID][GRID];
  for (int i = 0; i < GRID * GRID; i++) {
    field[i / GRID][i % GRID].x = draw(d, -strength, strength);
    field[i / GRID][i % GRID].y = draw(d, -strength, strength);
  }
  for (int k = 0; k < p->n; k++) {
    float x = fminf(fmaxf((p->at[k].x + 0.5f) * (GRID - 1), 0), GRID - 1.001f);
    float y = fminf(fmaxf((p->at[k].y + 0.5f) * (GRID - 1), 0), GRID - 1.001f);
    int i = (int)y, j = (int)x;
    float u = x - (float)j, v = y - (float)i;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    float a = (1 - u) * (1 - v), b = u * (1 - v), c = (1 - u) * v, e = u * v;
    const vec *top = &field[i][j], *low = &field[i + 1][j];
    p->at[k].x += a * top[0].x + b * top[1].x + c * low[0].x + e * low[1].x;
    p->at[k].y += a * top[0].y + b * top[1].y + c * low[0].y + e * low[1].y;
  }
}

/* Slants, rotates and scales the path to pixels, and puts its middle near the image's. */
static void path_place(path *p, draws *d) {
  float size = draw(d, 16, 21), aspect = draw(d, 0.8f, 1.35f), slant = draw(d, -0.1f, 0.5f);
  float half = tremble(d, 0.14f); /* the tangent of half the angle, which is exact everywhere */
  float cosine = (1 - half * half) / (1 + half * half), sine = 2 * half / (1 + half * half);
  float left = 1e9f, right = -1e9f, top = 1e9f, bottom = -1e9f;
  for (int k = 0; k < p->n; k++) {
    float x = size * (aspect * p->at[k].x - slant * p->at[k].y), y = size * p->at[k].y;
    p->at[k] = (vec){cosine * x - sine * y, sine * x + cosine * y};
    left = fminf(left, p->at[k].x), right = fmaxf(right, p->at[k].x);
    top = fminf(top, p->at[k].y), bottom = fmaxf(bottom, p->at[k].y);
  }
  float dx = SIDE / 2.0f - (left + right) / 2 + tremble(d, 2.5f);
  float dy = SIDE / 2.0f - (top + bottom) / 2 + tremble(d, 2.5f);
  for (int k = 0; k < p->n; k++) p->at[k].x += dx, p->at[k].y += dy;
}

/* Ink that a piece of the path leaves on the pixels around it: full within the pen's radius,
 * none beyond radius + soft, in each pixel the most of all pieces. */
static void ink_piece(float *ink, vec from, vec to, float radius, float soft) {
  float reach = radius + soft, dx = to.x - from.x, dy = to.y - from.y;
  float length2 = dx * dx + dy * dy, inverse = length2 > 0 ? 1 / length2 : 0;
  int left = (int)fmaxf(0, fminf(from.x, to.x) - reach);
  int right = (int)fminf(SIDE - 1, fmaxf(from.x, to.x) + reach);
  int top = (int)fmaxf(0, fminf(from.y, to.y) - reach);
  int bottom = (int)fminf(SIDE - 1, fmaxf(from.y, to.y) + reach);
  for (int i = top; i <= bottom; i++) {
    for (int j = left; j <= right; j++) {
      float x = (float)j + 0.5f - from.x, y = (float)i + 0.5f - from.y;
      float t = fminf(fmaxf((x * dx + y * dy) * inverse, 0), 1);
      x -= t * dx, y -= t * dy;
      float distance = sqrtf(x * x + y * y);
      float v = fminf(fmaxf((reach - distance) / (2 * soft), 0), 1);
      ink[i * SIDE + j] = fmaxf(ink[i * SIDE + j], v * v * (3 - 2 * v));
    }
  }
}

static void path_ink(const path *p, draws *d, float *ink) {
  float radius = draw(d, 0.9f, 1.9f), soft = draw(d, 0.5f, 0.9f);
  float start = draw(d, 0.85f, 1.15f), end = draw(d, 0.75f, 1.1f); /* pressure */
  for (int k = 0; k + 1 < p->n; k++) {
    float pressure = start + (end - start) * (float)k / (float)p->n;
    if (!p->lift[k]) ink_piece(ink, p->at[k], p->at[k + 1], radius * pressure, soft);
  }
}

static uint8_t digit_draw(draws *d, uint8_t *image) {
  float ink[PIXELS] = {0};
  vec points[POINTS];
  bool lift[POINTS];
  path p;

  int digit = (int)draw(d, 0, 10), first = 0, styles = 0;
  for (int i = 0; i < SKELETONS; i++) {
    if (skeletons[i].digit < digit) first++;
    if (skeletons[i].digit == digit) styles++;
  }
  const skeleton *s = &skeletons[first + (int)draw(d, 0, (float)styles)];
  path_trace(&p, skeleton_points(s, d, 0.07f, points, lift), points, lift);
  path_bend(&p, d, draw(d, 0.02f, 0.12f));
  path_place(&p, d);
  path_ink(&p, d, ink);

  float full = draw(d, 230, 256), noise = draw(d, 0, 0.12f);
  for (int i = 0; i < PIXELS; i++) {
    float v = ink[i] + noise * (0.1f + ink[i]) * draw(d, -1, 1);
    image[i] = (uint8_t)(fminf(fmaxf(v, 0), 0.999f) * full);
  }
  return (uint8_t)digit;
}

/* core.digits(n, seed) -> images u8 [n,28,28], labels u8 [n] */
static int face_digits(lua_State *L) {
  mw_context *ctx = face_context(L);
  lua_Integer n = face_check_integer(L, 1, "digits", "n");
  uint64_t seed = (uint64_t)face_check_integer(L, 2, "digits", "seed");
  uint64_t seed_kept, position_kept;
  draws d;

  if (n < 0) return face_error(L, "digits: n is %lld, expected 0 or more", n);
  mw_spec images = mw_spec_of(MW_U8, 3, (int64_t[]){n, SIDE, SIDE});
  mw_spec labels = mw_spec_of(MW_U8, 1, (int64_t[]){n});
  uint8_t *image = face_push_blank(L, &images);
  uint8_t *label = face_push_blank(L, &labels);
  mw_random_state(ctx, &seed_kept, &position_kept);
  for (int64_t k = 0; k < n; k++) {
    mw_random_restore(ctx, seed, (uint64_t)k << DRAWS_LOG);
    mw_random_uniform(ctx, MW_F32, DRAWS, d.at, 0, 1);
    d.next = 0;
    label[k] = digit_draw(&d, image + k * PIXELS);
  }
  mw_random_restore(ctx, seed_kept, position_kept);
  return 2;
}

void face_open_digits(lua_State *L) {
  static const luaL_Reg functions[] = {{"digits", face_digits}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
