-- init.lua: the table that `require "moonwalk"` returns. What is not in it yet is looked for when
-- it is first asked for: a module (mw.nn), or an op by its name (mw.conv2d).

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local slice = require "moonwalk.slice"
local split = require "moonwalk.split"
local updates = require "moonwalk.updates"

---A node of the graph, which may or may not have its value yet. Every op is a method too.
---@class moonwalk.Tensor
---@field shape integer[]
---@field dtype mw.dtype
---@field rank integer
---@field origin string?  where it was built: "net.lua:9", "Conv2d at net.lua:3"
---@field item fun(self): number|boolean  the one element
---@field totable fun(self): any  nested tables
---@field eval fun(self): moonwalk.Tensor  computes the value and returns the tensor itself
---@field slice fun(self, parts: table): moonwalk.Tensor
---@field hook fun(self, value?: function, gradient?: function): moonwalk.Tensor
---@operator add(moonwalk.Tensor|number): moonwalk.Tensor
---@operator sub(moonwalk.Tensor|number): moonwalk.Tensor
---@operator mul(moonwalk.Tensor|number): moonwalk.Tensor
---@operator div(moonwalk.Tensor|number): moonwalk.Tensor
---@operator pow(moonwalk.Tensor|number): moonwalk.Tensor
---@operator unm: moonwalk.Tensor

---@alias mw.tensor moonwalk.Tensor
---@alias mw.shape integer|integer[]
---@alias mw.dtype "f32"|"f64"|"i32"|"i64"|"u8"|"bool"

---@class moonwalk
---@field version string
---@field tensor fun(value: number|boolean|table|mw.tensor, dtype?: mw.dtype): mw.tensor
---  a number, or nested tables of one size, as a tensor: mw.tensor({{1, 2}, {3, 4}}, "f64")
---@field zeros fun(shape: mw.shape, dtype?: mw.dtype): mw.tensor
---  all elements 0: mw.zeros {2, 3}
---@field ones fun(shape: mw.shape, dtype?: mw.dtype): mw.tensor
---  all elements 1: mw.ones({2, 3}, "i32")
---@field full fun(shape: mw.shape, value: number|boolean, dtype?: mw.dtype): mw.tensor
---  all elements the same: mw.full({2, 3}, 0.5)
---@field eye fun(n: integer, m?: integer, dtype?: mw.dtype): mw.tensor
---  1 on the diagonal of n rows and m columns (n), else 0
---@field arange fun(first: number, last?: number, step?: number, dtype?: mw.dtype): mw.tensor
---  mw.arange(3) is 0 1 2; mw.arange(2, 5) is 2 3 4; mw.arange(0, 1, 0.25) goes in steps
---@field linspace fun(first: number, last: number, n: integer, dtype?: mw.dtype): mw.tensor
---  n numbers at equal distances, both ends among them
---@field randn fun(shape: mw.shape, dtype?: mw.dtype): mw.tensor
---  normal random numbers of mean 0 and deviation 1, by the generator that mw.seed sets
---@field uniform fun(shape: mw.shape, a?: number, b?: number, dtype?: mw.dtype): mw.tensor
---  random numbers from a (0) to b (1), without b
---@field normal fun(shape: mw.shape, mean?: number, std?: number, dtype?: mw.dtype): mw.tensor
---  normal random numbers of that mean (0) and deviation (1)
---@field bernoulli fun(shape: mw.shape|mw.tensor, p?: number, dtype?: mw.dtype): mw.tensor
---  1 with probability p (0.5), or with those of a tensor, else 0
---@field permutation fun(n: integer): mw.tensor  0 to n - 1 in random order, i64
---@field param fun(value: mw.tensor|table, name?: string): mw.tensor
---  a tensor that can be trained: mw.update and optimizers give it new values
---@field is_tensor fun(value: any): boolean
---  whether a value is a tensor
---@field is_param fun(value: any): boolean
---  whether a value is a tensor that mw.param made
---@field seed fun(n: integer)
---  sets the generator that all random numbers come from
---@field random_state fun(): integer, integer  the generator's seed and position
---@field random_restore fun(seed: integer, position: integer)
---  sets the generator to what mw.random_state gave
---@field threads fun(n?: integer): integer  sets and returns the number of threads
---@field slicing fun(mode?: string): string  whether programs run in slices; the mode before
---@field flush_denormals fun(on?: boolean): boolean
---  whether kernels take the numbers nearest to 0 for 0: of f32 below 1.2e-38, of f64 below
---  2.2e-308; what was set before
---@field stats fun(): table<string, integer>  see stats.lua for what it does with arguments
---@field grad fun(y: mw.tensor, x: mw.tensor[], dy?: mw.tensor): mw.tensor[]
---  the gradients of y in the tensors of a list: mw.grad(loss, {w, b}); dy is that of y, 1 for
---  a scalar
---@field vjp fun(fn: function, xs: any, dy?: mw.tensor): ...  see autodiff.lua for these
---@field jvp fun(fn: function, xs: any, dxs: any): mw.tensor, mw.tensor
---@field jacobian fun(fn: function, xs: any): ...
---@field hessian fun(fn: function, xs: any): ...
---@field hvp fun(fn: function, xs: any, vs: any): ...
---@field checkpoint fun(fn: function): function  keeps nothing of what it computes in between
---@field debug {nan: fun(on?: boolean|function, ...): ...}
---@field profile fun(fn: function, ...): moonwalk.Profile, ...  where the time goes: profile.lua
---@field flops fun(...: mw.tensor): number, number, table[]  operations and bytes, before a run
---@field draw fun(...: any)  draws a graph: look/graph.lua
---@field eval fun(...: mw.tensor): ...  computes several tensors in one program
---@field fit fun(net: moonwalk.Module, train: moonwalk.Dataset, options?: moonwalk.TrainerOptions):
---  table, moonwalk.Trainer  trains; gives the history: trainer.lua
---@field trainer fun(net: moonwalk.Module, train: moonwalk.Dataset,
---  options?: moonwalk.TrainerOptions): moonwalk.Trainer
---@field load_checkpoint fun(path: string): moonwalk.Checkpoint?, string?
---@field plot fun(...: any): string?, string?  lines through numbers, in a terminal or a file
---@field hist fun(t: any, options?: table): string?, string?  how elements are spread: hist.lua
---@field why fun(loss: mw.tensor, parameter?: any, options?: table): any  see why.lua
---@field walk fun(loss: mw.tensor): mw.tensor?  backward through its graph, step by step: walk.lua
---@field show fun(t: mw.tensor, options?: moonwalk.ShowOptions): string?, string?  look/image.lua
---@field json {encode: function, decode: fun(text: string): any, null: any}
---@field ops table<string, table>  every registered op by name, with its schema
---@field nn moonwalk.nn
---@field optim moonwalk.optim
---@field data moonwalk.data
local mw = {core = core, version = core.version}

for _, name in ipairs {
  "tensor", "zeros", "ones", "full", "eye", "arange", "linspace", "randn", "uniform", "normal",
  "bernoulli", "permutation", "param", "is_tensor", "is_param", "seed", "random_state",
  "random_restore", "threads", "slicing", "flush_denormals", "grad", "eval",
} do
  mw[name] = core[name]
end
mw.json = {encode = core.json_encode, decode = core.json_decode, null = core.null}

---The op einsum, whose equation may also stand in front: mw.einsum("ij,jk->ik", a, b).
---@param first string|mw.tensor|mw.tensor[]
---@param ... mw.tensor|{equation: string}
---@return mw.tensor
local function einsum(first, ...)
  if type(first) ~= "string" then return core.call("einsum", first, ...) end
  local tensors = {...}
  return core.call("einsum", tensors, {equation = first})
end

for name, fn in pairs {slice = slice, split = split.split, chunk = split.chunk} do
  mw[name] = core.entry(fn)
  core.methods[name] = mw[name]
end
mw.einsum = core.entry(einsum)
core.methods.hook = core.hook

-- What is an op's name too, and is annotated here.
core.written = {slice = true, split = true, chunk = true, einsum = true}

-- A view of the registry: it changes when a plugin is loaded.
mw.ops = setmetatable({}, {
  __index = function(_, name) return core.op_info(name) end,
  __pairs = function() return next, core.ops() end,
  __newindex = function() core.error("mw.ops cannot be written to; mw.plugin loads ops") end,
})

---The kernels of an op, one a line, best first: name, dtype, and the plugin that it came with.
---One that is set aside was written for the shipped op, in whose place another is: it is taken only
---when it is named.
---With a name, programs compiled from now on take the kernel of that name wherever it can serve;
---false gives the choice back.
---@param op string
---@param name? string|false
---@return string kernels
function mw.kernel(op, name)
  if name ~= nil then core.kernel_prefer(op, name or nil) end
  return (core.kernel_list(op):gsub("\n$", ""))
end

local function check_tensors(name, list)
  if type(list) ~= "table" then check.fail("update", name, list, "a list such as {w}") end
  for i = 1, #list do
    if not core.is_tensor(list[i]) then
      check.fail("update", ("%s[%d]"):format(name, i), list[i], "a tensor")
    end
  end
end

---Gives parameters new values, all at once: a training step without an optimizer.
---
---    local dw = mw.grad(loss, {w})[1]
---    loss = mw.update({w}, {w - 0.1 * dw}, loss)
---
---What the values are computed from is as it was before the update, and so it is for the other
---tensors, which are computed in the same program and returned. Buffers (running statistics) whose
---new values wait are updated too.
---@param parameters mw.tensor[]
---@param values mw.tensor[] of the parameters' dtypes and shapes
---@param ... mw.tensor
---@return mw.tensor ...
function mw.update(parameters, values, ...)
  local others = {...}
  check_tensors("parameters", parameters)
  check_tensors("values", values)
  check_tensors("others", others)
  if #parameters ~= #values then
    core.error(("update: there are %d parameters and %d values"):format(#parameters, #values))
  end
  local given = {}
  for _, parameter in ipairs(parameters) do given[parameter] = true end
  local targets, latest = updates.take(given)
  table.move(parameters, 1, #parameters, #targets + 1, targets)
  table.move(values, 1, #values, #latest + 1, latest)
  core.run(others, targets, latest)
  updates.stepped()
  return ...
end
mw.update = core.entry(mw.update)

-- Where to find what is loaded on first use: a module, or {a module, the field of it}.
local lazy = {
  nn = "moonwalk.nn",
  optim = "moonwalk.optim",
  data = "moonwalk.data",
  compile = "moonwalk.compile",
  gradcheck = "moonwalk.gradcheck",
  vjp = {"moonwalk.autodiff", "vjp"},
  jvp = {"moonwalk.autodiff", "jvp"},
  jacobian = {"moonwalk.autodiff", "jacobian"},
  hessian = {"moonwalk.autodiff", "hessian"},
  hvp = {"moonwalk.autodiff", "hvp"},
  checkpoint = {"moonwalk.autodiff", "checkpoint"},
  debug = "moonwalk.debug",
  stats = {"moonwalk.stats", "stats"},
  layer_stats = {"moonwalk.stats", "layer_stats"},
  profile = {"moonwalk.profile", "profile"},
  flops = {"moonwalk.profile", "flops"},
  draw = {"moonwalk.look.graph", "draw"},
  help = "moonwalk.help",
  tune = "moonwalk.tune",
  op = "moonwalk.define",
  plugin = "moonwalk.plugin",
  ffi = "moonwalk.ffi",
  save = {"moonwalk.files", "save"},
  load = {"moonwalk.files", "load"},
  fit = {"moonwalk.trainer", "fit"},
  trainer = {"moonwalk.trainer", "trainer"},
  load_checkpoint = {"moonwalk.trainer", "load_checkpoint"},
  plot = {"moonwalk.look.plot", "plot"},
  hist = {"moonwalk.look.hist", "hist"},
  why = {"moonwalk.look.why", "why"},
  walk = {"moonwalk.look.walk", "walk"},
  show = {"moonwalk.look.image", "show"},
}

local function find(name)
  local place = lazy[name]
  local value
  if type(place) == "table" then value = require(place[1])[place[2]]
  elseif place then value = require(place)
  elseif type(name) == "string" and core.op_info(name) then return core.op(name) end
  return type(value) == "function" and core.entry(value) or value
end

-- What some things are called in other frameworks; those of a tensor alone are in C.
local elsewhere = core.elsewhere

local function unknown(name)
  local known = {}
  for key in pairs(lazy) do known[key] = true end
  for key in pairs(mw) do known[key] = true end
  local near = elsewhere[name] or core.near(name, known)
  local places = {}
  if type(name) == "string" and name:find "^%u" and rawget(mw.nn, name) then
    places[1] = "nn." .. name
  end
  places[#places + 1] = near and "mw." .. near
  core.error(("mw%s does not exist; %s"):format(
    type(name) == "string" and "." .. name or "[" .. check.show(name) .. "]",
    #places > 0 and ("did you mean %s?"):format(table.concat(places, " or "))
      or "mw.help() lists the ops"))
end

return setmetatable(mw, {
  __names = function()
    local names = {}
    for name in next, mw do names[#names + 1] = name ~= "core" and name or nil end
    for name in pairs(lazy) do names[#names + 1] = name end
    for name in pairs(core.ops()) do names[#names + 1] = name end
    return names
  end,
  __index = function(_, name)
    local value = find(name)
    if value == nil then unknown(name) end
    rawset(mw, name, value)
    return value
  end,
})
