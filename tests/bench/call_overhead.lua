-- call_overhead.lua: what a call of a plugin's op costs in a program, beyond its kernel. A chain of
-- nodes, each of which does next to nothing to one element, runs as a program kept by mw.compile;
-- the cost of a node is the slope from a short to a long chain. Not a test: nothing is expected.
--
--   build/moonwalk tests/bench/call_overhead.lua
local mw = require "moonwalk"

mw.plugin.compile [[
#include <moonwalk.h>
static mw_status forward(const mw_call *call) {
  *(real *)call->out[0].data = *(const real *)call->in[0].data + 1;
  return MW_OK;
}
static const mw_op step = {
    .name = "bench_step",
    .version = 1,
    .doc = "y = x + 1, of one element.",
    .example = "mw.bench_step(mw.ones {})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"dy"},
};
MW_PLUGIN(&step)
]]
mw.op {name = "bench_lua", forward = function(x, y) y[1] = x[1] + 1 end}

local x = mw.tensor {0}

local function chain(op, n)
  return mw.compile(function(v)
    for _ = 1, n do v = mw[op](v) end
    return v
  end)
end

-- Seconds of one run: the least of several rounds, since what else the machine does only adds.
local function seconds(run, rounds)
  local least = math.huge
  run(x)
  for _ = 1, rounds do
    local repeats, start = 0, os.clock()
    repeat
      run(x)
      repeats = repeats + 1
      local spent = os.clock() - start
    until spent > 0.02
    least = math.min(least, (os.clock() - start) / repeats)
  end
  return least
end

local function slope(op, short, long)
  return (seconds(chain(op, long), 20) - seconds(chain(op, short), 20)) / (long - short) * 1e9
end

mw.threads(1)
for _, row in ipairs {{"bench_step", "a plugin's op in C"}, {"relu", "a shipped op"},
  {"bench_lua", "an op in Lua"}} do
  print(("%-20s %7.1f ns a node"):format(row[2], slope(row[1], 100, 2100)))
end
