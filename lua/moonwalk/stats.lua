-- stats.lua: mw.stats, what happens in a network, layer by layer; and counts of what has run.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"

local stats = {}

local function is_float(t)
  return core.is_tensor(t) and (t.dtype == "f32" or t.dtype == "f64")
end

-- ---- what the layers give -----------------------------------------------------------------------

-- The parameters that a module holds itself, not in a module of its own.
local function own_parameters(module)
  local inner, list = {}, {}
  for _, child in ipairs(module:children()) do
    for _, parameter in ipairs(child[2]:parameters()) do inner[parameter] = true end
  end
  for name, parameter in module:named_parameters() do
    if not inner[parameter] and is_float(parameter) then
      list[#list + 1] = {name = name, tensor = parameter}
    end
  end
  return list
end

-- Fills a list with the modules that count as layers: all that hold no others, or parameters.
local function find_layers(module, name, list, seen)
  if seen[module] then return list end
  seen[module] = true
  local children, parameters = module:children(), own_parameters(module)
  if #children == 0 or #parameters > 0 then
    list[#list + 1] = {name = name, module = module, parameters = parameters}
  end
  for _, child in ipairs(children) do
    find_layers(child[2], name == "" and child[1] or name .. "." .. child[1], list, seen)
  end
  return list
end

-- Calls net(x), and notes in `rows` each call of a layer that gives a tensor of floats.
local function observe(net, x, layers, rows)
  local layer_of, calls = {}, {}
  for _, layer in ipairs(layers) do layer_of[layer.module] = layer end
  local function see(module, forward, ...)
    local results, layer = table.pack(forward(module, ...)), layer_of[module]
    if layer then
      local call = (calls[module] or 0) + 1
      calls[module] = call
      if is_float(results[1]) then
        rows[#rows + 1] = {name = layer.name .. (call > 1 and (" (%d)"):format(call) or ""),
          layer = module:describe(), shape = results[1].shape, output = results[1],
          parameters = call == 1 and layer.parameters or {}}
      end
    end
    return table.unpack(results, 1, results.n)
  end
  return (Module.observe(see, net, x))
end

-- ---- the numbers --------------------------------------------------------------------------------

local function in_double(t)
  return t.dtype == "f64" and t or t:cast "f64"
end

local function norm(t)
  t = in_double(t)
  return (t * t):sum():sqrt()
end

local function loss_of(y, loss)
  if core.is_tensor(loss) then
    if is_float(loss) then return ((y - loss) ^ 2):mean() end
    return y:cross_entropy(loss)
  end
  local value = loss(y)
  if not is_float(value) then
    check.fail("stats", "the loss", value, "a scalar of f32 or f64")
  end
  return value
end

-- Adds {row, field, tensor} for all numbers of the rows' outputs.
local function ask_outputs(rows, threshold, asked)
  for _, row in ipairs(rows) do
    local y = in_double(row.output)
    local mean = y:mean()
    asked[#asked + 1] = {row, "mean", mean}
    asked[#asked + 1] = {row, "spread", ((y - mean) ^ 2):mean():sqrt()}
    asked[#asked + 1] = {row, "active", y:abs():gt(threshold):cast "f64":mean()}
  end
end

local function ask_gradients(rows, loss, asked)
  local tensors, owners = {}, {}
  for _, row in ipairs(rows) do
    tensors[#tensors + 1], owners[#owners + 1] = row.output, {row, "gradient"}
    for _, parameter in ipairs(row.parameters) do
      tensors[#tensors + 1], owners[#owners + 1] = parameter.tensor, {parameter, "gradient"}
    end
  end
  for i, gradient in ipairs(core.grad(loss, tensors)) do
    asked[#asked + 1] = {owners[i][1], owners[i][2], norm(gradient)}
  end
end

local function answer(asked)
  local tensors = {}
  for i, question in ipairs(asked) do tensors[i] = question[3] end
  core.eval(table.unpack(tensors))
  for _, question in ipairs(asked) do question[1][question[2]] = question[3]:item() end
end

-- ---- the table ----------------------------------------------------------------------------------

local function number(x)
  return x and ("%.3g"):format(x) or ""
end

local function to_text(rows)
  local lines = {{"layer", "output", "mean", "spread", "active", "|dL/dy|", "|dL/dw|"}}
  local widths, texts, width = {0, 0, 0, 0, 0, 0, 0}, {}, 0
  for _, row in ipairs(rows) do width = math.max(width, #row.name) end
  for i, row in ipairs(rows) do
    local name = width > 0 and row.name .. (" "):rep(width - #row.name + 2) or ""
    lines[i + 1] = {name .. row.layer,
      table.concat(row.shape, " x "), number(row.mean), number(row.spread),
      ("%.1f%%"):format(100 * row.active), number(row.gradient), number(row.parameter_gradient)}
  end
  for _, line in ipairs(lines) do
    for column = 1, #widths do widths[column] = math.max(widths[column], #line[column]) end
  end
  for i, line in ipairs(lines) do
    local cells = {}
    for column, most in ipairs(widths) do
      cells[column] = ("%" .. (column <= 2 and "-" or "") .. most .. "s"):format(line[column])
    end
    texts[i] = table.concat(cells, "  "):gsub(" +$", "")
  end
  return table.concat(texts, "\n")
end

---What happens in a network, layer by layer, as a list of rows that tostring() makes a table of.
---A row has `name`, `layer` (its description), `shape`, and of the output y the `mean`, the
---`spread` (standard deviation) and the share that is `active` (farther from 0 than the threshold).
---With a loss it has `gradient`, the norm of dL/dy, and `parameter_gradient`, that of dL/dw over
---all parameters that the layer holds; `parameters` has each of them with its own. A layer that is
---called again has a further row.
---@param net moonwalk.Module
---@param x any  what the network is called with
---@param loss? moonwalk.Tensor|fun(y: any): moonwalk.Tensor  a function of the output; or labels,
---  for their cross entropy; or what the output should be, for the mean squared error
---@param options? {threshold?: number}  0
---@return table[] rows
function stats.layer_stats(net, x, loss, options)
  if not Module.is(net) then check.fail("stats", "net", net, "a module") end
  if loss ~= nil and type(loss) ~= "function" and not core.is_tensor(loss) then
    check.fail("stats", "the loss", loss, "a function of the output, or a tensor")
  end
  options = check.options("stats", options, {"threshold"})
  local threshold = check.number("stats", "threshold", options.threshold, 0, math.huge, 0)
  local rows, asked = {}, {}
  local y = observe(net, x, find_layers(net, "", {}, {}), rows)
  ask_outputs(rows, threshold, asked)
  if loss then ask_gradients(rows, loss_of(y, loss), asked) end
  answer(asked)
  for _, row in ipairs(rows) do
    local squares = 0
    row.output = nil
    for _, parameter in ipairs(row.parameters) do
      parameter.tensor = nil
      squares = squares + (parameter.gradient or 0) ^ 2
    end
    if loss and #row.parameters > 0 then row.parameter_gradient = squares ^ 0.5 end
  end
  return setmetatable(rows, {__tostring = to_text})
end

---Without arguments, counts of programs, memory and tensors. With a network and its input, what
---happens in it: see layer_stats.
---@param ... any
---@return table
function stats.stats(...)
  if select("#", ...) == 0 then return core.stats() end
  return stats.layer_stats(...)
end

return stats
