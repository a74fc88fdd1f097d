-- ours.lua: the process that measures Moonwalk for `make bench`. It is asked by lines of its input,
-- and answers with a line of JSON each:
--
--   setup NAME            makes what a workload needs, and warms it up
--   round NAME SECONDS    -> {"rate": calls or samples a second}, measured for so long
--   loss NAME KERNELS N   -> {"loss": after N steps} by the kernels of that name, such as plain,
--                         or by those that programs pick when it is fast
--   write NAME PATH       the network's first weights and its data, as safetensors
--   peak                  -> {"peak": FLOP/s of as many threads as it has, "machine": text}
--   quit
--
-- NAME is that of a workload. Like torch.py, onednn.c and openblas.c, which are asked the same.

package.path = (arg[0]:match "^(.*/)" or "./") .. "?.lua;" .. package.path

local mw = require "moonwalk"
local measure = require "moonwalk.measure"
local networks = require "networks"

---What a workload does, and how many samples (or calls, or nodes) that is.
---@type table<string, fun(...: string): function, number>
local makers = {}

local function network(name, kind, batch)
  local job = networks.job(name, math.tointeger(batch))
  return kind == "train" and job.step or job.infer, math.tointeger(batch)
end
for name, value in pairs(networks) do
  if type(value) == "table" then
    makers[name] = function(kind, batch) return network(name, kind, batch) end
  end
end

local function convolution(channels, size)
  return function(direction)
    mw.seed(1)
    local x, w = mw.randn {16, channels, size, size}, mw.randn {channels, channels, 3, 3}
    local dy = mw.randn {16, channels, size, size}
    mw.eval(x, w, dy)
    local run = mw.compile(function(a, b, d)
      local y = a:conv2d(b, {padding = 1})
      if direction == "forward" then return y end
      return mw.grad(y, {direction == "input" and a or b}, d)[1]
    end)
    return function() return run(x, w, dy) end, 1
  end
end
makers.conv64, makers.conv128 = convolution(64, 56), convolution(128, 28)

function makers.product(size)
  local m, n, k = size:match "(%d+)x(%d+)x(%d+)"
  mw.seed(1)
  local a, b = mw.randn {m // 1, k // 1}, mw.randn {k // 1, n // 1}
  mw.eval(a, b)
  local run = mw.compile(function(x, y) return x:matmul(y) end)
  return function() return run(a, b) end, 1
end

-- A chain of additions to one number: as little work as there is, so that what is left is the
-- graph.
function makers.graph()
  local NODES = 1000
  local x = mw.tensor {1}
  return function()
    local y = x
    for _ = 1, NODES do y = y + x end
    return y:eval()
  end, NODES
end

local jobs = {}

local function job_of(name)
  if not jobs[name] then
    local words = {}
    for word in name:gmatch "[^.]+" do words[#words + 1] = word end
    local run, size = makers[words[1]](table.unpack(words, 2))
    jobs[name] = {run = run, size = size}
  end
  return jobs[name]
end

-- Prefers the kernels of that name; nil gives the choice back.
local function force(kernel)
  for op in pairs(mw.ops) do
    local list = "\n" .. mw.core.kernel_list(op)
    if not kernel or list:find("\n" .. kernel .. " ", 1, true) then
      mw.core.kernel_prefer(op, kernel)
    end
  end
end

local answers = {}

function answers.setup(name)
  local job = job_of(name)
  for _ = 1, 3 do job.run() end
  return {}
end

-- A fifth of the time is spent before what counts: the other program had the caches.
function answers.round(name, seconds)
  local job, clock = job_of(name), mw.core.clock
  local length = tonumber(seconds)
  local start = clock()
  repeat job.run() until clock() - start >= 0.2 * length
  local calls, begin = 0, clock()
  local spent
  repeat
    job.run()
    calls, spent = calls + 1, clock() - begin
  until spent >= length
  return {rate = calls * job.size / spent}
end

function answers.loss(name, kernels, steps)
  if kernels ~= "fast" then force(kernels) end
  local network_name, _, batch = name:match "^([^.]+)%.([^.]+)%.(%d+)"
  local job, loss = networks.job(network_name, math.tointeger(batch)), nil
  for _ = 1, math.tointeger(steps) do loss = job.step() end
  force(nil)
  return {loss = loss:item()}
end

function answers.write(name, path)
  local network_name, _, batch = name:match "^([^.]+)%.([^.]+)%.(%d+)"
  local job = networks.job(network_name, math.tointeger(batch))
  assert(mw.save(path, networks.contents(job)))
  return {}
end

function answers.peak()
  return {peak = mw.core.peak(mw.threads()), machine = measure.machine()}
end

io.stdout:setvbuf "line"
print(mw.json.encode {ready = true, version = mw.version})
for line in io.lines() do
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  if words[1] == "quit" then break end
  local succeeded, answer = pcall(answers[words[1]], table.unpack(words, 2))
  if not succeeded then answer = {error = tostring(answer)} end
  print(mw.json.encode(next(answer) and answer or {done = true}))
end
