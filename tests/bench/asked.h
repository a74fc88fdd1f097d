/* asked.h: a process that measures for `make bench` and is asked by lines of its input, in C. See
 * ours.lua for what it is asked and answers. */
#ifndef ASKED_H
#define ASKED_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A workload: its name, and what makes it ready and does it once. */
typedef struct work {
  const char *name;
  void (*setup)(const struct work *work);
  void (*run)(void);
  int sizes[4];
} work;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Numbers without meaning, none of them so small that arithmetic becomes slow. */
static float *filled(size_t count) {
  float *x = aligned_alloc(64, (count * sizeof *x + 63) / 64 * 64);
  if (!x) exit(1);
  for (size_t i = 0; i < count; i++) x[i] = (float)(i * 7 % 13) / 13 - 0.5F;
  return x;
}

/* A fifth of the time is spent before what counts: the other program had the caches. */
static double rate_of(void (*run)(void), double seconds) {
  double start = now(), spent;
  do run();
  while (now() - start < 0.2 * seconds);
  int calls = 0;
  start = now();
  do {
    run();
    calls++;
    spent = now() - start;
  } while (spent < seconds);
  return calls / spent;
}

static void answer_all(const work *works, const char *version) {
  const work *ready = NULL;
  char line[256], verb[16], name[64];
  double seconds;
  printf("{\"ready\": true, \"version\": \"%s\"}\n", version);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) && strcmp(line, "quit\n") != 0) {
    const work *w = works;
    if (sscanf(line, "%15s %63s %lf", verb, name, &seconds) < 2) verb[0] = '\0';
    while (w->name && strcmp(w->name, name) != 0) w++;
    if (!verb[0] || !w->name) {
      printf("{\"error\": \"unknown\"}\n");
    } else {
      if (ready != w) w->setup(w);
      ready = w;
      if (strcmp(verb, "round") == 0) printf("{\"rate\": %.9g}\n", rate_of(w->run, seconds));
      else printf("{\"done\": true}\n");
    }
    fflush(stdout);
  }
}

#endif
