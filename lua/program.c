/* program.c: gradients of tensors from Lua, and programs that compute them: at once, as an update, or
 * kept to be run again. */
#include "face.h"

#define FACE_PROGRAM "moonwalk.program"

/* The tensors of a list, in memory that is pushed on the stack above a table that keeps them. */
static mw_tensor **check_tensors(lua_State *L, int index, const char *function, const char *what,
                                 int *n) {
  if (!lua_istable(L, index))
    face_error(L, "%s: %s is %s, expected a list such as {x, w}", function, what,
               face_describe(L, index));
  lua_Unsigned count = lua_rawlen(L, index);
  if (count > 1000000) face_error(L, "%s: %s has too many tensors", function, what);
  lua_newtable(L);
  int kept = lua_gettop(L);
  mw_tensor **list = lua_newuserdatauv(L, (size_t)count * sizeof *list + 1, 0);
  for (lua_Unsigned i = 0; i < count; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    list[i] = face_test(L, -1);
    if (!list[i])
      face_error(L, "%s: %s[%d] is %s, expected a tensor", function, what, (int)i + 1,
                 face_describe(L, -1));
    lua_rawseti(L, kept, (lua_Integer)i + 1);
  }
  lua_pushnil(L);
  if (count == 0 && lua_next(L, index))
    face_error(L, "%s: %s has the key %s, expected a list such as {x, w}", function, what,
               face_describe(L, -2));
  *n = (int)count;
  return list;
}

/* Pushes a table of n empty tensors, and fills the n slots with where they are. */
static void push_empty_list(lua_State *L, mw_tensor ***slots, int n) {
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    slots[i] = face_push_empty(L);
    lua_rawseti(L, -2, i + 1);
  }
}

static void fill_list(mw_tensor ***slots, mw_tensor *const *tensors, int n) {
  for (int i = 0; i < n; i++) *slots[i] = tensors[i];
}

/* core.grad(y, {x, ...}, dy?) -> {dx, ...} */
static int core_grad(lua_State *L) {
  mw_tensor *y = face_test(L, 1), *dy = NULL;
  if (!y) return face_error(L, "grad: y is %s, expected a tensor", face_describe(L, 1));
  if (!lua_isnoneornil(L, 3) && !(dy = face_test(L, 3)))
    return face_error(L, "grad: dy is %s, expected a tensor of y's shape", face_describe(L, 3));
  if (face_test(L, 2)) return face_error(L, "grad: x is one tensor, expected a list: {x}");
  int n;
  mw_tensor **x = check_tensors(L, 2, "grad", "x", &n);
  mw_tensor **dx = lua_newuserdatauv(L, (size_t)n * sizeof *dx + 1, 0);
  mw_tensor ***slots = lua_newuserdatauv(L, (size_t)n * sizeof *slots + 1, 0);
  push_empty_list(L, slots, n);
  face_mark_origin(L);
  if (mw_grad(face_context(L), y, dy, n, x, dx)) return face_raise(L);
  fill_list(slots, dx, n);
  face_settle(L);
  return 1;
}

/* core.reaches(y, xs): whether a gradient of y can reach any of them. */
static int core_reaches(lua_State *L) {
  int n;
  bool reaches;
  mw_tensor *y = face_check(L, 1, "reaches");
  mw_tensor **x = check_tensors(L, 2, "reaches", "x", &n);
  if (mw_grad_reaches(face_context(L), y, n, x, &reaches)) return face_raise(L);
  lua_pushboolean(L, reaches);
  return 1;
}

/* core.run(outputs, targets, values): computes outputs, then gives each parameter targets[i] the
 * value of values[i], in one program. */
static int core_run(lua_State *L) {
  int n, n_targets, n_values;
  mw_tensor **outputs = check_tensors(L, 1, "run", "outputs", &n);
  mw_tensor **targets = check_tensors(L, 2, "run", "targets", &n_targets);
  mw_tensor **values = check_tensors(L, 3, "run", "values", &n_values);
  if (n_targets != n_values)
    return face_error(L, "run: there are %d targets and %d values", n_targets, n_values);
  if (mw_update(face_context(L), n, outputs, n_targets, targets, values)) return face_raise(L);
  face_settle(L);
  return 0;
}

/* The same for lists of Moonwalk's own, which keep their tensors as they are meanwhile. */
static mw_tensor **own_tensors(lua_State *L, int index, int *n) {
  luaL_checktype(L, index, LUA_TTABLE);
  *n = (int)lua_rawlen(L, index);
  mw_tensor **list = lua_newuserdatauv(L, (size_t)*n * sizeof *list + 1, 0);
  for (int i = 0; i < *n; i++) {
    lua_rawgeti(L, index, i + 1);
    list[i] = face_check(L, -1, "update");
    lua_pop(L, 1);
  }
  return list;
}

/* rule, tensors, how many of them are differentiated, operands */
static mw_recipe check_recipe(lua_State *L) {
  mw_recipe recipe = {.rule = face_check_text(L, 1, "update", "the rule")};
  recipe.tensors = own_tensors(L, 2, &recipe.n);
  recipe.n_differentiated = (int)luaL_checkinteger(L, 3);
  recipe.operands = own_tensors(L, 4, &recipe.n_operands);
  return recipe;
}

/* core.update_again(recipe ...): runs the update that was derived from the same structure; false
 * where it has to be built. */
static int core_update_again(lua_State *L) {
  bool done;
  mw_recipe recipe = check_recipe(L);
  if (mw_update_again(face_context(L), &recipe, &done)) return face_raise(L);
  if (done) face_settle(L);
  lua_pushboolean(L, done);
  return 1;
}

/* core.update_derived(recipe ..., targets, values): what core.run does, remembered. */
static int core_update_derived(lua_State *L) {
  int n_targets, n_values;
  mw_recipe recipe = check_recipe(L);
  mw_tensor **targets = own_tensors(L, 5, &n_targets), **values = own_tensors(L, 6, &n_values);
  if (n_targets != n_values)
    return face_error(L, "update: there are %d targets and %d values", n_targets, n_values);
  if (mw_update_derived(face_context(L), &recipe, n_targets, targets, values)) return face_raise(L);
  face_settle(L);
  return 0;
}

/* core.eval(...) computes tensors in one program and returns them. */
static int core_eval(lua_State *L) {
  int n = lua_gettop(L);
  mw_tensor **list = lua_newuserdatauv(L, (size_t)n * sizeof *list + 1, 0);
  for (int i = 0; i < n; i++) {
    list[i] = face_test(L, i + 1);
    if (!list[i])
      return face_error(L, "eval: argument %d is %s, expected a tensor", i + 1,
                        face_describe(L, i + 1));
  }
  if (mw_eval(face_context(L), n, list)) return face_raise(L);
  face_settle(L);
  lua_settop(L, n);
  return n;
}

typedef struct face_program {
  mw_program *program;
  int results;
} face_program;

static int program_gc(lua_State *L) {
  face_program *p = luaL_testudata(L, 1, FACE_PROGRAM);
  if (p && p->program) mw_program_free(p->program);
  if (p) p->program = NULL;
  return 0;
}

/* core.program({y, ...}): compiles a program that core.program_run runs on its leaves' values. */
static int core_program(lua_State *L) {
  int n;
  mw_tensor **outputs = check_tensors(L, 1, "program", "outputs", &n);
  face_program *p = lua_newuserdatauv(L, sizeof *p, 0);
  *p = (face_program){.results = n};
  luaL_setmetatable(L, FACE_PROGRAM);
  p->program = mw_program_new(face_context(L), n, outputs, 0, NULL, NULL);
  if (!p->program) return face_raise(L);
  return 1;
}

static face_program *check_program(lua_State *L, const char *function) {
  face_program *p = luaL_testudata(L, 1, FACE_PROGRAM);
  if (!p || !p->program)
    face_error(L, "%s: the argument is %s, expected a program", function, face_describe(L, 1));
  return p;
}

/* core.program_memory(program): bytes of intermediates that it needs at once. */
static int core_program_memory(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)mw_program_memory(check_program(L, "program_memory")->program));
  return 1;
}

static int core_program_run(lua_State *L) {
  face_program *p = check_program(L, "program_run");
  mw_tensor **results = lua_newuserdatauv(L, (size_t)p->results * sizeof *results + 1, 0);
  mw_tensor ***slots = lua_newuserdatauv(L, (size_t)p->results * sizeof *slots + 1, 0);
  push_empty_list(L, slots, p->results);
  if (mw_program_run(p->program, results)) return face_raise(L);
  fill_list(slots, results, p->results);
  face_settle(L);
  return 1;
}

void face_open_program(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"eval", core_eval},
      {"grad", core_grad},
      {"program", core_program},
      {"program_memory", core_program_memory},
      {"program_run", core_program_run},
      {"reaches", core_reaches},
      {"run", core_run},
      {"update_again", core_update_again},
      {"update_derived", core_update_derived},
      {NULL, NULL},
  };
  luaL_setfuncs(L, functions, 0);
  luaL_newmetatable(L, FACE_PROGRAM);
  lua_pushcfunction(L, program_gc);
  lua_setfield(L, -2, "__gc");
  lua_pushliteral(L, FACE_PROGRAM);
  lua_setfield(L, -2, "__metatable");
  lua_pop(L, 1);
}
