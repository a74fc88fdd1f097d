/* line.c: a prompt and a line behind it, of any length, in the terminal. The whole of it is written
 * each time, in one piece: it is short, and so wide characters and folded rows need no bookkeeping.
 * Of a line with more rows than the terminal, those around the cursor are shown. */
#define _GNU_SOURCE /* wcwidth */
#include "line.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wctype.h>

static int drawn_row; /* of the terminal's cursor, from the first row that was drawn */
static int top;       /* the first row of the line that was drawn */

/* ---- output in one piece ----------------------------------------------------------------- */

static struct {
  char *bytes;
  size_t n, room;
} out;

static void put(const char *bytes, size_t n) {
  if (out.n + n > out.room) {
    const size_t room = 2 * (out.n + n) + 256;
    char *larger = realloc(out.bytes, room);
    if (!larger) return;
    out.bytes = larger;
    out.room = room;
  }
  memcpy(out.bytes + out.n, bytes, n);
  out.n += n;
}

static void put_text(const char *text) { put(text, strlen(text)); }

static void put_move(int n, char letter) {
  char text[32];
  if (n > 0) put(text, (size_t)snprintf(text, sizeof text, "\033[%d%c", n, letter));
}

static void flush_out(void) {
  fwrite(out.bytes, 1, out.n, stdout);
  fflush(stdout);
  out.n = 0;
}

/* ---- characters -------------------------------------------------------------------------- */

static bool is_stray(wchar_t c) { return c >= LINE_STRAY + 0x80 && c <= LINE_STRAY + 0xFF; }

size_t line_encode(wchar_t c, char *bytes) {
  mbstate_t state = {0};
  if (is_stray(c)) {
    bytes[0] = (char)(c - LINE_STRAY);
    return 1;
  }
  const size_t n = wcrtomb(bytes, c, &state);
  return n == (size_t)-1 ? 0 : n;
}

static bool is_control(wchar_t c) { return c < L' ' || c == 127; }

/* The columns that a character takes at a column. */
static int width_of(wchar_t c, int column, int columns) {
  if (c == L'\t') {
    const int width = 8 - column % 8;
    return column + width <= columns ? width : columns > column ? columns - column : 1;
  }
  if (is_control(c)) return 2;
  const int width = wcwidth(c);
  return width >= 0 ? width : 1;
}

static void put_character(wchar_t c, int width) {
  char bytes[MB_LEN_MAX];
  if (c == L'\t') {
    for (int i = 0; i < width; i++) put(" ", 1);
  } else if (is_control(c)) {
    const char text[] = {'^', (char)(c == 127 ? '?' : c + '@')};
    put(text, 2);
  } else if (wcwidth(c) < 0 || is_stray(c)) {
    put("?", 1);
  } else {
    put(bytes, line_encode(c, bytes));
  }
}

/* ---- rows -------------------------------------------------------------------------------- */

typedef struct place {
  int row, column; /* behind the last column is where the next row begins */
} place;

typedef struct size {
  int columns, rows;
} size;

static size terminal_size(void) {
  struct winsize found;
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &found) == 0;
  return (size){known && found.ws_col > 0 ? found.ws_col : 80,
                known && found.ws_row > 0 ? found.ws_row : 24};
}

typedef struct painter {
  size size;
  place at;
  int first, last; /* rows to be written; none when last is less */
} painter;

static bool writes(const painter *p) { return p->at.row >= p->first && p->at.row <= p->last; }

/* Goes to the next row; the terminal does so itself when a row is folded. */
static void next_row(painter *p, bool folded) {
  if (writes(p)) {
    if (p->at.column < p->size.columns) put_text("\033[K");
    if (p->at.row < p->last && !folded) put_text("\r\n");
  }
  p->at = (place){p->at.row + 1, 0};
}

static void paint_character(painter *p, wchar_t c) {
  int width = width_of(c, p->at.column, p->size.columns);
  if (p->at.column + width > p->size.columns && p->at.column > 0) {
    /* The terminal would part the two characters that a control character is shown by. */
    next_row(p, p->at.column == p->size.columns || !is_control(c));
    width = width_of(c, 0, p->size.columns);
  }
  if (writes(p)) put_character(c, width);
  p->at.column += width;
}

/* Behind an escape sequence, which is written when it belongs to what is. */
static const wchar_t *paint_escape(const painter *p, const wchar_t *c) {
  const bool is_written = p->last >= p->first && p->at.row <= p->last;
  for (bool ended = false; *c && !ended; c++) {
    ended = iswalpha((wint_t)*c) != 0;
    const char byte = (char)*c;
    if (is_written) put(&byte, 1);
  }
  return c;
}

/* Where the cursor is when it is in front of a character. */
static place cursor_at(const painter *p, wchar_t next) {
  const int width = next && next != L'\n' ? width_of(next, p->at.column, p->size.columns) : 0;
  const bool folds = p->at.column >= p->size.columns || p->at.column + width > p->size.columns;
  return folds && p->at.column > 0 ? (place){p->at.row + 1, 0} : p->at;
}

/* Goes over all characters, and writes the rows from p->first to p->last. Returns where the cursor
 * is. */
static place paint(painter *p, const line_view *view) {
  place cursor = {0, 0};
  size_t n = 0;
  for (const wchar_t *c = view->prompt; *c;) {
    if (*c == L'\033') c = paint_escape(p, c);
    else paint_character(p, *c++);
  }
  for (const wchar_t *c = view->text;;) {
    while (*c == L'\033') c = paint_escape(p, c);
    if (n == view->cursor || (!*c && n < view->cursor)) cursor = cursor_at(p, *c);
    if (!*c) break;
    n++;
    if (*c != L'\n') {
      paint_character(p, *c++);
      continue;
    }
    c++;
    next_row(p, false);
    for (const wchar_t *m = view->more; *m;) {
      if (*m == L'\033') m = paint_escape(p, m);
      else paint_character(p, *m++);
    }
  }
  return cursor;
}

/* ---- drawing ----------------------------------------------------------------------------- */

void line_begin(void) { drawn_row = top = 0; }

static void to_first_row(void) {
  put_move(drawn_row, 'A');
  put_text("\r");
  drawn_row = 0;
}

/* The row that the terminal's cursor is in behind all characters. */
static int end_row(const painter *p) {
  return p->at.row + (p->at.column >= p->size.columns && p->at.column > 0);
}

void line_draw(const line_view *view) {
  const size terminal = terminal_size();
  painter measured = {.size = terminal, .first = 0, .last = -1};
  const place cursor = paint(&measured, view);
  const int end = end_row(&measured);
  if (top > end - terminal.rows + 1) top = end - terminal.rows + 1;
  if (top < cursor.row - terminal.rows + 1) top = cursor.row - terminal.rows + 1;
  if (top > cursor.row) top = cursor.row;
  if (top < 0) top = 0;
  const int last = end < top + terminal.rows ? end : top + terminal.rows - 1;
  to_first_row();
  painter p = {.size = terminal, .first = top, .last = last};
  paint(&p, view);
  if (last == end && end > p.at.row) put_text(" \r"); /* so that the next row is there */
  if (last == end) put_text("\033[J");
  put_move(last - cursor.row, 'A');
  put_text("\r");
  put_move(cursor.column, 'C');
  drawn_row = cursor.row - top;
  flush_out();
}

void line_erase(void) {
  to_first_row();
  put_text("\033[J");
  flush_out();
  top = 0;
}

void line_resized(const line_view *view) {
  painter measured = {.size = terminal_size(), .first = 0, .last = -1};
  drawn_row = paint(&measured, view).row - top;
  if (drawn_row < 0) drawn_row = 0;
  line_erase();
}

void line_end(const line_view *view) {
  line_view all = *view;
  all.cursor = SIZE_MAX;
  line_draw(&all);
  put_text("\r\n");
  flush_out();
  line_begin();
}
