/* arena.h: see arena.c. Only offsets are dealt with; the block itself comes later. */
#ifndef MW_ARENA_H
#define MW_ARENA_H

#include <stddef.h>

typedef struct mw_piece {
  size_t offset, bytes;
} mw_piece;

typedef struct mw_arena {
  mw_piece
      *pieces; /* free ones, by offset, never two that touch; room for one more than were taken */
  int n;
  size_t end; /* bytes in use or freed so far: what the block needs */
} mw_arena;

size_t mw_arena_take(mw_arena *a, size_t bytes); /* an offset */
void mw_arena_give(mw_arena *a, size_t offset, size_t bytes);

#endif
