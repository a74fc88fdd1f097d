/* memory.c: whether the system has the memory for a large value. */
#include <stdio.h>
#include <string.h>

#include "internal.h"

/* Whether less is there is not asked: that takes some microseconds. */
enum { ASKED_FROM = 1 << 28 };

/* What can still be used, or SIZE_MAX where that is not known. Linux promises more than it has, and
 * kills who then uses it. */
static size_t available(void) {
  FILE *file = fopen("/proc/meminfo", "re");
  if (!file) return SIZE_MAX;
  char line[128];
  size_t kilobytes = 0, found = 0, n;
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, "MemAvailable: %zu kB", &n) == 1) found = 1;
    else if (sscanf(line, "SwapFree: %zu kB", &n) != 1) continue;
    kilobytes += n;
  }
  fclose(file);
  return found ? kilobytes * 1024 : SIZE_MAX;
}

bool mw_memory_has(size_t bytes) { return bytes < ASKED_FROM || bytes <= available(); }

static void write_size(char text[32], size_t bytes) {
  static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  double size = (double)bytes;
  int unit = 0;
  for (; size >= 1000; unit++) size /= 1000;
  snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", size, units[unit]);
}

mw_status mw_memory_lacks(mw_context *ctx, size_t bytes, const char *op, const mw_spec *spec) {
  char size[32], left[64] = "there is not that much memory",
                 what[MW_SPEC_TEXT] = "an intermediate value";
  if (spec) mw_spec_text(spec, what);
  write_size(size, bytes);
  const size_t usable = available();
  if (usable < bytes) {
    write_size(left, usable);
    strcat(left, " of memory are free");
  }
  return mw_set_error(ctx, "%s%s%s takes %s; %s", op ? op : "", op ? ": " : "", what, size, left);
}
