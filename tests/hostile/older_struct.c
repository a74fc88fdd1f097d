/* older_struct.c: not hostile but old. Its op struct ends before `workspace`; it must work. */
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

static const mw_op op = {GOOD_OP("old_copy")};

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin) {
  size_t size = offsetof(mw_op, workspace);
  void *shorter = malloc(size); /* of this size, so that a sanitizer sees who reads too far */
  if (!shorter) return MW_FAILED;
  memcpy(shorter, &op, size);
  mw_status status = host->register_op(plugin, shorter, size, MW_F32);
  free(shorter);
  return status;
}
