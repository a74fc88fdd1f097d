-- prompt_ops.lua: what the prompt says of ops, functions, variables, the manual and the session
-- itself: :ops, ?name, ??name, :who, :doc, :history, :save.

local t = require "tap"
local folder = require "folder"
local terminal = require "terminal"
local mw = require "moonwalk"
local core = mw.core
local session = require "moonwalk.prompt.session"
local sources = require "moonwalk.prompt.sources"

folder.own_cache()

-- ---- without a terminal ---------------------------------------------------------------------

local said, s
local function begin()
  s = session.new()
  s.out = {write = function(_, ...) said = said .. table.concat {...} end, flush = function() end}
end
begin()

local function answer(...)
  said = ""
  for _, text in ipairs {...} do s:run(text) end
  return (said:gsub("\n$", ""))
end

local function has(text, wanted, what)
  t.ok(text:find(wanted, 1, true), what)
  if not text:find(wanted, 1, true) then print("# " .. text:gsub("\n", "\n# ")) end
end

local function widest(text)
  local most = 0
  for line in text:gmatch "[^\n]+" do most = math.max(most, core.width(line)) end
  return most
end

-- :ops
local all = answer ":ops"
for _, name in ipairs {"conv2d", "abs", "where", "scaled_dot_product_attention"} do
  has(all, name, ":ops lists " .. name)
end
t.ok(widest(all) <= 80, "in columns that fit")
local pools = answer ":ops pool"
has(pools, "maxpool ", "a word finds names")
has(pools, "The largest value of each window of NCHW images", "with what they do")
t.ok(not pools:find "conv2d", "and no other")
t.ok(widest(pools) <= 80, "each in a line")
has(answer ":ops hendrycks", "gelu", "a word of the description, whatever its case")
t.is(answer ":ops sofmax",
  'error: no op has "sofmax" in its name or description; did you mean :ops softmax?',
  "a misspelt one")

-- ?op
local text = answer "?conv2d"
has(text, "mw.conv2d(x, w, b?, {stride = 1, padding = 0", "?conv2d: the call")
has(text, "stride             integer or list (default 1", "the schema")
has(text, "Example: mw.conv2d(", "an example")
has(text, "ops/conv2d.c; ??conv2d shows it", "and where it is written")
has(answer "?silu", "y = x / (1 + exp(-x))", "?silu: the formula")
has(answer "?mw.conv2d", "mw.conv2d(x, w, b?", "with mw in front")
s:run "x = mw.ones {2, 3}"
has(answer "?x:sum", "mw.sum(x, {axes", "as a method of a tensor")
t.is(answer "?covn2d", 'error: there is nothing called "covn2d"; did you mean ?conv2d',
  "a misspelt op")
has(answer "?nn.Linear", "did you mean ?nn.Dense", "a name of another framework")
has(answer "?optim.SDG", "did you mean ?optim.SGD", "a misspelt name in a table")
has(answer "?zzzzzz", ":ops lists the ops", "what is near nothing")
has(answer "?", "explains a command", "nothing is :help")

-- ?function, ?class
text = answer "?mw.fit"
has(text, "mw.fit(net, train, options?)", "?mw.fit: the call")
has(text, "Trains a network.", "its comment")
has(text, "early_stop", "the options")
has(text, "goes on from the checkpoint where there is one", "with what they are")
t.ok(widest(text) <= 80, "which fits")
local wide = {}
for part, of in pairs {mw = mw, nn = mw.nn, optim = mw.optim, data = mw.data,
  ["mw.plugin"] = mw.plugin, ["optim.schedule"] = mw.optim.schedule, ["nn.init"] = mw.nn.init} do
  for name in pairs(require("moonwalk.prompt.members").names(of, false)) do
    local word = ("%s.%s"):format(part, name)
    if widest(answer("?" .. word)) > 80 then wide[#wide + 1] = word end
  end
end
t.is(table.concat(wide, " "), "", "whatever is explained fits 80 columns")
text = answer "?nn.Conv2d"
has(text, "nn.Conv2d {...}", "?nn.Conv2d: the call")
has(text, "groups          1 (integer?)", "its options")
has(answer "?Conv2d", "nn.Conv2d {...}", "a layer by its name alone")
text = answer "?optim.SGD"
has(text, "p <- p - lr b", "?optim.SGD: the rule")
has(text, "momentum      0", "and its options with their defaults")
text = answer "?nn.LeakyReLU"
has(text, "applies the op leaky_relu", "?nn.LeakyReLU: the op that it applies")
has(text, "negative_slope", "and its attributes")
has(answer "?mw.plugin.load", "looked for in the folders of MOONWALK_PLUGINS",
  "a function of mw.plugin")
has(answer "?optim", "Adam, ", "?optim: what is in it")
has(answer "?string.format", "manual.html#pdf-string.format", "a function of Lua")
has(answer "?:who", ":who\nLists", "a command")
has(answer("function f(a, b) return a end", "?f"), "f(a, b)", "a function of one's own")
has(answer "?x", "f32[2,3]", "a variable")

-- ??
text = answer "??conv2d"
has(text, "ops/conv2d.c, ", "??conv2d: the file")
has(text, 'name = "conv2d"', "the op")
has(text, "winograd in ops/conv2d_winograd.c", "where other kernels are")
has(text, "??conv2d full shows all of it", "and that this is not all")
t.ok(widest((text:gsub("other kernels[^\n]*", ""))) <= 80, "as wide as the screen")
t.ok(select(2, text:gsub("\n", "\n")) < 24, "and as high")
has(answer "??conv2d winograd", "ops/conv2d_winograd.c", "a kernel")
has(answer "??conv2d/winograd", "ops/conv2d_winograd.c", "or so")
has(answer "??conv2d winogard", 'conv2d has no kernel "winogard"', "a misspelt one")
text = answer "??conv2d full"
local shipped = folder.contents "ops/conv2d.c"
t.is(select(2, text:gsub("\n", "\n")), select(2, shipped:gsub("\n", "\n")),
  "all of the file has its lines and a heading")
text = answer "??relu"
has(text, "> " .. "  RISE(relu, ", "an op that is a row of a table")
has(answer "??mw.fit", "  function trainer.fit(net, train, options)", "??mw.fit: Lua")
has(answer "??nn.Conv2d", "moonwalk/nn/conv.lua", "a layer")
has(answer("function g(x)\n  return x + 1 -- it\nend", "??g"), "2    return x + 1 -- it",
  "a function of a line")
has(answer "??:who", "moonwalk/prompt/commands/who.lua", "a command")
has(answer "??print", "print is a function in C", "what is in C")
has(answer "??covn2d", "did you mean ??conv2d", "a misspelt name")
has(answer "??x", "x is a tensor, and has no source", "what has none")

-- Every op is found where it is defined: its name stands there.
local lost, inexact = {}, {}
for name in pairs(core.ops()) do
  local source = sources.op(s, name)
  local lines = require("moonwalk.look.screen").lines(source.text)
  local range = source.ranges[#source.ranges]
  local place = table.concat(lines, "\n", range[1], range[2])
  if range[2] - range[1] > 60 then lost[#lost + 1] = name end
  if not place:find(name:gsub("_mask$", "")) then inexact[#inexact + 1] = name end
  local file = io.open(source.title)
  if not file or file:read "a" ~= source.text then lost[#lost + 1] = name end
  if file then file:close() end
end
t.is(table.concat(lost, " "), "", "each op's file is known, and where in it")
t.is(table.concat(inexact, " "), "", "its name stands there")

-- :who
begin()
t.is(answer ":who":match "^[^\n]*", "no variable holds a tensor or a network", ":who, of nothing")
s:run [[
local net = nn.Sequential {nn.Dense {784, 100}, nn.ReLU {}, nn.Dense {100, 10}}
local opt = optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
x = mw.zeros({50, 784}, "u8")
waits = mw.ones {3} * 2
both = {x, {mw.ones {10}:eval()}}
open, number = nn.Dense {5}, 7]]
text = answer ":who"
-- 784 * 100 + 100 + 100 * 10 + 10 = 79510 numbers of 4 bytes
has(text, "79,510 parameters", "a network with its parameters")
has(text, "318 kB", "and its bytes")
t.ok(text:find "x +tensor +u8%[50,784%] +39.2 kB", "a tensor: 39200 bytes")
t.ok(text:find "waits +tensor +f32%[3%] +not computed", "one that waits")
t.ok(text:find "both +2 tensors +40 bytes", "a table: what no line before has counted")
t.ok(text:find "open +Dense +its sizes are still open", "an open layer")
t.ok(text:find "opt +SGD {lr = 0.1", "an optimizer")
t.ok(not text:find "number", "but no number")
t.ok(text:find "in all: %d+ tensors alive, [%d.]+ %w+; %d+ programs? kept", "and the totals")
t.ok(widest(text) <= 80, "within the screen")

-- :doc
text = answer ":doc"
for _, name in ipairs(core.texts "manual") do
  has(text, name:match "^(.*)%.md$", ":doc lists " .. name)
end
text = answer ":doc training"
has(text, "Training\n========", "a chapter")
t.ok(not text:find "```" and not text:find "%*%*", "without the marks of Markdown")
text = answer ":doc checkpoint"
has(text, "The checkpoint is the run", "a section by a word of its heading")
t.ok(not text:find "Looking inside", "and no other")
has(answer ":doc chekpoint", "did you mean :doc checkpoint?", "a misspelt word")
has(answer ":doc philox", "architecture: The same bits every time",
  "a word of the text: where it is")
has(answer ":doc zork", ":doc lists the chapters", "a word that is nowhere")

-- The manual as text: code as it stands, text wrapped, tables in columns.
local function render(page, columns)
  return (require("moonwalk.look.markdown").render(page, columns):gsub("•", "-"))
end
t.is(render("# A `b`\n\nOne *two* **three** `four five` [six](six.md) [seven](https://7.org).\n",
  30),
  "A b\n===\n\nOne two three `four five` six\nseven (https://7.org).", "text")
t.is(render("- one two three\n  four\n- five\n\n1. six\n", 12),
  "- one two\n  three four\n- five\n\n1. six", "lists")
t.is(render("```lua\nlocal x = 1\n\n  * y\n```\n", 20), "    local x = 1\n\n      * y", "code")
t.is(render("```\n12345678\n```\n", 10), "  12345678", "is indented less where it is wide")
t.is(render("```lua\nf(a, bcd, efgh, i)\n  g(x)     -- of it\n```\n", 18),
  "  f(a, bcd, efgh,\n    i)\n    g(x)  -- of it", "and broken, with comments closer")
t.is(render("```lua\nlonger(x)  -- of all\n```\n", 17), "  -- of all\n  longer(x)",
  "or above their lines")
t.is(render("| a | b |\n|---|---|\n| one | `x \\| y` |\n| two words | z |\n", 40),
  "a          b\none        `x | y`\ntwo words  z", "a table")

-- :history
begin()
answer("1 + 1", "error 'no'", "for i = 1, 2 do\nend", ":who")
t.is(answer ":history",
  "1  1 + 1\n2! error 'no'\n3  for i = 1, 2 do\n   end\n4  :who", ":history")
t.is(answer ":history for", "3  for i = 1, 2 do\n   end", "with a word")
t.is(answer ":history zork", 'nothing that was typed has "zork"', "that nothing has")

-- :save
begin()
local path = folder.path .. "/saved.lua"
t.is(answer(":save " .. path), "error: there is nothing to save: no line has worked yet",
  "nothing to save")
answer("mw.seed(3)", "local net = nn.Sequential {nn.Dense {2, 3}}", "y = net(mw.ones {1, 2})",
  "y:sum() -- the sum", "y.shape[2];", "x = 5; x + 1", "error 'no'", ":who", "(function() end)()",
  "local function twice(v)\n  return 2 * v\nend", "twice(x)", "return x + 2", "('a'):rep(3)")
t.is(answer(":save " .. path), ("11 lines are written to %s"):format(path), ":save")
local function output(command)
  local pipe = assert(io.popen(command))
  local result = pipe:read "a"
  pipe:close()
  return result
end
local run = ("'%s/moonwalk' '%s' 2>&1"):format(os.getenv "MOONWALK_BUILD" or "build", path)
mw.seed(3)
local sum = mw.nn.Sequential {mw.nn.Dense {2, 3}}(mw.ones {1, 2}):sum()
t.is(output(run), ("%s\n6\n10\n7\naaa\n"):format(tostring(sum)), "the script runs by itself")
has(answer(":save " .. path), "is there already; :save! " .. path .. " writes over it",
  "a file that is there")
answer("#_;", "_ * 2")
has(answer(":save! " .. path), "13 lines are written", ":save! writes over it")
t.is(output(run):match "[^\n]+\n[^\n]+\n$", "aaa\n6\n", "with what was typed since")
begin()
answer("3 + 4", "_ * 2", "_ + 1;", "_")
answer(":save! " .. path)
t.is(output(run), "7\n14\n15\n", "_ is the last value there, too")
begin()
for i = 1, 250 do s:run(("local v%d = %d"):format(i, i)) end
answer("v1 + v250", ":save! " .. path)
t.is(output(run), "251\n", "more local variables than a function may have")
has(answer ":save", ":save is followed by the name of a file", "without a name")
has(answer(":save " .. folder.path .. "/nowhere/x.lua"), "No such file",
  "in a folder that is not there")

-- ---- in a terminal ----------------------------------------------------------------------------

if not terminal.available() then
  t.skip("the commands in a terminal", "tmux is not there")
  folder.remove()
  return t.done()
end

for _, kind in ipairs {
  {columns = 80, rows = 24, locale = "C.UTF-8", env = {NO_COLOR = "1", PAGER = "less"}},
  {columns = 120, rows = 40, locale = "C.UTF-8", env = {PAGER = "less"}},
  {columns = 80, rows = 24, locale = "C", env = {MOONWALK_EDITOR = "plain", PAGER = "cat"}},
} do
  local what = ("%dx%d, %s%s"):format(kind.columns, kind.rows, kind.locale,
    kind.env.NO_COLOR and ", without colour" or "")
  local w <close> = terminal.open(kind)
  w:ready()
  w:run "??relu"
  has(w:text(), "RISE(relu, Y", what .. ": ??relu")
  local coloured = w:styled():find "\27%[" ~= nil
  t.is(coloured, not kind.env.NO_COLOR, what .. ": in colour where there is some")
  w:run "?neg"
  has(w:text(), "Derivatives", what .. ": ?neg")
  w:type ":doc training"
  w:key "Enter"
  if kind.env.PAGER == "less" then
    w:wait "Training"
    local lines = w:lines()
    t.ok(lines[1]:find "^Training", what .. ": a chapter is shown page by page, from its top")
    w:type "q"
  end
  w:ready()
  if kind.locale == "C" then
    local odd = {}
    for _, name in ipairs(core.texts "manual") do
      w:run(":doc " .. name:match "^(.*)%.md$")
      if w:all():find "[\x80-\xff]" then odd[#odd + 1] = name end
    end
    t.is(table.concat(odd, " "), "", what .. ": nothing but ASCII")
  end
  w:run("x = mw.zeros {1000, 1000}")
  w:run ":who"
  has(w:text(), "4.00 MB", what .. ": :who")
  w:type "??con"
  w:key "Tab"
  if kind.env.MOONWALK_EDITOR ~= "plain" then
    w:wait "??con"
    w:key("C-c")
  else
    w:key "Enter"
  end
  w:ready()
end

folder.remove()
t.done()
