-- why.lua: mw.why, which shows why a parameter has the gradient that it has: the way from the loss
-- back to it, op by op, and where on it the gradient vanishes or explodes.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local frozen = require "moonwalk.frozen"
local below = require "moonwalk.look.below"
local gradients = require "moonwalk.look.gradients"
local marks = require "moonwalk.look.marks"
local names = require "moonwalk.look.names"
local why_summary = require "moonwalk.look.why_summary"

local why = {}

local MOST_CAUSES = 16 -- marks whose causes are looked for

---@class moonwalk.Why
---@field loss string  the user's name of it, or "the loss"
---@field parameter string  its name and spec
---@field path moonwalk.GradientStep[]  all values between them, users before what they use
---@field main integer[]  those on the way of the strongest branches, from the loss to the parameter
---@field norm number  of the gradient in the parameter
---@field ratio number  by that near the loss, where a batch's mean is behind it
---@field summary string
---@field full boolean

-- What a text tells of a gradient that is asked for after an update.
local function explain_stale(message, loss)
  local which = message:match "parameter ('[^']*')" or "a parameter"
  core.error(("why: %s was updated after %s was built, so that its gradients of then cannot be "
    .. "computed any more. Build it again, as in loss = net(x):cross_entropy(y), and ask before "
    .. "the next step"):format(which, loss))
end

-- Runs fn(...); where a value is stale, says what to do.
local function unless_stale(loss, fn, ...)
  local results = table.pack(pcall(fn, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = results[2]
  if type(message) == "string" and message:find("stale value", 1, true) then
    explain_stale(message, loss)
  end
  error(message, 0)
end

local function is_float(t) return t.dtype == "f32" or t.dtype == "f64" end

local function check_loss(loss)
  if not core.is_tensor(loss) then check.fail("why", "the loss", loss, "a tensor") end
  if not is_float(loss) then
    check.fail("why", "the loss", loss, "a scalar of f32 or f64")
  end
  for _, size in ipairs(loss.shape) do
    if size ~= 1 then
      check.fail("why", "the loss", loss, "a scalar; reduce it first, as loss:mean() does")
    end
  end
end

-- ---- one parameter --------------------------------------------------------------------------

local function position(steps, key)
  for i, step in ipairs(steps) do
    if names.key(step.tensor) == key then return i end
  end
end

-- What is kept of a step: numbers, and no tensors, which would keep the graph.
local function without_tensors(steps)
  for _, step in ipairs(steps) do step.tensor, step.gradient = nil, nil end
  return steps
end

local meta = {
  __name = "moonwalk.Why",
  __tostring = function(result) return require("moonwalk.look.why_text").path(result) end,
}

-- The name of what is looked at, when nobody gave it one.
local function call_it(parameter, name_of)
  local name = name_of(names.key(parameter)) or core.name(parameter)
  if name ~= "" then return name end
  return core.is_param(parameter) and "the parameter" or "the value"
end

-- Marks the steps, and looks for the causes of some.
local function mark(steps, near, name_of)
  local marked = {}
  marks.set(steps, near)
  for i, step in ipairs(steps) do
    if step.mark and #marked < MOST_CAUSES then marked[#marked + 1] = i end
  end
  marks.explain(steps, marked, name_of, names.key)
end

local function one(loss, parameter, name_of, full)
  local loss_name, name = name_of(names.key(loss)) or "the loss", call_it(parameter, name_of)
  local steps = {}
  if is_float(parameter) then
    steps = unless_stale(loss_name, gradients.trace, loss, {parameter}, name_of)
  end
  local last = position(steps, names.key(parameter))
  if not last then
    local explain = require("moonwalk.look.unreached").explain
    return explain(loss, parameter, loss_name, name, name_of, steps)
  end
  local path = gradients.path(steps, last)
  local near = marks.near_loss(steps, path).norm
  mark(steps, near, name_of)
  return setmetatable({
    loss = loss_name, parameter = name .. ", " .. core.spec(parameter),
    path = without_tensors(steps), main = path, norm = steps[last].norm,
    ratio = steps[last].norm / near, summary = why_summary.of(steps, path), full = full,
  }, meta)
end

-- ---- all parameters -------------------------------------------------------------------------

-- {name, tensor} of each parameter that is meant: those of a network, of a list, or all that there
-- are below the loss.
local function list_parameters(loss, what, name_of)
  local Module, list = require "moonwalk.nn.module", {}
  local function add(name, t) list[#list + 1] = {name = name, tensor = t} end
  if Module.is(what) then
    for path, t in what:named_parameters() do add(name_of(names.key(t)) or path, t) end
  elseif type(what) == "table" then
    for i, t in ipairs(what) do
      if not core.is_tensor(t) then check.fail("why", ("parameter %d"):format(i), t, "a tensor") end
      local own = core.name(t)
      add(name_of(names.key(t)) or own ~= "" and own or ("parameter %d"):format(i), t)
    end
  else
    for _, t in ipairs(below.parameters(below.nodes(loss))) do
      local own = core.name(t)
      add(name_of(names.key(t)) or own ~= "" and own or "a parameter", t)
    end
  end
  return list
end

local table_meta = {
  __name = "moonwalk.WhyAll",
  __tostring = function(result) return require("moonwalk.look.why_text").all(result) end,
}

local function mark_of(row, largest)
  if not row.norm then return "unreached" end
  if row.norm ~= row.norm then return "nan" end
  if row.norm == math.huge then return "infinite" end
  if row.norm == 0 or row.norm < 1e-7 * largest then return "vanishes" end
  if row.norm > 1e3 then return "explodes" end
end

-- The rows of a table: what each parameter is, its norm as `size`, and that of its gradient.
local function fill_rows(rows, traced)
  local arrived, asked, wanted, is_frozen = {}, {}, {}, names.keys(frozen.all())
  for _, it in ipairs(traced) do arrived[names.key(it.tensor)] = it.gradient end
  local function ask(row, field, t)
    wanted[#wanted + 1] = gradients.norm(t)
    asked[#asked + 1] = {row, field, wanted[#wanted]}
  end
  for _, row in ipairs(rows) do
    local t = row.tensor
    local key = names.key(t)
    local gradient = arrived[key]
    row.spec, row.frozen, row.tensor = core.spec(t), is_frozen[key], nil
    ask(row, "size", t)
    if gradient then ask(row, "norm", gradient) end
  end
  core.run(wanted, {}, {})
  for _, it in ipairs(asked) do it[1][it[2]] = it[3]:item() end
end

local function all(loss, what, name_of)
  local rows, tensors = list_parameters(loss, what, name_of), {}
  local loss_name = name_of(names.key(loss)) or "the loss"
  if #rows == 0 and what ~= nil then
    check.fail("why", "the second argument", what, "a network or a list with parameters")
  elseif #rows == 0 then
    core.error(("why: %s depends on no parameter; mw.param(t) makes one"):format(loss_name))
  end
  for _, row in ipairs(rows) do
    if is_float(row.tensor) then tensors[#tensors + 1] = row.tensor end
  end
  fill_rows(rows, unless_stale(loss_name, core.trace, loss, tensors))
  local largest = 0
  for _, row in ipairs(rows) do
    if row.norm and row.norm < math.huge then largest = math.max(largest, row.norm) end
  end
  for _, row in ipairs(rows) do row.mark = mark_of(row, largest) end
  return setmetatable({loss = loss_name, rows = rows}, table_meta)
end

---Why a parameter has the gradient that it has: the way of the gradient from the loss back to it,
---op by op. Each line has the norm of the gradient of the loss in a value, and the factor between
---the step before and this one; where a value is used several times, the share of each branch.
---Where the gradient vanishes or explodes there is a mark, with what is known of the cause.
---
---    why(loss, net.conv1.weight)              -- at the prompt
---    print(mw.why(loss, w))                   -- in a script
---    mw.why(loss, w).path[3].norm             -- the numbers
---    mw.why(loss, net)                        -- a line for each parameter of a network
---    mw.why(loss)                             -- for each that the loss depends on
---
---A long way is shown in parts, unless {full = true} asks for all of it.
---@param loss moonwalk.Tensor  a scalar
---@param parameter moonwalk.Tensor|moonwalk.Module|moonwalk.Tensor[]|nil
---@param options? {full?: boolean}
---@return moonwalk.Why|table
function why.why(loss, parameter, options)
  check_loss(loss)
  options = check.options("why", options, {"full"})
  local full = check.boolean("why", "full", options.full, false)
  local name_of = names.known()
  if core.is_tensor(parameter) then return one(loss, parameter, name_of, full) end
  if parameter ~= nil and type(parameter) ~= "table" then
    check.fail("why", "the parameter", parameter, "a tensor, a network, or a list of tensors")
  end
  return all(loss, parameter, name_of)
end

return why
