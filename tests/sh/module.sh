# module.sh: the Lua module in a stock lua5.4.
. tests/tap.sh

[ -z "$SANITIZE" ] || skip_all "a stock lua5.4 has no sanitizer to load a sanitized module with"
command -v lua5.4 >/dev/null || skip_all "lua5.4 is not installed"
stock() { LUA_CPATH="$MOONWALK_BUILD/?.so" lua5.4 "$@"; }

says "it loads and computes" "10.0" \
  stock -e 'local mw = require "moonwalk"; print(mw.tensor{1, 2, 3, 4}:sum():item())'
says "it sets no global" "none" stock -e 'local before = {}
  for name in pairs(_G) do before[name] = true end
  require "moonwalk"
  for name in pairs(_G) do assert(before[name], name) end
  print "none"'
says "require gives one table" "true" \
  stock -e 'print(require "moonwalk" == require "moonwalk")'
says "an error is at the user's line" "user.lua:2:" stock -e '
  local chunk = load("local mw = require [[moonwalk]]\nmw.tensor{1, 2}:reshape{3}", "@user.lua")
  local succeeded, message = pcall(chunk)
  assert(not succeeded)
  print(message)'


# A program that loads the module by a Lua state, and goes on when it has closed the state, with which
# the module goes.
host=$(mktemp -d)
cat >"$host/host.c" <<'END'
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <unistd.h>
static int run(const char *code) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  int failed = luaL_dostring(L, code);
  if (failed) puts(lua_tostring(L, -1));
  lua_close(L);
  usleep(100000);
  return failed;
}
int main(int argc, char **argv) {
  if (argc != 2 || run(argv[1]) || run(argv[1])) return 1;
  puts("two states");
  return 0;
}
END
if "${CC:-cc}" "$host/host.c" -o "$host/host" $(pkg-config --cflags --libs lua5.4) 2>/dev/null; then
  says "a program closes a state in which threads worked, and opens another" "two states" \
    env LUA_CPATH="$MOONWALK_BUILD/?.so" "$host/host" '
    local mw = require "moonwalk"
    mw.threads(4)
    x = mw.ones {400, 400}
    for _ = 1, 20 do x:matmul(x):eval() end'
else
  skip "a program closes a state in which threads worked" "no program can be linked with lua5.4"
fi
rm -r "$host"

done_testing
