/* keys.h: the keyboard of the terminal that standard input is. */
#ifndef MW_KEYS_H
#define MW_KEYS_H

#include <stdbool.h>
#include <stddef.h>

/* What waiting for a key ends with. */
typedef enum keys_event {
  KEYS_READY,       /* there is something to read, or the end of it */
  KEYS_NONE,        /* the time is up */
  KEYS_INTERRUPTED, /* Ctrl-C */
  KEYS_RESIZED,     /* the terminal has another size */
  KEYS_RESUMED,     /* the process was stopped, and goes on */
} keys_event;

typedef struct keys_idle {
  double (*step)(void *arg); /* seconds until it wants to be called again; negative: never */
  void *arg;
  bool leave; /* set by step: keys_wait returns KEYS_NONE */
} keys_idle;

/* From begin to end, signals make keys_wait return. False, with errno, when that cannot be. */
bool keys_begin(void);
void keys_end(void);
/* Waits as long for input, for ever when negative. Without input idle->step, if there is one, is
 * called meanwhile. */
keys_event keys_wait(int milliseconds, keys_idle *idle);
bool keys_waiting(void);          /* whether there is input already */
void keys_forget_interrupt(void); /* Ctrl-C has been seen to, without keys_wait */

/* While this is on, the terminal is put back to what it was when it was switched on if the process
 * is stopped by Ctrl-Z, or ends. */
void keys_guard(bool on);
void keys_bracket_paste(bool on); /* asks the terminal to mark what is pasted; while guarded */

/* A key: its name, such as "a", "up", "ctrl-r", "alt-b", "tab", "paste", "" for one without a
 * name. */
typedef struct keys_key {
  char name[24];
} keys_key;
/* Reads the key that keys_wait has announced; false at the end of the input. */
bool keys_read(keys_key *key);
/* What is pasted, behind the key "paste": for the caller to free; NULL when memory is short. */
char *keys_read_pasted(size_t *length);

#endif
