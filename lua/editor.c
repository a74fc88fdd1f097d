/* editor.c: a line that is typed and edited, by libedit where that is installed: it draws the line
 * and knows the keys that move and delete. All else that keys do (history, completion, what is
 * pasted) are functions in Lua: handlers of keys by their names; see moonwalk.prompt.input. */
#define _GNU_SOURCE /* wcwidth */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "face.h"
#include "keys.h"

/* ---- libedit, of which no header is needed ----------------------------------------------- */

typedef struct editline EditLine;
typedef struct LineInfoW {
  const wchar_t *buffer, *cursor, *lastchar;
} LineInfoW;
enum { EL_PROMPT = 0, EL_EDITOR = 2, EL_BIND = 4, EL_ADDFN = 9, EL_GETCFN = 13 }; /* histedit.h */
enum { EL_REFRESH = 20, EL_PROMPT_ESC = 21 };
enum { CC_EOF = 2, CC_REFRESH = 4 };

static struct {
  EditLine *(*init)(const char *, FILE *, FILE *, FILE *);
  const wchar_t *(*gets)(EditLine *, int *);
  int (*set)(EditLine *, int, ...);
  const LineInfoW *(*line)(EditLine *);
  int (*insert)(EditLine *, const wchar_t *);
  void (*delete_before)(EditLine *, int);
  int (*move)(EditLine *, int);
  void (*resize)(EditLine *);
} el;

static bool find_symbol(void *library, const char *name, void *function) {
  void *found = dlsym(library, name);
  memcpy(function, &found, sizeof found);
  return found;
}

static bool load_library(void) {
  static const char *const names[] = {"libedit.so.2", "libedit.so.0", "libedit.so"};
  void *library = NULL;
  for (int i = 0; !library && i < 3; i++) library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  return library && find_symbol(library, "el_init", &el.init) &&
         find_symbol(library, "el_wgets", &el.gets) && find_symbol(library, "el_wset", &el.set) &&
         find_symbol(library, "el_wline", &el.line) &&
         find_symbol(library, "el_winsertstr", &el.insert) &&
         find_symbol(library, "el_deletestr", &el.delete_before) &&
         find_symbol(library, "el_cursor", &el.move) &&
         find_symbol(library, "el_resize", &el.resize);
}

/* ---- wide characters --------------------------------------------------------------------- */

/* A byte that is no character of the locale is kept as a half of a surrogate pair. */
enum { STRAY = 0xDC00 };

static bool is_stray(wchar_t c) { return c >= STRAY + 0x80 && c <= STRAY + 0xFF; }

/* A text as wide characters, for the caller to free; NULL when memory is short. */
static wchar_t *widen(const char *text, size_t n, size_t *count) {
  wchar_t *wide = malloc((n + 1) * sizeof *wide);
  mbstate_t state = {0};
  *count = 0;
  for (size_t used; wide && n > 0; text += used, n -= used) {
    wchar_t c;
    used = mbrtowc(&c, text, n, &state);
    if (used == 0 || used > n || (c >= 0x80 && c <= 0xFF && !iswprint((wint_t)c))) {
      memset(&state, 0, sizeof state);
      used = 1;
      c = STRAY + (unsigned char)*text;
    }
    if (c != STRAY) wide[(*count)++] = c;
  }
  if (wide) wide[*count] = L'\0';
  return wide;
}

static void push_narrow(lua_State *L, const wchar_t *wide, const wchar_t *end) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  mbstate_t state = {0};
  for (; wide < end; wide++) {
    char bytes[MB_LEN_MAX];
    size_t n = 1;
    if (is_stray(*wide)) bytes[0] = (char)(*wide - STRAY);
    else n = wcrtomb(bytes, *wide, &state);
    if (n != (size_t)-1) luaL_addlstring(&buffer, bytes, n);
  }
  luaL_pushresult(&buffer);
}

/* ---- the editor -------------------------------------------------------------------------- */

/* The character that libedit is given for a key with a handler. */
enum { CALL = 0x1F, PROMPT_ESCAPE = 1, NOTE_KEY = 2 };

typedef enum outcome { EDITING, ACCEPTED, ENDED, INTERRUPTED, FAILED } outcome;
typedef enum note_state { NO_NOTE, NOTE_WANTED, NOTE_NEXT } note_state;

static struct {
  EditLine *line;
  lua_State *L;       /* that reads; NULL when none does */
  int handlers, idle; /* in the Lua stack; idle is 0 without one */
  wchar_t prompt[512];
  wchar_t queue[4]; /* what the key is for libedit */
  size_t queued, taken;
  keys_key key;     /* for the handler */
  bool again;       /* the key is still to be taken */
  wchar_t *initial; /* what the line begins with */
  outcome outcome;
  char *note; /* to be shown below the line, or above it */
  bool note_below;
  note_state note_state;
  int note_cursor; /* where the cursor was */
} editor;
static const char error_key; /* of the error that a handler raised, in the registry */

static wchar_t *show_prompt(EditLine *line) {
  (void)line;
  return editor.prompt;
}

/* Escape sequences in it are marked for libedit, which must not count them. */
static void set_prompt(const char *text, size_t n) {
  size_t count, at = 0;
  const size_t room = sizeof editor.prompt / sizeof editor.prompt[0] - 3;
  wchar_t *wide = widen(text, n, &count);
  for (size_t i = 0; wide && i < count && at < room; i++) {
    if (wide[i] != L'\033') {
      editor.prompt[at++] = wide[i];
      continue;
    }
    editor.prompt[at++] = PROMPT_ESCAPE;
    while (i < count && at < room && !iswalpha((wint_t)wide[i])) editor.prompt[at++] = wide[i++];
    if (i < count) editor.prompt[at++] = wide[i];
    editor.prompt[at++] = PROMPT_ESCAPE;
  }
  editor.prompt[at] = L'\0';
  free(wide);
}

/* The columns that a character takes as libedit shows it, at a column. */
static int width_of(wchar_t c, int column) {
  if (c == L'\t') return 8 - column % 8;
  if (c < 0x100 && iswcntrl((wint_t)c)) return 2;
  if (!iswprint((wint_t)c)) return c > 0xFFFF ? 8 : 7;
  const int width = wcwidth(c);
  return width > 0 ? width : 0;
}

/* How many rows the cursor is below the prompt, in a terminal of so many columns. */
static int cursor_row(int columns) {
  const LineInfoW *line = el.line(editor.line);
  int row = 0, column = 0;
  bool escaped = false;
  for (const wchar_t *c = editor.prompt; *c; c++) {
    if (*c == PROMPT_ESCAPE) escaped = !escaped;
    else if (!escaped) column += width_of(*c, column);
  }
  for (const wchar_t *c = line->buffer; c < line->cursor; c++) {
    const int width = *c == L'\n' ? 0 : width_of(*c, column);
    if (*c == L'\n' || column + width > columns) row++, column = 0;
    column += width;
  }
  return row + column / columns;
}

/* Draws prompt and line anew from where the terminal's cursor is. */
static void redraw(void) {
  fputs("\r\033[J", stdout);
  el.set(editor.line, EL_REFRESH);
}

/* A terminal that changes its width has folded the line anew. */
static void resize(void) {
  struct winsize size;
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  const int up = cursor_row(known ? size.ws_col : 80);
  if (up > 0) printf("\033[%dA", up);
  fputs("\r\033[J", stdout);
  el.resize(editor.line);
  redraw();
}

/* Moves libedit's cursor, which it shows when it draws next. */
static void move_to(int place) { el.move(editor.line, place - el.move(editor.line, 0)); }

static void move_to_end(void) {
  const LineInfoW *line = el.line(editor.line);
  el.move(editor.line, (int)(line->lastchar - line->cursor));
}

/* Shows the note: the cursor stands at the line's end, or at its beginning. */
static void show_note(void) {
  fputs(editor.note_below ? "\r\n" : "\r\033[J", stdout);
  printf("%s\n", editor.note);
  free(editor.note);
  editor.note = NULL;
  editor.note_state = NO_NOTE;
  move_to(editor.note_cursor);
  redraw();
}

/* ---- keys -------------------------------------------------------------------------------- */

/* Keeps the error on top of the stack, and ends the line. */
static void fail(lua_State *L) {
  lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
  editor.outcome = FAILED;
}

/* Pushes the handler of a key: `any`, if there is one, or its own; false when there is none. */
static bool push_handler(lua_State *L, const char *key) {
  for (int i = 0; i < 2; i++) {
    if (lua_getfield(L, editor.handlers, i == 0 ? "any" : key) == LUA_TFUNCTION) return true;
    lua_pop(L, 1);
  }
  return false;
}

/* Calls the function below its argument on the stack; its result tells how to go on. */
static void call_handler(lua_State *L) {
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    fail(L);
    return;
  }
  const char *action = lua_tostring(L, -1);
  if (!action) action = "";
  if (strcmp(action, "accept") == 0) editor.outcome = ACCEPTED;
  else if (strcmp(action, "end") == 0) editor.outcome = ENDED;
  else if (strcmp(action, "interrupt") == 0) editor.outcome = INTERRUPTED;
  else if (strcmp(action, "again") == 0) editor.again = true;
  else if (strcmp(action, "beep") == 0) fputc('\a', stdout);
  lua_pop(L, 1);
}

/* What libedit calls for the character CALL. */
static unsigned char on_call(EditLine *line, int character) {
  (void)line, (void)character;
  lua_State *L = editor.L;
  if (editor.key.name[0] == NOTE_KEY) {
    editor.note_cursor = el.move(editor.line, 0);
    if (editor.note_below) move_to_end();
    else move_to(0);
    editor.note_state = NOTE_NEXT;
    return CC_REFRESH;
  }
  if (!push_handler(L, editor.key.name)) return CC_REFRESH;
  lua_getfield(L, editor.handlers, "any");
  const bool any = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (!any && strcmp(editor.key.name, "paste") == 0) {
    size_t length;
    char *text = keys_read_pasted(&length);
    lua_pushlstring(L, text ? text : "", text ? length : 0);
    free(text);
  } else {
    lua_pushstring(L, editor.key.name);
  }
  call_handler(L);
  if (editor.outcome != EDITING) move_to_end();
  return CC_REFRESH;
}

/* What keys without a handler are in libedit's map of the keys of Emacs. */
static const struct {
  const char *name;
  const wchar_t *characters;
} simple_keys[] = {
    {"left", L"\002"},         {"right", L"\006"},       {"home", L"\001"},
    {"end", L"\005"},          {"backspace", L"\177"},   {"ctrl-left", L"\033b"},
    {"alt-left", L"\033b"},    {"ctrl-right", L"\033f"}, {"alt-right", L"\033f"},
    {"alt-b", L"\033b"},       {"alt-f", L"\033f"},      {"alt-d", L"\033d"},
    {"alt-c", L"\033c"},       {"alt-u", L"\033u"},      {"alt-l", L"\033l"},
    {"ctrl-delete", L"\033d"}, {"alt-delete", L"\033d"}, {"alt-backspace", L"\033\177"},
    {"ctrl-a", L"\001"},       {"ctrl-b", L"\002"},      {"ctrl-e", L"\005"},
    {"ctrl-f", L"\006"},       {"ctrl-k", L"\013"},      {"ctrl-l", L"\014"},
    {"ctrl-t", L"\024"},       {"ctrl-u", L"\025"},      {"ctrl-w", L"\027"},
    {"ctrl-y", L"\031"},
};

/* Queues what libedit is to read for the key. */
static void take_key(void) {
  const char *name = editor.key.name;
  editor.taken = editor.queued = 0;
  if (name[0] == '\0') return;
  if (name[0] == NOTE_KEY || push_handler(editor.L, name)) {
    if (name[0] != NOTE_KEY) lua_pop(editor.L, 1);
    editor.queue[editor.queued++] = CALL;
    return;
  }
  for (size_t i = 0; i < sizeof simple_keys / sizeof simple_keys[0]; i++) {
    if (strcmp(name, simple_keys[i].name) != 0) continue;
    editor.queued = wcslen(simple_keys[i].characters);
    wmemcpy(editor.queue, simple_keys[i].characters, editor.queued);
    return;
  }
  size_t count = 0;
  wchar_t *wide = widen(name, strlen(name), &count);
  if (wide && count == 1) editor.queue[editor.queued++] = wide[0]; /* else a key for nothing */
  free(wide);
}

/* Calls the idle function, which is at an index of the stack. */
static double idle_step(void *arg) {
  keys_idle *idle = arg;
  lua_State *L = editor.L;
  lua_pushvalue(L, editor.idle);
  if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
    fail(L);
    idle->leave = true;
    return -1;
  }
  const double seconds = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : -1;
  lua_pop(L, 1);
  if (editor.note_state == NOTE_WANTED) idle->leave = true;
  return seconds;
}

/* Waits for a key, into editor.key. */
static void wait_key(void) {
  keys_idle idle = {.step = idle_step};
  idle.arg = &idle;
  switch (keys_wait(-1, editor.idle ? &idle : NULL)) {
    case KEYS_INTERRUPTED: strcpy(editor.key.name, "ctrl-c"); break;
    case KEYS_RESIZED: resize(); return;
    case KEYS_RESUMED: redraw(); return;
    case KEYS_NONE: return;
    case KEYS_READY:
      if (!keys_read(&editor.key)) editor.outcome = ENDED;
      break;
  }
  if (editor.outcome == EDITING) take_key();
}

/* What libedit reads its characters with. All that was drawn before is on the screen. */
static int next_character(EditLine *line, wchar_t *character) {
  if (editor.initial) {
    el.insert(line, editor.initial);
    free(editor.initial);
    editor.initial = NULL;
    redraw();
  }
  while (editor.taken == editor.queued) {
    fflush(stdout);
    if (editor.note_state == NOTE_NEXT) show_note();
    if (editor.outcome != EDITING) return -1;
    if (editor.again || editor.note_state == NOTE_WANTED) {
      if (!editor.again) editor.key = (keys_key){.name = {NOTE_KEY}};
      editor.again = false;
      take_key();
    } else {
      wait_key();
    }
  }
  *character = editor.queue[editor.taken++];
  return 1;
}

/* core.editor_open() -> whether lines can be edited */
static int editor_open(lua_State *L) {
  static bool tried;
  if (!tried && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && load_library()) {
    FILE *nowhere = fopen("/dev/null", "w"); /* for what libedit has to say of TERM */
    editor.line = nowhere ? el.init("moonwalk", stdin, stdout, nowhere) : NULL;
  }
  if (!tried && editor.line) {
    el.set(editor.line, EL_EDITOR, L"emacs");
    el.set(editor.line, EL_GETCFN, next_character);
    el.set(editor.line, EL_PROMPT_ESC, show_prompt, PROMPT_ESCAPE);
    el.set(editor.line, EL_ADDFN, L"moonwalk-call", L"Calls a function in Lua", on_call);
    el.set(editor.line, EL_BIND, L"^_", L"moonwalk-call", NULL);
    el.set(editor.line, EL_BIND, L"^W", L"ed-delete-prev-word", NULL);
    el.set(editor.line, EL_BIND, L"^U", L"vi-kill-line-prev", NULL);
  }
  tried = true;
  lua_pushboolean(L, editor.line != NULL);
  return 1;
}

/* ---- reading a line ---------------------------------------------------------------------- */

static void begin_line(lua_State *L, int handlers, int idle) {
  editor.L = L;
  editor.handlers = handlers;
  editor.idle = idle;
  editor.queued = editor.taken = 0;
  editor.again = false;
  editor.outcome = EDITING;
  editor.note_state = NO_NOTE;
}

static int push_outcome(lua_State *L) {
  if (editor.outcome == FAILED) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
    return lua_error(L);
  }
  luaL_pushfail(L);
  lua_pushstring(L, editor.outcome == INTERRUPTED ? "interrupted" : "end");
  return 2;
}

/* core.editor_read(prompt, handlers, idle?, text?) -> the line; or nil and "end" or "interrupted".
 * handlers has a function for each key that libedit does not handle, or `any` for all keys: it is
 * given the key, "paste" the text, and returns "accept", "end", "interrupt", "beep", "again" for a
 * key to be handled once more, or nothing. idle is called while nothing is typed, and returns the
 * seconds until it wants to be called again, or false. */
static int editor_read(lua_State *L) {
  size_t length, count;
  const char *prompt = luaL_checklstring(L, 1, &length);
  luaL_checktype(L, 2, LUA_TTABLE);
  if (!editor.line || editor.L) return face_error(L, "prompt: a line cannot be edited now");
  const bool has_idle = lua_isfunction(L, 3);
  set_prompt(prompt, length);
  const char *text = luaL_optlstring(L, 4, "", &length);
  luaL_checkstack(L, 20, "prompt");
  if (!keys_begin()) return face_error(L, "prompt: %s", strerror(errno));
  begin_line(L, 2, has_idle ? 3 : 0);
  editor.initial = length ? widen(text, length, &count) : NULL;
  keys_guard(true);
  keys_bracket_paste(true);
  int n;
  el.gets(editor.line, &n);
  fputs(editor.outcome == INTERRUPTED ? "^C\r\n" : "\r\n", stdout);
  fflush(stdout);
  keys_bracket_paste(false);
  keys_guard(false);
  keys_end();
  editor.L = NULL;
  free(editor.initial);
  free(editor.note);
  editor.initial = NULL;
  editor.note = NULL;
  if (editor.outcome != ACCEPTED) return push_outcome(L);
  const LineInfoW *line = el.line(editor.line);
  push_narrow(L, line->buffer, line->lastchar);
  return 1;
}

static void check_reading(lua_State *L) {
  if (!editor.L) face_error(L, "prompt: no line is being edited");
}

/* core.editor_text() -> the line as it is, and how many of its bytes are before the cursor */
static int editor_text(lua_State *L) {
  check_reading(L);
  const LineInfoW *line = el.line(editor.line);
  push_narrow(L, line->buffer, line->lastchar);
  push_narrow(L, line->buffer, line->cursor);
  lua_pushinteger(L, (lua_Integer)lua_rawlen(L, -1));
  lua_replace(L, -2);
  return 2;
}

/* core.editor_set(text, cursor): another line, with the cursor behind so many of its bytes */
static int editor_set(lua_State *L) {
  size_t length, count, before;
  const char *text = luaL_checklstring(L, 1, &length);
  const lua_Integer cursor = luaL_checkinteger(L, 2);
  check_reading(L);
  wchar_t *wide = widen(text, length, &count);
  wchar_t *head = widen(text,
                        cursor < 0                     ? 0
                        : cursor < (lua_Integer)length ? (size_t)cursor
                                                       : length,
                        &before);
  if (wide && head) {
    const LineInfoW *line = el.line(editor.line);
    move_to_end();
    el.delete_before(editor.line, (int)(line->lastchar - line->buffer));
    if (count > 0) el.insert(editor.line, wide);
    move_to((int)before);
  }
  free(wide);
  free(head);
  return 0;
}

/* core.editor_prompt(text): another prompt */
static int editor_prompt(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length);
  set_prompt(text, length);
  return 0;
}

/* core.editor_note(text, below): lines to be shown below the line that is edited, which goes on
 * below them, or above it. -> whether a line is being edited; else nothing is done */
static int editor_note(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  lua_pushboolean(L, editor.L != NULL);
  if (!editor.L) return 1;
  const bool more = editor.note != NULL;
  const size_t room = strlen(text) + (more ? strlen(editor.note) + 2 : 1);
  char *note = malloc(room);
  if (!note) return luaL_error(L, "out of memory");
  snprintf(note, room, "%s%s%s", more ? editor.note : "", more ? "\n" : "", text);
  free(editor.note);
  editor.note = note;
  editor.note_below = lua_toboolean(L, 2);
  if (editor.note_state == NO_NOTE) editor.note_state = NOTE_WANTED;
  return 1;
}

/* ---- without libedit --------------------------------------------------------------------- */

static double plain_step(void *arg) {
  const double seconds = idle_step(arg);
  return editor.outcome == FAILED ? -1 : seconds;
}

/* core.editor_plain(prompt, idle?) -> a line as it comes, or nil and "end" or "interrupted" */
static int editor_plain(lua_State *L) {
  fputs(luaL_checkstring(L, 1), stdout);
  fflush(stdout);
  if (editor.L) return face_error(L, "prompt: a line is being read already");
  const bool is_terminal = isatty(STDIN_FILENO);
  keys_idle idle = {.step = plain_step, .arg = &idle};
  if (!keys_begin()) return face_error(L, "prompt: %s", strerror(errno));
  begin_line(L, 0, 2);
  keys_event event;
  do event = is_terminal ? keys_wait(-1, lua_isfunction(L, 2) ? &idle : NULL) : KEYS_READY;
  while (event == KEYS_RESIZED || event == KEYS_RESUMED);
  char *text = NULL;
  size_t room = 0;
  errno = 0;
  ssize_t length = event == KEYS_READY ? getline(&text, &room, stdin) : -1;
  if (ferror(stdin)) length = -1; /* what came before the interruption is no line */
  if (event == KEYS_INTERRUPTED || (length < 0 && errno == EINTR)) editor.outcome = INTERRUPTED;
  else if (length >= 0) editor.outcome = ACCEPTED;
  else if (editor.outcome != FAILED) editor.outcome = ENDED;
  keys_end();
  editor.L = NULL;
  if (length > 0 && text[length - 1] == '\n') length--;
  if (length >= 0) lua_pushlstring(L, text, (size_t)length);
  free(text);
  if (length >= 0) return 1;
  clearerr(stdin);
  fputc('\n', stdout);
  return push_outcome(L);
}

void face_open_editor(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"editor_open", editor_open},     {"editor_read", editor_read},
      {"editor_text", editor_text},     {"editor_set", editor_set},
      {"editor_prompt", editor_prompt}, {"editor_note", editor_note},
      {"editor_plain", editor_plain},   {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
