/* arena.c: places for values in one block of memory, each taken for a while: the best fitting of the
 * pieces that are free, or more at the end. */
#include "arena.h"

#include <stdbool.h>
#include <string.h>

size_t mw_arena_take(mw_arena *a, size_t bytes) {
  int best = -1;
  for (int i = 0; i < a->n && (best < 0 || a->pieces[best].bytes > bytes); i++)
    if (a->pieces[i].bytes >= bytes && (best < 0 || a->pieces[i].bytes < a->pieces[best].bytes))
      best = i;
  if (best < 0 && a->n && a->pieces[a->n - 1].offset + a->pieces[a->n - 1].bytes == a->end) {
    best = a->n - 1; /* the piece at the end grows */
    a->end = a->pieces[best].offset + bytes;
    a->pieces[best].bytes = bytes;
  }
  if (best < 0) {
    size_t offset = a->end;
    a->end += bytes;
    return offset;
  }
  size_t offset = a->pieces[best].offset;
  a->pieces[best].offset += bytes;
  a->pieces[best].bytes -= bytes;
  if (!a->pieces[best].bytes) {
    a->n--;
    memmove(a->pieces + best, a->pieces + best + 1, (size_t)(a->n - best) * sizeof *a->pieces);
  }
  return offset;
}

void mw_arena_give(mw_arena *a, size_t offset, size_t bytes) {
  int i = 0; /* the first piece behind */
  for (int high = a->n; i < high;) {
    int middle = i + (high - i) / 2;
    if (a->pieces[middle].offset < offset) i = middle + 1;
    else high = middle;
  }
  bool before = i > 0 && a->pieces[i - 1].offset + a->pieces[i - 1].bytes == offset;
  bool after = i < a->n && offset + bytes == a->pieces[i].offset;
  if (before) {
    a->pieces[i - 1].bytes += bytes + (after ? a->pieces[i].bytes : 0);
    if (!after) return;
    a->n--;
    memmove(a->pieces + i, a->pieces + i + 1, (size_t)(a->n - i) * sizeof *a->pieces);
  } else if (after) {
    a->pieces[i].offset = offset;
    a->pieces[i].bytes += bytes;
  } else {
    memmove(a->pieces + i + 1, a->pieces + i, (size_t)(a->n - i) * sizeof *a->pieces);
    a->pieces[i] = (mw_piece){.offset = offset, .bytes = bytes};
    a->n++;
  }
}
