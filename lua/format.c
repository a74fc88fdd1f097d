/* format.c: a tensor's value as text, as Lua numbers and tables, and as raw bytes.
 *
 * tostring(t) gives dtype, shape and elements, as a Lua table would be written:
 *
 *     f32[2,3]
 *     {{ 0.1250, 2.0000, -1.0000},
 *      {12.5000, 0.0000,     nan}}
 *
 * Columns are aligned, long rows wrapped, and the middle of a large tensor is left out. core.body
 * gives the elements alone, as many as one asks for. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

#define MOST_ELEMENTS 1000 /* above this the middle of each axis is left out */
#define EDGE 3             /* entries shown at either end of an axis then */
#define LINE_WIDTH 80
#define DECIMALS 4
#define PIECE 16384         /* bytes that a sink is given at least, but for the last ones */
#define PATIENCE (1u << 18) /* elements between two calls of a sink, by which one may interrupt */

/* ---- text -------------------------------------------------------------------------------- */

typedef struct printer {
  mw_spec spec;
  const void *data;
  int64_t head[MW_MAX_RANK], tail[MW_MAX_RANK]; /* entries shown at either end of an axis */
  int64_t stride[MW_MAX_RANK];                  /* elements from one entry of an axis to the next */
  bool scientific;                              /* of floats, with the decimals below */
  int decimals;
  int width; /* of the widest element shown */
  int column, line_width;
  luaL_Buffer out;
  lua_State *L;
  int sink; /* stack index of a function that takes the text piece by piece; 0: there is none */
  unsigned visited;
} printer;

static bool is_float(mw_dtype dtype) { return dtype == MW_F32 || dtype == MW_F64; }

static double float_at(const printer *p, int64_t i) {
  return p->spec.dtype == MW_F32 ? (double)((const float *)p->data)[i]
                                 : ((const double *)p->data)[i];
}

static int element_text(const printer *p, int64_t i, char text[64]) {
  switch (p->spec.dtype) {
    case MW_I32: return snprintf(text, 64, "%d", ((const int32_t *)p->data)[i]);
    case MW_I64: return snprintf(text, 64, "%lld", (long long)((const int64_t *)p->data)[i]);
    case MW_U8: return snprintf(text, 64, "%d", ((const uint8_t *)p->data)[i]);
    case MW_BOOL: return snprintf(text, 64, "%s", ((const uint8_t *)p->data)[i] ? "true" : "false");
    default: break;
  }
  double x = float_at(p, i);
  if (isnan(x)) return snprintf(text, 64, "nan");
  /* A zero is "0", to tell it from what is only rounded to 0.0000. */
  if (x == 0) return snprintf(text, 64, "0");
  return snprintf(text, 64, p->scientific ? "%.*e" : "%.*f", p->decimals, x);
}

/* The entry that is shown after entry i of an axis; that of its length when there is none. */
static int64_t next_shown(const printer *p, int axis, int64_t i) {
  const int64_t n = p->spec.shape[axis], head = p->head[axis], tail = p->tail[axis];
  return i == head - 1 && head + tail < n ? n - tail : i + 1;
}

/* Gives the sink a text. */
static void pour(printer *p, const char *text, size_t length) {
  lua_pushvalue(p->L, p->sink);
  lua_pushlstring(p->L, text, length);
  lua_call(p->L, 1, 0);
}

/* Gives the sink what there is. */
static void drain(printer *p) {
  luaL_pushresult(&p->out);
  lua_pushvalue(p->L, p->sink);
  lua_insert(p->L, -2);
  lua_call(p->L, 1, 0);
  luaL_buffinit(p->L, &p->out);
}

typedef struct extent {
  double largest;
  bool integral;
  int decimals; /* needed to tell all that is shown, up to DECIMALS */
} extent;

/* Decimals that x needs when it is shown with at most DECIMALS. What is not whole shows some. */
static int decimals_of(double x) {
  char text[64];
  if (x == floor(x)) return 0;
  int n = snprintf(text, sizeof text, "%.*f", DECIMALS, x);
  int decimals = DECIMALS;
  while (decimals > 0 && text[--n] == '0') decimals--;
  return decimals ? decimals : DECIMALS;
}

/* Calls visit for each element that is shown. */
static void visit_shown(printer *p, int axis, int64_t first,
                        void (*visit)(printer *p, int64_t i, void *arg), void *arg) {
  if (axis == p->spec.rank) {
    visit(p, first, arg);
    if (p->sink && ++p->visited % PATIENCE == 0) pour(p, "", 0);
    return;
  }
  int64_t n = p->spec.shape[axis];
  for (int64_t i = 0; i < n; i = next_shown(p, axis, i))
    visit_shown(p, axis + 1, first + i * p->stride[axis], visit, arg);
}

static void measure_extent(printer *p, int64_t i, void *arg) {
  extent *e = arg;
  double x = float_at(p, i);
  if (!isfinite(x)) return;
  if (fabs(x) > e->largest) e->largest = fabs(x);
  if (x != floor(x)) e->integral = false;
  if (fabs(x) < 1e8 && decimals_of(x) > e->decimals) e->decimals = decimals_of(x);
}

static void measure_width(printer *p, int64_t i, void *arg) {
  char text[64];
  int width = element_text(p, i, text);
  if (width > p->width) p->width = width;
  (void)arg;
}

/* Whole numbers are shown as such. Others get four decimals, and powers of ten when the largest
 * is too large or too small for that. */
static void choose_style(printer *p) {
  if (is_float(p->spec.dtype)) {
    extent e = {.integral = true};
    visit_shown(p, 0, 0, measure_extent, &e);
    p->scientific = e.largest >= (e.integral ? 1e15 : 1e6) || (e.largest < 1e-2 && e.largest > 0);
    p->decimals = p->scientific ? DECIMALS : e.decimals;
  }
  visit_shown(p, 0, 0, measure_width, NULL);
}

static void add(printer *p, const char *text, int length) {
  luaL_addlstring(&p->out, text, (size_t)length);
  p->column += length;
}

static void new_line(printer *p, int indent) {
  luaL_addchar(&p->out, '\n');
  p->column = 0;
  while (indent-- > 0) add(p, " ", 1);
}

static void write_element(printer *p, int64_t i) {
  char text[64];
  int length = element_text(p, i, text);
  for (int k = length; k < p->width && p->spec.rank; k++) add(p, " ", 1);
  add(p, text, length);
}

static void write_axis(printer *p, int axis, int64_t first, int indent) {
  if (axis == p->spec.rank) {
    write_element(p, first);
    return;
  }
  bool innermost = axis == p->spec.rank - 1;
  int64_t n = p->spec.shape[axis];
  add(p, "{", 1);
  for (int64_t i = 0, next; i < n; i = next) {
    write_axis(p, axis + 1, first + i * p->stride[axis], indent + 1);
    next = next_shown(p, axis, i);
    const bool gap = next > i + 1;
    if (gap || next < n) add(p, ",", 1);
    if (gap && innermost) add(p, " ...", 4);
    else if (gap) new_line(p, indent + 1), add(p, "...", 3);
    if (gap && next < n) add(p, ",", 1);
    if (next >= n) break;
    if (!innermost || p->column + p->width + 2 > p->line_width) new_line(p, indent + 1);
    else add(p, " ", 1);
    if (p->sink && p->out.n >= PIECE) drain(p);
  }
  add(p, "}", 1);
}

/* The shortest text that reads back as the same number. */
static void write_exact(printer *p) {
  char text[64];
  double x = float_at(p, 0);
  bool single = p->spec.dtype == MW_F32;
  int digits = single ? FLT_DIG : DBL_DIG;
  int length = snprintf(text, sizeof text, "%.*g", digits, x);
  while (isfinite(x) && (single ? (double)strtof(text, NULL) : strtod(text, NULL)) != x &&
         digits < 17)
    length = snprintf(text, sizeof text, "%.*g", ++digits, x);
  if (isnan(x)) length = snprintf(text, sizeof text, "nan");
  add(p, text, length);
}

static void write_body(printer *p) {
  if (p->spec.rank == 0 && is_float(p->spec.dtype)) {
    write_exact(p);
  } else if (mw_spec_count(&p->spec) == 0) {
    add(p, "{}", 2); /* the shape says the rest */
  } else {
    choose_style(p);
    write_axis(p, 0, 0, 0);
  }
}

/* A printer of the tensor at stack index 1, all of which is shown. */
static printer printer_of(lua_State *L, mw_tensor *t) {
  printer p = {
      .spec = *mw_tensor_spec(t), .data = face_data(L, t), .line_width = LINE_WIDTH, .L = L};
  int64_t stride = 1;
  for (int k = p.spec.rank - 1; k >= 0; k--) {
    p.stride[k] = stride;
    stride *= p.spec.shape[k];
    p.head[k] = p.spec.shape[k];
  }
  return p;
}

static int tensor_tostring(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "tostring");
  char text[MW_SPEC_TEXT];
  printer p = printer_of(L, t);
  for (int k = 0; k < p.spec.rank && mw_spec_count(&p.spec) > MOST_ELEMENTS; k++)
    if (p.spec.shape[k] > 2 * EDGE) p.head[k] = p.tail[k] = EDGE;
  luaL_buffinit(L, &p.out);
  luaL_addstring(&p.out, mw_spec_text(&p.spec, text));
  if (mw_tensor_is_parameter(t)) {
    luaL_addstring(&p.out, " parameter");
    if (*mw_tensor_name(t)) {
      lua_pushfstring(L, " '%s'", mw_tensor_name(t));
      luaL_addvalue(&p.out);
    }
  }
  if (p.spec.rank > 1) new_line(&p, 0);
  else add(&p, " ", 1);
  write_body(&p);
  luaL_pushresult(&p.out);
  return 1;
}

/* Reads how many entries of each axis are shown, from a table at an index; more of them at an axis'
 * beginning. */
static void read_shown(lua_State *L, int index, printer *p) {
  if (lua_isnoneornil(L, index)) return;
  luaL_checktype(L, index, LUA_TTABLE);
  for (int k = 0; k < p->spec.rank; k++) {
    lua_geti(L, index, k + 1);
    const lua_Integer shown = luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    if (shown < 1 || shown >= p->spec.shape[k]) continue;
    p->head[k] = shown - shown / 2;
    p->tail[k] = shown / 2;
  }
}

/* core.body(t, shown?, line_width?, sink?) -> the elements as text, as tostring() has them below the
 * first line. `shown` lists how many entries of each axis are shown, nil for all. Lines are wrapped
 * between elements at a width. A sink is called with one piece of the text after the other. */
static int tensor_body(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "body");
  lua_settop(L, 4);
  printer p = printer_of(L, t);
  read_shown(L, 2, &p);
  p.line_width = (int)luaL_optinteger(L, 3, LINE_WIDTH);
  p.sink = lua_isnil(L, 4) ? 0 : 4;
  luaL_buffinit(L, &p.out);
  write_body(&p);
  if (p.sink) return drain(&p), 0;
  luaL_pushresult(&p.out);
  return 1;
}

/* core.element_width(t, shown?) -> columns of the widest element shown by core.body */
static int tensor_element_width(lua_State *L) {
  printer p = printer_of(L, face_check(L, 1, "element_width"));
  read_shown(L, 2, &p);
  if (mw_spec_count(&p.spec) > 0) choose_style(&p);
  lua_pushinteger(L, p.width);
  return 1;
}

/* ---- Lua values -------------------------------------------------------------------------- */

/* t:item(): the one element as a number or a boolean */
static int tensor_item(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "item");
  char text[MW_SPEC_TEXT];
  const mw_spec *spec = mw_tensor_spec(t);
  if (mw_spec_count(spec) != 1)
    return face_error(L, "item: the tensor is %s, expected one element; t:totable() gives all",
                      mw_spec_text(spec, text));
  face_push_element(L, spec->dtype, face_data(L, t), 0);
  return 1;
}

static void push_table(lua_State *L, const mw_spec *spec, const void *data, int axis,
                       int64_t *next) {
  if (axis == spec->rank) {
    face_push_element(L, spec->dtype, data, (*next)++);
    return;
  }
  int64_t n = spec->shape[axis];
  lua_createtable(L, n > INT32_MAX ? 0 : (int)n, 0);
  for (int64_t i = 0; i < n; i++) {
    push_table(L, spec, data, axis + 1, next);
    lua_rawseti(L, -2, i + 1);
  }
}

/* t:totable(): nested tables; of a scalar its number */
static int tensor_totable(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "totable");
  const void *data = face_data(L, t);
  int64_t next = 0;
  luaL_checkstack(L, MW_MAX_RANK + 4, NULL);
  push_table(L, mw_tensor_spec(t), data, 0, &next);
  return 1;
}

/* t:eval(): computes the value; returns t */
static int tensor_eval(lua_State *L) {
  face_data(L, face_check(L, 1, "eval"));
  lua_settop(L, 1);
  return 1;
}

/* ---- bytes ------------------------------------------------------------------------------- */

/* The bytes of the machine are those of a file on every machine that is little-endian. */
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "core.bytes and core.from_bytes are written for little-endian machines"
#endif

/* core.bytes(t) -> string */
static int tensor_bytes(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "bytes");
  const char *data = face_data(L, t);
  lua_pushlstring(L, data ? data : "", mw_spec_bytes(mw_tensor_spec(t)));
  return 1;
}

/* core.from_bytes(string, dtype, shape) -> constant */
static int tensor_from_bytes(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING)
    return face_error(L, "from_bytes: the bytes are %s, expected a string", face_describe(L, 1));
  size_t length;
  const char *bytes = lua_tolstring(L, 1, &length);
  mw_spec spec = face_shape(L, 3, face_dtype(L, 2, MW_F32));
  char text[MW_SPEC_TEXT];
  if (length != mw_spec_bytes(&spec))
    return face_error(L, "from_bytes: there are %zu bytes, expected %zu for %s", length,
                      mw_spec_bytes(&spec), mw_spec_text(&spec, text));
  if (spec.dtype == MW_BOOL)
    for (size_t i = 0; i < length; i++)
      if ((unsigned char)bytes[i] > 1)
        return face_error(L, "from_bytes: byte %zu is %d, expected 0 or 1 for bool", i + 1,
                          (unsigned char)bytes[i]);
  face_push(L, mw_constant(face_context(L), &spec, bytes));
  return 1;
}

static const luaL_Reg methods[] = {
    {"eval", tensor_eval},
    {"item", tensor_item},
    {"totable", tensor_totable},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"body", tensor_body},
    {"bytes", tensor_bytes},
    {"element_width", tensor_element_width},
    {"from_bytes", tensor_from_bytes},
    {NULL, NULL},
};

void face_open_format(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  lua_getfield(L, -1, "methods");
  luaL_setfuncs(L, methods, 0);
  lua_pop(L, 1);
  luaL_getmetatable(L, FACE_TENSOR);
  lua_pushcfunction(L, tensor_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
}
