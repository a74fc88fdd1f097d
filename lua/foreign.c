/* foreign.c: calling C functions from Lua, and Lua functions from C, through libffi.
 *
 * Nothing jumps over C's frames: an error in a callback is kept, the callback returns the value
 * that was set for that, and the error is raised when the C function has returned. */
#include <dlfcn.h>
#include <ffi.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

#define FUNCTION "moonwalk.function"
#define CALLBACK "moonwalk.callback"

typedef struct function {
  mw_signature signature;
  ffi_cif cif;
  ffi_type *types[MW_C_MOST];
  void (*code)(void);
} function;

/* Outlives its Lua object for a while, so it is not a part of it. */
typedef struct foreign_callback {
  mw_signature signature;
  ffi_cif cif;
  ffi_type *types[MW_C_MOST];
  ffi_closure *closure;
  void *code;
  foreign_state *state;
  atomic_bool dead;
  mw_c_value on_error;
} callback;

/* A foreign function that runs in this thread. Callbacks are taken while there is one. */
typedef struct running {
  lua_State *L;
  foreign_state *state;
  int slot; /* of the stack: for the error of a callback */
  bool failed;
} running;
static _Thread_local running *now;

/* ---- the state ----------------------------------------------------------------------------- */

static const char state_key = 0;     /* its address is the key in Lua's registry, */
static const char callbacks_key = 0; /* and that of the table of callbacks by address */

foreign_state *foreign_state_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  foreign_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

static void callback_free(callback *c) {
  if (c->closure) ffi_closure_free(c->closure);
  free(c);
}

static int state_gc(lua_State *L) {
  foreign_state *state = lua_touserdata(L, 1);
  for (int i = 0; i < FOREIGN_LATE; i++)
    if (state->late[i]) callback_free(state->late[i]);
  memset(state->late, 0, sizeof state->late);
  return 0;
}

/* ---- callbacks: from C to Lua -------------------------------------------------------------- */

typedef struct entry {
  foreign_frame frame;
  callback *c;
  void **arguments;
  void *result;
} entry;

static void write_result(const callback *c, mw_c_value value, void *result) {
  const mw_c_parameter *p = &c->signature.result;
  const size_t size = mw_c_ffi(p)->size;
  if (p->type == MW_C_VOID && !p->pointer) return;
  mw_c_widen(p, &value);
  memcpy(result, &value, size > sizeof(ffi_arg) || p->type == MW_C_F32 ? size : sizeof(ffi_arg));
}

static void push_argument(lua_State *L, const entry *e, int i, const mw_c_value *values) {
  const mw_signature *s = &e->c->signature;
  const mw_c_parameter *p = &s->parameters[i];
  void *pointer = values[i].pointer;
  if (!p->pointer && p->type < MW_C_STR) {
    foreign_push(L, p->type, &values[i]);
  } else if (!pointer) {
    lua_pushnil(L);
  } else if (p->type == MW_C_STR) {
    lua_pushstring(L, pointer);
  } else {
    const int64_t length = p->n_factors ? mw_c_length(s, p, values) : -1;
    if (p->n_factors && length < 0)
      face_error(L, "callback: the length of %s is negative or too large", p->name);
    foreign_memory *m = foreign_push_memory(L, pointer, p->pointer ? p->type : MW_C_VOID, length);
    m->is_const = p->is_const;
    m->frame = e->frame.number;
  }
}

static void read_result(lua_State *L, const entry *e) {
  const mw_c_parameter *p = &e->c->signature.result;
  mw_c_value value = {.u64 = 0};
  if (p->type == MW_C_VOID && !p->pointer) return;
  if (p->pointer) {
    const foreign_memory *m = foreign_live_memory(L, -1);
    if (!m && !lua_isnil(L, -1))
      face_error(L, "callback: it returns %s, expected a buffer or nil", face_describe(L, -1));
    value.pointer = m ? m->data : NULL;
  } else {
    const char *expected = foreign_store(L, -1, p->type, &value);
    if (expected)
      face_error(L, "callback: it returns %s, expected %s for %s", face_describe(L, -1), expected,
                 mw_c_name(p->type));
  }
  write_result(e->c, value, e->result);
}

/* Protected; its argument is the entry. */
static int run_callback(lua_State *L) {
  const entry *e = lua_touserdata(L, 1);
  const mw_signature *s = &e->c->signature;
  mw_c_value values[MW_C_MOST] = {{0}};
  luaL_checkstack(L, s->n + 8, "callback");
  lua_rawgetp(L, LUA_REGISTRYINDEX, &callbacks_key);
  if (lua_rawgetp(L, -1, e->c) != LUA_TUSERDATA) /* from here on it is not collected */
    return face_error(L, "callback: it was collected");
  lua_getiuservalue(L, -1, 1);
  for (int i = 0; i < s->n; i++)
    memcpy(&values[i], e->arguments[i], mw_c_ffi(&s->parameters[i])->size);
  for (int i = 0; i < s->n; i++) push_argument(L, e, i, values);
  lua_call(L, s->n, 1);
  read_result(L, e);
  return 0;
}

/* What C calls. It may be another thread's, or come too late. */
static void from_c(ffi_cif *cif, void *result, void **arguments, void *data) {
  callback *c = data;
  running *call = now;
  (void)cif;
  write_result(c, c->on_error, result);
  if (!call || call->state != c->state || atomic_load(&c->dead)) {
    atomic_store(&c->state->strayed, true);
    return;
  }
  if (call->failed) return; /* C goes on until it returns; Lua is not asked again */
  lua_State *L = call->L;
  entry e = {{++c->state->frames_run, c->state->frames}, c, arguments, result};
  if (!lua_checkstack(L, 4)) {
    call->failed = true;
    return;
  }
  c->state->frames = &e.frame;
  lua_pushcfunction(L, run_callback);
  lua_pushlightuserdata(L, &e);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    call->failed = true;
    lua_replace(L, call->slot);
    write_result(c, c->on_error, result);
  }
  c->state->frames = e.frame.outer;
}

/* C may still have its address: what the address leads to stays a while. */
static int callback_gc(lua_State *L) {
  callback **slot = luaL_checkudata(L, 1, CALLBACK);
  callback *c = *slot;
  *slot = NULL;
  if (!c) return 0;
  atomic_store(&c->dead, true);
  callback **late = &c->state->late[c->state->n_late++ % FOREIGN_LATE];
  c->state->n_late %= FOREIGN_LATE;
  if (*late) callback_free(*late);
  *late = c;
  return 0;
}

static void read_signature(lua_State *L, int index, const char *where, mw_signature *s) {
  char problem[MW_C_PROBLEM];
  const char *text = face_check_text(L, index, where, "signature");
  if (!mw_signature_parse(s, text, problem))
    face_error(L, "%s: signature \"%s\": %s", where, text, problem);
}

static void prepare(lua_State *L, const char *where, mw_signature *s, ffi_cif *cif,
                    ffi_type **types) {
  for (int i = 0; i < s->n; i++) types[i] = mw_c_ffi(&s->parameters[i]);
  if (ffi_prep_cif(cif, FFI_DEFAULT_ABI, (unsigned)s->n, mw_c_ffi(&s->result), types) != FFI_OK)
    face_error(L, "%s: libffi cannot call it", where);
}

/* core.ffi_callback(fn, signature, on_error?) */
static int core_callback(lua_State *L) {
  static const char where[] = "ffi.callback";
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 3);
  callback **slot = lua_newuserdatauv(L, sizeof *slot, 1);
  *slot = NULL;
  luaL_setmetatable(L, CALLBACK);
  callback *c = *slot = calloc(1, sizeof *c);
  if (!c) return face_error(L, "%s: out of memory", where);
  c->state = foreign_state_of(L);
  read_signature(L, 2, where, &c->signature);
  const mw_c_parameter *result = &c->signature.result;
  if (result->type == MW_C_STR) return face_error(L, "%s: it cannot return str", where);
  const bool none = result->pointer || result->type == MW_C_VOID;
  const char *expected = lua_isnil(L, 3) ? NULL
                         : none          ? "nil: a number is returned by those that return one"
                                         : foreign_store(L, 3, result->type, &c->on_error);
  if (expected)
    return face_error(L, "%s: on_error is %s, expected %s", where, face_describe(L, 3), expected);
  prepare(L, where, &c->signature, &c->cif, c->types);
  c->closure = ffi_closure_alloc(sizeof *c->closure, &c->code);
  if (!c->closure || ffi_prep_closure_loc(c->closure, &c->cif, from_c, c, c->code) != FFI_OK)
    return face_error(L, "%s: libffi cannot make a closure", where);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &callbacks_key);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
  lua_gc(L, LUA_GCSTEP, (int)(sizeof *c / 1024 + 1)); /* Lua does not see these bytes */
  return 1;
}

/* ---- calls: from Lua to C ------------------------------------------------------------------ */

static int bad_argument(lua_State *L, const char *where, const mw_signature *s, int i,
                        const char *expected) {
  const mw_c_parameter *p = &s->parameters[i];
  const foreign_memory *m = foreign_test_memory(L, i + 2);
  return face_error(L, "%s: argument %d%s%s is %s, expected %s", where, i + 1, *p->name ? " " : "",
                    p->name, m ? luaL_tolstring(L, i + 2, NULL) : face_describe(L, i + 2),
                    expected);
}

/* A tensor's value, copied, so that it stays whatever callbacks do. Replaces the argument. */
static const foreign_memory *copy_tensor(lua_State *L, int index) {
  mw_tensor *t = face_check(L, index, "a foreign function");
  const mw_spec *spec = mw_tensor_spec(t);
  const void *data = face_data(L, t);
  const mw_c_type type = spec->dtype == MW_BOOL ? MW_C_U8 : mw_c_of(spec->dtype);
  foreign_memory *m = foreign_push_buffer(L, type, mw_spec_count(spec));
  if (m->count) memcpy(m->data, data, mw_spec_bytes(spec));
  lua_replace(L, index);
  return m;
}

/* The address for a pointer, at index i + 2; the bytes that are known to be there, or -1. */
static void *read_pointer(lua_State *L, const char *where, const mw_signature *s, int i,
                          int64_t *bytes) {
  const mw_c_parameter *p = &s->parameters[i];
  const int index = i + 2;
  char expected[64];
  *bytes = 0;
  if (lua_isnil(L, index)) return NULL;
  if (face_test(L, index) && !p->is_const)
    bad_argument(L, where, s, i, "a buffer: C may write there, and tensors are not written to");
  if (lua_type(L, index) == LUA_TSTRING && p->is_const &&
      (p->type == MW_C_U8 || p->type == MW_C_I8 || p->type == MW_C_VOID)) {
    *bytes = (int64_t)lua_rawlen(L, index) + 1; /* Lua puts a NUL behind */
    return (void *)(uintptr_t)lua_tostring(L, index);
  }
  const foreign_memory *m =
      face_test(L, index) ? copy_tensor(L, index) : foreign_live_memory(L, index);
  lua_pushfstring(L, "a buffer of %s", p->type == MW_C_VOID ? "any type" : mw_c_name(p->type));
  strncpy(expected, lua_tostring(L, -1), sizeof expected - 1);
  expected[sizeof expected - 1] = '\0';
  lua_pop(L, 1);
  if (!m || (m->type != p->type && p->type != MW_C_VOID && m->type != MW_C_VOID))
    return bad_argument(L, where, s, i, expected), NULL;
  if (m->is_const && !p->is_const)
    return bad_argument(L, where, s, i, "one that may be written to: it is const"), NULL;
  *bytes = m->count < 0 ? -1 : m->count * (int64_t)mw_c_size(m->type);
  return m->data;
}

static void *read_function(lua_State *L, const char *where, const mw_signature *s, int i) {
  const int index = i + 2;
  callback **c = luaL_testudata(L, index, CALLBACK);
  const function *f = luaL_testudata(L, index, FUNCTION);
  void *code = NULL;
  if (lua_isnil(L, index)) return NULL;
  if (c && *c) return (*c)->code;
  if (!f) bad_argument(L, where, s, i, "an ffi.callback, an ffi.fn or nil");
  else memcpy(&code, &f->code, sizeof code);
  return code;
}

/* The arguments are at 2 and on. */
static void read_arguments(lua_State *L, const char *where, const mw_signature *s,
                           mw_c_value *values) {
  int64_t bytes[MW_C_MOST] = {0};
  for (int i = 0; i < s->n; i++) {
    const mw_c_parameter *p = &s->parameters[i];
    if (p->pointer) {
      values[i].pointer = read_pointer(L, where, s, i, &bytes[i]);
    } else if (p->type == MW_C_FN) {
      values[i].pointer = read_function(L, where, s, i);
    } else if (p->type == MW_C_STR) {
      if (lua_type(L, i + 2) == LUA_TSTRING)
        values[i].pointer = (void *)(uintptr_t)face_check_text(L, i + 2, where, "a text");
      else if (!lua_isnil(L, i + 2)) bad_argument(L, where, s, i, "a string or nil");
    } else {
      const char *expected = foreign_store(L, i + 2, p->type, &values[i]);
      if (expected) bad_argument(L, where, s, i, expected);
    }
  }
  for (int i = 0; i < s->n; i++) {
    const mw_c_parameter *p = &s->parameters[i];
    if (!p->n_factors) continue;
    const int64_t length = mw_c_length(s, p, values);
    if (length < 0) face_error(L, "%s: the length of %s is negative or too large", where, p->name);
    if (bytes[i] >= 0 && bytes[i] < length * (int64_t)mw_c_size(p->type))
      face_error(L, "%s: argument %d %s has %lld bytes, but the function uses %lld elements of %s",
                 where, i + 1, p->name, (long long)bytes[i], (long long)length, mw_c_name(p->type));
  }
}

static int push_result(lua_State *L, const mw_c_parameter *p, mw_c_value *value) {
  mw_c_narrow(p, value);
  if (p->type == MW_C_VOID && !p->pointer) return 0;
  if (!p->pointer && p->type != MW_C_STR) foreign_push(L, p->type, value);
  else if (!value->pointer) lua_pushnil(L);
  else if (p->type == MW_C_STR) lua_pushstring(L, value->pointer);
  else foreign_push_memory(L, value->pointer, p->type, -1)->is_const = p->is_const;
  return 1;
}

/* Raises what went wrong in callbacks: the error that is in the slot, or that some came astray. */
static void raise_late(lua_State *L, const char *where, const running *call) {
  if (call->failed) {
    lua_settop(L, call->slot);
    if (lua_isnil(L, -1)) face_error(L, "%s: a callback had no room on Lua's stack", where);
    lua_error(L);
  }
  if (atomic_exchange(&call->state->strayed, false))
    face_error(L,
               "%s: a callback was called by another thread, after it was collected, or while no "
               "foreign function ran; it returned its on_error",
               where);
}

/* f(...) */
static int function_call(lua_State *L) {
  const function *f = luaL_checkudata(L, 1, FUNCTION);
  const mw_signature *s = &f->signature;
  mw_c_value values[MW_C_MOST] = {{0}}, result = {.u64 = 0};
  void *arguments[MW_C_MOST];
  ffi_cif cif = f->cif; /* ffi_call does not say that it leaves it alone */
  luaL_checkstack(L, MW_C_MOST + 16, NULL);
  lua_getiuservalue(L, 1, 1);
  const char *where = lua_tostring(L, -1);
  lua_pop(L, 1); /* the function keeps it */
  if (lua_gettop(L) - 1 != s->n)
    return face_error(L, "%s: there are %d arguments, expected %d", where, lua_gettop(L) - 1, s->n);
  read_arguments(L, where, s, values);
  for (int i = 0; i < s->n; i++) arguments[i] = &values[i];
  lua_pushnil(L);
  running call = {.L = L, .state = foreign_state_of(L), .slot = lua_gettop(L)};
  running *outer = now;
  now = &call;
  ffi_call(&cif, f->code, &result, arguments);
  now = outer;
  raise_late(L, where, &call);
  return push_result(L, &s->result, &result);
}

/* core.ffi_function(library or nil, symbol, signature) */
static int core_function(lua_State *L) {
  lua_settop(L, 3);
  const char *library = lua_isnil(L, 1) ? NULL : face_check_text(L, 1, "ffi.fn", "library");
  const char *symbol = face_check_text(L, 2, "ffi.fn", "symbol");
  const char *where = lua_pushfstring(L, "ffi.fn %s", symbol);
  function *f = lua_newuserdatauv(L, sizeof *f, 1);
  luaL_setmetatable(L, FUNCTION);
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, -2, 1);
  f->code = NULL;
  read_signature(L, 3, where, &f->signature);
  prepare(L, where, &f->signature, &f->cif, f->types);
  /* Never unloaded: what the library gave is still in use, perhaps by its own threads. */
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!handle) return face_error(L, "%s: the library cannot be opened: %s", where, dlerror());
  void *found = dlsym(handle, symbol);
  dlclose(handle);
  if (!found)
    return face_error(L, "%s: %s has no function %s", where, library ? library : "the program",
                      symbol);
  memcpy(&f->code, &found, sizeof f->code);
  return 1;
}

static int function_text(lua_State *L) {
  luaL_checkudata(L, 1, FUNCTION);
  lua_getiuservalue(L, 1, 1);
  lua_pushfstring(L, "foreign function %s", lua_tostring(L, -1));
  return 1;
}

/* ---- opening ------------------------------------------------------------------------------- */

static const luaL_Reg functions[] = {
    {"ffi_callback", core_callback},
    {"ffi_function", core_function},
    {NULL, NULL},
};

static void new_metatable(lua_State *L, const char *name, const char *event, lua_CFunction run) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, run);
  lua_setfield(L, -2, event);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__metatable");
}

void foreign_open_calls(lua_State *L) {
  luaL_setfuncs(L, functions, 0);
  new_metatable(L, FUNCTION, "__call", function_call);
  lua_pushcfunction(L, function_text);
  lua_setfield(L, -2, "__tostring");
  new_metatable(L, CALLBACK, "__gc", callback_gc);
  lua_pop(L, 2);
  if (foreign_state_of(L)) return;
  foreign_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  memset(state, 0, sizeof *state);
  lua_newtable(L);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
  lua_newtable(L); /* weak values: callbacks that were not collected */
  lua_newtable(L);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &callbacks_key);
}
