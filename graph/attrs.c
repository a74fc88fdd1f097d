/* attrs.c: attributes by their declared schema: checking, defaults, setting. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

static bool is_list(const mw_attr *attr) { return attr->type == MW_INTS || attr->type == MW_AXES; }

static size_t field_size(mw_attr_type type) {
  switch (type) {
    case MW_INT:
    case MW_AXIS: return sizeof(int64_t);
    case MW_FLOAT: return sizeof(double);
    case MW_BOOLEAN: return sizeof(bool);
    case MW_CHOICE: return sizeof(int);
    case MW_TEXT: return MW_MAX_TEXT;
    case MW_INTS:
    case MW_AXES: return sizeof(mw_ints);
  }
  return 0;
}

/* The position of word[0 .. length) among "a|b|c", or -1. */
static int choice_position(const char *choices, const char *word, size_t length) {
  for (int i = 0; choices; i++) {
    const char *end = strchr(choices, '|');
    size_t n = end ? (size_t)(end - choices) : strlen(choices);
    if (n == length && memcmp(choices, word, n) == 0) return i;
    choices = end ? end + 1 : NULL;
  }
  return -1;
}

static mw_status check_bounds(mw_context *ctx, const mw_attr *attr, double value) {
  if (attr->least == 0 && attr->most == 0) return MW_OK; /* no bounds declared */
  /* A single bound is given by leaving the other one infinite. NaN is within no bounds. */
  if (value >= attr->least && value <= attr->most) return MW_OK;
  if (isinf(attr->most))
    return mw_set_error(ctx, "%s is %.15g, expected at least %.15g", attr->name, value,
                        attr->least);
  return mw_set_error(ctx, "%s is %.15g, expected between %.15g and %.15g", attr->name, value,
                      attr->least, attr->most);
}

/* "1|2|4" as "1, 2 or 4", in room for twice as much. */
static const char *spoken(const char *choices, char *text) {
  char *end = text;
  for (const char *c = choices; *c; c++) {
    if (*c == '|') end += sprintf(end, strchr(c + 1, '|') ? ", " : " or ");
    else *end++ = *c;
  }
  *end = '\0';
  return text;
}

/* Whether n is among "1|2|4". */
static bool is_length(const char *lengths, int64_t n) {
  for (const char *at = lengths; *at; at += *at == '|') {
    int64_t length = 0;
    for (; *at && *at != '|'; at++) length = 10 * length + (*at - '0');
    if (length == n) return true;
  }
  return false;
}

static mw_status set_list(mw_context *ctx, const mw_attr *attr, void *field, const mw_ints *list) {
  const int count = (int)list->count;
  if (list->count < 0 || list->count > MW_MAX_INTS)
    return mw_set_error(ctx, "%s has %d entries, at most %d are possible", attr->name, count,
                        MW_MAX_INTS);
  if (attr->lengths && !is_length(attr->lengths, count)) {
    char lengths[256] = "another number";
    if (strlen(attr->lengths) < sizeof lengths / 4) spoken(attr->lengths, lengths);
    return mw_set_error(ctx, "%s has %d entries, expected %s", attr->name, count, lengths);
  }
  for (int i = 0; i < list->count; i++)
    if (check_bounds(ctx, attr, (double)list->at[i])) return MW_FAILED;
  memcpy(field, list, sizeof *list);
  return MW_OK;
}

static mw_status set_integer(mw_context *ctx, const mw_attr *attr, void *field, int64_t value) {
  if (is_list(attr)) {
    mw_ints list = {.count = 1, .at = {value}};
    return set_list(ctx, attr, field, &list);
  }
  if (check_bounds(ctx, attr, (double)value)) return MW_FAILED;
  memcpy(field, &value, sizeof value);
  return MW_OK;
}

static mw_status set_text(mw_context *ctx, const mw_attr *attr, void *field, const char *value) {
  size_t length = strlen(value);
  if (attr->type == MW_CHOICE) {
    int position = choice_position(attr->choices, value, length);
    if (position < 0)
      return mw_set_error(ctx, "%s is \"%s\", expected one of %s", attr->name, value,
                          attr->choices);
    memcpy(field, &position, sizeof position);
    return MW_OK;
  }
  if (length >= MW_MAX_TEXT)
    return mw_set_error(ctx, "%s has %zu bytes, at most %d are possible", attr->name, length,
                        MW_MAX_TEXT - 1);
  memset(field, 0, MW_MAX_TEXT);
  memcpy(field, value, length);
  return MW_OK;
}

static const char *expected_kind(mw_attr_type type) {
  switch (type) {
    case MW_INT: return "an integer";
    case MW_AXIS: return "an axis (an integer)";
    case MW_FLOAT: return "a number";
    case MW_BOOLEAN: return "true or false";
    case MW_CHOICE:
    case MW_TEXT: return "a string";
    case MW_INTS: return "an integer or a list of integers";
    case MW_AXES: return "an axis or a list of axes";
  }
  return "?";
}

static const char *given_kind(const mw_setting *s) {
  switch (s->kind) {
    case MW_SET_INT: return "an integer";
    case MW_SET_FLOAT: return "a number that is no integer";
    case MW_SET_BOOL: return "a boolean";
    case MW_SET_TEXT: return "a string";
    case MW_SET_INTS: return "a list";
  }
  return "?";
}

/* Writes one setting into its field. */
static mw_status set(mw_context *ctx, const mw_attr *attr, void *field, const mw_setting *s) {
  bool integers = attr->type == MW_INT || attr->type == MW_AXIS || is_list(attr);
  double number = s->kind == MW_SET_INT ? (double)s->value.integer : s->value.number;
  if (s->kind == MW_SET_INT && integers) return set_integer(ctx, attr, field, s->value.integer);
  if (s->kind == MW_SET_FLOAT && integers && number == floor(number) && fabs(number) < 0x1p53)
    return set_integer(ctx, attr, field, (int64_t)number);
  if ((s->kind == MW_SET_INT || s->kind == MW_SET_FLOAT) && attr->type == MW_FLOAT) {
    if (check_bounds(ctx, attr, number)) return MW_FAILED;
    memcpy(field, &number, sizeof number);
    return MW_OK;
  }
  if (s->kind == MW_SET_BOOL && attr->type == MW_BOOLEAN) {
    memcpy(field, &s->value.flag, sizeof(bool));
    return MW_OK;
  }
  if (s->kind == MW_SET_TEXT && (attr->type == MW_CHOICE || attr->type == MW_TEXT))
    return set_text(ctx, attr, field, s->value.text);
  if (s->kind == MW_SET_INTS && is_list(attr)) return set_list(ctx, attr, field, &s->value.list);
  return mw_set_error(ctx, "%s is %s, expected %s", attr->name, given_kind(s),
                      expected_kind(attr->type));
}

/* "1,1" as a list; "" as an empty one. */
static mw_status parse_list(mw_context *ctx, const mw_attr *attr, mw_ints *list) {
  *list = (mw_ints){0};
  for (const char *at = attr->initial; *at;) {
    char *end;
    long long value = strtoll(at, &end, 10);
    if (end == at || (*end && *end != ',') || list->count == MW_MAX_INTS)
      return mw_set_error(ctx, "the default \"%s\" of %s is no list", attr->initial, attr->name);
    list->at[list->count++] = value;
    at = *end ? end + 1 : end;
  }
  return MW_OK;
}

/* The default of an attribute, read from its text. Bounds and lengths bind what users give, not
 * a default: an empty list may stand for "not given". */
static mw_status set_default(mw_context *ctx, const mw_attr *attr, void *field) {
  if (is_list(attr)) {
    mw_ints list;
    if (parse_list(ctx, attr, &list)) return MW_FAILED;
    memcpy(field, &list, sizeof list);
    return MW_OK;
  }
  mw_attr free_of_bounds = *attr;
  free_of_bounds.least = free_of_bounds.most = 0;
  mw_setting s = {.name = attr->name, .kind = MW_SET_TEXT, .value.text = attr->initial};
  if (attr->type == MW_BOOLEAN) {
    s.kind = MW_SET_BOOL;
    s.value.flag = strcmp(attr->initial, "true") == 0;
    if (!s.value.flag && strcmp(attr->initial, "false") != 0) goto wrong;
  } else if (attr->type == MW_INT || attr->type == MW_AXIS || attr->type == MW_FLOAT) {
    char *end;
    s.kind = MW_SET_FLOAT;
    s.value.number = strtod(attr->initial, &end);
    if (end == attr->initial || *end) goto wrong;
  }
  return set(ctx, &free_of_bounds, field, &s);
wrong:
  return mw_set_error(ctx, "the default \"%s\" of %s is not %s", attr->initial, attr->name,
                      expected_kind(attr->type));
}

mw_status mw_attrs_check_schema(mw_context *ctx, const mw_op *op) {
  int n = 0;
  for (const mw_attr *a = op->attrs; a && a->name; a++, n++) {
    size_t size = field_size(a->type);
    if (size == 0) return mw_set_error(ctx, "attribute %s has an unknown type", a->name);
    if (a->offset > op->attrs_size || op->attrs_size - a->offset < size)
      return mw_set_error(ctx, "attribute %s lies outside the %zu bytes of attrs_size", a->name,
                          op->attrs_size);
    if (a->type == MW_CHOICE && !a->choices)
      return mw_set_error(ctx, "attribute %s has no choices", a->name);
    for (const mw_attr *b = op->attrs; b < a; b++)
      if (strcmp(a->name, b->name) == 0)
        return mw_set_error(ctx, "attribute %s is declared twice", a->name);
  }
  if (n > 64) return mw_set_error(ctx, "%d attributes are declared, at most 64 are possible", n);
  return MW_OK;
}

mw_status mw_attrs_defaults(mw_context *ctx, const mw_op *op, void *attrs, uint64_t *must_set) {
  *must_set = 0;
  for (const mw_attr *a = op->attrs; a && a->name; a++) {
    if (!a->initial) *must_set |= UINT64_C(1) << (a - op->attrs);
    else if (set_default(ctx, a, (char *)attrs + a->offset)) return MW_FAILED;
  }
  return MW_OK;
}

static const char *attr_name(const void *op, int i) { return ((const mw_op *)op)->attrs[i].name; }

static mw_status unknown_attribute(mw_context *ctx, const mw_op *op, const char *name) {
  char known[512] = "";
  size_t used = 0;
  for (const mw_attr *a = op->attrs; a && a->name && used < sizeof known; a++)
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", a->name);
  if (!used) return mw_set_error(ctx, "unknown attribute '%s'; it has none", name);
  const char *near = mw_near(name, attr_name, op);
  if (near)
    return mw_set_error(ctx, "unknown attribute '%s'; did you mean '%s'? It has %s", name, near,
                        known);
  return mw_set_error(ctx, "unknown attribute '%s'; it has %s", name, known);
}

mw_status mw_attrs_set(mw_context *ctx, const mw_op_entry *entry, void *attrs, int n,
                       const mw_setting *settings) {
  const mw_op *op = &entry->op;
  uint64_t missing = entry->must_set;
  for (int i = 0; i < n; i++) {
    const mw_attr *a = op->attrs;
    while (a && a->name && strcmp(a->name, settings[i].name) != 0) a++;
    if (!a || !a->name) return unknown_attribute(ctx, op, settings[i].name);
    if (set(ctx, a, (char *)attrs + a->offset, &settings[i])) return MW_FAILED;
    missing &= ~(UINT64_C(1) << (a - op->attrs));
  }
  for (int i = 0; missing; i++, missing >>= 1)
    if (missing & 1)
      return mw_set_error(ctx, "attribute '%s' is missing: %s", op->attrs[i].name,
                          op->attrs[i].doc ? op->attrs[i].doc : "");
  return MW_OK;
}
