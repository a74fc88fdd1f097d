-- Ctrl-C at the prompt: it ends what runs, wherever it is, and nothing else.

local t = require "tap"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("Ctrl-C at the prompt", "tmux is not there")
  return t.done()
end

local ENDLESS = { -- what runs, how often Ctrl-C is pressed
  {"an endless loop", "while true do end", 1},
  {"one that catches errors", "while true do pcall(function() while true do end end) end", 2},
  {"one in a coroutine", "coroutine.wrap(function() while true do end end)()", 1},
  {"one in a coroutine of a coroutine",
    "coroutine.wrap(function() coroutine.wrap(function() while true do end end)() end)()", 1},
  {"one in coroutines that are resumed for ever",
    "while true do coroutine.resume(coroutine.create(function() while true do end end)) end", 2},
  {"a computation", "local a = mw.randn {300, 300} while true do (a:matmul(a)):eval() end", 1},
  {"a long output", "for i = 1, 1e9 do print(i) end", 1},
}

for _, how in ipairs {{MOONWALK_EDITOR = "plain"}, {}} do
  local s <close> = terminal.open {env = how}
  local with = how.MOONWALK_EDITOR and " without the editor" or " with the editor"
  s:ready()
  s:run "kept = mw.param(mw.ones {2})"
  for _, case in ipairs(ENDLESS) do
    local name, text, times = table.unpack(case)
    s:type("io.write('be', 'gun\\n') " .. text)
    s:key "Enter"
    s:wait(function(screen) return screen:find "begun" or screen:find "\n%d%d%d+\n" end)
    for i = 1, times do
      if i > 1 then os.execute "sleep 0.3" end -- so that two signals come
      s:key "C-c"
    end
    s:ready()
    t.ok(s:text():find "interrupted", name .. with)
    s:key "C-l"
    s:run "io.write('\\27[2J\\27[H')"
  end
  s:run "kept:sum():item()"
  t.ok(s:text():find "\n2%.0\n", "all is there afterwards" .. with)
  s:run "mw.ones {2}:sum():item()"
  t.ok(not s:text():find "error", "and programs run" .. with)
  s:key "C-d"
  t.is(s:finish(), 0, "Ctrl-D leaves, and all went well" .. with)
end

t.done()
