/* system.c: what the Lua modules need of the system and Lua's own library does not give. */
#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "face.h"

/* core.fsync(path) -> true, or nil and a message: a file's or a folder's data is on the disk. */
static int face_fsync(lua_State *L) {
  const char *path = face_check_text(L, 1, "fsync", "the path");
  int handle = open(path, O_RDONLY | O_CLOEXEC);
  int failed = handle < 0 || fsync(handle) != 0 ? errno : 0;
  if (handle >= 0) close(handle);
  if (!failed) {
    lua_pushboolean(L, 1);
    return 1;
  }
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: %s", path, strerror(failed));
  return 2;
}

/* core.clock() -> seconds of a clock that never jumps, from an arbitrary start */
static int face_clock(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushnumber(L, (lua_Number)now.tv_sec + 1e-9 * (lua_Number)now.tv_nsec);
  return 1;
}

/* core.folder(path) -> the names of what is in a folder, in no order, those of folders with a / at
 * their end; or nil and a message. Names that begin with a dot are left out. */
static int face_folder(lua_State *L) {
  const char *path = face_check_text(L, 1, "folder", "the path");
  DIR *folder = opendir(path);
  const int failed = errno;
  if (!folder) {
    luaL_pushfail(L);
    lua_pushfstring(L, "%s: %s", path, strerror(failed));
    return 2;
  }
  lua_newtable(L);
  lua_Integer n = 0;
  for (const struct dirent *entry; (entry = readdir(folder));) {
    struct stat about;
    if (entry->d_name[0] == '.') continue;
    const bool is_folder =
        fstatat(dirfd(folder), entry->d_name, &about, 0) == 0 && S_ISDIR(about.st_mode);
    lua_pushfstring(L, "%s%s", entry->d_name, is_folder ? "/" : "");
    lua_rawseti(L, -2, ++n);
  }
  closedir(folder);
  return 1;
}

static bool is_folder(const char *path) {
  struct stat about;
  return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* core.make_folder(path, private?) -> true, or nil and a message: makes a folder and those that it is
 * in, for the user alone if that is true; one that is there is left as it is. */
static int face_make_folder(lua_State *L) {
  const char *path = face_check_text(L, 1, "make_folder", "the path");
  const size_t n = strlen(path);
  char *part = lua_newuserdatauv(L, n + 1, 0);
  const mode_t mode = lua_toboolean(L, 2) ? 0700 : 0777;
  bool made = n > 0;
  errno = ENOENT;
  for (size_t i = 1; i <= n && made; i++) {
    if (path[i] && path[i] != '/') continue;
    memcpy(part, path, i);
    part[i] = '\0';
    made = mkdir(part, mode) == 0 || is_folder(part);
  }
  if (made) return lua_pushboolean(L, 1), 1;
  luaL_pushfail(L);
  lua_pushfstring(L, "cannot make %s: %s", path, strerror(errno));
  return 2;
}

void face_open_system(lua_State *L) {
  static const luaL_Reg functions[] = {{"fsync", face_fsync},
                                       {"clock", face_clock},
                                       {"folder", face_folder},
                                       {"make_folder", face_make_folder},
                                       {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
