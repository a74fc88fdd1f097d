/* table.c: putting into a table of pointers. */
#include "internal.h"

static mw_status grow(mw_table *t, mw_context *ctx) {
  mw_table grown = {.room = t->room ? 2 * t->room : 64, .used = t->used};
  grown.keys = calloc(grown.room, sizeof *grown.keys);
  grown.values = calloc(grown.room, sizeof *grown.values);
  if (!grown.keys || !grown.values) {
    free(grown.keys);
    free(grown.values);
    return mw_no_memory(ctx);
  }
  for (size_t i = 0; i < t->room; i++) {
    if (!t->keys[i]) continue;
    size_t place = mw_table_place(&grown, t->keys[i]);
    grown.keys[place] = t->keys[i];
    grown.values[place] = t->values[i];
  }
  free(t->keys);
  free(t->values);
  *t = grown;
  return MW_OK;
}

mw_status mw_table_put(mw_table *t, mw_context *ctx, const void *key, int value) {
  if (2 * t->used >= t->room && grow(t, ctx)) return MW_FAILED;
  size_t i = mw_table_place(t, key);
  t->used += !t->keys[i];
  t->keys[i] = key;
  t->values[i] = value;
  return MW_OK;
}
