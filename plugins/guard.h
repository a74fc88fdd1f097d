/* guard.h: memory between pages that nobody may touch, and what a signal has to say about it. */
#ifndef MW_GUARD_H
#define MW_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* An array in pages of its own, at their end or at their beginning, with pages before and after it
 * whose use is a SIGSEGV. What is left of its own pages is filled with one byte and looked at
 * afterwards. */
typedef struct mw_guard {
  char name[32];
  char *map, *body, *data;
  size_t map_bytes, body_bytes, bytes;
  unsigned char slack;
} mw_guard;

/* false when memory is short. */
bool mw_guard_new(mw_guard *g, const char *name, size_t bytes, bool at_end, unsigned char slack);
void mw_guard_read_only(const mw_guard *g);
/* "past the end of y" where the filling is not what it was, or NULL. */
const char *mw_guard_damage(const mw_guard *g, char *text, size_t room);
void mw_guard_free(mw_guard *g);

/* What a process that tests is at: in memory that the process waiting for it shares. */
typedef struct mw_note {
  char op[128];    /* whose function runs; "" when none does */
  char doing[768]; /* "forward on x f32[3,1,5]" */
  char fault[256]; /* of a signal: "it wrote past the end of y", or "" */
} mw_note;

/* From now on signals that end the process first write what is known to the note. The calling
 * thread gets a stack for that, of which an endless recursion leaves something. */
void mw_guard_listen(mw_note *note);
/* The arrays that a signal may have to do with. */
void mw_guard_watch(const mw_guard *guards, int n);

#endif
