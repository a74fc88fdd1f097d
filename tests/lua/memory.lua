-- memory.lua: 10,000 training steps do not grow.
local mw = require "moonwalk"
local t = require "tap"
local nn, optim = mw.nn, mw.optim

-- Memory that the process holds, in KiB; nil where /proc is not there.
local function resident()
  local file = io.open "/proc/self/status"
  if not file then return nil end
  local size = file:read("a"):match "VmRSS:%s*(%d+)"
  file:close()
  return math.tointeger(tonumber(size))
end

mw.seed(1)
mw.threads(1)
local net = nn.Sequential {
  nn.Conv2d {1, 2, kernel = 3}, nn.ReLU {}, nn.MaxPool {2}, nn.Flatten {}, nn.Dense {18, 4},
}
local set = mw.data.dataset(mw.randn {64, 1, 8, 8}, mw.zeros({64}, "i64"))
local opt = optim.Adam(net:parameters(), {lr = 0.001})

local function train(steps)
  local left = steps
  while left > 0 do
    for batch in set:batches {size = 8, shuffle = true} do
      opt.lr = 0.001 / left
      opt:step(net(batch.x):cross_entropy(batch.y))
      left = left - 1
    end
  end
  collectgarbage()
  collectgarbage()
  return mw.stats(), resident(), collectgarbage "count"
end

local early, early_resident, early_lua = train(1000)
local late, late_resident, late_lua = train(9000)
t.is(late.tensors_live, early.tensors_live, "as many tensors after 10,000 steps as after 1,000")
t.is(late.bytes_live, early.bytes_live, "as many bytes")
t.is(late.programs_compiled, early.programs_compiled, "no program was compiled on the way")
t.ok(late.bytes_peak < early.bytes_peak + 2e6, ("peak of %d bytes, %d before"):format(
  late.bytes_peak, early.bytes_peak))
t.ok(late_lua < 1.1 * early_lua + 50,
  ("Lua holds %.0f KiB, %.0f before"):format(late_lua, early_lua))
if early_resident and (os.getenv "SANITIZE" or "") == "" then
  t.ok(late_resident < early_resident + 4096,
    ("the process holds %d KiB, %d before"):format(late_resident, early_resident))
else
  t.skip("the process's memory", "a sanitizer keeps what is freed, or there is no /proc")
end

-- What was small objects of one size becomes those of another.
local function strings_of(size)
  local list = {}
  for i = 1, 100000 do list[i] = ("%d%s"):format(i, ("x"):rep(size)) end
  return #list
end

if early_resident and (os.getenv "SANITIZE" or "") == "" then
  for size = 16, 208, 16 do
    strings_of(size)
    collectgarbage()
  end
  local more = resident() - late_resident -- of 200 MB all together, 25 at a time
  t.ok(more < 90000, ("the process holds %d KiB more after strings of many sizes"):format(more))
else
  t.skip("memory of small objects", "a sanitizer keeps what is freed, or there is no /proc")
end

-- What was held at most in between.
do
  collectgarbage()
  mw.core.peak_bytes()
  local before = mw.stats().bytes_live
  local x = mw.zeros {1000, 1000}
  local held = mw.stats().bytes_live - before
  t.is(held, 4000000, "a tensor of a million floats")
  local sum = (x:exp() * x:cos() + x:sin()):matmul(mw.ones {1000, 1}):sum():item()
  t.near(sum, 1e6, 0.1, "a sum over what is as large, and is no tensor")
  x = nil
  collectgarbage()
  local peak = mw.core.peak_bytes() - before
  t.ok(peak > held and peak < 4 * held, ("at most %d bytes were held at once"):format(peak))
  t.ok(mw.core.peak_bytes() - before < 1e5, "and then no more: " .. tostring(x))
end

-- What lives for a while grows old in a collector by generations, and goes all the same.
do
  collectgarbage()
  local ring, x, before, most = {}, mw.ones {3}, collectgarbage "count", 0
  for i = 1, 150000 do
    ring[i % 1000] = {i}
    local _ = x + x -- luacheck: no unused
    if i % 100 == 0 then most = math.max(most, collectgarbage "count" - before) end
  end
  t.ok(#ring > 0 and most < 2 * before + 1024, ("Lua holds %.0f KiB more at most"):format(most))
end

t.done()
