/* guard.c: memory between pages that nobody may touch, and what a signal has to say about it. */
#define _GNU_SOURCE /* REG_ERR */
#include "guard.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

/* Wide, so that a stride which is wrong still ends in it. It costs addresses, no memory. */
#define ZONE ((size_t)1 << 20)
#define ALIGN ((size_t)64) /* what kernels are promised */

bool mw_guard_new(mw_guard *g, const char *name, size_t bytes, bool at_end, unsigned char slack) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  *g = (mw_guard){.bytes = bytes, .slack = slack};
  snprintf(g->name, sizeof g->name, "%s", name);
  g->body_bytes = (bytes / page + 1) * page;
  g->map_bytes = g->body_bytes + 2 * ZONE;
  void *map = mmap(NULL, g->map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (map == MAP_FAILED) return false;
  g->map = map;
  g->body = g->map + ZONE;
  if (mprotect(g->body, g->body_bytes, PROT_READ | PROT_WRITE)) return mw_guard_free(g), false;
  memset(g->body, slack, g->body_bytes);
  g->data = g->body;
  if (at_end) g->data += g->body_bytes - (bytes + ALIGN - 1) / ALIGN * ALIGN;
  return true;
}

void mw_guard_read_only(const mw_guard *g) { mprotect(g->body, g->body_bytes, PROT_READ); }

void mw_guard_free(mw_guard *g) {
  if (g->map) munmap(g->map, g->map_bytes);
  g->map = NULL;
}

static bool is_filled(const char *from, const char *to, unsigned char byte) {
  for (; from < to; from++)
    if ((unsigned char)*from != byte) return false;
  return true;
}

const char *mw_guard_damage(const mw_guard *g, char *text, size_t room) {
  const char *place = NULL;
  if (!is_filled(g->data + g->bytes, g->body + g->body_bytes, g->slack)) place = "past the end of";
  else if (!is_filled(g->body, g->data, g->slack)) place = "before the start of";
  if (place) snprintf(text, room, "%s %s", place, g->name);
  return place ? text : NULL;
}

/* ---- signals: nothing here may allocate or lock --------------------------------------------- */

static mw_note *note;
static const mw_guard *watched;
static int n_watched;
static char stack[1 << 16];

void mw_guard_watch(const mw_guard *guards, int n) {
  n_watched = 0;
  watched = guards;
  n_watched = n;
}

static void add(const char *text) {
  const size_t length = strlen(note->fault), more = strlen(text);
  if (length + more < sizeof note->fault) memcpy(note->fault + length, text, more + 1);
}

static void add_address(uintptr_t address) {
  char text[2 + 2 * sizeof address + 1] = "0x", *at = text + 2;
  int shift = 8 * (int)sizeof address - 4;
  while (shift > 0 && !(address >> shift)) shift -= 4;
  for (; shift >= 0; shift -= 4) *at++ = "0123456789abcdef"[address >> shift & 15];
  *at = '\0';
  add(text);
}

/* "wrote" or "read" where the processor says so. */
static const char *verb(const ucontext_t *context) {
#if defined __x86_64__
  return context->uc_mcontext.gregs[REG_ERR] & 2 ? "wrote" : "read";
#else
  (void)context;
  return "read or wrote";
#endif
}

static bool is_near_stack(const ucontext_t *context, uintptr_t address) {
#if defined __x86_64__
  const uintptr_t top = (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
  return address > top - 65536 && address < top + 65536;
#else
  return (void)context, (void)address, false;
#endif
}

static void say_address(const ucontext_t *context, uintptr_t address) {
  for (int i = 0; i < n_watched; i++) {
    const mw_guard *g = &watched[i];
    if (!g->map || address < (uintptr_t)g->map || address >= (uintptr_t)g->map + g->map_bytes)
      continue;
    add("it ");
    add(verb(context));
    if (address >= (uintptr_t)g->data + g->bytes) add(" past the end of ");
    else if (address < (uintptr_t)g->data) add(" before the start of ");
    else add(" to its input ");
    add(g->name);
    return;
  }
  if (is_near_stack(context, address)) {
    add("its stack is full: does a function call itself?");
    return;
  }
  add("it ");
  add(verb(context));
  add(" at the address ");
  add_address(address);
  if (address < 65536) add(": what is absent, or not wanted, is NULL");
}

static void on_signal(int number, siginfo_t *info, void *context) {
  if (note && !note->fault[0]) {
    if (number == SIGSEGV || number == SIGBUS) say_address(context, (uintptr_t)info->si_addr);
    if (number == SIGFPE) add("an integer was divided by zero");
    if (number == SIGILL) add("it came to an instruction that this processor does not have");
    if (number == SIGABRT) add("it called abort, or failed an assertion");
  }
  signal(number, SIG_DFL);
  raise(number);
}

void mw_guard_listen(mw_note *shared) {
  static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
  const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  note = shared;
  sigemptyset(&action.sa_mask);
  sigaltstack(&alternative, NULL);
  for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
    sigaction(signals[i], &action, NULL);
}
