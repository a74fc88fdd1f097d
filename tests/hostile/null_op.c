/* null_op.c: registers nothing at all, as an op. */
#include "hostile.h"

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin) {
  return host->register_op(plugin, NULL, sizeof(mw_op), MW_F32);
}
