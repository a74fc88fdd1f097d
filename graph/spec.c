/* spec.c: dtypes and shapes. */
#include <string.h>

#include "internal.h"

static const struct {
  const char *name;
  size_t size;
} dtypes[] = {
    [MW_NONE] = {"none", 0}, [MW_F32] = {"f32", 4}, [MW_F64] = {"f64", 8},   [MW_I32] = {"i32", 4},
    [MW_I64] = {"i64", 8},   [MW_U8] = {"u8", 1},   [MW_BOOL] = {"bool", 1},
};

static bool dtype_known(mw_dtype dtype) { return (unsigned)dtype < sizeof dtypes / sizeof *dtypes; }

size_t mw_dtype_size(mw_dtype dtype) { return dtype_known(dtype) ? dtypes[dtype].size : 0; }

const char *mw_dtype_name(mw_dtype dtype) { return dtype_known(dtype) ? dtypes[dtype].name : "?"; }

mw_dtype mw_dtype_named(const char *name) {
  for (int d = MW_F32; d <= MW_BOOL; d++)
    if (strcmp(dtypes[d].name, name) == 0) return (mw_dtype)d;
  return MW_NONE;
}

mw_spec mw_spec_of(mw_dtype dtype, int rank, const int64_t *shape) {
  mw_spec spec = {.dtype = dtype, .rank = rank, .shape = {0}};
  for (int i = 0; i < rank && i < MW_MAX_RANK; i++) spec.shape[i] = shape[i];
  return spec;
}

int64_t mw_spec_count(const mw_spec *spec) {
  int64_t count = 1;
  for (int i = 0; i < spec->rank; i++) count *= spec->shape[i];
  return count;
}

size_t mw_spec_bytes(const mw_spec *spec) {
  return (size_t)mw_spec_count(spec) * mw_dtype_size(spec->dtype);
}

bool mw_spec_equal(const mw_spec *a, const mw_spec *b) {
  if (a->dtype != b->dtype || a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->shape[i] != b->shape[i]) return false;
  return true;
}

/* Writes a number, and returns its end. */
static char *put_number(char *at, int64_t number) {
  char digits[24];
  int n = 0;
  uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
  do digits[n++] = (char)('0' + rest % 10);
  while (rest /= 10);
  if (number < 0) digits[n++] = '-';
  while (n) *at++ = digits[--n];
  return at;
}

/* Without snprintf: many ops write their inputs' specs down before they know that all is well. A
 * size has at most 20 characters, so that all of them fit. */
const char *mw_spec_text(const mw_spec *spec, char text[MW_SPEC_TEXT]) {
  char *at = stpcpy(text, mw_dtype_name(spec->dtype));
  *at++ = '[';
  for (int i = 0; i < spec->rank && i < MW_MAX_RANK; i++) {
    if (i) *at++ = ',';
    at = put_number(at, spec->shape[i]);
  }
  *at++ = ']';
  *at = '\0';
  return text;
}

_Static_assert(MW_SPEC_TEXT >= 8 + MW_MAX_RANK * 21 + 2, "room for any spec");

/* Products are checked against this, so that offsets in bytes never overflow an int64_t. */
#define MW_MAX_BYTES ((int64_t)1 << 46)

mw_status mw_spec_check(mw_context *ctx, const mw_spec *spec) {
  char text[MW_SPEC_TEXT];
  if (!dtype_known(spec->dtype) || spec->dtype == MW_NONE)
    return mw_set_error(ctx, "unknown dtype %d", (int)spec->dtype);
  if (spec->rank < 0 || spec->rank > MW_MAX_RANK)
    return mw_set_error(ctx, "rank is %d, expected 0 to %d", spec->rank, MW_MAX_RANK);
  bool empty = false;
  for (int i = 0; i < spec->rank; i++) {
    if (spec->shape[i] < 0)
      return mw_set_error(ctx, "shape %s has a negative size", mw_spec_text(spec, text));
    empty |= spec->shape[i] == 0;
  }
  int64_t bytes = (int64_t)mw_dtype_size(spec->dtype);
  for (int i = 0; i < spec->rank; i++) {
    int64_t size = empty && !spec->shape[i] ? 1 : spec->shape[i];
    if (__builtin_mul_overflow(bytes, size, &bytes) || bytes > MW_MAX_BYTES)
      return mw_set_error(ctx, "shape %s is too large to address", mw_spec_text(spec, text));
  }
  return MW_OK;
}
