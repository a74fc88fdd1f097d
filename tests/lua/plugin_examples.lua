-- plugin_examples.lua: the ops in plugins/examples, in C and in Lua, and how long they are.
local t = require "tap"
local mw = require "moonwalk"

local build = os.getenv "MOONWALK_BUILD" or "build"

-- The lines of a file that are code: neither empty nor comment alone.
local function code_lines(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  if path:find "%.c$" then
    text = text:gsub("/%*.-%*/", function(comment) return comment:gsub("[^\n]", "") end)
  else
    text = ("\n" .. text):gsub("\n%s*%-%-[^\n]*", "\n")
  end
  local n = 0
  for line in text:gmatch "[^\n]+" do
    if line:find "%S" then n = n + 1 end
  end
  print(("# %s: %d lines of code"):format(path, n))
  return n
end

t.ok(code_lines "plugins/examples/squareplus.c" <= 25, "an op in C with a gradient: 25 lines")
t.ok(code_lines "plugins/examples/local_response_norm.c" <= 100, "one with saved bytes and threads")
t.ok(code_lines "plugins/examples/softmax_online.c" <= 50, "another kernel for an op")
t.ok(code_lines "plugins/examples/soft_dtw.lua" <= 50, "one in Lua")

-- The first derivative in each of an op's cases.
local function check_cases(name)
  local op = mw.core.op_info(name)
  for _, case in ipairs {op.example, table.unpack(op.cases)} do
    local inner = assert(case:match("^mw%." .. name .. "(%b())$"), case):sub(2, -2)
    local x, attrs = load("local mw = ... return " .. inner, "=case", "t")(mw)
    x = x:cast "f64"
    t.ok(mw.gradcheck(function(v) return mw[name](v, attrs or {}) end, {x}, {second = false}),
      "the derivative of " .. case)
    t.near(mw[name](x:cast "f32", attrs or {}):totable(), mw[name](x, attrs or {}):totable(), 1e-5,
      "and its values in f32")
  end
end

mw.seed(4)

-- local_response_norm: against the sum as it is written in the paper.
mw.plugin(build .. "/plugins/local_response_norm.so")
local x = mw.randn({2, 5, 3}, "f64")
local function normed(size, alpha, beta, k)
  local values, result = x:totable(), {}
  for n, image in ipairs(values) do
    result[n] = {}
    for c, channel in ipairs(image) do
      result[n][c] = {}
      for p, value in ipairs(channel) do
        local sum = 0
        for other = math.max(1, c - size // 2), math.min(5, c + (size - 1) // 2) do
          sum = sum + image[other][p] ^ 2
        end
        result[n][c][p] = value / (k + alpha / size * sum) ^ beta
      end
    end
  end
  return result
end
t.near(x:local_response_norm():totable(), normed(5, 1e-4, 0.75, 1), 1e-14, "its defaults")
t.near(x:local_response_norm {size = 2, alpha = 3, beta = 0.5, k = 2}:totable(),
  normed(2, 3, 0.5, 2), 1e-14, "an even size")
t.near(x:local_response_norm {size = 99, alpha = 1}:totable(), normed(99, 1, 0.75, 1), 1e-14,
  "more channels than there are")
check_cases "local_response_norm"
t.error(function() return mw.zeros {3}:local_response_norm() end,
  "local_response_norm: x is f32%[3%], expected %[batch, channels", "a shape that does not fit")
t.error(function() return x:local_response_norm {size = 0} end, "size", "a size of 0")
local big, threads = mw.randn {9, 8, 40}, mw.threads()
local bits = {}
for _, n in ipairs {1, 2, 3} do
  mw.threads(n)
  local p = mw.param(big)
  local y = p:local_response_norm {alpha = 1}
  bits[#bits + 1] = mw.core.bytes(y) .. mw.core.bytes(mw.grad((y * y):sum(), {p})[1])
end
mw.threads(threads)
t.ok(bits[1] == bits[2] and bits[1] == bits[3], "the same bits with 1, 2 and 3 threads")

-- soft_dtw: against the sum over all alignments, walked one by one.
local soft_dtw = dofile "plugins/examples/soft_dtw.lua"
local function by_paths(costs, gamma)
  local total = 0
  local function walk(i, j, cost)
    cost = cost + costs[i][j]
    if i == #costs and j == #costs[1] then total = total + math.exp(-cost / gamma) end
    if i < #costs then walk(i + 1, j, cost) end
    if j < #costs[1] then walk(i, j + 1, cost) end
    if i < #costs and j < #costs[1] then walk(i + 1, j + 1, cost) end
  end
  walk(1, 1, 0)
  return -gamma * math.log(total)
end
for _, shape in ipairs {{4, 5}, {1, 3}, {3, 1}, {1, 1}} do
  local costs = mw.uniform(shape, 0, 2, "f64")
  for _, gamma in ipairs {1, 0.25} do
    t.near(soft_dtw(costs, {gamma = gamma}):item(), by_paths(costs:totable(), gamma), 1e-12,
      ("%d x %d, gamma %g: as all alignments together"):format(shape[1], shape[2], gamma))
  end
end
check_cases "soft_dtw"
t.error(function() return soft_dtw(mw.zeros {0, 2}) end, "soft_dtw: .*not empty", "no costs")
t.error(function() return soft_dtw(mw.zeros {2}) end, "soft_dtw: .*a matrix", "no matrix")

-- The distance of each point of a series to those of another, aligned while it is trained.
local target = mw.tensor({0, 1, 2, 1, 0}, "f64"):reshape {1, 5}
local series = mw.param(mw.zeros({4, 1}, "f64"))
local adam = mw.optim.Adam({series}, {lr = 0.1})
local first
for _ = 1, 60 do
  local loss = ((series - target) ^ 2):soft_dtw {gamma = 0.1}
  adam:step(loss)
  first = first or loss:item()
end
local last = ((series - target) ^ 2):soft_dtw {gamma = 0.1}:item()
t.ok(last < first / 4, ("a series is aligned to another: %.3g to %.3g"):format(first, last))
t.done()
