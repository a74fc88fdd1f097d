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

done_testing
