/* interrupt.c: Ctrl-C while Lua code runs: it ends that code, in whichever coroutine it is, between
 * two ops or two instructions, and nothing else. */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>

#include "face.h"

enum { EVERYWHERE = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT };

static lua_State *volatile running; /* the thread that a signal interrupts */
static mw_context *context;
static interrupt_again then;
static volatile sig_atomic_t times; /* that it came */
static struct sigaction before;
static volatile sig_atomic_t kept; /* it came while nothing listened */

static bool insists(void) { return then == INTERRUPT_INSISTS && times > 1; }

static void raise_interrupt(lua_State *L, lua_Debug *frame) {
  (void)frame;
  if (!insists()) lua_sethook(L, NULL, 0, 0);
  face_error(L, "interrupted");
}

static void on_interrupt(int signal_number) {
  if (then == INTERRUPT_ENDS) signal(signal_number, SIG_DFL);
  times = then == INTERRUPT_INSISTS && times ? 2 : 1; /* a script may catch each of them */
  mw_interrupt(context);
  if (running) lua_sethook(running, raise_interrupt, EVERYWHERE, 1);
}

void interrupt_begin(lua_State *L, interrupt_again again) {
  struct sigaction action = {.sa_handler = on_interrupt};
  running = L;
  context = face_context(L);
  then = again;
  times = 0;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before);
}

void interrupt_end(lua_State *L) {
  sigaction(SIGINT, &before, NULL);
  running = NULL;
  lua_sethook(L, NULL, 0, 0);
  if (times) clearerr(stdout); /* output that was broken off is not a terminal that fails */
}

static void on_nothing_listens(int signal_number) {
  (void)signal_number;
  kept = 1;
}

void interrupt_keep(void) {
  struct sigaction action = {.sa_handler = on_nothing_listens, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
}

bool interrupt_was_kept(void) {
  const bool was = kept;
  kept = 0;
  return was;
}

/* ---- code that stops where it chooses ------------------------------------------------------ */

static volatile sig_atomic_t noted; /* since core.listen(true) */
static bool told;                   /* that it was */
static struct sigaction unlistened; /* what a SIGINT does otherwise */
static bool listening;

/* A second one does what it does otherwise, for a step that takes too long. */
static void note_interrupt(int signal_number) {
  noted = 1;
  sigaction(signal_number, &unlistened, NULL);
}

static void listen(bool on) {
  if (on == listening) return;
  listening = on;
  if (on) {
    struct sigaction action = {.sa_handler = note_interrupt, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    noted = 0;
    told = false;
    sigaction(SIGINT, NULL, &unlistened); /* before the handler may need it */
    sigaction(SIGINT, &action, NULL);
  } else {
    sigaction(SIGINT, &unlistened, NULL);
    if (noted && !told) raise(SIGINT); /* behind the last question */
  }
}

/* core.listen(on): from now on the first Ctrl-C only sets what core.interrupted() tells; or no
 * longer. -> whether it was on */
static int face_listen(lua_State *L) {
  const bool was = listening;
  listen(lua_toboolean(L, 1));
  lua_pushboolean(L, was);
  return 1;
}

/* core.interrupted() -> whether a Ctrl-C came since core.listen(true) */
static int face_interrupted(lua_State *L) {
  if (noted) told = true;
  lua_pushboolean(L, noted);
  return 1;
}

/* core.press_interrupt(): does what Ctrl-C does. While os.execute waits for a program, only that is
 * told. */
static int face_press_interrupt(lua_State *L) {
  (void)L;
  raise(SIGINT);
  return 0;
}

static void hold_back(bool on) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  pthread_sigmask(on ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static int go_on(lua_State *L, int status, lua_KContext listened) {
  (void)L, (void)status;
  listen(listened);
  hold_back(false);
  if (interrupt_was_kept()) raise(SIGINT);
  return 0;
}

/* core.stand(...): coroutine.yield(...), for code of a prompt's line that core.resume goes on with.
 * In between Ctrl-C is the prompt's, and then again this code's: one that comes while either passes
 * it on is held back until the other has it. */
static int face_stand(lua_State *L) {
  const bool listened = listening;
  if (lua_isyieldable(L)) {
    hold_back(true);
    listen(false);
  }
  return lua_yieldk(L, lua_gettop(L), listened, go_on);
}

/* ---- coroutines ---------------------------------------------------------------------------- */

/* A hook is one thread's, so that of a coroutine which runs inside of the code must be known. The
 * thread that runs now; returns the one before. */
static lua_State *enter(lua_State *thread) {
  lua_State *outer = running;
  if (!outer) return NULL; /* nothing is to be interrupted */
  running = thread;
  if (insists()) lua_sethook(thread, raise_interrupt, EVERYWHERE, 1);
  return outer;
}

static void leave(lua_State *outer, lua_State *thread) {
  if (!outer) return;
  running = outer;
  lua_sethook(thread, NULL, 0, 0);
  if (insists()) lua_sethook(outer, raise_interrupt, EVERYWHERE, 1);
}

/* coroutine.resume, which is the upvalue, for threads that can be interrupted. */
static int resume_thread(lua_State *L) {
  lua_State *thread = lua_tothread(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_State *outer = thread ? enter(thread) : NULL;
  int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  leave(outer, thread);
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

/* What coroutine.wrap returns is the upvalue 1, its thread 2. */
static int call_wrapped(lua_State *L) {
  lua_State *thread = lua_tothread(L, lua_upvalueindex(2));
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_State *outer = enter(thread);
  int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  leave(outer, thread);
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int wrap_function(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  if (!lua_getupvalue(L, -1, 1) || !lua_isthread(L, -1)) { /* another Lua's coroutine.wrap */
    lua_settop(L, 1);
    return 1;
  }
  lua_pushcclosure(L, call_wrapped, 2);
  return 1;
}

/* core.interruptible_coroutines(): coroutine.resume and coroutine.wrap note which thread runs. */
static int interruptible_coroutines(lua_State *L) {
  lua_getglobal(L, LUA_COLIBNAME);
  lua_getfield(L, -1, "resume");
  if (lua_tocfunction(L, -1) == resume_thread) return 0;
  lua_pushcclosure(L, resume_thread, 1);
  lua_setfield(L, -2, "resume");
  lua_getfield(L, -1, "wrap");
  lua_pushcclosure(L, wrap_function, 1);
  lua_setfield(L, -2, "wrap");
  return 0;
}

/* core.resume(thread, ...): coroutine.resume for the code of a prompt's line, which Ctrl-C ends
 * whatever it catches. */
static int resume_line(lua_State *L) {
  lua_State *thread = lua_tothread(L, 1);
  if (!thread) return face_error(L, "resume: expected a coroutine");
  const int n = lua_gettop(L) - 1;
  int results;
  if (!lua_checkstack(thread, n)) return face_error(L, "resume: too many arguments");
  lua_xmove(L, thread, n);
  const bool stands = lua_status(thread) == LUA_YIELD;
  hold_back(stands);
  interrupt_begin(thread, INTERRUPT_INSISTS);
  if (!stands && interrupt_was_kept()) on_interrupt(SIGINT);
  const int status = lua_resume(thread, L, n, &results);
  interrupt_end(thread);
  hold_back(false);
  const bool good = status == LUA_OK || status == LUA_YIELD;
  if (!lua_checkstack(L, results + 1)) {
    lua_pop(thread, results);
    return face_error(L, "resume: too many results");
  }
  lua_pushboolean(L, good);
  lua_xmove(thread, L, good ? results : 1);
  return good ? results + 1 : 2;
}

void face_open_interrupt(lua_State *L) {
  static const luaL_Reg functions[] = {{"interruptible_coroutines", interruptible_coroutines},
                                       {"resume", resume_line},
                                       {"stand", face_stand},
                                       {"listen", face_listen},
                                       {"interrupted", face_interrupted},
                                       {"press_interrupt", face_press_interrupt},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
