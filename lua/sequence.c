/* sequence.c: lists of modules, each of which is called with what the one before it has made.
 *
 * Most items are layers that apply an op to x and their parameters, and were called with an x of
 * this dtype and shape before. For those a plan notes op and parameters, so that a call makes the
 * nodes one after the other, and Lua is asked no more than whether the plan still holds. Nothing is
 * called meanwhile, be it in Lua or of an op, and nothing can fail but for want of memory; an item
 * that is not like that is called as any function. */
#include <string.h>

#include "face.h"

typedef struct member {
  face_applied applied;
  const char *origin;
  mw_spec *output;
  const uint64_t *changes; /* how often fields of it were set, */
  uint64_t at;             /* and how often they had been when this was noted */
  const void *class, *forward;
  int kind;         /* of members of the same class the same, below n_kinds */
  bool known, open; /* it is like that; it waits for its first input */
} member;

typedef struct plan {
  face_state *state;
  const void *call; /* what calls its members */
  int n, n_kinds;
  bool complete; /* nothing is called */
  member members[];
} plan;

/* Upvalues of a function that core.sequence makes; from CALL on names of fields. */
enum { PRIVATE = 1, RENAME, OBSERVER, STATE, CALL, OPEN, FIELDS, FORWARD, CALL_EVENT };

/* What lies on the stack while it runs: its arguments, the module's own table, its fields, and the
 * last two of those names. */
enum { MODULE = 1, X, OWN, LIST, NAMES };

static int push_named(lua_State *L, int table, int name) {
  lua_pushvalue(L, lua_upvalueindex(name));
  return lua_rawget(L, table);
}

/* ---- plans ------------------------------------------------------------------------------- */

/* How often fields of the module were set since this was first asked. */
static const uint64_t *changes_of(lua_State *L, int own) {
  lua_rawgeti(L, own, FACE_CHANGES);
  uint64_t *changes = lua_touserdata(L, -1);
  if (!changes) {
    changes = lua_newuserdatauv(L, sizeof *changes, 0);
    *changes = 0;
    lua_rawseti(L, own, FACE_CHANGES);
  }
  lua_pop(L, 1);
  return changes;
}

/* core.changed(own): what a plan notes of a module, or of its list, is no longer so. */
static int core_changed(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lua_rawgeti(L, 1, FACE_CHANGES);
  uint64_t *changes = lua_touserdata(L, 2);
  if (changes) ++*changes;
  lua_pushnil(L);
  lua_rawseti(L, 1, FACE_PLAN);
  return 0;
}

/* The item on top, if it is a layer that does nothing but apply an op. */
static void note_member(lua_State *L, plan *p, member *m) {
  const int item = lua_gettop(L), class = item + 1, own = item + 2, fields = item + 3;
  if (!lua_getmetatable(L, item)) return;
  lua_pushvalue(L, item);
  if (lua_rawget(L, lua_upvalueindex(PRIVATE)) != LUA_TTABLE) return;
  push_named(L, own, FIELDS);
  push_named(L, own, OPEN);
  m->open = lua_toboolean(L, -1);
  push_named(L, class, CALL_EVENT);
  if (m->open || !face_is_module_call(L, -1)) return;
  p->call = lua_topointer(L, -1);
  if (push_named(L, item, FORWARD) != LUA_TNIL || push_named(L, fields, FORWARD) != LUA_TNIL)
    return;
  push_named(L, class, FORWARD);
  if (!face_is_forward(L, -1)) return;
  m->class = lua_topointer(L, class);
  m->forward = lua_topointer(L, -1);
  m->known = face_applied_by(L, lua_gettop(L), fields, &m->applied);
  lua_rawgeti(L, own, FACE_ORIGIN);
  m->origin = lua_touserdata(L, -1);
  m->output = face_output_of(L, own);
  m->changes = changes_of(L, own);
  m->at = *m->changes;
}

static void number_kinds(plan *p) {
  for (int i = 0, same; i < p->n; i++) {
    for (same = 0; p->members[same].class != p->members[i].class;) same++;
    p->members[i].kind = same < i ? p->members[same].kind : p->n_kinds++;
  }
}

/* Pushes a plan for the list. It is kept until a field of the module is set, but not while an item
 * waits for its first input, which may make another item of it. What it points to is held by the
 * fields of the items, of which it knows when they are set. */
static plan *push_new_plan(lua_State *L) {
  int n = 0;
  for (; lua_rawgeti(L, LIST, n + 1) != LUA_TNIL; lua_pop(L, 1)) n++;
  const int index = lua_gettop(L);
  const size_t size = sizeof(plan) + (size_t)n * sizeof(member);
  plan *p = memset(lua_newuserdatauv(L, size, 0), 0, size);
  lua_replace(L, index);
  p->state = lua_touserdata(L, lua_upvalueindex(STATE));
  p->n = n;
  p->complete = n > 0;
  bool settled = true;
  for (int i = 0; i < n; i++) {
    member *m = &p->members[i];
    lua_rawgeti(L, LIST, i + 1);
    note_member(L, p, m);
    p->complete = p->complete && m->known;
    settled = settled && !m->open;
    lua_settop(L, index);
  }
  number_kinds(p);
  if (settled) {
    lua_pushvalue(L, index);
    lua_rawseti(L, OWN, FACE_PLAN);
  }
  return p;
}

/* ---- running one ------------------------------------------------------------------------- */

/* A run of the members from one on. On the stack at list and names: the items, and the names
 * "forward" and "__call". */
typedef struct run {
  lua_State *L;
  const plan *p;
  int list, names;
  uint64_t seen; /* bit k: the class of kind k is as it was */
} run;

/* Whether the class at index has the methods that were noted. */
static bool is_same_class(const run *r, int index, const member *m) {
  lua_State *L = r->L;
  lua_pushvalue(L, r->names);
  lua_rawget(L, index);
  lua_pushvalue(L, r->names + 1);
  lua_rawget(L, index);
  return lua_topointer(L, -2) == m->forward && lua_topointer(L, -1) == r->p->call;
}

/* Whether item i is still what was noted. What is put into the item itself or into its class is not
 * among its fields. */
static bool holds(run *r, int i) {
  lua_State *L = r->L;
  const member *m = &r->p->members[i];
  if (!m->known || *m->changes != m->at) return false;
  const int item = lua_gettop(L) + 1;
  lua_rawgeti(L, r->list, i + 1);
  lua_pushvalue(L, r->names);
  bool same = lua_rawget(L, item) == LUA_TNIL && lua_getmetatable(L, item) &&
              lua_topointer(L, -1) == m->class;
  const uint64_t kind = m->kind < 64 ? UINT64_C(1) << m->kind : 0;
  if (same && !(r->seen & kind)) same = is_same_class(r, item + 2, m);
  if (same) r->seen |= kind;
  lua_settop(L, item - 1);
  return same;
}

/* The op of item i with its inputs, if what it makes of x is known. */
static const mw_prepared *known_op(run *r, int i, mw_tensor *x, mw_tensor **in) {
  const member *m = &r->p->members[i];
  if (!holds(r, i)) return NULL;
  const mw_prepared *op = *m->applied.op;
  in[0] = x;
  for (int k = 1; k < m->applied.n_in; k++) in[k] = m->applied.in[k] ? *m->applied.in[k] : NULL;
  if (!op || mw_prepared_op(op)->outputs[1].name) return NULL;
  return mw_prepared_knows(op, m->applied.n_in, in) ? op : NULL;
}

/* Pushes what the members from `done` on make of the tensor at index, as far as that is known, and
 * returns how many items are done then; pushes nothing where the next one is not known. */
static int run_known(run *r, int index, int done) {
  lua_State *L = r->L;
  const plan *p = r->p;
  mw_tensor *in[FACE_FEW], *x = face_test(L, index);
  const mw_prepared *op = x && done < p->n ? known_op(r, done, x, in) : NULL;
  if (!op) return done;
  const int first = done;
  mw_tensor **result = face_push_empty_like(L, index);
  mw_context *ctx = face_begin_unmarked(L, p->state);
  for (; op; op = done < p->n ? known_op(r, done, *result, in) : NULL) {
    const member *m = &p->members[done];
    mw_origin_set(ctx, m->origin);
    mw_tensor *y = mw_apply_known(op, m->applied.n_in, in);
    if (!y) break;
    *m->output = *mw_tensor_spec(y);
    mw_release(*result);
    *result = y;
    done++;
  }
  if (done == first) lua_pop(L, 1);
  face_settle_state(L, p->state);
  return done;
}

bool face_run_whole_list(lua_State *L, int own, int function, int x) {
  const int top = lua_gettop(L);
  run r = {.L = L, .list = top + 2, .names = top + 3};
  lua_rawgeti(L, own, FACE_PLAN);
  r.p = lua_touserdata(L, -1);
  if (r.p && r.p->complete) {
    lua_getupvalue(L, function, FIELDS);
    lua_rawget(L, own);
    lua_getupvalue(L, function, FORWARD);
    lua_getupvalue(L, function, CALL_EVENT);
    if (run_known(&r, x, 0) == r.p->n) return true;
  }
  lua_settop(L, top);
  return false;
}

/* Whether fields of items from `done` on were set since they were noted. */
static bool is_outdated(const plan *p, int done) {
  for (int i = done; i < p->n; i++)
    if (p->members[i].known && *p->members[i].changes != p->members[i].at) return true;
  return false;
}

/* Of a list of which `done` items are done, and have made what is at X, those that are known. */
static int run_known_items(lua_State *L, int done) {
  run r = {.L = L, .list = LIST, .names = NAMES};
  const int top = lua_gettop(L);
  if (push_named(L, lua_upvalueindex(OBSERVER), CALL) == LUA_TNIL) {
    lua_rawgeti(L, OWN, FACE_PLAN);
    r.p = lua_touserdata(L, -1);
    if (!r.p || is_outdated(r.p, done)) r.p = push_new_plan(L);
    const int before = done;
    done = run_known(&r, X, done);
    if (done > before) lua_replace(L, X);
  }
  lua_settop(L, top);
  return done;
}

/* ---- the function ------------------------------------------------------------------------ */

/* The message on top, of item i of the list, as the function RENAME says it. */
static int fail_item(lua_State *L, lua_Integer i) {
  lua_pushvalue(L, lua_upvalueindex(RENAME));
  lua_insert(L, -2);
  lua_rawgeti(L, LIST, i);
  lua_pushinteger(L, i);
  lua_call(L, 3, 1);
  return lua_error(L);
}

/* After item i was called, or 0: its result is what the next one is called with. */
static int pass_on(lua_State *L, int status, lua_KContext i) {
  for (;;) {
    if (status != LUA_OK && status != LUA_YIELD) return fail_item(L, i);
    if (i > 0) lua_replace(L, X);
    i = run_known_items(L, (int)i);
    if (lua_rawgeti(L, LIST, ++i) == LUA_TNIL) break;
    lua_pushvalue(L, X);
    status = lua_pcallk(L, 1, 1, 0, i, pass_on);
  }
  lua_settop(L, X);
  return 1;
}

static int run_sequence(lua_State *L) {
  lua_settop(L, 2);
  luaL_checkstack(L, 24, NULL);
  lua_pushvalue(L, MODULE);
  if (lua_rawget(L, lua_upvalueindex(PRIVATE)) != LUA_TTABLE)
    return face_error(L, "forward: its first argument is %s, expected a module",
                      face_describe(L, MODULE));
  push_named(L, OWN, FIELDS);
  lua_pushvalue(L, lua_upvalueindex(FORWARD));
  lua_pushvalue(L, lua_upvalueindex(CALL_EVENT));
  return pass_on(L, LUA_OK, 0);
}

bool face_is_sequence(lua_State *L, int index) { return lua_tocfunction(L, index) == run_sequence; }

/* core.sequence(private, rename, observer): a method forward(module, x) that calls the first item of
 * the module's list with x, each further one with what the one before has made, and returns what
 * the last one makes. An error of an item is raised as rename(message, item, its number). private
 * and observer are those of core.module_call. */
static int core_sequence(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 3);
  lua_pushlightuserdata(L, face_state_of(L));
  static const char *const names[] = {"call", "open", "fields", "forward", "__call"};
  for (int i = 0; i < 5; i++) lua_pushstring(L, names[i]);
  lua_pushcclosure(L, run_sequence, CALL_EVENT);
  return 1;
}

static const luaL_Reg functions[] = {
    {"changed", core_changed},
    {"sequence", core_sequence},
    {NULL, NULL},
};

void face_open_sequence(lua_State *L) { luaL_setfuncs(L, functions, 0); }
