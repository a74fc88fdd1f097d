-- slices.lua: steps that run slice by slice come to what they come to in one call. What ops declare
-- of batches and elements is true, the bits do not depend on threads, failures say the same.
local t = require "tap"
local mw = require "moonwalk"
local cases = require "cases"
local core = mw.core
local nn = mw.nn

local function with(mode, fn, ...)
  local before = mw.slicing(mode)
  local results = table.pack(pcall(fn, ...))
  local slices = mw.stats().slices_last
  mw.slicing(before)
  if not results[1] then error(results[2], 0) end
  return slices, table.unpack(results, 2, results.n)
end

t.is(mw.slicing(), "auto", "as pays, unless told otherwise")
t.is(mw.slicing "never", "auto", "mw.slicing gives what was set before")
t.is(mw.slicing "auto", "never", "and sets")
t.refuses("slicing: the mode is 'often', expected 'auto', 'never' or 'always'", mw.slicing, "often")
t.refuses("slicing: the mode is 3", mw.slicing, 3)
t.is(mw.slicing(), "auto", "a mode that there is not changes nothing")

-- What ops declare --------------------------------------------------------------------------------

-- Numbers of the outputs and of the gradients in all float inputs.
local function results_of(op, case)
  local results, xs = cases.call(case), {}
  for i, position in ipairs(cases.floats(case)) do xs[i] = case.inputs[position] end
  mw.seed(7)
  local total
  for i = 1, #results do
    local y = results[i]
    if cases.is_float(y) then
      local term = (y * core.normal(y.shape, 0, 1, y.dtype)):sum():cast "f64"
      total = total and total + term or term
    end
  end
  if op.differentiable and total and #xs > 0 then
    table.move(core.grad(total, xs), 1, #xs, #results + 1, results)
  end
  mw.eval(table.unpack(results))
  local lists = {}
  for i, tensor in ipairs(results) do lists[i] = cases.array(tensor) end
  return lists
end

local function far_apart(a, b, tolerance)
  if type(a) ~= "number" then return a ~= b end
  if a == b or (a ~= a and b ~= b) then return false end
  if a ~= a or b ~= b then return true end
  return math.abs(a - b) > tolerance * math.max(1, math.abs(a), math.abs(b))
end

-- Sums over a batch are rounded in another order.
local TOLERANCE = {f32 = 2e-5, f64 = 1e-12, i32 = 0, i64 = 0, u8 = 0, bool = 0}

local function difference(got, want)
  for i, list in ipairs(want) do
    for k, value in ipairs(list) do
      if far_apart(got[i][k], value, TOLERANCE[list.dtype]) then
        return ("result %d, element %d: %s in slices, %s in one call"):format(i, k,
          tostring(got[i][k]), tostring(value))
      end
    end
  end
end

for _, name in ipairs(cases.names()) do
  local op = cases.info(name)
  if op.elementwise or op.batched then
    local problem, cut = nil, 0
    for _, text in ipairs(op.cases) do
      local case = cases.read(name, text, "f32")
      local slices, got = with("always", results_of, op, case)
      local _, want = with("never", results_of, op, case)
      cut = cut + slices
      local found = difference(got, want)
      problem = problem or found and text .. ": " .. found
    end
    t.is(problem, nil, name .. ": slices make up the whole")
    t.ok(cut > 0, name .. ": some case was cut")
  end
end

-- A network ---------------------------------------------------------------------------------------

local function network()
  mw.seed(3)
  local net = nn.Sequential {
    nn.Conv2d {2, 5, kernel = 3, padding = 1}, nn.ReLU {}, nn.MaxPool {2},
    nn.Conv2d {5, 7, kernel = 3}, nn.ReLU {}, nn.MeanPool {2},
    nn.Flatten {}, nn.Dense {7 * 6 * 6, 10},
  }
  local x, labels = mw.randn {50, 2, 28, 28}, {}
  for i = 1, 50 do labels[i] = i * i % 10 end
  return net, x, mw.tensor(labels, "i64")
end

-- The bytes of the loss and of the parameters after three steps.
local function trained(threads)
  local before = mw.threads()
  mw.threads(threads)
  local net, x, labels = network()
  local opt = mw.optim.SGD(net:parameters(), {lr = 0.1, momentum = 0.9})
  local bytes = {}
  for i = 1, 3 do bytes[i] = core.bytes(opt:step(net(x):cross_entropy(labels))) end
  for _, p in ipairs(net:parameters()) do bytes[#bytes + 1] = core.bytes(p) end
  mw.threads(before)
  return table.concat(bytes)
end

local function numbers(bytes)
  local list = {}
  for i = 1, #bytes // 4 do list[i] = string.unpack("<f", bytes, 4 * i - 3) end
  return list
end

local whole
do
  local slices
  slices, whole = with("never", trained, 1)
  t.is(slices, 0, "in one call each")
end
for _, mode in ipairs {"auto", "always"} do
  local slices, one = with(mode, trained, 1)
  t.ok(slices > 0, mode .. ": a network is run in slices")
  local worst, a, b = 0, numbers(one), numbers(whole)
  for i = 1, #b do worst = math.max(worst, math.abs(a[i] - b[i])) end
  t.ok(worst < 1e-5, ("%s: its training comes to the same (%.1e)"):format(mode, worst))
  for _, threads in ipairs {2, 3, 7} do
    local _, other = with(mode, trained, threads)
    t.ok(other == one, ("%s: the same bits with %d threads"):format(mode, threads))
  end
end

-- What a step reads as a whole while another writes over it ---------------------------------------

do
  local n = 300000
  local a, b = mw.arange(n):cast "f32":eval(), mw.full({n}, 2):eval()
  local function chain()
    local c = a + b        -- may be written over by what comes last of it
    local d = c * c - c
    local s = d:sum()      -- reads it as a whole
    return (d + s):max():item(), (c - d):min():item()
  end
  local _, high, low = with("never", chain)
  local slices, high2, low2 = with("auto", chain)
  t.ok(slices > 1, "a chain of elementwise ops runs strip by strip")
  t.is(high2, high, "the same largest")
  t.is(low2, low, "the same smallest")
end

-- x is read whole, as the weights of a second dense layer, and by entries.
do
  local x = mw.randn({24, 24}, "f64"):eval()
  local function both() return cases.array((x:dense(x):tanh() * 2):dense(x)) end
  local _, want = with("never", both)
  local slices, got = with("always", both)
  t.ok(slices > 0, "a tensor is read whole and by entries")
  t.is(difference({got}, {want}), nil, "to the same end")
end

-- A dense layer on one vector has no batch, even where in and out are of one size.
do
  local x, w = mw.tensor({1, 2, 3}, "f64"), mw.tensor({{1, 0, 0}, {0, 2, 0}, {0, 0, 3}}, "f64")
  local _, y = with("always", function() return x:dense(w):relu():totable() end)
  t.is(y, {1.0, 4.0, 9.0}, "a vector is no batch of numbers")
end

-- Failures ----------------------------------------------------------------------------------------

mw.plugin.compile [[
#include <moonwalk.h>
static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) {
    if (x[i] < 0) return mw_fail(call, "x has %g", (double)x[i]);
    ((real *)call->out[0].data)[i] = x[i];
  }
  return MW_OK;
}
static const mw_op op = {
    .name = "t_positive", .version = 1, .doc = "x, which must be positive.",
    .example = "mw.t_positive(mw.ones {3})", .inputs = {{"x"}}, .outputs = {{"y"}},
    .flags = MW_ELEMENTWISE, .infer = mw_infer_like, .forward = forward, .derivative = {"dy"},
};
MW_PLUGIN(&op)
]]
do
  -- -11 comes first, however many threads are quicker to find -5.
  local x = mw.zeros {90000}
  local at = mw.arange(90000):cast "f32"
  x = (x - at:eq(40011):cast "f32" * 11 - at:gt(70000):cast "f32" * 5):eval()
  local function message(mode, threads)
    local before = mw.threads()
    mw.threads(threads)
    local _, succeeded, text = with(mode, pcall, function()
      return ((x * 1):t_positive() * 2):eval()
    end)
    mw.threads(before)
    return not succeeded and text:gsub("^[^:]*:%d+: ", "")
  end
  t.is(message("never", 1), "t_positive: x has -11", "a kernel that fails in one call")
  for _, threads in ipairs {1, 2, 5} do
    t.is(message("auto", threads), "t_positive: x has -11",
      ("the same in slices, %d threads"):format(threads))
  end
  t.is((x + 20):t_positive():min():item(), 9.0, "nothing is spoilt")
end

do
  local x = mw.full({100000}, 4):eval()
  mw.debug.nan(true)
  local succeeded, message = pcall(function() return ((x - 5):sqrt() + 1):eval() end)
  mw.debug.nan(false)
  t.ok(not succeeded and message:find("sqrt", 1, true), "the first NaN is found in slices")
end

-- A program that is kept, with other numbers of threads -------------------------------------------

do
  local net, x = network()
  local want = cases.array(net(x))
  local run = mw.compile(function(v) return net(v) end)
  for _, threads in ipairs {1, 3, 2} do
    local before = mw.threads()
    mw.threads(threads)
    t.is(difference({cases.array(run(x))}, {want}), nil, ("kept, with %d threads"):format(threads))
    mw.threads(before)
  end
end

t.done()
