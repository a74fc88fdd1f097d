/* csv.c: reads tables of text: comma-separated values as RFC 4180 describes them, with any
 * separator. A column whose fields are all numbers becomes f64; any other one becomes codes of its
 * texts. Every message names the line. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

typedef struct reader {
  const char *at, *end;
  char separator;
  int64_t line; /* of `at`, from 1 */
} reader;

typedef struct field {
  const char *text; /* without its quotes */
  size_t length;
  int64_t line;
  bool doubled; /* it has quotes in it, each written twice */
  bool last;    /* of its row */
} field;

typedef struct column {
  double *values; /* NaN where one is missing */
  int64_t *codes; /* -1 where one is missing */
  bool is_text;
  int64_t first_text, first_missing, missing; /* lines; how many */
} column;

/* ---- fields -------------------------------------------------------------------------------- */

static bool at_break(const reader *r) {
  return r->at == r->end || *r->at == '\n' || *r->at == '\r';
}

static bool is_blank(char c, char separator) { return c != separator && (c == ' ' || c == '\t'); }

/* Behind a field: a separator, or the end of the row. */
static const char *end_field(reader *r, field *f) {
  f->last = at_break(r);
  if (!f->last) {
    if (*r->at != r->separator) return "something stands behind a closing quote";
    r->at++;
    return NULL;
  }
  if (r->at < r->end && *r->at == '\r') r->at++;
  if (r->at < r->end && *r->at == '\n') r->at++;
  r->line++;
  return NULL;
}

static const char *quoted_field(reader *r, field *f) {
  f->text = ++r->at;
  for (;; r->at++) {
    if (r->at == r->end) return "a quote is not closed";
    if (*r->at == '\n') r->line++;
    if (*r->at != '"') continue;
    if (r->at + 1 == r->end || r->at[1] != '"') break;
    f->doubled = true;
    r->at++;
  }
  f->length = (size_t)(r->at - f->text);
  r->at++;
  while (!at_break(r) && is_blank(*r->at, r->separator)) r->at++;
  return end_field(r, f);
}

/* The next field; NULL, or what is wrong with it. Spaces around it do not count. */
static const char *next_field(reader *r, field *f) {
  *f = (field){.line = r->line};
  while (!at_break(r) && is_blank(*r->at, r->separator)) r->at++;
  if (r->at < r->end && *r->at == '"') return quoted_field(r, f);
  f->text = r->at;
  while (!at_break(r) && *r->at != r->separator) r->at++;
  f->length = (size_t)(r->at - f->text);
  while (f->length > 0 && is_blank(f->text[f->length - 1], r->separator)) f->length--;
  return end_field(r, f);
}

static void skip_empty_lines(reader *r) {
  while (r->at < r->end && at_break(r)) {
    if (*r->at == '\n') r->line++;
    r->at++;
  }
}

static bool is_missing(const field *f) {
  static const char *const words[] = {"", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strlen(words[i]) == f->length && memcmp(words[i], f->text, f->length) == 0) return true;
  return false;
}

/* Few digits are exact, and so is their quotient by a power of ten that a double holds exactly. */
static bool short_number(const field *f, double *value) {
  static const double tens[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  int64_t digits = 0;
  int decimals = -1, count = 0;
  size_t i = f->length > 0 && f->text[0] == '-' ? 1 : 0;
  if (f->length > 17) return false;
  for (; i < f->length; i++) {
    const char c = f->text[i];
    if (c == '.' && decimals < 0) {
      decimals = 0;
      continue;
    }
    if (c < '0' || c > '9') return false;
    digits = digits * 10 + (c - '0');
    count++;
    if (decimals >= 0) decimals++;
  }
  if (count == 0 || count > 15) return false;
  *value = (double)digits / tens[decimals > 0 ? decimals : 0];
  if (f->text[0] == '-') *value = -*value;
  return true;
}

static bool read_number(const field *f, double *value) {
  char copy[64], *end;
  if (short_number(f, value)) return true;
  if (f->length == 0 || f->length >= sizeof copy) return false;
  for (size_t i = 0; i < f->length; i++)
    if (!strchr("0123456789+-.eE", f->text[i]) || f->text[i] == '\0') return false;
  memcpy(copy, f->text, f->length);
  copy[f->length] = '\0';
  *value = strtod(copy, &end);
  return *end == '\0' && end != copy && isfinite(*value);
}

/* The field's text, with one quote for two. */
static void push_text(lua_State *L, const field *f) {
  luaL_Buffer buffer;
  if (!f->doubled) {
    lua_pushlstring(L, f->text, f->length);
    return;
  }
  luaL_buffinit(L, &buffer);
  for (size_t i = 0; i < f->length; i++) {
    luaL_addchar(&buffer, f->text[i]);
    if (f->text[i] == '"') i++;
  }
  luaL_pushresult(&buffer);
}

/* ---- the table ----------------------------------------------------------------------------- */

static int fail(lua_State *L, int64_t line, const char *what) {
  luaL_pushfail(L);
  lua_pushfstring(L, "line %I: %s", (lua_Integer)line, what);
  return 2;
}

/* Counts columns and rows, and checks that every row has as many fields. 0, or 2 with a failure
 * pushed. */
static int measure(lua_State *L, reader r, int64_t *columns, int64_t *rows) {
  field f;
  *columns = *rows = 0;
  for (skip_empty_lines(&r); r.at < r.end; skip_empty_lines(&r)) {
    const int64_t line = r.line;
    int64_t count = 0;
    do {
      const char *wrong = next_field(&r, &f);
      if (wrong) return fail(L, f.line, wrong);
      count++;
      /* A separator at the very end has an empty field behind it. */
    } while (!f.last);
    if (*columns == 0) *columns = count;
    if (count != *columns) {
      luaL_pushfail(L);
      lua_pushfstring(L, "line %I: there are %I fields, expected %I as in the first row",
                      (lua_Integer)line, (lua_Integer)count, (lua_Integer)*columns);
      return 2;
    }
    ++*rows;
  }
  return 0;
}

/* The names in the first row, as a list. */
static void push_names(lua_State *L, reader *r) {
  field f;
  lua_newtable(L);
  skip_empty_lines(r);
  for (int i = 1; r->at < r->end; i++) {
    next_field(r, &f);
    push_text(L, &f);
    lua_rawseti(L, -2, i);
    if (f.last) return;
  }
}

static void read_values(reader r, column *columns, int64_t n) {
  field f;
  for (int64_t row = 0;; row++) {
    skip_empty_lines(&r);
    if (r.at == r.end) return;
    for (int64_t j = 0; j < n; j++) {
      column *c = &columns[j];
      next_field(&r, &f);
      double value = NAN;
      if (is_missing(&f)) {
        if (c->missing++ == 0) c->first_missing = f.line;
      } else if (!c->is_text && !read_number(&f, &value)) {
        c->is_text = true;
        c->first_text = f.line;
      }
      c->values[row] = value;
    }
  }
}

/* The codes of the columns of text; the table at index `tables` has a table for each of them, whose
 * texts, codes and lines are lists. */
static void read_codes(lua_State *L, reader r, column *columns, int64_t n, int tables) {
  field f;
  for (int64_t row = 0;; row++) {
    skip_empty_lines(&r);
    if (r.at == r.end) return;
    for (int64_t j = 0; j < n; j++) {
      next_field(&r, &f);
      if (!columns[j].is_text) continue;
      columns[j].codes[row] = -1;
      if (is_missing(&f)) continue;
      lua_rawgeti(L, tables, j + 1);
      lua_getfield(L, -1, "known");
      push_text(L, &f);
      lua_pushvalue(L, -1);
      if (lua_rawget(L, -3) == LUA_TNIL) {
        lua_getfield(L, -4, "texts");
        const lua_Integer code = (lua_Integer)lua_rawlen(L, -1);
        lua_pushvalue(L, -3);
        lua_rawseti(L, -2, code + 1);
        lua_getfield(L, -5, "lines");
        lua_pushinteger(L, f.line);
        lua_rawseti(L, -2, code + 1);
        lua_pop(L, 3);
        lua_pushinteger(L, code);
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
      }
      columns[j].codes[row] = lua_tointeger(L, -1);
      lua_pop(L, 4);
    }
  }
}

static void set_integer(lua_State *L, const char *name, int64_t value) {
  lua_pushinteger(L, value);
  lua_setfield(L, -2, name);
}

/* Pushes the column's table: numbers, or codes with the lists that read_codes fills. */
static void push_column(lua_State *L, column *c, int64_t rows) {
  const mw_spec spec = mw_spec_of(MW_I64, 1, &rows);
  if (!c->is_text) return;
  c->codes = face_push_blank(L, &spec);
  lua_setfield(L, -2, "codes");
  lua_pushnil(L);
  lua_setfield(L, -2, "values");
  set_integer(L, "first_text", c->first_text);
  static const char *const lists[] = {"known", "texts", "lines"};
  for (int i = 0; i < 3; i++) {
    lua_newtable(L);
    lua_setfield(L, -2, lists[i]);
  }
}

/* core.csv(text, separator, header) -> {rows =, names =, columns = {...}}, or nil and what is
 * wrong. A column is {values = f64[n], missing =, first_missing =}, or {codes = i64[n], texts =
 * {...}, lines = {...}, first_text =, ...}: the texts by code + 1, and the lines where each is
 * first. */
static int face_csv(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  const char separator = *face_check_text(L, 2, "csv", "separator");
  const bool header = lua_toboolean(L, 3);
  reader r = {text, text + length, separator, 1};
  int64_t n, rows;
  lua_settop(L, 3);
  if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) r.at += 3; /* a byte order mark */
  if (measure(L, r, &n, &rows)) return 2;
  if (rows == 0) return luaL_pushfail(L), lua_pushliteral(L, "it is empty"), 2;

  lua_newtable(L); /* 4: the result */
  if (header) {
    push_names(L, &r);
    lua_setfield(L, 4, "names");
    rows--;
  }
  set_integer(L, "rows", rows);
  column *columns = lua_newuserdatauv(L, (size_t)n * sizeof *columns, 0); /* 5 */
  memset(columns, 0, (size_t)n * sizeof *columns);
  lua_newtable(L); /* 6: the columns */
  const mw_spec spec = mw_spec_of(MW_F64, 1, &rows);
  for (int64_t j = 0; j < n; j++) {
    lua_newtable(L);
    columns[j].values = face_push_blank(L, &spec);
    lua_setfield(L, -2, "values");
    lua_rawseti(L, 6, j + 1);
  }
  read_values(r, columns, n);
  bool texts = false;
  for (int64_t j = 0; j < n; j++) {
    lua_rawgeti(L, 6, j + 1);
    push_column(L, &columns[j], rows);
    set_integer(L, "missing", columns[j].missing);
    set_integer(L, "first_missing", columns[j].first_missing);
    lua_pop(L, 1);
    texts = texts || columns[j].is_text;
  }
  if (texts) read_codes(L, r, columns, n, 6);
  lua_setfield(L, 4, "columns"); /* which is on top */
  lua_settop(L, 4);
  return 1;
}

/* ---- columns to tensors -------------------------------------------------------------------- */

/* core.column_summary(values) -> how many there are, mean, least, most, whether all are whole */
static int face_summary(lua_State *L) {
  mw_tensor *t = face_check(L, 1, "column_summary");
  const double *values = face_data(L, t);
  const int64_t n = mw_spec_count(mw_tensor_spec(t));
  double sum = 0, least = INFINITY, most = -INFINITY;
  int64_t count = 0;
  bool whole = true;
  for (int64_t i = 0; i < n; i++) {
    const double v = values[i];
    if (isnan(v)) continue;
    count++;
    sum += v;
    least = v < least ? v : least;
    most = v > most ? v : most;
    whole = whole && v == floor(v);
  }
  lua_pushinteger(L, count);
  lua_pushnumber(L, count ? sum / (double)count : 0);
  lua_pushnumber(L, least);
  lua_pushnumber(L, most);
  lua_pushboolean(L, whole);
  return 5;
}

/* One column of x [n, width], at `to`: values, with `fill` for what is missing, or whether the
 * codes are that one. */
static void put_values(const double *from, int64_t n, double fill, float *to, int64_t width) {
  for (int64_t i = 0; i < n; i++) to[i * width] = (float)(isnan(from[i]) ? fill : from[i]);
}

static void put_code(const int64_t *from, int64_t n, int64_t code, float *to, int64_t width) {
  for (int64_t i = 0; i < n; i++) to[i * width] = from[i] == code;
}

/* core.columns({{values, fill}, {codes, code}, ...}, n) -> f32 [n, columns] */
static int face_columns(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const int64_t width = luaL_len(L, 1), n = face_check_integer(L, 2, "columns", "n");
  const mw_spec spec = mw_spec_of(MW_F32, 2, (int64_t[]){n, width});
  lua_settop(L, 2);
  float *to = face_push_blank(L, &spec);
  for (int64_t j = 0; to && j < width; j++) {
    lua_geti(L, 1, j + 1);
    lua_geti(L, -1, 1);
    lua_geti(L, -2, 2);
    mw_tensor *t = face_check(L, -2, "columns");
    const mw_spec *its = mw_tensor_spec(t);
    if (its->rank != 1 || its->shape[0] != n || (its->dtype != MW_F64 && its->dtype != MW_I64))
      return face_error(L, "columns: column %lld is no f64[n] or i64[n]", (long long)j + 1);
    const void *from = face_data(L, t);
    if (its->dtype == MW_F64) put_values(from, n, lua_tonumber(L, -1), to + j, width);
    else put_code(from, n, lua_tointeger(L, -1), to + j, width);
    lua_pop(L, 3);
  }
  return 1;
}

/* core.complete({values or codes, ...}, n) -> i64: the rows, from 0, in which nothing is missing */
static int face_complete(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  const int64_t n = face_check_integer(L, 2, "complete", "n"), width = luaL_len(L, 1);
  lua_settop(L, 2);
  uint8_t *misses = lua_newuserdatauv(L, n > 0 ? (size_t)n : 1, 0);
  memset(misses, 0, n > 0 ? (size_t)n : 1);
  for (int64_t j = 0; j < width; j++) {
    lua_geti(L, 1, j + 1);
    mw_tensor *t = face_check(L, -1, "complete");
    const mw_spec *its = mw_tensor_spec(t);
    if (its->rank != 1 || its->shape[0] != n || (its->dtype != MW_F64 && its->dtype != MW_I64))
      return face_error(L, "complete: column %lld is no f64[n] or i64[n]", (long long)j + 1);
    const double *values = face_data(L, t);
    const int64_t *codes = mw_tensor_data(t);
    const bool is_text = its->dtype == MW_I64;
    for (int64_t i = 0; i < n; i++) misses[i] |= is_text ? codes[i] < 0 : isnan(values[i]);
    lua_pop(L, 1);
  }
  int64_t left = 0;
  for (int64_t i = 0; i < n; i++) left += !misses[i];
  const mw_spec spec = mw_spec_of(MW_I64, 1, &left);
  int64_t *to = face_push_blank(L, &spec);
  for (int64_t i = 0; i < n; i++)
    if (!misses[i]) *to++ = i;
  return 1;
}

void face_open_csv(lua_State *L) {
  static const luaL_Reg functions[] = {{"csv", face_csv},
                                       {"column_summary", face_summary},
                                       {"columns", face_columns},
                                       {"complete", face_complete},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
