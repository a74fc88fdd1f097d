/* block.c: memory of nodes and small values. A training loop makes and drops thousands of them of few
 * sizes in each second; here they lie in lists by size, which a general allocator is slower at. */
#include "internal.h"

struct mw_kept_block {
  struct mw_kept_block *next;
};

enum {
  CLASSES = 64,        /* multiples of MW_ALIGN; what is larger is not kept */
  MOST_KEPT = 2 << 20, /* bytes */
};

/* The sanitizers see what is used after it is freed only when it is. */
#if defined __SANITIZE_ADDRESS__
#define KEEPS false
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define KEEPS false
#endif
#endif
#ifndef KEEPS
#define KEEPS true
#endif

static size_t class_of(size_t bytes) { return bytes ? (bytes - 1) / MW_ALIGN : 0; }

void *mw_block_new(mw_blocks *blocks, size_t bytes) {
  size_t class = class_of(bytes);
  struct mw_kept_block *block = class < CLASSES ? blocks->kept[class] : NULL;
  if (!block) return aligned_alloc(MW_ALIGN, (class + 1) * MW_ALIGN);
  blocks->kept[class] = block->next;
  blocks->bytes -= (class + 1) * MW_ALIGN;
  return block;
}

void mw_block_free(mw_blocks *blocks, void *memory, size_t bytes) {
  size_t class = class_of(bytes), held = (class + 1) * MW_ALIGN;
  struct mw_kept_block *block = memory;
  if (!KEEPS || class >= CLASSES || blocks->bytes + held > MOST_KEPT) {
    free(memory);
    return;
  }
  block->next = blocks->kept[class];
  blocks->kept[class] = block;
  blocks->bytes += held;
}

void mw_blocks_clear(mw_blocks *blocks) {
  for (size_t i = 0; i < CLASSES; i++)
    for (struct mw_kept_block *block = blocks->kept[i], *next; block; block = next) {
      next = block->next;
      free(block);
    }
  *blocks = (mw_blocks){.bytes = 0};
}
