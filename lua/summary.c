/* summary.c: one pass over a tensor's values: the least, the largest, their mean, and how many are no
 * finite numbers. */
#include <math.h>

#include "batch.h"
#include "face.h"

/* Elements that are summed on their own, which keeps the sums exact enough. */
enum { BLOCK = 1024 };

typedef struct summary {
  int64_t finite, nans, infinities;
  double least, largest, sum;      /* of what is finite */
  int64_t first_whole, last_whole; /* the least and the largest, of integers */
} summary;

static void add_floats(summary *s, const double *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    if (isnan(x[i])) s->nans++;
    else if (isinf(x[i])) s->infinities++;
    else {
      if (s->finite == 0 || x[i] < s->least) s->least = x[i];
      if (s->finite == 0 || x[i] > s->largest) s->largest = x[i];
      s->finite++;
      sum += x[i];
    }
  }
  s->sum += sum;
}

static void add_integers(summary *s, const int64_t *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) {
    if (s->finite == 0 || x[i] < s->first_whole) s->first_whole = x[i];
    if (s->finite == 0 || x[i] > s->last_whole) s->last_whole = x[i];
    s->finite++;
    sum += (double)x[i];
  }
  s->sum += sum;
}

static summary summarise(mw_dtype dtype, const char *data, int64_t count) {
  const bool whole = dtype != MW_F32 && dtype != MW_F64;
  union {
    double floats[BLOCK];
    int64_t integers[BLOCK];
  } block;
  batch_conversion conversion;
  summary s = {0};
  batch_conversion_init(&conversion, dtype, whole ? MW_I64 : MW_F64, 1);
  for (int64_t i = 0; i < count; i += BLOCK) {
    const int64_t n = count - i < BLOCK ? count - i : BLOCK;
    batch_convert(&conversion, n, data + (size_t)i * mw_dtype_size(dtype), &block);
    if (whole) add_integers(&s, block.integers, n);
    else add_floats(&s, block.floats, n);
  }
  return s;
}

static void set_count(lua_State *L, const char *name, int64_t count) {
  lua_pushinteger(L, count);
  lua_setfield(L, -2, name);
}

/* core.summary(t, first?, count?) -> {count, nans, infinities, min, max, mean} of the elements from
 * the one at offset `first` on. min, max and mean are those of the finite ones, nil where there are
 * none; min and max of integers are integers, of which true counts as 1. */
static int tensor_summary(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "summary");
  const mw_spec *spec = mw_tensor_spec(t);
  const char *data = face_data(L, t);
  const int64_t all = mw_spec_count(spec);
  const lua_Integer first = luaL_optinteger(L, 2, 0);
  if (first < 0 || first > all)
    return face_error(L, "summary: from element %lld on of %lld", (long long)first, (long long)all);
  const lua_Integer count = luaL_optinteger(L, 3, all - first);
  if (count < 0 || count > all - first)
    return face_error(L, "summary: %lld elements from %lld on of %lld", (long long)count,
                      (long long)first, (long long)all);
  const bool whole = spec->dtype != MW_F32 && spec->dtype != MW_F64;
  const size_t offset = (size_t)first * mw_dtype_size(spec->dtype);
  const summary s = count ? summarise(spec->dtype, data + offset, count) : (summary){0};
  lua_createtable(L, 0, 6);
  set_count(L, "count", count);
  set_count(L, "nans", s.nans);
  set_count(L, "infinities", s.infinities);
  if (s.finite == 0) return 1;
  if (whole) lua_pushinteger(L, s.first_whole), lua_pushinteger(L, s.last_whole);
  else lua_pushnumber(L, s.least), lua_pushnumber(L, s.largest);
  lua_setfield(L, -3, "max");
  lua_setfield(L, -2, "min");
  lua_pushnumber(L, s.sum / (double)s.finite);
  lua_setfield(L, -2, "mean");
  return 1;
}

void face_open_summary(lua_State *L) {
  static const luaL_Reg functions[] = {{"summary", tensor_summary}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
