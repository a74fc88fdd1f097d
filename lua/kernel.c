/* kernel.c: ops whose shape rule, kernels and gradient are Lua functions. See define.c.
 *
 * A kernel runs inside a program, on a Lua thread of its own and as a hook does, so that it may
 * compute tensors itself. An error in it is the op's failure; it cannot yield. */
#include <string.h>

#include "define.h"

/* A variadic input comes as one list. Returns how many values the inputs are in Lua. */
static int listed(const mw_op *op, int n_in) {
  const int n = face_declared(op->inputs);
  return n && (op->inputs[n - 1].flags & MW_VARIADIC) ? n : n_in;
}

typedef void (*push_item)(lua_State *L, const void *state, int i);

/* Pushes what belongs to each input, those of a variadic one in a list. Returns how many. */
static int push_inputs(lua_State *L, const mw_op *op, int n_in, push_item push, const void *state) {
  const int n = listed(op, n_in), declared = face_declared(op->inputs);
  const bool variadic = declared && (op->inputs[declared - 1].flags & MW_VARIADIC);
  for (int i = 0; i < n - variadic; i++) push(L, state, i);
  if (!variadic) return n;
  lua_createtable(L, n_in - n + 1, 0);
  for (int i = n - 1; i < n_in; i++) {
    push(L, state, i);
    lua_rawseti(L, -2, i - n + 2);
  }
  return n;
}

static const char *input_name(const mw_op *op, int i) {
  const int n = face_declared(op->inputs);
  return op->inputs[i < n ? i : n - 1].name;
}

/* ---- infer(specs of the inputs ..., attrs) -> {shape = {2, 3}, dtype = "f32"} ... ------------ */

static void push_spec(lua_State *L, const void *state, int i) {
  face_push_spec(L, &((const mw_infer *)state)->in[i]);
}

/* The field `shape` of the table on top, if it has one. */
static void read_shape(lua_State *L, mw_spec *spec, const char *name) {
  if (lua_getfield(L, -1, "shape") != LUA_TNIL) {
    if (!lua_istable(L, -1))
      luaL_error(L, "infer gives %s the shape %s, expected a table such as {2, 3}", name,
                 face_describe(L, -1));
    if (lua_rawlen(L, -1) > MW_MAX_RANK)
      luaL_error(L, "infer gives %s %d axes, at most %d are possible", name, (int)lua_rawlen(L, -1),
                 MW_MAX_RANK);
    *spec = (mw_spec){.dtype = spec->dtype, .rank = (int)lua_rawlen(L, -1)};
    for (int k = 0; k < spec->rank; k++, lua_pop(L, 1)) {
      int whole = lua_rawgeti(L, -1, k + 1) == LUA_TNUMBER;
      spec->shape[k] = whole ? lua_tointegerx(L, -1, &whole) : 0;
      if (!whole || spec->shape[k] < 0)
        luaL_error(L, "infer gives %s the size %s, expected a whole number from 0", name,
                   face_describe(L, -1));
    }
  }
  lua_pop(L, 1);
}

static void read_dtype(lua_State *L, mw_spec *spec, const char *name) {
  if (lua_getfield(L, -1, "dtype") != LUA_TNIL) {
    spec->dtype = lua_type(L, -1) == LUA_TSTRING ? mw_dtype_named(lua_tostring(L, -1)) : MW_NONE;
    if (spec->dtype == MW_NONE)
      luaL_error(L, "infer gives %s the dtype %s, expected f32, f64, i32, i64, u8 or bool", name,
                 face_describe(L, -1));
  }
  lua_pop(L, 1);
}

/* What infer returned, from index `first` on: a table for each output, or one list of them. */
static void read_specs(lua_State *L, mw_infer *it, int first) {
  int n = lua_gettop(L) - first + 1;
  if (n == 1 && it->n_out > 1 && lua_istable(L, first) && lua_rawlen(L, first) > 0) {
    n = (int)lua_rawlen(L, first);
    luaL_checkstack(L, it->n_out, NULL);
    for (int j = 0; j < n && j < it->n_out; j++) lua_rawgeti(L, first, j + 1);
    first++;
  }
  if (n != it->n_out)
    luaL_error(L,
               "infer returns %d values, expected %d: a table such as {shape = {2, 3}} for each "
               "output",
               n, it->n_out);
  for (int j = 0; j < n; j++) {
    lua_pushvalue(L, first + j);
    if (!lua_istable(L, -1))
      luaL_error(L, "infer returns %s for %s, expected a table such as {shape = {2, 3}}",
                 face_describe(L, -1), it->op->outputs[j].name);
    read_shape(L, &it->out[j], it->op->outputs[j].name);
    read_dtype(L, &it->out[j], it->op->outputs[j].name);
    lua_pop(L, 1);
  }
}

static int call_infer(lua_State *L) {
  mw_infer *it = lua_touserdata(L, 1);
  luaL_checkstack(L, it->n_in + 2 * MW_MAX_ARGS, NULL);
  face_push_part(L, it->op, "infer");
  if (lua_isnil(L, -1)) return 0;
  const int first = lua_gettop(L), n = push_inputs(L, it->op, it->n_in, push_spec, it);
  face_push_attrs(L, it->op, it->attrs);
  lua_call(L, n + 1, LUA_MULTRET);
  read_specs(L, it, first);
  return 0;
}

mw_status face_kernel_infer(mw_infer *it) {
  const definition *d = it->op->data;
  const mw_spec *like = it->n_in ? &it->in[0] : NULL;
  for (int j = 0; j < it->n_out; j++)
    it->out[j] = like && mw_present(like) ? *like : (mw_spec){.dtype = MW_F32};
  return face_call_back(d->caller, it->host, it->context, call_infer, it);
}

/* ---- forward(inputs ..., outputs ..., attrs) ------------------------------------------------- */

/* ---- backward(inputs ..., outputs ..., douts ..., dins ..., attrs) --------------------------- */

typedef struct buffers {
  const mw_op *op;
  const mw_array *arrays;
  int call; /* stack index of the call's userdata */
  bool gradient, writable;
} buffers;

static void push_buffer(lua_State *L, const mw_array *array, const buffers *b, const char *name) {
  if (!array->data) lua_pushnil(L);
  else if (!b->gradient) face_push_view(L, b->call, array, name, b->writable);
  else {
    lua_pushfstring(L, "d%s", name);
    lua_pushvalue(L, -1);
    lua_rawseti(L, b->call + 1, (lua_Integer)lua_rawlen(L, b->call + 1) + 1); /* keeps the name */
    face_push_view(L, b->call, array, lua_tostring(L, -1), b->writable);
    lua_remove(L, -2);
  }
}

static void push_input(lua_State *L, const void *state, int i) {
  const buffers *b = state;
  push_buffer(L, &b->arrays[i], b, input_name(b->op, i));
}

static void push_outputs(lua_State *L, const buffers *b, int n) {
  for (int j = 0; j < n; j++) push_buffer(L, &b->arrays[j], b, b->op->outputs[j].name);
}

static void clear(const mw_array *arrays, int n) {
  for (int i = 0; i < n; i++)
    if (arrays[i].data && arrays[i].count)
      memset(arrays[i].data, 0, (size_t)arrays[i].count * mw_element_size(arrays[i].spec.dtype));
}

/* Runs on the definition's thread. The views die even when the function raises. */
static int call_kernel(lua_State *L) {
  const mw_call *call = lua_touserdata(L, 1);
  const mw_op *op = call->op;
  luaL_checkstack(L, 2 * call->n_in + 4 * MW_MAX_ARGS, NULL);
  bool *alive = face_push_call(L);
  lua_newtable(L); /* of names */
  buffers b = {.op = op, .arrays = call->in, .call = 2};
  face_push_part(L, op, call->backward ? "backward" : "forward");
  const int first = lua_gettop(L);
  push_inputs(L, op, call->n_in, push_input, &b);
  b.arrays = call->out;
  b.writable = !call->backward;
  push_outputs(L, &b, call->n_out);
  if (call->backward) {
    b.arrays = call->dout;
    b.gradient = true;
    push_outputs(L, &b, call->n_out);
    b.arrays = call->din;
    b.writable = true;
    push_inputs(L, op, call->n_in, push_input, &b);
  }
  face_push_attrs(L, op, call->attrs);
  clear(call->backward ? call->din : call->out, call->backward ? call->n_in : call->n_out);
  int status = lua_pcall(L, lua_gettop(L) - first, 0, 0);
  *alive = false;
  if (status == LUA_OK) return 0;
  if (lua_type(L, -1) != LUA_TSTRING)
    lua_pushfstring(L, "it raised an error that is no text but a %s", luaL_typename(L, -1));
  return lua_error(L);
}

typedef struct running {
  const mw_call *call;
  mw_status status;
} running;

static mw_status run_inside(void *state, bool gradient, const mw_spec *spec, void *bytes,
                            char message[MW_HOOK_TEXT]) {
  running *r = state;
  const definition *d = r->call->op->data;
  lua_State *before = d->caller->L;
  (void)gradient, (void)spec, (void)bytes, (void)message;
  d->caller->L = d->thread;
  r->status = face_call_back(d->caller, r->call->host, r->call->context, call_kernel,
                             (void *)(uintptr_t)r->call);
  d->caller->L = before;
  return MW_OK;
}

/* As a hook that lasts as long as the call: what a run inside a run would overwrite is put
 * aside. */
mw_status face_kernel_run(const mw_call *call) {
  const definition *d = call->op->data;
  if (!d->caller->L) return mw_fail(call, "its Lua state is closed");
  running r = {.call = call, .status = MW_FAILED};
  const mw_hook hook = {.call = run_inside, .state = &r};
  mw_tensor *leaf = mw_hook_leaf(call->context, &hook);
  if (!leaf) return MW_FAILED;
  const mw_array number = {.data = (void *)(uintptr_t)mw_tensor_data(leaf), .count = 1},
                 none = {.data = NULL};
  mw_status status = call->host->hook(call->context, &number, call->backward, &none);
  mw_release(leaf);
  return status ? status : r.status;
}

/* ---- gradient(inputs ..., outputs ..., gradients of the outputs ..., attrs) -> gradients ... - */

static void push_in(lua_State *L, const void *state, int i) {
  face_push_tensor(L, ((const mw_build *)state)->in[i]);
}

/* Takes the gradient on top of the stack for input i. */
static void take_gradient(lua_State *L, mw_build *b, int i) {
  mw_tensor *t = face_test(L, -1);
  if (!t && !lua_isnil(L, -1))
    luaL_error(L, "gradient returns %s for %s, expected a tensor or nil", face_describe(L, -1),
               input_name(b->op, i));
  if (t && b->wanted[i]) b->din[i] = mw_build_keep(b, mw_retain(t));
}

static int call_gradient(lua_State *L) {
  mw_build *b = lua_touserdata(L, 1);
  luaL_checkstack(L, 2 * b->n_in + 4 * MW_MAX_ARGS, NULL);
  face_push_part(L, b->op, "gradient");
  const int first = lua_gettop(L), n = push_inputs(L, b->op, b->n_in, push_in, b);
  for (int j = 0; j < b->n_out; j++) face_push_tensor(L, b->out[j]);
  for (int j = 0; j < b->n_out; j++) face_push_tensor(L, b->dout[j]);
  face_push_attrs(L, b->op, b->attrs);
  lua_call(L, lua_gettop(L) - first, n);
  for (int i = 0; i < b->n_in; i++) {
    const int at = i < n ? i : n - 1;
    const bool list = i >= n - 1 && lua_istable(L, first + at);
    if (list) lua_rawgeti(L, first + at, i - n + 2);
    else lua_pushvalue(L, first + at);
    take_gradient(L, b, i);
    lua_pop(L, 1);
  }
  return 0;
}

/* An input that was broadcast gets the sum over its copies. */
static void fold(mw_build *b) {
  for (int i = 0; i < b->n_in; i++) {
    if (!b->wanted[i] || !b->din[i]) continue;
    const mw_spec *x = mw_tensor_spec(b->in[i]);
    const mw_setting shape = mw_list("shape", x->rank, x->shape);
    if (!mw_spec_equal(x, mw_tensor_spec(b->din[i])))
      b->din[i] = mw_make(b, "sum_to", 1, &b->din[i], 1, &shape);
  }
}

mw_status face_kernel_gradient(mw_build *b) {
  const definition *d = b->op->data;
  if (face_call_back(d->caller, b->host, b->context, call_gradient, b)) return MW_FAILED;
  fold(b);
  return MW_OK;
}
