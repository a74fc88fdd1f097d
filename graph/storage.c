/* storage.c: counted, aligned bytes. */
#include <string.h>

#include "internal.h"

/* The bytes lie behind the storage itself. One at least: a tensor with a 0 in its shape has storage
 * like any other. */
static size_t block_bytes(size_t bytes) {
  return mw_aligned(sizeof(mw_storage)) + mw_aligned(bytes ? bytes : 1);
}

mw_storage *mw_storage_new(mw_context *ctx, size_t bytes) {
  mw_storage *storage =
      mw_memory_has(bytes) ? mw_block_new(&ctx->blocks, block_bytes(bytes)) : NULL;
  if (!storage) return NULL;
  *storage = (mw_storage){
      .refs = 1, .bytes = bytes, .ctx = ctx, .data = (char *)storage + mw_aligned(sizeof *storage)};
  ctx->stats.bytes_live += bytes;
  if (ctx->stats.bytes_live > ctx->stats.bytes_peak) ctx->stats.bytes_peak = ctx->stats.bytes_live;
  if (ctx->stats.bytes_live > ctx->peak) ctx->peak = ctx->stats.bytes_live;
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
  mw_block_free(&storage->ctx->blocks, storage, block_bytes(storage->bytes));
}
