/* processors.c: how many processors there are for this process. */
#define _GNU_SOURCE /* sched_getaffinity */
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pool.h"

/* Opens cpu.max of the control group (version 2) that this process is in, or returns NULL. */
static FILE *open_quota(void) {
  char line[512], path[640];
  FILE *groups = fopen("/proc/self/cgroup", "re");
  bool found = false;
  while (groups && !found && fgets(line, sizeof line, groups)) {
    line[strcspn(line, "\n")] = '\0';
    found = strncmp(line, "0::", 3) == 0;
  }
  if (groups) fclose(groups);
  if (!found) return NULL;
  snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", line + 3);
  return fopen(path, "re");
}

/* The group's quota, as a number of processors. */
static int quota(void) {
  long long share = 0, period = 0;
  FILE *file = open_quota();
  if (!file) return INT_MAX;
  const bool limited = fscanf(file, "%lld %lld", &share, &period) == 2; /* else it says "max" */
  fclose(file);
  if (!limited || share < 1 || period < 1) return INT_MAX;
  const long long processors = (share - 1) / period + 1;
  return processors < INT_MAX ? (int)processors : INT_MAX;
}

int mw_processors(void) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
  if (n < 1) n = (int)sysconf(_SC_NPROCESSORS_ONLN); /* more than a cpu_set_t has room for */
  const int most = quota();
  return n < 1 ? 1 : n < most ? n : most;
}
