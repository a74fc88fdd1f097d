/* short_struct.c: says that its op struct is shorter than any ever was. */
#include "hostile.h"

static const mw_op op = {GOOD_OP("hostile_short")};

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin) {
  return host->register_op(plugin, &op, 8, MW_F32);
}
