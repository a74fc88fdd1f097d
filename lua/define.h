/* define.h: what the files of ops in Lua share: define.c, kernel.c and view.c. */
#ifndef MW_DEFINE_H
#define MW_DEFINE_H

#include "face.h"

#define MOST_ATTRS 32

/* What the registry owns of an op in Lua. Its description is in Lua's registry, by this address. */
typedef struct definition {
  face_thread *caller;
  lua_State *thread; /* on which kernels run: the one that asked for a run is inside of it */
  mw_op op;
  mw_attr attrs[MOST_ATTRS + 1];
  char *texts[8 * MOST_ATTRS];
  int n_texts;
} definition;

/* Pushes a function of the op's description. */
void face_push_part(lua_State *L, const mw_op *op, const char *name);
/* The attributes as a table by name, axes counted from 1. */
void face_push_attrs(lua_State *L, const mw_op *op, const char *attrs);
void face_push_tensor(lua_State *L, mw_tensor *t); /* nil for NULL */

/* kernel.c: the functions of an op whose kernels are Lua functions. */
mw_status face_kernel_infer(mw_infer *it);
mw_status face_kernel_run(const mw_call *call);
mw_status face_kernel_gradient(mw_build *b);

/* view.c: buffers. Views live until their call is over: `alive` is what face_push_call() returned,
 * and pushed; a view keeps it. */
void face_open_view(lua_State *L);
bool *face_push_call(lua_State *L);
void face_push_view(lua_State *L, int call, const mw_array *array, const char *name, bool writable);

#endif
