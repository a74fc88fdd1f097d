/* table.h: from pointers to numbers: an open-addressing table, sized as a power of two. Starts as
 * zeros; its two arrays are the caller's to free. */
#ifndef MW_TABLE_H
#define MW_TABLE_H

#include "moonwalk.h"

typedef struct mw_table {
  const void **keys;
  int *values;
  size_t room, used;
} mw_table;

static inline size_t mw_table_place(const mw_table *t, const void *key) {
  uint64_t h = ((uint64_t)(uintptr_t)key >> 4) * UINT64_C(0x9E3779B97F4A7C15);
  size_t i = (size_t)(h >> 32); /* the low bits are as regular as the addresses */
  for (i &= t->room - 1; t->keys[i] && t->keys[i] != key; i = (i + 1) & (t->room - 1)) {
  }
  return i;
}

/* -1 when the key is not in it. */
static inline int mw_table_get(const mw_table *t, const void *key) {
  if (!t->room) return -1;
  size_t i = mw_table_place(t, key);
  return t->keys[i] ? t->values[i] : -1;
}

mw_status mw_table_put(mw_table *t, mw_context *ctx, const void *key, int value);

#endif
