/* system.h: what the Lua modules need of the system and Lua's own library does not give. */
#ifndef MW_SYSTEM_H
#define MW_SYSTEM_H

#include <lua.h>

void face_open_system(lua_State *L); /* adds its functions to the table on top of the stack */

#endif
