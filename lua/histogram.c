/* histogram.c: how the elements of a tensor are spread: how far from their mean, and how many of
 * them lie in each of some bins. */
#include <math.h>
#include <string.h>

#include "batch.h"
#include "face.h"

enum { MOST_BINS = 1 << 20, PIECE = 1024 }; /* elements that are looked at in one go */

/* Goes over the elements of a tensor as doubles. */
typedef struct reader {
  batch_conversion conversion;
  const char *data;
  size_t size; /* of an element */
  int64_t left;
  double x[PIECE];
} reader;

static void begin(reader *r, lua_State *L, mw_tensor *t) {
  const mw_spec *spec = mw_tensor_spec(t);
  batch_conversion_init(&r->conversion, spec->dtype, MW_F64, 1);
  r->data = face_data(L, t);
  r->size = mw_dtype_size(spec->dtype);
  r->left = mw_spec_count(spec);
}

/* Reads up to PIECE elements into r->x; returns how many, 0 at the end. */
static int64_t next(reader *r) {
  const int64_t n = r->left < PIECE ? r->left : PIECE;
  if (n == 0) return 0;
  batch_convert(&r->conversion, n, r->data, r->x);
  r->data += (size_t)n * r->size;
  r->left -= n;
  return n;
}

/* core.deviation(t, mean) -> the root of the mean squared distance from the mean, of what is
 * finite; and whether all that is finite are whole numbers. */
static int face_deviation(lua_State *L) {
  const double mean = luaL_checknumber(L, 2);
  reader r;
  begin(&r, L, face_check(L, 1, "deviation"));
  double total = 0;
  int64_t finite = 0;
  bool whole = true;
  for (int64_t n; (n = next(&r)) > 0;) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
      const double x = r.x[i];
      if (!isfinite(x)) continue;
      finite++;
      sum += (x - mean) * (x - mean);
      if (x != floor(x)) whole = false;
    }
    total += sum;
  }
  lua_pushnumber(L, sqrt(total / (double)finite));
  lua_pushboolean(L, whole);
  return 2;
}

/* core.histogram(t, bins, low, high) -> a list of how many elements lie in each bin, and how many
 * finite ones below low and above high. Bin i has what is from low + (i - 1) w on and less than
 * low + i w, with w = (high - low) / bins; the last one has high too. */
static int face_histogram(lua_State *L) {
  const lua_Integer bins = face_check_integer(L, 2, "histogram", "the number of bins");
  const double low = luaL_checknumber(L, 3), high = luaL_checknumber(L, 4);
  if (bins < 1 || bins > MOST_BINS || !(high > low) || !isfinite(low) || !isfinite(high))
    return face_error(L, "histogram: expected 1 to %d bins and low < high, both finite", MOST_BINS);
  const double scale = isfinite(high - low) ? 1 : 0.5; /* else no number is as large as the range */
  const double range = high * scale - low * scale;
  int64_t *counts = lua_newuserdatauv(L, (size_t)bins * sizeof *counts, 0), below = 0, above = 0;
  memset(counts, 0, (size_t)bins * sizeof *counts);
  reader r;
  begin(&r, L, face_check(L, 1, "histogram"));
  for (int64_t n; (n = next(&r)) > 0;) {
    for (int64_t i = 0; i < n; i++) {
      const double x = r.x[i];
      if (!isfinite(x)) continue;
      if (x < low) below++;
      else if (x > high) above++;
      else {
        const int64_t bin = (int64_t)((x * scale - low * scale) / range * (double)bins);
        counts[bin < bins ? bin : bins - 1]++;
      }
    }
  }
  lua_createtable(L, (int)bins, 0);
  for (lua_Integer i = 0; i < bins; i++) {
    lua_pushinteger(L, (lua_Integer)counts[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushinteger(L, (lua_Integer)below);
  lua_pushinteger(L, (lua_Integer)above);
  return 3;
}

void face_open_histogram(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"deviation", face_deviation}, {"histogram", face_histogram}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
