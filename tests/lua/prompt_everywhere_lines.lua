-- prompt_everywhere_lines.lua: typing at the prompt, in all kinds of terminals: expressions,
-- variables, several lines, what is pasted, the history, completion, Ctrl-C, errors.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"

local script = folder.put("begin.lua", [[
#!/usr/bin/env moonwalk
local hidden = 20
shown = 22
print("begun with", ...)
]])

local SAVED = {"x = 6", "x * 7"}

local function values(s)
  s:enter "6 * 7":is {"42"}
  s:enter "_ + 1":is {"43"}
  s:enter "_ * 2;":is {}
  s:enter "_":is {"86"}
  s:enter "x = 6":is {}
  s:enter "x, 'a text', nil":is {"6", '"a text"', "nil"}
  s:enter "calls = 0; function once() calls = calls + 1 return calls end":is {}
  s:enter "once()":is {"1"}
  s:enter "calls":is {"1"}
  s:enter "print('printed')":is {"printed"}
  s:enter "{1, {2}, name = 'n'}":is {'{1, {2}, name = "n"}'}
end

local function variables(s)
  s:enter "local here = 5":is {}
  s:enter "local function add() here = here + 1 return here end":is {}
  s:enter "add() + here":is {"12"}
  s:enter "hidden + shown":is {"42"}
end

local function several_lines(s)
  s:enter("for i = 1, 2 do", ">> ")
  s:enter("print('line', i)", ">> ")
  s:enter "end"
  s:matches "^line%s+1\nline%s+2$"
  s:enter("text = [[", ">> ")
  s:enter("x = 7", ">> ")
  s:enter "]]":is {}
  s:enter "text, #text":is {"x = 7", "", "6"}
  s:enter("f(", ">> ")
  s:key "C-c"
  s:ready()
  s:enter "x":is {"6"}
end

-- A pasted block, and the text of another prompt, with its marks and answers. A terminal that does
-- not mark what is pasted gives the same lines as if they had been typed. Without an editor the
-- terminal shows all lines first, and the answers behind the prompts.
local function pasting(s)
  s:clear()
  s:paste "local sum = 0\nfor i = 1, 10 do\n  sum = sum + i\nend\nprint('sum', sum)\n"
  s:wait(function(text) return text:find "sum%s+55\n" end)
  s:ready()
  s:clear()
  s:paste "> b = 5\n> b * b\n> for i = 1, 2 do\n>> b = b + i\n>> end\n> print('b is', b)\n"
  s:wait(function(text) return text:find "b is%s+8\n" end)
  s:ready()
  s:check(not s:text():find "error", "nothing of it is an error")
  s:clear()
  s:ask([[set-buffer "for i = 4, 5 do\n  print('raw', i)\nend\n"]], "paste-buffer -d")
  s:wait(function(text) return text:find "raw%s+4\nraw%s+5\n" end)
  s:ready()
end

-- Without an editor there are no keys that bring lines back, nor Tab: a terminal's own line.
local function keys(s)
  if not s.edits then
    s:type "print('mispelt'"
    for _ = 1, 9 do s:key "BSpace" end
    s:type "'plain')"
    s:key "Enter"
    s:wait "\nplain\n"
    s:ready()
    return
  end
  s:enter "value = 'first'"
  s:enter "other = 'second'"
  s:clear()
  s:key("Up", "Up")
  s:wait "> value = 'first'"
  s:key "C-u"
  s:type "val"
  s:wait "> val"
  s:key "Up"
  s:wait "> value = 'first'"
  s:key "C-u"
  s:key "C-r"
  s:type "sec"
  s:wait "(search: 'sec') other = 'second'"
  s:key("End", "BSpace")
  s:type "!'"
  s:key "Enter"
  s:ready()
  s:enter "value .. other":is {'"firstsecond!"'}
end

local function completion(s)
  s:enter "net = nn.Sequential {{'conv1', nn.Conv2d {1, 6, kernel = 5}}}":is {}
  if not s.edits then return end
  s:clear()
  for _, case in ipairs {
    {"pri", "print"}, {"mw.maxp", "mw.maxpool"}, {"('a'):upp", "('a'):upper"},
    {"net.conv1.wei", "net.conv1.weight"}, {"mw.conv2d(x, w, {dil", "mw.conv2d(x, w, {dilation ="},
    {"nn.Conv2d {1, 6, ker", "nn.Conv2d {1, 6, kernel ="}, {"?sigm", "?sigmoid"},
    {":tim", ":time"}, {"mw.load '" .. folder.path .. "/beg", "/begin.lua'"},
  } do
    s:type(case[1])
    s:key "Tab"
    s:wait(function(text) return text:gsub("\n", ""):find(case[2], 1, true) end)
    s:key "C-c"
    s:ready()
    s:clear()
  end
  s:type "mw.conv2"
  s:key("Tab", "Tab", "Tab")
  s:wait "conv2d_weight_gradient\n> mw.conv2d"
  s:key "C-c"
  s:ready()
end

-- What is wide is shown as it is with a UTF-8 locale; else by the numbers of its bytes.
local function wide(s)
  s:enter "('\\u{4e16}\\u{754c}'):rep(2)"
  s:is {s.utf8 and '"世界世界"' or '"' .. ("\\228\\184\\150\\231\\149\\140"):rep(2) .. '"'}
end

local function errors(s)
  s:enter "error 'as it is'":is {"error: as it is"}
  s:is_coloured("error:", "31")
  s:enter "x = = 1":is {"error: unexpected symbol near '='", "  x = = 1", "      ^"}
  s:enter "prnt(1)":is {"error: there is no variable 'prnt'; did you mean print?"}
  s:enter "mw.ones {2, 3} + mw.ones {3, 2}"
  s:has "a is f32[2,3] and b is f32[3,2], which do not broadcast"
  s:enter "local function f() error 'deep' end  f()"
  s:has("deep", "in function 'f'")
  s:enter ":tiem on":has "did you mean :time?"
  s:enter "x":is {"6"}
end

local function interrupting(s)
  s:clear()
  s:type "kept = mw.param(mw.ones {3}); io.write('be', 'gun\\n'); while true do end"
  s:key "Enter"
  s:wait "\nbegun\n"
  s:key "C-c"
  s:wait "error: interrupted"
  s:ready()
  s:clear()
  s:type "a line that is given up"
  s:wait "a line that is given up"
  s:key "C-c"
  s:ready()
  s:clear()
  s:type "local a = mw.randn {200, 200}; print 'on'; while true do (a:matmul(a)):eval() end"
  s:key "Enter"
  s:wait "\non\n"
  s:key "C-c"
  s:wait "error: interrupted"
  s:ready()
  s:enter "kept:sum():item()":is {"3.0"}
  if s.edits then
    s:clear()
    s:key "Up"
    s:wait "> kept:sum():item()"
    s:key "C-c"
    s:ready()
  end
end

-- A window that becomes smaller and larger while a line is typed.
local function resizing(s)
  s:clear()
  s:type "many = '0123456789 0123456789 0123456789 0123456789 0123456789'"
  s:wait "56789'"
  s:resize(s.columns - 30, s.rows - 6)
  s:resize(s.columns, s.rows)
  s:key "Enter"
  s:ready()
  s:enter "#many":is {"54"}
  s:enter "mw.arange(1, 100)":has "f32[100]  min 1  mean 50.5  max 100"
end

-- Ctrl-D leaves; the next prompt has the history.
local function leaving(s)
  for _, line in ipairs(SAVED) do s:enter(line) end
  s:key "C-d"
  s:check(s:finish() == 0, "Ctrl-D leaves with the status 0")
  s:ask "respawn-pane"
  s:ready()
  s:enter "x":is {"nil", "hint: there is no variable 'x'"}
  if s.edits then
    s:clear()
    s:key("Up", "Up")
    s:wait "> x * 7"
    s:key "Up"
    s:wait "> x = 6"
    s:key "Enter"
    s:ready()
    s:enter "x + 1":is {"7"}
  end
end

everywhere.play({
  {"a script is run first", function(s)
    s:check(s:text():find "^begun with%s+one%s+2\n", "what it prints")
  end},
  {"expressions are shown, once computed; _ and ;", values},
  {"local variables and those of the script stay", variables},
  {"several lines, and what they still lack", several_lines},
  {"what is pasted, in brackets or without", pasting},
  {"the history, or a terminal's own line", keys},
  {"completion", completion},
  {"wide characters", wide},
  {"errors are told and end nothing", errors},
  {"Ctrl-C ends Lua, ops and a line; all is there afterwards", interrupting},
  {"a terminal that is resized", resizing},
  {"Ctrl-D leaves; what was typed is kept", leaving},
}, {args = "-i '" .. script .. "' one 2"})

folder.remove()
t.done()
