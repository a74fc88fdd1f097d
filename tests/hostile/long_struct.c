/* long_struct.c: says that its op struct is longer than this host knows. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_long")};

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin) {
  return host->register_op(plugin, &op, (size_t)1 << 40, MW_F32);
}
