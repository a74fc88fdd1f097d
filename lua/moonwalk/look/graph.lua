-- graph.lua: mw.draw: the graph of tensors, or of a network, as text for a terminal, and through
-- Graphviz as a picture:
--
--   o  x                     f32[64,784]
--   *  y = dense             f32[64,10]   w f32[10,784], b f32[10]
--   *  loss = cross_entropy  f32[]        labels i32[64]

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Module = require "moonwalk.nn.module"
local look_names = require "moonwalk.look.names"
local model = require "moonwalk.look.graph.model"

local graph = {}

local OPTIONS = {"full", "depth", "time", "gradient", "file", "dtype"}
local TIMED_RUNS = 3
local MOST_OF_A_LAYER = 40 -- nodes that are drawn of a network which is one layer

-- What the variables of the prompt call tensors, by their keys.
local function variable_names()
  local known = look_names.known()
  return setmetatable({}, {__index = function(_, key) return known(key) end})
end

-- ---- gradients --------------------------------------------------------------------------------

local function is_float(tensor) return tensor.dtype == "f32" or tensor.dtype == "f64" end

local function check_differentiable(y)
  if not is_float(y) then
    core.error(("draw: gradient = true, but what is drawn is %s, and a gradient is of f32 or f64")
      :format(core.spec(y)))
  end
end

-- The roots, and the gradients of the first one in its leaves.
local function with_gradients(roots)
  local y = roots[1]
  check_differentiable(y)
  local list = {}
  for _, leaf in ipairs(model.of(roots, {names = {}, full = true}).trainable) do
    if core.reaches(y, {leaf}) then list[#list + 1] = leaf end
  end
  if #list == 0 then
    core.error("draw: gradient = true, but there is no parameter, or other leaf of f32 or f64, "
      .. "that the gradient could reach")
  end
  local dy = y.rank > 0 and core.ones(y.shape, y.dtype) or nil
  local all = table.move(roots, 1, #roots, 1, {})
  for _, gradient in ipairs(core.grad(y, list, dy)) do all[#all + 1] = gradient end
  return all
end

-- ---- times ------------------------------------------------------------------------------------

-- Runs copies of the graph, and gives each node of the drawing its mean time.
local function take_times(drawing, roots)
  local profile = require "moonwalk.profile"
  local tensors = {}
  for _, root in ipairs(roots) do
    if not core.is_tensor(root) then
      core.error "draw: time = true, but the node that failed cannot be run"
    end
    tensors[#tensors + 1] = root
  end
  core.eval(table.unpack(core.uncomputed(tensors))) -- compiles, and touches memory
  local first, copies = core.uncomputed(tensors), {}
  for i = 2, TIMED_RUNS do copies[i] = core.uncomputed(tensors) end
  local taken = profile.profile(function()
    core.eval(table.unpack(first))
    for i = 2, TIMED_RUNS do core.eval(table.unpack(copies[i])) end
  end)
  local original = model.match(first, tensors)
  drawing.seconds = 0
  for _, step in ipairs(taken.raw.steps) do
    local node = drawing.of[original[step.node]]
    local seconds = step.runs > 0 and step.seconds / step.runs or 0
    if node then node.seconds = (node.seconds or 0) + seconds end
    drawing.seconds = drawing.seconds + seconds
  end
end

-- ---- what is drawn ----------------------------------------------------------------------------

local function is_failure(value)
  return type(value) == "table" and not Module.is(value) and value.message ~= nil
end

local function is_options(value)
  if type(value) ~= "table" or core.is_tensor(value) or Module.is(value) or is_failure(value) then
    return false
  end
  return #value == 0 and next(value) ~= nil
end

-- The arguments without the options at their end.
local function split(...)
  local arguments = table.pack(...)
  if arguments.n > 0 and is_options(arguments[arguments.n]) then
    local options = arguments[arguments.n]
    arguments[arguments.n], arguments.n = nil, arguments.n - 1
    return arguments, options
  end
  return arguments, nil
end

local function check_options(options)
  options = check.options("draw", options, OPTIONS)
  if options.depth ~= nil then check.integer("draw", "depth", options.depth, 1) end
  if options.file ~= nil and type(options.file) ~= "string" then
    check.fail("draw", "file", options.file, "a string")
  end
  return options
end

local function no_failure()
  core.error("draw: there is nothing to draw: no error was in a node of a graph. draw(loss) draws "
    .. "a tensor's graph, draw(net, {1, 28, 28}) that of a network for a sample of that shape")
end

-- The node where the last error was.
local function last_failure()
  local current = require("moonwalk.prompt.session").current
  local failure = current and current.failure or core.failure()
  if not failure or not failure.inputs then no_failure() end
  return failure
end

-- What was given as tensors, or as lists of them.
local function roots_of(arguments)
  local roots = {}
  for i = 1, arguments.n do
    local value = arguments[i]
    if core.is_tensor(value) then
      roots[#roots + 1] = value
    elseif type(value) == "table" and core.is_tensor(value[1]) then
      for k, tensor in ipairs(value) do
        if not core.is_tensor(tensor) then
          check.fail("draw", ("tensor %d of the list"):format(k), tensor, "a tensor")
        end
        roots[#roots + 1] = tensor
      end
    else
      check.fail("draw", ("argument %d"):format(i), value,
        "a tensor, a network, or what failed (session.failure)")
    end
  end
  return roots
end

local function input_names(names, inputs)
  for i, input in ipairs(inputs) do
    local key = look_names.key(input)
    names[key] = names[key] or (#inputs == 1 and "input" or ("input %d"):format(i))
  end
end

-- A network, with what it is called with: tensors, or the shape of a sample.
local function network_roots(net, arguments, options, names)
  local infer = require "moonwalk.nn.infer"
  local input = arguments[2]
  if arguments.n > 2 then
    input = table.move(arguments, 2, arguments.n, 1, {})
    for i, tensor in ipairs(input) do
      if not core.is_tensor(tensor) then
        check.fail("draw", ("input %d"):format(i), tensor, "a tensor")
      end
    end
  end
  local inputs = infer.inputs("draw", net, input, 1, options.dtype)
  input_names(names, inputs)
  local roots, owner = require("moonwalk.look.graph.trace").run(net, inputs)
  if #roots == 0 then
    core.error "draw: the network returned no tensor; its forward() has to return one, or several"
  end
  return roots, owner
end

-- A network whose input is not known.
local function structure_of(net, options)
  for _, name in ipairs {"time", "gradient", "full", "depth"} do
    if options[name] then
      core.error(("draw: %s = %s needs the network's input: draw(net, {1, 28, 28}, {%s = %s}) with "
        .. "the shape of a sample, or with a tensor"):format(name, tostring(options[name]), name,
        tostring(options[name])))
    end
  end
  local drawing = require("moonwalk.look.graph.structure").of(net)
  drawing.hint = "draw(net, {1, 28, 28}), with the shape of a sample, draws what it computes"
  return drawing
end

---The drawing of what mw.draw is called with, and its options.
---@param ... any
---@return moonwalk.Drawing drawing
---@return table options
function graph.drawing(...)
  local arguments, options = split(...)
  options = check_options(options)
  if arguments.n == 0 then arguments = {n = 1, last_failure()} end
  local names, first = variable_names(), arguments[1]
  local owner, roots
  if Module.is(first) then
    if arguments.n == 1 then return structure_of(first, options), options end
    roots, owner = network_roots(first, arguments, options, names)
  elseif is_failure(first) then
    if not first.inputs then no_failure() end
    roots = {first}
  else
    roots = roots_of(arguments)
  end
  if options.gradient then
    if is_failure(first) then core.error "draw: gradient = true, but what failed has none" end
    roots = with_gradients(roots)
  end
  local how = {names = names, owner = owner, full = options.full, depth = options.depth}
  local drawing = model.of(roots, how)
  if owner and #drawing.nodes > MOST_OF_A_LAYER and #first:children() == 0 and not options.full then
    how.as_one = true
    drawing = model.of(roots, how)
    drawing.hint = "full = true draws its ops"
  end
  drawing.calls = owner and not options.full
  drawing.failed = is_failure(first)
  if options.time then take_times(drawing, roots) end
  return drawing, options
end

---The text that mw.draw prints.
---@param ... any
---@return string
function graph.text(...)
  local drawing, options = graph.drawing(...)
  return require("moonwalk.look.graph.text").of(drawing, {full = options.full})
end

---Draws the graph of tensors, of a network, or of what failed: one line for each node, below what
---it is made of. Each says what it is, what it makes, and what it is made with: parameters and
---constants by their names, attributes that are other than by default. A network is drawn by its
---layers, for an input: a tensor, or the shape of a sample; without one, as it is made. Without
---arguments the graph of the last error is drawn, with the node in which it was at its end.
---
---    mw.draw(loss)
---    mw.draw(net, {1, 28, 28}, {time = true})
---    mw.draw(loss, {gradient = true, file = "step.svg"})
---
---Options: `full`, the ops in a network's layers, and all of what is there again and again;
---`depth`, how deep the modules are that are drawn as what is in them; `time`, how long each node
---takes, by running it a few times; `gradient`, the graph of the gradients too; `file`, a file
---to write to in place of the terminal: .dot, .svg, .png and .pdf (by Graphviz), or .txt; `dtype`,
---of the input whose shape is given.
---@param ... any tensors, or a network and its inputs, or session.failure; then the options
function graph.draw(...)
  local drawing, options = graph.drawing(...)
  if options.file then
    require("moonwalk.look.graph.dot").write(drawing, options.file, options.full)
  else
    io.stdout:write(require("moonwalk.look.graph.text").of(drawing, {full = options.full}), "\n")
  end
end

return graph
