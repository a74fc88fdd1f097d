/* storage.c: counted, aligned bytes. */
#include <string.h>

#include "internal.h"

mw_storage *mw_storage_new(mw_context *ctx, size_t bytes) {
  mw_storage *storage = malloc(sizeof *storage);
  /* One byte at least: a tensor with a 0 in its shape has storage like any other. */
  void *data = storage ? aligned_alloc(MW_ALIGN, mw_aligned(bytes ? bytes : 1)) : NULL;
  if (!data) {
    free(storage);
    mw_set_error(ctx, "cannot allocate %zu bytes", bytes);
    return NULL;
  }
  *storage = (mw_storage){.refs = 1, .bytes = bytes, .ctx = ctx, .data = data};
  ctx->stats.bytes_live += bytes;
  if (ctx->stats.bytes_live > ctx->stats.bytes_peak) ctx->stats.bytes_peak = ctx->stats.bytes_live;
  return storage;
}

mw_storage *mw_storage_retain(mw_storage *storage) {
  storage->refs++;
  return storage;
}

void mw_storage_release(mw_storage *storage) {
  if (!storage || --storage->refs > 0) return;
  if (storage->drop) storage->drop(storage);
  storage->ctx->stats.bytes_live -= storage->bytes;
  free(storage->data);
  free(storage);
}
