/* screen.c: what a terminal is like: how large, which characters it shows, and how wide they are. */
#define _GNU_SOURCE /* wcwidth */
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "face.h"

/* core.terminal("stdin" | "stdout" | "stderr") -> its columns and rows, or nil where it is no
 * terminal */
static int screen_terminal(lua_State *L) {
  static const char *const names[] = {"stdin", "stdout", "stderr"}; /* by file descriptor */
  const char *name = face_check_text(L, 1, "terminal", "the stream");
  int handle = 0;
  while (handle < 3 && strcmp(name, names[handle]) != 0) handle++;
  if (handle == 3)
    return face_error(L, "terminal: the stream is '%.40s', expected 'stdin', 'stdout' or 'stderr'",
                      name);
  if (!isatty(handle)) return luaL_pushfail(L), 1;
  struct winsize size;
  const bool known = ioctl(handle, TIOCGWINSZ, &size) == 0;
  lua_pushinteger(L, known && size.ws_col > 0 ? size.ws_col : 80);
  lua_pushinteger(L, known && size.ws_row > 0 ? size.ws_row : 24);
  return 2;
}

/* core.speaks_utf8() -> whether the locale's characters are UTF-8 */
static int screen_utf8(lua_State *L) {
  lua_pushboolean(L, strcmp(nl_langinfo(CODESET), "UTF-8") == 0);
  return 1;
}

/* Behind an escape sequence that begins at text: CSI, OSC, or two characters. */
static const char *skip_escape(const char *text, const char *end) {
  if (++text == end) return end;
  if (*text == '[') {
    for (text++; text < end; text++)
      if (*text >= '@' && *text <= '~') return text + 1;
    return end;
  }
  if (*text != ']') return text + 1;
  for (text++; text < end; text++) {
    if (*text == '\a') return text + 1;
    if (*text == '\033' && text + 1 < end && text[1] == '\\') return text + 2;
  }
  return end;
}

/* core.width(text) -> the columns that it takes in a terminal, where escape sequences take none; a
 * character that the locale does not have, or that moves nothing, takes one for each byte. */
static int screen_width(lua_State *L) {
  size_t length;
  const char *text = luaL_checklstring(L, 1, &length), *end = text + length;
  lua_Integer width = 0;
  mbstate_t state = {0};
  while (text < end) {
    if (*text == '\033') {
      text = skip_escape(text, end);
      continue;
    }
    wchar_t character;
    const size_t used = mbrtowc(&character, text, (size_t)(end - text), &state);
    if (used == 0 || used > (size_t)(end - text)) { /* NUL, or no character of the locale */
      memset(&state, 0, sizeof state);
      text++;
      width++;
      continue;
    }
    const int columns = wcwidth(character);
    width += columns >= 0 ? columns : 1;
    text += used;
  }
  lua_pushinteger(L, width);
  return 1;
}

void face_open_screen(lua_State *L) {
  static const luaL_Reg functions[] = {{"terminal", screen_terminal},
                                       {"speaks_utf8", screen_utf8},
                                       {"width", screen_width},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
