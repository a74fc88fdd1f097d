/* crashes.c: does not survive its registration. */
#include "hostile.h"

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin UNUSED) {
  if (host->accept(plugin, MW_ABI, MW_VERSION)) return MW_FAILED;
  *(volatile int *)(uintptr_t)host->abi = 1;
  return MW_OK;
}
