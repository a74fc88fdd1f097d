-- pattern.lua: nn.pattern, which builds a network from the notation for convolutional networks
--
--   INPUT -> [[CONV]*N -> POOL?]*M -> [FC]*K
--
-- N convolutions and a pooling layer that may be left out, all of this M times, then K fully
-- connected layers. What is written:
--
--   network  = "INPUT" {"->" item}
--   item     = layer ["?"] | "[" item {"->" item} "]" ["*" count]
--   count    = a whole number, or a letter or name whose value is an option
--   layer    = CONV, POOL, FC, an activation such as RELU or TANH, NORM, DROPOUT
--
-- A network that names no activation itself has one, relu unless told otherwise, after each CONV
-- and each FC but the last.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local activations = require "moonwalk.nn.activation"
local conv = require "moonwalk.nn.conv"
local norms = require "moonwalk.nn.norm"
local pools = require "moonwalk.nn.pool"
local shapes = require "moonwalk.nn.shape"
local Dense = require "moonwalk.nn.dense"
local Dropout = require "moonwalk.nn.dropout"
local Module = require "moonwalk.nn.module"
local Sequential = require("moonwalk.nn.sequential").Sequential

local WHERE = "nn.pattern"

-- ---- the notation ---------------------------------------------------------------------------

-- Activations by their names in capitals: RELU, LEAKYRELU.
local ACTIVATIONS = {}
for class in pairs(activations) do ACTIVATIONS[class:upper()] = class end

local LAYERS = {CONV = true, POOL = true, FC = true, NORM = true, DROPOUT = true}

-- Raises an error that shows the text with a mark under the place.
local function fail(text, place, message, ...)
  local column = utf8.len(text, 1, place - 1, true) or place - 1
  core.error(("%s: %s\n  %s\n  %s^"):format(WHERE, message:format(...), text, (" "):rep(column)))
end

-- What the text is made of: {kind, text, place}. A kind is "word", "number", or the sign itself.
local function tokens_of(text)
  local tokens, place = {}, 1
  while true do
    place = text:find("%S", place)
    if not place then break end
    local kind, found = "word", text:match("^[%a_][%w_]*", place)
    if not found then kind, found = "number", text:match("^%d+", place) end
    if not found then
      found = text:match("^%->", place) or text:match("^→", place) or text:match("^[%[%]*?]", place)
      kind = found == "→" and "->" or found
    end
    if not found then
      local sign = text:match(utf8.charpattern, place) or text:sub(place, place)
      fail(text, place, "%q is no part of the notation, expected ->, [, ], *, ? or a layer", sign)
    end
    tokens[#tokens + 1] = {kind = kind, text = found, place = place}
    place = place + #found
  end
  tokens[#tokens + 1] = {kind = "end", text = "", place = #text + 1}
  return tokens
end

local function show(token)
  return token.kind == "end" and "the pattern ends" or ("there is %q"):format(token.text)
end

-- What is being read: the text, its tokens, the place among them, and the options.
local Reader = {}
Reader.__index = Reader

function Reader:peek() return self.tokens[self.at] end

function Reader:take(kind)
  local token = self.tokens[self.at]
  if token.kind ~= kind then return nil end
  self.at = self.at + 1
  return token
end

-- How often a group stands there, as its "*N" says.
function Reader:count()
  if not self:take "*" then return 1 end
  local token = self:take "number" or self:take "word"
  if not token then
    local here = self:peek()
    fail(self.text, here.place, "%s where a count is expected: a number, or a letter such as N",
      show(here))
  end
  if token.kind == "number" then return math.tointeger(tonumber(token.text)) or math.huge end
  self.letters[token.text] = true
  local value = self.options[token.text]
  local count = type(value) == "number" and math.tointeger(value)
  if not count or count < 0 then
    fail(self.text, token.place, "%s is %s, expected a whole number of at least 0: {%s = 2}",
      token.text, check.show(value), token.text)
  end
  return count
end

function Reader:layer()
  local token = self:take "word"
  local word = token.text
  if not (LAYERS[word] or ACTIVATIONS[word]) then
    local known = {}
    for name in pairs(LAYERS) do known[#known + 1] = name end
    for name in pairs(ACTIVATIONS) do known[#known + 1] = name end
    table.sort(known)
    local near = LAYERS[word:upper()] and word:upper() or ACTIVATIONS[word:upper()] and word:upper()
      or check.near(word:upper(), known)
    fail(self.text, token.place, word == "INPUT" and "INPUT stands at the beginning alone"
      or "there is no layer %q%s", word, near and (", did you mean %s?"):format(near)
      or "; there are CONV, POOL, FC, NORM, DROPOUT, and activations such as RELU")
  end
  return {kind = word, place = token.place, optional = self:take "?" ~= nil}
end

-- One item: a layer, or a group, which is a list of items with a count.
function Reader:item()
  local token = self:peek()
  if token.kind == "word" then
    local layer = self:layer()
    if self:peek().kind == "*" then
      fail(self.text, self:peek().place, "a count follows a group: [%s]*...", layer.kind)
    end
    return layer
  end
  local open = self:take "["
  if not open then
    fail(self.text, token.place, "%s where a layer or a group is expected", show(token))
  end
  local group = self:items()
  if not self:take "]" then
    local here = self:peek()
    if here.kind == "end" then fail(self.text, open.place, "this group is not closed") end
    fail(self.text, here.place, "%s where -> or ] is expected", show(here))
  end
  if self:peek().kind == "?" then
    fail(self.text, self:peek().place, "? follows a layer; a group has a count, which may be 0")
  end
  group.count = self:count()
  return group
end

-- Items with -> between them.
function Reader:items()
  local list = {self:item()}
  while self:take "->" do list[#list + 1] = self:item() end
  return list
end

-- The tree of a pattern: a group that is there once.
local function read(text, options)
  local reader = setmetatable({text = text, tokens = tokens_of(text), at = 1, options = options,
    letters = {}}, Reader)
  local first = reader:peek()
  if first.text ~= "INPUT" then
    fail(text, first.place, "%s where INPUT is expected", show(first))
  end
  reader.at = 2
  local tree = {count = 1}
  if reader:take "->" then
    tree = reader:items()
    tree.count = 1
  end
  local rest = reader:peek()
  if rest.kind == "]" then fail(text, rest.place, "there is no [ that this ] would close") end
  if rest.kind ~= "end" then fail(text, rest.place, "%s where -> is expected", show(rest)) end
  return tree, reader.letters
end

-- ---- the layers -----------------------------------------------------------------------------

local MOST = 10000 -- layers; a count that was meant otherwise would fill the memory

-- Writes a tree out: a list of layers, each with the number of the block that it is in: the
-- repetition of the outermost group that is there more than once.
local function spell_out(text, tree)
  local list, block, fresh = {}, 0, 0
  local function is_empty(item)
    if item.kind then return false end
    local empty = true
    for _, inner in ipairs(item) do empty = empty and is_empty(inner) end
    return empty or item.count == 0
  end
  local function add(group, inside)
    if is_empty(group) then return end
    for _ = 1, group.count do
      local outermost = not inside and group.count > 1
      if outermost then
        fresh = fresh + 1
        block = fresh
      end
      for _, item in ipairs(group) do
        if item.kind then
          list[#list + 1] = {kind = item.kind, place = item.place, optional = item.optional,
            block = block}
          if #list > MOST then fail(text, item.place, "these are more than %d layers", MOST) end
        else
          add(item, inside or outermost)
        end
      end
      if outermost then block = 0 end
    end
  end
  add(tree, false)
  return list
end

local KNOWN = {
  "filters", "kernel", "stride", "padding", "pool", "pooling", "units", "activation", "norm",
  "dropout", "init", "dtype", "input",
}

-- The value of an option for a layer: one for all, or a list with one for each layer of its kind in
-- turn, or for each block of them.
local function choose(name, given, layer, counts)
  if type(given) ~= "table" or Module.is(given) then return given end
  if #given == counts.layers then return given[layer.index] end
  if #given == counts.blocks then return given[layer.block_index] end
  core.error(("%s: %s has %d value%s, expected one for each of the %d %s%s"):format(WHERE, name,
    #given, #given == 1 and "" or "s", counts.layers, layer.kind,
    counts.blocks > 1 and counts.blocks < counts.layers
      and (", or for each of the %d groups"):format(counts.blocks) or ""))
end

-- Numbers the layers of each kind, and the blocks that such layers are in. Returns the numbers of
-- both by kind.
local function number(layers)
  local counts = {}
  for _, layer in ipairs(layers) do
    local count = counts[layer.kind] or {layers = 0, blocks = 0}
    counts[layer.kind] = count
    count.layers = count.layers + 1
    if layer.block == 0 or layer.block ~= count.block then count.blocks = count.blocks + 1 end
    count.block, layer.index, layer.block_index = layer.block, count.layers, count.blocks
  end
  return counts
end

local function need(text, layer, name, value, example)
  if value ~= nil then return value end
  fail(text, layer.place, "this %s needs %s: {%s = %s}", layer.kind, name, name, example)
end

-- The padding that keeps the size: kernel - 1 in all.
local function same(kernel)
  if math.type(kernel) == "integer" and kernel % 2 == 1 then return kernel // 2 end
  local sizes = type(kernel) == "table" and kernel or {kernel, kernel}
  local before, after = {}, {}
  for i, size in ipairs(sizes) do
    before[i] = (size - 1) // 2
    after[i] = size - 1 - before[i]
  end
  return {before[1], before[2], after[1], after[2]}
end

-- What makes each kind of layer: functions of the text, the layer, and pick(option).
local make = {}

function make.CONV(text, layer, pick)
  local kernel = pick "kernel" or 3
  local padding = pick "padding"
  if padding == "same" then padding = same(kernel) end
  return conv.Conv2d {need(text, layer, "filters", pick "filters", "{6, 16}"), kernel = kernel,
    stride = pick "stride", padding = padding, init = pick "init", dtype = pick "dtype"}
end

function make.POOL(_, layer, pick)
  local window = pick "pool"
  if window == false and layer.optional then return nil end
  local kind = check.choice(WHERE, "pooling", pick "pooling", {"max", "mean"}, "max")
  return pools[kind == "max" and "MaxPool" or "MeanPool"] {window or 2}
end

function make.FC(text, layer, pick)
  return Dense {need(text, layer, "units", pick "units", "{120, 84, 10}"), init = pick "init",
    dtype = pick "dtype"}
end

function make.NORM(_, layer, pick)
  if pick "norm" == false and layer.optional then return nil end
  return norms.BatchNorm {dtype = pick "dtype"}
end

function make.DROPOUT(_, layer, pick)
  local p = pick "dropout"
  if p == false and layer.optional then return nil end
  return Dropout {p or 0.5}
end

local function activation_of(given)
  if given == nil then return "ReLU" end
  local name = given
  if type(given) == "string" then
    local names = {}
    for class in pairs(activations) do names[#names + 1] = class end
    table.sort(names)
    check.choice(WHERE, "activation", given, names)
  elseif type(given) ~= "function" and given ~= false then
    check.fail(WHERE, "activation", given,
      "a name such as \"Tanh\", a function that makes a layer, "
      .. "or false")
  end
  return name
end

-- CONV, POOL and NORM want images; nothing may stand between FC and its rows.
local function check_order(text, layers)
  local dense
  for _, layer in ipairs(layers) do
    if layer.kind == "FC" then
      dense = dense or layer
    elseif dense and (layer.kind == "CONV" or layer.kind == "POOL") then
      fail(text, layer.place, "a %s cannot follow an FC, which leaves no image", layer.kind)
    end
    if layer.optional and not (layer.kind == "POOL" or layer.kind == "NORM"
      or layer.kind == "DROPOUT") then
      fail(text, layer.place, "%s? has no option that would leave it out; that is POOL?, NORM? and "
        .. "DROPOUT?", layer.kind)
    end
  end
end

local function build(text, layers, options)
  local counts, list, flat, activates = number(layers), {}, false, true
  for _, layer in ipairs(layers) do activates = activates and not ACTIVATIONS[layer.kind] end
  local activation = activation_of(options.activation)
  for _, layer in ipairs(layers) do
    local function pick(name) return choose(name, options[name], layer, counts[layer.kind]) end
    if layer.kind == "FC" and not flat then
      list[#list + 1] = shapes.Flatten {}
      flat = true
    end
    if ACTIVATIONS[layer.kind] then
      list[#list + 1] = activations[ACTIVATIONS[layer.kind]] {}
    else
      list[#list + 1] = make[layer.kind](text, layer, pick)
      local follows = layer.kind == "CONV" or layer.kind == "FC" and layer.index < counts.FC.layers
      if follows and activates and activation then
        list[#list + 1] = type(activation) == "function" and activation()
          or activations[activation] {}
      end
    end
  end
  return list
end

---A network from its pattern, such as "INPUT -> [[CONV]*N -> POOL?]*M -> [FC]*K". An option with a
---value for each layer is a list: filters = {6, 16}; it may also have one for each time that the
---outermost group stands there. Sizes of inputs are those of the first one, or of `input`.
---@class moonwalk.PatternOptions: table<string, any>
---@field filters integer|integer[] of each CONV
---@field units integer|integer[] outputs of each FC
---@field kernel any? 3; of each CONV
---@field stride any? 1
---@field padding any? 0; "same" keeps the size
---@field pool any? 2; the window of each POOL, false leaves a POOL? out
---@field pooling "max"|"mean"|nil "max"
---@field activation string|false|fun(): moonwalk.Module|nil "ReLU"; where the pattern names none
---@field norm boolean? false leaves NORM? out, which is batch normalisation
---@field dropout number|false|nil 0.5; of each DROPOUT
---@field init moonwalk.Initialiser|string?
---@field dtype string?
---@field input integer[]? shape of a sample, such as {1, 28, 28}
---@param text string
---@param options moonwalk.PatternOptions? the letters, too: {N = 1, M = 2}
---@return moonwalk.Sequential
local function pattern(text, options)
  check.text(WHERE, "the pattern", text)
  if text:find "[\n\r]" then text = text:gsub("%s+", " ") end
  options = options or {}
  if type(options) ~= "table" or core.is_tensor(options) then
    check.fail(WHERE, "the table of options", options, "a table such as {N = 1, M = 2}")
  end
  local tree, letters = read(text, options)
  local known, given = {table.unpack(KNOWN)}, {}
  for letter in pairs(letters) do known[#known + 1] = letter end
  for name, value in pairs(options) do
    if type(name) == "string" and name:find "^%u$" and not letters[name] then
      core.error(("%s: %s is %s, but there is no *%s in %s"):format(WHERE, name, check.show(value),
        name, text))
    end
    given[name] = value
  end
  check.options(WHERE, given, known)
  local layers = spell_out(text, tree)
  check_order(text, layers)
  local net = Sequential(build(text, layers, options))
  if options.input ~= nil then net:infer(options.input, {dtype = options.dtype}) end
  return net
end

return core.entry(pattern)
