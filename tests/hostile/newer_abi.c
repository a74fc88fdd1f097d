/* newer_abi.c: was built against a header that is newer than the host. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_newer")};

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin) {
  if (host->accept(plugin, MW_ABI + 1, "99.0")) return MW_FAILED;
  return host->register_op(plugin, &op, sizeof op, MW_F32);
}
