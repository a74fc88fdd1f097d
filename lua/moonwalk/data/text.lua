-- text.lua: text as numbers, one for each piece, and sequences of them for models of language.
--
--   local text = assert(data.text("shakespeare.txt"))
--   for batch in text:sequences({length = 64}):batches {size = 32, shuffle = true} do
--     -- batch.x i64 [32,64]; batch.y, the same one piece later
--   end

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local Dataset = require "moonwalk.data.dataset"

---@class moonwalk.Text
---@field tokens moonwalk.Tensor i64 [n], from 0
---@field vocabulary string[] what token k stands for is vocabulary[k + 1]
---@field ids table<string, integer> the token of a piece, from 0
---@field by "byte"|"char"|"word"|"line"
---@field name string
---@operator len: integer
local Text = {}
Text.__index = Text
Text.__name = "moonwalk.Text"

---@class moonwalk.TextOptions
---@field by "byte"|"char"|"word"|"line"|nil what a piece is; a "char" is one of UTF-8's
---@field like moonwalk.Text? take the vocabulary of another text

local WHERE = "data.text"
local KINDS = {"char", "byte", "word", "line"}

-- Each gives the pieces of a text, which together are the text; or nil and what is wrong.
local split = {}

function split.byte(text)
  local pieces = {}
  for i = 1, #text do pieces[i] = text:sub(i, i) end
  return pieces
end

function split.char(text)
  local valid, place = utf8.len(text)
  if not valid then
    local _, line = text:sub(1, place):gsub("\n", "")
    return nil, ("line %d: byte %d is no UTF-8; by = \"byte\" takes any"):format(line + 1, place)
  end
  local pieces = {}
  for piece in text:gmatch(utf8.charpattern) do pieces[#pieces + 1] = piece end
  return pieces
end

-- Words, and each character between them.
function split.word(text)
  local pieces, at = {}, 1
  while at <= #text do
    local word = text:match("^[%w_'\128-\255]+", at) or text:sub(at, at)
    pieces[#pieces + 1] = word
    at = at + #word
  end
  return pieces
end

function split.line(text)
  local pieces = {}
  for line in text:gmatch "[^\n]*\n?" do
    if line ~= "" then pieces[#pieces + 1] = line end
  end
  return pieces
end

-- The pieces that there are, in the order of their bytes, and their numbers.
local function vocabulary_of(pieces)
  local ids, list = {}, {}
  for _, piece in ipairs(pieces) do
    if not ids[piece] then
      ids[piece] = true
      list[#list + 1] = piece
    end
  end
  table.sort(list)
  for i, piece in ipairs(list) do ids[piece] = i - 1 end
  return list, ids
end

local function to_tensor(list)
  return #list > 0 and core.tensor(list, "i64") or core.from_bytes("", "i64", {0})
end

-- The tokens of pieces, or nil and what is wrong.
local function encode(self, pieces)
  local tokens = {}
  for i, piece in ipairs(pieces) do
    local id = self.ids[piece]
    if not id then
      return nil, ("piece %d, %q, is not in the vocabulary of %d"):format(i, piece,
        #self.vocabulary)
    end
    tokens[i] = id
  end
  return to_tensor(tokens)
end

local function make(text, by, like, name)
  local pieces, why = split[by](text)
  if not pieces then return nil, why end
  local self = setmetatable({by = by, name = name}, Text)
  if like then self.vocabulary, self.ids = like.vocabulary, like.ids
  else self.vocabulary, self.ids = vocabulary_of(pieces) end
  self.tokens, why = encode(self, pieces)
  if not self.tokens then return nil, why end
  return self
end

---Reads a text: its pieces become tokens, numbers from 0.
---@param path string
---@param options moonwalk.TextOptions?
---@return moonwalk.Text?
---@return string? message
function Text.read(path, options)
  check.path(WHERE, "the path", path)
  options = check.options(WHERE, options, {"by", "like"})
  local like = options.like
  if like ~= nil and getmetatable(like) ~= Text then
    check.fail(WHERE, "like", like, "a text that data.text has read")
  end
  local by = check.choice(WHERE, "by", options.by, KINDS, like and like.by or "char")
  local file, why = io.open(path, "rb")
  if not file then return nil, why end
  local contents, read_why = file:read "a"
  file:close()
  if not contents then return nil, ("%s: %s"):format(path, read_why) end
  local text
  text, why = make(contents, by, like, path:match "[^/]*$")
  if not text then return nil, ("%s: %s"):format(path, why) end
  return text
end

function Text:__len()
  return self.tokens.shape[1]
end

function Text:__tostring()
  return ("%s: %d tokens by %s, %d different ones"):format(self.name, #self, self.by,
    #self.vocabulary)
end

---The tokens of a text in this one's vocabulary. Raises at a piece that it has not.
---@param text string
---@return moonwalk.Tensor i64 [n]
function Text:encode(text)
  check.text("encode", "the text", text)
  local pieces, why = split[self.by](text)
  local tokens
  if pieces then tokens, why = encode(self, pieces) end
  if not tokens then core.error("encode: " .. why) end
  return tokens
end

---The text of tokens: a tensor, or a list of numbers, from 0.
---@param tokens moonwalk.Tensor|integer[]
---@return string
function Text:decode(tokens)
  if core.is_tensor(tokens) then
    if #tokens.shape ~= 1 then check.fail("decode", "tokens", tokens, "a tensor of rank 1") end
    tokens = tokens:totable()
  end
  if type(tokens) ~= "table" then check.fail("decode", "tokens", tokens, "a tensor or a list") end
  local pieces = {}
  for i, token in ipairs(tokens) do
    local piece = self.vocabulary[math.type(token) and token + 1]
    if not piece then
      core.error(("decode: token %d is %s, expected 0 to %d"):format(i, check.show(token),
        #self.vocabulary - 1))
    end
    pieces[i] = piece
  end
  return table.concat(pieces)
end

---The text in two parts with one vocabulary, of which the first has that share of it.
---@param share number 0 to 1
---@return moonwalk.Text
---@return moonwalk.Text
function Text:split(share)
  check.number("split", "the share", share, 0, 1)
  local cut, n = math.floor(share * #self + 0.5), #self
  local function part(first, count)
    return setmetatable({
      tokens = core.rows(self.tokens, nil, first, count), vocabulary = self.vocabulary,
      ids = self.ids, by = self.by, name = self.name,
    }, Text)
  end
  return part(1, cut), part(cut + 1, n - cut)
end

---Sequences as a data set: x i64 [n, length], and y the same one token later. With `streams` the
---rows are in such an order that batches of that size, not shuffled, go through so many parts of
---the text side by side: row k of a batch goes on in row k of the next one, for a state that is
---kept.
---@param options {length: integer, step: integer?, streams: integer?}
---@return moonwalk.Dataset
function Text:sequences(options)
  local where = "sequences"
  options = check.options(where, options, {"length", "step", "streams"})
  local length = check.integer(where, "length", options.length, 1)
  local step = check.integer(where, "step", options.step, 1, length)
  local n = (#self - 1 - length) // step + 1
  if n < 1 then
    core.error(("%s: length is %d, but the text has %d tokens, expected one more at least"):format(
      where, length, #self))
  end
  local x = core.windows(self.tokens, length, step, 0, n)
  local y = core.windows(self.tokens, length, step, 1, n)
  local set = Dataset.new(x, y, self.name)
  if not options.streams then return set end
  local streams = check.integer(where, "streams", options.streams, 1)
  if options.step and step ~= length then
    core.error(("%s: step is %d; streams go on where they were, with a step of length"):format(
      where, step))
  end
  local each = n // streams
  if each < 1 then
    core.error(("%s: streams is %d, but there are %d sequences of %d"):format(where, streams, n,
      length))
  end
  local order = {}
  for k = 0, each - 1 do
    for s = 0, streams - 1 do order[#order + 1] = s * each + k end
  end
  return set:subset(core.tensor(order, "i64"))
end

---A row for each line: x i64 [n, length] begins with a line's end, "\n", and y is the same one
---token later, up to the line's end; then y is -100, which cross_entropy ignores. Of a text by byte
---or char.
---@param options {length: integer?}? the longest line's and one more
---@return moonwalk.Dataset
function Text:lines(options)
  local where = "lines"
  options = check.options(where, options, {"length"})
  local stop = self.ids["\n"]
  if not stop then core.error(where .. ": there is no \"\\n\" in the vocabulary") end
  local lines, line, longest = {}, {}, 0
  local tokens = self.tokens:totable()
  if tokens[#tokens] ~= stop then tokens[#tokens + 1] = stop end
  for _, token in ipairs(tokens) do
    if token ~= stop then
      line[#line + 1] = token
    elseif #line > 0 then
      lines[#lines + 1], longest = line, math.max(longest, #line)
      line = {}
    end
  end
  local length = check.integer(where, "length", options.length, 1, longest + 1)
  if #lines == 0 then core.error(where .. ": the text has no line") end
  local xs, ys = {}, {}
  for i, row in ipairs(lines) do
    if #row + 1 > length then
      core.error(("%s: length is %d, but line %d needs %d"):format(where, length, i, #row + 1))
    end
    local x, y = {stop}, {}
    for k = 1, length do
      x[k + 1] = row[k] or stop
      y[k] = row[k] or (k == #row + 1 and stop) or -100
    end
    x[length + 1] = nil
    xs[i], ys[i] = x, y
  end
  return Dataset.new(core.tensor(xs, "i64"), core.tensor(ys, "i64"), self.name)
end

for _, name in ipairs {"encode", "decode", "split", "sequences", "lines"} do
  Text[name] = core.entry(Text[name])
end

return Text
