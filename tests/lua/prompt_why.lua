-- prompt_why.lua: in a terminal: why, walk, :nan and :debug.
local t = require "tap"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("why, walk, :nan, :debug", "tmux is not there")
  t.done()
  return
end

-- What the screen shows after the last line that was typed at a prompt.
local function shown(s, prompt)
  local lines, last = s:lines(), 0
  prompt = prompt or "> "
  for i, line in ipairs(lines) do
    if line:sub(1, #prompt) == prompt then last = i end
  end
  local list = {}
  for i = last + 1, #lines do
    if lines[i] ~= "" and not lines[i]:find "^%a*>$" then list[#list + 1] = lines[i] end
  end
  return list
end

local function contains(lines, text, name)
  local joined = table.concat(lines, "\n")
  local flowing = joined:gsub("\n[^%w]*", " ")
  local there = joined:find(text, 1, true) or flowing:find(text, 1, true)
  if not t.ok(there, name or text) then print("# " .. joined:gsub("\n", "\n# ")) end
end

local function narrow(s, columns, name)
  for _, line in ipairs(s:lines()) do
    if (utf8.len(line) or #line) > columns then return t.ok(false, name) end
  end
  t.ok(true, name)
end

local function build(s, layer)
  s:run "mw.seed(1)"
  s:run "l = {}"
  s:run(("for i = 1, 11, 2 do l[i], l[i + 1] = nn.Dense {8, 8}, nn.%s {} end"):format(layer))
  s:run "net = nn.Sequential(l)"
  s:run "x, y = mw.randn {16, 8}, mw.zeros({16}, 'i64')"
  s:run "loss = net(x):cross_entropy(y)"
end

do -- why: a sigmoid network against a relu one
  local s <close> = terminal.open {columns = 80, rows = 24, env = {NO_COLOR = "1"}}
  s:ready()
  build(s, "Sigmoid")
  s:run "why(loss, net[1].weight)"
  local lines = shown(s)
  t.is(lines[1], "the gradient of loss on its way to net[1].weight, f32[8,8]", "what is shown")
  t.ok(lines[3]:find "^●  cross_entropy  loss  %[6%]:1 +1 +█", "it begins at the loss, with 1")
  t.ok(lines[4]:find "^●  sigmoid +Sigmoid at %[3%]:1", "layers tell where they were made")
  t.ok(lines[5]:find "^●  dense +net%[11%]  Dense at %[3%]:1 +%S+ +0%.[12]", "and what they are")
  t.ok(lines[16]:find "^●  parameter +net%[1%]%.weight", "it ends at the parameter")
  contains(lines, "most of it in 6 sigmoids (0.2", "and says how much sigmoids take")
  narrow(s, 80, "no line is too long")
  build(s, "ReLU")
  s:run "why(loss, net[1].weight)"
  contains(shown(s), "the gradient keeps its size", "which relus do not")
  s:run "why(loss, net)"
  lines = shown(s)
  t.is(lines[1], "the gradient of loss in each parameter", "of a network: a table")
  t.ok(lines[3]:find "^net%[1%]%.weight +f32%[8,8%] +%S+ +%S+ +%S+  █", "a row for each")
  t.is(lines[#lines], "why(loss, net[1].weight) shows the way to one", "and how to go on")

  s:run "w = mw.param {4, -9, -16}"
  s:run "why((w * 2):relu():mean(), w);" -- nothing is shown
  t.is(shown(s), {}, "a semicolon hides it")
  s:run "_.path[4].norm, _.summary"
  t.ok(shown(s)[1]:find "^0%.666", "and its numbers are there: 2 / 3, of one of three elements")
  s:run "why((w - 5):relu():mean(), w)"
  lines = shown(s)
  t.is({lines[5]:sub(1, #"●  sub"), lines[6]},
    {"●  sub", "│  vanishes here, through relu ([19]:1): dead: 100 % of its elements are 0"},
    "a mark below its line")
  t.is(lines[#lines], "no gradient arrives: none passes relu ([19]:1)", "the sentence at the end")
  s:run "why(w:gt(1):cast 'f32':sum(), w)"
  contains(shown(s), "gt gives bool[3], and only floating-point numbers have gradients",
    "why none arrives")
  s:run "opt = optim.SGD({w}, {lr = 1})"
  s:run "loss = (w * w):sum(); opt:step(loss)"
  s:run "why(loss, w)"
  contains(shown(s), "was updated after loss was built", "of a loss that is too old")
end

do -- branches, in colours
  local s <close> = terminal.open {columns = 120, rows = 40}
  s:ready()
  s:run "w = mw.param {1, 2, 3}"
  s:run "h = w:tanh()"
  s:run "loss = (h + h * 3):sum()"
  s:run "why(loss, w)"
  local lines = shown(s)
  local rails = {}
  for i = 3, 7 do rails[i - 2] = lines[i]:match "^[^%w]*%w+" end
  t.is(rails, {"●    sum", "●─╮  add", "├─●  mul", "●    tanh", "│    75"}, "rails beside the rows")
  contains(lines, "75 % through mul ([3]:1), 25 % through add ([3]:1)", "the branches' shares")
  s:run "why((w * 10):sigmoid():sum(), w)"
  t.ok(s:styled():find "\27%[1m\27%[33mvanishes here, through sigmoid", "a mark has a colour")
  contains(shown(s), "saturated: 100 % of its inputs beyond ±4", "and a cause")
  narrow(s, 120, "no line is too long")
end

do -- ASCII
  local s <close> = terminal.open {columns = 80, rows = 24, locale = "C", env = {NO_COLOR = "1"}}
  s:ready()
  s:run "w = mw.param {1, 2, 3}"
  s:run "h = (w * 10):sigmoid()"
  s:run "why((h + h * 3):sum(), w)"
  local lines = shown(s)
  t.ok(lines[4]:find "^%*%-%.  add" and lines[5]:find "^|%-%*  mul", "rails in ASCII")
  contains(lines, "100 % of its inputs beyond", "and words")
  t.ok(not s:text():find "[\x80-\xff]", "nothing else")
end

do -- walk: on, into an input, back, and out with a value
  for _, editor in ipairs {"libedit", "plain"} do
    local s <close> = terminal.open {columns = 80, rows = 24,
      env = {NO_COLOR = "1", MOONWALK_EDITOR = editor}}
    s:ready()
    s:run "w = mw.param {1, 2}"
    s:run "loss = (w * 3):relu():sum()"
    s:run("walk(loss)", "walk> ")
    local lines = shown(s)
    t.is({lines[1], lines[2]}, {"1 of 4  loss = sum  at [2]:1", "  | loss = (w * 3):relu():sum()"},
      editor .. ": the loss, and the line that made it")
    contains(lines, "1  x (relu)  f32[2]  min 3  mean 4.5  max 6")
    contains(lines, "in: dL/dy   f32[]   norm 1  1")
    contains(lines, "out: dL/dx  f32[2]  norm 1.41  min 1  mean 1  max 1")
    s:key "Enter"
    s:wait "2 of 4  relu"
    s:ready "walk> "
    s:run("1", "walk> ")
    contains(shown(s, "walk> 1"), "3 of 4  mul  at [2]:1", "a number enters an input")
    contains(shown(s, "walk> 1"), "out: dL/da  f32[2]  norm 4.24", "with what it hands on")
    s:run("b", "walk> ")
    contains(shown(s, "walk> b"), "2 of 4  relu", "b goes back")
    s:run("5", "walk> ")
    contains(shown(s, "walk> 5"), "it has the inputs 1 to 1", "there is no fifth")
    s:run("s 1", "walk> ")
    contains(shown(s, "walk> s 1"), "{3, 6}", "s 1 shows the first")
    s:run("g", "walk> ")
    contains(shown(s, "walk> g"), '"g" is no command', "what is none is said")
    s:run("v", "> ")
    s:run "_ * 2"
    contains(shown(s), "{ 6, 12}", "v leaves with the value")
  end
end

do -- :nan
  local s <close> = terminal.open {columns = 80, rows = 24, env = {NO_COLOR = "1"}}
  s:ready()
  s:run ":nan"
  contains(shown(s), ":nan looks at the last value, and there is none yet")
  s:run "x = mw.tensor {{1, 2}, {3, 0.5}, {2, -0.25}}"
  s:run "h = (x * 2):log()"
  s:run "h:mean()"
  s:run ":nan"
  t.is(shown(s), {
    "the first NaN is made by log, at [3]:1",
    "  | h = (x * 2):log()",
    "  log of -0.5 at {3,2}",
    "  y = h  f32[3,2]  1 NaN  min 0  mean 1.05  max 1.79  here NaN",
    "  x      f32[3,2]  min -0.5  mean 2.75  max 6  here -0.5",
    "  keep it above 0: (x + 1e-8):log(), or x:clip {min = 1e-8}",
  }, "of the last value: op, line, elements, operands, what helps")
  s:run ":nan x * 2"
  t.is(shown(s), {"no NaN and no infinity in x * 2 (f32[3,2]), nor in what it is computed from"},
    "none")
  s:run "p = mw.param {4, 0, 1}"
  s:run ":nan p:sqrt():sum()"
  contains(shown(s), "the first infinity is in a gradient: the backward pass of sqrt")
  contains(shown(s), "the gradient of x is inf at {2}")
  s:run ":nan 0/0"
  contains(shown(s), "expected a tensor or a network; a number does not know")
end

do -- :debug after a wrong shape
  local s <close> = terminal.open {columns = 80, rows = 40, env = {NO_COLOR = "1"}}
  s:ready()
  s:run ":debug"
  contains(shown(s), ":debug: there was no error")
  s:run "net = nn.Sequential {nn.Dense {8, 4}, nn.ReLU {}, nn.Dense {5, 3}}"
  s:run "x = mw.ones {6, 8}"
  s:run "net(x)"
  s:run(":debug", "debug> ")
  local lines = shown(s, "> :debug")
  contains(lines, "its inputs are in failed.x, failed.w, failed.b")
  contains(lines, "1 of 7  dense  Dense at [2]:1")
  contains(lines, "| net = nn.Sequential {nn.Dense {8, 4}, nn.ReLU {}, nn.Dense {5, 3}}",
    "the line that built it")
  contains(lines, "1  x = failed.x       f32[6,4]")
  contains(lines, "2  w = net[3].weight  f32[3,5]")
  s:run("1", "debug> ")
  contains(shown(s, "debug> 1"), "2 of 7  failed.x = relu  ReLU at [2]:1", "how an input was made")
  s:run "q"
  s:run "failed.w.shape"
  contains(shown(s), "{3, 5}", "the inputs are there afterwards")
end

do -- :debug after a label out of range, which is found when the value is computed
  local s <close> = terminal.open {columns = 120, rows = 40, env = {NO_COLOR = "1"}}
  s:ready()
  s:run "x, labels = mw.ones {2, 3}, mw.tensor({0, 3}, 'i64')"
  s:run "loss = x:cross_entropy(labels)"
  s:run "loss"
  s:run(":debug", "debug> ")
  local lines = shown(s, "> :debug")
  contains(lines, "labels[1] is 3, but x has 3 classes", "what was wrong")
  contains(lines, "at [3]:1 | loss", "where it was asked for")
  contains(lines, "  | loss = x:cross_entropy(labels)", "where it was built")
  contains(lines, "2  labels  i64[2]    min 0  mean 1.5  max 3")
  s:run("v 2", "> ")
  s:run "_:max()"
  contains(shown(s), "i64[]  3", "v binds an input to _")
  s:run "nonsense.x"
  s:run ":debug"
  contains(shown(s), "it is not the error of a node", "another error has no node")
end

t.done()
