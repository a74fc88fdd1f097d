-- prompt_draw.lua: draw in a terminal: the user's names, colours, characters, and an error's node.
local t = require "tap"
local terminal = require "terminal"

if not terminal.available() then
  t.skip("draw", "tmux is not there")
  t.done()
  return
end

-- What the screen shows after the last line that was typed.
local function shown(s)
  local lines, last = s:lines(), 1
  for i, line in ipairs(lines) do
    if line:find "^> %S" then last = i end
  end
  local list = {}
  for i = last + 1, #lines do
    if lines[i] ~= "" and lines[i] ~= ">" then list[#list + 1] = lines[i] end
  end
  return list
end

local function build(s)
  s:ready()
  s:run 'net = nn.Sequential {{"first", nn.Dense {4, 8}}, nn.Tanh {}, {"out", nn.Dense {8, 3}}}'
  s:run "x = mw.randn {5, 4}"
  s:run "y = net(x)"
  s:run 'batch = {labels = mw.zeros({5}, "i32")}'
  s:run "loss = y:cross_entropy(batch.labels)"
end

do -- UTF-8, without colours
  local s <close> = terminal.open {columns = 80, rows = 24, env = {NO_COLOR = "1"}}
  build(s)
  s:run "draw(loss)"
  t.is(shown(s), {
    "○  x                     f32[5,4]",
    "●  net.first dense       f32[5,8]  weight f32[8,4], bias f32[8]",
    "●  tanh                  f32[5,8]",
    "●  y = net.out dense     f32[5,3]  weight f32[3,8], bias f32[3]",
    "●  loss = cross_entropy  f32[]     batch.labels i32[5]",
    "5 nodes, 67 parameters",
  }, "nodes have the names of the user's variables")
  s:run "draw(net)"
  t.is(shown(s), {
    "                output  parameters",
    "○  input",
    "●  first Dense  [5,8]           40  {4, 8}",
    "●  2 Tanh       [5,8]",
    "●  out Dense    [5,3]           27  {8, 3}",
    "3 layers, 67 parameters",
    "draw(net, {1, 28, 28}), with the shape of a sample, draws what it computes",
  }, "a network")
  s:run "y:matmul(x)"
  local lines = shown(s)
  t.ok(lines[1]:find "^error: matmul: a is f32%[5,3%] and b is f32%[5,4%]", "an error")
  t.is(lines[#lines], "hint: draw() shows where, :debug goes there", "says how to see its node")
  s:run "draw()"
  lines = shown(s)
  t.is({table.unpack(lines, 1, 5)}, {
    "○    x                  f32[5,4]",
    "├─●  net.first dense    f32[5,8]  weight f32[8,4], bias f32[8]",
    "│ ●  tanh               f32[5,8]",
    "│ ●  y = net.out dense  f32[5,3]  weight f32[3,8], bias f32[3]",
    "✗─╯  matmul                       <-- here  from left to right b, a",
  }, "which is marked in the graph of what it was given")
  t.ok(lines[6]:find "^    matmul: a is f32%[5,3%]", "below it stands what was wrong")
  s:run 'error "of mine"'
  t.is(shown(s), {"error: of mine"}, "an error that no node has made")
  s:run "draw()"
  t.ok(table.concat(shown(s), " "):find("no error was in a node of a graph", 1, true),
    "has nothing to draw")
end

do -- an error in a step of training
  local s <close> = terminal.open {columns = 120, rows = 40, env = {NO_COLOR = "1"}}
  build(s)
  s:run "opt = optim.SGD(net:parameters(), {lr = 0.1})"
  s:run 'labels = mw.tensor({0, 1, 2, 3, 0}, "i32")'
  s:run "opt:step(net(x):cross_entropy(batch.labels))"
  s:run "opt:step(net(x):cross_entropy(batch.labels))"
  s:run "opt:step(net(x):cross_entropy(labels))"
  s:run "draw()"
  local text = table.concat(shown(s), "\n")
  t.ok(text:find "✗  cross_entropy +f32%[%] +<%-%- here  labels i32%[5%]"
    and text:find "labels%[3%] is 3, but x has 3 classes", "the step's node is marked")
end

do -- ASCII, with colours
  local s <close> = terminal.open {columns = 120, rows = 40, locale = "C"}
  build(s)
  s:run "draw(x + x:tanh())"
  t.is(shown(s), {
    "o    x     f32[5,4]",
    "|-*  tanh  f32[5,4]",
    "*-'  add   f32[5,4]",
    "3 nodes",
  }, "in ASCII")
  t.ok(s:styled():find "\27%[32mx", "in colours")
end

t.done()
