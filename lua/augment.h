/* augment.h: random changes to an image, so that a network does not see it twice in the same way.
 * Plain functions over bytes: they know neither Lua nor a graph, and run on any thread. */
#ifndef MW_AUGMENT_H
#define MW_AUGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct augment_size {
  int64_t channels, height, width;
} augment_size;

typedef struct augment_range {
  float low, high; /* drawn uniformly */
} augment_range;

/* What is done to an image, in this order; it is moved by one resampling. */
typedef struct augment {
  bool moves;                      /* whether any of these does anything */
  augment_range shift_x, shift_y;  /* pixels, to the right and down */
  augment_range rotate;            /* degrees, counter-clockwise */
  augment_range scale;             /* 1 leaves it as it is; more than 0 */
  augment_range shear;             /* degrees that vertical lines lean to the right */
  float elastic;                   /* pixels: how far about points move on their own */
  float spacing;                   /* pixels between the knots of that field; more than 0 */
  bool edge;                       /* what lies outside of the image is the nearest pixel, */
  float fill;                      /* or else this */
  int64_t pad;                     /* pixels of `fill` around the image before it is cropped */
  int64_t crop_height, crop_width; /* 0: none */
  bool center;                     /* crops from the middle, not at random */
  float flip, flip_vertical;       /* probabilities of a reflection, left-right and up-down */
  float noise;                     /* standard deviation of what is added */
  const float *mean, *inverse;     /* per channel; NULL: not normalised */
  float erase;                     /* probability that a rectangle is set to 0 */
  augment_range erase_area;        /* its share of the image */
} augment;

/* The size of what comes out. */
augment_size augment_output(const augment *a, augment_size in);
/* How many floats of scratch augment_image needs. */
size_t augment_scratch(const augment *a, augment_size in);
/* Augments the image [channels, height, width], which is overwritten, into `to`. What is drawn
 * depends on key and stage alone; stages are numbered 0 to 255. */
void augment_image(const augment *a, augment_size in, uint64_t key, int stage, float *image,
                   float *to, float *scratch);

#endif
