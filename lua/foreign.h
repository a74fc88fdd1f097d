/* foreign.h: what the files share that call foreign functions from Lua. */
#ifndef MW_FOREIGN_H
#define MW_FOREIGN_H

#include <stdatomic.h>

#include "../plugins/signature.h"
#include "face.h"

#define FOREIGN_MEMORY "moonwalk.memory" /* metatable name of a buffer, a view or a pointer */

/* A callback that runs: what C handed it may be used as long as it does. */
typedef struct foreign_frame {
  uint64_t number;
  struct foreign_frame *outer;
} foreign_frame;

/* Callbacks whose Lua object was collected stay as long as there are not many, so that a call that
 * comes late finds one. */
enum { FOREIGN_LATE = 256 };

typedef struct foreign_state {
  foreign_frame *frames;
  uint64_t frames_run;
  atomic_bool strayed; /* a callback was called where it must not be */
  struct foreign_callback *late[FOREIGN_LATE];
  int n_late;
} foreign_state;
foreign_state *foreign_state_of(lua_State *L);

/* Memory as Lua sees it. The bytes of a buffer lie behind it in the same userdata; a view of one
 * has it as its user value, and what is of a callback's arguments ends with the callback. */
typedef struct foreign_memory {
  unsigned char *data;
  int64_t count;  /* elements; -1: C did not say */
  mw_c_type type; /* MW_C_VOID: a pointer only */
  bool is_const;
  uint64_t frame; /* the number of the callback's frame; 0: it does not end */
} foreign_memory;

foreign_memory *foreign_test_memory(lua_State *L, int index); /* NULL when it is none */
/* The same, but raises when its callback has ended. */
foreign_memory *foreign_live_memory(lua_State *L, int index);
/* Pushes memory of C's. */
foreign_memory *foreign_push_memory(lua_State *L, void *data, mw_c_type type, int64_t count);
/* Pushes a buffer of zeros. */
foreign_memory *foreign_push_buffer(lua_State *L, mw_c_type type, int64_t count);

/* One number between Lua and C; NULL, or what it should be. at need not be aligned. */
const char *foreign_store(lua_State *L, int index, mw_c_type type, void *at);
void foreign_push(lua_State *L, mw_c_type type, const void *at);

void foreign_open_memory(lua_State *L); /* memory.c */
void foreign_open_calls(lua_State *L);  /* foreign.c */

#endif
