/* idx.c: reads IDX files, the format of MNIST, gzipped or plain.
 *
 * An IDX file is two zero bytes, a byte for the element type, a byte for the rank, each size as a
 * big-endian 32-bit number, and then the elements, big-endian and row-major (LeCun, Cortes and
 * Burges, "The MNIST database of handwritten digits"). Nothing in it is believed before it is
 * checked: the sizes are held against the size of the file before memory is taken. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "face.h"

typedef struct idx_element {
  uint8_t code;   /* in the file's third byte */
  int64_t size;   /* bytes in the file */
  mw_dtype dtype; /* of the tensor */
} idx_element;

static const idx_element idx_elements[] = {
    {0x08, 1, MW_U8},  {0x09, 1, MW_I32}, {0x0B, 2, MW_I32},
    {0x0C, 4, MW_I32}, {0x0D, 4, MW_F32}, {0x0E, 8, MW_F64},
};

typedef struct idx_file {
  gzFile stream;
  int64_t size; /* of the file on the disk, as it lies there */
  char why[320];
} idx_file;

#define IDX_CHUNK (1 << 15) /* bytes read at a time, a multiple of every element's size */

/* One byte of deflate gives at most 1032 bytes (zlib's technical details). */
#define IDX_MOST_INFLATED 1032

static mw_status idx_fail(idx_file *file, const char *format, ...) MW_PRINTF(2, 3);
static mw_status idx_fail(idx_file *file, const char *format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(file->why, sizeof file->why, format, list);
  va_end(list);
  return MW_FAILED;
}

static mw_status idx_open(idx_file *file, const char *path) {
  struct stat about;
  int handle = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (handle < 0) return idx_fail(file, "%s", strerror(errno));
  if (fstat(handle, &about) != 0 || !S_ISREG(about.st_mode)) {
    close(handle);
    return idx_fail(file, "not a regular file");
  }
  file->size = about.st_size;
  file->stream = gzdopen(handle, "rb");
  if (!file->stream) {
    close(handle);
    return idx_fail(file, "out of memory");
  }
  gzbuffer(file->stream, 1 << 16);
  return MW_OK;
}

/* Why reading stopped short: the decoder's reason, or the end of the file. */
static mw_status idx_fail_short(idx_file *file) {
  int code;
  const char *text = gzerror(file->stream, &code);
  if (code == Z_ERRNO) return idx_fail(file, "%s", strerror(errno));
  if (code == Z_BUF_ERROR || code == Z_OK) return idx_fail(file, "truncated: the data ends early");
  const char *reason = strstr(text, ": "); /* behind zlib's name for the file */
  return idx_fail(file, "damaged gzip data: %s", reason ? reason + 2 : text);
}

static mw_status idx_read(idx_file *file, void *to, unsigned bytes) {
  int got = gzread(file->stream, to, bytes);
  return got == (int)bytes ? MW_OK : idx_fail_short(file);
}

static const idx_element *idx_element_of(uint8_t code) {
  for (size_t i = 0; i < sizeof idx_elements / sizeof *idx_elements; i++)
    if (idx_elements[i].code == code) return &idx_elements[i];
  return NULL;
}

/* Holds the bytes that the header promises against those that there can be. */
static mw_status idx_check_size(idx_file *file, int64_t header, int64_t data) {
  if (gzdirect(file->stream)) {
    if (header + data == file->size) return MW_OK;
    return idx_fail(file, "%s: its header promises %lld bytes, the file has %lld",
                    header + data > file->size ? "truncated" : "oversized",
                    (long long)(header + data), (long long)file->size);
  }
  if (data / IDX_MOST_INFLATED <= file->size) return MW_OK;
  return idx_fail(file, "its header promises %lld bytes, more than %lld compressed bytes can hold",
                  (long long)data, (long long)file->size);
}

static mw_status idx_header(idx_file *file, mw_spec *spec, const idx_element **element) {
  uint8_t magic[4], size[4];
  int64_t count = 1, bytes;
  if (idx_read(file, magic, sizeof magic)) return MW_FAILED;
  *element = idx_element_of(magic[2]);
  if (magic[0] || magic[1] || !*element)
    return idx_fail(file,
                    "not an IDX file: it begins with %02x %02x %02x %02x, expected 00 00, "
                    "a type (08 09 0b 0c 0d 0e) and a rank",
                    magic[0], magic[1], magic[2], magic[3]);
  if (magic[3] > MW_MAX_RANK)
    return idx_fail(file, "it has rank %d, at most %d is possible", magic[3], MW_MAX_RANK);
  *spec = (mw_spec){.dtype = (*element)->dtype, .rank = magic[3]};
  for (int i = 0; i < spec->rank; i++) {
    if (idx_read(file, size, sizeof size)) return MW_FAILED;
    spec->shape[i] = ((int64_t)size[0] << 24) | (size[1] << 16) | (size[2] << 8) | size[3];
    if (__builtin_mul_overflow(count, spec->shape[i], &count))
      return idx_fail(file, "its sizes overflow");
  }
  /* The tensor's element may be wider than the file's. */
  if (__builtin_mul_overflow(count, (int64_t)8, &bytes))
    return idx_fail(file, "its sizes overflow");
  return idx_check_size(file, 4 + 4 * (int64_t)spec->rank, count * (*element)->size);
}

static uint32_t idx_word(const uint8_t *from) {
  return ((uint32_t)from[0] << 24) | ((uint32_t)from[1] << 16) | ((uint32_t)from[2] << 8) | from[3];
}

/* n elements from the file's form to the tensor's. */
static void idx_convert(const idx_element *element, int64_t n, const uint8_t *from, void *to) {
  switch (element->code) {
    case 0x08: memcpy(to, from, (size_t)n); break;
    case 0x09:
      for (int64_t i = 0; i < n; i++) ((int32_t *)to)[i] = (int8_t)from[i];
      break;
    case 0x0B:
      for (int64_t i = 0; i < n; i++)
        ((int32_t *)to)[i] = (int16_t)(uint16_t)(from[2 * i] << 8 | from[2 * i + 1]);
      break;
    case 0x0C:
    case 0x0D:
      for (int64_t i = 0; i < n; i++) {
        uint32_t word = idx_word(from + 4 * i);
        memcpy((char *)to + 4 * i, &word, 4);
      }
      break;
    case 0x0E:
      for (int64_t i = 0; i < n; i++) {
        uint64_t word = (uint64_t)idx_word(from + 8 * i) << 32 | idx_word(from + 8 * i + 4);
        memcpy((char *)to + 8 * i, &word, 8);
      }
      break;
  }
}

static mw_status idx_data(idx_file *file, const idx_element *element, const mw_spec *spec,
                          void *to) {
  uint8_t chunk[IDX_CHUNK], more;
  int64_t count = mw_spec_count(spec), step = IDX_CHUNK / element->size;
  size_t width = mw_dtype_size(spec->dtype);
  for (int64_t i = 0; i < count; i += step) {
    int64_t n = count - i < step ? count - i : step;
    if (idx_read(file, chunk, (unsigned)(n * element->size))) return MW_FAILED;
    idx_convert(element, n, chunk, (char *)to + (size_t)i * width);
  }
  /* Reading on is also what makes zlib compare the checksum behind the data. */
  int code, extra = gzread(file->stream, &more, 1);
  if (extra > 0) return idx_fail(file, "oversized: it goes on after its last element");
  gzerror(file->stream, &code);
  return extra < 0 || code != Z_OK ? idx_fail_short(file) : MW_OK;
}

/* The tensor that an open file holds, or NULL with file->why set. */
static mw_tensor *idx_tensor(idx_file *file, mw_context *ctx) {
  mw_spec spec;
  const idx_element *element;
  if (idx_header(file, &spec, &element)) return NULL;
  mw_tensor *t = mw_constant(ctx, &spec, NULL);
  void *to = t ? mw_leaf_write(t) : NULL;
  if (!to) {
    idx_fail(file, "%s", mw_error(ctx));
  } else if (!idx_data(file, element, &spec, to)) {
    return t;
  }
  mw_release(t);
  return NULL;
}

/* core.idx(path) -> tensor, or nil and a message */
static int face_idx(lua_State *L) {
  const char *path = face_check_text(L, 1, "idx", "the path");
  idx_file file = {.stream = NULL};
  mw_tensor *t = NULL;
  if (!idx_open(&file, path)) {
    t = idx_tensor(&file, face_context(L));
    gzclose(file.stream);
  }
  if (t) {
    face_push(L, t);
    return 1;
  }
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: %s", path, file.why);
  return 2;
}

void face_open_idx(lua_State *L) {
  static const luaL_Reg functions[] = {{"idx", face_idx}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
