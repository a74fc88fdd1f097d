/* constructors.c: tensors from Lua values, by rule, and from the random generator. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "face.h"

static double check_number(lua_State *L, int index, const char *function, const char *name) {
  if (lua_type(L, index) != LUA_TNUMBER)
    face_error(L, "%s: %s is %s, expected a number", function, name, face_describe(L, index));
  return lua_tonumber(L, index);
}

static double number_or(lua_State *L, int index, double fallback, const char *function,
                        const char *name) {
  return lua_isnoneornil(L, index) ? fallback : check_number(L, index, function, name);
}

/* ---- from Lua values ------------------------------------------------------------------------ */

void *face_push_blank(lua_State *L, const mw_spec *spec) {
  mw_tensor *t = mw_constant(face_context(L), spec, NULL);
  face_push(L, t);
  if (mw_spec_count(spec) == 0) return NULL;
  void *data = mw_leaf_write(t);
  if (!data) face_raise(L);
  return data;
}

typedef struct nested {
  lua_State *L;
  mw_spec spec;
  char *data;              /* where the elements go */
  int64_t next;            /* the element that comes next */
  int64_t at[MW_MAX_RANK]; /* its position, from 1, for messages */
} nested;

/* "[2][3]", the place of what is being read. */
static const char *place_text(const nested *it, int depth, char text[MW_SPEC_TEXT]) {
  size_t used = 0;
  text[0] = '\0';
  for (int i = 0; i < depth && used < MW_SPEC_TEXT; i++)
    used += (size_t)snprintf(text + used, MW_SPEC_TEXT - used, "[%" PRId64 "]", it->at[i]);
  return text;
}

/* Reads the shape off the first elements, and the dtype off the very first. */
static void measure_nested(lua_State *L, int index, mw_spec *spec) {
  lua_pushvalue(L, index);
  while (lua_istable(L, -1)) {
    if (spec->rank == MW_MAX_RANK)
      face_error(L, "tensor: the tables are nested deeper than %d, the highest rank", MW_MAX_RANK);
    spec->shape[spec->rank++] = (int64_t)lua_rawlen(L, -1);
    lua_rawgeti(L, -1, 1);
    lua_remove(L, -2);
  }
  if (spec->dtype == MW_NONE) spec->dtype = lua_isboolean(L, -1) ? MW_BOOL : MW_F32;
  lua_pop(L, 1);
}

/* Reads the value at the top of the stack, `depth` tables deep. */
static void read_nested(nested *it, int depth) {
  lua_State *L = it->L;
  char place[MW_SPEC_TEXT];
  if (depth == it->spec.rank) {
    const char *expected = face_store(L, -1, it->spec.dtype, it->data, it->next++);
    if (expected)
      face_error(L, "tensor: element %s is %s, expected %s", place_text(it, depth, place),
                 face_describe(L, -1), expected);
    return;
  }
  int64_t size = it->spec.shape[depth];
  if (!lua_istable(L, -1))
    face_error(L, "tensor: element %s is %s, expected a table of %" PRId64,
               place_text(it, depth, place), face_describe(L, -1), size);
  if ((int64_t)lua_rawlen(L, -1) != size)
    face_error(L,
               "tensor: the table %s has %" PRId64 " elements, expected %" PRId64
               " as in the first one",
               place_text(it, depth, place), (int64_t)lua_rawlen(L, -1), size);
  for (it->at[depth] = 1; it->at[depth] <= size; it->at[depth]++) {
    lua_rawgeti(L, -1, it->at[depth]);
    read_nested(it, depth + 1);
    lua_pop(L, 1);
  }
}

void face_push_nested(lua_State *L, int index, mw_dtype dtype) {
  int type = lua_type(L, index);
  if (type != LUA_TNUMBER && type != LUA_TBOOLEAN && type != LUA_TTABLE)
    face_error(L, "tensor: the value is %s, expected a number, a boolean or a table",
               face_describe(L, index));
  luaL_checkstack(L, MW_MAX_RANK + 8, NULL);
  nested it = {.L = L, .spec = {.dtype = dtype}};
  measure_nested(L, index, &it.spec);
  it.data = face_push_blank(L, &it.spec);
  lua_pushvalue(L, index);
  read_nested(&it, 0);
  lua_pop(L, 1);
}

/* core.tensor(value, dtype?): a constant from a number, a boolean, nested tables, or the value of
 * another tensor. Without a dtype numbers give f32 and booleans give bool. */
static int tensor_new(lua_State *L) {
  mw_dtype dtype = face_dtype(L, 2, MW_NONE);
  mw_tensor *from = face_test(L, 1);
  if (from) {
    mw_setting setting = mw_text("dtype", mw_dtype_name(dtype));
    if (dtype != MW_NONE && dtype != mw_tensor_spec(from)->dtype) {
      face_push(L, mw_apply(face_context(L), "cast", 1, &from, 1, &setting));
      from = face_check(L, -1, "tensor");
    }
    const void *data = face_data(L, from);
    face_push(L, mw_constant(face_context(L), mw_tensor_spec(from), data));
    return 1;
  }
  face_push_nested(L, 1, dtype);
  return 1;
}

/* ---- filled by rule ---------------------------------------------------------------------- */

/* Makes a tensor in which every element is the value at index. */
static int push_filled(lua_State *L, const char *function, const mw_spec *spec, int index) {
  double element;
  const char *expected = face_store(L, index, spec->dtype, &element, 0);
  if (expected)
    return face_error(L, "%s: the value is %s, expected %s for %s", function,
                      face_describe(L, index), expected, mw_dtype_name(spec->dtype));
  size_t size = mw_dtype_size(spec->dtype);
  int64_t count = mw_spec_count(spec);
  char *data = face_push_blank(L, spec);
  for (int64_t i = 0; i < count; i++) memcpy(data + (size_t)i * size, &element, size);
  return 1;
}

/* core.full(shape, value, dtype?) */
static int tensor_full(lua_State *L) {
  mw_dtype dtype = face_dtype(L, 3, lua_isboolean(L, 2) ? MW_BOOL : MW_F32);
  mw_spec spec = face_shape(L, 1, dtype);
  return push_filled(L, "full", &spec, 2);
}

static int tensor_zeros(lua_State *L) {
  mw_spec spec = face_shape(L, 1, face_dtype(L, 2, MW_F32));
  face_push_blank(L, &spec);
  return 1;
}

static int tensor_ones(lua_State *L) {
  mw_spec spec = face_shape(L, 1, face_dtype(L, 2, MW_F32));
  lua_pushinteger(L, 1);
  return push_filled(L, "ones", &spec, lua_gettop(L));
}

/* core.eye(n, m?, dtype?): ones where row and column are equal. */
static int tensor_eye(lua_State *L) {
  if (lua_type(L, 2) == LUA_TSTRING) { /* eye(n, dtype) */
    lua_settop(L, 2);
    lua_pushnil(L);
    lua_insert(L, 2);
  }
  mw_spec spec = face_shape(L, 1, face_dtype(L, 3, MW_F32));
  if (!lua_isnoneornil(L, 2)) {
    mw_spec columns = face_shape(L, 2, spec.dtype);
    spec.shape[1] = columns.shape[0];
  } else {
    spec.shape[1] = spec.shape[0];
  }
  if (spec.rank != 1) return face_error(L, "eye: n is a shape, expected an integer");
  spec.rank = 2;
  void *data = face_push_blank(L, &spec);
  lua_pushinteger(L, 1);
  for (int64_t i = 0; i < spec.shape[0] && i < spec.shape[1]; i++)
    face_store(L, -1, spec.dtype, data, i * spec.shape[1] + i);
  lua_pop(L, 1);
  return 1;
}

/* Fills a vector with first, first + step, ... */
static int push_sequence(lua_State *L, const char *function, double count, double first,
                         double step, mw_dtype dtype) {
  if (!(count < 0x1p40)) return face_error(L, "%s: %g elements are too many", function, count);
  int64_t n = count > 0 ? (int64_t)count : 0;
  mw_spec spec = mw_spec_of(dtype, 1, &n);
  void *data = face_push_blank(L, &spec);
  for (int64_t i = 0; i < n; i++) {
    lua_pushnumber(L, first + (double)i * step);
    const char *expected = face_store(L, -1, dtype, data, i);
    if (expected)
      return face_error(L, "%s: element %" PRId64 " is %s, expected %s for %s", function, i + 1,
                        face_describe(L, -1), expected, mw_dtype_name(dtype));
    lua_pop(L, 1);
  }
  return 1;
}

/* core.arange(first, last, step?, dtype?): inclusive, as Lua's for; arange(n) is 0 .. n-1. */
static int tensor_arange(lua_State *L) {
  int numbers = 0; /* before the dtype */
  while (numbers < 3 && lua_type(L, numbers + 1) == LUA_TNUMBER) numbers++;
  int dtype_at = lua_isnoneornil(L, 4) && numbers < 3 ? numbers + 1 : 4;
  if (lua_isnil(L, dtype_at)) dtype_at = 4; /* a step that is nil */
  double first = check_number(L, 1, "arange", "first");
  double last = numbers > 1 ? lua_tonumber(L, 2) : first - 1;
  double step = numbers > 2 ? lua_tonumber(L, 3) : 1;
  if (numbers == 1) first = 0;
  mw_dtype dtype = face_dtype(L, dtype_at, MW_F32);
  if (step == 0) return face_error(L, "arange: step is 0");
  return push_sequence(L, "arange", floor((last - first) / step) + 1, first, step, dtype);
}

/* core.linspace(first, last, n, dtype?): n numbers at equal distances, both ends included. */
static int tensor_linspace(lua_State *L) {
  double first = check_number(L, 1, "linspace", "first");
  double last = check_number(L, 2, "linspace", "last");
  double count = check_number(L, 3, "linspace", "n");
  if (count != floor(count) || count < 0)
    return face_error(L, "linspace: n is %g, expected an integer of 0 or more", count);
  mw_dtype dtype = face_dtype(L, 4, MW_F32);
  push_sequence(L, "linspace", count, first, count > 1 ? (last - first) / (count - 1) : 0, dtype);
  if (count > 1) { /* exactly, whatever the rounding */
    lua_pushvalue(L, 2);
    face_store(L, -1, dtype, mw_leaf_write(face_check(L, -2, "linspace")), (int64_t)count - 1);
    lua_pop(L, 1);
  }
  return 1;
}

/* ---- random ------------------------------------------------------------------------------ */

/* While mw.compile traces a function, numbers that were drawn now would be the same at each run of
 * its program. Then the functions below give a random op instead of a value. */
static const char tracing_key = 0; /* its address is the key in Lua's registry */

static bool is_tracing(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tracing_key);
  bool tracing = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return tracing;
}

/* core.tracing(on?) -> whether a function was being traced before the call */
static int module_tracing(lua_State *L) {
  lua_pushboolean(L, is_tracing(L));
  if (lua_isnone(L, 1)) return 1;
  lua_pushboolean(L, lua_toboolean(L, 1));
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tracing_key);
  return 1;
}

/* Pushes the result of a random op without inputs, for which it draws a key. */
static int push_drawn(lua_State *L, const char *op, int n_settings, const mw_setting *settings) {
  face_push(L, mw_apply(face_context(L), op, 0, NULL, n_settings, settings));
  return 1;
}

static mw_dtype float_dtype(lua_State *L, int index, const char *function) {
  mw_dtype dtype = face_dtype(L, index, MW_F32);
  if (dtype != MW_F32 && dtype != MW_F64)
    face_error(L, "%s: dtype is '%s', expected 'f32' or 'f64'", function, mw_dtype_name(dtype));
  return dtype;
}

/* One of two kinds of numbers: how they are drawn now, and the op with its two attributes. */
typedef struct distribution {
  void (*fill)(mw_context *ctx, mw_dtype dtype, int64_t n, void *data, double a, double b);
  const char *op, *a, *b;
} distribution;

static const distribution uniform = {mw_random_uniform, "random_uniform", "low", "high"};
static const distribution normal = {mw_random_normal, "random_normal", "mean", "deviation"};

static int push_random(lua_State *L, const char *function, const distribution *d, double a,
                       double b, int dtype_at) {
  mw_dtype dtype = float_dtype(L, dtype_at, function);
  mw_spec spec = face_shape(L, 1, dtype);
  if (is_tracing(L))
    return push_drawn(L, d->op, 4,
                      (mw_setting[]){mw_list("shape", spec.rank, spec.shape), mw_float(d->a, a),
                                     mw_float(d->b, b), mw_text("dtype", mw_dtype_name(dtype))});
  void *data = face_push_blank(L, &spec);
  d->fill(face_context(L), dtype, mw_spec_count(&spec), data, a, b);
  return 1;
}

/* core.randn(shape, dtype?): standard normal */
static int tensor_randn(lua_State *L) { return push_random(L, "randn", &normal, 0, 1, 2); }

/* core.uniform(shape, low?, high?, dtype?): in [low, high), by default [0, 1) */
static int tensor_uniform(lua_State *L) {
  double low = number_or(L, 2, 0, "uniform", "low");
  double high = number_or(L, 3, 1, "uniform", "high");
  if (!(low <= high)) return face_error(L, "uniform: low is %g, above high, %g", low, high);
  return push_random(L, "uniform", &uniform, low, high, 4);
}

/* core.normal(shape, mean?, deviation?, dtype?) */
static int tensor_normal(lua_State *L) {
  double mean = number_or(L, 2, 0, "normal", "mean");
  double deviation = number_or(L, 3, 1, "normal", "deviation");
  if (!(deviation >= 0))
    return face_error(L, "normal: deviation is %g, expected 0 or more", deviation);
  return push_random(L, "normal", &normal, mean, deviation, 4);
}

/* core.bernoulli(shape, p?, dtype?): 1 with probability p, by default 0.5, else 0.
 * core.bernoulli(probabilities): of a tensor, each with its own. */
static int tensor_bernoulli(lua_State *L) {
  mw_tensor *probabilities = face_test(L, 1);
  if (probabilities) {
    if (!lua_isnoneornil(L, 2))
      return face_error(L, "bernoulli: p is %s beside a tensor of probabilities",
                        face_describe(L, 2));
    face_push(L, mw_apply(face_context(L), "random_bernoulli", 1, &probabilities, 0, NULL));
    return 1;
  }
  mw_spec spec = face_shape(L, 1, float_dtype(L, 3, "bernoulli"));
  double p = number_or(L, 2, 0.5, "bernoulli", "p");
  if (!(p >= 0 && p <= 1)) return face_error(L, "bernoulli: p is %g, expected 0 to 1", p);
  return push_drawn(L, "random_bernoulli", 3,
                    (mw_setting[]){mw_list("shape", spec.rank, spec.shape), mw_float("p", p),
                                   mw_text("dtype", mw_dtype_name(spec.dtype))});
}

/* core.permutation(n): the numbers 0 .. n-1 in random order, i64 [n] */
static int tensor_permutation(lua_State *L) {
  lua_Integer n = face_check_integer(L, 1, "permutation", "n");
  if (n < 0) return face_error(L, "permutation: n is %lld, expected 0 or more", n);
  if (is_tracing(L)) return push_drawn(L, "random_permutation", 1, (mw_setting[]){mw_int("n", n)});
  mw_spec spec = mw_spec_of(MW_I64, 1, (int64_t[]){n});
  mw_random_permutation(face_context(L), n, face_push_blank(L, &spec));
  return 1;
}

static const luaL_Reg functions[] = {
    {"arange", tensor_arange},     {"bernoulli", tensor_bernoulli},
    {"eye", tensor_eye},           {"full", tensor_full},
    {"linspace", tensor_linspace}, {"normal", tensor_normal},
    {"ones", tensor_ones},         {"permutation", tensor_permutation},
    {"randn", tensor_randn},       {"tensor", tensor_new},
    {"tracing", module_tracing},   {"uniform", tensor_uniform},
    {"zeros", tensor_zeros},       {NULL, NULL},
};

void face_open_constructors(lua_State *L) { luaL_setfuncs(L, functions, 0); }
