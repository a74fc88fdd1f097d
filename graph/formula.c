/* formula.c: tensors by formulas such as "dy * (x > 0 ? 1 : slope)"; mw_formula() in moonwalk.h
 * says what they may hold. A parser that builds nodes as it reads. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* A number until a tensor is needed: what is made of numbers alone is computed at once. */
typedef struct value {
  mw_tensor *tensor; /* NULL: a number */
  double number;
} value;

typedef struct parser {
  mw_build *build;
  const char *text, *at;
  int depth;
  bool failed, skip; /* skip: read on without building, in a branch that is not taken */
} parser;

enum { MOST_INPUTS = 8, MOST_SETTINGS = 8, LONGEST_NAME = 48, DEEPEST = 64 };

static value parse_choice(parser *p);
static value parse_branches(parser *p);

static value number(double n) { return (value){.number = n}; }

static value fail(parser *p, const char *what) {
  if (!p->failed && !mw_build_failed(p->build))
    mw_set_error(p->build->context, "formula \"%.300s\": %s at \"%.20s\"", p->text, what, p->at);
  p->failed = true;
  return number(0);
}

static void skip_space(parser *p) {
  while (isspace((unsigned char)*p->at)) p->at++;
}

/* Takes the sign if it comes next. One character is not taken off a longer sign: < off <=. */
static bool take(parser *p, const char *sign) {
  skip_space(p);
  size_t n = strlen(sign);
  if (strncmp(p->at, sign, n) != 0) return false;
  if (n == 1 && strchr("<>=!", *sign) && p->at[1] == '=') return false;
  p->at += n;
  return true;
}

static void expect(parser *p, const char *sign) {
  char what[40];
  if (p->failed || take(p, sign)) return;
  snprintf(what, sizeof what, "expected '%s'", sign);
  fail(p, what);
}

static bool take_name(parser *p, char name[LONGEST_NAME]) {
  skip_space(p);
  size_t n = 0;
  while (isalnum((unsigned char)p->at[n]) || p->at[n] == '_') n++;
  if (n == 0 || isdigit((unsigned char)*p->at) || n >= LONGEST_NAME) return false;
  memcpy(name, p->at, n);
  name[n] = '\0';
  p->at += n;
  return true;
}

/* ---- building ----------------------------------------------------------------------------- */

static mw_dtype float_dtype(const parser *p, const mw_tensor *beside) {
  if (beside && beside->spec.dtype != MW_BOOL) return beside->spec.dtype;
  for (int i = 0; i < p->build->n_in; i++) {
    const mw_tensor *t = p->build->in[i];
    if (t && mw_is_float(t->spec.dtype)) return t->spec.dtype;
  }
  return MW_F32;
}

static mw_tensor *tensor_of(parser *p, value v, const mw_tensor *beside) {
  if (v.tensor) return v.tensor;
  mw_spec spec = {.dtype = float_dtype(p, beside)};
  return mw_host_make_constant(p->build, &spec, v.number);
}

static value apply(parser *p, const char *op, int n, value *args, int n_settings,
                   const mw_setting *settings) {
  mw_tensor *inputs[MOST_INPUTS] = {NULL};
  const mw_tensor *beside = NULL;
  if (p->failed || p->skip) return number(0);
  for (int i = 0; i < n; i++)
    if (args[i].tensor && (!beside || beside->spec.dtype == MW_BOOL)) beside = args[i].tensor;
  for (int i = 0; i < n; i++) inputs[i] = tensor_of(p, args[i], beside);
  value made = {.tensor = mw_host_make(p->build, op, n, inputs, n_settings, settings)};
  if (!made.tensor) p->failed = true;
  return made;
}

/* Operators find their ops by the sign that these declare. */
static value operate(parser *p, const char *sign, int n, value *operands) {
  if (p->failed || p->skip) return number(0);
  const mw_op *op = mw_registry_operator(p->build->context, sign, n);
  if (op) return apply(p, op->name, n, operands, 0, NULL);
  return fail(p, "no op is the operator before this");
}

/* Two numbers make a number. */
static double compute(const char *sign, double a, double b) {
  bool equal = sign[1] == '=';
  switch (*sign) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '/': return a / b;
    case '<': return equal ? a <= b : a < b;
    case '>': return equal ? a >= b : a > b;
    case '=': return a == b;
    case '!': return a != b;
    case '&': return a != 0 && b != 0;
    default: return a != 0 || b != 0;
  }
}

static bool is_number(value v, double n) { return !v.tensor && v.number == n; }

static value binary(parser *p, const char *sign, value a, value b) {
  if (!a.tensor && !b.tensor) return number(compute(sign, a.number, b.number));
  /* A written 0 or 1 is meant, whatever is infinite or rounded on the other side: no node. */
  if (*sign == '*' && (is_number(a, 0) || is_number(b, 0))) return number(0);
  if (*sign == '*' && is_number(a, 1)) return b;
  if ((*sign == '*' || *sign == '/') && is_number(b, 1)) return a;
  if (*sign == '+' && is_number(a, 0)) return b;
  if ((*sign == '+' || *sign == '-') && is_number(b, 0)) return a;
  return operate(p, sign, 2, (value[]){a, b});
}

/* ---- names -------------------------------------------------------------------------------- */

static const mw_attr *find_attr(const mw_op *op, const char *name) {
  for (const mw_attr *a = op->attrs; a && a->name; a++)
    if (strcmp(a->name, name) == 0) return a;
  return NULL;
}

static const void *field_of(const parser *p, const mw_attr *attr) {
  return (const char *)p->build->attrs + attr->offset;
}

static value attr_number(parser *p, const mw_attr *attr) {
  const void *field = field_of(p, attr);
  switch (attr->type) {
    case MW_INT:
    case MW_AXIS: return number((double)*(const int64_t *)field);
    case MW_FLOAT: return number(*(const double *)field);
    case MW_BOOLEAN: return number(*(const bool *)field);
    case MW_CHOICE: return number(*(const int *)field);
    default: return fail(p, "an attribute that is no number");
  }
}

static int arg_position(const mw_arg *args, int n, const char *name) {
  for (int i = 0; i < n && i < MW_MAX_ARGS && args[i].name; i++)
    if (strcmp(args[i].name, name) == 0) return i;
  return -1;
}

static value named(parser *p, const char *name) {
  const mw_build *b = p->build;
  if (p->skip) return number(0);
  int in = arg_position(b->op->inputs, b->n_in, name);
  int out = b->dout ? arg_position(b->op->outputs, b->n_out, name) : -1;
  int dout = b->dout && *name == 'd' ? arg_position(b->op->outputs, b->n_out, name + 1) : -1;
  mw_tensor *t = in >= 0 ? b->in[in] : out >= 0 ? b->out[out] : dout >= 0 ? b->dout[dout] : NULL;
  if (t) return (value){.tensor = t};
  if (dout >= 0) return number(0); /* no gradient arrives there */
  const mw_attr *attr = in < 0 && out < 0 ? find_attr(b->op, name) : NULL;
  if (attr) return attr_number(p, attr);
  p->at -= strlen(name);
  return fail(p, in >= 0 ? "an input that is absent" : "an unknown name");
}

/* ---- calls: op(x, y, attribute=value) ------------------------------------------------------ */

static mw_setting setting_from_attr(parser *p, const char *name, const mw_attr *attr,
                                    char text[MW_MAX_TEXT]) {
  const void *field = field_of(p, attr);
  const char *choice = attr->choices;
  switch (attr->type) {
    case MW_FLOAT: return mw_float(name, *(const double *)field);
    case MW_BOOLEAN: return mw_bool(name, *(const bool *)field);
    case MW_TEXT: return mw_text(name, field);
    case MW_INTS:
    case MW_AXES: {
      const mw_ints *list = field;
      return mw_list(name, (int)list->count, list->at);
    }
    case MW_CHOICE:
      for (int i = *(const int *)field; i > 0; i--) choice = strchr(choice, '|') + 1;
      snprintf(text, MW_MAX_TEXT, "%.*s", (int)strcspn(choice, "|"), choice);
      return mw_text(name, text);
    default: return mw_int(name, *(const int64_t *)field);
  }
}

/* name has been read, and '='. */
static mw_setting parse_setting(parser *p, const char *name, char text[MW_MAX_TEXT]) {
  char word[LONGEST_NAME];
  if (take_name(p, word)) {
    if (strcmp(word, "true") == 0) return mw_bool(name, true);
    if (strcmp(word, "false") == 0) return mw_bool(name, false);
    const mw_attr *attr = find_attr(p->build->op, word);
    if (attr) return setting_from_attr(p, name, attr, text);
    fail(p, "an unknown attribute before this");
  } else if (take(p, "'")) {
    size_t n = strcspn(p->at, "'");
    snprintf(text, MW_MAX_TEXT, "%.*s", (int)n, p->at);
    p->at += n;
    expect(p, "'");
    return mw_text(name, text);
  } else {
    char *end;
    double n = strtod(p->at, &end);
    if (end == p->at) fail(p, "expected an attribute's value");
    p->at = end;
    const bool whole = n == floor(n) && fabs(n) < 0x1p63; /* what an int64_t holds */
    return whole ? mw_int(name, (int64_t)n) : mw_float(name, n);
  }
  return mw_int(name, 0);
}

static value parse_call(parser *p, const char *op) {
  value args[MOST_INPUTS];
  mw_setting settings[MOST_SETTINGS];
  char names[MOST_SETTINGS][LONGEST_NAME], texts[MOST_SETTINGS][MW_MAX_TEXT];
  int n = 0, n_settings = 0;
  while (!p->failed && !take(p, ")")) {
    if (n + n_settings) expect(p, ",");
    const char *before = p->at;
    if (n_settings < MOST_SETTINGS && take_name(p, names[n_settings]) && take(p, "=")) {
      settings[n_settings] = parse_setting(p, names[n_settings], texts[n_settings]);
      n_settings++;
    } else if (n == MOST_INPUTS || n_settings == MOST_SETTINGS) {
      fail(p, "too many arguments");
    } else {
      p->at = before;
      args[n++] = parse_choice(p);
    }
  }
  return apply(p, op, n, args, n_settings, settings);
}

/* ---- expressions, the loosest last --------------------------------------------------------- */

static value parse_primary(parser *p) {
  char name[LONGEST_NAME], *end;
  if (p->failed) return number(0);
  take(p, "(real)"); /* a cast for C, where the formula is compiled too */
  if (take(p, "(")) {
    value inner = parse_choice(p);
    expect(p, ")");
    return inner;
  }
  if (take_name(p, name)) return take(p, "(") ? parse_call(p, name) : named(p, name);
  double n = strtod(p->at, &end);
  if (end == p->at) return fail(p, "expected a value");
  p->at = end;
  return number(n);
}

static value parse_sign(parser *p) {
  bool negative = false;
  if (!take(p, "-")) return parse_primary(p);
  do negative = !negative;
  while (take(p, "-"));
  value v = parse_primary(p);
  if (!negative) return v;
  return v.tensor ? operate(p, "-", 1, &v) : number(-v.number);
}

static value parse_product(parser *p) {
  value v = parse_sign(p);
  while (!p->failed) {
    if (take(p, "*")) v = binary(p, "*", v, parse_sign(p));
    else if (take(p, "/")) v = binary(p, "/", v, parse_sign(p));
    else break;
  }
  return v;
}

static value parse_sum(parser *p) {
  value v = parse_product(p);
  while (!p->failed) {
    if (take(p, "+")) v = binary(p, "+", v, parse_product(p));
    else if (take(p, "-")) v = binary(p, "-", v, parse_product(p));
    else break;
  }
  return v;
}

static value parse_comparison(parser *p) {
  static const char *const signs[] = {"<=", ">=", "==", "!=", "<", ">"};
  value v = parse_sum(p);
  for (size_t i = 0; i < sizeof signs / sizeof *signs && !p->failed; i++)
    if (take(p, signs[i])) return binary(p, signs[i], v, parse_sum(p));
  return v;
}

static value parse_and(parser *p) {
  value v = parse_comparison(p);
  while (!p->failed && take(p, "&&")) v = binary(p, "&&", v, parse_comparison(p));
  return v;
}

static value parse_or(parser *p) {
  value v = parse_and(p);
  while (!p->failed && take(p, "||")) v = binary(p, "||", v, parse_and(p));
  return v;
}

/* condition ? a : b. Where the condition is a number one branch is built and no more. */
static value parse_choice(parser *p) {
  if (p->depth == DEEPEST) return fail(p, "it is nested too deeply");
  p->depth++;
  value chosen = parse_branches(p);
  p->depth--;
  return chosen;
}

static value parse_branches(parser *p) {
  value condition = parse_or(p);
  if (p->failed || !take(p, "?")) return condition;
  const bool skipped = p->skip, known = !condition.tensor;
  p->skip = skipped || (known && condition.number == 0);
  value a = parse_choice(p);
  expect(p, ":");
  p->skip = skipped || (known && condition.number != 0);
  value b = parse_choice(p);
  p->skip = skipped;
  if (known) return condition.number != 0 ? a : b;
  return operate(p, "?", 3, (value[]){condition, a, b});
}

mw_tensor *mw_host_formula(mw_build *b, const char *text) {
  if (mw_build_failed(b)) return NULL;
  parser p = {.build = b, .text = text, .at = text};
  value v = parse_choice(&p);
  skip_space(&p);
  if (!p.failed && *p.at) fail(&p, "expected the end");
  if (!p.failed && !v.tensor && v.number != 0) fail(&p, "a number instead of a tensor");
  if (p.failed) mw_build_fail(b);
  return p.failed ? NULL : v.tensor;
}

mw_status mw_formula_gradient(mw_build *b) {
  for (int i = 0; i < b->n_in && i < MW_MAX_ARGS; i++)
    if (b->wanted[i] && b->op->derivative[i]) b->din[i] = mw_formula(b, b->op->derivative[i]);
  return MW_OK;
}
