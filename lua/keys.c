/* keys.c: the keyboard of the terminal that standard input is: keys by their names, waiting for one
 * while something else is done, and a terminal that is left as it was found. */
#include "keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "face.h"
#include "interrupt.h"

/* ---- a terminal that is left as it was found --------------------------------------------- */

static struct termios found;             /* when the guard was switched on */
static volatile sig_atomic_t guards;     /* how often it was */
static volatile sig_atomic_t bracketing; /* pasted text is marked */
static volatile sig_atomic_t resumed;
static struct sigaction unguarded[NSIG];
static const int guarded[] = {SIGTSTP, SIGTERM, SIGHUP, SIGQUIT};
enum { N_GUARDED = sizeof guarded / sizeof guarded[0] };

static void write_terminal(const char *text) {
  if (write(STDOUT_FILENO, text, strlen(text)) < 0) return; /* nobody is left to tell */
}

static const char mark_pastes[] = "\033[?2004h", no_marks[] = "\033[?2004l";

static void put_back(void) {
  if (!guards) return;
  if (bracketing) write_terminal(no_marks);
  tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
}

/* Lets a signal do what it does otherwise, here and now. */
static void deliver(int signal_number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal_number);
  sigaction(signal_number, &unguarded[signal_number], NULL);
  raise(signal_number);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void wake(void);

static void on_guarded(int signal_number) {
  const int error = errno;
  struct termios now;
  const bool known = tcgetattr(STDIN_FILENO, &now) == 0;
  struct sigaction mine;
  sigaction(signal_number, NULL, &mine);
  put_back();
  deliver(signal_number);
  /* Here the process goes on after it was stopped. */
  sigaction(signal_number, &mine, NULL);
  if (known) tcsetattr(STDIN_FILENO, TCSADRAIN, &now);
  if (bracketing) write_terminal(mark_pastes);
  resumed = 1;
  wake();
  errno = error;
}

void keys_guard(bool on) {
  static bool at_exit;
  if (!on) {
    if (guards && --guards == 0)
      for (int i = 0; i < N_GUARDED; i++) sigaction(guarded[i], &unguarded[guarded[i]], NULL);
    return;
  }
  if (guards++) return;
  tcgetattr(STDIN_FILENO, &found);
  if (!at_exit) at_exit = atexit(put_back) == 0; /* os.exit from anywhere */
  for (int i = 0; i < N_GUARDED; i++) {
    struct sigaction action = {.sa_handler = on_guarded, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(guarded[i], NULL, &unguarded[guarded[i]]);
    if (unguarded[guarded[i]].sa_handler != SIG_IGN) sigaction(guarded[i], &action, NULL);
  }
}

void keys_bracket_paste(bool on) {
  bracketing = on;
  write_terminal(on ? mark_pastes : no_marks);
}

/* ---- waiting ----------------------------------------------------------------------------- */

/* A signal that comes just before poll() would be missed; a byte in a pipe is not. */
static int waker[2] = {-1, -1};
static volatile sig_atomic_t interrupted, resized, idling;
static struct sigaction interrupt_before, resize_before;
static bool begun;

static void wake(void) {
  if (waker[1] >= 0 && write(waker[1], "", 1) < 0) return; /* full: it wakes all the same */
}

/* While other work is done, the second one does what it did before that: the first may find an
 * endless loop. */
static void on_interrupt(int signal_number) {
  const int error = errno;
  if (interrupted && idling) {
    if (interrupt_before.sa_handler == SIG_DFL) {
      put_back();
      signal(signal_number, SIG_DFL);
      raise(signal_number);
    } else if (interrupt_before.sa_handler != SIG_IGN) {
      interrupt_before.sa_handler(signal_number);
    }
  }
  interrupted = 1;
  wake();
  errno = error;
}

static void on_resize(int signal_number) {
  (void)signal_number;
  const int error = errno;
  resized = 1;
  wake();
  errno = error;
}

bool keys_begin(void) {
  if (begun) return errno = EBUSY, false; /* what was before would be lost */
  if (waker[0] < 0) {
    if (pipe(waker) != 0) return false;
    for (int i = 0; i < 2; i++) {
      fcntl(waker[i], F_SETFD, FD_CLOEXEC);
      fcntl(waker[i], F_SETFL, O_NONBLOCK);
    }
  }
  interrupted = interrupt_was_kept();
  resized = resumed = 0;
  struct sigaction interrupt = {.sa_handler = on_interrupt};
  struct sigaction resize = {.sa_handler = on_resize, .sa_flags = SA_RESTART}; /* not so poll() */
  sigemptyset(&interrupt.sa_mask);
  sigemptyset(&resize.sa_mask);
  sigaction(SIGINT, &interrupt, &interrupt_before);
  sigaction(SIGWINCH, &resize, &resize_before);
  begun = true;
  return true;
}

void keys_end(void) {
  begun = false;
  sigaction(SIGINT, &interrupt_before, NULL);
  sigaction(SIGWINCH, &resize_before, NULL);
  if (interrupted) raise(SIGINT); /* behind the last wait: it is for whoever listens now */
}

static bool take(volatile sig_atomic_t *flag) {
  const bool was = *flag;
  *flag = 0;
  return was;
}

/* Milliseconds until the next step, -1 for none. */
static int idle_step(keys_idle *idle) {
  idling = 1;
  const double seconds = idle->step(idle->arg);
  idling = 0;
  return seconds < 0 ? -1 : seconds > 3600 ? 3600 * 1000 : (int)(seconds * 1000);
}

keys_event keys_wait(int milliseconds, keys_idle *idle) {
  int pause = idle ? 0 : -1;
  for (;;) {
    if (take(&interrupted)) return KEYS_INTERRUPTED;
    if (take(&resumed)) return KEYS_RESUMED;
    if (take(&resized)) return KEYS_RESIZED;
    struct pollfd from[] = {{STDIN_FILENO, POLLIN, 0}, {waker[0], POLLIN, 0}};
    const int n = poll(from, waker[0] >= 0 ? 2 : 1, pause >= 0 ? pause : milliseconds);
    if (n > 0 && from[1].revents) {
      char bytes[64];
      while (read(waker[0], bytes, sizeof bytes) > 0) {
      }
      continue;
    }
    if (n > 0) return KEYS_READY;
    if (n < 0 && errno != EINTR) return KEYS_READY; /* reading will tell */
    if (n == 0 && pause < 0) return KEYS_NONE;
    if (n == 0) pause = idle_step(idle);
    if (n == 0 && idle->leave) return KEYS_NONE;
  }
}

bool keys_waiting(void) {
  struct pollfd from = {STDIN_FILENO, POLLIN, 0};
  return poll(&from, 1, 0) > 0;
}

void keys_forget_interrupt(void) { interrupted = 0; }

/* ---- reading ----------------------------------------------------------------------------- */

enum { NO_BYTE = -1, NO_MORE = -2 };
/* An escape sequence comes in one piece, but over a slow line. Escape alone is a key, too. */
enum { ESCAPE_MS = 60, SEQUENCE_MS = 500, PASTE_MS = 3000 };

static int next_byte(int milliseconds) {
  for (;;) {
    struct pollfd from = {STDIN_FILENO, POLLIN, 0};
    const int n = poll(&from, 1, milliseconds);
    if (n == 0) return NO_BYTE;
    unsigned char byte;
    const ssize_t got = n < 0 ? -1 : read(STDIN_FILENO, &byte, 1);
    if (got == 1) return byte;
    if (got == 0 || errno != EINTR) return NO_MORE;
  }
}

typedef struct sequence_name {
  int number, letter; /* ESC [ number ~, or ESC [ letter and ESC O letter */
  const char *name;
} sequence_name;
static const sequence_name sequence_names[] = {
    {0, 'A', "up"},      {0, 'B', "down"},     {0, 'C', "right"},   {0, 'D', "left"},
    {0, 'H', "home"},    {0, 'F', "end"},      {0, 'Z', "backtab"}, {0, 'M', "enter"},
    {1, '~', "home"},    {2, '~', "insert"},   {3, '~', "delete"},  {4, '~', "end"},
    {5, '~', "pageup"},  {6, '~', "pagedown"}, {7, '~', "home"},    {8, '~', "end"},
    {200, '~', "paste"},
};

/* Behind ESC [: numbers, and a letter. The second number tells of Shift, Alt and Ctrl. */
static void read_sequence(keys_key *key) {
  int numbers[2] = {0, 0}, n = 0, byte;
  while ((byte = next_byte(SEQUENCE_MS)) >= 0) {
    if (byte >= '0' && byte <= '9' && n < 2 && numbers[n] < 1000)
      numbers[n] = numbers[n] * 10 + byte - '0';
    else if (byte == ';') n++;
    else if (byte == '[' && n == 0 && numbers[0] == 0) {
      next_byte(SEQUENCE_MS); /* function keys of the Linux console */
      return;
    } else if (byte >= '@' && byte <= '~') break;
  }
  const int held = numbers[1] > 1 ? numbers[1] - 1 : 0; /* 1 Shift, 2 Alt, 4 Ctrl */
  for (size_t i = 0; i < sizeof sequence_names / sizeof sequence_names[0]; i++) {
    const sequence_name *each = &sequence_names[i];
    if (each->letter != byte || (byte == '~' && each->number != numbers[0])) continue;
    snprintf(key->name, sizeof key->name, "%s%s",
             held & 4   ? "ctrl-"
             : held & 2 ? "alt-"
                        : "",
             each->name);
  }
}

/* Whether a terminal's answer to a question that nobody waits for began with ESC and that byte: it
 * is passed over. */
static bool skip_answer(int first) {
  if (first != ']' && first != 'P' && first != '_') return false;
  int before = 0, byte = next_byte(0); /* a key has nothing behind it */
  if (byte < 0) return false;
  for (; byte >= 0 && byte != '\a' && !(before == '\033' && byte == '\\');
       byte = next_byte(SEQUENCE_MS))
    before = byte;
  return true;
}

/* A character of several bytes, whose first one is there; a byte that begins none stands for
 * itself. */
static void read_character(keys_key *key, int first) {
  mbstate_t state = {0};
  size_t n = 0;
  for (int byte = first; byte >= 0 && n < MB_LEN_MAX; byte = next_byte(SEQUENCE_MS)) {
    wchar_t character;
    key->name[n++] = (char)byte;
    if (mbrtowc(&character, &key->name[n - 1], 1, &state) != (size_t)-2) break;
  }
  key->name[n] = '\0';
}

static void read_escape(keys_key *key) {
  const int byte = next_byte(ESCAPE_MS);
  if (skip_answer(byte)) return;
  if (byte < 0) {
    strcpy(key->name, "escape");
  } else if (byte == '[') {
    read_sequence(key);
  } else if (byte == 'O') {
    const int letter = next_byte(ESCAPE_MS);
    if (letter < 0) strcpy(key->name, "alt-O");
    for (size_t i = 0; i < sizeof sequence_names / sizeof sequence_names[0]; i++)
      if (letter > 0 && letter != '~' && sequence_names[i].letter == letter)
        strcpy(key->name, sequence_names[i].name);
  } else if (byte == '\r' || byte == '\n') {
    strcpy(key->name, "alt-enter");
  } else if (byte == 127 || byte == '\b') {
    strcpy(key->name, "alt-backspace");
  } else if (byte == '\033') {
    strcpy(key->name, "escape");
  } else if (byte > ' ' && byte < 127) {
    snprintf(key->name, sizeof key->name, "alt-%c", byte);
  } else if (byte > 127) { /* Alt and a letter such as é, for nothing: no byte of it may be left */
    read_character(&(keys_key){0}, byte);
  }
}

bool keys_read(keys_key *key) {
  *key = (keys_key){0};
  const int byte = next_byte(-1);
  if (byte < 0) return false;
  if (byte == '\033') read_escape(key);
  else if (byte == '\r' || byte == '\n') strcpy(key->name, "enter");
  else if (byte == '\t') strcpy(key->name, "tab");
  else if (byte == 127 || byte == '\b') strcpy(key->name, "backspace");
  else if (byte == 0) strcpy(key->name, "ctrl-space");
  else if (byte <= 26) snprintf(key->name, sizeof key->name, "ctrl-%c", 'a' + byte - 1);
  else if (byte < ' ') snprintf(key->name, sizeof key->name, "ctrl-%c", '@' + byte);
  else read_character(key, byte);
  return true;
}

char *keys_read_pasted(size_t *length) {
  static const char mark[] = "\033[201~";
  const size_t n_mark = sizeof mark - 1;
  size_t n = 0, room = 256;
  char *text = malloc(room);
  for (int byte; text && (byte = next_byte(PASTE_MS)) >= 0;) {
    if (n + 1 >= room) {
      char *larger = realloc(text, room *= 2);
      if (!larger) free(text);
      if (!(text = larger)) return NULL;
    }
    text[n++] = (char)byte;
    if (n < n_mark || memcmp(text + n - n_mark, mark, n_mark) != 0) continue;
    n -= n_mark;
    break;
  }
  *length = n;
  return text;
}

/* ---- for Lua ----------------------------------------------------------------------------- */

/* core.key_typed() -> whether a key waits to be read */
static int key_typed(lua_State *L) {
  lua_pushboolean(L, isatty(STDIN_FILENO) && keys_waiting());
  return 1;
}

/* core.key_raw(on): keys come one by one, and are not shown; Ctrl-C and Ctrl-Z stay what they are.
 * -> whether it is so now: not where standard input is no terminal */
static int key_raw(lua_State *L) {
  static bool raw;
  const bool on = lua_toboolean(L, 1);
  if (on && !raw && isatty(STDIN_FILENO)) {
    keys_guard(true);
    struct termios wanted = found;
    wanted.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    wanted.c_cc[VMIN] = 1;
    wanted.c_cc[VTIME] = 0;
    raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &wanted) == 0;
    if (!raw) keys_guard(false);
  } else if (!on && raw) {
    tcsetattr(STDIN_FILENO, TCSADRAIN, &found);
    keys_guard(false);
    raw = false;
  }
  lua_pushboolean(L, raw);
  return 1;
}

/* core.key_read(seconds?) -> the next key's name; nil when none comes in that time, with "end"
 * where no more will come, or "interrupted" by Ctrl-C */
static int key_read(lua_State *L) {
  const lua_Number seconds = luaL_optnumber(L, 1, -1);
  fflush(stdout);
  if (!keys_begin()) return face_error(L, "prompt: %s", strerror(errno));
  keys_event event;
  do event = keys_wait(seconds < 0 ? -1 : (int)(1000 * (seconds < 1e6 ? seconds : 1e6)), NULL);
  while (event == KEYS_RESUMED);
  keys_key key;
  const bool read = event == KEYS_READY && keys_read(&key);
  keys_end();
  if (read) return lua_pushstring(L, key.name), 1;
  luaL_pushfail(L);
  if (event == KEYS_RESIZED) return lua_pushliteral(L, "resized"), 2;
  if (event == KEYS_NONE) return 1;
  if (event == KEYS_INTERRUPTED) lua_pushliteral(L, "interrupted");
  else lua_pushliteral(L, "end");
  return 2;
}

void face_open_keys(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"key_typed", key_typed}, {"key_raw", key_raw}, {"key_read", key_read}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
