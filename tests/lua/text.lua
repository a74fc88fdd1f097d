-- text.lua: text as tokens, and sequences of them.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local data = mw.data

local function read(text, options) return data.text(folder.put("text.txt", text), options) end

do
  local text = assert(read "hello\nwörld\n")
  t.is({text.vocabulary, text.tokens.dtype, #text, text.by},
    {{"\n", "d", "e", "h", "l", "o", "r", "w", "ö"}, "i64", 12, "char"}, "characters in order")
  t.is(text.tokens:totable(), {3, 2, 4, 4, 5, 0, 7, 8, 6, 4, 1, 0}, "tokens from 0")
  t.is(text:decode(text.tokens), "hello\nwörld\n", "back to text")
  t.is({text:encode("old"):totable(), text:decode {5, 4, 1}, #text:encode ""},
    {{5, 4, 1}, "old", 0}, "encode and decode")
  t.is(tostring(text), "text.txt: 12 tokens by char, 9 different ones", "printed")
  t.is(assert(read("low", {like = text})).tokens:totable(), {4, 5, 7}, "another's vocabulary")
  t.is(select(2, read("lox", {like = text})):match "text.txt: (.*)",
    'piece 3, "x", is not in the vocabulary of 9', "which has not all")
  t.is(#assert(read("wö", {by = "byte"})), 3, "bytes")
  t.is(assert(read("It's 2 o'clock.", {by = "word"})).vocabulary,
    {" ", ".", "2", "It's", "o'clock"}, "words, and what is between them")
  t.is(assert(read("a\nb\na\n", {by = "line"})).tokens:totable(), {0, 1, 0}, "lines")
  t.is(assert(read("a\nb", {by = "line"})).vocabulary, {"a\n", "b"}, "the last one without an end")
  t.is(#assert(read ""), 0, "an empty text")
  local first, second = text:split(0.75)
  t.is({#first, first:decode(first.tokens), second:decode(second.tokens), second.vocabulary},
    {9, "hello\nwör", "ld\n", text.vocabulary}, "two parts")
end

do -- Sequences of 0 1 2 ... 9.
  local text = assert(read("abcdefghij", {by = "byte"}))
  local set = text:sequences {length = 3}
  t.is({set.x:totable(), set.y:totable()},
    {{{0, 1, 2}, {3, 4, 5}, {6, 7, 8}}, {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}}, "side by side")
  t.is(text:sequences({length = 4, step = 3}).x:totable(), {{0, 1, 2, 3}, {3, 4, 5, 6}},
    "overlapping")
  t.is(#text:sequences {length = 9}, 1, "one of all")
  t.is(set:batches {size = 2} ().x.dtype, "i64", "batches of tokens")

  local long = assert(read(("abcdefghijklmnopqrstuvwxy"), {by = "byte"}))
  local rows = {}
  for batch in long:sequences({length = 4, streams = 2}):batches {size = 2} do
    rows[#rows + 1] = batch.x:totable()
  end
  t.is(rows, {{{0, 1, 2, 3}, {12, 13, 14, 15}}, {{4, 5, 6, 7}, {16, 17, 18, 19}},
    {{8, 9, 10, 11}, {20, 21, 22, 23}}}, "streams: each row goes on in the next batch")

  local names = assert(read "ab\n\nb\nabc")
  local lines = names:lines()
  t.is({lines.x:totable(), lines.y:totable()}, {
    {{0, 1, 2, 0}, {0, 2, 0, 0}, {0, 1, 2, 3}},
    {{1, 2, 0, -100}, {2, 0, -100, -100}, {1, 2, 3, 0}},
  }, "a row for each line")
  t.is(names:lines({length = 6}).x.shape, {3, 6}, "of a length")
  local logits = mw.zeros {3 * 4, 4}
  t.near(logits:cross_entropy(lines.y:reshape {12}):item(), math.log(4), 1e-6,
    "what is behind a line's end costs nothing")

  for _, case in ipairs {
    {"sequences: length is nil", function() text:sequences {} end},
    {"sequences: length is 10, but the text has 10 tokens", function()
      text:sequences {length = 10}
    end},
    {"sequences: step is 2; streams", function()
      text:sequences {length = 3, step = 2, streams = 2}
    end},
    {"sequences: streams is 4, but there are 3 sequences of 3", function()
      text:sequences {length = 3, streams = 4}
    end},
    {'lines: there is no "\\n" in the vocabulary', function() text:lines() end},
    {"lines: length is 3, but line 3 needs 4", function() names:lines {length = 3} end},
    {'encode: piece 2, "z", is not in the vocabulary of 10', function() text:encode "az" end},
    {"decode: token 1 is 10, expected 0 to 9", function() text:decode {10} end},
    {"decode: token 1 is -1", function() text:decode {-1} end},
    {"decode: tokens is 3", function() text:decode(3) end},
    {"data.text: the path is nil", function() data.text() end},
    {'data.text: by is "chars", expected char or byte', function()
      data.text("x", {by = "chars"})
    end},
    {"data.text: like is 3", function() data.text("x", {like = 3}) end},
  } do
    t.refuses(case[1], case[2])
  end
end

t.is(select(2, read("ab\nc\xff")):match "text.txt: (.*)",
  'line 2: byte 5 is no UTF-8; by = "byte" takes any', "no UTF-8")
t.ok(select(2, data.text(folder.path .. "/none")):find "none: No such file", "no file")

folder.remove()
t.done()
