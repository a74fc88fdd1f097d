-- prompt_everywhere_looking.lua: tensors, networks, times, pictures and plots at the prompt, in all
-- kinds of terminals.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"
local shell = require "moonwalk.shell"

local has_converter = shell.has "rsvg-convert" or shell.has "magick" or shell.has "convert"

local PNG = "\x89PNG\r\n\x1a\n" -- how such a file begins

-- ---- values -----------------------------------------------------------------------------------

local function tensors(s)
  s:enter "x = mw.tensor {{1, 2}, {3, 4.5}}":is {}
  s:enter "x":is {"f32[2,2]  min 1  mean 2.625  max 4.5", "{{1.0, 2.0},", " {3.0, 4.5}}"}
  s:is_coloured("f32[2,2]", "1")
  s:enter "mw.tensor {0.5, 0/0, -2}":has("1 NaN", "min -2", "max 0.5")
  s:is_coloured("1 NaN", "31")
  s:enter "mw.tensor({1, 0}, 'bool'), mw.tensor(7, 'i64')"
  s:has("bool[2]", "{ true, false}", "i64[]  7")
  s:enter "mw.arange(0, 100000)":has "f32[100001]  min 0  mean 50000  max 100000"
  s:matches "^[^\n]*\n{ *0, .*%.%.%.,.* 100000}$"
  s:check(#s.answer <= s.rows // 2, "no more than half of the screen")
end

local function all_of_it(s)
  s:enter_much ":full mw.arange(0, 2000)":matches "1999, 2000}$"
  s:check(s:all():find("f32[2001]  min 0  mean 1000  max 2000", 1, true), "its head")
  s:enter "{1, {2}}":is {"{1, {2}}"}
  s:enter ":full":is {"{1, {2}}"}
end

-- 9 * 6 + 6 parameters, 96 * 10 + 10; 4 * 4 * 6 elements of 2 * 9 operations each are 1728.
local function networks(s)
  s:enter "net = nn.Sequential {nn.Conv2d {1, 6, kernel = 3}, nn.Flatten {}, nn.Dense {96, 10}}"
  s:enter "net"
  s:matches "^layer +output +parameters\nSequential\n +1  Conv2d {1, 6, kernel = 3} +60\n"
  s:matches "\n +3  Dense {96, 10} +970\ntotal +1,030$"
  s:enter "net:summary {1, 6, 6}":matches "Conv2d {1, 6, kernel = 3} +6 x 4 x 4 +60  1%.7 k\n"
end

local function times(s)
  s:enter ":time on":is {"times are shown"}
  s:enter "(mw.ones {500, 500} * 3):sum():item()"
  s:matches "^750000%.0\n[%d.]+ [mun]?s, .* kept, peak [%d.]+ MB, 1 program compiled$"
  s:enter ":time off":is {"times are not shown"}
  s:enter "1":is {"1"}
  s:enter ":bench x:matmul(x)"
  s:matches "^[%d.]+ [mun]s, the median of %d+ runs; half of them took .* to [%d.]+ [mun]s$"
end

-- ---- pictures ---------------------------------------------------------------------------------

-- The colour of a cell's upper and lower half, white ("w"), black or transparent ("b").
local function halves(cell)
  local function shade(numbers)
    if not numbers then return "b" end
    return (numbers:find "2;255;255;255" or numbers:find "5;231") and "w" or "b"
  end
  if cell.text == "▀" then return shade(cell.front), shade(cell.back) end
  if cell.text == "▄" then return shade(cell.back), shade(cell.front) end
  if cell.text == "█" or cell.text == "@" then return "w", "w" end
  return shade(cell.back), shade(cell.back)
end

-- A white square in the upper left and one in the lower right, 4 columns wide, in whatever way the
-- terminal shows it; then a caption.
local function squares(s)
  s:enter "squares = mw.tensor({{255, 0}, {0, 255}}, 'u8')"
  s:enter "show(squares, {scale = 4, captions = {'ab'}})"
  s:check(#s.answer == 5 and s.answer[5] == "ab", "four lines and the caption")
  local rows = s:cells()
  for y = 1, 4 do
    local upper, lower = "", ""
    for x = 1, 8 do
      local a, b = halves(rows[y][x] or {text = " "})
      upper, lower = upper .. a, lower .. b
    end
    local want = y <= 2 and "wwwwbbbb" or "bbbbwwww"
    s:check(upper == want and lower == want, ("row %d is %s and %s"):format(y, upper, lower))
  end
end

local function pictures(s)
  s:enter "digits = data.digits {n = 30}"
  s:enter "show(digits.x)"
  s:check(#s.answer >= s.rows // 2 and #s.answer < s.rows, "a batch fills the screen and fits")
  s:enter "show(digits.x[1])"
  s:check(#s.answer >= 10, "one image")
  s:enter "show(net[1].weight)"
  s:check(#s.answer >= 2, "six filters")
  s:enter "show(mw.ones {784})":has "t:reshape"
  local path = s.folder .. "/digits.png"
  s:enter("show(squares, {scale = 4, file = '" .. path .. "'});")
  local png = folder.contents(path)
  s:check(png:sub(1, 8) == PNG and table.concat({(">I4I4"):unpack(png, 17)}, " ", 1, 2) == "8 8",
    "a PNG file of 8 by 8 pixels")
end

-- ---- plots ------------------------------------------------------------------------------------

local function plots(s)
  local full = s.rows * 3 // 4
  s:enter "plot({1, 4, 9, 16}, {title = 'Squares', xlabel = 'of', ylabel = 'y'})"
  s:has("Squares", "of", "15")
  s:matches(s.utf8 and "\n10 ┤" or "\n10 %+")
  s:check(#s.answer >= full and #s.answer < s.rows, ("%d lines high"):format(#s.answer))
  s:check(s:widest() == s.columns, ("%d columns wide"):format(s:widest()))
  s:enter "plot {loss = {3, 2, 1}, valid = mw.tensor {4, 3, 2.5}}":has("loss", "valid")
  s:enter "plot({1, 10, 100}, {1, 10, 1000}, {log = true, height = 10})":has("1000", "100")
  s:check(#s.answer <= 12, "ten lines and the axis")
  s:enter "plot {1, 0/0, 3}":has "1 NaN left out"
  s:enter "hist(mw.tensor {1, 2, 2, 3, 3, 3})"
  s:has "6 elements, mean 2.333, std 0.7454, min 1, max 3"
  s:check(s:widest() <= s.columns and #s.answer < s.rows, "a histogram fits")
  s:enter "hist({1, 2, 2}, {bins = 2, log = true, title = 'Counted'})":has "Counted"
  s:enter "plot {}":has "there are no numbers to plot"
end

local function plot_files(s)
  local svg, png = s.folder .. "/p.svg", s.folder .. "/p.png"
  s:enter("plot({1, 2, 3}, {title = 'Three', file = '" .. svg .. "'});"):is {}
  local text = folder.contents(svg)
  s:check(text:find "^<%?xml" or text:find "^<svg", "an SVG file")
  s:check(text:find("Three", 1, true) and text:find "</svg>%s*$", "with the title")
  s:enter("hist({1, 2, 2}, {file = '" .. svg .. "'});"):is {}
  s:check(folder.contents(svg):find "3 elements", "a histogram's")
  s:enter("plot({1, 2, 3}, {file = '" .. png .. "'});")
  if has_converter then
    s:is {}
    s:check(folder.contents(png):sub(1, 8) == PNG, "a PNG file")
  end
end

-- Waits until the prompt knows the size that its terminal has now.
local function resize(s, columns, rows)
  s:resize(columns, rows)
  repeat s:enter "mw.core.terminal 'stdout'"
  until s.answer[1] == tostring(columns) and s.answer[2] == tostring(rows)
end

local function resizing(s)
  resize(s, s.columns - 20, s.rows - 4)
  s:enter "plot {1, 2}"
  s:check(s:widest() == s.columns - 20, ("%d columns of %d"):format(s:widest(), s.columns - 20))
  resize(s, s.columns, s.rows)
  s:enter "plot {2, 1}"
  s:check(s:widest() == s.columns, ("%d columns of %d"):format(s:widest(), s.columns))
end

everywhere.play {
  {"tensors: shape, range, what is no number, some elements", tensors},
  {":full", all_of_it},
  {"networks are tables", networks},
  {":time and :bench", times},
  {"a picture, pixel by pixel", squares},
  {"images, batches, filters, a PNG file", pictures},
  {"plots and histograms", plots},
  {"their files", plot_files},
  {"a terminal that is resized", resizing},
}

folder.remove()
t.done()
