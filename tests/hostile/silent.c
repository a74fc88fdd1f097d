/* silent.c: fails without a reason. */
#include "hostile.h"

MW_EXPORT mw_status moonwalk_plugin(const mw_host *host, mw_plugin *plugin);
mw_status moonwalk_plugin(const mw_host *host UNUSED, mw_plugin *plugin UNUSED) {
  return MW_FAILED;
}
