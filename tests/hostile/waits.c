/* waits.c: never comes back from its registration. */
#include "hostile.h"

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin) {
  if (host->accept(plugin, MW_ABI, MW_VERSION)) return MW_FAILED;
  for (volatile const uint32_t *abi = &host->abi; *abi;) continue;
  return MW_OK;
}
