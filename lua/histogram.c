/* histogram.c: how the elements of a tensor are spread: their least, mean and largest value, and
 * how many of them lie in each of some bins. */
#include <math.h>
#include <string.h>

#include "face.h"

enum { MOST_BINS = 1 << 20 };

/* The elements of a tensor as doubles, a piece at a time: fills `room` from element `from` on and
 * returns how many there are. */
enum { PIECE = 1024 };

static int64_t load(const mw_spec *spec, const void *data, int64_t from, double room[PIECE]) {
  const int64_t left = mw_spec_count(spec) - from, n = left < PIECE ? left : PIECE;
  switch (spec->dtype) {
    case MW_F32:
      for (int64_t i = 0; i < n; i++) room[i] = (double)((const float *)data)[from + i];
      break;
    case MW_F64:
      for (int64_t i = 0; i < n; i++) room[i] = ((const double *)data)[from + i];
      break;
    case MW_I32:
      for (int64_t i = 0; i < n; i++) room[i] = ((const int32_t *)data)[from + i];
      break;
    case MW_I64:
      for (int64_t i = 0; i < n; i++) room[i] = (double)((const int64_t *)data)[from + i];
      break;
    default: /* u8, bool */
      for (int64_t i = 0; i < n; i++) room[i] = ((const uint8_t *)data)[from + i];
  }
  return n;
}

typedef struct spread {
  int64_t finite, nan, positive, negative; /* the last two: infinities */
  double least, largest, sum;
  bool whole; /* all that are finite */
} spread;

static spread measure(const mw_spec *spec, const void *data) {
  const int64_t count = mw_spec_count(spec);
  spread s = {.least = INFINITY, .largest = -INFINITY, .whole = true};
  double room[PIECE];
  for (int64_t from = 0; from < count; from += PIECE) {
    const int64_t n = load(spec, data, from, room);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
      const double x = room[i];
      if (isnan(x)) s.nan++;
      else if (isinf(x)) x > 0 ? s.positive++ : s.negative++;
      else {
        s.finite++;
        sum += x;
        if (x < s.least) s.least = x;
        if (x > s.largest) s.largest = x;
        if (x != floor(x)) s.whole = false;
      }
    }
    s.sum += sum;
  }
  return s;
}

/* The mean square of the distances from the mean, of what is finite. */
static double variance(const mw_spec *spec, const void *data, double mean, int64_t finite) {
  const int64_t count = mw_spec_count(spec);
  double room[PIECE], total = 0;
  for (int64_t from = 0; from < count; from += PIECE) {
    const int64_t n = load(spec, data, from, room);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
      if (isfinite(room[i])) sum += (room[i] - mean) * (room[i] - mean);
    total += sum;
  }
  return total / (double)finite;
}

static void set_integer(lua_State *L, const char *name, int64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double x) {
  lua_pushnumber(L, x);
  lua_setfield(L, -2, name);
}

/* core.spread(t) -> {count, finite, nan, inf, minus_inf} and, where something is finite, of that
 * {min, mean, max, std, whole}: std is the root of the mean squared distance from the mean, whole
 * whether all are whole numbers. */
static int face_spread(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "spread");
  const void *data = face_data(L, t);
  const mw_spec *spec = mw_tensor_spec(t);
  const spread s = measure(spec, data);
  lua_createtable(L, 0, 10);
  set_integer(L, "count", mw_spec_count(spec));
  set_integer(L, "finite", s.finite);
  set_integer(L, "nan", s.nan);
  set_integer(L, "inf", s.positive);
  set_integer(L, "minus_inf", s.negative);
  if (s.finite == 0) return 1;
  const double mean = s.sum / (double)s.finite;
  set_number(L, "min", s.least);
  set_number(L, "mean", mean);
  set_number(L, "max", s.largest);
  set_number(L, "std", sqrt(variance(spec, data, mean, s.finite)));
  lua_pushboolean(L, s.whole);
  lua_setfield(L, -2, "whole");
  return 1;
}

/* core.histogram(t, bins, low, high) -> a list of how many elements lie in each bin, and how many
 * below low and above high. Bin i has what is from low + (i - 1) w on and less than low + i w, with
 * w = (high - low) / bins; the last one has high too. */
static int face_histogram(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "histogram");
  const lua_Integer bins = face_check_integer(L, 2, "histogram", "the number of bins");
  const double low = luaL_checknumber(L, 3), high = luaL_checknumber(L, 4);
  if (bins < 1 || bins > MOST_BINS || !(high > low))
    return face_error(L, "histogram: expected 1 to %d bins and low < high", MOST_BINS);
  const void *data = face_data(L, t);
  const mw_spec *spec = mw_tensor_spec(t);
  const int64_t count = mw_spec_count(spec);
  int64_t *counts = lua_newuserdatauv(L, (size_t)bins * sizeof *counts, 0), below = 0, above = 0;
  memset(counts, 0, (size_t)bins * sizeof *counts);
  double room[PIECE];
  for (int64_t from = 0; from < count; from += PIECE) {
    const int64_t n = load(spec, data, from, room);
    for (int64_t i = 0; i < n; i++) {
      const double x = room[i];
      if (x < low) below++;
      else if (x > high) above++;
      else if (x == x) {
        const int64_t bin = (int64_t)((x - low) / (high - low) * (double)bins);
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
      {"spread", face_spread}, {"histogram", face_histogram}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
