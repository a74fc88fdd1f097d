-- compile.lua: mw.compile, which builds a function's graph once and then only feeds it.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local draws = require "moonwalk.draws"

-- What the graph depends on: the specs of tensors, and every other argument's value.
local function signature(args)
  local parts = {}
  for i = 1, args.n do
    local value = args[i]
    if core.is_tensor(value) then
      parts[i] = core.spec(value)
    elseif value == nil or type(value) == "number" or type(value) == "boolean" then
      parts[i] = tostring(value)
    elseif type(value) == "string" then
      parts[i] = ("%q"):format(value)
    else
      core.error(("compile: argument %d is a %s, expected a tensor, a number, a string, a boolean "
        .. "or nil"):format(i, type(value)))
    end
  end
  return table.concat(parts, ";")
end

-- The results of fn on these arguments, as a packed table. Random numbers that it asks for are ops
-- meanwhile, and what the trace draws is drawn again by the first run: mw.seed decides the numbers
-- of a call, be it the one that traces or a later one.
local function traced_results(fn, args)
  local outer = core.tracing(true)
  local results = table.pack(pcall(draws.trial, fn, table.unpack(args, 1, args.n)))
  core.tracing(outer)
  if not results[1] then error(results[2], 0) end
  return table.move(results, 2, results.n, 1, {n = results.n - 1})
end

-- Calls fn on input leaves in place of tensors, and compiles what it returns.
local function trace(fn, args)
  local inputs, traced = {}, {n = args.n}
  for i = 1, args.n do
    traced[i] = args[i]
    if core.is_tensor(args[i]) then
      traced[i] = core.input(args[i].shape, args[i].dtype,
        ("argument %d, while mw.compile traces"):format(i))
      inputs[i] = traced[i]
    end
  end
  local outputs = traced_results(fn, traced)
  if outputs.n == 0 then core.error("compile: the function returned nothing, expected tensors") end
  for i = 1, outputs.n do
    if not core.is_tensor(outputs[i]) then
      check.fail("compile", ("result %d of the function"):format(i), outputs[i], "a tensor")
    end
  end
  return {inputs = inputs, outputs = outputs.n, program = core.program(outputs)}
end

---Returns a function that does what `fn` does on tensors, but builds its graph only once for each
---combination of dtypes and shapes, and then runs the compiled program. What `fn` does besides
---building tensors happens once, and so do constants that it makes; but random numbers, such as
---mw.randn's and dropout's, are new at each run. Parameters are read at each run, and cannot be
---updated inside; neither are running statistics. All results must be tensors. When an op has been
---replaced (mw.plugin.reload), the graph is built anew.
---@param fn function
---@return function
local function compile(fn)
  if type(fn) ~= "function" then check.fail("compile", "the argument", fn, "a function") end
  local traces, generation = {}, core.plugin_generation()
  return core.entry(function(...)
    local args = table.pack(...)
    local now = core.plugin_generation()
    if now ~= generation then traces, generation = {}, now end
    local key = signature(args)
    local found = traces[key]
    if not found then
      found = trace(fn, args)
      traces[key] = found
    end
    for i, leaf in pairs(found.inputs) do core.feed(leaf, args[i]) end
    return table.unpack(core.program_run(found.program), 1, found.outputs)
  end)
end

return compile
