/* ask.c: asks the terminal what it is. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "face.h"

enum { MOST_ANSWER = 256 };

static int milliseconds_since(const struct timespec *start) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int)((now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000);
}

static bool has_input(int milliseconds) {
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  return poll(&input, 1, milliseconds) > 0 && (input.revents & POLLIN);
}

/* Reads until the character that ends an answer, which begins with Escape, or the time is over. */
static size_t read_answer(char answer[MOST_ANSWER], char last, int milliseconds) {
  struct timespec start;
  size_t length = 0;
  clock_gettime(CLOCK_MONOTONIC, &start);
  while (length < MOST_ANSWER) {
    const int left = milliseconds - milliseconds_since(&start);
    if (left <= 0 || !has_input(left)) break; /* also after a signal */
    if (read(STDIN_FILENO, answer + length, 1) != 1) break;
    if (answer[length++] == last && memchr(answer, '\033', length)) break;
  }
  return length;
}

/* core.ask_terminal(question, last, milliseconds) -> what the terminal answers, up to a character
 * at which answers end; nil where nobody can be asked: standard input or output is no terminal,
 * another process has it, or something has been typed that the answer would stand behind. */
static int ask_terminal(lua_State *L) {
  size_t length;
  const char *question = luaL_checklstring(L, 1, &length);
  const char *last = face_check_text(L, 2, "ask_terminal", "the last character");
  const int milliseconds = (int)face_check_integer(L, 3, "ask_terminal", "the milliseconds");
  struct termios before, raw;
  char answer[MOST_ANSWER];
  if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
      tcgetattr(STDIN_FILENO, &before) != 0)
    return luaL_pushfail(L), 1;
  raw = before;
  raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return luaL_pushfail(L), 1;
  size_t got = 0;
  const bool typed = has_input(0);
  fflush(stdout);
  if (!typed && write(STDOUT_FILENO, question, length) == (ssize_t)length)
    got = read_answer(answer, *last, milliseconds);
  tcsetattr(STDIN_FILENO, TCSANOW, &before);
  if (typed) return luaL_pushfail(L), 1;
  lua_pushlstring(L, answer, got);
  return 1;
}

/* core.cell() -> the pixels of a character, width and height; nil where nobody says */
static int terminal_cell(lua_State *L) {
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0 ||
      size.ws_xpixel < size.ws_col || size.ws_ypixel < size.ws_row)
    return luaL_pushfail(L), 1;
  lua_pushinteger(L, size.ws_xpixel / size.ws_col);
  lua_pushinteger(L, size.ws_ypixel / size.ws_row);
  return 2;
}

void face_open_ask(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"ask_terminal", ask_terminal}, {"cell", terminal_cell}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
