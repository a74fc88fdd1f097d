/* call.c: ops from Lua. How the arguments of an op are understood:
 *
 *     mw.conv2d(x, w, b, {stride = 2, padding = {1, 1}})
 *
 * Tensors come first, in the declared order; nil leaves an optional one out; a number stands for a
 * scalar of the other operand's dtype. A table at the end holds attributes by name. What else is
 * there sets the op's main attribute, which is its only required one, or else its first one:
 * x:reshape(2, -1), x:reshape {2, -1}, x:sum {1, keepdims = true}, x:cast "f64". */
#include <stdio.h>
#include <string.h>

#include "face.h"

#define MOST_SETTINGS 64 /* as many attributes as an op may declare */
#define FEW_INPUTS 16

typedef struct call {
  lua_State *L;
  mw_context *ctx;
  const mw_op *op;
  uint64_t age; /* of the op: in another one it may be gone */
  int declared; /* inputs */
  bool variadic;
  int n_in, room;
  mw_tensor **in;       /* NULL: left out, or a number */
  int *number_at;       /* where on the stack in[i] is given as a number; 0 when it is not */
  int values, n_values; /* on the stack: for the main attribute */
  int table;            /* on the stack: the attributes, or 0 */
  int n_settings;
  mw_setting settings[MOST_SETTINGS];
} call;

int face_declared(const mw_arg *args) {
  int n = 0;
  while (n < MW_MAX_ARGS && args[n].name) n++;
  return n;
}

/* Wherever Lua makes an object a finalizer may run, and replace ops. */
static void check_age(lua_State *L, const mw_context *ctx, uint64_t age) {
  if (age != mw_ops_age(ctx))
    face_error(L, "ops were replaced in the middle of a call: call it again");
}

static const char *input_name(const call *c, int i) {
  return c->op->inputs[i < c->declared ? i : c->declared - 1].name;
}

/* ---- inputs ------------------------------------------------------------------------------ */

static void add_input(call *c, mw_tensor *t, int number_at) {
  if (c->n_in == c->room) face_error(c->L, "%s: too many tensors", c->op->name);
  c->in[c->n_in] = t;
  c->number_at[c->n_in++] = number_at;
}

static bool has_room(const call *c) { return c->variadic || c->n_in < c->declared; }

/* Whether a number may be the next input. A random key is none: x:dropout(0.3) means p. */
static bool takes_number(const call *c) {
  return has_room(c) && !(c->n_in < c->declared && (c->op->inputs[c->n_in].flags & MW_KEY));
}

static void refuse_input(call *c, int index) {
  lua_State *L = c->L;
  if (has_room(c) && c->declared)
    face_error(L, "%s: %s is %s, expected a tensor or a number", c->op->name,
               input_name(c, c->n_in), face_describe(L, index));
  face_error(L, "%s: %s is one argument too many; it takes %d %s", c->op->name,
             face_describe(L, index), c->declared, c->declared == 1 ? "tensor" : "tensors");
}

/* Whether the table is {a, b, ...} for a variadic input. */
static bool holds_tensors(lua_State *L, int index) {
  lua_rawgeti(L, index, 1);
  bool is_tensor = face_test(L, -1) != NULL;
  lua_pop(L, 1);
  return is_tensor;
}

static void add_tensors(call *c, int index) {
  lua_State *L = c->L;
  lua_Integer n = (lua_Integer)lua_rawlen(L, index);
  lua_newtable(L); /* keeps the tensors, whatever becomes of the user's table meanwhile */
  check_age(L, c->ctx, c->age);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, index, i);
    mw_tensor *t = face_test(L, -1);
    if (!t)
      face_error(L, "%s: tensor %lld of the list is %s", c->op->name, (long long)i,
                 face_describe(L, -1));
    add_input(c, t, 0);
    lua_rawseti(L, -2, i);
    check_age(L, c->ctx, c->age);
  }
  lua_replace(L, index);
}

/* An argument that is neither a tensor nor nil nor a table. */
static void take_value(call *c, int index) {
  int type = lua_type(c->L, index);
  bool is_number = type == LUA_TNUMBER || type == LUA_TBOOLEAN;
  if (is_number && takes_number(c) && !c->n_values) {
    add_input(c, NULL, index);
  } else if ((is_number || type == LUA_TSTRING) && c->op->attrs && c->n_in) {
    if (!c->n_values) c->values = index;
    c->n_values++;
  } else {
    refuse_input(c, index);
  }
}

static void take_argument(call *c, int index, int last) {
  lua_State *L = c->L;
  mw_tensor *t = face_test(L, index);
  if (t) {
    if (!has_room(c) || c->n_values) refuse_input(c, index);
    add_input(c, t, 0);
  } else if (lua_isnil(L, index)) {
    if (has_room(c)) add_input(c, NULL, 0);
  } else if (!lua_istable(L, index)) {
    take_value(c, index);
  } else if (c->variadic && holds_tensors(L, index)) {
    add_tensors(c, index);
  } else if (index == last) {
    c->table = index;
  } else if (lua_rawlen(L, index) && c->op->attrs && c->n_in && !c->n_values) {
    c->values = index; /* a list for the main attribute, before the table of the others */
    c->n_values = 1;
  } else {
    face_error(L,
               "%s: argument %d is a table; the attributes come last, and a table of numbers "
               "becomes a tensor with mw.tensor",
               c->op->name, index);
  }
}

/* The dtype of a number: that of the first tensor, but a bool one (a mask) only if all are. */
static const mw_spec *beside_number(const call *c) {
  const mw_spec *found = NULL;
  for (int i = 0; i < c->n_in; i++) {
    if (!c->in[i]) continue;
    const mw_spec *spec = mw_tensor_spec(c->in[i]);
    if (spec->dtype != MW_BOOL) return spec;
    if (!found) found = spec;
  }
  return found;
}

static void number_to_tensor(call *c, int i, const mw_spec *beside) {
  lua_State *L = c->L;
  char text[MW_SPEC_TEXT];
  mw_dtype dtype = lua_isboolean(L, c->number_at[i]) ? MW_BOOL : beside ? beside->dtype : MW_F32;
  mw_spec spec = mw_spec_of(dtype, 0, NULL);
  double element;
  const char *expected = face_store(L, c->number_at[i], dtype, &element, 0);
  if (expected)
    face_error(L, "%s: %s is %s, expected %s beside %s; use :cast to change the dtype", c->op->name,
               input_name(c, i), face_describe(L, c->number_at[i]), expected,
               beside ? mw_spec_text(beside, text) : mw_dtype_name(dtype));
  c->in[i] = mw_constant(c->ctx, &spec, &element);
  face_push_marked(L, c->in[i]);
  lua_replace(L, c->number_at[i]);
  check_age(L, c->ctx, c->age);
}

/* ---- attributes -------------------------------------------------------------------------- */

static bool is_list(const mw_attr *attr) { return attr->type == MW_INTS || attr->type == MW_AXES; }

static const mw_attr *find_attr(const mw_op *op, const char *name) {
  for (const mw_attr *a = op->attrs; a && a->name; a++)
    if (strcmp(a->name, name) == 0) return a;
  return NULL;
}

/* The only required attribute, else the first one. NULL when several are required. */
static const mw_attr *main_attr(const mw_op *op) {
  const mw_attr *required = NULL;
  for (const mw_attr *a = op->attrs; a && a->name; a++) {
    if (a->initial) continue;
    if (required) return NULL;
    required = a;
  }
  return required ? required : op->attrs && op->attrs->name ? op->attrs : NULL;
}

static int64_t list_entry(call *c, const char *name, int i) {
  int integral = 0;
  lua_Integer value = 0;
  if (lua_type(c->L, -1) == LUA_TNUMBER) value = lua_tointegerx(c->L, -1, &integral);
  if (!integral)
    face_error(c->L, "%s: entry %d of %s is %s, expected an integer", c->op->name, i, name,
               face_describe(c->L, -1));
  lua_pop(c->L, 1);
  return value;
}

static void check_entries(call *c, const char *name, lua_Unsigned n) {
  if (n > MW_MAX_INTS)
    face_error(c->L, "%s: %s has %llu entries, at most %d are possible", c->op->name, name,
               (unsigned long long)n, MW_MAX_INTS);
}

static mw_setting read_list(call *c, const char *name, int index) {
  mw_setting s = mw_list(name, 0, NULL);
  lua_Unsigned n = lua_rawlen(c->L, index);
  check_entries(c, name, n);
  for (int i = 1; i <= (int)n; i++) {
    lua_rawgeti(c->L, index, i);
    s.value.list.at[s.value.list.count++] = list_entry(c, name, i);
  }
  return s;
}

static bool is_choice(const char *choices, const char *word) {
  size_t length = strlen(word);
  for (const char *at = choices; at; at = strchr(at, '|')) {
    at += *at == '|';
    if (strcspn(at, "|") == length && memcmp(at, word, length) == 0) return true;
  }
  return false;
}

/* The first choice is candidate 0. */
static const char *next_choice(const void *state, int i) {
  char *const *words = (char *const *)state;
  return words[i];
}

/* The choice nearest to a word, in words, which has room for all of them; or NULL. */
static const char *near_choice(const char *choices, const char *word, char *words, size_t room) {
  enum { MOST = 16 };
  char *list[MOST + 1] = {NULL};
  const char *dtype = face_near_dtype(word);
  if (dtype && is_choice(choices, dtype)) return dtype;
  snprintf(words, room, "%s", choices);
  char *at = words;
  for (int n = 0; at && n < MOST; n++) {
    list[n] = at;
    at = strchr(at, '|');
    if (at) *at++ = '\0';
  }
  return mw_near(word, next_choice, list);
}

/* A string; where it should be one of several words and is none, the nearest is suggested. */
static const char *check_choice(call *c, const char *name, int index) {
  const char *word = face_check_text(c->L, index, c->op->name, name);
  const mw_attr *attr = find_attr(c->op, name);
  if (!attr || attr->type != MW_CHOICE || is_choice(attr->choices, word)) return word;
  char words[256];
  const char *near = near_choice(attr->choices, word, words, sizeof words);
  if (near)
    face_error(c->L, "%s: %s is \"%s\", expected one of %s; did you mean '%s'?", c->op->name, name,
               word, attr->choices, near);
  return word;
}

/* The value at index. The core compares its kind with the schema. */
static mw_setting read_setting(call *c, const char *name, int index) {
  lua_State *L = c->L;
  int integral;
  lua_Integer n;
  switch (lua_type(L, index)) {
    case LUA_TBOOLEAN: return mw_bool(name, lua_toboolean(L, index));
    case LUA_TSTRING: return mw_text(name, check_choice(c, name, index));
    case LUA_TTABLE: return read_list(c, name, index);
    case LUA_TNUMBER:
      n = lua_tointegerx(L, index, &integral);
      return integral ? mw_int(name, n) : mw_float(name, lua_tonumber(L, index));
    default:
      face_error(L, "%s: attribute %s is %s", c->op->name, name, face_describe(L, index));
      return mw_bool(name, false);
  }
}

static int64_t axis_from_lua(call *c, const char *name, int64_t axis) {
  if (axis == 0)
    face_error(c->L, "%s: %s is 0; it counts from 1, or from -1 at the end", c->op->name, name);
  return axis > 0 ? axis - 1 : axis;
}

static void add_setting(call *c, const mw_attr *attr, mw_setting s) {
  if (c->n_settings == MOST_SETTINGS) face_error(c->L, "%s: too many attributes", c->op->name);
  if (attr && (attr->type == MW_AXIS || attr->type == MW_AXES)) {
    if (s.kind == MW_SET_INT) s.value.integer = axis_from_lua(c, s.name, s.value.integer);
    for (int i = 0; s.kind == MW_SET_INTS && i < s.value.list.count; i++)
      s.value.list.at[i] = axis_from_lua(c, s.name, s.value.list.at[i]);
  }
  c->settings[c->n_settings++] = s;
}

/* Gives the main attribute the n values from stack index `first` up: one, or the entries of its
 * list. */
static void set_main(call *c, int first, int n) {
  const mw_attr *attr = main_attr(c->op);
  if (!attr) {
    face_error(c->L, "%s: %s has no name; attributes go into a table by name", c->op->name,
               face_describe(c->L, first));
    return;
  }
  if (!is_list(attr) && n > 1)
    face_error(c->L, "%s: %s is one value too many for %s; attributes go into a table by name",
               c->op->name, face_describe(c->L, first + 1), attr->name);
  if (n == 1) {
    add_setting(c, attr, read_setting(c, attr->name, first));
    return;
  }
  mw_setting list = mw_list(attr->name, 0, NULL);
  check_entries(c, attr->name, (lua_Unsigned)n);
  for (int i = 0; i < n; i++) {
    lua_pushvalue(c->L, first + i);
    list.value.list.at[list.value.list.count++] = list_entry(c, attr->name, i + 1);
  }
  add_setting(c, attr, list);
}

/* The list part of the attribute table, {2, 2, stride = 1}, is for the main attribute. */
static void set_main_from_table(call *c, lua_Unsigned n) {
  lua_State *L = c->L;
  if (c->n_in && c->n_in < c->declared &&
      !(c->op->inputs[c->n_in].flags & (MW_OPTIONAL | MW_KEY | MW_VARIADIC)))
    face_error(L,
               "%s: %s is a table, expected a tensor; a table of numbers becomes one with "
               "mw.tensor",
               c->op->name, input_name(c, c->n_in));
  if (!main_attr(c->op) || !c->n_in)
    face_error(L,
               "%s: a table holds attributes by name; a table of numbers becomes a tensor with "
               "mw.tensor",
               c->op->name);
  if (c->n_values) face_error(L, "%s: %s is given twice", c->op->name, main_attr(c->op)->name);
  check_entries(c, main_attr(c->op)->name, n);
  int top = lua_gettop(L);
  for (lua_Unsigned i = 1; i <= n; i++) lua_rawgeti(L, c->table, (lua_Integer)i);
  set_main(c, top + 1, (int)n);
  lua_settop(L, top);
}

static void read_table(call *c) {
  lua_State *L = c->L;
  lua_Unsigned n = lua_rawlen(L, c->table);
  bool named = false;
  for (lua_pushnil(L); lua_next(L, c->table); lua_pop(L, 1)) {
    if (lua_isinteger(L, -2) && (lua_Unsigned)lua_tointeger(L, -2) - 1 < n) continue;
    if (lua_type(L, -2) != LUA_TSTRING)
      face_error(L, "%s: the attribute table has the key %s, expected names", c->op->name,
                 face_describe(L, -2));
    const char *name = face_check_text(L, -2, c->op->name, "an attribute's name");
    add_setting(c, find_attr(c->op, name), read_setting(c, name, lua_gettop(L)));
    named = true;
  }
  const mw_attr *attr = main_attr(c->op);
  if (n) set_main_from_table(c, n);
  else if (!named && !c->n_values && attr && !attr->initial && is_list(attr))
    add_setting(c, attr, mw_list(attr->name, 0, NULL)); /* x:reshape {}: a scalar */
}

/* ---- the call ---------------------------------------------------------------------------- */

/* How many inputs the arguments can hold at most. */
static int most_inputs(lua_State *L, int first, int last, bool variadic) {
  lua_Unsigned n = (lua_Unsigned)(last - first + 1);
  for (int i = first; variadic && i <= last; i++)
    if (lua_istable(L, i)) n += lua_rawlen(L, i);
  return n > 1000000 ? 1000000 : (int)n;
}

static const mw_op *find_op(lua_State *L, mw_context *ctx, const char *name) {
  const mw_op *op = mw_op_find(ctx, name);
  if (op) return op;
  const char *near = mw_op_near(ctx, name);
  if (near) face_error(L, "there is no op '%s'; did you mean '%s'?", name, near);
  face_error(L, "there is no op '%s'; mw.help() lists them", name);
  return NULL;
}

/* An op that is called by a function, looked up again when ops were replaced. */
typedef struct called {
  face_state *state;
  uint64_t age; /* of what follows; 0: nothing yet */
  mw_op_entry *entry;
  const mw_op *op;
  int declared, n_out;
  bool variadic;
  char name[]; /* of a function's */
} called;

static void look_up(lua_State *L, mw_context *ctx, called *o, const char *name) {
  o->op = find_op(L, ctx, name);
  o->entry = mw_op_entry_of(ctx, name);
  o->age = mw_ops_age(ctx);
  o->declared = face_declared(o->op->inputs);
  o->n_out = face_declared(o->op->outputs);
  o->variadic = o->declared && (o->op->inputs[o->declared - 1].flags & MW_VARIADIC);
}

/* Applies it, for places of results that are on the stack. `age` is that in which the call began: since
 * then a finalizer may have called the same function, so that it was looked up again. */
static int finish(lua_State *L, mw_context *ctx, const called *o, uint64_t age, int n_in,
                  mw_tensor *const *in, int n_settings, const mw_setting *settings,
                  mw_tensor **const *slots) {
  mw_tensor *outputs[MW_MAX_ARGS];
  check_age(L, ctx, age);
  if (mw_apply_entry(ctx, o->entry, n_in, in, n_settings, settings, outputs) != o->n_out)
    return face_raise(L);
  for (int i = 0; i < o->n_out; i++) *slots[i] = outputs[i];
  face_settle_state(L, o->state);
  return o->n_out;
}

/* Reads the arguments from stack index `first` up, and applies the op. */
static int apply(lua_State *L, mw_context *ctx, const called *o, int first) {
  mw_tensor *few[FEW_INPUTS], **slots[MW_MAX_ARGS];
  int few_numbers[FEW_INPUTS];
  const int last = lua_gettop(L);
  call c; /* one by one: the settings are 10 kB, which need not be zeroed for each op */
  c.L = L, c.ctx = ctx, c.op = o->op, c.age = o->age, c.declared = o->declared,
  c.variadic = o->variadic;
  c.in = few, c.number_at = few_numbers;
  c.n_in = c.values = c.n_values = c.table = c.n_settings = 0;
  luaL_checkstack(L, MW_MAX_INTS + MW_MAX_ARGS + 8, NULL);
  c.room = most_inputs(L, first, last, c.variadic);
  if (c.room > FEW_INPUTS) { /* both on the stack, for Lua to free */
    c.in = lua_newuserdatauv(L, (size_t)c.room * sizeof *c.in, 0);
    c.number_at = lua_newuserdatauv(L, (size_t)c.room * sizeof *c.number_at, 0);
    check_age(L, ctx, c.age);
  }
  for (int i = first; i <= last; i++) take_argument(&c, i, last);
  const mw_spec *beside = beside_number(&c);
  for (int i = 0; i < c.n_in; i++)
    if (c.number_at[i]) number_to_tensor(&c, i, beside);
  if (c.n_values) set_main(&c, c.values, c.n_values);
  if (c.table) read_table(&c);

  const int n_out = o->n_out; /* of this age */
  for (int i = 0; i < n_out; i++) slots[i] = face_push_empty(L);
  return finish(L, ctx, o, c.age, c.n_in, c.in, c.n_settings, c.settings, slots);
}

/* The same in less time, where all arguments are tensors; else 0. */
static int apply_to_tensors(lua_State *L, mw_context *ctx, const called *o) {
  enum { MOST = 8 }; /* with the results they fit the stack that any function has */
  mw_tensor *in[MOST], **slots[MW_MAX_ARGS];
  const int n = lua_gettop(L), n_out = o->n_out;
  const uint64_t age = o->age;
  if (n == 0 || n > MOST || (n > o->declared && !o->variadic)) return 0;
  for (int i = 0; i < n; i++)
    if (!(in[i] = face_test(L, i + 1))) return 0;
  for (int i = 0; i < n_out; i++) slots[i] = face_push_empty_like(L, 1);
  return finish(L, ctx, o, age, n, in, 0, NULL, slots);
}

mw_prepared *face_prepare(lua_State *L, const char *name, int table) {
  mw_context *ctx = face_context(L);
  call c;
  c.L = L, c.ctx = ctx, c.op = find_op(L, ctx, name), c.age = mw_ops_age(ctx), c.table = table;
  c.n_in = face_declared(c.op->inputs);
  c.values = c.n_values = c.n_settings = 0;
  luaL_checkstack(L, MW_MAX_INTS + 8, NULL);
  if (table) read_table(&c);
  mw_prepared *prepared = mw_prepare(ctx, name, c.n_settings, c.settings);
  if (!prepared) face_raise(L);
  return prepared;
}

int face_apply(lua_State *L, const char *op, int first) {
  called o = {.state = face_state_of(L)};
  mw_context *ctx = face_begin(L, o.state);
  look_up(L, ctx, &o, op);
  return apply(L, ctx, &o, first);
}

static int call_named(lua_State *L) {
  called *o = lua_touserdata(L, lua_upvalueindex(1));
  mw_context *ctx = face_begin(L, o->state);
  if (o->age != mw_ops_age(ctx)) look_up(L, ctx, o, o->name);
  const int n = apply_to_tensors(L, ctx, o);
  return n ? n : apply(L, ctx, o, 1);
}

void face_push_op(lua_State *L, const char *name) {
  const size_t size = strlen(name) + 1;
  called *o = lua_newuserdatauv(L, sizeof *o + size, 0);
  *o = (called){.state = face_state_of(L)};
  memcpy(o->name, name, size);
  lua_pushcclosure(L, call_named, 1);
}

const mw_op *face_check_op(lua_State *L, int index, const char *function) {
  return find_op(L, face_context(L), face_check_text(L, index, function, "the op"));
}

/* core.call(op, ...) */
static int core_call(lua_State *L) {
  return face_apply(L, face_check_text(L, 1, "call", "the op"), 2);
}

/* core.op(name): the function that mw.NAME is */
static int core_op(lua_State *L) {
  face_push_op(L, face_check_op(L, 1, "op")->name);
  return 1;
}

void face_open_call(lua_State *L) {
  static const luaL_Reg functions[] = {{"call", core_call}, {"op", core_op}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
