/* batch.c: picks rows of a data set, in a given order if wanted, as the tensors of a batch. */
#include "batch.h"

#include <string.h>

#include "face.h"
#include "system.h"

static double element_load(mw_dtype dtype, const void *data, int64_t i) {
  switch (dtype) {
    case MW_F32: return ((const float *)data)[i];
    case MW_F64: return ((const double *)data)[i];
    case MW_I32: return ((const int32_t *)data)[i];
    case MW_I64: return (double)((const int64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
  }
}

static void element_store(mw_dtype dtype, void *data, int64_t i, double value) {
  switch (dtype) {
    case MW_F32: ((float *)data)[i] = (float)value; break;
    case MW_F64: ((double *)data)[i] = value; break;
    case MW_I32: ((int32_t *)data)[i] = (int32_t)value; break;
    default: ((int64_t *)data)[i] = (int64_t)value; break;
  }
}

bool batch_widens(mw_dtype from, mw_dtype to, double scale) {
  if (to == MW_F32 || to == MW_F64) return true;
  if (from == to) return scale == 1;
  return (from == MW_U8 || from == MW_BOOL) && (to == MW_I32 || to == MW_I64) && scale == 1;
}

void batch_conversion_init(batch_conversion *c, mw_dtype from, mw_dtype to, double scale) {
  c->from = from;
  c->to = to;
  c->scale = scale;
  c->copies = from == to && scale == 1;
  c->looks_up = !c->copies && mw_dtype_size(from) == 1;
  for (int v = 0; c->looks_up && v < 256; v++) element_store(to, &c->table, v, v * scale);
}

void batch_convert(const batch_conversion *c, int64_t n, const void *from, void *to) {
  const uint8_t *bytes = from;
  if (c->copies) {
    memcpy(to, from, (size_t)n * mw_dtype_size(c->to));
  } else if (c->looks_up && mw_dtype_size(c->to) == 4) {
    for (int64_t i = 0; i < n; i++) ((uint32_t *)to)[i] = c->table.narrow[bytes[i]];
  } else if (c->looks_up) {
    for (int64_t i = 0; i < n; i++) ((uint64_t *)to)[i] = c->table.wide[bytes[i]];
  } else {
    for (int64_t i = 0; i < n; i++)
      element_store(c->to, to, i, element_load(c->from, from, i) * c->scale);
  }
}

/* Checks rows first .. first+count-1 of the order (or of t itself) and gives where they begin. */
static const int64_t *check_order(lua_State *L, const mw_spec *spec, lua_Integer first,
                                  lua_Integer count) {
  int64_t rows = spec->shape[0], available = rows;
  const int64_t *order = NULL;
  if (!lua_isnoneornil(L, 2)) {
    mw_tensor *index = face_check(L, 2, "rows");
    const mw_spec *its = mw_tensor_spec(index);
    char text[MW_SPEC_TEXT];
    if (its->dtype != MW_I64 || its->rank != 1)
      face_error(L, "rows: the index is %s, expected i64[n]", mw_spec_text(its, text));
    available = its->shape[0];
    order = face_data(L, index);
  }
  if (first < 1 || count < 0 || count > available - (first - 1))
    face_error(L, "rows: %lld rows from %lld are asked for, there are %lld", count, first,
               (long long)available);
  if (!order) return NULL;
  order += first - 1;
  for (int64_t i = 0; i < count; i++)
    if (order[i] < 0 || order[i] >= rows)
      face_error(L, "rows: the index holds %lld, expected 0 to %lld", (long long)order[i],
                 (long long)rows - 1);
  return order;
}

/* core.rows(t, index, first, count, dtype, scale) -> a constant with the rows
 * t[index[first .. first+count-1]] as dtype, times scale. Without an index the rows are
 * consecutive. first counts from 1, what stands in the index from 0. */
static int face_rows(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "rows");
  const mw_spec *from = mw_tensor_spec(t);
  lua_Integer first = face_check_integer(L, 3, "rows", "first");
  lua_Integer count = face_check_integer(L, 4, "rows", "count");
  double scale = 1;
  mw_spec to = *from;
  batch_conversion how;

  if (!lua_isnoneornil(L, 6)) {
    if (lua_type(L, 6) != LUA_TNUMBER)
      return face_error(L, "rows: scale is %s, expected a number", face_describe(L, 6));
    scale = lua_tonumber(L, 6);
  }
  to.dtype = face_dtype(L, 5, from->dtype);
  if (from->rank == 0) return face_error(L, "rows: a scalar has no rows");
  if (!batch_widens(from->dtype, to.dtype, scale))
    return face_error(L, "rows: %s cannot be brought to %s%s", mw_dtype_name(from->dtype),
                      mw_dtype_name(to.dtype), scale == 1 ? "" : " with a scale");
  const int64_t *order = check_order(L, from, first, count);
  const char *source = face_data(L, t);
  to.shape[0] = count;
  char *data = face_push_blank(L, &to);
  if (!data) return 1;

  int64_t width = 1; /* elements in a row */
  for (int axis = 1; axis < from->rank; axis++) width *= from->shape[axis];
  int64_t from_bytes = width * (int64_t)mw_dtype_size(from->dtype);
  int64_t to_bytes = width * (int64_t)mw_dtype_size(to.dtype);
  batch_conversion_init(&how, from->dtype, to.dtype, scale);
  for (int64_t i = 0; i < count; i++) {
    int64_t row = order ? order[i] : first - 1 + i;
    batch_convert(&how, width, source + row * from_bytes, data + i * to_bytes);
  }
  return 1;
}

/* core.windows(t, length, step, offset, n) -> [n, length]: row i is the part of t, a tensor of rank
 * 1, that begins at offset + i step, counted from 0. */
static int face_windows(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "windows");
  const mw_spec *from = mw_tensor_spec(t);
  const lua_Integer length = face_check_integer(L, 2, "windows", "length");
  const lua_Integer step = face_check_integer(L, 3, "windows", "step");
  const lua_Integer offset = face_check_integer(L, 4, "windows", "offset");
  const lua_Integer n = face_check_integer(L, 5, "windows", "n");
  if (from->rank != 1) return face_error(L, "windows: the tensor is of rank %d, not 1", from->rank);
  const int64_t spare = from->shape[0] - offset - length;
  if (length < 1 || step < 1 || offset < 0 || n < 1 || spare < 0 || (n - 1) > spare / step)
    return face_error(L, "windows: not all of them are in the tensor");
  const char *source = face_data(L, t);
  const mw_spec to = mw_spec_of(from->dtype, 2, (int64_t[]){n, length});
  const size_t size = mw_dtype_size(from->dtype), bytes = (size_t)length * size;
  char *data = face_push_blank(L, &to);
  for (int64_t i = 0; i < n; i++)
    memcpy(data + (size_t)i * bytes, source + (size_t)(offset + i * step) * size, bytes);
  return 1;
}

void face_open_batch(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"rows", face_rows}, {"windows", face_windows}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
  face_open_system(L);
}
