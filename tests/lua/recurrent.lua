-- recurrent.lua: LSTM and GRU against plain loops of their equations, and their gradients.
local mw = require "moonwalk"
local t = require "tap"
local nn = mw.nn

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

local function tanh(x) return 1 - 2 / (math.exp(2 * x) + 1) end

-- W v + b for a list of numbers; b may be nil.
local function affine(w, v, b)
  local y = {}
  for i, row in ipairs(w) do
    y[i] = b and b[i] or 0
    for j, weight in ipairs(row) do y[i] = y[i] + weight * v[j] end
  end
  return y
end

-- The equations of torch.nn.LSTM and torch.nn.GRU for one sample and one step. Gates stand one
-- below the other, hidden rows each.
local steps = {
  LSTM = function(from_x, from_h, state)
    local n, h, c = #state[1], {}, {}
    for k = 1, n do
      local function gate(number) return from_x[number * n + k] + from_h[number * n + k] end
      c[k] = sigmoid(gate(1)) * state[2][k] + sigmoid(gate(0)) * tanh(gate(2))
      h[k] = sigmoid(gate(3)) * tanh(c[k])
    end
    return {h, c}
  end,
  GRU = function(from_x, from_h, state)
    local n, h = #state[1], {}
    for k = 1, n do
      local r = sigmoid(from_x[k] + from_h[k])
      local z = sigmoid(from_x[n + k] + from_h[n + k])
      local new = tanh(from_x[2 * n + k] + r * from_h[2 * n + k])
      h[k] = (1 - z) * new + z * state[1][k]
    end
    return {h}
  end,
}

local function values(tensor) return tensor and tensor:totable() end

-- One sample through all layers: its y, and the last state of each part.
local function by_hand(layer, x, state)
  local part, last = 0, {}
  for level = 0, layer.num_layers - 1 do
    local ways = {}
    for way = 1, layer.directions do
      part = part + 1
      local name = "l" .. level .. (way == 2 and "_reverse" or "")
      local wx, wh = values(layer["weight_ih_" .. name]), values(layer["weight_hh_" .. name])
      local bx, bh = values(layer["bias_ih_" .. name]), values(layer["bias_hh_" .. name])
      local now, y = state[part], {}
      for k = 1, #x do
        local at = way == 2 and #x + 1 - k or k
        now = steps[layer.class](affine(wx, x[at], bx), affine(wh, now[1], bh), now)
        y[at] = now[1]
      end
      ways[way], last[part] = y, now
    end
    x = ways[1]
    for k = 1, ways[2] and #x or 0 do
      x[k] = table.move(ways[2][k], 1, #ways[2][k], #x[k] + 1, table.move(x[k], 1, #x[k], 1, {}))
    end
  end
  return x, last
end

local function check(class, options, name)
  options.dtype = "f64"
  local layer = nn[class](options)
  local samples, length, states = 2, 5, class == "LSTM" and 2 or 1
  local parts = layer.num_layers * layer.directions
  local x = mw.randn({samples, length, options[1]}, "f64")
  local given = {}
  for k = 1, states do given[k] = mw.randn({parts, samples, options[2]}, "f64") end
  local got = {layer(x, table.unpack(given))}
  local want = {{}}
  for k = 1, states do
    want[k + 1] = {}
    for part = 1, parts do want[k + 1][part] = {} end
  end
  for i = 1, samples do
    local state = {}
    for part = 1, parts do
      state[part] = {}
      for k = 1, states do state[part][k] = given[k][part][i]:totable() end
    end
    local y, last = by_hand(layer, x[i]:totable(), state)
    want[1][i] = y
    for part = 1, parts do
      for k = 1, states do want[k + 1][part][i] = last[part][k] end
    end
  end
  t.is(#got, states + 1, name .. " gives y and its state")
  for k, tensor in ipairs(got) do
    t.near(tensor:totable(), want[k], 1e-14, name .. " computes result " .. k)
  end
  return layer, x, given
end

mw.seed(21)
for _, class in ipairs {"LSTM", "GRU"} do
  check(class, {3, 4}, class)
  check(class, {2, 3, bias = false}, class .. " without biases")
  check(class, {3, 2, num_layers = 2}, class .. " of two layers")
  check(class, {1, 1, bidirectional = true}, class .. " in both directions, of size 1")
  local layer, x, given = check(class, {2, 2, num_layers = 2, bidirectional = true},
    class .. " of two layers in both directions")
  local parameters = layer:parameters()
  local inputs = {x, table.unpack(given)}
  local first = #inputs
  table.move(parameters, 1, #parameters, first + 1, inputs)
  -- The parameters take part as what gradcheck moves: another layer has them as its fields.
  local gap = mw.gradcheck(function(...)
    local moved, names = {...}, {}
    for name in layer:named_parameters() do names[#names + 1] = name end
    local stand_in = setmetatable({}, {__index = function(_, key)
      for i, name in ipairs(names) do
        if name == key then return moved[first + i] end
      end
      return layer[key]
    end})
    return layer.forward(stand_in, table.unpack(moved, 1, first))
  end, inputs)
  t.ok(gap < 1e-6, class .. ": gradients of x, the state and all parameters")
end

do
  local lstm = nn.LSTM {3, 4, num_layers = 2, bidirectional = true}
  local list = {}
  for name, p in lstm:named_parameters() do
    list[#list + 1] = name .. " " .. table.concat(p.shape, "x")
  end
  t.is(list, {
    "weight_ih_l0 16x3", "weight_hh_l0 16x4", "bias_ih_l0 16", "bias_hh_l0 16",
    "weight_ih_l0_reverse 16x3", "weight_hh_l0_reverse 16x4", "bias_ih_l0_reverse 16",
    "bias_hh_l0_reverse 16",
    "weight_ih_l1 16x8", "weight_hh_l1 16x4", "bias_ih_l1 16", "bias_hh_l1 16",
    "weight_ih_l1_reverse 16x8", "weight_hh_l1_reverse 16x4", "bias_ih_l1_reverse 16",
    "bias_hh_l1_reverse 16",
  }, "parameters have PyTorch's names, shapes and order")
  local largest = 0
  for _, p in ipairs(lstm:parameters()) do
    largest = math.max(largest, p:abs():max():item())
  end
  t.ok(largest <= 0.5 and largest > 0.45, "they begin uniform within 1 / sqrt(hidden)")
end

do -- a sequence in two halves, the state handed on
  local gru = nn.GRU {2, 3, dtype = "f64"}
  local x = mw.randn({2, 6, 2}, "f64")
  local whole, last = gru(x)
  local first, state = gru(x:slice {{}, {1, 4}})
  local second, after = gru(x:slice {{}, {5, 6}}, state)
  t.near(mw.concat({first, second}, {axis = 2}):totable(), whole:totable(), 1e-15,
    "a sequence in two halves gives what the whole one gives")
  t.near(after:totable(), last:totable(), 1e-15, "and the same state")
  t.is(nn.Sequential {gru, nn.Dense {3, 1, dtype = "f64"}}(x).shape, {2, 6, 1},
    "in a Sequential y goes on")
  t.is(tostring(gru):match "GRU {.-}", 'GRU {2, 3, dtype = "f64"}', "its line in a summary")
end

do -- dropout between layers
  mw.seed(4)
  local lstm = nn.LSTM {2, 16, num_layers = 2, dropout = 0.5}
  local x = mw.randn {1, 3, 2}
  t.ok((lstm(x) - lstm(x)):abs():max():item() > 0, "dropout draws a new mask in training mode")
  lstm:eval()
  t.is((lstm(x)):totable(), (lstm(x)):totable(), "and none in evaluation mode")
end

do -- training: the sign of the first entry, many steps later
  mw.seed(8)
  local net = nn.LSTM {1, 8}
  local out = nn.Dense {8, 2}
  local parameters = net:parameters()
  for _, p in ipairs(out:parameters()) do parameters[#parameters + 1] = p end
  local opt = mw.optim.Adam(parameters, {lr = 0.02})
  local right
  for _ = 1, 60 do
    local x = mw.randn {32, 6, 1}
    local labels = mw.gt(x:slice {{}, 1, 1}, 0):cast "i64"
    local _, h = net(x)
    local logits = out(h[1])
    right = mw.eq(logits:argmax(), labels):cast "f32":mean()
    local loss = logits:cross_entropy(labels)
    mw.eval(right)
    opt:step(loss)
  end
  t.ok(right:item() > 0.9, "an LSTM learns to remember")
end

for _, case in ipairs {
  {function() nn.LSTM {} end, "nn.LSTM: the size of the state, %[1%], is nil"},
  {function() nn.GRU {3, 4, num_layer = 2} end, '"num_layer", did you mean "num_layers"'},
  {function() nn.LSTM {3, 4}(mw.zeros {2, 3}) end,
    "nn.LSTM: x is a tensor f32%[2,3%], expected %[n, t, 3%], t of at least 1"},
  {function() nn.GRU {3, 4}(mw.zeros {2, 0, 3}) end, "t of at least 1"},
  {function() nn.LSTM {3, 4}(mw.zeros {2, 5, 3}, mw.zeros {2, 4}) end,
    "nn.LSTM: the state h is a tensor f32%[2,4%], expected a tensor f32%[1,2,4%]"},
} do
  local message = t.error(case[1], case[2], "error: " .. case[2])
  t.ok(message and message:find "^tests/lua/recurrent.lua:%d+: ", "at the user's line")
end

t.done()
