-- updates.lua: buffers, and the values that they take over with the next step.
--
-- A buffer is a tensor that a network keeps and saves but does not train: the running mean of a
-- batch normalisation. Its new value is a by-product of a forward pass, and is computed in the
-- program of the step that follows: until then it waits here, as a graph. What asks for the value
-- earlier flushes.

local core = require "moonwalk.core"
local draws = require "moonwalk.draws"

local updates = {}

-- The buffers. Both tables let go of what a network that is no longer used has left.
local known = setmetatable({}, {__mode = "k"})
-- buffer -> {value, serial, passes}: the value to come; how many passes it is made of.
local waiting = setmetatable({}, {__mode = "k"})

local serial, held = 0, 0

-- So many passes without a step may wait as a graph, which holds on to their inputs.
local MOST_PASSES = 16

---A buffer with the value of a tensor.
---@param value moonwalk.Tensor
---@return moonwalk.Tensor
function updates.buffer(value)
  local buffer = core.param(value)
  known[buffer] = true
  return buffer
end

---@param value any
---@return boolean
function updates.is_buffer(value)
  return known[value] ~= nil
end

---All buffers that are still in use. A weak table holds what was collected for a while longer.
---@return fun(): moonwalk.Tensor?
function updates.buffers()
  local buffer
  return function()
    repeat buffer = next(known, buffer) until buffer == nil or core.is_tensor(buffer)
    return buffer
  end
end

-- The buffers whose value waits, in the order in which they came: the same in each step, as the
-- step's program is found by its structure.
local function ordered()
  local list = {}
  for buffer, entry in pairs(waiting) do list[#list + 1] = {buffer, entry} end
  table.sort(list, function(a, b) return a[2].serial < b[2].serial end)
  return list
end

---What the next pass goes on from: the value that waits, or that of the buffer. Not the buffer
---itself: what a pass computes otherwise does not become stale when the buffer changes.
---@param buffer moonwalk.Tensor
---@return moonwalk.Tensor
function updates.latest(buffer)
  if core.tracing() then return buffer end
  local entry = waiting[buffer]
  return entry and entry.value or core.tensor(buffer)
end

-- Computes what waits, so that it is a graph no more.
local function settle()
  local list, values = ordered(), {}
  for i, item in ipairs(list) do
    values[i] = item[2].value
    waiting[item[1]] = nil -- whatever becomes of the computation
  end
  core.eval(table.unpack(values))
  for i, item in ipairs(list) do
    waiting[item[1]] = {value = core.tensor(values[i]), serial = item[2].serial, passes = 0}
  end
end

---Lets a value wait. Not while mw.compile traces, whose program is run again without this.
---@param buffer moonwalk.Tensor
---@param value moonwalk.Tensor
function updates.put(buffer, value)
  if core.tracing() or held > 0 then return end
  local entry = waiting[buffer]
  if not entry then
    serial = serial + 1
    entry = {serial = serial, passes = 0}
    waiting[buffer] = entry
  end
  entry.value, entry.passes = value, entry.passes + 1
  if entry.passes >= MOST_PASSES then settle() end
end

---Takes what waits, which then waits no more, for an update. A buffer that this gives a value
---already is left at that.
---@param given table<moonwalk.Tensor, boolean>? the update's other targets
---@return moonwalk.Tensor[] buffers
---@return moonwalk.Tensor[] values
---@return function undo lets them wait again
function updates.take(given)
  local buffers, values, taken = {}, {}, {}
  if next(waiting) ~= nil then
    for _, item in ipairs(ordered()) do
      local buffer, entry = item[1], item[2]
      taken[buffer], waiting[buffer] = entry, nil
      if not (given and given[buffer]) then
        buffers[#buffers + 1], values[#values + 1] = buffer, entry.value
      end
    end
  end
  return buffers, values, function()
    for buffer, entry in pairs(taken) do waiting[buffer] = entry end
  end
end

---Gives all buffers now the values that wait for them.
function updates.flush()
  if held > 0 or next(waiting) == nil then return end
  local buffers, values = updates.take()
  core.run({}, buffers, values)
end

---Calls fn(...) as a trial: no buffer changes, and the random numbers go on as if it had not been.
---@param fn function
---@param ... any
---@return any ... what fn returns
function updates.trial(fn, ...)
  held = held + 1
  local results = table.pack(pcall(draws.trial, fn, ...))
  held = held - 1
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- What is called between two steps, with no arguments.
local between = {}

---Has fn called after each step, until it is told to be `false`.
---@param fn function
---@param on boolean?
function updates.between(fn, on)
  for i = #between, 1, -1 do
    if between[i] == fn then table.remove(between, i) end
  end
  if on ~= false then between[#between + 1] = fn end
end

---Says that a step is done: its parameters have their new values.
function updates.stepped()
  for i = #between, 1, -1 do between[i]() end
end

return updates
