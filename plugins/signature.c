/* signature.c: reading the signature of a C function, and its values as libffi passes them. */
#include "signature.h"

#include <ctype.h>
#include <ffi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
  const char *name;
  size_t size;
  mw_dtype dtype;
  ffi_type *ffi;
} types[] = {
    [MW_C_VOID] = {"void", 1, MW_NONE, &ffi_type_void},
    [MW_C_F32] = {"f32", 4, MW_F32, &ffi_type_float},
    [MW_C_F64] = {"f64", 8, MW_F64, &ffi_type_double},
    [MW_C_I8] = {"i8", 1, MW_NONE, &ffi_type_sint8},
    [MW_C_I16] = {"i16", 2, MW_NONE, &ffi_type_sint16},
    [MW_C_I32] = {"i32", 4, MW_I32, &ffi_type_sint32},
    [MW_C_I64] = {"i64", 8, MW_I64, &ffi_type_sint64},
    [MW_C_U8] = {"u8", 1, MW_U8, &ffi_type_uint8},
    [MW_C_U16] = {"u16", 2, MW_NONE, &ffi_type_uint16},
    [MW_C_U32] = {"u32", 4, MW_NONE, &ffi_type_uint32},
    [MW_C_U64] = {"u64", 8, MW_NONE, &ffi_type_uint64},
    [MW_C_STR] = {"str", 0, MW_NONE, &ffi_type_pointer},
    [MW_C_FN] = {"fn", 0, MW_NONE, &ffi_type_pointer},
};
enum { TYPES = sizeof types / sizeof *types };

size_t mw_c_size(mw_c_type type) { return types[type].size; }
const char *mw_c_name(mw_c_type type) { return types[type].name; }
mw_dtype mw_c_dtype(mw_c_type type) { return types[type].dtype; }

mw_c_type mw_c_of(mw_dtype dtype) {
  for (int i = MW_C_F32; dtype != MW_NONE && i < TYPES; i++)
    if (types[i].dtype == dtype) return (mw_c_type)i;
  return MW_C_VOID;
}

ffi_type *mw_c_ffi(const mw_c_parameter *p) {
  return p->pointer ? &ffi_type_pointer : types[p->type].ffi;
}

void mw_c_narrow(const mw_c_parameter *p, mw_c_value *value) {
  const uint64_t word = value->u64; /* ffi_arg */
  if (p->pointer) return;
  switch (p->type) {
    case MW_C_I8: value->i8 = (int8_t)word; break;
    case MW_C_I16: value->i16 = (int16_t)word; break;
    case MW_C_I32: value->i32 = (int32_t)word; break;
    case MW_C_U8: value->u8 = (uint8_t)word; break;
    case MW_C_U16: value->u16 = (uint16_t)word; break;
    case MW_C_U32: value->u32 = (uint32_t)word; break;
    default: break;
  }
}

static int64_t whole_of(mw_c_type type, const mw_c_value *value) {
  switch (type) {
    case MW_C_I8: return value->i8;
    case MW_C_I16: return value->i16;
    case MW_C_I32: return value->i32;
    case MW_C_I64: return value->i64;
    case MW_C_U8: return value->u8;
    case MW_C_U16: return value->u16;
    case MW_C_U32: return value->u32;
    default: return value->u64 > INT64_MAX ? -1 : (int64_t)value->u64;
  }
}

void mw_c_widen(const mw_c_parameter *p, mw_c_value *value) {
  if (p->pointer || p->type < MW_C_I8 || p->type > MW_C_U32) return;
  const int64_t whole = whole_of(p->type, value);
  value->i64 = whole;
}

int64_t mw_c_length(const mw_signature *s, const mw_c_parameter *p, const mw_c_value *values) {
  int64_t length = 1;
  for (int i = 0; i < p->n_factors; i++) {
    const int from = p->factors[i].parameter;
    const int64_t factor =
        from < 0 ? p->factors[i].number : whole_of(s->parameters[from].type, &values[from]);
    if (factor < 0 || __builtin_mul_overflow(length, factor, &length)) return -1;
  }
  return length > INT64_MAX / 8 ? -1 : length;
}

/* ---- parsing ------------------------------------------------------------------------------- */

typedef struct reader {
  const char *at;
  char *problem;
  mw_signature *s;
  char words[MW_C_MOST][MW_C_FACTORS][MW_C_NAME]; /* of the lengths, until all names are known */
} reader;

static bool fail(reader *r, const char *problem) {
  snprintf(r->problem, MW_C_PROBLEM, "%s", problem);
  return false;
}

static bool take_sign(reader *r, char sign) {
  while (isspace((unsigned char)*r->at)) r->at++;
  if (*r->at != sign) return false;
  r->at++;
  return true;
}

static bool take_word(reader *r, char word[MW_C_NAME]) {
  size_t n = 0;
  while (isspace((unsigned char)*r->at)) r->at++;
  while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_') n++;
  if (n == 0 || n >= MW_C_NAME) return false;
  memcpy(word, r->at, n);
  word[n] = '\0';
  r->at += n;
  return true;
}

/* What C calls it, for those who copy a header's line. */
static const char *c_word(const char *word) {
  static const char *const known[][2] = {
      {"double", "f64"},   {"float", "f32"},    {"int", "i32"},     {"long", "i64"},
      {"unsigned", "u32"}, {"size_t", "u64"},   {"int32_t", "i32"}, {"int64_t", "i64"},
      {"uint8_t", "u8"},   {"uint32_t", "u32"}, {"char", "str"},    {"short", "i16"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(word, known[i][0]) == 0) return known[i][1];
  return NULL;
}

/* const f64*, void*, i32, str */
static bool parse_type(reader *r, mw_c_parameter *p, const char *what) {
  char word[MW_C_NAME];
  int type = 0;
  if (!take_word(r, word)) {
    snprintf(r->problem, MW_C_PROBLEM, "expected the type of %s", what);
    return false;
  }
  p->is_const = strcmp(word, "const") == 0;
  if (p->is_const && !take_word(r, word)) return fail(r, "expected a type after const");
  while (type < TYPES && strcmp(word, types[type].name) != 0) type++;
  if (type == TYPES) {
    const char *meant = c_word(word);
    snprintf(r->problem, MW_C_PROBLEM,
             "'%s' is no type; the types are f32, f64, i32, i64 and u8%s%s%s", word,
             meant ? "; did you mean " : ", and of functions called from Lua more",
             meant ? meant : "", meant ? "?" : "");
    return false;
  }
  p->type = (mw_c_type)type;
  p->pointer = take_sign(r, '*');
  if (p->pointer && take_sign(r, '*')) return fail(r, "a pointer to a pointer is written void*");
  if (p->pointer && p->type >= MW_C_STR) return fail(r, "str and fn are pointers already");
  return true;
}

/* [n], [3], [n*m] */
static bool parse_length(reader *r, mw_c_parameter *p, int i) {
  if (!take_sign(r, '[')) return true;
  if (!p->pointer) return fail(r, "only a pointer has a length in []");
  do {
    if (p->n_factors == MW_C_FACTORS) return fail(r, "a length has at most 4 factors");
    if (!take_word(r, r->words[i][p->n_factors++]))
      return fail(r, "expected a number or a parameter's name in []");
  } while (take_sign(r, '*'));
  return take_sign(r, ']') || fail(r, "expected ]");
}

static bool parse_parameter(reader *r) {
  mw_signature *s = r->s;
  if (s->n == MW_C_MOST) return fail(r, "there are too many parameters");
  mw_c_parameter *p = &s->parameters[s->n];
  if (!parse_type(r, p, "a parameter")) return false;
  if (p->type == MW_C_VOID && !p->pointer) return fail(r, "void is no parameter's type");
  if (!take_word(r, p->name)) p->name[0] = '\0';
  if (isdigit((unsigned char)*p->name)) return fail(r, "a name begins with a letter");
  for (int i = 0; *p->name && i < s->n; i++)
    if (strcmp(s->parameters[i].name, p->name) == 0)
      return fail(r, "two parameters have the same name");
  return parse_length(r, p, s->n++);
}

static bool find_factor(reader *r, const char *word, mw_c_factor *factor) {
  char *end;
  *factor = (mw_c_factor){.parameter = -1, .number = strtoll(word, &end, 10)};
  if (!*end && factor->number >= 0 && factor->number < INT64_MAX) return true;
  for (int i = 0; i < r->s->n; i++) {
    const mw_c_parameter *p = &r->s->parameters[i];
    if (strcmp(p->name, word) != 0) continue;
    factor->parameter = i;
    return (!p->pointer && p->type >= MW_C_I8 && p->type <= MW_C_U64) ||
           fail(r, "a length is the value of a parameter that is a whole number");
  }
  snprintf(r->problem, MW_C_PROBLEM, "no parameter has the name '%s', which is a length", word);
  return false;
}

bool mw_signature_parse(mw_signature *s, const char *text, char problem[MW_C_PROBLEM]) {
  reader r = {.at = text, .problem = problem, .s = s};
  memset(s, 0, sizeof *s);
  if (!parse_type(&r, &s->result, "the result")) return false;
  if (!s->result.pointer && s->result.type == MW_C_FN) return fail(&r, "no function is returned");
  if (!take_sign(&r, '(')) return fail(&r, "expected ( after the result");
  while (!take_sign(&r, ')')) {
    if (s->n && !take_sign(&r, ',')) return fail(&r, "expected a comma or )");
    if (!parse_parameter(&r)) return false;
  }
  while (isspace((unsigned char)*r.at)) r.at++;
  if (*r.at) return fail(&r, "there is more after )");
  for (int i = 0; i < s->n; i++)
    for (int k = 0; k < s->parameters[i].n_factors; k++)
      if (!find_factor(&r, r.words[i][k], &s->parameters[i].factors[k])) return false;
  return true;
}
