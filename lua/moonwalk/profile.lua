-- profile.lua: mw.profile and mw.flops: where the time of a function's programs goes, and what
-- programs take before they run.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local measure = require "moonwalk.measure"

local profile = {}

---What one op, or one node, took in all runs.
---@class moonwalk.ProfileRow
---@field op string  "conv2d", "conv2d.backward"
---@field kernel string  which one the program picked; of a node
---@field shapes string  "f32[8,3] f32[4,3] -> f32[8,4]"; of a node
---@field origin string  the line that built it; of a node
---@field count integer  how often it ran
---@field calls integer  of its kernel: more than `count` where it runs part by part
---@field seconds number  of all calls together
---@field mean number  seconds of a run
---@field share number  of the time of all kernels
---@field flops number  floating-point operations of all runs
---@field bytes number  read and written in all runs
---@field gflops number  10^9 operations a second
---@field gbytes number  10^9 bytes a second
---@field peak number?  the share of what the processor could do; nil where there are no operations

---@class moonwalk.Profile
---@field seconds number  from the function's begin to its end
---@field kernel_seconds number  of which this is the time in kernels, of all threads together
---@field ops moonwalk.ProfileRow[]  by op, the slowest first
---@field nodes moonwalk.ProfileRow[]  by node, the slowest first
---@field threads integer
---@field lost integer  calls that the trace has no room for
local Profile = {}
Profile.__index = Profile
Profile.__name = "moonwalk.Profile"

-- ---- sums -------------------------------------------------------------------------------------

-- Adds the steps into rows that have the same key, and finishes these.
local function gather(steps, key_of, fields, threads, total)
  local rows, by_key = {}, {}
  for _, step in ipairs(steps) do
    local key = key_of(step)
    local row = by_key[key]
    if not row then
      row = {count = 0, calls = 0, seconds = 0, flops = 0, bytes = 0}
      for _, field in ipairs(fields) do row[field] = step[field] end
      by_key[key] = row
      rows[#rows + 1] = row
    end
    row.count = row.count + step.runs
    row.calls = row.calls + step.calls
    row.seconds = row.seconds + step.seconds
    row.flops = row.flops + step.flops * step.runs
    row.bytes = row.bytes + step.bytes * step.runs
  end
  for _, row in ipairs(rows) do
    -- A kernel that is called part by part runs in one thread; otherwise it has all of them.
    local alone = row.calls > row.count
    row.mean = row.count > 0 and row.seconds / row.count or 0
    row.share = total > 0 and row.seconds / total or 0
    row.gflops = row.seconds > 0 and row.flops / row.seconds / 1e9 or 0
    row.gbytes = row.seconds > 0 and row.bytes / row.seconds / 1e9 or 0
    row.peak = row.flops > 0 and row.gflops * 1e9 / measure.peak(alone and 1 or threads) or nil
  end
  table.sort(rows, function(a, b)
    if a.seconds ~= b.seconds then return a.seconds > b.seconds end
    return key_of(a) < key_of(b)
  end)
  return rows
end

local function op_of(step) return step.op end

local function node_of(step)
  return table.concat({step.op, step.kernel, step.shapes, step.origin}, "\0")
end

local function new(raw, threads)
  local total = 0
  for _, step in ipairs(raw.steps) do total = total + step.seconds end
  return setmetatable({
    seconds = raw.seconds, kernel_seconds = total, threads = threads, lost = raw.lost,
    ops = gather(raw.steps, op_of, {"op"}, threads, total),
    nodes = gather(raw.steps, node_of, {"op", "kernel", "shapes", "origin"}, threads, total),
    raw = raw,
  }, Profile)
end

-- ---- as text ----------------------------------------------------------------------------------

local function cells(row)
  local busy = row.flops > 0
  return {row.op, tostring(row.count), measure.time_text(row.seconds), measure.time_text(row.mean),
    ("%.1f %%"):format(100 * row.share), busy and measure.digits(row.gflops) or "",
    measure.digits(row.gbytes), busy and ("%.0f %%"):format(100 * row.peak) or ""}
end

local HEADING = {"runs", "time", "each", "share", "GFLOP/s", "GB/s", "peak"}

local function heading(first)
  return {first, table.unpack(HEADING)}
end

---As text: a table by op, and one of the slowest nodes.
---@param most? integer  nodes in the second table, 10
---@return string
function Profile:text(most)
  most = most or 10
  local ops, nodes = {heading "op"}, {heading "node"}
  for _, row in ipairs(self.ops) do ops[#ops + 1] = cells(row) end
  for i = 1, math.min(most, #self.nodes) do
    local row = self.nodes[i]
    nodes[#nodes + 1] = cells(row)
    table.move({row.kernel, row.origin, row.shapes}, 1, 3, 9, nodes[#nodes])
  end
  table.move({"  kernel", "built at", "shapes"}, 1, 3, 9, nodes[1])
  for i = 2, #nodes do nodes[i][9] = "  " .. nodes[i][9] end
  return ("%s, of which %s in kernels; %d thread%s\n\n%s\n\n%s"):format(
    measure.time_text(self.seconds), measure.time_text(self.kernel_seconds), self.threads,
    self.threads == 1 and "" or "s", measure.table_text(ops),
    measure.table_text(nodes, {1, 9, 10, 11}))
end

Profile.__tostring = Profile.text

-- ---- as a trace -------------------------------------------------------------------------------

---Writes a time line that chrome://tracing and ui.perfetto.dev open: a bar for each call of a
---kernel, below the thread that made it. The format is Google's "Trace Event Format", as JSON.
---@param path string
---@return boolean? done
---@return string? message
function Profile:trace(path)
  if type(path) ~= "string" then check.fail("profile:trace", "the path", path, "a string") end
  local file, message = io.open(path, "w")
  if not file then return nil, message end
  local encode, spans, workers = core.json_encode, self.raw.spans, 1
  local function write(event, last)
    file:write(encode(event), last and "\n" or ",\n")
  end
  file:write '{"displayTimeUnit": "ns", "traceEvents": [\n'
  for i = 1, #spans, 4 do
    local step, worker, begin, seconds = table.unpack(spans, i, i + 3)
    local cost = self.raw.steps[step]
    workers = math.max(workers, worker)
    write {name = cost.op, cat = "kernel", ph = "X", pid = 1, tid = worker, ts = begin * 1e6,
      dur = seconds * 1e6, args = {shapes = cost.shapes, kernel = cost.kernel,
        origin = cost.origin, flops = cost.flops, bytes = cost.bytes, program = cost.program}}
  end
  for worker = 1, workers do
    write({name = "thread_name", ph = "M", pid = 1, tid = worker,
      args = {name = worker == 1 and "caller" or ("worker %d"):format(worker)}}, worker == workers)
  end
  local written = file:write "]}\n"
  local closed, problem = file:close()
  if not written or not closed then return nil, problem or path end
  return true
end

-- ---- the functions ----------------------------------------------------------------------------

local function finish(threads, succeeded, ...)
  local raw = core.profile_stop()
  if not succeeded then error((...), 0) end
  return new(raw, threads), ...
end

---Runs a function and tells what its programs took: time, floating-point operations and bytes of
---each node. The first call of a function compiles programs and touches memory for the first time:
---call it once before. When no profile is taken this costs nothing.
---
---    print(mw.profile(function() opt:step(net(x):cross_entropy(y)) end))
---@param fn function
---@param ... any  its arguments
---@return moonwalk.Profile profile
---@return any ...  what the function returns
function profile.profile(fn, ...)
  if type(fn) ~= "function" then check.fail("profile", "the argument", fn, "a function") end
  core.profile_start()
  return finish(core.threads(), pcall(fn, ...))
end

---How many floating-point operations computing these tensors would take, by what their ops say, a
---multiply-add counting as two; how many bytes would be read and written; and the same step by
---step: a list of {op, kernel, shapes, origin, flops, bytes}. Nothing is run, and what has its
---value already takes nothing.
---@param ... moonwalk.Tensor
---@return number flops
---@return number bytes
---@return table[] steps
function profile.flops(...)
  local tensors = {...}
  for i = 1, select("#", ...) do
    if not core.is_tensor(tensors[i]) then
      check.fail("flops", ("argument %d"):format(i), tensors[i], "a tensor")
    end
  end
  local flops, bytes, steps = 0, 0, {}
  for i, step in ipairs(core.costs(tensors).steps) do
    flops, bytes = flops + step.flops, bytes + step.bytes
    steps[i] = {op = step.op, kernel = step.kernel, shapes = step.shapes, origin = step.origin,
      flops = step.flops, bytes = step.bytes}
  end
  return flops, bytes, steps
end

return profile
