-- look_image.lua: pictures of tensors: their pixels, in characters, as PNG files, in kitty's
-- protocol and as sixels, each read back by a small reader of its own.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local core = mw.core
local blocks = require "moonwalk.look.blocks"
local graphics = require "moonwalk.look.graphics"
local grid = require "moonwalk.look.grid"
local image = require "moonwalk.look.image"

-- What pictures are shown on.
local function device(options)
  local d = {columns = 80, rows = 24, colours = 0, utf8 = true, protocol = "blocks",
    cell = {10, 20}}
  for name, value in pairs(options or {}) do d[name] = value end
  return d
end

local function bytes_of(...) return string.char(...) end

-- The grey values of a picture of a tensor, in rows.
local function greys(x, width, height, range)
  local picture = grid.picture(grid.pictures("show", x), 1, width, height, range)
  local rows = {}
  for y = 1, height do
    rows[y] = {}
    for i = 1, width do
      local at = 3 * ((y - 1) * width + i) - 2
      local r, g, b = picture.rgb:byte(at, at + 2)
      rows[y][i] = r == g and g == b and r or {r, g, b}
    end
  end
  return rows, picture.marks
end

-- Pixels -----------------------------------------------------------------------------------------

do
  local x = mw.tensor({{0, 10, 20, 30}, {40, 50, 60, 70}}, "u8")
  t.is(greys(x, 4, 2), {{0, 10, 20, 30}, {40, 50, 60, 70}}, "bytes are what they are")
  t.is(greys(x, 2, 1), {{25, 45}}, "a smaller picture has means")
  t.is(greys(x, 8, 4)[4], {40, 40, 50, 50, 60, 60, 70, 70}, "a larger one repeats pixels")
  -- A third of a row: pixel 1 and a third of pixel 2; two thirds of 2 and of 3.
  t.is(greys(mw.tensor({{0, 30, 60, 90}}, "u8"), 3, 1), {{8, 45, 83}}, "pixels that are cut")
  t.is(greys(mw.tensor {{-1, 0, 3}}, 3, 1), {{0, 64, 255}}, "floats go from least to largest")
  t.is(greys(mw.tensor {{-1, 0, 3}}, 3, 1, {0, 2}), {{0, 0, 255}}, "or from one number to another")
  t.is(greys(mw.tensor({{true, false}}, "bool"), 2, 1), {{255, 0}}, "booleans")
  t.is(greys(mw.tensor {{2, 2}}, 2, 1), {{0, 0}}, "all the same")
  local rows, marks = greys(mw.tensor {{0, 0 / 0, 1 / 0}, {1, 2, -1 / 0}}, 3, 2)
  t.is({rows, marks}, {{{0, {255, 0, 255}, 255}, {128, 255, 0}}, "\0\1\0\0\0\0"},
    "what is no number is magenta, infinities are black and white")
  t.is(greys(mw.tensor {{0, 0 / 0, 1, 1}}, 2, 1), {{{255, 0, 255}, 255}}, "also in a mean")
  local colours = mw.tensor({{{255, 0}}, {{1, 2}}, {{3, 4}}}, "u8")
  t.is(greys(colours, 2, 1), {{{255, 1, 3}, {0, 2, 4}}}, "red, green and blue")
  local two = mw.arange(0, 7):reshape {2, 1, 2, 2}
  local pictures = grid.pictures("show", two)
  t.is({grid.picture(pictures, 2, 2, 2).rgb:byte(1, 12)}, {0, 0, 0, 85, 85, 85, 170, 170, 170, 255,
    255, 255}, "each picture has a range of its own")
  t.is({grid.picture(pictures, 2, 2, 2, "all").rgb:byte(1, 1)}, {math.floor(4 / 7 * 255 + 0.5)},
    "or that of all of them")
  pictures = grid.pictures("show", mw.arange(0, 15):reshape {1, 4, 4}, 1)
  t.is({grid.picture(pictures, 1, 2, 2, {0, 255}).rgb:byte(1, 12)}, {5, 5, 5, 6, 6, 6, 9, 9, 9, 10,
    10, 10}, "a margin is left out")
  for _, case in ipairs { -- shape, pictures, channels, in a row
    {{4, 5}, 1, 1}, {{1, 4, 5}, 1, 1}, {{3, 4, 5}, 1, 3}, {{7, 4, 5}, 7, 1}, {{2, 1, 4, 5}, 2, 1},
    {{2, 3, 4, 5}, 2, 3}, {{2, 6, 4, 5}, 12, 1, 6},
  } do
    pictures = grid.pictures("show", mw.zeros(case[1]))
    t.is({pictures.count, pictures.channels, pictures.across, pictures.height, pictures.width},
      {case[2], case[3], case[4], 4, 5}, "pictures of [" .. table.concat(case[1], ",") .. "]")
  end
  local place = {first = 0, plane = 4, stride = 2, height = 2, width = 2, channels = 1}
  for name, value in pairs {first = 1, plane = 1 << 62, stride = 1 << 62, height = 3, width = 0,
    channels = 2} do
    local other = setmetatable({[name] = value}, {__index = place})
    if name == "plane" then other.channels = 3 end
    t.error(function() core.picture(mw.zeros {2, 2}, other, 2, 2, 0, 1) end, "not all in",
      "pixels that are not there: " .. name)
  end
  place.stride, place.height = 0, 1 << 60
  t.error(function() core.picture(mw.zeros {2, 2}, place, 2, 2, 0, 1) end, "not all in",
    "more rows than there are elements")
  place.stride, place.height = 2, 2
  t.is(core.picture(mw.full({2, 2}, 1 / 0), place, 1, 1, 0, 1 / 0), "\0\0\0",
    "an infinite range has no shades")
end

-- Characters -------------------------------------------------------------------------------------

do
  local function lines(kind, rows, marks)
    local bytes, width = {}, #rows[1]
    for _, row in ipairs(rows) do
      for _, v in ipairs(row) do
        bytes[#bytes + 1] = type(v) == "table" and bytes_of(table.unpack(v)) or bytes_of(v, v, v)
      end
    end
    return blocks.lines({width = width, height = #rows, rgb = table.concat(bytes), marks = marks},
      kind)
  end
  t.is(lines("true", {{0, 255}, {{1, 2, 3}, 9}}),
    {"\27[38;2;0;0;0;48;2;1;2;3m▀\27[38;2;255;255;255;48;2;9;9;9m▀\27[0m"},
    "half blocks: the upper pixel in front, the lower one behind")
  t.is(lines("true", {{7, 7, 8}}), {"\27[38;2;7;7;7m▀▀\27[38;2;8;8;8m▀\27[0m"},
    "one row, and colours that stay")
  t.is(lines("256", {{0, 255}, {{255, 0, 0}, 128}}),
    {"\27[38;5;16;48;5;196m▀\27[38;5;231;48;5;244m▀\27[0m"}, "256 colours")
  t.is(lines("blank-256", {{0, 255}, {0, 255}}), {"\27[48;5;16m \27[48;5;231m \27[0m"},
    "blanks, where there are no half blocks")
  t.is(lines("blank-true", {{10, 255}, {20, 255}}),
    {"\27[48;2;15;15;15m \27[48;2;255;255;255m \27[0m"}, "which have the mean")
  t.is(lines("shades", {{0, 60, 110, 170, 255}, {0, 60, 110, 170, 255}}), {" ░▒▓█"}, "shades")
  t.is(lines("ascii", {{0, 30, 60, 80, 110, 140, 160, 190, 220, 255}}), {" .:-=+*#%@"}, "letters")
  t.is(lines("shades", {{{255, 0, 0}, {0, 255, 0}, {0, 0, 255}}}), {"░▒ "},
    "of colours their brightness: 76, 150 and 29")
  t.is(lines("ascii", {{0, 255}, {0, 255}}, "\0\0\1\0"), {"?@"}, "no number")
  t.is({blocks.kind(1 << 24, true), blocks.kind(256, true), blocks.kind(1 << 24, false),
    blocks.kind(256, false), blocks.kind(16, true), blocks.kind(0, true), blocks.kind(16, false)},
    {"true", "256", "blank-true", "blank-256", "shades", "shades", "ascii"}, "what is taken where")

  -- Against all colours that there are (xterm's 256colres.pl).
  local palette = {}
  local function level(i) return i == 0 and 0 or 55 + 40 * i end
  for i = 0, 215 do palette[16 + i] = {level(i // 36), level(i // 6 % 6), level(i % 6)} end
  for i = 0, 23 do palette[232 + i] = {8 + 10 * i, 8 + 10 * i, 8 + 10 * i} end
  local function far(c, r, g, b) return (c[1] - r) ^ 2 + (c[2] - g) ^ 2 + (c[3] - b) ^ 2 end
  local worse = 0
  math.randomseed(7)
  for _ = 1, 2000 do
    local r, g, b = math.random(0, 255), math.random(0, 255), math.random(0, 255)
    if _ % 4 == 0 then g, b = r, r end
    local best = math.huge
    for _, c in pairs(palette) do best = math.min(best, far(c, r, g, b)) end
    if far(palette[blocks.colour_256(r, g, b)], r, g, b) > best then worse = worse + 1 end
  end
  t.is(worse, 0, "the nearest of 256 colours")
end

-- In the terminal --------------------------------------------------------------------------------

do
  local function text(x, options, on) return image.text(x, options, device(on)) end
  local cross = mw.tensor({{255, 0, 255}, {255, 0, 255}, {0, 255, 0}, {0, 255, 0}}, "u8")
  t.is(text(cross, {scale = 1}), "█ █\n █", "a picture")
  t.is(text(cross, {scale = 1}, {utf8 = false}), "@ @\n @", "in ASCII")
  t.is(text(cross, {scale = 2}), "██  ██\n██  ██\n  ██\n  ██", "enlarged")
  t.is(text(mw.ones({2, 4, 2}, "u8") * 255, {scale = 1, captions = {"a", 12}}),
    "██  ██\n██  ██\na   12", "two, with captions")
  t.is(text(mw.ones({2, 4, 2}, "u8") * 255, {scale = 1, captions = mw.tensor({3, 4}, "i64")})
    :match "[^\n]*$", "3   4", "labels as captions")
  t.is(text(mw.ones({3, 1, 2, 1}, "u8") * 255, {scale = 1, columns = 2}), "█  █\n\n█",
    "so many side by side")
  t.is(text(mw.ones({2, 2, 2, 1}, "u8") * 255, {scale = 1}), "█  █\n\n█  █", "channels in a row")
  local shown = text(mw.ones({40, 1, 28, 28}, "u8") * 255)
  t.ok(shown:find "\n10 of 40 pictures, 28 x 28 pixels reduced to 14 x 14$",
    "as many as fit, and said so: " .. shown:match "[^\n]*$")
  shown = text(mw.zeros({480, 640}, "u8"))
  t.is(shown:match "[^\n]*$", "640 x 480 pixels reduced to 56 x 42", "a large one is reduced")
  t.is(text(mw.tensor {{0, 0 / 0}, {1, 0 / 0}}, {scale = 1}), "▒?\nNaN is shown as ?", "no numbers")
  t.ok(text(mw.tensor {{0, 0 / 0}}, {scale = 1}, {colours = 1 << 24})
    :find "255;0;255.*NaN is magenta", "in colours")
  t.is(text(mw.ones({1, 8}, "u8") * 255), ("█"):rep(16), "small ones are enlarged")

  -- Nothing is wider or higher than there is room for.
  local worst_width, worst_height = -100, -100
  for _, size in ipairs {{80, 24}, {120, 40}, {30, 10}} do
    for _, shape in ipairs {{28, 28}, {64, 28, 28}, {9, 1, 28, 28}, {9, 3, 32, 32}, {16, 6, 5, 5},
      {16, 64, 3, 3}, {2, 1000}, {1000, 2}, {1, 1}, {3, 600, 500}, {5, 1, 300, 10}} do
      for _, colours in ipairs {0, 256} do
        local on = {columns = size[1], rows = size[2], colours = colours}
        for _, options in ipairs {{}, {scale = 3}, {columns = 4}, {captions = {"a long one"}}} do
          local rows = 0
          for line in (text(mw.zeros(shape, "u8"), options, on) .. "\n"):gmatch "([^\n]*)\n" do
            rows = rows + 1
            line = line:gsub("[\xc2-\xf4][\x80-\xbf]*", "x")
            worst_width = math.max(worst_width, core.width(line) - size[1])
          end
          worst_height = math.max(worst_height, rows - size[2] + 2)
        end
      end
    end
  end
  t.ok(worst_width <= 0 and worst_height <= 0, ("pictures fit: %d, %d"):format(worst_width,
    worst_height))
end

-- PNG --------------------------------------------------------------------------------------------

-- The CRC of PNG (its specification, annex D), a bit at a time.
local function crc(bytes)
  local c = 0xffffffff
  for i = 1, #bytes do
    c = c ~ bytes:byte(i)
    for _ = 1, 8 do c = c & 1 == 1 and 0xedb88320 ~ c >> 1 or c >> 1 end
  end
  return c ~ 0xffffffff
end

local function adler(bytes)
  local a, b = 1, 0
  for i = 1, #bytes do
    a = (a + bytes:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return b << 16 | a
end

-- What a PNG file without filters holds: width, height, channels, the pixels' bytes; or why not.
local function read_png(bytes)
  if bytes:sub(1, 8) ~= "\x89PNG\r\n\26\n" then return nil, "no PNG" end
  local at, chunks, names = 9, {}, {}
  while at <= #bytes do
    local length, name = string.unpack(">I4c4", bytes, at)
    local data = bytes:sub(at + 8, at + 7 + length)
    if crc(name .. data) ~= string.unpack(">I4", bytes, at + 8 + length) then return nil, "CRC" end
    names[#names + 1], chunks[name], at = name, data, at + 12 + length
  end
  if table.concat(names, " ") ~= "IHDR IDAT IEND" then return nil, table.concat(names, " ") end
  local width, height, depth, kind, packing, filter, interlace = string.unpack(">I4I4BBBBB",
    chunks.IHDR)
  if depth ~= 8 or packing + filter + interlace > 0 then return nil, "form" end
  local channels = ({[0] = 1, [2] = 3, [4] = 2, [6] = 4})[kind]
  local row, data = width * channels, chunks.IDAT
  if string.unpack(">I2", data) % 31 ~= 0 then return nil, "zlib" end
  local raw, rows = core.inflate(data:sub(3, -5), (row + 1) * height), {}
  if not raw or adler(raw) ~= string.unpack(">I4", data:sub(-4)) then return nil, "Adler" end
  for y = 0, height - 1 do
    if raw:byte(y * (row + 1) + 1) ~= 0 then return nil, "filter" end
    rows[y + 1] = raw:sub(y * (row + 1) + 2, (y + 1) * (row + 1))
  end
  return width, height, channels, table.concat(rows)
end

local function random_bytes(n)
  local list = {}
  for i = 1, n do list[i] = string.char(math.random(0, 255)) end
  return table.concat(list)
end

do
  t.is(crc "123456789", 0xcbf43926, "the test's CRC is right (its check value)")
  for channels = 1, 4 do
    local bytes = random_bytes(7 * 5 * channels)
    t.is({read_png(core.png(bytes, 7, 5, channels))}, {7, 5, channels, bytes},
      ("a PNG of %d channels"):format(channels))
  end
  for _, case in ipairs {{7, 5, 2}, {0, 0, 1}, {70, 1, 5}, {-7, -10, 1}, {1 << 62, 4, 1}} do
    t.error(function() core.png(("x"):rep(69), table.unpack(case)) end, "are not",
      "no such pixels: " .. table.concat(case, " "))
  end

  local x = mw.uniform({3, 9, 11}, 0, 255):floor():cast "u8"
  local planes = x:totable()
  local function of_file(tensor, options)
    options = options or {}
    options.file = folder.path .. "/x.png"
    t.is(mw.show(tensor, options), options.file, "a file is written")
    return folder.contents(options.file)
  end
  local _, _, channels, bytes = read_png(of_file(x))
  t.is(channels, 3, "colours in three channels")
  local same = true
  for y = 1, 9 do
    for i = 1, 11 do
      local at = 3 * ((y - 1) * 11 + i) - 2
      local r, g, b = bytes:byte(at, at + 2)
      same = same and r == planes[1][y][i] and g == planes[2][y][i] and b == planes[3][y][i]
    end
  end
  t.ok(same, "the same pixels")
  local set, why = mw.data.images(folder.path)
  if set then
    t.is(set.x:totable()[1], planes, "which libpng reads, too")
    of_file(x[1])
    t.is(mw.data.images(folder.path).x:totable(), {{planes[1]}}, "and grey")
    of_file(x[1]:reshape {1, 9, 11}, {scale = 2})
    t.is(mw.data.images(folder.path).x.shape, {1, 1, 18, 22}, "and enlarged")
  else
    t.skip("reading it by libpng", why)
  end
  t.is(select(3, read_png(of_file(x[1]))), 1, "grey in one channel")
  local width, height, four, grid_bytes = read_png(of_file(mw.ones({5, 1, 4, 3}, "u8") * 255))
  t.is({width, height, four}, {3 * 3 + 2 * 2, 2 * 4 + 2, 4}, "five pictures, three side by side")
  t.is({grid_bytes:byte(1, 4)}, {255, 255, 255, 255}, "pixels are opaque")
  t.is({grid_bytes:byte(13, 16)}, {0, 0, 0, 0}, "what is between them is transparent")
  t.is({grid_bytes:byte(-4, -1)}, {0, 0, 0, 0}, "also where a picture is missing")
  t.is((read_png(of_file(mw.zeros {4, 2, 3, 3}))), 3 * 2 + 2, "channels stand in rows")
  t.is(select(3, read_png(of_file(mw.tensor {{0, 0 / 0}}))), 3, "what is no number has a colour")
  t.is((mw.show(x, {file = folder.path .. "/none/x.png"})), nil, "a folder that is not there")
  t.ok(select(2, mw.show(x, {file = folder.path .. "/none/x.png"})):find "none/x.png", "is named")
end

-- Terminals that draw pixels ---------------------------------------------------------------------

do
  t.is({core.base64 "", core.base64 "f", core.base64 "fo", core.base64 "foo", core.base64 "foobar"},
    {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFy"}, "base 64 (RFC 4648, 10)")
  local VALUES = {}
  for i = 0, 255 do
    local digit = core.base64(string.char(0, 0, i)):sub(4)
    if i < 64 then VALUES[digit] = i end
  end
  local function decode(text)
    return (text:gsub("(.)(.)(.)(.)", function(a, b, c, d)
      local n = VALUES[a] << 18 | VALUES[b] << 12 | (VALUES[c] or 0) << 6 | (VALUES[d] or 0)
      return string.pack(">I3", n):sub(1, c == "=" and 1 or d == "=" and 2 or 3)
    end))
  end
  local noise = random_bytes(1000)
  t.is(decode(core.base64(noise)), noise, "a thousand bytes")

  local rgba = random_bytes(60 * 40 * 4)
  local text = graphics.draw("kitty", rgba, 60, 40, 6, 2)
  t.is(text:sub(1, 8), "\n\n\27[2A\0277", "room is made, and the place kept")
  t.is(text:sub(-6), "\0278\27[B\r", "and found again")
  local parts, keys, longest = {}, {}, 0
  for key, part in text:gmatch "\27_G([^;]*);([^\27]*)\27\\" do
    keys[#keys + 1], parts[#parts + 1] = key, part
    longest = math.max(longest, #part)
  end
  t.ok(#parts > 2 and longest == 4096, ("%d pieces of at most 4096 letters"):format(#parts))
  t.is(keys[1], "a=T,f=100,q=2,C=1,c=6,r=2,m=1", "a PNG, drawn over 6 columns and 2 lines")
  t.is({keys[2], keys[#keys]}, {"q=2,m=1", "q=2,m=0"}, "more follows, and no more")
  t.is({read_png(decode(table.concat(parts)))}, {60, 40, 4, rgba}, "the pixels are those")
end

-- A picture of sixels: width, height, and the colour of each pixel in per cent, nil where none is
-- drawn. By DEC's manual: #n;2;r;g;b a colour, #n takes it, !n repeats, $ to the left, - down.
local function read_sixels(text)
  local width, height, body = text:match '^\27P0;1q"1;1;(%d+);(%d+)(.*)\27\\$'
  local colours, pixels, x, y, colour, at = {}, {}, 0, 0, nil, 1
  local function draw(character, count)
    local bits = character:byte() - 63
    for i = x, x + count - 1 do
      for k = 0, 5 do
        if bits >> k & 1 == 1 then pixels[(y + k) * width + i + 1] = colour end
      end
    end
    x = x + count
  end
  while at <= #body do
    local number, r, g, b, behind = body:match("^#(%d+);2;(%d+);(%d+);(%d+)()", at)
    if number then
      colours[number] = {tonumber(r), tonumber(g), tonumber(b)}
    else
      number, behind = body:match("^#(%d+)()", at)
      if number then colour = colours[number] end
    end
    if not behind then
      local count, character, after = body:match("^!(%d+)([?-~])()", at)
      local sign = body:sub(at, at)
      if count then draw(character, tonumber(count))
      elseif sign == "$" then x = 0
      elseif sign == "-" then x, y = 0, y + 6
      elseif sign:find "[?-~]" then draw(sign, 1)
      else return nil, "unexpected " .. sign end
      behind = after or at + 1
    end
    at = behind
  end
  return tonumber(width), tonumber(height), pixels
end

do
  local function check(name, rgba, width, height)
    local w, h, pixels = read_sixels(core.sixel(rgba, width, height))
    local worst, wrong = 0, 0
    for i = 1, width * height do
      local r, g, b, a = rgba:byte(4 * i - 3, 4 * i)
      local got = pixels[i]
      if a < 128 or not got then
        wrong = wrong + (a < 128 and not got and 0 or 1)
      else
        for k, v in ipairs {r, g, b} do worst = math.max(worst, math.abs(got[k] - v / 2.55)) end
      end
    end
    t.ok(w == width and h == height and wrong == 0 and worst <= 0.51,
      ("%s: %.2f per cent off at most"):format(name, worst))
  end
  check("one pixel", "\255\0\128\255", 1, 1)
  local parts = {}
  for i = 0, 255 do parts[i + 1] = string.char(i, i, i, 255) end
  check("all greys", table.concat(parts), 32, 8)
  for i = 0, 20 * 13 - 1 do
    parts[i + 1] = string.char(i % 3 * 100, i % 5 * 50, i % 2 * 255, i % 7 > 0 and 255 or 0)
  end
  check("colours, and holes", table.concat(parts, "", 1, 20 * 13), 20, 13)
  check("nothing", ("\0"):rep(4 * 12), 4, 3)

  -- Too many colours: each is one of a few, and their mean is right.
  local width, height, list, sums = 64, 48, {}, {0, 0, 0}
  for y = 0, height - 1 do
    for x = 0, width - 1 do
      local c = {x * 4, y * 5, 255 - x * 2 - y}
      for k = 1, 3 do sums[k] = sums[k] + c[k] / 2.55 end
      list[#list + 1] = string.char(c[1], c[2], c[3], 255)
    end
  end
  local _, _, pixels = read_sixels(core.sixel(table.concat(list), width, height))
  local got, seen, many = {0, 0, 0}, {}, 0
  for i = 1, width * height do
    for k = 1, 3 do got[k] = got[k] + pixels[i][k] end
    if not seen[pixels[i]] then seen[pixels[i]], many = true, many + 1 end
  end
  t.ok(many <= 256, many .. " colours of 3072")
  for k = 1, 3 do got[k], sums[k] = got[k] / #list, sums[k] / #list end
  t.near(got, sums, 1, "their mean is right")
  for _, case in ipairs {{3, 2}, {0, 0}, {-2, -2}, {1 << 40, 1}} do
    t.error(function() core.sixel(("x"):rep(16), case[1], case[2]) end, "are not",
      "no such pixels: " .. table.concat(case, " "))
  end

  for answer, has in pairs {["\27[?62;4;6c"] = true, ["\27[?1;2;4c"] = true, ["\27[?1;2c"] = false,
    ["\27[?64;14;44c"] = false, [""] = false, ["4c"] = false} do
    t.is(graphics.tells_sixels(answer), has, ("a terminal that answers %q"):format(answer))
  end
  t.ok(core.terminal "stdout" or core.ask_terminal("\27[c", "c", 10) == nil,
    "what is no terminal is not asked")

  -- A tensor's pixels, over its characters.
  local x = mw.tensor({{0, 255}, {255, 51}}, "u8")
  local text = image.text(x, {scale = 2}, device {protocol = "sixel", cell = {3, 6}})
  local body = text:match "\27P.*\27\\"
  t.is(text:gsub("\27P.*\27\\", "#"), "\n\n\27[2A\0277#\0278\27[B\r", "over two lines")
  local w, h, drawn = read_sixels(body)
  t.is({w, h, drawn[1][1], drawn[7][1], drawn[12 * 11 + 12][1]}, {12, 12, 0, 100, 20},
    "each pixel has become six by six")
  text = image.text(mw.zeros({2, 1, 4, 4}, "u8"), {scale = 1, captions = {"a", "b"}},
    device {protocol = "kitty"})
  t.ok(text:find "c=10,r=2," and text:find "\27%[B\r\na     b$", "two pictures and their captions")
  t.ok(not image.text(mw.zeros({300, 300}, "u8"), nil, device {protocol = "kitty"}):find "reduced",
    "where pixels are drawn, being smaller is not worth a word")
end

-- What is wrong ----------------------------------------------------------------------------------

for _, case in ipairs {
  {"show: t is nil, expected pictures: a tensor [h,w], [1,h,w], [3,h,w], [n,h,w] or [n,c,h,w]"},
  {"t is a tensor f32[10]", mw.zeros {10}}, {"; plot(t) draws a curve", mw.zeros {10}},
  {"t:reshape {28, 28} makes one of it", mw.zeros {784}},
  {"t is a tensor f32[]", mw.zeros {}},
  {"t is a tensor f32[1,1,1,2,2], expected pictures: a tensor [h,w], [1,h,w], [3,h,w], [n,h,w] or "
    .. "[n,c,h,w]; an index takes one of the first axis: t[1]", mw.zeros {1, 1, 1, 2, 2}},
  {"show: f32[0,4,4] has no pixels", mw.zeros {0, 4, 4}},
  {"its weights can be shown", mw.nn.Conv2d {1, 6, kernel = 5}},
  {"the tensor x of it may be some", mw.data.digits {n = 3}},
  {"mw.tensor(t) makes a tensor of numbers", {{1, 2}, {3, 4}}},
  {'show: there is no option "colums", did you mean "columns"?', mw.zeros {2, 2}, {colums = 3}},
  {'show: range is a table, expected "all" or two numbers', mw.zeros {2, 2}, {range = {1, 0}}},
  {"show: range is 3", mw.zeros {2, 2}, {range = 3}},
  {"show: scale is 0, expected a whole number of at least 1", mw.zeros {2, 2}, {scale = 0}},
  {"show: columns is 1.5", mw.zeros {2, 2}, {columns = 1.5}},
  {'show: captions is "a", expected a list of texts', mw.zeros {2, 2}, {captions = "a"}},
  {'show: file is "x.jpg", expected a name that ends in .png', mw.zeros {2, 2}, {file = "x.jpg"}},
  {"captions go to the terminal", mw.zeros {2, 2}, {file = "x.png", captions = {"a"}}},
  {"the file would have 9010 x 3000 pixels", mw.zeros {6, 3000, 1500}, {file = "x.png",
    columns = 6}},
} do
  t.refuses(case[1], mw.show, case[2], case[3])
end

folder.remove()
t.done()
