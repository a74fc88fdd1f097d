-- prompt_everywhere_graphs.lua: draw, why, walk, :nan and :debug, in all kinds of terminals.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"
local shell = require "moonwalk.shell"

local has_graphviz = shell.has "dot"

-- Lines as they are with a UTF-8 locale, or as ASCII has them.
local ASCII = {["○"] = "o", ["●"] = "*", ["✗"] = "x", ["│"] = "|", ["├"] = "|", ["─"] = "-",
  ["╯"] = "'"}
local function lines(s, list)
  if s.utf8 then return list end
  local plain = {}
  for i, line in ipairs(list) do
    plain[i] = line:gsub("[\xC2-\xFD][\x80-\xBF]+", ASCII)
  end
  return plain
end

-- ---- draw -------------------------------------------------------------------------------------

-- 4 * 8 + 8 + 8 * 3 + 3 parameters
local function graphs(s)
  s:enter 'net = nn.Sequential {{"first", nn.Dense {4, 8}}, nn.Tanh {}, {"out", nn.Dense {8, 3}}}'
  s:enter "x = mw.randn {5, 4}"
  s:enter "y = net(x)"
  s:enter 'batch = {labels = mw.zeros({5}, "i32")}'
  s:enter "loss = y:cross_entropy(batch.labels)"
  s:enter "draw(loss)"
  s:is(lines(s, {
    "○  x                     f32[5,4]",
    "●  net.first dense       f32[5,8]  weight f32[8,4], bias f32[8]",
    "●  tanh                  f32[5,8]",
    "●  y = net.out dense     f32[5,3]  weight f32[3,8], bias f32[3]",
    "●  loss = cross_entropy  f32[]     batch.labels i32[5]",
    "5 nodes, 67 parameters",
  }))
  s:is_coloured "f32[5,8]"
  s:enter "draw(loss, {time = true})":matches "tanh +f32%[5,8%] +[%d.]+ [mun]s"
  s:enter "draw(loss, {gradient = true})":has("cross_entropy", "67 parameters")
end

local function networks(s)
  s:enter "draw(net)"
  s:has("first Dense", "2 Tanh", "out Dense", "3 layers, 67 parameters")
  s:matches "first Dense +%[5,8%] +40 +{4, 8}"
  s:enter "draw(net, {4})":matches "out Dense +f32%[1,3%] +27 +{8, 3}"
  s:enter "draw(mw.ones {2} + 1)":matches "add +f32%[2%]"
end

local function drawing_files(s)
  local dot, svg = s.folder .. "/net.dot", s.folder .. "/net.svg"
  s:enter("draw(loss, {file = '" .. dot .. "'});"):is {}
  s:check(folder.contents(dot):find "^digraph.*cross_entropy.*}%s*$", "DOT for Graphviz")
  s:enter("draw(loss, {file = '" .. svg .. "'});")
  if has_graphviz then
    s:is {}
    s:check(folder.contents(svg):find "<svg.*cross_entropy.*</svg>", "SVG by Graphviz")
  else
    s:has("dot", "Graphviz")
  end
end

local function errors(s)
  s:enter "y:matmul(x)"
  s:has("matmul: a is f32[5,3] and b is f32[5,4]", "hint: draw() shows where, :debug goes there")
  s:enter "draw()"
  s:has("net.first dense", "<-- here", "matmul: a is f32[5,3] and b is f32[5,4]")
  s:matches(s.utf8 and "\n✗─╯  matmul" or "\n[xX!]%-'  matmul")
  s:is_coloured("<-- here", "31")
end

-- ---- why, walk --------------------------------------------------------------------------------

-- The gradient of sum(relu(3 w)): 1, then two ones, whose norm is 1.41, then two threes: 4.24.
local function reasons(s)
  s:enter "w = mw.param {1, 2}"
  s:enter "loss = (w * 3):relu():sum()"
  s:enter "why(loss, w)"
  s:has "the gradient of loss on its way to w, f32[2]"
  s:matches "sum +loss[^\n]* 1 [^\n]*\n[^\n]*relu[^\n]* 1%.41 +1%.41 [^\n]*\n[^\n]*mul"
  s:matches "parameter +w[^\n]* 4%.24 +3 "
  s:enter "why(loss)":has("in each parameter", "4.24")
  s:enter "dead = mw.param {-1, -2}"
  s:enter "why((dead * 3):relu():sum(), dead)"
  s:has("vanishes here", "dead: 100 % of its elements are 0", "no gradient arrives")
  s:is_coloured("vanishes here", "33")
  s:enter "l = {} for i = 1, 11, 2 do l[i], l[i + 1] = nn.Dense {8, 8}, nn.Sigmoid {} end"
  s:enter "deep = nn.Sequential(l)"
  s:enter "loss2 = deep(mw.ones {4, 8}):cross_entropy(mw.zeros({4}, 'i64'))"
  s:enter "why(loss2, deep[1].weight)":has("deep[1].weight", "most of it in 6 sigmoids")
end

local function walking(s)
  s:enter("walk(loss)", "walk> ")
  s:has("loss = sum", "| loss = (w * 3):relu():sum()",
    "1  x (relu)  f32[2]  min 3  mean 4.5  max 6",
    "in: dL/dy   f32[]   norm 1  1", "out: dL/dx  f32[2]  norm 1.41")
  s:enter("", "walk> "):has("2 of 4  relu", "norm 1.41")
  s:enter("1", "walk> "):has("3 of 4  mul", "out: dL/da  f32[2]  norm 4.24")
  s:enter("b", "walk> "):has "2 of 4  relu"
  s:enter("s 1", "walk> "):has "{3, 6}"
  s:enter("g", "walk> "):has '"g" is no command'
  s:enter("?", "walk> "):has("leave", "back")
  s:enter "v"
  s:enter "_ * 2":has "{ 6, 12}"
  s:enter("walk(loss)", "walk> ")
  s:key "C-c"
  s:ready()
  s:enter("walk(loss)", "walk> ")
  s:key "C-d"
  s:ready()
end

-- ---- :nan, :debug -----------------------------------------------------------------------------

local function nan(s)
  s:enter "n = mw.tensor {{1, 2}, {3, 0.5}, {2, -0.25}}"
  s:enter "h = (n * 2):log()"
  s:enter "h:mean()":has "nan"
  s:enter ":nan"
  s:has("the first NaN is made by log, at [", "| h = (n * 2):log()", "log of -0.5 at {3,2}",
    "1 NaN", "here -0.5", "keep it above 0: (x + 1e-8):log()")
  s:is_coloured "the first NaN"
  s:enter ":nan n * 2":has "no NaN and no infinity in n * 2 (f32[3,2])"
  s:enter ":nan net":has "no NaN and no infinity in its 4 parameters"
end

local function debugging(s)
  s:enter "net(mw.ones {6, 5})":has "hint: draw() shows where"
  s:enter(":debug", "debug> ")
  s:has("x has 5 columns, weight expects 4", "its inputs are in failed.x, failed.w, failed.b",
    "| net = nn.Sequential", "1  x = failed.x", "f32[6,5]", "2  w = net.first.weight")
  s:is_coloured("error:", "31")
  s:enter "q"
  s:enter "failed.w.shape":is {"{8, 4}"}
  s:enter "bad = net(x):cross_entropy(mw.tensor({0, 1, 2, 3, 0}, 'i64'))"
  s:enter "bad":has "labels[3] is 3, but x has 3 classes"
  s:enter(":debug", "debug> ")
  s:has("| bad = net(x):cross_entropy(", "labels", "i64[5]", "max 3")
  s:enter "v 2"
  s:enter "_:max()":is {"i64[]  3"}
end

everywhere.play {
  {"draw: a graph", graphs},
  {"draw: a network", networks},
  {"draw: files", drawing_files},
  {"draw: what failed", errors},
  {"why", reasons},
  {"walk", walking},
  {":nan", nan},
  {":debug", debugging},
}

folder.remove()
t.done()
