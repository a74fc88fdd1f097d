-- Lines at the prompt: what keys do, the history, what is pasted; with and without libedit.
local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"
local core = require "moonwalk.core"
local history = require "moonwalk.prompt.history"
local paste = require "moonwalk.prompt.paste"

-- ---- pasted texts, without a terminal --------------------------------------------------------

local function texts(text)
  local list, open = paste.texts(paste.clean(text))
  list.open = open
  return list
end

t.is(texts "x = 1\ny = 2\n", {"x = 1\ny = 2", open = false}, "lines that are a chunk are one text")
t.is(texts "x = 1\r\ny = 2", {"x = 1\ny = 2", open = true},
  "whose end is open without a line break")
t.is(texts "> x = 1\n> x + 1\n2\n> for i = 1, 2 do\n>> print(i)\n>> end\n1\n2\n> ",
  {"x = 1", "x + 1", "for i = 1, 2 do\nprint(i)\nend", open = false},
  "what was copied from a prompt is what was typed there")
t.is(texts "x = 1\n> x + 1\n2\n> y", {"x = 1", "x + 1", "y", open = true},
  "also when the first mark was missed")
t.is(texts "the greeting\n> x = 1\n", {"x = 1", open = false}, "but no other text before it")
t.is(texts "s = [[\n> quoted\n]]\n", {"s = [[\n> quoted\n]]", open = false},
  "a mark within Lua is Lua")
t.is(texts "local a = 1\na + 1\nif a then\n  a = 2\nend\n:time on\n",
  {"local a = 1", "a + 1", "if a then\n  a = 2\nend", ":time on", open = false},
  "expressions and commands among statements are texts of their own")
t.is(texts "x = )\nx + 1\n", {"x = )\nx + 1", open = false}, "what is no Lua stays as it is")
t.is(paste.unmarked "> x", "x", "a mark is taken off a line")
t.is(paste.unmarked "x > y", "x > y", "and nothing else")
t.is(paste.clean "a\27[31mb\7\tc\r", "ab\tc\n", "no control characters")

-- ---- the history, without a terminal ---------------------------------------------------------

local path = folder.path .. "/state/moonwalk/history"
local past = history.open(path)
t.is(past.entries, {}, "a history begins empty")
past:add "x = 1"
past:add "x = 1"
past:add "s = 'a\\nb'\nprint(s)"
past:add "   "
past:add "x = 2"
t.is(history.open(path).entries, {"x = 1", "s = 'a\\nb'\nprint(s)", "x = 2"},
  "entries are kept in a file: lines, backslashes, none twice in a row")
local stat = io.popen(("stat -c %%a '%s' '%s'"):format(path, path:match ".*/"))
t.is(stat:read "a", "600\n700\n", "which is the user's alone")
stat:close()

local function find(from, step, text, as_prefix, shown)
  return (past:find(from, step, text, as_prefix, shown))
end
t.is(find(4, -1, "x", true), 3, "the last entry that begins with a text")
t.is(find(3, -1, "x", true), 1, "the one before")
t.is(find(1, -1, "x", true), nil, "and no more")
t.is(find(1, 1, "x", true), 3, "forward again")
t.is(find(4, -1, "print", true), nil, "nothing begins with that")
t.is(find(4, -1, "print", false), 2, "but something has it")
t.is(find(4, -1, "x", true, "x = 2"), 1, "what is shown is passed over")

local many = {}
for i = 1, 4 do
  many[i] = ("%q -e 'for i = 1, 200 do mw.core.history_append(%q, \"%d \" .. i, 1000000) end' &")
    :format(os.getenv "MOONWALK_BUILD" .. "/moonwalk", folder.path .. "/shared", i)
end
os.execute(table.concat(many, "\n") .. "\nwait")
local count, seen = 0, {}
for line in io.lines(folder.path .. "/shared") do
  count, seen[line] = count + 1, true
end
local missing = 0
for i = 1, 4 do
  for k = 1, 200 do missing = missing + (seen[i .. " " .. k] and 0 or 1) end
end
t.is({count, missing}, {800, 0}, "several prompts write at once, and nothing is lost")

for i = 1, 300 do core.history_append(folder.path .. "/short", ("line %03d"):format(i), 900) end
local kept = {}
for line in io.lines(folder.path .. "/short") do kept[#kept + 1] = line end
local whole = #kept > 40 and #kept <= 100
for i = 2, #kept do
  whole = whole and tonumber(kept[i]:match "%d+") == tonumber(kept[i - 1]:match "%d+") + 1
end
t.ok(whole and kept[#kept] == "line 300", "a file that grows too large loses its oldest lines")
local long = history.open(folder.path .. "/long")
for _, text in ipairs {"first", ("x"):rep(1 << 19), "last"} do long:add(text) end
t.is(#long.entries, 3, "a text of half a megabyte can be called back")
t.is(history.open(folder.path .. "/long").entries, {"first", "last"}, "but is not kept in the file")
t.is(history.open(folder.path).entries, {}, "a folder is no history")
local done, message = core.history_append("/dev/null/none/history", "x", 1000)
t.ok(not done and message:find("/dev/null/none", 1, true), "a file that cannot be is a message")

if not terminal.available() then
  t.skip("lines that are typed", "there is no tmux")
  folder.remove()
  return t.done()
end

-- ---- everywhere ------------------------------------------------------------------------------

local has_libedit = false
for _, editor in ipairs {"libedit", "plain"} do
  for _, locale in ipairs {"C.UTF-8", "C"} do
    for _, size in ipairs {{80, 24}, {120, 40}} do
      local name = ("%s, %s, %dx%d: "):format(editor, locale, size[1], size[2])
      local s <close> = terminal.open {columns = size[1], rows = size[2], locale = locale,
        env = {MOONWALK_EDITOR = editor == "plain" and "plain" or nil}}
      s:ready()
      s:run "require('moonwalk.prompt.input').kind()"
      if editor == "libedit" then has_libedit = s:text():find('"libedit"', 1, true) ~= nil
      else t.ok(s:text():find('"plain"', 1, true), name .. "no line editor") end
      s:run "six = 2 * 3"
      s:run "six * 7"
      t.ok(s:text():find "\n42\n", name .. "an expression")
      s:run("for i = 1, 2 do", ">> ")
      s:run("print('line', i)", ">> ")
      s:run "end"
      t.ok(s:text():find "\nline%s+1\nline%s+2\n", name .. "several lines")
      s:type "six = 1"
      s:wait "> six = 1"
      s:key "C-c"
      s:ready()
      s:run("do", ">> ")
      s:key "C-c"
      s:ready()
      s:run "six"
      t.ok(s:text():find "\n6\n", name .. "Ctrl-C leaves a line, and several")
      s:run "> six + 1"
      t.ok(s:text():find "\n7\n", name .. "the mark of a prompt is no part of a line")
      s:key "C-d"
      t.is(s:finish(), 0, name .. "Ctrl-D leaves")
    end
  end
end

do
  local s <close> = terminal.open {env = {TERM = "dumb"}}
  s:ready()
  s:run "1 + 1"
  t.ok(s:text():find "\n2\n", "a terminal that can do nothing will do")
end

local pipe = io.popen(("echo 'print(6 * 7)' | %s/moonwalk"):format(os.getenv "MOONWALK_BUILD"))
t.is(pipe:read "a", "42\n", "standard input that is no terminal is a script")
pipe:close()

if not has_libedit then
  t.skip("editing", "libedit is not there")
  folder.remove()
  return t.done()
end

local empty = ("%s -shared -x c /dev/null -o '%s/libedit.so.2' 2>/dev/null")
  :format(os.getenv "CC" or "cc", folder.path)
if os.execute(empty) then -- it has none of the functions
  local s <close> = terminal.open {env = {LD_LIBRARY_PATH = folder.path}}
  s:ready()
  t.ok(s:text():find("libedit2", 1, true), "without libedit there is a hint")
  s:run "1 + 1"
  t.ok(s:text():find "\n2\n", "and lines are read all the same")
else
  t.skip("without libedit", "there is no compiler")
end

-- ---- editing ---------------------------------------------------------------------------------

do
  local s <close> = terminal.open {}
  s:ready()
  s:type "print('世界é" -- deleted, and inserted in the middle
  s:key("BSpace", "Left", "BSpace", "Right")
  s:type "é')"
  s:wait "print('界é')"
  s:key("Home", "DC")
  s:type "P"
  s:key "BSpace"
  s:type "p"
  s:key "End"
  s:type " -- 世"
  s:wait "> print('界é') -- 世"
  s:key "Enter"
  s:ready()
  t.ok(s:text():find("\n界é\n", 1, true), "wide characters are typed, deleted and moved over")

  s:type "alpha beta gamma"
  s:key("C-Left", "C-Left", "C-w")
  s:wait "> beta gamma"
  s:key "C-k"
  s:wait_gone "gamma"
  s:key "C-y"
  s:wait "beta gamma"
  s:key("C-a", "M-d")
  s:wait_gone "beta"
  s:key("C-e", "C-u")
  s:wait_gone "gamma"
  s:ready()
  t.ok(true, "words and ends of the line are deleted")

  s:type "abc"
  s:key("Left", "C-d")
  s:wait(function(text) return text:find "\n> ab%s*$" end)
  s:key("F5", "PPage", "IC", "M-z")
  s:ask "send-keys -H 1b c3 a9" -- Alt and é
  s:type "9"
  s:wait "> ab9"
  t.ok(true, "keys without a meaning write nothing")
  s:key "C-c"
  s:ready()

  s:type("x" .. ("世界"):rep(45)) -- 181 columns
  s:wait(function(text) return select(2, text:gsub("世", "")) == 46 end) -- and the one above
  s:key("Home", "DC")
  s:type "print'"
  s:key "End"
  s:type "'"
  s:wait "世界'"
  s:resize(50, 20)
  s:wait "\n界世界世界世界世界世界世界世界世界世界'\n" -- 21 + 25 + 25 of them are above
  s:key "Home"
  s:key("Right", "Right", "Right", "Right", "Right", "Right")
  s:type "+"
  s:resize(100, 30)
  s:wait "print'+世界"
  s:key "Enter"
  s:ready()
  local _, shown = s:all():gsub("\n%+" .. ("世界"):rep(45) .. "\n", "")
  t.is(shown, 1, "a line that is longer than the terminal is wide, which changes")

  s:type "function f(n)"
  s:key("M-Enter")
  s:type "return n + 1 end"
  s:wait "> function f(n)\n>> return n + 1 end"
  s:key("Up", "End", "Left")
  s:type ", m"
  s:wait "f(n, m)"
  s:key("Down", "Home")
  s:type " "
  s:wait "\n>>  return n"
  s:key "Enter"
  s:ready()
  s:run "f(41)"
  t.ok(s:text():find "\n42\n", "a line break is put in, and lines are moved between")
end

-- ---- history ---------------------------------------------------------------------------------

local home = folder.path .. "/home"
os.execute(("mkdir '%s'"):format(home))
do
  local s <close> = terminal.open {home = home}
  s:ready()
  s:run "first = 1"
  s:run "second = 2"
  s:run "second = 2"
  s:run("for i = 1, 1 do", ">> ")
  s:run("first = first + i", ">> ")
  s:run "end"
  s:key "C-d"
  s:finish()
end
do
  local s <close> = terminal.open {home = home}
  s:ready()
  s:key "Up"
  s:wait "> for i = 1, 1 do\n>> first = first + i\n>> end"
  s:key "Up"
  s:wait "> second = 2"
  s:key "Up"
  s:wait "> first = 1"
  s:key("Up", "Down", "Down")
  s:wait ">> first = first + i\n>> end"
  s:key "Down"
  s:ready()
  t.ok(true, "what was typed before, at another prompt, is there: several lines as one entry")

  s:type "fi"
  s:wait "> fi"
  s:key "Up"
  s:wait "> first = 1"
  s:key "Up" -- there is no other
  s:type "0"
  s:wait "> first = 10"
  s:key "C-u"
  s:type "x = 's"
  s:wait "> x = 's"
  s:key("Up", "Down")
  s:type "'"
  s:wait "> x = 's'"
  s:key "C-u"
  s:type "se"
  s:wait "> se"
  s:key "Up"
  s:wait "> second = 2"
  s:key "Down"
  s:wait_gone "> second"
  s:type "cond"
  s:wait "> second"
  t.ok(true, "only entries that begin with what was typed, which comes back")
  s:key "C-c"
  s:ready()
end
do
  local s <close> = terminal.open {home = home}
  s:ready()
  s:run "unrelated = 's = 2'"
  s:type "draft"
  s:wait "> draft"
  s:key "C-r"
  s:wait "(search: '') draft"
  s:type "= 2"
  s:wait "(search: '= 2') unrelated = 's = 2'"
  s:key "C-r"
  s:wait "(search: '= 2') second = 2"
  s:key "C-r"
  s:wait "(not found: '= 2') second = 2"
  s:key "C-s"
  s:wait "(search: '= 2') unrelated"
  s:key("BSpace", "BSpace", "BSpace")
  s:wait "(search: '') draft"
  s:type "ond"
  s:wait "(search: 'ond') second = 2"
  s:key "C-g"
  s:wait "> draft"
  t.ok(true, "Ctrl-R searches as one types, and is called off")
  s:key "C-r"
  s:type "seco"
  s:wait "(search: 'seco') second = 2"
  s:key "End"
  s:type "0"
  s:wait "> second = 20"
  s:key "Enter"
  s:ready()
  s:run "second"
  t.ok(s:text():find "\n20\n", "what was found is changed, and run")
  s:key "C-r"
  s:type "unrel"
  s:wait "unrelated ="
  s:key "C-c"
  s:ready()
  t.ok(true, "Ctrl-C leaves the search and the line")
end
do
  local a <close> = terminal.open {home = home}
  local b <close> = terminal.open {home = home}
  a:ready()
  b:ready()
  a:run "from_a = 1"
  b:run "from_b = 1"
  a:run "from_a = 2"
  b:key "C-d"
  a:key "C-d"
  a:finish()
  b:finish()
  local c <close> = terminal.open {home = home}
  c:ready()
  c:key "Up"
  c:wait "> from_a = 2"
  c:key "Up"
  c:wait "> from_b = 1"
  c:key "Up"
  c:wait "> from_a = 1"
  t.ok(true, "two prompts side by side keep all that was typed")
end
do
  local line = "x = '" .. ("a"):rep(32) .. "\1b'" -- in a file that another program has written
  assert(core.history_append(home .. "/state/moonwalk/history", line, 1000000))
  local s <close> = terminal.open {home = home, columns = 40}
  s:ready()
  s:key "Up"
  s:wait(("> x = '%s\n^Ab'\n"):format(("a"):rep(32)))
  t.is({s:cursor()}, {5, 4}, "the two characters of a control character stay together")
end

-- ---- pasting ---------------------------------------------------------------------------------

do
  local s <close> = terminal.open {}
  s:ready()
  s:type "f(1"
  s:wait "> f(1"
  s:key "Left"
  s:paste "x +\t"
  s:wait "> f(x +"
  s:key "C-c"
  s:ready()
  t.ok(true, "a piece of a line is put in, and a tab in it completes nothing")

  s:type "total = 0;"
  s:wait "total = 0;"
  s:paste " for i = 1, 10 do\n\ttotal = total + i\nend\nprint('total', total)\n"
  s:wait(function(text) return text:find "\ntotal%s+55\n" end)
  s:ready()
  s:key "Up"
  s:wait "> total = 0; for i = 1, 10 do"
  s:wait "print('total', total)"
  s:key "C-c"
  s:ready()
  t.ok(true, "several lines are run at once, behind what was typed, and are one entry")

  s:paste "local a = 3\na * 7\n:nothing\nif a then\n  a = a + 1\nend\na * 7"
  s:wait "> a * 7"
  s:wait(function(text) return text:find "\n21\n" end)
  s:wait ">> end\n> a * 7"
  t.ok(not s:text():find "\n28\n", "what no line break ends waits for Enter")
  s:key "Enter"
  s:ready()
  t.ok(s:text():find "\n28\n", "expressions among the lines are run one by one")

  s:paste "> b = 5\n> b * b\n25\n> for i = 1, 2 do\n>> b = b + i\n>> end\n> "
  s:wait "> for i = 1, 2 do\n>> b = b + i\n>> end\n"
  s:ready()
  s:run "b"
  t.ok(s:text():find "> b %* b\n25\n", "what is copied from a prompt is run there again")
  t.ok(s:text():find "\n8\n$" or s:text():find "\n8\n", "with lines that belong together")

  local lines = {"local n = 0"}
  for i = 1, 300 do lines[#lines + 1] = "n = n + " .. i end
  lines[#lines + 1] = "print('sum of', n)\n"
  s:paste(table.concat(lines, "\n"))
  s:wait(function(text) return text:find "\nsum of%s+45150\n" end)
  s:ready()
  t.ok(true, "more lines than the terminal has")
  s:paste "> while true do end\n> print('after', 'it')\n> 1 + 1\n"
  s:wait "> while true do end\n"
  s:key "C-c"
  s:wait "interrupted"
  s:ready()
  t.ok(not s:text():find "after%s+it", "Ctrl-C stops what was pasted along with it, too")

  -- A pasted line is shown by print, which presses Ctrl-C here: once it is read, before it runs.
  s:run "own, show, press = package.loaded._G, print, require 'moonwalk.core'.press_interrupt"
  s:run "function own.print(...) show(...) if ... == '> ran = 1' then press() end end"
  s:paste "> ran = 0\n> ran = 1\n> ran = 2\n"
  s:wait "> ran = 1\nerror: interrupted"
  s:ready()
  s:run "own.print = show"
  s:run "ran"
  t.ok(s:text():find "> ran\n0\n", "Ctrl-C between two lines is kept for the next")
  s:key "C-r"
  s:paste "b * b"
  s:wait "> b * b"
  t.ok(not s:text():find("search:", 1, true), "pasting ends a search")
end

-- ---- colours ---------------------------------------------------------------------------------

for _, colourless in ipairs {false, true} do
  local s <close> = terminal.open {env = {NO_COLOR = colourless and 1 or nil}}
  s:ready()
  s:type "local s = 'text' -- 世"
  s:key("M-Enter")
  s:type "return 12"
  s:wait "> local s = 'text' -- 世\n>> return 12"
  local styled = s:styled()
  if colourless then
    t.ok(styled:find("> local s = 'text' -- 世\n>> return 12", 1, true), "NO_COLOR: no colours")
  else
    t.ok(styled:find("> \27%[35mlocal\27%[39m s = \27%[32m'text'\27%[39m"), "Lua is in colours")
    t.ok(styled:find("\n[^\n]*>> \27%[35mreturn\27%[39m \27%[36m12"), "also behind a line break")
  end
  s:key "C-c"
  s:ready()
end

-- ---- what is done meanwhile ------------------------------------------------------------------

local meanwhile = folder.put("meanwhile.lua", [[
local input = require "moonwalk.prompt.input"
local calls, seen = 0, 0
local function idle()
  calls = calls + 1
  if calls % 10 == 0 then input.above("call " .. calls) end
  return calls < 100 and 0.01
end
while true do
  local text, why = input.line("> ", {idle = idle})
  if not text then print(why) break end
  seen = seen + 1
  print(seen, text, calls)
end
io.write "a key? "
io.flush()
input.raw(true)
local key = input.key(20)
input.raw(false)
print("[" .. key .. "]", input.key(0))
input.line("", {idle = function() error("it fails", 0) end})
]])
for _, editor in ipairs {"libedit", "plain"} do
  local s <close> = terminal.open {args = meanwhile, env = {MOONWALK_EDITOR = editor}}
  if editor == "libedit" then
    s:type(("wide "):rep(20)) -- longer than the terminal
    s:wait(("wide "):rep(15))
    s:key "Left"
    s:wait "call 100"
    s:type "X"
    s:wait "wideX"
    t.ok(s:text():find("call 90\ncall 100\n> wide wide", 1, true), "lines are shown above the line")
    s:key "Enter"
    s:wait(function(text) return text:find "\n1%s+wide" end)
    t.ok(s:text():find("wideX%s+100\n"), "and the line is as it was typed")
  else
    s:wait "call 100"
    s:ready()
    s:type "something"
    s:key "Enter"
    s:wait(function(text) return text:find "\n1%s+something%s+100\n" end)
    t.ok(true, "other things are done while a plain line is read")
  end
  s:key "C-c"
  s:wait "a key?"
  s:key "Up"
  s:wait "[up]"
  t.ok(s:text():find("interrupted", 1, true), "a key on its own, " .. editor)
  t.is(s:finish(), 1, "an error meanwhile is raised, " .. editor)
  t.ok(s:text():find("it fails", 1, true), "as it is")
end

-- ---- the terminal is left as it was ----------------------------------------------------------

do
  local own = os.getenv "MOONWALK_BUILD" .. "/moonwalk"
  local s <close> = terminal.open {command = ("sh -c '%s; stty -a; sleep 60'"):format(own)}
  s:ready()
  s:run "tonumber(io.open('/proc/self/stat'):read 'n')"
  local pid = s:text():match "\n(%d+)\n> *\n"
  s:type "half a line"
  s:wait "half a line"
  os.execute("kill -TERM " .. pid)
  s:wait "icanon"
  t.ok(not s:text():find("-icanon", 1, true) and not s:text():find("-echo ", 1, true),
    "when it is ended by a signal")
end
do
  local own = os.getenv "MOONWALK_BUILD" .. "/moonwalk"
  local s <close> = terminal.open {env = {PS1 = "$ "}, command = "bash --norc --noprofile -i"}
  s:ready "$ "
  s:type(own)
  s:key "Enter"
  s:ready()
  s:type "12 + "
  s:wait "> 12 +"
  s:key "C-z"
  s:wait "Stopped"
  s:ready "$ "
  s:type "stty -a"
  s:key "Enter"
  s:wait "icanon"
  t.ok(not s:text():find("-icanon", 1, true), "when it is stopped")
  s:ready "$ "
  s:type "fg"
  s:key "Enter"
  s:wait "\n> 12 +"
  s:type "30"
  s:key "Enter"
  s:wait "\n42\n"
  t.ok(true, "and the line goes on when it does")
end

folder.remove()
t.done()
