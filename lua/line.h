/* line.h: a prompt and a line behind it, of any length, in the terminal; drawn anew each time. */
#ifndef MW_LINE_H
#define MW_LINE_H

#include <stddef.h>
#include <wchar.h>

/* What is shown. Escape sequences in it are passed on, and take no columns. */
typedef struct line_view {
  const wchar_t *prompt, *more; /* before the text, and before what follows a line break in it */
  const wchar_t *text;
  size_t cursor; /* characters before it, escape sequences left out */
} line_view;

/* Bytes that are no characters of the locale stand as half surrogate pairs. */
enum { LINE_STRAY = 0xDC00 };
size_t line_encode(wchar_t c, char *bytes); /* at most MB_LEN_MAX; 0 for none */

void line_begin(void); /* the terminal's cursor is where the prompt will be */
void line_draw(const line_view *view);
void line_erase(void); /* nothing of it is left, and the cursor is where the prompt was */
/* After the terminal's size has changed, which has folded its lines anew; then draw. */
void line_resized(const line_view *view);
void line_end(const line_view *view); /* the cursor is in the row below it */

#endif
