-- Values, pictures and times at the prompt, in terminals of several kinds.

local t = require "tap"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("looking at the prompt", "tmux is not there")
  return t.done()
end

local KINDS = {
  {columns = 80, rows = 24, locale = "C.UTF-8", env = {COLORTERM = "truecolor"}},
  {columns = 120, rows = 40, locale = "C.UTF-8", env = {}},
  {columns = 80, rows = 24, locale = "C", env = {MOONWALK_EDITOR = "plain"}},
  {columns = 120, rows = 40, locale = "C.UTF-8", env = {NO_COLOR = "1"}},
  {columns = 80, rows = 24, locale = "C", env = {NO_COLOR = "1"}},
  {columns = 80, rows = 24, locale = "C.UTF-8", env = {TERM = "screen"}}, -- 16 colours
}

local CLEAR = "do io.write('\\27[2J\\27[H') end"

-- Runs a line on an empty screen; the lines that it has printed, and the screen as it is styled.
local function run(s, line)
  s:run(CLEAR)
  s:run(line)
  local lines, shown = s:lines(), {}
  local from = 1
  while lines[from] and not lines[from]:find("> " .. line:sub(1, 20), 1, true) do
    from = from + 1
  end
  for i = from + 1, #lines do
    if lines[i] == ">" then break end
    shown[#shown + 1] = lines[i]
  end
  return shown, s:styled()
end

for _, kind in ipairs(KINDS) do
  local name = (" (%d x %d, %s%s)"):format(kind.columns, kind.rows, kind.locale,
    kind.env.NO_COLOR and ", no colour" or kind.env.TERM and ", 16 colours"
    or kind.env.COLORTERM and ", 24 bits" or "")
  local s <close> = terminal.open(kind)
  s:ready()

  -- Tensors.
  local lines, styled = run(s, "x = mw.ones {1000, 1000}; x = mw.concat({x, x / 0}, {axis = 1}); x")
  t.ok(lines[1] and lines[1]:find "^f32%[2000,1000%]  min 1  mean 1  max 1  1,000,000 infinities$",
    "two million elements in a line: " .. tostring(lines[1]) .. name)
  t.is(#lines, kind.rows // 2, "and some, on half of the screen" .. name)
  t.ok(lines[2]:find "^{{  1,   1,.* %.%.%.,   1,.*}," and lines[#lines]:find "inf}}$",
    "the first and the last" .. name)
  t.is(styled:find "31m[^\n]*infinities" ~= nil, not kind.env.NO_COLOR,
    "what is no number is red where there are colours" .. name)
  lines = run(s, "mw.tensor {0.5, 0/0}:mean()")
  t.ok(lines[1]:find "^f32%[%]  %-?nan$", "a scalar" .. name)

  -- Tables and networks.
  lines = run(s, "{loss = 0.25, {1, 2}}")
  t.is(lines, {"{{1, 2}, loss = 0.25}"}, "a table" .. name)
  lines = run(s, "t = {} for i = 1, 9999 do t[i] = {epoch = i} end return t")
  t.ok(#lines == kind.rows // 2 and lines[2] == "  {epoch = 1}," and
    lines[#lines - 1] == "  {epoch = 9999}", "a long one" .. name)
  lines = run(s, "nn.Sequential {nn.Dense {5}}")
  t.ok(lines[1]:find "^layer" and table.concat(lines, "\n"):find "1  Dense {5} +%?",
    "a network whose sizes are open" .. name)

  -- Pictures.
  s:run "c = mw.tensor({{255, 0}, {0, 255}}, 'u8')"
  lines, styled = run(s, "show(c, {scale = 2, captions = {'ab'}})")
  if kind.env.NO_COLOR or kind.env.TERM then
    local full = kind.locale == "C" and "@" or "█"
    t.is(lines, {full:rep(2), "  " .. full:rep(2), "ab"}, "a picture in shades" .. name)
  else
    local white = kind.env.COLORTERM and "2;255;255;255" or "5;231"
    t.is({#lines, lines[3]}, {3, "ab"}, "a picture over two lines, and its caption" .. name)
    t.ok(styled:find(white, 1, true), "in colours" .. name)
    t.ok(styled:find("▀▀", 1, true) ~= nil or kind.locale == "C", "of half blocks" .. name)
  end
  lines = run(s, "show(mw.data.digits {n = 50}.x)")
  t.ok(#lines <= kind.rows - 2 and lines[#lines]:find "^%d+ of 50 pictures, 28 x 28 pixels reduced "
    or kind.rows == 40 and #lines <= 38, "digits fit: " .. tostring(lines[#lines]) .. name)
  lines = run(s, "show(mw.zeros {784})")
  t.ok(table.concat(lines, " "):find "t:reshape", "what is no picture, and what may help" .. name)

  -- All of it.
  s:run ":full mw.arange(1, 500)"
  t.ok(s:all():find "f32%[500%]  min 1  mean 250.5  max 500\n{  1,   2," and
    s:text():find "499, 500}", ":full shows all" .. name)
  lines = run(s, ":time on")
  t.is(lines, {"times are shown"}, ":time on" .. name)
  lines = run(s, "y = (mw.ones {500, 500} * 3):eval()")
  t.ok(lines[1]:find "^[%d.]+ [mun]?s, 2.00 MB kept, peak 2.00 MB, 1 program compiled$",
    "what a line took: " .. lines[1] .. name)
  s:run ":time off"
  lines = run(s, ":bench mw.ones {10, 10}:matmul(mw.ones {10, 10})")
  t.ok(lines[1]:find "^[%d.]+ [mun]s, the median of %d+ runs; half of them took .* to ",
    ":bench: " .. lines[1] .. name)
  t.ok(not s:all():find "error: mw" and not s:all():find "traceback", "no error of its own" .. name)
end

-- What else the commands do.
do
  local s <close> = terminal.open {columns = 80, rows = 24}
  s:ready()
  local function said(line, text, name)
    local lines = run(s, line)
    t.ok(table.concat(lines, " "):find(text, 1, true), name or line .. ": " .. text)
  end
  said(":full", "there is none yet", "nothing to show yet")
  said("{1, 2}", "{1, 2}")
  said(":full", "{1, 2}", ":full shows the last value")
  said(":full nosuch.thing", "nosuch", ":full of what is not there")
  said(":full (", "error", ":full of what is no Lua")
  said(":time sometimes", ':time is followed by "sometimes", expected on or off')
  said(":bench", ":bench is followed by what is to be measured")
  said(":bench error 'no'", "no")
  s:run "y = mw.ones {2}:eval()"
  said(":bench y", "no program ran: this value was there already")
  said(":bench 1 + 1", "the median of 1000 runs")
  said("x", "nil", "a name without a value")

  s:type ":full mw.zeros {4000, 4000}"
  s:key "Enter"
  s:wait "max 0"
  s:key "C-c"
  s:ready()
  t.ok(s:text():find "interrupted", "Ctrl-C ends :full")
  s:run(CLEAR)
  s:run "n = 0"
  s:run "function f() n = n + 1; if n > 4 then print 'hangs' end; while n > 4 do end end"
  s:type ":bench f()"
  s:key "Enter"
  s:wait "\nhangs"
  s:key "C-c"
  s:ready()
  local flowing = s:all():gsub("%s+", " ") -- longer times need another line
  t.ok(flowing:find "the median of 3 runs; half of them took [^>]* before Ctrl%-C",
    "Ctrl-C ends :bench, which says what it has found")
  s:run "1 + 1"
  t.ok(s:text():find "\n2\n", "and the prompt goes on")
end

do
  local complete = require "moonwalk.prompt.complete"
  local s = require("moonwalk.prompt.session").new()
  s:set("zebra", 1)
  t.is({complete.words(s, ":full zeb", 9)}, {{"zebra"}, 7}, "expressions of commands are completed")
  t.is({complete.words(s, ":bench  x + zeb", 15)}, {{"zebra"}, 13}, "behind anything")
  t.is({complete.words(s, ":time o", 7)}, {{"off", "on"}, 7}, "and :time's two words")
end

-- Forced to draw pixels, the escape sequences leave the screen's other lines where they are.
for name, env in pairs {
  ["kitty's protocol"] = {MOONWALK_PICTURES = "kitty"}, sixels = {MOONWALK_PICTURES = "sixel"},
  kitty = {TERM = "xterm-256color", KITTY_WINDOW_ID = "1"},
  ["kitty by name"] = {TERM = "xterm-kitty"},
  ghostty = {TERM = "xterm-256color", TERM_PROGRAM = "ghostty"},
} do
  local s <close> = terminal.open {columns = 80, rows = 24, env = env}
  s:ready()
  local lines = run(s, "show(mw.zeros({1, 8, 8}, 'u8'), {scale = 1, captions = {'below'}})")
  t.is(lines, {"", "", "", "", "below"}, name .. ": four lines are left to the picture")
end
for name, env in pairs {
  ["in tmux in kitty"] = {KITTY_WINDOW_ID = "1"},
  ["without colours"] = {TERM = "xterm-256color", KITTY_WINDOW_ID = "1", NO_COLOR = "1"},
  ["asked for"] = {TERM = "xterm-256color", KITTY_WINDOW_ID = "1", MOONWALK_PICTURES = "blocks"},
} do
  local s <close> = terminal.open {columns = 80, rows = 24, env = env}
  s:ready()
  local lines = run(s, "show(mw.ones({1, 8, 8}, 'u8') * 255, {scale = 1})")
  t.ok(lines[1]:find "▀▀" or lines[1]:find "██", "blocks " .. name)
end
do -- What tmux answers: a VT102 that has sixels or not.
  local s <close> = terminal.open {}
  s:ready()
  local lines = run(s, "mw.core.ask_terminal('\\27[c', 'c', 10000)")
  t.ok(lines[1]:find '^"\\027%[%?1[%d;]*c"$', "the terminal's answer: " .. lines[1])
end
do
  local s <close> = terminal.open {env = {MOONWALK_PICTURES = "photos"}}
  s:ready()
  local lines = run(s, "show(mw.zeros {2, 2})")
  t.ok(table.concat(lines):find 'MOONWALK_PICTURES is "photos"', "another protocol")
end

t.done()
