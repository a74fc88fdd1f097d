/* image.c: decodes PNG and JPEG files, by libpng and libjpeg, and brings them to a size. */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef MW_HAS_PNG
#include <png.h>
#endif
#ifdef MW_HAS_JPEG
#include <jpeglib.h>
#include <jerror.h>
#endif

#include "../graph/parallel.h"
#include "face.h"

enum { MOST_SIDE = 1 << 16 };                        /* pixels */
static const int64_t most_pixels = (int64_t)1 << 28; /* of an image that is decoded */

/* Rows of pixels of `channels` bytes, 1 or 3. */
typedef struct picture {
  int64_t height, width;
  int channels;
  uint8_t *bytes; /* malloc'd */
  char why[240];  /* of a failure */
} picture;

static mw_status fail(picture *p, const char *why) {
  snprintf(p->why, sizeof p->why, "%s", why);
  return MW_FAILED;
}

/* Memory for it, before anything is decoded; its size is known. */
static mw_status make_room(picture *p) {
  if (p->height < 1 || p->width < 1 || p->height > MOST_SIDE || p->width > MOST_SIDE ||
      p->height * p->width > most_pixels) {
    snprintf(p->why, sizeof p->why, "it would be %lld pixels high and %lld wide",
             (long long)p->height, (long long)p->width);
    return MW_FAILED;
  }
  p->bytes = malloc((size_t)(p->height * p->width * p->channels));
  return p->bytes ? MW_OK : fail(p, "out of memory");
}

/* ---- PNG ----------------------------------------------------------------------------------- */

#ifdef MW_HAS_PNG
/* Transparent pixels are laid on white. */
static mw_status decode_png(const void *data, size_t size, picture *p) {
  png_image image = {.version = PNG_IMAGE_VERSION};
  const png_color white = {255, 255, 255};
  if (!png_image_begin_read_from_memory(&image, data, size)) return fail(p, image.message);
  if (p->channels == 0) p->channels = image.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
  image.format = p->channels == 3 ? PNG_FORMAT_RGB : PNG_FORMAT_GRAY;
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  p->height = image.height;
  p->width = image.width;
  if (make_room(p)) {
    png_image_free(&image);
    return MW_FAILED;
  }
  if (!png_image_finish_read(&image, &white, p->bytes, 0, NULL)) return fail(p, image.message);
  return MW_OK;
}
#else
static mw_status decode_png(const void *data, size_t size, picture *p) {
  (void)data, (void)size;
  return fail(p,
              "PNG files are read by libpng, which was not there when Moonwalk was built "
              "(apt-get install libpng-dev, then make)");
}
#endif

/* ---- JPEG ---------------------------------------------------------------------------------- */

#ifdef MW_HAS_JPEG
typedef struct jpeg_failure {
  struct jpeg_error_mgr base; /* first: libjpeg hands out a pointer to it */
  jmp_buf back;
  char text[JMSG_LENGTH_MAX];
} jpeg_failure;

static void jpeg_stop(j_common_ptr jpeg) {
  jpeg_failure *failure = (jpeg_failure *)jpeg->err;
  jpeg->err->format_message(jpeg, failure->text);
  longjmp(failure->back, 1);
}

/* Of a file that ends early libjpeg would make the rest grey: an error like any other. */
static void jpeg_warn(j_common_ptr jpeg, int level) {
  const int code = jpeg->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) jpeg_stop(jpeg);
}

static mw_status decode_jpeg(const void *data, size_t size, picture *p) {
  struct jpeg_decompress_struct jpeg = {0};
  jpeg_failure failure;
  jpeg.err = jpeg_std_error(&failure.base);
  failure.base.error_exit = jpeg_stop;
  failure.base.emit_message = jpeg_warn;
  if (setjmp(failure.back)) {
    jpeg_destroy_decompress(&jpeg);
    return fail(p, failure.text);
  }
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, data, (unsigned long)size);
  jpeg_read_header(&jpeg, TRUE);
  if (p->channels == 0) p->channels = jpeg.num_components == 1 ? 1 : 3;
  jpeg.out_color_space = p->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  p->height = jpeg.image_height;
  p->width = jpeg.image_width;
  if (make_room(p)) {
    jpeg_destroy_decompress(&jpeg);
    return MW_FAILED;
  }
  jpeg_start_decompress(&jpeg);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW row = p->bytes + (int64_t)jpeg.output_scanline * p->width * p->channels;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return MW_OK;
}
#else
static mw_status decode_jpeg(const void *data, size_t size, picture *p) {
  (void)data, (void)size;
  return fail(p,
              "JPEG files are read by libjpeg, which was not there when Moonwalk was built "
              "(apt-get install libjpeg-dev, then make)");
}
#endif

static mw_status decode(const void *data, size_t size, picture *p) {
  static const uint8_t png[] = {0x89, 'P', 'N', 'G'}, jpeg[] = {0xff, 0xd8, 0xff};
  if (size >= sizeof png && memcmp(data, png, sizeof png) == 0) return decode_png(data, size, p);
  if (size >= sizeof jpeg && memcmp(data, jpeg, sizeof jpeg) == 0)
    return decode_jpeg(data, size, p);
  return fail(p, "it is neither a PNG nor a JPEG file");
}

/* ---- sizes --------------------------------------------------------------------------------- */

/* What one pixel of the result is made of, along one axis: where it covers more than one pixel of
 * the picture their mean, each weighted by how much of it is covered, and where it covers less the
 * linear interpolation of two. It begins at offset + i scale. */
typedef struct span {
  int64_t first, last;
  double head, tail; /* weights of the first and the last pixel; the others have 1 */
} span;

static span span_of(int64_t i, double scale, double offset, int64_t size) {
  double low = offset + (double)i * scale, high = low + scale;
  span s;
  if (scale < 1) { /* between the middles of two pixels */
    const double at = (low + high) / 2 - 0.5;
    const double inside = at < 0 ? 0 : at > (double)(size - 1) ? (double)(size - 1) : at;
    s.first = (int64_t)inside;
    s.last = s.first + 1 < size ? s.first + 1 : s.first;
    s.tail = inside - (double)s.first;
    s.head = 1 - s.tail;
    return s;
  }
  low = low < 0 ? 0 : low;
  high = high > (double)size ? (double)size : high;
  s.first = (int64_t)low;
  s.last = (int64_t)high;
  s.head = 1 - (low - (double)s.first);
  s.tail = high - (double)s.last;
  if (s.last >= size || s.tail < 1e-9) s.last--, s.tail = 1;
  if (s.last == s.first) s.head = high - low;
  return s;
}

static double weight(const span *s, int64_t i) {
  return i == s->first ? s->head : i == s->last ? s->tail : 1;
}

/* The middle of the picture, as large as has the result's form, as planes [channels, height,
 * width]. */
static void fit(const picture *p, int64_t height, int64_t width, uint8_t *to) {
  if (p->height == height && p->width == width) {
    for (int c = 0; c < p->channels; c++)
      for (int64_t i = 0; i < height * width; i++) *to++ = p->bytes[i * p->channels + c];
    return;
  }
  double scale = (double)p->height / (double)height, other = (double)p->width / (double)width;
  scale = scale < other ? scale : other;
  const double top = ((double)p->height - scale * (double)height) / 2;
  const double left = ((double)p->width - scale * (double)width) / 2;
  for (int64_t y = 0; y < height; y++) {
    const span down = span_of(y, scale, top, p->height);
    for (int64_t x = 0; x < width; x++) {
      const span across = span_of(x, scale, left, p->width);
      double sums[3] = {0}, total = 0;
      for (int64_t i = down.first; i <= down.last; i++) {
        for (int64_t j = across.first; j <= across.last; j++) {
          const double w = weight(&down, i) * weight(&across, j);
          const uint8_t *pixel = p->bytes + (i * p->width + j) * p->channels;
          total += w;
          for (int c = 0; c < p->channels; c++) sums[c] += w * pixel[c];
        }
      }
      for (int c = 0; c < p->channels; c++)
        to[(c * height + y) * width + x] = (uint8_t)(sums[c] / total + 0.5);
    }
  }
}

/* ---- files --------------------------------------------------------------------------------- */

static mw_status read_file(const char *path, char **data, size_t *size, picture *p) {
  FILE *file = fopen(path, "rb");
  long length = -1;
  *data = NULL;
  if (!file) return fail(p, strerror(errno));
  if (fseek(file, 0, SEEK_END) == 0) length = ftell(file);
  if (length < 0 || length > (1l << 30) || fseek(file, 0, SEEK_SET) != 0) {
    fclose(file);
    return fail(p, "not a regular file, or larger than 1 GB");
  }
  *data = malloc(length > 0 ? (size_t)length : 1);
  *size = *data ? fread(*data, 1, (size_t)length, file) : 0;
  const bool whole = *data && *size == (size_t)length;
  fclose(file);
  if (whole) return MW_OK;
  free(*data);
  return fail(p, *data ? "it cannot be read" : "out of memory");
}

static mw_status load(const char *path, picture *p) {
  char *data;
  size_t size;
  if (read_file(path, &data, &size, p)) return MW_FAILED;
  const mw_status status = decode(data, size, p);
  free(data);
  if (status) {
    free(p->bytes);
    p->bytes = NULL;
  }
  return status;
}

/* The pictures of a set, which threads load side by side. */
typedef struct album {
  int64_t n, height, width;
  int channels;
  bool fits; /* pictures of other sizes are made to fit */
  uint8_t *to;
  const char **paths;
  int64_t *failed; /* for each worker: the first picture that it failed at, or n */
  picture *last;   /* and that picture */
} album;

static void load_into(void *arg, int64_t i, int worker) {
  album *a = arg;
  picture p = {.channels = a->channels};
  mw_status status = load(a->paths[i], &p);
  if (!status && !a->fits && (p.height != a->height || p.width != a->width)) {
    snprintf(p.why, sizeof p.why,
             "it is %lld pixels high and %lld wide, the first one %lld and %lld; size = {height, "
             "width} makes them fit",
             (long long)p.height, (long long)p.width, (long long)a->height, (long long)a->width);
    status = MW_FAILED;
  }
  if (!status) fit(&p, a->height, a->width, a->to + i * a->channels * a->height * a->width);
  free(p.bytes);
  p.bytes = NULL;
  if (status && i < a->failed[worker]) {
    a->failed[worker] = i;
    a->last[worker] = p;
  }
}

static int push_failure(lua_State *L, const char *path, const char *why) {
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: %s", path, why);
  return 2;
}

/* What is not said of the form is that of the first picture. */
static mw_status take_form(album *a, picture *p) {
  *p = (picture){.channels = a->channels};
  if (load(a->paths[0], p)) return MW_FAILED;
  a->channels = p->channels;
  if (!a->fits) a->height = p->height, a->width = p->width;
  free(p->bytes);
  return MW_OK;
}

/* core.images({path, ...}, channels, height, width) -> u8 [n, channels, height, width], or nil and
 * a message. 0 for channels, or for height and width, takes what the first file has; then all files
 * must have that size. */
static int face_images(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  mw_context *ctx = face_context(L);
  const int workers = mw_threads(ctx);
  album a = {.n = luaL_len(L, 1),
             .channels = (int)face_check_integer(L, 2, "images", "channels"),
             .height = face_check_integer(L, 3, "images", "height"),
             .width = face_check_integer(L, 4, "images", "width")};
  picture first;
  a.fits = a.height > 0;
  a.paths = lua_newuserdatauv(L, (size_t)(a.n + 1) * sizeof *a.paths, 0);
  a.failed = lua_newuserdatauv(L, (size_t)workers * sizeof *a.failed, 0);
  a.last = lua_newuserdatauv(L, (size_t)workers * sizeof *a.last, 0);
  for (int w = 0; w < workers; w++) a.failed[w] = a.n;
  for (int64_t i = 0; i < a.n; i++) {
    lua_geti(L, 1, i + 1);
    a.paths[i] = face_check_text(L, -1, "images", "a path"); /* which the table keeps */
    lua_pop(L, 1);
  }
  if (a.n > 0 && take_form(&a, &first)) return push_failure(L, a.paths[0], first.why);
  const mw_spec spec = mw_spec_of(MW_U8, 4, (int64_t[]){a.n, a.channels, a.height, a.width});
  a.to = face_push_blank(L, &spec);
  mw_host_parallel(ctx, a.n, load_into, &a);
  int worst = 0;
  for (int w = 1; w < workers; w++)
    if (a.failed[w] < a.failed[worst]) worst = w;
  if (a.failed[worst] < a.n) return push_failure(L, a.paths[a.failed[worst]], a.last[worst].why);
  return 1;
}

void face_open_image(lua_State *L) {
  static const luaL_Reg functions[] = {{"images", face_images}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
