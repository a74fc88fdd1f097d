/* gate.c: core.gate_*: guarded runs of kernels, and processes in which they run. */
#include "../plugins/gate.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "face.h"

/* ---- in the process that tests --------------------------------------------------------------- */

enum { PATIENCE = 4 }; /* times the seconds that a process may take */

static mw_note *note;      /* shared with the process that waits; NULL in any other */
static int to_parent = -1; /* a pipe */

/* core.gate_say(text): what the waiting process receives */
static int gate_say(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  while (length > 0) {
    const ssize_t n = write(to_parent, text, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return face_error(L, "gate: nobody waits for what is found");
    text += n;
    length -= (size_t)n;
  }
  return 0;
}

/* core.gate_note(doing): what is tried, should the process die of it */
static int gate_note(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  if (note) snprintf(note->doing, sizeof note->doing, "%s", text);
  return 0;
}

static unsigned char field_byte(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  const lua_Integer value = luaL_optinteger(L, -1, 0);
  lua_pop(L, 1);
  return (unsigned char)value;
}

static bool field_flag(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  const bool flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

/* core.gate_run({y, ...}, {op = "relu", outputs = 255, scratch = 0, slack = 0, at_end = true,
 * starved = false, workers = 1}) -> the results, how many calls were looked at, the kernel's name.
 * The tensors themselves stay without a value. */
static int gate_run(lua_State *L) {
  mw_context *ctx = face_context(L);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  const int n = (int)lua_rawlen(L, 1);
  mw_tensor **tensors = lua_newuserdatauv(L, 2 * (size_t)n * sizeof *tensors + 1, 0);
  mw_tensor **results = tensors + n;
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 1, i + 1);
    tensors[i] = face_check(L, -1, "gate_run");
    lua_pop(L, 1);
  }
  lua_getfield(L, 2, "op"); /* stays on the stack for as long as the text is needed */
  const mw_gate gate = {.op = lua_tostring(L, -1),
                        .outputs = field_byte(L, "outputs"),
                        .scratch = field_byte(L, "scratch"),
                        .slack = field_byte(L, "slack"),
                        .at_end = field_flag(L, "at_end"),
                        .starved = field_flag(L, "starved"),
                        .workers = field_byte(L, "workers"),
                        .note = note};
  int calls = 0;
  const char *kernel = NULL;
  if (mw_gate_run(ctx, &gate, n, tensors, results, &calls, &kernel)) return face_raise(L);
  lua_createtable(L, n, 0);
  for (int i = 0; i < n; i++) {
    face_push(L, results[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushinteger(L, calls);
  lua_pushstring(L, kernel);
  return 3;
}

/* core.gate_flags(op) -> whether two equal calls may differ, and whether it is a view */
static int gate_flags(lua_State *L) {
  const unsigned flags = face_check_op(L, 1, "gate_flags")->flags;
  lua_pushboolean(L, flags & MW_IMPURE);
  lua_pushboolean(L, flags & MW_VIEW);
  return 2;
}

/* core.gate_forget(): the next calls of ops ask their infer again */
static int gate_forget(lua_State *L) {
  mw_gate_forget(face_context(L));
  return 0;
}

/* core.gate_abi(path) -> the ABI's number and the version that a plugin was built against */
static int gate_abi(lua_State *L) {
  uint32_t abi;
  char version[64];
  if (mw_gate_abi(face_context(L), face_check_text(L, 1, "gate_abi", "the path"), &abi, version))
    return face_raise(L);
  lua_pushinteger(L, abi);
  lua_pushstring(L, version);
  return 2;
}

/* core.gate_sanitized() -> whether this is a build for the address sanitizer, whose malloc() cannot
 * be made to fail */
static int gate_sanitized(lua_State *L) {
  lua_pushboolean(L, FACE_SANITIZED);
  return 1;
}

/* core.hash(text) -> FNV-1a of 64 bits (Fowler, Noll and Vo) */
static int hash(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  uint64_t h = UINT64_C(0xCBF29CE484222325);
  for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)text[i]) * UINT64_C(0x100000001B3);
  lua_pushinteger(L, (lua_Integer)h);
  return 1;
}

/* ---- starting such a process ----------------------------------------------------------------- */

static int do_job(lua_State *L) {
  luaL_openlibs(L);
  luaL_requiref(L, "moonwalk", luaopen_moonwalk, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "moonwalk.gate.checks");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "run");
  lua_pushstring(L, lua_touserdata(L, 1));
  lua_call(L, 1, 0);
  return 0;
}

/* The child's work is done by a thread that was not there at the fork: of the parent's threads only
 * the one that forked goes on, and a library that a plugin uses (OpenMP) may wait for the others. */
static void *child(void *job) {
  mw_guard_listen(note);
  lua_State *L = luaL_newstate();
  int status = L ? LUA_OK : LUA_ERRMEM;
  if (L) {
    lua_pushcfunction(L, do_job);
    lua_pushlightuserdata(L, job);
    status = lua_pcall(L, 1, 0, 0);
  }
  if (status != LUA_OK && !note->fault[0])
    snprintf(note->fault, sizeof note->fault, "%s", L ? lua_tostring(L, -1) : "out of memory");
  fflush(NULL);
  _exit(status == LUA_OK ? 0 : 2);
}

static void become_child(int pipe_end, const char *job, double seconds) {
  static const struct rlimit none = {0, 0};
  pthread_t thread;
  to_parent = pipe_end;
  signal(SIGINT, SIG_DFL);
  signal(SIGPIPE, SIG_IGN);
  setrlimit(RLIMIT_CORE, &none);
  dup2(STDERR_FILENO, STDOUT_FILENO);        /* what a kernel prints is no result */
  alarm((unsigned)(PATIENCE * seconds + 2)); /* should the parent be gone */
  if (pthread_create(&thread, NULL, child, (void *)(uintptr_t)job)) _exit(3);
  for (;;) pause();
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile sig_atomic_t stopped; /* by Ctrl-C */
static struct sigaction outer;        /* what that does otherwise, and does too */

static void on_stop(int signal_number) {
  stopped = 1;
  if (outer.sa_handler != SIG_IGN) outer.sa_handler(signal_number);
}

/* Where Ctrl-C ends the program, it still does. */
static bool begin_to_listen(void) {
  struct sigaction action = {.sa_handler = on_stop};
  stopped = 0;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, NULL, &outer);
  return outer.sa_handler != SIG_DFL && sigaction(SIGINT, &action, NULL) == 0;
}

static void end_to_listen(void) {
  struct sigaction now;
  sigaction(SIGINT, NULL, &now); /* unless what was called has put another in its place */
  if (now.sa_handler == on_stop) sigaction(SIGINT, &outer, NULL);
}

/* Seconds of a processor that a process has had. */
static double processor_time(pid_t pid) {
  clockid_t clock;
  struct timespec t;
  if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return INFINITY;
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Reads until a process has closed the other end; false when its time is over, or by Ctrl-C. On a
 * machine that has more to do the process may take longer, as long as it is given its turns. */
static bool read_all(int handle, pid_t pid, double seconds, luaL_Buffer *buffer) {
  const double start = now();
  double end = start + seconds;
  while (!stopped) {
    double left = end - now();
    if (left <= 0) {
      left = fmin(seconds - processor_time(pid), start + PATIENCE * seconds - end);
      end += fmax(left, 0);
    }
    struct pollfd one = {.fd = handle, .events = POLLIN};
    const int ready = left > 0 ? poll(&one, 1, (int)(1000 * left) + 1) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    char *space = luaL_prepbuffsize(buffer, 4096);
    const ssize_t n = read(handle, space, 4096);
    if (n <= 0) return true;
    luaL_addsize(buffer, (size_t)n);
  }
  return false;
}

static void set_text(lua_State *L, const char *key, const char *text) {
  if (!*text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

static const char *signal_name(int number) {
  switch (number) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    case SIGABRT: return "SIGABRT";
    case SIGKILL: return "SIGKILL";
    case SIGTRAP: return "SIGTRAP";
    default: return strsignal(number);
  }
}

static void push_end(lua_State *L, const mw_note *end, bool in_time, int status) {
  lua_createtable(L, 0, 7);
  set_text(L, "op", end->op);
  set_text(L, "doing", end->doing);
  set_text(L, "fault", end->fault);
  lua_pushboolean(L, !in_time);
  lua_setfield(L, -2, "late");
  if (WIFSIGNALED(status)) {
    lua_pushinteger(L, WTERMSIG(status));
    lua_setfield(L, -2, "signal");
    set_text(L, "signal_name", signal_name(WTERMSIG(status)));
  } else {
    lua_pushinteger(L, WEXITSTATUS(status));
    lua_setfield(L, -2, "status");
  }
}

/* core.gate_child(job, seconds) -> what it said, how it ended: {signal, signal_name, status, late,
 * op, doing, fault}. The job is done in a process of its own, by moonwalk.gate.checks. Ctrl-C ends
 * it, with an error. */
static int gate_child(lua_State *L) {
  const char *job = luaL_checkstring(L, 1);
  const double seconds = luaL_checknumber(L, 2);
  int ends[2];
  luaL_Buffer buffer;
  mw_note *shared =
      mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return face_error(L, "gate: out of memory");
  if (pipe(ends)) {
    munmap(shared, sizeof *shared);
    return face_error(L, "gate: %s", strerror(errno));
  }
  fflush(NULL);
  const pid_t pid = fork();
  if (pid == 0) {
    note = shared;
    close(ends[0]);
    become_child(ends[1], job, seconds);
  }
  const int problem = errno;
  close(ends[1]);
  bool in_time = false;
  int status = 0;
  luaL_buffinit(L, &buffer);
  if (pid > 0) {
    const bool listens = begin_to_listen();
    in_time = read_all(ends[0], pid, seconds, &buffer);
    if (!in_time) kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (listens) end_to_listen();
  }
  luaL_pushresult(&buffer);
  close(ends[0]);
  const mw_note end = *shared;
  munmap(shared, sizeof *shared);
  if (pid < 0) return face_error(L, "gate: no process can be started: %s", strerror(problem));
  /* The other process may have had it first. */
  if (stopped || (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT))
    return face_error(L, "interrupted");
  push_end(L, &end, in_time, status);
  return 2;
}

static const luaL_Reg functions[] = {
    {"gate_abi", gate_abi},
    {"gate_child", gate_child},
    {"gate_flags", gate_flags},
    {"gate_forget", gate_forget},
    {"gate_note", gate_note},
    {"gate_run", gate_run},
    {"gate_sanitized", gate_sanitized},
    {"gate_say", gate_say},
    {"hash", hash},
    {NULL, NULL},
};

void face_open_gate(lua_State *L) { luaL_setfuncs(L, functions, 0); }
