-- look_graph.lua: mw.draw: the text of small graphs, written by hand; DOT against the edges of the
-- graph as core.node gives them; pictures by Graphviz; times, gradients, failures, and wrong input.
local t = require "tap"
local mw = require "moonwalk"
local graph = require "moonwalk.look.graph"
local screen = require "moonwalk.look.screen"
local core, nn = mw.core, mw.nn

mw.seed(3)

local columns = 80
function screen.size() return columns, 24 end
function screen.colours() return 0 end

local function ascii() assert(os.setlocale("C", "ctype")) end
local function unicode()
  assert(os.setlocale("C.UTF-8", "ctype") or os.setlocale("en_US.UTF-8", "ctype"))
end
unicode()

-- Compares with lines that are written below each other, indented.
local function draws(what, want, name)
  local lines = {}
  for line in want:gmatch "([^\n]*)\n" do lines[#lines + 1] = line:gsub("^    ", "") end
  local got = graph.text(table.unpack(what))
  if not t.ok(got == table.concat(lines, "\n"), name) then
    print("# " .. got:gsub("\n", "\n# "))
  end
end

-- graphs of ops -----------------------------------------------------------------------------------

local x = mw.randn {4, 6}
local w, b = mw.param(mw.randn {3, 6}, "w"), mw.param(mw.zeros {3}, "b")
local h = x:dense(w, b)
local loss = (h:tanh() * 0.5):cross_entropy(mw.tensor({0, 1, 2, 1}, "i32"), {reduction = "sum"})
draws({loss}, [[
    ○  constant       f32[4,6]
    ●  dense          f32[4,3]  w f32[3,6], b f32[3]
    ●  tanh           f32[4,3]
    ●  mul            f32[4,3]  b 0.5
    ●  cross_entropy  f32[]     labels i32[4]; reduction sum
    5 nodes, 21 parameters
]], "a chain, with what each op reads beside")
ascii()
draws({mw.ones {2} * (0 / 0)}, [[
    o  constant  f32[2]
    *  mul       f32[2]  b nan
    2 nodes
]], "NaN")
draws({loss}, [[
    o  constant       f32[4,6]
    *  dense          f32[4,3]  w f32[3,6], b f32[3]
    *  tanh           f32[4,3]
    *  mul            f32[4,3]  b 0.5
    *  cross_entropy  f32[]     labels i32[4]; reduction sum
    5 nodes, 21 parameters
]], "in ASCII")
columns = 40
draws({loss}, [[
    o  constant       f32[4,6]
    *  dense          f32[4,3]  w f32[3,6...
    *  tanh           f32[4,3]
    *  mul            f32[4,3]  b 0.5
    *  cross_entropy  f32[]     labels i3...
    5 nodes, 21 parameters
]], "in few columns")
columns = 80
unicode()

local a = mw.randn {3}
local s = a:sin()
draws({s * a:cos() + s}, [[
    ○    constant  f32[3]
    ├─●  sin       f32[3]
    ● │  cos       f32[3]
    ●─┤  mul       f32[3]
    ●─╯  add       f32[3]
    5 nodes
]], "branches and joins")
ascii()
draws({s * a:cos() + s}, [[
    o    constant  f32[3]
    |-*  sin       f32[3]
    * |  cos       f32[3]
    *-|  mul       f32[3]
    *-'  add       f32[3]
    5 nodes
]], "in ASCII")
unicode()
draws({a:cos() - s}, [[
    ○    constant  f32[3]
    ├─●  sin       f32[3]
    ● │  cos       f32[3]
    ●─╯  sub       f32[3]
    4 nodes
]], "what comes from left to right as the op takes it needs no word")
draws({s - a:cos()}, [[
    ○    constant  f32[3]
    ├─●  sin       f32[3]
    ● │  cos       f32[3]
    ●─╯  sub       f32[3]  from left to right b, a
    4 nodes
]], "and otherwise one")

local m = mw.param(mw.randn {6, 6}, "m")
draws({x:matmul(m):relu():matmul(m)}, [[
    ○  constant  f32[4,6]
    ●  matmul    f32[4,6]  m f32[6,6]
    ●  relu      f32[4,6]
    ●  matmul    f32[4,6]  m f32[6,6]
    4 nodes, 36 parameters
]], "a parameter that is used twice counts once")

local y, mean = mw.normalize(x, {axes = {2}})
draws({y + mean}, [[
    ○  constant   f32[4,6]
    ●  normalize  f32[4,6]  axes {2}; gives y f32[4,6], mean f32[4,1], variance f32…
    ●  add        f32[4,6]  of mean
    3 nodes
]], "several outputs of one node are one rail")
draws({s, a:cos()}, [[
    ○    constant  f32[3]
    ├─●  sin       f32[3]
    ●    cos       f32[3]
    3 nodes
]], "several tensors in one drawing")
draws({{a:exp(), mw.ones {2}:exp()}}, [[
    ○  constant  f32[3]
    ●  exp       f32[3]

    ○  constant  f32[2]
    ●  exp       f32[2]
    4 nodes
]], "which may have nothing in common")
draws({w}, [[
    ○  w  f32[3,6]  parameter
    1 node, 18 parameters
]], "a leaf alone")

local four = {}
for i = 1, 4 do four[i] = a:relu() end
draws({mw.concat(four, {axis = 1})}, [[
    ○        constant  f32[3]
    ├─●      relu      f32[3]
    ├─│─●    relu      f32[3]
    ├─│─│─●  relu      f32[3]
    ● │ │ │  relu      f32[3]
    ●─┴─┴─╯  concat    f32[12]  from left to right x[4], x[1], x[2], x[3]
    6 nodes
]], "four into one, and rails that are crossed")

-- Rails are a line at each place between two nodes: 20 values that are all read at the end need
-- more than there is room for.
local many, all = {}, {}
for i = 1, 20 do many[i] = mw.randn({2}):exp() end
for i = 1, 20 do all[i] = many[21 - i] end
local crowded = graph.text(mw.concat(all, {axis = 1}), {full = true})
for line in crowded:gmatch "[^\n]+" do
  if screen.width(line) > columns then t.ok(false, "too wide: " .. line) end
end
t.ok(crowded:find("exp [1]", 1, true) and crowded:find("from [1], [2]", 1, true),
  "values without a rail have numbers")
t.ok(graph.text(mw.concat(all, {axis = 1})):find("concat    f32[40]  reads 18 not drawn", 1, true),
  "what is left out is counted where it is read")

for i = 1, 20 do
  many[i] = mw.randn({1, 2}):dense(mw.param(mw.randn {2, 2}, "a.place.deep.in.a.network.weight"))
end
for i = 1, 20 do all[i] = many[21 - i] end
t.ok(graph.text(mw.concat(all, {axis = 1}), {full = true}):find "a%.place.-… %[1%] ",
  "which long names leave room for")

-- what is there again and again -------------------------------------------------------------------

local deep = x
for _ = 1, 50 do deep = (deep + deep:sin()):relu() end
draws({deep}, [[
    ○    constant  f32[4,6]
    ├─●  sin       f32[4,6]
    ●─╯  add       f32[4,6]
    ●    relu      f32[4,6]
    ┊    these 3 nodes, 48 times more
    ├─●  sin       f32[4,6]
    ●─╯  add       f32[4,6]
    ●    relu      f32[4,6]
    151 nodes
]], "repeated pieces are drawn twice")
local _, lines = graph.text(deep, {full = true}):gsub("\n", "")
t.is(lines, 151, "or all of them")
local wavenet = mw.randn {1, 1, 200}
local filter = mw.param(mw.randn {1, 1, 3}, "filter")
for i = 1, 60 do wavenet = wavenet:conv1d(filter, {dilation = 1 + i % 2, padding = 1 + i % 2}) end
t.ok(graph.text(wavenet):find("these 8 nodes, 28 times more", 1, true),
  "pieces are alike when their attributes are")
local state, steps = mw.zeros {4, 8}, mw.randn {30, 4, 8}
for i = 1, 30 do state = (steps[i] + state:matmul(mw.eye(8))):tanh() end
t.ok(select(2, graph.text(state):gsub("\n", "")) < 25, "steps of a recurrent network are")

-- networks ----------------------------------------------------------------------------------------

local lenet_line = debug.getinfo(1, "l").currentline + 1
local lenet = nn.Sequential {
  nn.Conv2d {1, 6, kernel = 5, padding = 2}, nn.ReLU {}, nn.MaxPool {2},
  nn.Conv2d {6, 16, kernel = 5},             nn.ReLU {}, nn.MaxPool {2},
  nn.Flatten {},
  nn.Dense {400, 120}, nn.ReLU {}, nn.Dense {120, 84}, nn.ReLU {}, nn.Dense {84, 10},
}
draws({lenet, {1, 28, 28}}, [[
                  output           parameters
    ○  input      f32[1,1,28,28]
    ●  1 Conv2d   f32[1,6,28,28]          156  {1, 6, kernel = 5, padding = 2}
    ●  2 ReLU     f32[1,6,28,28]
    ●  3 MaxPool  f32[1,6,14,14]               {2}
    ●  4 Conv2d   f32[1,16,10,10]       2,416  {6, 16, kernel = 5}
    ●  5 ReLU     f32[1,16,10,10]
    ●  6 MaxPool  f32[1,16,5,5]                {2}
    ●  7 Flatten  f32[1,400]
    ●  8 Dense    f32[1,120]           48,120  {400, 120}
    ●  9 ReLU     f32[1,120]
    ●  10 Dense   f32[1,84]            10,164  {120, 84}
    ●  11 ReLU    f32[1,84]
    ●  12 Dense   f32[1,10]               850  {84, 10}
    12 layers, 61,706 parameters
]], "LeNet-5 by its layers")
draws({lenet, mw.zeros {8, 1, 28, 28}, {full = true}}, [[
    ○  input     f32[8,1,28,28]
    ●  1 conv2d  f32[8,6,28,28]   weight f32[6,1,5,5], bias f32[6]; padding 2
    ●  relu      f32[8,6,28,28]
    ●  maxpool   f32[8,6,14,14]   kernel 2, stride 2
    ●  4 conv2d  f32[8,16,10,10]  weight f32[16,6,5,5], bias f32[16]
    ●  relu      f32[8,16,10,10]
    ●  maxpool   f32[8,16,5,5]    kernel 2, stride 2
    ●  flatten   f32[8,400]
    ●  8 dense   f32[8,120]       weight f32[120,400], bias f32[120]
    ●  relu      f32[8,120]
    ●  10 dense  f32[8,84]        weight f32[84,120], bias f32[84]
    ●  relu      f32[8,84]
    ●  12 dense  f32[8,10]        weight f32[10,84], bias f32[10]
    13 nodes, 61,706 parameters
]], "and by its ops")

local function block(channels, out)
  return nn.Residual {
    nn.Conv2d {channels, out, kernel = 3, padding = 1}, nn.BatchNorm {out}, nn.ReLU {},
    nn.Conv2d {out, out, kernel = 3, padding = 1},
    shortcut = channels ~= out and nn.Conv2d {channels, out, kernel = 1} or nil,
    activation = nn.ReLU {},
  }
end
local residual = nn.Sequential {{"first", block(4, 4)}, {"second", block(4, 8)}}
draws({residual, {4, 5, 5}}, [[
                                 output        parameters
    ○    input                   f32[1,4,5,5]
    ├─●  first.1 Conv2d          f32[1,4,5,5]         148  {4, 4, kernel = 3, paddi…
    │ ●  first.2 BatchNorm       f32[1,4,5,5]           8  {4}
    │ ●  first.3 ReLU            f32[1,4,5,5]
    │ ●  first.4 Conv2d          f32[1,4,5,5]         148  {4, 4, kernel = 3, paddi…
    ●─╯  add                     f32[1,4,5,5]
    ●    first.activation ReLU   f32[1,4,5,5]
    ├─●  second.1 Conv2d         f32[1,8,5,5]         296  {4, 8, kernel = 3, paddi…
    │ ●  second.2 BatchNorm      f32[1,8,5,5]          16  {8}
    │ ●  second.3 ReLU           f32[1,8,5,5]
    │ ●  second.4 Conv2d         f32[1,8,5,5]         584  {8, 8, kernel = 3, paddi…
    ● │  second.shortcut Conv2d  f32[1,8,5,5]          40  {4, 8, kernel = 1}
    ●─╯  add                     f32[1,8,5,5]
    ●    second.activation ReLU  f32[1,8,5,5]
    11 layers, 1,240 parameters
]], "residual blocks")
draws({residual, {4, 5, 5}, {depth = 1}}, [[
                        output        parameters
    ○  input            f32[1,4,5,5]
    ●  first Residual   f32[1,4,5,5]         304
    ●  second Residual  f32[1,8,5,5]         936
    2 layers, 1,240 parameters
]], "as boxes")
local fresh = nn.Sequential {{"first", block(4, 4)}, nn.Parallel {nn.ReLU {}, nn.Tanh {}}}
draws({fresh}, [[
                                output  parameters
    ○    input
    ├─●  first.1 Conv2d                        148  {4, 4, kernel = 3, padding = 1}
    │ ●  first.2 BatchNorm                       8  {4}
    │ ●  first.3 ReLU
    │ ●  first.4 Conv2d                        148  {4, 4, kernel = 3, padding = 1}
    ●─╯  add
    ●    first.activation ReLU
    ├─●  2.1 ReLU
    ● │  2.2 Tanh
    ●─╯  concat                                     from left to right x[2], x[1]
    7 layers, 304 parameters
    draw(net, {1, 28, 28}), with the shape of a sample, draws what it computes
]], "as it is made, without an input")

local recurrent = nn.LSTM {4, 3}
local one = graph.text(recurrent, mw.zeros {2, 30, 4})
t.ok(one:find "\n●  LSTM .-\n1 layer.*full = true draws its ops$",
  "a layer of very many ops is one node")
t.ok(graph.text(nn.Dense {2, 3}, {2}):find "2 nodes, 9 parameters$",
  "a layer of few ops is these, and no layer is counted")

-- gradients and times -----------------------------------------------------------------------------

local short = h:tanh():cross_entropy(mw.tensor({0, 1, 2, 1}, "i32"))
draws({short, {gradient = true}}, [[
    ○  constant                f32[4,6]
    ●  dense                   f32[4,3]  w f32[3,6], b f32[3]
    ●  tanh                    f32[4,3]
    ●  cross_entropy           f32[]     labels i32[4]

    ●  cross_entropy.backward  f32[4,3]  gradient of x; reads what it saved
    ●  tanh.backward           f32[4,3]  gradient of x; reads y
    ●  dense.backward          f32[3,6]  gradients of w, b; reads x, w
    7 nodes, 21 parameters
]], "the way back")

mw.eval(loss) -- what has its value is run again
local drawing = graph.drawing(loss, {time = true})
local sum, timed = 0, 0
for _, node in ipairs(drawing.nodes) do
  sum = sum + (node.seconds or 0)
  timed = timed + (node.seconds and 1 or 0)
end
t.is(timed, 4, "each op has its time")
t.ok(math.abs(sum - drawing.seconds) <= 1e-9 and sum > 0, "and all of it is some op's")
local wide = mw.randn {256, 256}
local slow = (wide:matmul(wide) + 1):relu()
t.ok(graph.text(slow, {time = true}):find "matmul%s+f32%[256,256%]%s+[%d.]+ %as%s+%d+ %%",
  "as text")
t.ok(graph.text(lenet, {1, 28, 28}, {time = true}):find "4 Conv2d .- [%d.]+ [mun]?s +%d+ %%",
  "of layers")

-- DOT ---------------------------------------------------------------------------------------------

local folder = os.tmpname()
os.remove(folder)
local path = folder .. ".dot"

local function read(file_name)
  local file = assert(io.open(file_name, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- The labels and the edges of a DOT file.
local function parse(text)
  local labels, edges, inside = {}, {}, text:match "^digraph moonwalk {\n(.*)}\n$"
  for line in inside:gmatch "[^\n]+" do
    local from, to = line:match "^  n(%d+) %-> n(%d+)"
    local number, label = line:match '^  n(%d+) %[.-label="(.*)"%];$'
    if from then edges[#edges + 1] = {tonumber(from), tonumber(to)}
    elseif number then labels[tonumber(number)] = label:gsub("\\n", "\n"):gsub('\\"', '"')
    end
  end
  return labels, edges
end

-- The edges between what is drawn, as the graph has them: pairs of labels' first words.
local function edges_of(root, skipped)
  local list, seen = {}, {}
  local function visit(tensor)
    local node = core.node(tensor)
    if seen[node.id] then return end
    seen[node.id] = true
    for _, input in ipairs(node.inputs) do
      local from = core.node(input.tensor)
      if not skipped[from.label] and input.tensor.rank > 0 and input.name ~= "labels" then
        list[#list + 1] = from.label .. " " .. node.label
        visit(input.tensor)
      end
    end
  end
  visit(root)
  table.sort(list)
  return list
end

local twisted = (s * a:cos() + s):reshape {1, 3}:dense(mw.param(mw.randn {2, 3}, "p")):softmax()
mw.draw(twisted, {file = path})
local labels, edges = parse(read(path))
local got = {}
for i, edge in ipairs(edges) do
  got[i] = labels[edge[1]]:match "%S+" .. " " .. labels[edge[2]]:match "%S+"
end
table.sort(got)
t.is(got, edges_of(twisted, {parameter = true}), "DOT has the edges of the graph")
local known = {}
for _, label in pairs(labels) do known[label] = true end
t.ok(known["dense\nf32[1,2]\np f32[2,3]"], "and says what the nodes are")
mw.draw(mw.ones {2}:exp(), {file = folder .. ".txt"})
t.is(read(folder .. ".txt"), "○  constant  f32[2]\n●  exp       f32[2]\n2 nodes\n",
  "text in a file")
os.remove(folder .. ".txt")
if os.execute(("test -e /dev/full && ln -s /dev/full '%s.txt'"):format(folder)) then
  t.error(function() mw.draw(x, {file = folder .. ".txt"}) end, "draw: .* cannot be written$",
    "a full disk")
  os.remove(folder .. ".txt")
else
  t.skip("a full disk", "there is no /dev/full")
end
os.remove(path)

if require("moonwalk.shell").has "dot" then
  for _, kind in ipairs {"svg", "png", "pdf"} do
    local picture = ("%s.%s"):format(folder, kind)
    mw.draw(lenet, {1, 28, 28}, {file = picture})
    local content = read(picture)
    t.ok(content:find(({svg = "<svg", png = "^\137PNG", pdf = "^%%PDF"})[kind]) and #content > 1000,
      "a picture: " .. kind)
    os.remove(picture)
  end
else
  for _ = 1, 3 do t.skip("pictures", "Graphviz is not there") end
end

-- failures ----------------------------------------------------------------------------------------

core.keep_failures(true)
t.ok(not pcall(lenet, mw.zeros {1, 1, 20, 20}), "an input that is too small")
draws({}, [[
    ○  constant  f32[1,1,20,20]
    ●  1 conv2d  f32[1,6,20,20]  weight f32[6,1,5,5], bias f32[6]; padding 2
    ●  relu      f32[1,6,20,20]
    ●  maxpool   f32[1,6,10,10]  kernel 2, stride 2
    ●  4 conv2d  f32[1,16,6,6]   weight f32[16,6,5,5], bias f32[16]
    ●  relu      f32[1,16,6,6]
    ●  maxpool   f32[1,16,3,3]   kernel 2, stride 2
    ●  flatten   f32[1,144]
    ✗  8 dense                   <-- here  weight f32[120,400], bias f32[120]
        dense: x has 144 columns, weight expects 400 (x f32[1,144] from Flatten at
        tests/lua/look_graph.lua:]] .. lenet_line + 3 .. [[); a weight of [120,144] would fit
        built by Dense at tests/lua/look_graph.lua:]] .. lenet_line + 4 .. "\n",
  "the graph of what failed, with the node that refused")
t.ok(graph.text(core.failure()):find("✗  8 dense", 1, true), "a failure that is given")
local failed_line = debug.getinfo(1, "l").currentline + 1
local wrong = h:cross_entropy(mw.tensor({0, 1, 2, 3}, "i32"))
t.ok(not pcall(wrong.eval, wrong), "a label out of range")
draws({}, [[
    ○  constant       f32[4,6]
    ●  dense          f32[4,3]  w f32[3,6], b f32[3]
    ✗  cross_entropy  f32[]     <-- here  labels i32[4]
        cross_entropy: labels[3] is 3, but x has 3 classes, so that labels are 0 to
        2 (labels and positions count from 0)
        built at tests/lua/look_graph.lua:]] .. failed_line .. "\n",
  "a node that failed when it was run")
local hook = mw.randn {2}:hook(function() error "not today" end)
t.ok(not pcall(hook.eval, hook) and graph.text():find "✗  hooked .- <%-%- here",
  "what a hook refuses is its node's failure")
core.keep_failures(false)

-- wrong input -------------------------------------------------------------------------------------

local function refuses(message, name, ...)
  local arguments = table.pack(...)
  t.error(function() mw.draw(table.unpack(arguments, 1, arguments.n)) end,
    "^tests/lua/look_graph.lua:%d+: draw: " .. message, name)
end
refuses("there is nothing to draw", "nothing")
refuses("argument 1 is 3, expected a tensor, a network", "a number", 3)
refuses("tensor 2 of the list is \"a\"", "a list", {x, "a"})
refuses("there is no option \"tim\", did you mean \"time\"", "an option", x, {tim = true})
refuses("the file is \"a.gif\", expected a name that ends in", "a picture", x, {file = "a.gif"})
refuses("time = true needs the network's input", "a network without input", lenet, {time = true})
refuses("the shape of a sample is \"big\"", "a network's input", lenet, "big")
refuses("gradient = true, but what is drawn is i64", "no gradient", x:argmax(), {gradient = true})
refuses("depth is 0", "a depth", lenet, {1, 28, 28}, {depth = 0})
local counting = nn.Module:extend "Counting"
function counting.init() end
function counting.forward() return 3 end
refuses("the network returned no tensor; its forward%(%) has to return one", "no tensor",
  counting {}, {3})
t.error(function() mw.draw(x, {file = "/nowhere/a.dot"}) end, "draw: /nowhere/a.dot: No such file",
  "a folder that is not there")

local shell = require "moonwalk.shell"
function shell.has() return false end
refuses("a %.svg is made by Graphviz, whose program dot is not there; its package is called graph",
  "no Graphviz", x, {file = "a.svg"})

t.done()
