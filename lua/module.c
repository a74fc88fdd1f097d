/* module.c: the Lua module: a context for each Lua state, the built-in Lua modules, errors at the
 * user's line, and when to collect garbage. */
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "face.h"

/* ---- the state's context ----------------------------------------------------------------- */

/* A line of a script, by the place of its chunk's name and by its number. */
typedef struct known_line {
  int line;
  const char *origin; /* "net.lua:9" */
} known_line;
enum { KNOWN_LINES = 256, RECENT_LINES = 64, MOST_WAITING = 8 };
/* The same by the function that runs it, as long as nothing was freed: it is still that function. */
typedef struct recent_line {
  const void *function;
  int line;
  uint64_t frees;
  const char *origin;
} recent_line;

struct face_state {
  mw_context *ctx;
  size_t bytes_limit;    /* collect when tensors hold more than this, */
  int64_t tensors_limit; /* or when there are more of them than this; */
  int64_t tensors_soon;  /* look for new ones that are dead when there are more than this, */
  int kilobytes_limit;   /* and then collect, too, when Lua's own memory is more than this */
  int n_waiting;
  mw_tensor *waiting[MOST_WAITING]; /* see face_push_marked() */
  face_thread *caller;
  face_layer layer;
  known_line lines[KNOWN_LINES];
  const uint64_t *frees; /* see face_frees */
  recent_line recent[RECENT_LINES];
};

static const char state_key = 0; /* its address is the key in Lua's registry */

face_state *face_state_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &state_key);
  face_state *state = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return state;
}

mw_context *face_context(lua_State *L) { return face_begin_unmarked(L, face_state_of(L)); }

face_thread *face_caller(lua_State *L) {
  face_thread *caller = face_state_of(L)->caller;
  caller->refs++;
  return caller;
}

void face_caller_release(face_thread *caller) {
  if (caller && --caller->refs == 0) free(caller);
}

static int message_of(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

mw_status face_call_back(face_thread *caller, const mw_host *host, mw_context *ctx,
                         lua_CFunction run, void *arg) {
  lua_State *L = caller->L;
  if (!L || !lua_checkstack(L, LUA_MINSTACK))
    return host->fail(ctx, "its Lua state is closed, or the stack is full");
  lua_pushcfunction(L, message_of); /* as a handler, where an error of its own is caught too */
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, arg);
  mw_status status = MW_OK;
  if (lua_pcall(L, 1, 0, -3) != LUA_OK) {
    const char *message = lua_tostring(L, -1);
    status = host->fail(ctx, "%s", message ? message : "an error that has no text");
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  caller->L = L; /* it may have run a coroutine of its own */
  return status;
}

lua_State *face_own_thread(lua_State *L, const void *key) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_State *thread = lua_tothread(L, -1);
  if (!thread) {
    thread = lua_newthread(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
  }
  lua_pop(L, 1);
  return thread;
}

/* Releases what waits from one of them on. */
static void let_go(face_state *state, int first) {
  while (state->n_waiting > first) mw_release(state->waiting[--state->n_waiting]);
}

static int state_gc(lua_State *L) {
  face_state *state = lua_touserdata(L, 1);
  let_go(state, 0);
  if (state->caller) state->caller->L = NULL;
  face_caller_release(state->caller);
  mw_context_free(state->ctx); /* tensors collected after this keep what they need alive */
  state->ctx = NULL;
  return 0;
}

/* ---- garbage ----------------------------------------------------------------------------- */

/* To Lua a tensor is a few bytes, whatever it holds outside of Lua's memory, so Lua's collector
 * would let gigabytes of dead tensors stand. Therefore a full collection runs whenever tensors
 * hold more than a limit, in bytes or in number (a graph of many small nodes weighs much more
 * than its values); the limit is then twice what survived, as in Lua's own collector, so that
 * the cost stays a fixed share of the allocation whatever the program keeps. It is never less than
 * what fits the cache, where dead tensors are used again, and so much more as there is of Lua's own
 * memory, which a collection goes through. */
static void set_limits(lua_State *L, face_state *state) {
  enum { LEAST_KILOBYTES = 1536 }; /* Moonwalk's own modules are half of it */
  const int lua_kilobytes = lua_gc(L, LUA_GCCOUNT);
  size_t kilobytes = (size_t)lua_kilobytes, bytes = ((size_t)4 << 20) + 4096 * kilobytes;
  int64_t tensors = 1000 + (int64_t)kilobytes;
  const mw_live live = mw_context_live(state->ctx);
  state->bytes_limit = 2 * live.bytes > bytes ? 2 * live.bytes : bytes;
  state->tensors_limit = 2 * live.tensors > tensors ? 2 * live.tensors : tensors;
  state->kilobytes_limit = lua_kilobytes < INT_MAX / 2 ? 2 * lua_kilobytes : INT_MAX;
  if (state->kilobytes_limit < LEAST_KILOBYTES) state->kilobytes_limit = LEAST_KILOBYTES;
}

static bool is_over(const face_state *state, int64_t tensors_limit) {
  const mw_live live = mw_context_live(state->ctx);
  return live.bytes > state->bytes_limit || live.tensors > tensors_limit;
}

/* A generation of tensors: few enough for their nodes to stay in the cache, and enough for those of
 * a step of a large network to be dead when they are looked at. */
static void set_soon(face_state *state) {
  enum { FEW = 256 };
  const mw_live live = mw_context_live(state->ctx);
  state->tensors_soon = live.tensors + (live.tensors > 2 * FEW ? live.tensors / 2 : FEW);
}

static const char sentinel_key = 0; /* of the metatable of sentinels */

static void set_finalized(lua_State *L, int index) {
  lua_pushvalue(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &sentinel_key);
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

static void push_sentinel(lua_State *L) {
  lua_newuserdatauv(L, 1, 0);
  set_finalized(L, -1);
}

/* A sentinel is dead at once, so that each collection calls this when it has freed what else is dead,
 * and finds the next sentinel. */
static int sentinel_gc(lua_State *L) {
  luaL_checktype(L, 1, LUA_TUSERDATA);
  mw_free_dropped(lua_touserdata(L, lua_upvalueindex(1)));
  set_finalized(L, 1); /* again, in case that memory is short for the next one, which is younger */
  push_sentinel(L);
  lua_pushnil(L);
  lua_setmetatable(L, 1);
  return 0;
}

void face_free_after_collections(lua_State *L, mw_dropped *dropped) {
  lua_createtable(L, 0, 1);
  lua_pushlightuserdata(L, dropped);
  lua_pushcclosure(L, sentinel_gc, 1);
  lua_setfield(L, -2, "__gc");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinel_key);
  push_sentinel(L);
  lua_pop(L, 1);
}

void face_settle(lua_State *L) { face_settle_state(L, face_state_of(L)); }

void face_settle_state(lua_State *L, face_state *state) {
  if (!is_over(state, state->tensors_soon)) return;
#if LUA_VERSION_NUM >= 505
  lua_gc(L, LUA_GCSTEP, (size_t)0);
#else
  lua_gc(L, LUA_GCSTEP, 0);
#endif
  /* A step that is asked for never becomes a collection of what is old; so Lua's are ended here. */
  if (is_over(state, state->tensors_limit) || lua_gc(L, LUA_GCCOUNT) > state->kilobytes_limit) {
    lua_gc(L, LUA_GCCOLLECT);
    set_limits(L, state);
  }
  set_soon(state);
}

void face_push(lua_State *L, mw_tensor *t) {
  if (t) mw_tensor_set_origin(t, face_mark_origin(L));
  face_push_marked(L, t);
}

/* Should Lua's memory be short for the box, the tensor is released when the state is closed. A
 * finalizer may run before the box is there, and push tensors of its own. */
void face_push_marked(lua_State *L, mw_tensor *t) {
  if (!t) face_raise(L);
  face_state *state = face_state_of(L);
  const int place = state->n_waiting;
  if (place < MOST_WAITING) state->waiting[state->n_waiting++] = t;
  mw_tensor **box = face_push_empty(L);
  let_go(state, place + 1);
  state->n_waiting = place;
  *box = t;
  face_settle(L);
}

/* ---- errors and origins ------------------------------------------------------------------ */

enum { NO_LEVEL = -1 };

/* The innermost frame, from a level on, that runs a line of the user's. Returns its level. */
static int find_user_line(lua_State *L, int level, lua_Debug *frame) {
  for (; lua_getstack(L, level, frame); level++) {
    lua_getinfo(L, "Sl", frame);
    if (frame->currentline <= 0) continue; /* a C function */
    if (strncmp(frame->source, FACE_CHUNK, strlen(FACE_CHUNK)) != 0) return level;
  }
  return NO_LEVEL;
}

static void push_user_line(lua_State *L) {
  lua_Debug frame;
  if (find_user_line(L, 0, &frame) != NO_LEVEL)
    lua_pushfstring(L, "%s:%d: ", frame.short_src, frame.currentline);
  else lua_pushliteral(L, "");
}

/* Whether an origin is that of a line: "net.lua:9" */
static bool is_line(const known_line *known, const lua_Debug *frame) {
  size_t length = strlen(frame->short_src);
  return known->origin && known->line == frame->currentline &&
         strncmp(known->origin, frame->short_src, length) == 0 && known->origin[length] == ':';
}

/* Where what is known of the line that the caller runs is, or belongs; the origin is NULL when it is not
 * known. NULL: the caller is a function of C, or nobody counts what is freed. */
static recent_line *recent_line_of(lua_State *L, face_state *state) {
  lua_Debug frame;
  if (!state->frees || !lua_getstack(L, 1, &frame)) return NULL;
  lua_getinfo(L, "fl", &frame); /* names of chunks take longer */
  const void *function = lua_topointer(L, -1);
  lua_pop(L, 1);
  if (frame.currentline <= 0) return NULL;
  const size_t hash = ((size_t)function >> 4) * 31 + (size_t)frame.currentline;
  recent_line *recent = &state->recent[hash % RECENT_LINES];
  if (recent->function != function || recent->line != frame.currentline ||
      recent->frees != *state->frees)
    *recent = (recent_line){function, frame.currentline, *state->frees, NULL};
  return recent;
}

/* The text is made once for a line. Where the chunk's name lies only says where to look: another
 * chunk may lie there by now. */
static const char *line_origin(lua_State *L, face_state *state) {
  recent_line *recent = recent_line_of(L, state);
  if (recent && recent->origin) return recent->origin;
  lua_Debug frame;
  const int level = find_user_line(L, 1, &frame); /* level 0 is the C function that asks */
  if (level == NO_LEVEL) return "";
  size_t hash = ((size_t)frame.source >> 4) * 31 + (size_t)frame.currentline;
  known_line *known = &state->lines[hash % KNOWN_LINES];
  if (!is_line(known, &frame)) {
    char text[LUA_IDSIZE + 16];
    snprintf(text, sizeof text, "%s:%d", frame.short_src, frame.currentline);
    *known = (known_line){.line = frame.currentline, .origin = mw_origin(state->ctx, text)};
  }
  if (recent && level == 1) recent->origin = known->origin;
  return known->origin;
}

static const char *mark_origin(lua_State *L, face_state *state) {
  if (!state->ctx) luaL_error(L, "moonwalk was closed with its Lua state");
  bool in_layer = state->layer.origin && state->layer.in == L;
  const char *origin = in_layer ? state->layer.origin : line_origin(L, state);
  mw_origin_set(state->ctx, origin);
  return origin;
}

const char *face_mark_origin(lua_State *L) { return mark_origin(L, face_state_of(L)); }

face_layer *face_layer_of(face_state *state) { return &state->layer; }

mw_context *face_begin(lua_State *L, face_state *state) {
  mark_origin(L, state);
  return face_begin_unmarked(L, state);
}

mw_context *face_begin_unmarked(lua_State *L, face_state *state) {
  if (!state->ctx) luaL_error(L, "moonwalk was closed with its Lua state");
  state->caller->L = L;
  return state->ctx;
}

/* core.origin(class?): the origin of what would be built here: "net.lua:9", or with a layer's class
 * "Dense at net.lua:9"; as text, and as what core.layer takes. */
static int module_origin(lua_State *L) {
  face_context(L); /* raises when there is none any more */
  const char *line = line_origin(L, face_state_of(L));
  if (!lua_isnoneornil(L, 1)) {
    lua_pushfstring(L, *line ? "%s at %s" : "%s", face_check_text(L, 1, "origin", "the class"),
                    line);
    line = mw_origin(face_context(L), lua_tostring(L, -1));
  }
  lua_pushstring(L, line);
  lua_pushlightuserdata(L, (void *)(uintptr_t)line);
  return 2;
}

/* What lies on the stack above its first `base` places. */
static int call_done(lua_State *L, int status, lua_KContext base) {
  (void)status;
  return lua_gettop(L) - (int)base;
}

/* core.entry(fn): the same function, but called through C: the frame of a user who ends a function
 * with `return x:slice {...}` stays, for errors and origins; a tail call in Lua leaves none. */
static int run_entry(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, call_done);
  return call_done(L, LUA_OK, 0);
}

static int module_entry(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_pushcclosure(L, run_entry, 1);
  return 1;
}

static int raise_text(lua_State *L, const char *text) {
  push_user_line(L);
  lua_pushstring(L, text);
  lua_concat(L, 2);
  return lua_error(L);
}

int face_error(lua_State *L, const char *format, ...) {
  char text[2048];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return raise_text(L, text);
}

int face_raise(lua_State *L) { return raise_text(L, mw_error(face_context(L))); }

/* core.error(message): for the Lua modules. A table is raised as it is. */
static int module_error(lua_State *L) {
  if (lua_type(L, 1) != LUA_TSTRING) {
    lua_settop(L, 1);
    return lua_error(L);
  }
  push_user_line(L);
  lua_pushvalue(L, 1);
  lua_concat(L, 2);
  return lua_error(L);
}

const char *face_describe(lua_State *L, int index) {
  char text[MW_SPEC_TEXT];
  mw_tensor *t = face_test(L, index);
  if (t) return lua_pushstring(L, mw_spec_text(mw_tensor_spec(t), text));
  switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL: return lua_pushliteral(L, "nil");
    case LUA_TBOOLEAN: return lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
    case LUA_TNUMBER: return luaL_tolstring(L, index, NULL);
    case LUA_TSTRING: {
      size_t length, shown = strlen(lua_tolstring(L, index, &length));
      snprintf(text, sizeof text, "'%.40s%s'", lua_tostring(L, index),
               shown > 40 || shown < length ? "..." : "");
      return lua_pushstring(L, text);
    }
    default: return lua_pushfstring(L, "a %s", luaL_typename(L, index));
  }
}

lua_Integer face_check_integer(lua_State *L, int index, const char *function, const char *name) {
  int integral = 0;
  lua_Integer value = 0;
  if (lua_type(L, index) == LUA_TNUMBER) value = lua_tointegerx(L, index, &integral);
  if (!integral)
    face_error(L, "%s: %s is %s, expected an integer", function, name, face_describe(L, index));
  return value;
}

const char *face_check_text(lua_State *L, int index, const char *function, const char *name) {
  if (lua_type(L, index) != LUA_TSTRING)
    face_error(L, "%s: %s is %s, expected a string", function, name, face_describe(L, index));
  const char *text = lua_tostring(L, index);
  if (strlen(text) != lua_rawlen(L, index))
    face_error(L, "%s: %s has a NUL character: %s", function, name, face_describe(L, index));
  return text;
}

static const luaL_Reg module_functions[] = {
    {"entry", module_entry},
    {"error", module_error},
    {"origin", module_origin},
    {NULL, NULL},
};

/* ---- the built-in Lua modules ------------------------------------------------------------ */

/* A loader for package.preload; its upvalue is the module. */
static int load_built_in(lua_State *L) {
  const face_module *module = lua_touserdata(L, lua_upvalueindex(1));
  if (luaL_loadbufferx(L, module->text, module->size, module->chunk, "t") != LUA_OK)
    return lua_error(L);
  lua_pushstring(L, module->name);
  lua_call(L, 1, 1);
  return 1;
}

static void preload_built_in(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (const face_module *module = face_modules; module->name; module++) {
    lua_pushlightuserdata(L, (void *)(uintptr_t)module);
    lua_pushcclosure(L, load_built_in, 1);
    lua_setfield(L, -2, module->name);
  }
  lua_pop(L, 1);
}

static void new_state(lua_State *L) {
  face_state *state = lua_newuserdatauv(L, sizeof *state, 0);
  *state = (face_state){.bytes_limit = 0};
  lua_newtable(L);
  lua_pushcfunction(L, state_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  state->ctx = mw_context_new();
  state->caller = malloc(sizeof *state->caller);
  if (state->caller) *state->caller = (face_thread){.refs = 1, .L = L};
  if (!state->ctx || !state->caller) luaL_error(L, "moonwalk: out of memory");
  mw_axes_count_from(state->ctx, 1);
  state->frees = face_frees(L);
  set_limits(L, state);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &state_key);
}

/* Makes the table `moonwalk.core`, then runs the module moonwalk.init, which makes of it what
 * users see. */
int luaopen_moonwalk(lua_State *L) {
  luaL_checkversion(L);
  if (!face_state_of(L)) new_state(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_newtable(L);
  luaL_setfuncs(L, module_functions, 0);
  lua_pushliteral(L, MW_VERSION);
  lua_setfield(L, -2, "version");
  face_open_layer(L);
  face_open_sequence(L);
  face_open_tensor(L);
  face_open_constructors(L);
  face_open_call(L);
  face_open_program(L);
  face_open_prepared(L);
  face_open_settings(L);
  face_open_registry(L);
  face_open_format(L);
  face_open_json(L);
  face_open_idx(L);
  face_open_digits(L);
  face_open_shapes(L);
  face_open_batch(L);
  face_open_loader(L);
  face_open_csv(L);
  face_open_image(L);
  face_open_inflate(L);
  face_open_widen(L);
  face_open_plugin(L);
  face_open_define(L);
  face_open_ffi(L);
  face_open_autodiff(L);
  face_open_gate(L);
  face_open_profile(L);
  face_open_interrupt(L);
  face_open_near(L);
  face_open_nodes(L);
  face_open_screen(L);
  face_open_summary(L);
  face_open_histogram(L);
  face_open_texts(L);
  face_open_picture(L);
  face_open_png(L);
  face_open_sixel(L);
  face_open_base64(L);
  face_open_ask(L);
  face_open_peak(L);
  face_open_digest(L);
  face_open_keys(L);
  face_open_editor(L);
  face_open_history(L);
  lua_setfield(L, -2, "moonwalk.core");
  preload_built_in(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonwalk.init");
  lua_call(L, 1, 1);
  return 1;
}
