/* ffi.c: foreign functions as ops from Lua, with rules and gradients that are Lua functions. */
#include <stdlib.h>

#include "../plugins/ffi.h"
#include "face.h"
#include "foreign.h"

/* What an op's rule and gradient find. Its Lua functions are in Lua's registry, in a table by this
 * address. */
typedef struct foreign {
  face_thread *caller;
} foreign;

static void foreign_free(void *data) {
  foreign *f = data;
  face_caller_release(f->caller);
  free(f);
}

static void push_function(lua_State *L, const mw_op *op, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, mw_foreign_data(op));
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* ---- gradient(inputs ..., outputs ..., gradients of the outputs ...) -> gradients ... -------- */

static void push_tensors(lua_State *L, int n, mw_tensor *const *tensors) {
  for (int i = 0; i < n; i++)
    if (tensors[i]) *face_push_empty(L) = mw_retain(tensors[i]);
    else lua_pushnil(L);
}

static int call_gradient(lua_State *L) {
  mw_build *b = lua_touserdata(L, 1);
  luaL_checkstack(L, 4 * MW_MAX_ARGS, NULL);
  push_function(L, b->op, "gradient");
  push_tensors(L, b->n_in, b->in);
  push_tensors(L, b->n_out, b->out);
  push_tensors(L, b->n_out, b->dout);
  lua_call(L, b->n_in + 2 * b->n_out, b->n_in);
  for (int i = 0; i < b->n_in; i++) {
    const int at = i - b->n_in;
    mw_tensor *t = face_test(L, at);
    if (!t && !lua_isnil(L, at))
      return luaL_error(L, "gradient returns %s for %s, expected a tensor or nil",
                        face_describe(L, at), b->op->inputs[i].name);
    if (t && b->wanted[i]) b->din[i] = mw_build_keep(b, mw_retain(t));
  }
  return 0;
}

/* An input that was broadcast gets the sum over its copies. */
static void fold(mw_build *b) {
  for (int i = 0; i < b->n_in; i++) {
    if (!b->wanted[i] || !b->din[i]) continue;
    const mw_spec *x = b->host->tensor_spec(b->in[i]);
    const mw_setting shape = mw_list("shape", x->rank, x->shape);
    if (!mw_spec_equal(x, b->host->tensor_spec(b->din[i])))
      b->din[i] = mw_make(b, "sum_to", 1, &b->din[i], 1, &shape);
  }
}

static mw_status gradient(mw_build *b) {
  const foreign *f = mw_foreign_data(b->op);
  if (face_call_back(f->caller, b->host, b->context, call_gradient, b)) return MW_FAILED;
  fold(b);
  return MW_OK;
}

/* ---- rule(specs of the inputs ...) -> {y = {2, 3}, n = 6} ------------------------------------ */

typedef struct rule_call {
  mw_infer *it;
  double *numbers;
} rule_call;

/* The shape at the top of the stack, for output j. */
static void read_shape(lua_State *L, mw_infer *it, int j) {
  const char *name = it->op->outputs[j].name;
  if (!lua_istable(L, -1))
    luaL_error(L, "infer gives %s as %s, expected a shape such as {2, 3}", face_describe(L, -1),
               name);
  it->out[j].rank = (int)lua_rawlen(L, -1);
  if (it->out[j].rank > MW_MAX_RANK)
    luaL_error(L, "infer gives %s %d axes, at most %d are possible", name, it->out[j].rank,
               MW_MAX_RANK);
  for (int k = 0; k < it->out[j].rank; k++) {
    int whole = lua_rawgeti(L, -1, k + 1) == LUA_TNUMBER;
    it->out[j].shape[k] = whole ? lua_tointegerx(L, -1, &whole) : -1;
    if (!whole || it->out[j].shape[k] < 0)
      luaL_error(L, "infer gives %s the size %s, expected a whole number from 0", name,
                 face_describe(L, -1));
    lua_pop(L, 1);
  }
}

static int call_rule(lua_State *L) {
  const rule_call *call = lua_touserdata(L, 1);
  mw_infer *it = call->it;
  const char *name;
  luaL_checkstack(L, 2 * MW_MAX_ARGS, NULL);
  push_function(L, it->op, "infer");
  for (int i = 0; i < it->n_in; i++) face_push_spec(L, &it->in[i]);
  lua_call(L, it->n_in, 1);
  if (!lua_istable(L, -1))
    return luaL_error(L, "infer returns %s, expected a table of shapes and numbers by name",
                      face_describe(L, -1));
  for (int j = 0; j < it->n_out; j++, lua_pop(L, 1)) {
    lua_getfield(L, -1, it->op->outputs[j].name);
    read_shape(L, it, j);
  }
  bool is_address;
  for (int i = 0; (name = mw_foreign_number(it->op, i, &is_address)); i++, lua_pop(L, 1)) {
    const bool number = lua_getfield(L, -1, name) == LUA_TNUMBER;
    const foreign_memory *m = is_address ? foreign_live_memory(L, -1) : NULL;
    if (is_address ? !m : !number)
      return luaL_error(L, "infer gives %s as %s, expected %s", face_describe(L, -1), name,
                        is_address ? "a buffer or a pointer" : "a number");
    call->numbers[i] = m ? (double)(uintptr_t)m->data : lua_tonumber(L, -1);
  }
  return 0;
}

static mw_status rule(mw_infer *it, double numbers[MW_FFI_NUMBERS]) {
  const foreign *f = mw_foreign_data(it->op);
  rule_call call = {.it = it, .numbers = numbers};
  return face_call_back(f->caller, it->host, it->context, call_rule, &call);
}

/* ---- registering --------------------------------------------------------------------------- */

static const char *text_field(lua_State *L, const char *name) {
  lua_getfield(L, 1, name); /* the text stays in the table */
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1);
  return text;
}

static bool has(lua_State *L, const char *name) {
  bool found = lua_getfield(L, 1, name) != LUA_TNIL;
  lua_pop(L, 1);
  return found;
}

/* keep(f, table): may find Lua's memory short, and so is called in protection. */
static int keep(lua_State *L) {
  lua_rawsetp(L, LUA_REGISTRYINDEX, lua_touserdata(L, 1));
  return 0;
}

/* core.foreign(table, origin): the table as lua/moonwalk/ffi.lua has checked it */
static int core_foreign(lua_State *L) {
  const char *origin = face_check_text(L, 2, "ffi.op", "the origin");
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  mw_foreign op = {.name = text_field(L, "name"),
                   .doc = text_field(L, "doc"),
                   .example = text_field(L, "example"),
                   .library = text_field(L, "library"),
                   .symbol = text_field(L, "symbol"),
                   .signature = text_field(L, "signature"),
                   .serial = has(L, "serial"),
                   .rule = has(L, "infer") ? rule : NULL,
                   .gradient = has(L, "gradient") ? gradient : NULL,
                   .release = foreign_free};
  if (!op.name || !op.symbol || !op.signature)
    return face_error(L, "ffi.op: the name, the symbol or the signature is missing");
  foreign *f = op.data = malloc(sizeof *f);
  if (!f) return face_error(L, "ffi.op: out of memory");
  *f = (foreign){.caller = face_caller(L)};
  lua_pushcfunction(L, keep);
  lua_pushlightuserdata(L, f);
  lua_pushvalue(L, 1);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    foreign_free(f);
    return lua_error(L);
  }
  if (!mw_foreign_op(face_context(L), origin, &op)) return 0;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, f); /* an address only by now */
  return face_raise(L);
}

static const luaL_Reg functions[] = {
    {"foreign", core_foreign},
    {NULL, NULL},
};

void face_open_ffi(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  foreign_open_memory(L);
  foreign_open_calls(L);
}
