-- recurrent.lua: LSTM and GRU: layers that go through a sequence step by step and keep a state.
--
--   local lstm = nn.LSTM {8, 32, num_layers = 2}
--   local y, h, c = lstm(x)          -- x [n, t, 8], y [n, t, 32], h and c [2, n, 32]
--   local y2, h2, c2 = lstm(x2, h, c)
--
-- Equations, names and shapes of parameters are PyTorch's (torch.nn.LSTM and GRU with
-- batch_first), so that its checkpoints fit.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Module = require "moonwalk.nn.module"
local options = require "moonwalk.nn.options"

---@class moonwalk.Recurrent: moonwalk.Module
---Parameters of layer k (from 0), backward in time with _reverse at the end: weight_ih_lk [gates
---hidden, features], weight_hh_lk [gates hidden, hidden], bias_ih_lk and bias_hh_lk [gates hidden].

---@class moonwalk.RecurrentOptions
---@field [1] integer features of each step of the input; may be left out, and are the first one's
---@field [2] integer features of the state
---@field num_layers integer? 1
---@field bidirectional boolean? false; whether each layer goes both ways, side by side in y
---@field bias boolean? true
---@field dropout number? 0; of what goes from a layer to the next, in training mode
---@field init moonwalk.Initialiser|string? of the weights; uniform to 1 / sqrt(hidden)
---@field dtype string? "f32"
local KNOWN = {"num_layers", "bidirectional", "bias", "dropout", "init", "dtype"}

-- Part `first` .. `first + count - 1` of an axis of t.
local function part(t, axis, first, count)
  local start, counts = {}, t.shape
  for i = 1, #counts do start[i] = 1 end
  start[axis], counts[axis] = first, count
  return core.call("slice", t, {start = start, count = counts})
end

-- Fills a list with the entries of axis 1 of t, without that axis. It is halved again and again:
-- the gradient of one slice is as large as t, and all of them, one a step, would take the square
-- of the steps.
local function unstack(t, list)
  local shape = t.shape
  local n = table.remove(shape, 1)
  if n == 1 then
    list[#list + 1] = core.call("reshape", t, {shape = shape})
  else
    unstack(part(t, 1, 1, n // 2), list)
    unstack(part(t, 1, n // 2 + 1, n - n // 2), list)
  end
  return list
end

-- A list of tensors side by side on a new axis.
local function stack(list, axis)
  local rows = {}
  for i, t in ipairs(list) do
    local shape = t.shape
    table.insert(shape, axis, 1)
    rows[i] = core.call("reshape", t, {shape = shape})
  end
  return core.call("concat", rows, {axis = axis})
end

-- The gates of a step, which stand side by side.
local function split(gates, n)
  local list, size = {}, gates.shape[2] // n
  for i = 1, n do list[i] = part(gates, 2, (i - 1) * size + 1, size) end
  return table.unpack(list)
end

-- One step of each kind: from the input's share of the gates [n, gates hidden] and the state, a
-- list of tensors [n, hidden], to the new state.
local cells = {
  -- i, f, o = sigmoid, g = tanh of W_i x + b_i + W_h h + b_h; c' = f c + i g; h' = o tanh(c')
  -- (Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000)
  LSTM = {gates = 4, state = {"h", "c"}, step = function(from_x, from_h, state)
    local i, f, g, o = split(from_x + from_h, 4)
    local c = f:sigmoid() * state[2] + i:sigmoid() * g:tanh()
    return {o:sigmoid() * c:tanh(), c}
  end},
  -- r, z = sigmoid of W_i x + b_i + W_h h + b_h; n = tanh(W_i x + b_i + r (W_h h + b_h));
  -- h' = (1 - z) n + z h  (Cho et al., 2014, in cuDNN's form)
  GRU = {gates = 3, state = {"h"}, step = function(from_x, from_h, state)
    local xr, xz, xn = split(from_x, 3)
    local hr, hz, hn = split(from_h, 3)
    local z = (xz + hz):sigmoid()
    local new = (xn + (xr + hr):sigmoid() * hn):tanh()
    return {new + z * (state[1] - new)}
  end},
}

-- Goes through one layer in one direction. Returns y, [n, t, hidden], and the last state.
local function run(module, cell, name, x, state, backward)
  local from_x = core.call("dense", x, module["weight_ih_" .. name], module["bias_ih_" .. name])
  local inputs = unstack(core.call("transpose", from_x, {perm = {2, 1, 3}}), {})
  local weight, bias = module["weight_hh_" .. name], module["bias_hh_" .. name]
  local outputs, n = {}, #inputs
  for k = 1, n do
    local t = backward and n + 1 - k or k
    state = cell.step(inputs[t], core.call("dense", state[1], weight, bias), state)
    outputs[t] = state[1]
  end
  return stack(outputs, 2), state
end

local function recurrent(class)
  local Recurrent = Module:extend(class)
  local where, cell = "nn." .. class, cells[class]

  function Recurrent:init(given)
    options.table(where, given, 2, KNOWN)
    options.open(where, given, 2, "the number of features", "the size of the state")
    self.hidden = given[2] or given[1]
    self.num_layers = check.integer(where, "num_layers", given.num_layers, 1, 1)
    self.directions = check.boolean(where, "bidirectional", given.bidirectional, false) and 2 or 1
    self.dropout = check.number(where, "dropout", given.dropout, 0, 1, 0)
    check.boolean(where, "bias", given.bias, true)
    options.dtype(where, given)
    self.options = options.copy(given)
    local most = 1 / math.sqrt(self.hidden)
    self.initialiser = init.check(where, given.init, init.uniform(-most, most))
    self.description = options.describe(class, given, KNOWN)
    if not given[2] then return self:lazy() end
    self:make(given[1], given.dtype or "f32")
  end

  function Recurrent:build(x)
    self:make(options.size_of(where, x, -1, 3), options.dtype_of(self.options, x))
  end

  -- Makes the parameters. Biases are uniform whatever the weights are.
  function Recurrent:make(features, dtype)
    local hidden, most = self.hidden, 1 / math.sqrt(self.hidden)
    local rows = cell.gates * hidden
    self.features = features
    for _, name in ipairs(self:parts()) do
      local inputs = name:find "^l0" and features or hidden * self.directions
      local function weight(columns)
        return init.parameter(where, self.initialiser, {rows, columns}, dtype, columns, hidden)
      end
      local function bias()
        return init.parameter(where, init.uniform(-most, most), {rows}, dtype, inputs, hidden)
      end
      self["weight_ih_" .. name] = weight(inputs)
      self["weight_hh_" .. name] = weight(hidden)
      if self.options.bias ~= false then
        self["bias_ih_" .. name] = bias()
        self["bias_hh_" .. name] = bias()
      end
    end
  end

  -- The names of its parts, one for each layer and direction, in PyTorch's order.
  function Recurrent:parts()
    local names = {}
    for layer = 0, self.num_layers - 1 do
      for direction = 1, self.directions do
        names[#names + 1] = "l" .. layer .. (direction == 2 and "_reverse" or "")
      end
    end
    return names
  end

  -- The states to begin with, one for each part: zeros where none is given.
  function Recurrent:begin(x, given)
    local parts, n = #self:parts(), x.shape[1]
    local expected = ("a tensor %s[%d,%d,%d]"):format(x.dtype, parts, n, self.hidden)
    local states = {}
    for i = 1, parts do states[i] = {} end
    for k, name in ipairs(cell.state) do
      if given[k] ~= nil and check.show(given[k]) ~= expected then
        check.fail(where, "the state " .. name, given[k], expected)
      end
      local list = given[k] and unstack(given[k], {})
      for i = 1, parts do
        states[i][k] = list and list[i] or core.full({n, self.hidden}, 0, x.dtype)
      end
    end
    return states
  end

  function Recurrent:forward(x, ...)
    local shape = core.is_tensor(x) and x.shape or {}
    if #shape ~= 3 or shape[2] < 1 or shape[3] ~= self.features then
      check.fail(where, "x", x, ("[n, t, %d], t of at least 1"):format(self.features))
    end
    local states, last = self:begin(x, {...}), {}
    local parts = self:parts()
    for i = 1, #parts, self.directions do
      local y, backward
      if i > 1 and self.training and self.dropout > 0 then
        x = core.call("dropout", x, {p = self.dropout})
      end
      y, last[i] = run(self, cell, parts[i], x, states[i])
      if self.directions == 2 then
        backward, last[i + 1] = run(self, cell, parts[i + 1], x, states[i + 1], true)
        y = core.call("concat", {y, backward}, {axis = 3})
      end
      x = y
    end
    local results = {}
    for k = 1, #cell.state do
      local list = {}
      for i, state in ipairs(last) do list[i] = state[k] end
      results[k] = stack(list, 1)
    end
    return x, table.unpack(results)
  end

  return Recurrent
end

return {
  ---x [n, t, features], h?, c? -> y [n, t, directions hidden], h, c [layers directions, n, hidden]
  ---@type fun(options: moonwalk.RecurrentOptions): moonwalk.Recurrent
  LSTM = recurrent "LSTM",
  ---x [n, t, features], h? -> y [n, t, directions hidden], h [layers directions, n, hidden]
  ---@type fun(options: moonwalk.RecurrentOptions): moonwalk.Recurrent
  GRU = recurrent "GRU",
}
