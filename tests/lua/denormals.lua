-- denormals.lua: kernels flush denormal numbers or keep them, on all threads; what calls a run has
-- its own arithmetic again.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"
local core = mw.core

local function with(flush, fn, ...)
  local before = mw.flush_denormals(flush)
  local results = table.pack(pcall(fn, ...))
  mw.flush_denormals(before)
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- The setting -------------------------------------------------------------------------------------

local from_start = mw.flush_denormals()
t.is(from_start, os.getenv "MOONWALK_DENORMALS" ~= "keep", "flushed, unless told otherwise")
mw.flush_denormals(true)
t.is(mw.flush_denormals(), true, "without an argument it changes nothing")
t.is(mw.flush_denormals(false), true, "mw.flush_denormals gives what was set before")
t.is(mw.flush_denormals(true), false, "and sets")
t.refuses("flush_denormals: on is 'never', expected true or false", mw.flush_denormals, "never")
t.refuses("flush_denormals: on is 0", mw.flush_denormals, 0)
t.is(mw.flush_denormals(), true, "what it does not take changes nothing")

local command = os.getenv "MOONWALK_BUILD" .. "/moonwalk"
for _, case in ipairs {{"keep", "false"}, {"flush", "true"}, {"Keep", "true"}, {"", "true"}} do
  local pipe <close> = assert(io.popen(("MOONWALK_DENORMALS='%s' '%s' -e '%s'"):format(case[1],
    command, "print(mw.flush_denormals(), (mw.tensor(1e-30) * 1e-10):item() == 0)")))
  t.is(pipe:read "a":match "^%S+", case[2], "MOONWALK_DENORMALS=" .. case[1])
end

-- Elsewhere nothing is told to the processor.
local pipe = assert(io.popen "uname -m")
local machine = pipe:read "l"
pipe:close()
if machine ~= "x86_64" and machine ~= "aarch64" then
  t.skip("what kernels do with denormals", "they are kept on " .. machine)
  t.done()
end

-- Elements ----------------------------------------------------------------------------------------

local function single(x) return (("<f"):unpack(("<f"):pack(x))) end

-- As plain arithmetic has it: f32 is f64's rounded once more.
local products = {
  {"f32", single(1e-30), single(1e-10), single(single(1e-30) * single(1e-10))},
  {"f32", -single(1e-30), single(1e-15), -single(single(1e-30) * single(1e-15))},
  {"f32", single(3e-39), 1.0, single(3e-39)},
  {"f64", 1e-300, 1e-10, 1e-300 * 1e-10},
  {"f64", -1e-300, 2^-60, -1e-300 * 2^-60},
  {"f64", 5e-324, 1.0, 5e-324},
}
for _, case in ipairs(products) do
  local dtype, a, b, want = table.unpack(case)
  local function product() return (mw.tensor(a, dtype) * mw.tensor(b, dtype)):item() end
  t.is(with(true, product), 0.0, ("%s: %g times %g is flushed"):format(dtype, a, b))
  t.ok(want ~= 0 and with(false, product) == want, ("... or kept: %g"):format(want))
end

local LEAST = {f32 = 2.0^-126, f64 = 2.0^-1022}
for dtype, least in pairs(LEAST) do
  local x = mw.tensor({least, -least, 2 * least}, dtype)
  for _, flush in ipairs {true, false} do
    t.is(with(flush, function() return (x * 1):totable() end), {least, -least, 2 * least},
      ("%s: the least normal numbers stay, %s"):format(dtype, flush and "flushing" or "keeping"))
  end
  t.is(with(true, function() return (x * 0.75):totable() end), {0.0, -0.0, 1.5 * least},
    dtype .. ": what is below is 0")
  t.is(with(false, function() return (x * 0.75):totable() end),
    {0.75 * least, -0.75 * least, 1.5 * least}, dtype .. ": or is not")
end

local tiny = mw.tensor {3e-39, -3e-39}
for _, flush in ipairs {true, false} do
  t.is(with(flush, function() return (tiny + 0):gt(0):totable() end), {not flush, false},
    "a comparison, too " .. (flush and "takes them for 0" or "tells them from 0"))
end
t.is(with(true, function() return (tiny:relu() * 1e30):totable() end), {0.0, 0.0}, "relu of them")

-- All threads -------------------------------------------------------------------------------------

local function threads_of(n, fn, ...)
  local before = mw.threads()
  mw.threads(n)
  local result = table.pack(fn(...))
  mw.threads(before)
  return table.unpack(result, 1, result.n)
end

local COUNT = 1 << 21
local value = single(single(1e-30) * single(1e-10))
for _, n in ipairs {1, 3} do
  for _, flush in ipairs {true, false, true} do
    local name = ("%s, %d threads"):format(flush and "flushing" or "keeping", n)
    -- mw.slicing: by elements in a region's slices, and by a kernel's own chunks.
    for _, slicing in ipairs {"auto", "never"} do
      local before = mw.slicing(slicing)
      local least, most = threads_of(n, with, flush, function()
        local y = mw.full({COUNT}, 1e-30) * mw.full({COUNT}, 1e-10)
        y:eval()
        local wanted = flush and 0.0 or value
        return y:min():item(), with(false, function() return (y:ne(wanted)):any():item() end)
      end)
      mw.slicing(before)
      t.is({least, most}, {flush and 0.0 or value, false}, "products, " .. name .. ", " .. slicing)
    end
    local axpy = threads_of(n, with, flush, function()
      local dy, x = mw.full({COUNT}, 1e-30), mw.zeros {COUNT}
      local y = dy:axpy(x, mw.tensor(1e-10)):eval()
      return with(false, function() return y:ne(flush and 0 or value):any():item() end)
    end)
    t.is(axpy, false, "axpy, " .. name)
    local matrix = threads_of(n, with, flush, function()
      local a, b = mw.full({256, 256}, 1e-25), mw.full({256, 256}, 1e-20)
      local y = a:matmul(b):eval()
      return with(false, function() return {y:max():item() > 0, y:min():item() > 0} end)
    end)
    t.is(matrix, {not flush, not flush}, "a matrix product, " .. name)
  end
end

-- What an optimizer keeps: the gradient is 0 from the second step on, as that of a dead unit.
local function momentum_after(steps, flush, n)
  return threads_of(n, with, flush, function()
    local w = mw.param(mw.ones {COUNT // 8})
    local opt = mw.optim.SGD({w}, {lr = 0.1, momentum = 0.9})
    for i = 1, steps do opt:step((w * mw.tensor(i == 1 and 1e-36 or 0)):sum()) end
    local momentum = opt.slots[1].momentum
    return with(false, function() return {momentum:min():item(), momentum:max():item()} end)
  end)
end
for _, n in ipairs {1, 3} do
  t.is(momentum_after(60, true, n), {0.0, 0.0},
    ("the momentum of what learns no more becomes 0, %d threads"):format(n))
end
local stays = momentum_after(400, false, 1)
t.ok(stays[1] > 0 and stays[1] < 1e-43, "or stays among the last numbers before it for ever")
t.is(stays, momentum_after(401, false, 3), "as it is with more threads and one step later")

-- Whoever calls a run -----------------------------------------------------------------------------

-- Numbers that only the processor can multiply: what is written out would be multiplied before.
local least, half, bits = 5e-324, 0.5, 2.0^-1060

local function plain() return least ~= 0 and least * 1 > 0 and bits * half == 2.0^-1061 end

t.ok(plain(), "Lua's numbers have denormals")
;(mw.ones {COUNT} * 2):eval()
t.ok(plain(), "after a run, too")
threads_of(3, function() (mw.ones {COUNT} * 2):eval() end)
t.ok(plain(), "after one on several threads")
local x = mw.ones {4}
t.error(function() (x:hook(function() error("no", 0) end) + 1):eval() end, "no", "a run fails")
t.ok(plain(), "after a failure")
t.error(function() (x:hook(core.interrupt) + 1):eval() end, "interrupted", "a run is interrupted")
t.ok(plain(), "after an interrupt")
t.error(function() mw.debug.nan(function() return (x - 2):log():eval() end) end, "NaN",
  "a run that is looked at fails")
t.ok(plain(), "after that")
mw.tune {file = false}
mw.ones {8, 8}:matmul(mw.ones {8, 8}):eval()
mw.tune(false)
t.ok(plain(), "after kernels were measured")

-- Inside of a run ---------------------------------------------------------------------------------

local seen, inner = {}, nil
local y = mw.tensor({1e-30}):hook(function()
  seen[#seen + 1] = plain()
  inner = (mw.tensor(1e-30) * 1e-10):item()
  seen[#seen + 1] = plain()
end) * 1e-10
t.is(y:totable(), {0.0}, "a kernel behind a hook flushes")
t.is(seen, {true, true}, "Lua in a hook has denormals, also after a run of its own")
t.is(inner, 0.0, "in which kernels flush")
local kept = with(false, function()
  return (mw.tensor(1e-30):hook(function() seen[3] = plain() end) * 1e-10):item()
end)
t.is({kept, seen[3]}, {value, true}, "all of it when they are kept")
local changed = mw.tensor(1e-30):hook(function() mw.flush_denormals(false) end) * 1e-10
t.is({changed:item(), mw.flush_denormals(true)}, {0.0, false},
  "a change inside of a run holds from the next one on")

-- Every op ----------------------------------------------------------------------------------------

-- Results and gradients with an input whose numbers are multiplied, as lists; nil if it refuses.
local function results_of(case, position, factor, flush)
  local input = case.inputs[position]
  local list = cases.array(input)
  for i = 1, #list do list[i] = list[i] * factor end
  local inputs = cases.with(case, {[position] = cases.tensor(list, input.dtype, input.shape)})
  local succeeded, lists = pcall(with, flush, function()
    local results, xs = cases.call(case, inputs), {}
    for _, at in ipairs(cases.floats(case)) do xs[#xs + 1] = inputs[at] end
    local total = 0
    for _, result in ipairs(results) do
      if cases.is_float(result) then total = total + result:sum():cast "f64" end
    end
    if cases.info(case.name).differentiable and core.is_tensor(total) then
      table.move(core.grad(total, xs), 1, #xs, #results + 1, results)
    end
    mw.eval(table.unpack(results))
    for i, result in ipairs(results) do results[i] = cases.array(result) end
    return results
  end)
  return succeeded and lists or nil
end

local function is_odd(v) return math.type(v) == "float" and v - v ~= 0 end

-- Where 0 gives a number and a denormal gives one, the latter taken for 0 does.
local function problem_of(case, position, factor)
  local got = results_of(case, position, factor, true)
  local want = got and results_of(case, position, factor, false)
  local zero = want and results_of(case, position, 0.0, false)
  if not zero then return nil end
  for r, list in ipairs(got) do
    for i, v in ipairs(list) do
      if is_odd(v) and not is_odd(want[r][i]) and not is_odd(zero[r][i]) then
        return ("%s, input %d, result %d: %g"):format(case.text, position, r, v)
      end
    end
  end
end

local tried, problem = 0, nil
for _, name in ipairs(cases.names()) do
  for dtype, factor in pairs {f32 = 3e-39, f64 = 3e-309} do
    for _, text in ipairs(cases.info(name).cases) do
      local case = cases.read(name, text, dtype)
      for _, position in ipairs(cases.floats(case)) do
        tried, problem = tried + 1, problem or problem_of(case, position, factor)
      end
    end
  end
end
t.ok(tried > 500 and not problem, "no op makes a NaN or an infinity of a denormal: "
  .. (problem or tried .. " inputs"))

mw.flush_denormals(from_start)
t.done()
