-- attention.lua: MultiHeadAttention, and the transformer's block that is made of it.
--
--   local block = nn.TransformerBlock {64, heads = 4, causal = true}
--   local y = block(x)               -- x and y are [n, t, 64]

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local init = require "moonwalk.nn.init"
local Dense = require "moonwalk.nn.dense"
local Dropout = require "moonwalk.nn.dropout"
local Module = require "moonwalk.nn.module"
local norms = require "moonwalk.nn.norm"
local options = require "moonwalk.nn.options"
local GELU = require("moonwalk.nn.activation").GELU
local Sequential = require("moonwalk.nn.sequential").Sequential

---Attention with several heads (Vaswani et al., "Attention is all you need", 2017):
---attention(x) looks at x itself, attention(x, memory) at another sequence; keys and values may
---differ, attention(x, keys, values); a mask comes last: attention(x, nil, nil, mask).
---Names and shapes of parameters are those of torch.nn.MultiheadAttention with batch_first.
---@class moonwalk.MultiHeadAttention: moonwalk.Module
---@field in_proj_weight moonwalk.Tensor [3 features, features]: of queries, keys and values
---@field in_proj_bias moonwalk.Tensor? [3 features]
---@field out_proj moonwalk.Dense
---@overload fun(options: moonwalk.AttentionOptions): moonwalk.MultiHeadAttention
local Attention = Module:extend "MultiHeadAttention"

---@class moonwalk.AttentionOptions
---@field [1] integer? features of each position; those of the first input where it is left out
---@field heads integer a divisor of the features
---@field causal boolean? false; whether a position sees those up to itself alone
---@field bias boolean? true
---@field init moonwalk.Initialiser|string? nn.init.xavier()
---@field dtype string? "f32"
local ATTENTION = {"heads", "causal", "bias", "init", "dtype"}

-- What the constructors of both check: heads that divide the features.
local function check_heads(where, features, heads)
  if features % heads ~= 0 then
    core.error(("%s: there are %d heads, expected a divisor of %d features"):format(where, heads,
      features))
  end
end

local function begin(module, where, given, known)
  options.table(where, given, 1, known)
  check.integer(where, "heads", given.heads, 1)
  options.dtype(where, given)
  module.heads = given.heads
  module.options = options.copy(given)
  module.description = options.describe(module.class, given, known)
end

-- Makes the parameters, now or when the first input comes.
local function finish(module, given)
  if given[1] == nil then return module:lazy() end
  module:make(check.integer("nn." .. module.class, "the number of features, [1],", given[1], 1),
    given.dtype or "f32")
end

-- The dtype that inner layers are given; what goes without saying is not in their lines.
local function inner(dtype)
  return dtype ~= "f32" and dtype or nil
end

local function build(module, x)
  module:make(options.size_of("nn." .. module.class, x, -1, 3),
    options.dtype_of(module.options, x))
end

function Attention:init(given)
  local where = "nn.MultiHeadAttention"
  begin(self, where, given, ATTENTION)
  self.causal = check.boolean(where, "causal", given.causal, false)
  check.boolean(where, "bias", given.bias, true)
  self.initialiser = init.check(where, given.init, init.xavier())
  finish(self, given)
end

Attention.build = build

function Attention:make(features, dtype)
  local where = "nn.MultiHeadAttention"
  check_heads(where, features, self.heads)
  self.features = features
  self.in_proj_weight = init.parameter(where, self.initialiser, {3 * features, features}, dtype,
    features, features)
  local bias = self.options.bias
  if bias ~= false then self.in_proj_bias = core.param(core.full({3 * features}, 0, dtype)) end
  self.out_proj = Dense {features, features, init = self.initialiser, bias = bias,
    dtype = inner(dtype)}
end

-- Rows first .. last of in_proj's thirds, applied to x [n, t, features].
local function project(attention, x, first, last)
  local weight, bias, size = attention.in_proj_weight, attention.in_proj_bias, attention.features
  if first > 1 or last < 3 then
    local start, count = (first - 1) * size + 1, (last - first + 1) * size
    weight = core.call("slice", weight, {start = {start, 1}, count = {count, size}})
    bias = bias and core.call("slice", bias, {start = {start}, count = {count}})
  end
  return core.call("dense", x, weight, bias)
end

-- Third `i` of y [n, t, k features] as heads: [n, heads, t, features / heads].
local function heads_of(attention, y, i)
  local n, t, size = y.shape[1], y.shape[2], attention.features
  if y.shape[3] > size then
    y = core.call("slice", y, {start = {1, 1, (i - 1) * size + 1}, count = {n, t, size}})
  end
  y = core.call("reshape", y, {shape = {n, t, attention.heads, size // attention.heads}})
  return core.call("transpose", y, {perm = {1, 3, 2, 4}})
end

local function check_sequence(attention, name, x)
  local shape = core.is_tensor(x) and x.shape or {}
  if #shape ~= 3 or shape[3] ~= attention.features then
    check.fail("nn.MultiHeadAttention", name, x, ("[n, t, %d]"):format(attention.features))
  end
end

---@param x moonwalk.Tensor queries [n, t, features]
---@param keys moonwalk.Tensor? [n, s, features]; x when left out
---@param values moonwalk.Tensor? [n, s, features]; keys when left out
---@param mask moonwalk.Tensor? [t, s], [n, t, s] or [n, heads, t, s]; bool: true takes part
---@return moonwalk.Tensor y [n, t, features]
function Attention:forward(x, keys, values, mask)
  check_sequence(self, "x", x)
  local q, k, v
  if keys == nil and values == nil then
    local all = project(self, x, 1, 3)
    q, k, v = heads_of(self, all, 1), heads_of(self, all, 2), heads_of(self, all, 3)
  else
    check_sequence(self, "keys", keys)
    if values ~= nil then check_sequence(self, "values", values) end
    q = heads_of(self, project(self, x, 1, 1), 1)
    if values == nil then
      local both = project(self, keys, 2, 3)
      k, v = heads_of(self, both, 1), heads_of(self, both, 2)
    else
      k = heads_of(self, project(self, keys, 2, 2), 1)
      v = heads_of(self, project(self, values, 3, 3), 1)
    end
  end
  if mask ~= nil and core.is_tensor(mask) and mask.rank == 3 then
    mask = core.call("unsqueeze", mask, {axes = {2}})
  end
  local y = core.call("scaled_dot_product_attention", q, k, v, mask, {causal = self.causal})
  y = core.call("transpose", y, {perm = {1, 3, 2, 4}})
  local shape = x.shape
  return self.out_proj(core.call("reshape", y, {shape = shape}))
end

---One block of a transformer: attention, then two Dense layers at each position, each added to what
---it is given, with layer normalisation before (Xiong et al., "On layer normalization in the
---transformer architecture", 2020), or with norm_first = false after the sum, as Vaswani et al.
---did.
---@class moonwalk.TransformerBlock: moonwalk.Module
---@field norm1 moonwalk.Norm
---@field attention moonwalk.MultiHeadAttention
---@field norm2 moonwalk.Norm
---@field feed moonwalk.Sequential
---@overload fun(options: moonwalk.TransformerOptions): moonwalk.TransformerBlock
local Block = Module:extend "TransformerBlock"

---@class moonwalk.TransformerOptions
---@field [1] integer? features of each position; those of the first input where it is left out
---@field heads integer a divisor of the features
---@field hidden integer? 4 features; between the two Dense layers
---@field causal boolean? false
---@field dropout number? 0; of what is added, in training mode
---@field activation moonwalk.Module? nn.GELU {}
---@field norm_first boolean? true
---@field init moonwalk.Initialiser|string? nn.init.xavier()
---@field dtype string? "f32"
local BLOCK = {"heads", "hidden", "causal", "dropout", "activation", "norm_first", "init", "dtype"}

function Block:init(given)
  local where = "nn.TransformerBlock"
  begin(self, where, given, BLOCK)
  if given.hidden ~= nil then check.integer(where, "hidden", given.hidden, 1) end
  check.boolean(where, "causal", given.causal, false)
  check.number(where, "dropout", given.dropout, 0, 1, 0)
  if given.activation ~= nil and not Module.is(given.activation) then
    check.fail(where, "activation", given.activation, "a layer such as nn.GELU {}")
  end
  self.norm_first = check.boolean(where, "norm_first", given.norm_first, true)
  self.initialiser = init.check(where, given.init, init.xavier())
  self.options.activation = nil -- it becomes a layer of self.feed
  self.activation = given.activation or GELU {}
  finish(self, given)
end

Block.build = build

function Block:make(features, dtype)
  check_heads("nn.TransformerBlock", features, self.heads)
  local given, activation = self.options, self.activation
  dtype = inner(dtype)
  local hidden = given.hidden or 4 * features
  self.activation = nil
  local function dense(inputs, outputs)
    return Dense {inputs, outputs, init = self.initialiser, dtype = dtype}
  end
  self.norm1 = norms.LayerNorm {features, dtype = dtype}
  self.attention = Attention {features, heads = self.heads, causal = given.causal,
    init = self.initialiser, dtype = dtype}
  self.norm2 = norms.LayerNorm {features, dtype = dtype}
  self.feed = Sequential {dense(features, hidden), activation, dense(hidden, features)}
  if (given.dropout or 0) > 0 then self.dropout = Dropout {given.dropout} end
end

function Block:forward(x, mask)
  local function dropped(y) return self.dropout and self.dropout(y) or y end
  if self.norm_first then
    x = x + dropped(self.attention(self.norm1(x), nil, nil, mask))
    return x + dropped(self.feed(self.norm2(x)))
  end
  x = self.norm1(x + dropped(self.attention(x, nil, nil, mask)))
  return self.norm2(x + dropped(self.feed(x)))
end

---Adds to x [n, t, features] a vector for each position, which attention cannot tell otherwise:
---trained ones, or with learned = false sines and cosines of falling frequencies (Vaswani et al.):
---sin(p / 10000^(i / features)) at feature i = 0, 2, 4, .., and the cosine behind each.
---@class moonwalk.Positions: moonwalk.Module
---@field weight moonwalk.Tensor [positions, features]
---@overload fun(options: table): moonwalk.Positions
local Positions = Module:extend "Positions"

function Positions:init(given)
  local where, known = "nn.Positions", {"learned", "init", "dtype"}
  options.table(where, given, 2, known)
  local length = check.integer(where, "the number of positions, [1],", given[1], 1)
  local features = check.integer(where, "the number of features, [2],", given[2], 1)
  options.dtype(where, given)
  local dtype = given.dtype or "f32"
  self.description = options.describe("Positions", given, known)
  if check.boolean(where, "learned", given.learned, true) then
    self.weight = init.parameter(where, init.check(where, given.init, init.normal(0, 0.02)),
      {length, features}, dtype, features, features)
    return
  end
  local rows = {}
  for p = 1, length do
    rows[p] = {}
    for i = 0, features - 1 do
      local angle = (p - 1) / 10000 ^ ((i - i % 2) / features)
      rows[p][i + 1] = i % 2 == 0 and math.sin(angle) or math.cos(angle)
    end
  end
  self.weight = core.tensor(rows, dtype)
end

function Positions:forward(x)
  local length, features = table.unpack(self.weight.shape)
  local shape = core.is_tensor(x) and x.shape or {}
  if #shape ~= 3 or shape[2] > length or shape[3] ~= features then
    check.fail("nn.Positions", "x", x, ("[n, t, %d], t of at most %d"):format(features, length))
  end
  return x + core.call("slice", self.weight, {start = {1, 1}, count = {shape[2], features}})
end

return {MultiHeadAttention = Attention, TransformerBlock = Block, Positions = Positions}
