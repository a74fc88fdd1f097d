/* history.c: the file of what was typed, which several prompts write at the same time. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "face.h"

/* Opens the file and locks it; -1 with errno. Who waited for the lock may hold a file which another
 * prompt has replaced meanwhile. */
static int open_locked(const char *path) {
  for (;;) {
    const int handle = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (handle < 0) return -1;
    while (flock(handle, LOCK_EX) != 0 && errno == EINTR) {
    } /* a file system without locks has no second prompt, we hope */
    struct stat held, named;
    if (fstat(handle, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev)
      return handle;
    close(handle);
  }
}

static bool write_all(int handle, const char *bytes, size_t n) {
  while (n > 0) {
    const ssize_t written = write(handle, bytes, n);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes += written;
    n -= (size_t)written;
  }
  return true;
}

/* Replaces a file of `size` bytes by its last `kept` ones, from the beginning of a line. */
static bool shorten(int handle, const char *path, size_t size, size_t kept) {
  char name[4096], *bytes = malloc(kept);
  const ssize_t n = bytes ? pread(handle, bytes, kept, (off_t)(size - kept)) : -1;
  const char *line = n > 0 ? memchr(bytes, '\n', (size_t)n) : NULL;
  bool done = false;
  if (line && snprintf(name, sizeof name, "%s.new", path) < (int)sizeof name) {
    const int copy = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    done = copy >= 0 && write_all(copy, line + 1, (size_t)(bytes + n - line - 1));
    if (copy >= 0 && close(copy) != 0) done = false;
    if (done) done = rename(name, path) == 0;
    if (!done && copy >= 0) unlink(name);
  }
  free(bytes);
  return done;
}

/* core.history_append(path, line, most) -> true, or nil and a message: adds a line to the file, which
 * is made; of more than `most` bytes the older half goes. */
static int history_append(lua_State *L) {
  const char *path = face_check_text(L, 1, "history_append", "the path");
  const char *line = face_check_text(L, 2, "history_append", "the line");
  const lua_Integer most = face_check_integer(L, 3, "history_append", "the size");
  const int handle = open_locked(path);
  bool done = handle >= 0 && write_all(handle, line, strlen(line)) && write_all(handle, "\n", 1);
  struct stat about;
  if (done && fstat(handle, &about) == 0 && about.st_size > most)
    done = shorten(handle, path, (size_t)about.st_size, (size_t)most / 2);
  const int failed = errno;
  if (handle >= 0) close(handle);
  if (done) return lua_pushboolean(L, 1), 1;
  luaL_pushfail(L);
  lua_pushfstring(L, "%s: %s", path, strerror(failed));
  return 2;
}

void face_open_history(lua_State *L) {
  static const luaL_Reg functions[] = {{"history_append", history_append}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
