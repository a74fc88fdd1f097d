/* augment.c: random changes to an image: it is moved, bent, cropped, reflected, made noisy,
 * normalised, and partly erased.
 *
 * Each change draws from a sequence of its own, so that switching one on leaves the others as they
 * were. Nothing here depends on the order in which images are worked on, or on which thread. */
#include "augment.h"

#include <math.h>
#include <string.h>

#include "../graph/philox.h"

/* ---- random numbers ------------------------------------------------------------------------ */

enum purpose { MOVING, BENDING, CROPPING, FLIPPING, NOISE, ERASING };

typedef struct draws {
  uint64_t key, counter;
  uint32_t words[4];
  int left;
} draws;

static draws draws_for(uint64_t key, int stage, enum purpose purpose) {
  return (draws){.key = key, .counter = (uint64_t)stage << 56 | (uint64_t)purpose << 48};
}

/* Uniform in [0, 1), with the 24 bits that a float holds exactly. */
static float draw(draws *d) {
  if (d->left == 0) {
    mw_philox(d->key, d->counter++, d->words);
    d->left = 4;
  }
  return (float)(d->words[--d->left] >> 8) * 0x1p-24f;
}

static float draw_from(draws *d, augment_range range) {
  return range.low + (range.high - range.low) * draw(d);
}

/* 0 to n - 1 */
static int64_t draw_below(draws *d, int64_t n) {
  int64_t i = (int64_t)((double)draw(d) * (double)n);
  return i < n ? i : n - 1;
}

/* ---- moving -------------------------------------------------------------------------------- */

/* The image with a border, one pixel before and two behind, in which a point just outside is
 * interpolated like any other. */
static void surround(const augment *a, augment_size s, const float *image, float *padded) {
  const int64_t wide = s.width + 3;
  for (int64_t c = 0; c < s.channels; c++) {
    const float *from = image + c * s.height * s.width;
    float *to = padded + c * (s.height + 3) * wide;
    for (int64_t y = -1; y < s.height + 2; y++, to += wide) {
      const bool outside = y < 0 || y >= s.height;
      if (outside && !a->edge) {
        for (int64_t x = 0; x < wide; x++) to[x] = a->fill;
        continue;
      }
      const float *row = from + (y < 0 ? 0 : y < s.height ? y : s.height - 1) * s.width;
      memcpy(to + 1, row, (size_t)s.width * sizeof *row);
      to[0] = a->edge ? row[0] : a->fill;
      to[s.width + 1] = to[s.width + 2] = a->edge ? row[s.width - 1] : a->fill;
    }
  }
}

/* The affine map from a pixel of the result to the point of the image that is seen there, both
 * relative to the image's middle. */
typedef struct affine {
  float xx, xy, yx, yy; /* x = xx x' + xy y', y = yx x' + yy y' */
  float dx, dy;         /* subtracted from x' and y' before */
} affine;

/* The image is sheared, scaled, rotated, and shifted; this is the inverse. */
static affine draw_affine(const augment *a, draws *d) {
  const float to_radians = 0.017453292519943295f;
  affine m = {.dx = draw_from(d, a->shift_x), .dy = draw_from(d, a->shift_y)};
  const float angle = draw_from(d, a->rotate) * to_radians;
  const float lean = tanf(draw_from(d, a->shear) * to_radians);
  const float shrink = 1 / draw_from(d, a->scale), c = cosf(angle), s = sinf(angle);
  m.xx = shrink * (c + lean * s), m.xy = shrink * (lean * c - s);
  m.yx = shrink * s, m.yy = shrink * c;
  return m;
}

/* A field of displacements that is smooth: random vectors at the knots of a grid, and between them
 * a cubic B-spline, as in Ronneberger, Fischer and Brox, "U-Net", MICCAI 2015. */
typedef struct field {
  int64_t across, down; /* knots */
  float spacing;
  float *knots;   /* [2, down, across]: x, then y */
  float *row;     /* [2, across]: the knots' splines at one y */
  float *weights; /* [4, width]: those of the four knots around each x */
  int32_t *first; /* [width]: the first of these knots */
} field;

static int64_t knots_along(int64_t pixels, float spacing) {
  return (int64_t)((float)(pixels - 1) / spacing) + 4;
}

static void spline_weights(float t, float w[4]) {
  const float s = 1 - t;
  w[0] = s * s * s / 6;
  w[1] = (4 - 6 * t * t + 3 * t * t * t) / 6;
  w[2] = (4 - 6 * s * s + 3 * s * s * s) / 6;
  w[3] = t * t * t / 6;
}

static field draw_field(const augment *a, augment_size s, draws *d, float *scratch) {
  /* The spline of independent knots has on average 151/315 of their variance for each direction
   * (the integral of the cubic B-spline's square); a uniform number in [-1, 1) has 1/3. */
  const float most = a->elastic * 1.7320508f / 0.47936508f;
  field f = {.across = knots_along(s.width, a->spacing),
             .down = knots_along(s.height, a->spacing),
             .spacing = a->spacing,
             .knots = scratch};
  f.row = f.knots + 2 * f.across * f.down;
  f.weights = f.row + 2 * f.across;
  for (int64_t i = 0; i < 2 * f.across * f.down; i++) f.knots[i] = most * (2 * draw(d) - 1);
  f.first = (int32_t *)(void *)(f.weights + 4 * s.width);
  for (int64_t x = 0; x < s.width; x++) {
    const float at = (float)x / a->spacing;
    float w[4];
    f.first[x] = (int32_t)at;
    spline_weights(at - (float)f.first[x], w);
    for (int k = 0; k < 4; k++) f.weights[k * s.width + x] = w[k];
  }
  return f;
}

/* The splines along x of the row y: f->row becomes the four rows of knots around it, weighted. */
static void field_row(const field *f, int64_t y) {
  const float at = (float)y / f->spacing;
  const int64_t first = (int64_t)at;
  float w[4];
  spline_weights(at - (float)first, w);
  for (int part = 0; part < 2; part++) {
    const float *k = f->knots + (part * f->down + first) * f->across;
    for (int64_t i = 0; i < f->across; i++)
      f->row[part * f->across + i] = w[0] * k[i] + w[1] * k[i + f->across] +
                                     w[2] * k[i + 2 * f->across] + w[3] * k[i + 3 * f->across];
  }
}

/* Adds the field's displacements along a row to the points that are looked at there. */
static void field_bend(const field *f, int64_t width, float *restrict x, float *restrict y) {
  const float *w0 = f->weights, *w1 = w0 + width, *w2 = w1 + width, *w3 = w2 + width;
  for (int64_t j = 0; j < width; j++) {
    const float *kx = f->row + f->first[j], *ky = kx + f->across;
    x[j] += w0[j] * kx[0] + w1[j] * kx[1] + w2[j] * kx[2] + w3[j] * kx[3];
    y[j] += w0[j] * ky[0] + w1[j] * ky[1] + w2[j] * ky[2] + w3[j] * ky[3];
  }
}

/* Not a number goes to low. */
static inline float clamp(float v, float low, float high) {
  v = v > low ? v : low;
  return v < high ? v : high;
}

/* What a row of the result is made of: the points x, y of the image, which become their fractions,
 * and the pixel of the surrounded image to the upper left of each. */
typedef struct points {
  float *restrict x, *restrict y;
  int32_t *restrict at;
} points;

static void aim(const affine *m, augment_size s, int64_t i, points p) {
  const float middle_x = (float)(s.width - 1) / 2, middle_y = (float)(s.height - 1) / 2;
  const float dy = (float)i - middle_y - m->dy;
  for (int32_t j = 0; j < (int32_t)s.width; j++) {
    const float dx = (float)j - middle_x - m->dx;
    p.x[j] = m->xx * dx + m->xy * dy + middle_x;
    p.y[j] = m->yx * dx + m->yy * dy + middle_y;
  }
}

static void locate(augment_size s, points p) {
  const int32_t wide = (int32_t)s.width + 3;
  const float right = (float)(s.width + 1), bottom = (float)(s.height + 1);
  for (int64_t j = 0; j < s.width; j++) {
    const float x = clamp(p.x[j] + 1, 0, right), y = clamp(p.y[j] + 1, 0, bottom);
    const int32_t ix = (int32_t)x, iy = (int32_t)y;
    p.x[j] = x - (float)ix;
    p.y[j] = y - (float)iy;
    p.at[j] = iy * wide + ix;
  }
}

/* Bilinear interpolation. */
static void sample(int64_t width, const float *padded, points p, float *restrict to, int64_t wide) {
  for (int64_t j = 0; j < width; j++) {
    const float *at = padded + p.at[j];
    const float top = at[0] + p.x[j] * (at[1] - at[0]);
    const float low = at[wide] + p.x[j] * (at[wide + 1] - at[wide]);
    to[j] = top + p.y[j] * (low - top);
  }
}

static void move(const augment *a, augment_size s, uint64_t key, int stage, float *image,
                 float *scratch) {
  draws moving = draws_for(key, stage, MOVING), bending = draws_for(key, stage, BENDING);
  const affine m = draw_affine(a, &moving);
  const int64_t wide = s.width + 3, plane = (s.height + 3) * wide;
  const points p = {scratch, scratch + s.width, (int32_t *)(void *)(scratch + 2 * s.width)};
  float *padded = scratch + 3 * s.width, *rest = padded + s.channels * plane;
  const bool bends = a->elastic > 0;
  const field f = bends ? draw_field(a, s, &bending, rest) : (field){.across = 0};
  surround(a, s, image, padded);
  for (int64_t i = 0; i < s.height; i++) {
    aim(&m, s, i, p);
    if (bends) field_row(&f, i), field_bend(&f, s.width, p.x, p.y);
    locate(s, p);
    for (int64_t c = 0; c < s.channels; c++)
      sample(s.width, padded + c * plane, p, image + (c * s.height + i) * s.width, wide);
  }
}

/* ---- the others ---------------------------------------------------------------------------- */

static void crop(const augment *a, augment_size s, augment_size out, draws d, const float *image,
                 float *to) {
  const int64_t spare_y = s.height + 2 * a->pad - out.height;
  const int64_t spare_x = s.width + 2 * a->pad - out.width;
  const int64_t y = (a->center ? spare_y / 2 : draw_below(&d, spare_y + 1)) - a->pad;
  const int64_t x = (a->center ? spare_x / 2 : draw_below(&d, spare_x + 1)) - a->pad;
  /* Columns left of the image, in it, and right of it. */
  const int64_t left = x < 0 ? (-x < out.width ? -x : out.width) : 0;
  const int64_t end = s.width - x < out.width ? s.width - x : out.width;
  for (int64_t c = 0; c < s.channels; c++, image += s.height * s.width) {
    for (int64_t i = y; i < y + out.height; i++, to += out.width) {
      const bool inside = i >= 0 && i < s.height && left < end;
      if (!inside || end - left < out.width)
        for (int64_t j = 0; j < out.width; j++) to[j] = a->fill;
      if (inside)
        memcpy(to + left, image + i * s.width + x + left, (size_t)(end - left) * sizeof *to);
    }
  }
}

static void flip(augment_size s, bool across, bool down, float *image) {
  for (int64_t c = 0; c < s.channels; c++, image += s.height * s.width) {
    for (int64_t i = 0; across && i < s.height; i++) {
      float *row = image + i * s.width;
      for (int64_t j = 0, k = s.width - 1; j < k; j++, k--) {
        const float kept = row[j];
        row[j] = row[k];
        row[k] = kept;
      }
    }
    for (int64_t i = 0, k = s.height - 1; down && i < k; i++, k--) {
      for (int64_t j = 0; j < s.width; j++) {
        const float kept = image[i * s.width + j];
        image[i * s.width + j] = image[k * s.width + j];
        image[k * s.width + j] = kept;
      }
    }
  }
}

/* Box and Muller (1958): two uniforms give two normals. 1 - u keeps the logarithm finite. */
static void add_noise(float deviation, int64_t n, draws d, float *image) {
  for (int64_t i = 0; i < n; i += 2) {
    const float radius = deviation * sqrtf(-2 * logf(1 - draw(&d)));
    const float angle = 6.2831853f * draw(&d);
    image[i] += radius * cosf(angle);
    if (i + 1 < n) image[i + 1] += radius * sinf(angle);
  }
}

static void normalise(const augment *a, augment_size s, float *image) {
  const int64_t plane = s.height * s.width;
  for (int64_t c = 0; c < s.channels; c++)
    for (int64_t i = 0; i < plane; i++)
      image[c * plane + i] = (image[c * plane + i] - a->mean[c]) * a->inverse[c];
}

/* Zhong, Zheng, Kang, Li and Yang, "Random erasing data augmentation", AAAI 2020: a rectangle of
 * some share of the image, 3:10 to 10:3 in form, anywhere inside. */
static void erase(augment_range area, augment_size s, draws d, float *image) {
  const float pixels = draw_from(&d, area) * (float)(s.height * s.width);
  const float form = expf(draw_from(&d, (augment_range){-1.2039728f, 1.2039728f}));
  int64_t height = (int64_t)(sqrtf(pixels * form) + 0.5f);
  int64_t width = (int64_t)(sqrtf(pixels / form) + 0.5f);
  height = height < s.height ? height : s.height;
  width = width < s.width ? width : s.width;
  const int64_t y = draw_below(&d, s.height - height + 1);
  const int64_t x = draw_below(&d, s.width - width + 1);
  for (int64_t c = 0; c < s.channels; c++)
    for (int64_t i = y; i < y + height; i++)
      memset(image + (c * s.height + i) * s.width + x, 0, (size_t)width * sizeof *image);
}

/* ---- all of them --------------------------------------------------------------------------- */

augment_size augment_output(const augment *a, augment_size in) {
  if (a->crop_height == 0) return in;
  return (augment_size){in.channels, a->crop_height, a->crop_width};
}

size_t augment_scratch(const augment *a, augment_size in) {
  if (!a->moves) return 0;
  int64_t floats = 3 * in.width + in.channels * (in.height + 3) * (in.width + 3);
  if (a->elastic > 0) {
    const int64_t across = knots_along(in.width, a->spacing);
    floats += 2 * across * (knots_along(in.height, a->spacing) + 1) + 5 * in.width;
  }
  return (size_t)floats;
}

void augment_image(const augment *a, augment_size in, uint64_t key, int stage, float *image,
                   float *to, float *scratch) {
  const augment_size out = augment_output(a, in);
  const int64_t n = out.channels * out.height * out.width;
  if (n == 0) return;
  if (a->moves && in.height > 0 && in.width > 0) move(a, in, key, stage, image, scratch);
  if (a->crop_height) crop(a, in, out, draws_for(key, stage, CROPPING), image, to);
  else memcpy(to, image, (size_t)n * sizeof *to);
  if (a->flip > 0 || a->flip_vertical > 0) {
    draws d = draws_for(key, stage, FLIPPING);
    const bool across = draw(&d) < a->flip, down = draw(&d) < a->flip_vertical;
    flip(out, across, down, to);
  }
  if (a->noise > 0) add_noise(a->noise, n, draws_for(key, stage, NOISE), to);
  if (a->mean) normalise(a, out, to);
  if (a->erase > 0) {
    draws d = draws_for(key, stage, ERASING);
    if (draw(&d) < a->erase) erase(a->erase_area, out, d, to);
  }
}
