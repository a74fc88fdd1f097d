-- look_plot.lua: plots and histograms as text and as SVG, against dots, ticks and counts that are
-- worked out here in another way.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local axes = require "moonwalk.look.axes"
local canvas = require "moonwalk.look.canvas"
local live = require "moonwalk.look.live"
local screen = require "moonwalk.look.screen"
local svg = require "moonwalk.look.svg"

-- What a function prints.
local function printed(fn, ...)
  local write, parts = io.write, {}
  io.write = function(...) parts[#parts + 1] = table.concat {...} end -- luacheck: ignore 122
  local good, why = pcall(fn, ...)
  io.write = write -- luacheck: ignore 122
  if not good then error(why, 0) end
  return table.concat(parts)
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

-- Calls fn with the characters of a locale: UTF-8 or ASCII.
local function speaking(utf8, fn, ...)
  local before = screen.utf8
  screen.utf8 = function() return utf8 end
  local results = table.pack(pcall(fn, ...))
  screen.utf8 = before
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

-- ---- ticks ------------------------------------------------------------------------------------

local function ticks(low, high, most, log, whole)
  local values, texts = {}, {}
  for i, tick in ipairs(axes.new(low, high, {most = most, log = log, whole = whole}).ticks) do
    values[i], texts[i] = tick.value, tick.text
  end
  return values, texts
end

for _, case in ipairs {
  {0, 10, 6, "0 2 4 6 8 10"},
  {0, 10, 11, "0 1 2 3 4 5 6 7 8 9 10"},
  {0, 1, 6, "0 0.2 0.4 0.6 0.8 1.0"},
  {0.013, 0.087, 5, "0.02 0.04 0.06 0.08"},
  {-1, 1, 5, "-1.0 -0.5 0 0.5 1.0"},
  {1, 500, 5, "100 200 300 400 500"},
  {0, 2.5e6, 6, "0 5e5 1e6 1.5e6 2e6 2.5e6"},
  {0, 3e-7, 4, "0 1e-7 2e-7 3e-7"},
  {100.001, 100.004, 4, "100.001 100.002 100.003 100.004"},
  {3.1, 3.4, 2, "3.2 3.4"},
  {0.3, 0.9, 1, "0.3 0.9"}, -- 0.5 alone would tell nothing of the scale
} do
  local low, high, most, want = table.unpack(case)
  if want:find "e" then -- which of the forms of a number is chosen is not what is asked
    local values, numbers = ticks(low, high, most), {}
    for word in want:gmatch "%S+" do numbers[#numbers + 1] = tonumber(word) end
    t.near(values, numbers, 1e-9 * high, ("ticks from %g to %g"):format(low, high))
  else
    local _, texts = ticks(low, high, most)
    t.is(table.concat(texts, " "), want, ("ticks from %g to %g"):format(low, high))
  end
end
t.is(table.concat(select(2, ticks(0, 2e6, 3)), " "), "0 1e6 2e6", "large numbers have exponents")
t.is(table.concat(select(2, ticks(1, 3, 9, false, true)), " "), "1 2 3", "whole numbers")
t.is(table.concat(select(2, ticks(0.01, 100, 6, true)), " "), "0.01 0.1 1 10 100", "decades")
t.is(table.concat(select(2, ticks(0.5, 20, 9, true)), " "), "0.5 1 2 5 10 20", "1, 2, 5")
t.is(ticks(1e-9, 1e9, 4, true), {1e-5, 1, 1e5}, "each fifth decade")
t.is(table.concat(select(2, ticks(1e-9, 1e9, 4, true)), " "), "1e-5 1 1e5", "and its texts")
t.is(ticks(3.1, 3.9, 5, true), {3.2, 3.4, 3.6, 3.8}, "a logarithmic scale within a decade")

do
  local axis = axes.new(2, 6)
  t.is({axis:place(2), axis:place(3), axis:place(6)}, {0.0, 0.25, 1.0}, "places")
  t.is(axis:place(0 / 0), nil, "NaN has no place")
  axis = axes.new(1, 10000, {log = true})
  t.near({axis:place(1), axis:place(10), axis:place(1000)}, {0, 0.25, 0.75}, 1e-12, "logarithms")
  t.is(axis:place(0), nil, "and 0 has none of those")
  t.is({axes.limits(5, 5)}, {4.5, 5.5}, "a constant is in the middle")
  t.is({axes.limits(0, 0)}, {-1, 1}, "also 0")
  for _, x in ipairs {1e308, -1e308, 5e-324} do
    local low, high = axes.limits(x, x)
    t.ok(low < high and high - low < math.huge, ("and %g"):format(x))
  end
  local low, high = axes.limits(5e-324, 5e-324, true)
  t.ok(0 < low and low < high, "and the least number, by its logarithm")
  axis = axes.new(axes.limits(-1e308, 1e308))
  t.ok(axis:place(1e308) - axis:place(-1e308) < math.huge, "no place is infinitely far")
  t.ok(pcall(printed, mw.plot, {1e308, -1e308, 1e308}), "the largest numbers are drawn")
end

-- ---- dots -------------------------------------------------------------------------------------

-- The dots of braille text, as rows of true by columns, from the upper left one.
local function dots_of(lines)
  local BITS = {{0, 0}, {1, 0}, {2, 0}, {0, 1}, {1, 1}, {2, 1}, {3, 0}, {3, 1}} -- row, column
  local dots, count = {}, 0
  for row, line in ipairs(lines) do
    local column = 0
    for _, code in utf8.codes(line) do
      for bit, place in ipairs(BITS) do
        if code >= 0x2800 and (code - 0x2800) >> (bit - 1) & 1 == 1 then
          dots[((row - 1) * 4 + place[1]) .. "," .. (column * 2 + place[2])] = true
          count = count + 1
        end
      end
      column = column + 1
    end
  end
  return dots, count
end


-- The dots of a line by Bresenham's algorithm, one step along the longer side at a time; where two
-- dots are equally near it takes the one that is higher, or more to the right.
local function bresenham(dots, down, x, y, x1, y1)
  local dx, dy = math.abs(x1 - x), math.abs(y1 - y)
  local sx, sy = x1 > x and 1 or -1, y1 > y and 1 or -1
  local n, side, other = math.max(dx, dy), math.min(dx, dy), 0
  for _ = 0, n do
    dots[(down - 1 - y) .. "," .. x] = true
    other = other + 2 * side
    local step = dy > dx and sx or sy
    local turn = other > n or other == n and step > 0
    if dy > dx then y = y + sy else x = x + sx end
    if turn then
      if dy > dx then x = x + sx else y = y + sy end
      other = other - 2 * n
    end
  end
end

local function nearest(share, n) return math.floor(share * (n - 1) + 0.5) end

local function differences(a, b)
  local n = 0
  for place in pairs(a) do if not b[place] then n = n + 1 end end
  for place in pairs(b) do if not a[place] then n = n + 1 end end
  return n
end

local seed = 12345
local function random()
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed / 2147483648
end

do
  local wrong = 0
  for _ = 1, 300 do
    local c, want = canvas.new(20, 6), {}
    local u0, v0, u1, v1 = random(), random(), random(), random()
    c:line({}, u0, v0, u1, v1)
    bresenham(want, 24, nearest(u0, 40), nearest(v0, 24), nearest(u1, 40), nearest(v1, 24))
    wrong = wrong + differences(dots_of(c:lines()), want)
  end
  t.is(wrong, 0, "the dots of lines")

  local c = canvas.new(4, 1)
  c:line({}, 0, 0, 1, 0)
  t.is(c:lines(), {"⣀⣀⣀⣀"}, "a line at the bottom")
  c:line({mark = "x"}, 0.4, -1, 0.4, 2)
  t.is(c:lines(), {"⣀x⣀⣀"}, "a mark in a column, of a line that goes beyond both ends")
  c:line({}, -2, 0.5, -1, 0.5)
  c:line({}, 0, 1.5, 1, 1.1)
  c:dot({}, 8, 0)
  c:dot({}, 0, -1)
  t.is(c:lines(), {"⣀x⣀⣀"}, "what is outside is not drawn")
  c = canvas.new(3, 2)
  c:point({}, 1, 1)
  t.is(c:lines(), {"  ⠈", ""}, "no blanks at the ends")
  c = canvas.new(10, 10)
  c:line({}, 0, -1, 1, 2) -- from (1/3, 0) to (2/3, 1)
  local want = {}
  bresenham(want, 40, nearest(1 / 3, 20), 0, nearest(2 / 3, 20), 39)
  t.is(differences(dots_of(c:lines()), want), 0, "the part of a line that is inside")
end

-- ---- plots ------------------------------------------------------------------------------------

-- What is right of the axis, of the lines that have some of it at their left.
local function inside(text)
  local lines = {}
  for _, line in ipairs(lines_of(text)) do
    local rest = line:match "^ *[%d.e-]* ┤(.*)$" or line:match "^ *│(.*)$"
      or line:match "^ *[%d.e-]* ?[|+](.*)$"
    if rest and not rest:find "^─" and not rest:find "^%-" and not rest:find "^%+%-" then
      lines[#lines + 1] = rest
    end
  end
  return lines
end

do
  local ys = {}
  for i = 1, 30 do ys[i] = math.sin(i / 4) * 3 end
  local text = speaking(true, printed, mw.plot, ys, {width = 60, height = 16})
  local rows, low, high = inside(text), math.huge, -math.huge
  for _, y in ipairs(ys) do low, high = math.min(low, y), math.max(high, y) end
  t.is({#lines_of(text), #rows}, {16, 14}, "as high as was asked for")
  local indent = #(lines_of(text)[15]:match "^ *") + 1 -- of the line with the corner
  local across, want = 2 * (60 - indent), {}
  for i = 2, 30 do
    local function place(k)
      return nearest((k - 1) / 29, across), nearest((ys[k] - low) / (high - low), 56)
    end
    local x, y = place(i - 1)
    bresenham(want, 56, x, y, place(i))
  end
  t.is(differences(dots_of(rows), want), 0, "the dots of a plot")
  t.is(text, speaking(true, printed, mw.plot, mw.tensor(ys, "f64"), {width = 60, height = 16}),
    "a tensor's are the same")
  for _, line in ipairs(lines_of(text)) do
    if utf8.len(line) > 60 then t.ok(false, "no wider than was asked for: " .. line) end
  end

  -- Many points: only some of those in a column of dots are drawn.
  local many = {}
  for i = 1, 20000 do many[i] = random() + (i > 7000 and i < 9000 and 0.5 or 0) end
  many[15000] = 7
  rows = inside(speaking(true, printed, mw.plot, many, {width = 80, height = 12}))
  across, want, low, high = 2 * (80 - 3), {}, math.huge, -math.huge
  for _, y in ipairs(many) do low, high = math.min(low, y), math.max(high, y) end
  for i = 2, #many do
    local function place(k)
      return nearest((k - 1) / (#many - 1), across), nearest((many[k] - low) / (high - low), 40)
    end
    local x, y = place(i - 1)
    bresenham(want, 40, x, y, place(i))
  end
  t.is(differences(dots_of(rows), want), 0, "the dots of many points")
end

do -- what is left out, and what is labelled
  local text = speaking(true, printed, mw.plot, {1, 2, 0 / 0, 1, 1 / 0, 2}, {title = "Losses",
    xlabel = "the step", ylabel = "nats", height = 10, width = 40})
  t.ok(text:find("Losses  (1 NaN, 1 infinite left out)", 1, true), "what is left out is counted")
  t.ok(text:find("\n +the step\n") and text:find "\nnats\n", "labels of the axes")
  local rows = inside(text)
  t.is(#rows, 5, "lines for all of it")
  local across, gap = 2 * (40 - #(lines_of(text)[8]:match "^ *") - 1), true
  local left, right = nearest(1 / 5, across), nearest(3 / 5, across) -- of 2 and 4, of 1 to 6
  for place in pairs((dots_of(rows))) do
    local x = tonumber(place:match ",(.*)")
    if x > left and x < right then gap = false end
  end
  t.ok(gap, "a gap")

  t.ok(speaking(true, printed, mw.plot, {3}, {height = 8}):find "\n3%.0 ┤ +⢀\n",
    "one point")
  t.ok(speaking(true, printed, mw.plot, {4, 4, 4}, {height = 8}):find "\n4%.0 ┤⠉⠉",
    "a constant")
  text = speaking(true, printed, mw.plot, {0.001, 0, 100, -1}, {log = true, height = 12})
  t.ok(text:find "2 not above 0 left out" and text:find " 100 ┤" and text:find "0%.01 ┤",
    "a logarithmic scale")
  text = speaking(true, printed, mw.plot, {1, 100, 1}, {range = {0, 4}, height = 10})
  t.ok(text:find "4 ┤" and not text:find "100", "a range")
end

do -- several series
  local both = {a = {1, 2, 3}, b = {3, 2, 1}}
  local text = speaking(false, printed, mw.plot, both, {height = 9, width = 40})
  t.ok(text:find "%* a   o b\n" and not text:find "[\x80-\xff]", "ASCII: marks and a legend")
  t.is(inside(text)[1]:sub(1, 2) .. inside(text)[1]:sub(-2), "oo**", "a mark for each series")
  text = speaking(true, printed, mw.plot, both, {height = 9, width = 40})
  t.ok(text:find "⠤⠤ a   %+ b\n" and text:find "%+%+%+", "braille and marks without colours")
  local rows = {}
  for _, given in ipairs {{{1, 2, 3}, {3, 2, 1}}, mw.tensor {{1, 2, 3}, {3, 2, 1}},
    {mw.tensor {1, 2, 3}, mw.tensor {3, 2, 1}}} do
    rows[#rows + 1] = speaking(true, printed, mw.plot, given, {height = 9, width = 40})
  end
  t.ok(rows[1] == rows[2] and rows[2] == rows[3] and rows[1]:find "⠤⠤ 1   %+ 2\n",
    "a list of lists, a tensor of rank 2")
  t.is(speaking(true, printed, mw.plot, {a = {1, 2}, b = {2, 1}, height = 9, log = true}),
    speaking(true, printed, mw.plot, {a = {1, 2}, b = {2, 1}}, {height = 9, log = true}),
    "options beside the series")
  text = speaking(true, printed, mw.plot, {10, 20}, {a = {1, 2}, b = {2, 1}}, {height = 9})
  t.ok(text:find " 20\n" and text:find "⠤⠤ a   %+ b\n", "numbers for x, and names")
  text = speaking(true, printed, mw.plot, {
    {epoch = 1, step = 9, loss = 2.0, valid_loss = 2.5, accuracy = 0.5, lr = 0.1},
    {epoch = 2, step = 18, loss = 1.0, valid_loss = 1.5, accuracy = 0.7, lr = 0.1},
    best = 2, confusion = {{1}}}, {width = 60, height = 9})
  t.ok(text:find "⠤⠤ loss   %+ valid_loss\n" and text:find "epoch\n" and not text:find "accuracy",
    "the losses of a history")
  t.ok(speaking(true, printed, mw.plot, {mw.tensor(2), mw.tensor(1)}, {height = 6}):find "2 ┤⠉",
    "scalar tensors in a list")
end

-- ---- histograms -------------------------------------------------------------------------------

do
  local list, counts, below, above = {}, {}, 0, 0
  for i = 1, 5000 do list[i] = (random() + random() + random() - 1.5) * 4 end
  for i = 1, 20 do counts[i] = 0 end
  for _, x in ipairs(list) do
    if x < -3 then below = below + 1
    elseif x > 3 then above = above + 1
    else
      for i = 1, 20 do -- the first bin whose upper end is not reached
        if x < -3 + i * 0.3 or i == 20 then counts[i] = counts[i] + 1 break end
      end
    end
  end
  local tensor = mw.tensor(list, "f64")
  t.is({mw.core.histogram(tensor, 20, -3, 3)}, {counts, below, above}, "counts")
  t.is(mw.core.histogram(mw.tensor {0, 0.5, 1, 1}, 2, 0, 1), {1, 3}, "the last bin has both ends")
  for _, dtype in ipairs {"f32", "i32", "i64", "u8"} do
    t.is(mw.core.histogram(mw.tensor({1, 2, 2, 5}, dtype), 5, 0.5, 5.5), {1, 2, 0, 0, 1}, dtype)
  end
  t.is(mw.core.histogram(mw.tensor {true, false, true}, 2, 0, 1), {1, 2}, "bool")

  local sum, squares = 0, 0
  for _, x in ipairs(list) do sum = sum + x end
  for _, x in ipairs(list) do squares = squares + (x - sum / #list) ^ 2 end
  local std, whole = mw.core.deviation(tensor, sum / #list)
  t.near(std, (squares / #list) ^ 0.5, 1e-12, "the standard deviation")
  t.is(whole, false, "not of whole numbers")
  local some = mw.tensor {1, 0 / 0, 3, 1 / 0, -1 / 0}
  t.is({mw.core.deviation(some, 2)}, {1.0, true}, "of what is finite")
  t.is({mw.core.histogram(some, 1, 1, 2)}, {{1}, 0, 1}, "what is not finite is in no bin")
  local far = mw.tensor({-1.7e308, 1.7e308, 0, 1e308}, "f64")
  t.is(mw.core.histogram(far, 4, -1.7e308, 1.7e308), {1, 0, 1, 2},
    "a range that is larger than all numbers")
  t.is(mw.core.histogram(mw.tensor({0, 5e-324}, "f64"), 2, 0, 5e-324), {1, 1},
    "the smallest range that there is")
  t.refuses("both finite", mw.core.histogram, some, 2, -1 / 0, 1)

  -- Four bars of 1, 2, 4 and 0: heights of the highest one's share, of 4 dots a line.
  local text = speaking(true, printed, mw.hist, {1, 2, 2, 3, 3, 3, 3, 9, 0 / 0}, {bins = 4,
    range = {0.5, 4.5}, width = 40, height = 9})
  local rows = inside(text)
  t.is(#rows, 4, "lines of bars")
  local dots, heights = dots_of(rows), {0, 0, 0, 0}
  local width = 2 * utf8.len(rows[4]) // 3 -- the fourth bar is empty
  for bar = 1, 4 do
    for row = 0, 15 do
      if dots[row .. "," .. (bar - 1) * width] then heights[bar] = heights[bar] + 1 end
    end
  end
  t.is(heights, {4, 8, 16, 0}, "heights of bars")
  t.ok(text:find "9 elements, mean 3%.25" and text:find "1 NaN, 1 above it",
    "what has no bin is told")
  t.ok(text:find " 1 +2 +3 +4", "the axis of whole numbers")
  text = speaking(false, printed, mw.hist, {1, 2, 2}, {height = 7, width = 30})
  t.ok(text:find "##" and not text:find "[\x80-\xff]", "ASCII")
  t.ok(speaking(true, printed, mw.hist, mw.arange(10):cast "i64", {height = 8}):find " 9\n?",
    "classes have bins of their own")
  t.is(printed(mw.hist, {{1, {2}}, 2}), printed(mw.hist, {1, 2, 2}), "nested lists")
end

-- ---- live ---------------------------------------------------------------------------------------

do
  local curve, sum = live.curve(), 0
  for i = 1, 1000000 do curve:add(i, i % 1000 / 1000) end
  t.ok(curve.count < 2048, "a million steps stay small")
  local series = curve:series(100)
  for _, y in ipairs(series.ys) do sum = sum + y end
  t.is({#series.xs, #series.ys}, {100, 100}, "as many points as are asked for")
  t.near({series.xs[50] / 1e6, series.xs[100] / 1e6, sum / 100}, {0.5, 1, 0.4995}, 0.01,
    "of all steps, each a mean")
  curve = live.curve()
  for i = 1, 5 do curve:add(10 + i, i == 3 and 0 / 0 or i) end
  series = curve:series(100)
  t.is(series.xs, {11, 12, 13, 14, 15}, "few steps are all there")
  t.ok(series.ys[2] == 2 and series.ys[3] ~= series.ys[3] and series.ys[4] == 4, "with gaps")

  -- What a picture does to a terminal, played here: lines, and a cursor that moves up and down.
  local screen_lines, row, used = {"before"}, 2, {}
  local function play(text)
    for escape in text:gmatch "\27%[[%d;]*(%a)" do used[escape] = true end
    for up, line, ended in (text:gsub("\27%[(%d+)A", "\1%1\2"):gsub("\r", "") .. "\3")
      :gmatch "(\1?%d*\2?)([^\n\1\3]*)([\n\3]?)" do
      if up:find "\1" then row = row - tonumber(up:match "%d+") end
      if line:find "\27%[K" then screen_lines[row] = "" end
      line = line:gsub("\27%[[%d;]*%a", "")
      if line ~= "" then screen_lines[row] = line end
      if ended == "\n" then row = row + 1 end
    end
  end
  local trainer = {epoch = 1, position = 0, train = {1, 2, 3}, options = {epochs = 2}, history = {},
    steps = 0, optimizer = {lr = 0.5}, steps_in_epoch = 3}
  local picture = live.new(trainer, {write = play, print = function(_, text) play(text) end,
    hint = "hint"})
  for i = 1, 3 do
    trainer.steps = i
    picture:add(1, 1 / i)
    picture:draw()
  end
  local first = row
  picture:say "a line"
  t.is({screen_lines[1], screen_lines[2], row}, {"before", "a line", first + 1},
    "what is said stands above the picture, and what was printed before is left alone")
  trainer.history[1] = {step = 3, valid_loss = 0.25}
  picture:close()
  local text = table.concat(screen_lines, "\n", 1, row - 1)
  t.is({select(2, text:gsub("step 3/6", "")), select(2, text:gsub("hint", "")), screen_lines[1],
    screen_lines[2]}, {1, 0, "before", "a line"}, "one picture is left")
  t.ok(text:find "valid_loss 0.2500.*lr 0.5\nepoch 1/2   step 3/6", "with its numbers")
  t.is(used, used.m and {A = true, K = true, m = true} or {A = true, K = true},
    "the cursor moves up, and lines are cleared: nothing else is asked of the terminal")

  -- A picture that is larger than the terminal would not be drawn over.
  local size = screen.size
  for _, case in ipairs {
    {80, 24, true}, {40, 9, true}, {40, 7}, {40, 3}, {40, 1}, {4, 24}, {1, 24},
  } do
    function screen.size() return case[1], case[2] end
    picture = live.new(trainer, {write = function(drawn) text = drawn end, hint = "hint"})
    picture:draw()
    local count, widest = 0, 0
    for line in text:gsub("\r", ""):gmatch "([^\n]*)\n" do
      count, widest = count + 1, math.max(widest, screen.width(line))
    end
    t.is({count < math.max(case[2], 2), widest < math.max(case[1], 2), text:find "┤" ~= nil},
      {true, true, case[3] or false}, ("a terminal of %d by %d"):format(case[1], case[2]))
  end
  screen.size = size
  trainer.history[1] = {step = 3, valid_loss = 0 / 0}
  picture = live.new(trainer, {write = function(drawn) text = drawn end})
  for _, loss in ipairs {1e30, -1e308, 1e308} do picture:add(1, loss) end
  picture:draw()
  t.ok(text:find "loss %-?%d[%d.]*e%+%d+   .* valid_loss nan", "what a training that diverges has")
end

-- ---- files ------------------------------------------------------------------------------------

-- Raises unless a text is a well-formed document of elements, with text in <text> alone.
local function check_xml(text)
  local stack, at = {}, 1
  while at <= #text do
    local from, to, close, name, rest, empty = text:find("<(/?)(%w+)([^<>]-)(/?)>", at)
    if not from then break end
    local between = text:sub(at, from - 1)
    assert(stack[#stack] == "text" or not between:find "%S", "text between elements: " .. between)
    assert(not between:find "[<>]" and not between:gsub("&%a+;", ""):find "&", "bare: " .. between)
    if close == "/" then
      assert(table.remove(stack) == name, "closes another element: " .. name)
    else
      local left = rest:gsub('%s[%w:-]+="[^"<>]*"', "")
      assert(not left:find "%S", "bad attributes: " .. rest)
      if empty == "" then stack[#stack + 1] = name end
    end
    at = to + 1
  end
  assert(#stack == 0 and not text:sub(at):find "%S", "open elements")
  return true
end

do
  local path = folder.path .. "/a.svg"
  t.is({mw.plot({0, 10, 5}, {file = path, title = 'a < b & "c"', width = 400, height = 300,
    xlabel = "x", ylabel = "y"})}, {path}, "a file's path is returned")
  local text = folder.contents(path)
  t.ok(check_xml(text), "well-formed")
  t.ok(text:find("a &lt; b &amp; &quot;c&quot;", 1, true), "texts are safe")
  local x, y, width, height = text:match('<rect x="([%d.]+)" y="([%d.]+)" width="([%d.]+)" '
    .. 'height="([%d.]+)" fill="none"')
  x, y, width, height = tonumber(x), tonumber(y), tonumber(width), tonumber(height)
  local points = {}
  for number in text:match('<polyline points="([^"]*)"'):gmatch "[%d.]+" do
    points[#points + 1] = tonumber(number)
  end
  t.near(points, {x, y + height, x + width / 2, y, x + width, y + height / 2}, 0.02, "the points")
  local circles = {}
  for cx, cy in text:gmatch '<circle cx="([%d.]+)" cy="([%d.]+)"' do
    circles[#circles + 1], circles[#circles + 2] = tonumber(cx), tonumber(cy)
  end
  t.near(circles, points, 0, "few points are marked")

  assert(mw.hist({1, 2, 2, 3, 3, 3, 3}, {file = path}))
  text = folder.contents(path)
  t.ok(check_xml(text), "a histogram is well-formed")
  local heights = {}
  for bar in text:gmatch '<rect [^>]- height="([%d.]+)" fill="#1f6fb4"' do
    heights[#heights + 1] = tonumber(bar)
  end
  if #heights == 0 then
    for bar in text:gmatch '<rect [^>]-height="([%d.]+)"[^>]- fill="#1f6fb4"' do
      heights[#heights + 1] = tonumber(bar)
    end
  end
  t.near({heights[1] / heights[3], heights[2] / heights[3]}, {0.25, 0.5}, 1e-3, "its bars")
  assert(mw.plot({a = {1, 2}, b = {2, 0 / 0, 3}}, {file = path}))
  t.ok(check_xml(folder.contents(path)), "two series and a gap")

  local good, why = mw.plot({1, 2}, {file = folder.path .. "/none/a.svg"})
  t.ok(good == nil and why:find "none/a%.svg", "a file that cannot be written")
  local d = svg.new(10, 10)
  d:text(1.234, -0.001, "\1\xff", {fill = "#000"})
  t.ok(d:finish():find('<text x="1.23" y="0" fill="#000">?</text>', 1, true),
    "numbers are short, and what XML cannot have is left out")

  local png = folder.path .. "/it's.png"
  if os.execute "command -v rsvg-convert >/dev/null 2>&1" then
    assert(mw.plot({1, 2}, {file = png, width = 200, height = 100}))
    local bytes = folder.contents(png)
    t.is({bytes:sub(1, 8), string.unpack(">I4I4", bytes, 17)},
      {"\137PNG\r\n\26\n", 200, 100, 25}, "PNG")
  else
    t.skip("PNG", "there is no rsvg-convert")
  end
end

do -- no program that makes a PNG is found
  local shell = require "moonwalk.shell"
  local has = shell.has
  shell.has = function() return false end
  local good, why = mw.plot({1, 2}, {file = folder.path .. "/b.png"})
  shell.has = has
  t.ok(good == nil and why:find "librsvg2%-bin", "the package that is missing is named")
end

-- ---- what is refused --------------------------------------------------------------------------

local plot, hist = mw.plot, mw.hist
t.refuses("plot: expected numbers: plot(ys), plot(xs, ys) or plot {loss = ys, valid = ys}", plot)
t.refuses("plot: there are no numbers to plot", plot, {})
t.refuses("none of the 2 numbers can be drawn: 1 NaN, 1 infinite left out", plot, {0 / 0, 1 / 0})
t.refuses('plot: ys[2] is "2", expected a number', plot, {1, "2"})
t.refuses("plot: xs has 3 numbers and ys has 2", plot, {1, 2, 3}, {1, 2})
t.refuses('there is no option "titel", did you mean "title"?', plot, {1, 2}, {titel = "x"})
t.refuses('plot: loss is "x", expected a tensor, or a list of numbers', plot, {loss = "x"})
t.refuses("a tensor f32[9,3]: 9 series, of which 8 at most", plot, mw.zeros {9, 3})
t.refuses("hist(t) tells how any tensor's elements are spread", plot, mw.zeros {2, 2, 2})
t.refuses("expected a name that ends in .svg or .png", plot, {1}, {file = "a.gif"})
t.refuses("range is a table, expected two numbers, the lower", plot, {1}, {range = {2, 1}})
t.refuses("range[1] is 0, expected a number above 0", plot, {1}, {range = {0, 1}, log = true})
t.refuses("width is 3, expected a whole number of at least 12", plot, {1}, {width = 3})
t.refuses("hist: expected a tensor, or a list of numbers", hist)
t.refuses("hist: there are no elements to count", hist, {})
t.refuses("none of the elements is finite: 3 NaN", hist, mw.full({3}, 0 / 0))
t.refuses("no element is from 5 to 6", hist, {1, 2}, {range = {5, 6}})
t.refuses("hist: bins is 900, but", hist, {1, 2}, {bins = 900})
t.refuses("the list[2][1] is", hist, {1, {"3"}})
t.refuses("hist takes one tensor at a time, such as net.weight", hist, mw.nn.Dense {2, 2})
t.ok(tostring(t.refuses("plot: ", function() mw.plot("x") end)):find "look_plot%.lua",
  "at the user's line")

folder.remove()
t.done()
