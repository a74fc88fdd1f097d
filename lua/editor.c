/* editor.c: a line that is typed and edited, by libedit where that is installed: it knows the keys
 * that move and delete. All else that keys do (history, completion, what is pasted) are functions in
 * Lua: handlers of keys by their names; see moonwalk.prompt.input. line.c draws. */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "face.h"
#include "keys.h"
#include "line.h"

/* ---- libedit, of which no header is needed (histedit.h) ----------------------------------- */

typedef struct editline EditLine;
typedef struct LineInfoW {
  const wchar_t *buffer, *cursor, *lastchar;
} LineInfoW;
enum { EL_EDITOR = 2, EL_BIND = 4, EL_SETTY = 8, EL_ADDFN = 9, EL_GETCFN = 13 };
enum { EL_PREP_TERM = 16, CC_NORM = 0 };

static struct {
  EditLine *(*init)(const char *, FILE *, FILE *, FILE *, int, int, int);
  const wchar_t *(*gets)(EditLine *, int *);
  int (*set)(EditLine *, int, ...);
  const LineInfoW *(*line)(EditLine *);
  int (*insert)(EditLine *, const wchar_t *);
  void (*delete_before)(EditLine *, int);
  int (*move)(EditLine *, int);
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
  return library && find_symbol(library, "el_init_fd", &el.init) &&
         find_symbol(library, "el_wgets", &el.gets) && find_symbol(library, "el_wset", &el.set) &&
         find_symbol(library, "el_wline", &el.line) &&
         find_symbol(library, "el_winsertstr", &el.insert) &&
         find_symbol(library, "el_deletestr", &el.delete_before) &&
         find_symbol(library, "el_cursor", &el.move);
}

/* ---- wide characters --------------------------------------------------------------------- */

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
      c = LINE_STRAY + (unsigned char)*text;
    }
    if (c != LINE_STRAY) wide[(*count)++] = c; /* no NUL */
  }
  if (wide) wide[*count] = L'\0';
  return wide;
}

static void push_narrow(lua_State *L, const wchar_t *wide, const wchar_t *end) {
  luaL_Buffer buffer;
  luaL_buffinit(L, &buffer);
  for (; wide < end; wide++) {
    char bytes[MB_LEN_MAX];
    luaL_addlstring(&buffer, bytes, line_encode(*wide, bytes));
  }
  luaL_pushresult(&buffer);
}

/* ---- the editor -------------------------------------------------------------------------- */

enum { CALL = 0x1F }; /* the character that libedit is given for a key with a handler */

typedef enum outcome { EDITING, ACCEPTED, ENDED, INTERRUPTED, FAILED } outcome;

static struct {
  EditLine *line;
  lua_State *L;      /* that reads; NULL when none does */
  bool idles, edits; /* there is an idle function, and there are handlers */
  const char *plain; /* the prompt, without libedit */
  wchar_t *prompt, *more;
  wchar_t queue[4]; /* what the key is for libedit */
  size_t queued, taken;
  keys_key key;     /* for the handler */
  bool again;       /* the key is still to be taken */
  wchar_t *initial; /* what the line begins with */
  outcome outcome;
} editor;
/* Keys of the registry: of the table of handlers, the idle function, and an error of one of them. */
static const char handlers_key, idle_key, error_key;

/* Pushes a handler; false when there is none of that name. */
static bool push_handler(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &handlers_key);
  const bool found = lua_getfield(L, -1, name) == LUA_TFUNCTION;
  lua_remove(L, -2);
  if (!found) lua_pop(L, 1);
  return found;
}

/* Pushes the line as the handler `paint` colours it; false without one. */
static bool push_painted(lua_State *L, const LineInfoW *line) {
  if (!push_handler(L, "paint")) return false;
  push_narrow(L, line->buffer, line->lastchar);
  if (lua_pcall(L, 1, 1, 0) == LUA_OK && lua_type(L, -1) == LUA_TSTRING) return true;
  lua_pop(L, 1);
  return false;
}

/* The line as it is to be shown, for the caller to free; NULL when memory is short. */
static wchar_t *shown_text(lua_State *L, const LineInfoW *line) {
  size_t n = (size_t)(line->lastchar - line->buffer);
  const bool has_escape = wmemchr(line->buffer, L'\033', n);
  if (!has_escape && push_painted(L, line)) {
    size_t length;
    const char *painted = lua_tolstring(L, -1, &length);
    wchar_t *text = widen(painted, length, &n);
    lua_pop(L, 1);
    return text;
  }
  wchar_t *text = malloc((n + 1) * sizeof *text);
  for (size_t i = 0; text && i < n; i++)
    text[i] = line->buffer[i] == L'\033' ? L'?' : line->buffer[i];
  if (text) text[n] = L'\0';
  return text;
}

/* Calls a function of line.h for the line as it is now. */
static void show(lua_State *L, void (*draw)(const line_view *)) {
  const LineInfoW *line = el.line(editor.line);
  wchar_t *text = shown_text(L, line);
  const line_view view = {editor.prompt, editor.more, text ? text : L"",
                          (size_t)(line->cursor - line->buffer)};
  draw(&view);
  free(text);
}

/* Another prompt; the one before where memory is short. */
static void set_prompt(wchar_t **prompt, const char *text, size_t n) {
  size_t count;
  wchar_t *wide = widen(text, n, &count);
  if (!wide) return;
  free(*prompt);
  *prompt = wide;
}

static void move_to(int place) { el.move(editor.line, place - el.move(editor.line, 0)); }

static void move_to_end(void) {
  const LineInfoW *line = el.line(editor.line);
  el.move(editor.line, (int)(line->lastchar - line->cursor));
}

/* ---- keys -------------------------------------------------------------------------------- */

/* Keeps the error on top of the stack, and ends the line. */
static void fail(lua_State *L) {
  lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
  editor.outcome = FAILED;
}

/* Pushes the handler of a key: `any`, if there is one, or its own; false when there is none. */
static bool push_key_handler(lua_State *L, const char *key) {
  return push_handler(L, "any") || push_handler(L, key);
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
  else if (strcmp(action, "clear") == 0) {
    fputs("\033[H\033[2J", stdout);
    line_begin();
  }
  lua_pop(L, 1);
}

/* What libedit calls for the character CALL. */
static unsigned char on_call(EditLine *line, int character) {
  (void)line, (void)character;
  lua_State *L = editor.L;
  const bool any = push_handler(L, "any");
  if (!any && !push_handler(L, editor.key.name)) return CC_NORM;
  if (!any && strcmp(editor.key.name, "paste") == 0) {
    size_t length;
    char *text = keys_read_pasted(&length);
    lua_pushlstring(L, text ? text : "", text ? length : 0);
    free(text);
  } else {
    lua_pushstring(L, editor.key.name);
  }
  call_handler(L);
  return CC_NORM;
}

/* What keys without a handler are in libedit's map of the keys of Emacs. */
static const struct {
  const char *name;
  const wchar_t *characters;
} simple_keys[] = {
    {"left", L"\002"},        {"right", L"\006"},
    {"backspace", L"\177"},   {"ctrl-left", L"\033b"},
    {"alt-left", L"\033b"},   {"ctrl-right", L"\033f"},
    {"alt-right", L"\033f"},  {"alt-b", L"\033b"},
    {"alt-f", L"\033f"},      {"alt-d", L"\033d"},
    {"alt-c", L"\033c"},      {"alt-u", L"\033u"},
    {"alt-l", L"\033l"},      {"ctrl-delete", L"\033d"},
    {"alt-delete", L"\033d"}, {"alt-backspace", L"\033\177"},
    {"ctrl-b", L"\002"},      {"ctrl-f", L"\006"},
    {"ctrl-k", L"\013"},      {"ctrl-t", L"\024"},
    {"ctrl-u", L"\025"},      {"ctrl-w", L"\027"},
    {"ctrl-y", L"\031"},
};

/* Queues what libedit is to read for the key. */
static void take_key(void) {
  const char *name = editor.key.name;
  editor.taken = editor.queued = 0;
  if (name[0] == '\0') return;
  if (push_key_handler(editor.L, name)) {
    lua_pop(editor.L, 1);
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

static double idle_step(void *arg) {
  keys_idle *idle = arg;
  lua_State *L = editor.L;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &idle_key);
  if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
    fail(L);
    idle->leave = true;
    return -1;
  }
  const double seconds = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : -1;
  lua_pop(L, 1);
  if (seconds < 0) editor.idles = false; /* never again, while this line is read */
  return seconds;
}

/* Waits for a key, into editor.key. */
static void wait_key(void) {
  keys_idle idle = {.step = idle_step};
  idle.arg = &idle;
  switch (keys_wait(-1, editor.idles ? &idle : NULL)) {
    case KEYS_INTERRUPTED: strcpy(editor.key.name, "ctrl-c"); break;
    case KEYS_RESIZED: show(editor.L, line_resized); return;
    case KEYS_RESUMED: line_begin(); return;
    case KEYS_NONE: return;
    case KEYS_READY:
      if (!keys_read(&editor.key)) editor.outcome = ENDED;
      break;
  }
  if (editor.outcome == EDITING) take_key();
}

/* What libedit reads its characters with. */
static int next_character(EditLine *line, wchar_t *character) {
  if (editor.initial) {
    el.insert(line, editor.initial);
    free(editor.initial);
    editor.initial = NULL;
  }
  while (editor.taken == editor.queued) {
    if (editor.outcome != EDITING) return -1;
    if (editor.again) {
      editor.again = false;
      take_key();
    } else {
      if (!keys_waiting()) show(editor.L, line_draw);
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
    /* It does not draw: it mixes up the columns of wide characters. See line.h. */
    FILE *nowhere = fopen("/dev/null", "w");
    editor.line = nowhere ? el.init("moonwalk", stdin, nowhere, nowhere, STDIN_FILENO,
                                    STDOUT_FILENO, STDOUT_FILENO)
                          : NULL;
  }
  if (!tried && editor.line) {
    el.set(editor.line, EL_EDITOR, L"emacs");
    el.set(editor.line, EL_GETCFN, next_character);
    el.set(editor.line, EL_ADDFN, L"moonwalk-call", L"Calls a function in Lua", on_call);
    el.set(editor.line, EL_BIND, L"^_", L"moonwalk-call", NULL);
    el.set(editor.line, EL_SETTY, L"-d", L"-ixon", NULL); /* Ctrl-S is a key */
    el.set(editor.line, EL_BIND, L"^W", L"ed-delete-prev-word", NULL);
    el.set(editor.line, EL_BIND, L"^U", L"vi-kill-line-prev", NULL);
  }
  tried = true;
  lua_pushboolean(L, editor.line != NULL);
  return 1;
}

/* ---- reading a line ---------------------------------------------------------------------- */

/* The idle function may be at an index of the stack. From here to keys_end() nothing may raise. */
static void begin_line(lua_State *L, int idle, bool edits) {
  if (editor.L) face_error(L, "prompt: a line is being read already");
  editor.idles = lua_isfunction(L, idle);
  if (editor.idles) {
    lua_pushvalue(L, idle);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &idle_key);
  }
  lua_pushboolean(L, false);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key); /* it has its place: fail() needs no memory */
  if (!keys_begin()) face_error(L, "prompt: %s", strerror(errno));
  editor.L = L;
  editor.edits = edits;
  editor.queued = editor.taken = 0;
  editor.again = false;
  editor.outcome = EDITING;
}

static int push_outcome(lua_State *L) {
  if (editor.outcome == FAILED) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &error_key);
    lua_pushboolean(L, false);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &error_key);
    return lua_error(L);
  }
  luaL_pushfail(L);
  lua_pushstring(L, editor.outcome == INTERRUPTED ? "interrupted" : "end");
  return 2;
}

/* Reads a line with the prompts that are set, until there is an outcome. */
static int edit_line(lua_State *L) {
  int n;
  line_begin();
  el.gets(editor.line, &n);
  if (editor.outcome == INTERRUPTED) {
    move_to_end();
    el.insert(editor.line, L"^C");
  }
  show(L, line_end);
  return 0;
}

/* The same, and leaves the terminal as it was, also when Lua's memory is short somewhere. */
static void edit_line_safely(lua_State *L) {
  keys_guard(true);
  keys_bracket_paste(true);
  lua_pushcfunction(L, edit_line);
  if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
    fail(L);
    el.set(editor.line, EL_PREP_TERM, 0);
  }
  keys_bracket_paste(false);
  keys_guard(false);
  keys_end();
  editor.L = NULL;
  free(editor.initial);
  editor.initial = NULL;
}

/* core.editor_read(prompt, more, handlers, idle?, text?) -> the line, which begins with the text;
 * or nil and "end" or "interrupted". `more` stands in front of what follows a line break. handlers
 * has a function for each key that libedit does not handle, or `any` for all keys: it is given the
 * key, "paste" the text, and returns "accept", "end", "interrupt", "beep", "clear", "again" for a
 * key to be handled once more, or nothing; and `paint`, which colours a line. idle is called while
 * nothing is typed, and returns the seconds until it wants to be called again, or false. */
static int editor_read(lua_State *L) {
  size_t prompt_length, more_length, length, count;
  const char *prompt = luaL_checklstring(L, 1, &prompt_length);
  const char *more = luaL_checklstring(L, 2, &more_length);
  luaL_checktype(L, 3, LUA_TTABLE);
  const char *text = luaL_optlstring(L, 5, "", &length);
  luaL_checkstack(L, 20, "prompt");
  if (!editor.line || editor.L) return face_error(L, "prompt: a line cannot be edited now");
  set_prompt(&editor.prompt, prompt, prompt_length);
  set_prompt(&editor.more, more, more_length);
  if (!editor.prompt || !editor.more) return luaL_error(L, "out of memory");
  lua_pushvalue(L, 3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &handlers_key);
  begin_line(L, 4, true);
  editor.initial = length ? widen(text, length, &count) : NULL;
  edit_line_safely(L);
  if (editor.outcome != ACCEPTED) return push_outcome(L);
  const LineInfoW *line = el.line(editor.line);
  push_narrow(L, line->buffer, line->lastchar);
  return 1;
}

static void check_reading(lua_State *L) {
  if (!editor.L || !editor.edits) face_error(L, "prompt: no line is being edited");
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
  const size_t place = cursor < 0 ? 0 : (size_t)cursor;
  wchar_t *head = widen(text, place < length ? place : length, &before);
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
  set_prompt(&editor.prompt, text, length);
  return 0;
}

/* core.editor_note(text, below): lines to be shown below the line that is edited, which goes on
 * below them, or above it. -> whether a line is being read; else nothing is done */
static int editor_note(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  lua_pushboolean(L, editor.L != NULL);
  if (!editor.L) return 1;
  if (!editor.edits) { /* what is typed stays as it is, but out of sight */
    printf("\r%s\n%s", text, editor.plain);
    fflush(stdout);
    return 1;
  }
  if (lua_toboolean(L, 2)) show(L, line_end);
  else line_erase();
  printf("%s\n", text);
  line_begin();
  show(L, line_draw);
  return 1;
}

/* ---- without libedit --------------------------------------------------------------------- */

enum { ECHO_MS = 10 };

/* core.editor_plain(prompt, idle?) -> a line as it comes, or nil and "end" or "interrupted" */
static int editor_plain(lua_State *L) {
  static char *text; /* kept for the next line: lua_pushlstring() may raise */
  static size_t room;
  const char *prompt = luaL_checkstring(L, 1);
  const bool is_terminal = isatty(STDIN_FILENO);
  keys_idle idle = {.step = idle_step, .arg = &idle};
  begin_line(L, 2, false);
  editor.plain = prompt;
  fputs(prompt, stdout);
  fflush(stdout);
  keys_event event;
  do event = is_terminal ? keys_wait(-1, editor.idles ? &idle : NULL) : KEYS_READY;
  while (event == KEYS_RESIZED || event == KEYS_RESUMED);
  errno = 0;
  ssize_t length = event == KEYS_READY ? getline(&text, &room, stdin) : -1;
  if (ferror(stdin)) length = -1; /* what came before the interruption is no line */
  const bool broken_off = length < 0 && errno == EINTR;
  if (broken_off) keys_forget_interrupt();
  if (event == KEYS_INTERRUPTED || broken_off) editor.outcome = INTERRUPTED;
  else if (length >= 0) editor.outcome = ACCEPTED;
  else if (editor.outcome != FAILED) editor.outcome = ENDED;
  keys_end();
  editor.L = NULL;
  if (length > 0 && text[length - 1] == '\n') length--;
  if (length >= 0) return lua_pushlstring(L, text, (size_t)length), 1;
  clearerr(stdin);
  /* The terminal shows ^C only after it has sent the signal. */
  if (is_terminal && editor.outcome == INTERRUPTED) poll(NULL, 0, ECHO_MS);
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
