/* face.h: what the files of the Lua binding share. */
#ifndef MW_FACE_H
#define MW_FACE_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define MW_NO_REAL
#include "../graph/dropped.h"
#include "../graph/moonwalk.h"
#include "../graph/prepared.h"

#define FACE_TENSOR "moonwalk.tensor" /* metatable name of a tensor */
#define FACE_CHUNK "=moonwalk/"       /* how the chunk names of Moonwalk's own modules begin */

mw_context *face_context(lua_State *L); /* the state's one context */
/* The same in two steps, for what is called all the time: what the face keeps of a Lua state, which
 * stays where it is, and the context, for tensors that are built now; see face_mark_origin. */
typedef struct face_state face_state;
face_state *face_state_of(lua_State *L);
mw_context *face_begin(lua_State *L, face_state *state);
/* The same where the caller says what the origin is. */
mw_context *face_begin_unmarked(lua_State *L, face_state *state);
/* What waits there, see face_watch(), is freed from now on after each collection of garbage. */
void face_free_after_collections(lua_State *L, mw_dropped *dropped);
/* The layer that runs, and the scopes that end with those that do; see layer.c. */
typedef struct face_layer {
  const char *origin; /* or NULL */
  lua_State *in;      /* the coroutine that it runs in */
  int n_scopes, free_scope;
} face_layer;
face_layer *face_layer_of(face_state *state);
/* The thread that last asked for the context: the one to call Lua on from the core. It is NULL when
 * the Lua state is closed, which the context may outlive. Counted: face_caller gives a
 * reference. */
typedef struct face_thread {
  int refs;
  lua_State *L;
} face_thread;
face_thread *face_caller(lua_State *L);
void face_caller_release(face_thread *caller);
/* A thread for one use, known by an address. It is for functions that the core calls while it runs
 * a program: the thread that asked for the run is somewhere inside of it. */
lua_State *face_own_thread(lua_State *L, const void *key);
/* Calls run, whose one argument is arg as a light userdata, from a function of an op: an error in
 * it becomes the op's failure. */
mw_status face_call_back(face_thread *caller, const mw_host *host, mw_context *ctx,
                         lua_CFunction run, void *arg);

/* allocator.c: the command's own Lua state, whose allocator sees it when Lua frees a tensor. The
 * sanitizers' builds have Lua's. */
#if defined __SANITIZE_ADDRESS__
#define FACE_SANITIZED true
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define FACE_SANITIZED true
#endif
#endif
#ifndef FACE_SANITIZED
#define FACE_SANITIZED false
#endif
typedef struct face_allocator face_allocator;
lua_State *face_state_new(face_allocator **allocator);          /* NULL: memory is short */
void face_state_close(lua_State *L, face_allocator *allocator); /* and all that it has allocated */
/* From now on a userdata like the one that was just made, of `size` bytes at `payload`, is shown to
 * `freed` before its memory is used again; the tensor that this returns waits in a list to be
 * released. NULL: the state has another allocator. All bytes are 0 where none was yet. */
mw_dropped *face_watch(lua_State *L, const void *payload, size_t size,
                       mw_tensor *(*freed)(void *payload));
/* Where it counts what Lua has freed: while that stays, no address is another object's. Or NULL. */
const uint64_t *face_frees(lua_State *L);

/* Tensors. face_push takes the caller's reference, also when it raises; a NULL tensor raises
 * mw_error(). It tells the collector about the bytes. */
mw_tensor *face_test(lua_State *L, int index);              /* NULL when it is no tensor */
mw_tensor *const *face_test_place(lua_State *L, int index); /* where it is kept */
/* The same, but raises, in the name of a function. */
mw_tensor *face_check(lua_State *L, int index, const char *function);
void face_push(lua_State *L, mw_tensor *t);
/* The same for a tensor that was built after face_mark_origin(); face_push marks it itself. */
void face_push_marked(lua_State *L, mw_tensor *t);
/* Pushes a tensor that has no mw_tensor yet, for the caller to fill in: the way to take several
 * references without losing one when Lua's memory is short. */
mw_tensor **face_push_empty(lua_State *L);
/* The same, in less time, where the tensor at an index tells what a tensor is. */
mw_tensor **face_push_empty_like(lua_State *L, int index);
/* Sets a field of the table on top of the stack: to t, which keeps its origin, or to a text; NULL
 * sets none. */
void face_set_tensor(lua_State *L, const char *key, mw_tensor *t);
void face_set_text(lua_State *L, const char *key, const char *text);
/* The bytes of t, which are computed first. Raises when they cannot be; NULL when t is empty. */
const void *face_data(lua_State *L, mw_tensor *t);
/* Collects garbage if tensors hold much more than after the last collection; see module.c. */
void face_settle(lua_State *L);
void face_settle_state(lua_State *L, face_state *state);

/* Raise an error at the line of the user's script: the innermost frame that is not a part of
 * Moonwalk's own modules (chunk names that begin with "=moonwalk/"). */
int face_error(lua_State *L, const char *format, ...) MW_PRINTF(2, 3);
int face_raise(lua_State *L); /* with mw_error() as its text */
/* An argument of a function of core, by its name there; raises when it is none. A text has no NUL,
 * at which C would take it to end. */
lua_Integer face_check_integer(lua_State *L, int index, const char *function, const char *name);
const char *face_check_text(lua_State *L, int index, const char *function, const char *name);
/* Pushes a short text for the value at index, for messages: "a table", "f32[2,3]", "'abc'". */
const char *face_describe(lua_State *L, int index);
/* Makes the line of the user's script that runs now, or the layer that does, the origin of the
 * tensors that are built from now on; and returns it. */
const char *face_mark_origin(lua_State *L);
/* Pushes the string key of the table at index that is nearest to a misspelt word, or an op's name
 * if that is nearer; pushes nothing and returns NULL when none is near. */
const char *face_near(lua_State *L, int index, const char *word);

/* Reads a shape from a table such as {2, 3} or from an integer, and checks sizes and overflow. */
mw_spec face_shape(lua_State *L, int index, mw_dtype dtype);
/* The dtype that somebody who wrote that name may have meant ("float32", "F32"), or NULL. */
const char *face_near_dtype(const char *name);
mw_dtype face_dtype(lua_State *L, int index, mw_dtype fallback); /* fallback when nil or none */

/* One element between Lua and bytes. face_store returns NULL, or what the value should be. */
const char *face_store(lua_State *L, int index, mw_dtype dtype, void *data, int64_t i);
void face_push_element(lua_State *L, mw_dtype dtype, const void *data, int64_t i);

/* Pushes a constant of zeros and returns its bytes, to be filled; NULL when it is empty. */
void *face_push_blank(lua_State *L, const mw_spec *spec);
/* Pushes a constant made of the number, boolean or nested tables at index. With MW_NONE the dtype
 * is f32, or bool of booleans. */
void face_push_nested(lua_State *L, int index, mw_dtype dtype);

/* The op that is named at index; raises. */
const mw_op *face_check_op(lua_State *L, int index, const char *function);
int face_declared(const mw_arg *args); /* how many there are */
/* Applies an op to the arguments from stack index `first` up. Returns how many results it
 * pushed. */
int face_apply(lua_State *L, const char *op, int first);
/* An op with the attributes in the table at an index, 0 for none; for the caller to free. */
mw_prepared *face_prepare(lua_State *L, const char *op, int table);
/* Whether the value at an index is a function that core.forward has made; and what that does for x
 * and the fields of a module, all at these indices. Function 0 is the one that runs. */
bool face_is_forward(lua_State *L, int index);
int face_run_forward(lua_State *L, int function, int fields, int x);
/* What it applies, as long as the module's fields stay: where the op with its attributes is, NULL
 * until it was first applied; and where its inputs are, but for the first one, x. Both are NULL,
 * too, once they were collected. */
enum { FACE_FEW = 4 };
typedef struct face_applied {
  mw_prepared *const *op;
  int n_in;
  mw_tensor *const *in[FACE_FEW]; /* NULL: left out */
} face_applied;
/* false: they are not of the expected kind, or too many */
bool face_applied_by(lua_State *L, int function, int fields, face_applied *applied);

/* What a module's own table keeps by number: the spec of its last output, in a userdata that is
 * written to again; its origin; and of sequence.c how often it was changed, in a userdata, and the
 * plan of a list. */
enum { FACE_OUTPUT = 1, FACE_ORIGIN, FACE_CHANGES, FACE_PLAN };
/* That userdata of the own table at index, made if it is not there: no output yet. */
mw_spec *face_output_of(lua_State *L, int own);
/* Whether the value at an index is the function that core.module_call has made; and one that
 * core.sequence has made. */
bool face_is_module_call(lua_State *L, int index);
bool face_is_sequence(lua_State *L, int index);
/* Pushes what such a function makes of x for the module with that table, if it is known already how;
 * else pushes nothing and returns false. */
bool face_run_whole_list(lua_State *L, int own, int function, int x);
/* Pushes a function that applies the op of that name to its arguments. */
void face_push_op(lua_State *L, const char *name);

/* Pushes {shape = {2, 3}, dtype = "f32", count = 6}; nil for what is absent. */
void face_push_spec(lua_State *L, const mw_spec *spec);

/* Each part adds its functions to the table `core` on top of the stack. */
void face_open_layer(lua_State *L);        /* layer.c: origins of what layers build */
void face_open_sequence(lua_State *L);     /* sequence.c: lists of layers */
void face_open_tensor(lua_State *L);       /* tensor.c: the type */
void face_open_constructors(lua_State *L); /* constructors.c */
void face_open_call(lua_State *L);         /* call.c: ops */
void face_open_program(lua_State *L);      /* program.c: gradients and programs */
void face_open_prepared(lua_State *L);     /* prepared.c: ops with attributes, of layers */
void face_open_settings(lua_State *L);     /* settings.c: threads, random numbers, statistics */
void face_open_registry(lua_State *L);     /* registry.c: what ops there are */
void face_open_format(lua_State *L);       /* format.c: printing, totable */
void face_open_json(lua_State *L);         /* json.c */
void face_open_idx(lua_State *L);          /* idx.c: IDX files, gzipped or not */
void face_open_digits(lua_State *L);       /* digits.c: drawn digits */
void face_open_shapes(lua_State *L);       /* shapes.c: drawn shapes */
void face_open_batch(lua_State *L);        /* batch.c: rows, bytes, fsync */
void face_open_loader(lua_State *L);       /* loader.c: batches, made ahead of time */
void face_open_inflate(lua_State *L);      /* inflate.c: what zip archives need */
void face_open_widen(lua_State *L);        /* widen.c: elements of other types */
void face_open_image(lua_State *L);        /* image.c: PNG and JPEG files */
void face_open_csv(lua_State *L);          /* csv.c: tables of text */
void face_open_plugin(lua_State *L);       /* plugin.c: loading */
void face_open_define(lua_State *L);       /* define.c: ops in Lua */
void face_open_ffi(lua_State *L);          /* ffi.c: foreign functions as ops */
void face_open_autodiff(lua_State *L);     /* autodiff.c: traces, checkpoints, hooks, watches */
void face_open_texts(lua_State *L);        /* texts.c: files that are built in */
void face_open_gate(lua_State *L);         /* gate.c: guarded runs, in processes of their own */
void face_open_profile(lua_State *L);      /* profile.c: what steps take */
void face_open_interrupt(lua_State *L);    /* interrupt.c: Ctrl-C */
void face_open_near(lua_State *L);         /* near.c: the word that was meant */
void face_open_nodes(lua_State *L);        /* nodes.c: looking at a graph */
void face_open_screen(lua_State *L);       /* screen.c: what a terminal is like */
void face_open_picture(lua_State *L);      /* picture.c: tensors as pixels */
void face_open_png(lua_State *L);          /* png.c: pixels as PNG files */
void face_open_sixel(lua_State *L);        /* sixel.c: pixels in a terminal */
void face_open_base64(lua_State *L);       /* base64.c: bytes as letters */
void face_open_ask(lua_State *L);          /* ask.c: what the terminal says of itself */
void face_open_summary(lua_State *L);      /* summary.c: the range of values */
void face_open_histogram(lua_State *L);    /* histogram.c: how elements are spread */
void face_open_peak(lua_State *L);         /* peak.c: what the processor could do */
void face_open_digest(lua_State *L);       /* digest.c: whether bytes are the same */
void face_open_keys(lua_State *L);         /* keys.c: the keyboard */
void face_open_editor(lua_State *L);       /* editor.c: editing a line */
void face_open_history(lua_State *L);      /* history.c: the file of what was typed */

/* The Lua modules, built in: name ("moonwalk.nn"), chunk name ("=moonwalk/nn.lua"), text. */
typedef struct face_module {
  const char *name, *chunk, *text;
  size_t size;
} face_module;
extern const face_module face_modules[]; /* ends with a NULL name; generated by the build */

/* Files, likewise. */
typedef struct face_text {
  const char *name, *text;
} face_text;
extern const face_text face_headers[];   /* of graph/, for plugins compiled at run time */
extern const face_text face_templates[]; /* of plugins/template/ */
extern const face_text face_op_files[];  /* of ops/ */
extern const face_text face_manual[];    /* of docs/ */

MW_EXPORT int luaopen_moonwalk(lua_State *L);

#endif
