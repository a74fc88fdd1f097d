/* interrupt.h: Ctrl-C while Lua code runs. */
#ifndef MW_INTERRUPT_H
#define MW_INTERRUPT_H

#include <lua.h>
#include <stdbool.h>

/* From now on a Ctrl-C raises "interrupted" in the code that L runs, and makes a program that
 * runs fail before its next kernel. A second one does what interrupt_begin() was told: it ends the
 * process, or it raises again and again, whatever the code catches, until interrupt_end(). */
typedef enum interrupt_again { INTERRUPT_ENDS, INTERRUPT_INSISTS } interrupt_again;
void interrupt_begin(lua_State *L, interrupt_again again);
void interrupt_end(lua_State *L); /* Ctrl-C does what it did before */

/* From now on a Ctrl-C that comes while nothing else listens to it is kept, for the code that runs
 * next or the line that is read next. */
void interrupt_keep(void);
bool interrupt_was_kept(void); /* and is no longer */

#endif
