-- images.lua: folders of PNG and JPEG files as data sets: pixels, classes, sizes, damage.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local data, core = mw.data, mw.core

local function make(path) assert(os.execute(("mkdir -p '%s/%s'"):format(folder.path, path))) end

-- A PNG by its definition (W3C, "PNG specification"), its data stored and not compressed. kind is 0
-- for grey, 2 for colour, 4 and 6 for these with transparency; rows are strings.
local function png(width, rows, kind, depth)
  local raw = {}
  for i, row in ipairs(rows) do raw[i] = "\0" .. row end
  raw = table.concat(raw)
  local a, b = 1, 0
  for i = 1, #raw do
    a = (a + raw:byte(i)) % 65521
    b = (b + a) % 65521
  end
  local function chunk(name, bytes)
    return string.pack(">I4", #bytes) .. name .. bytes .. string.pack(">I4",
      core.crc32(name .. bytes))
  end
  return "\x89PNG\r\n\26\n"
    .. chunk("IHDR", string.pack(">I4I4BBBBB", width, #rows, depth or 8, kind, 0, 0, 0))
    .. chunk("IDAT", "\x78\1" .. string.pack("<BI2I2", 1, #raw, ~#raw & 0xffff) .. raw
      .. string.pack(">I4", b << 16 | a)) .. chunk("IEND", "")
end

local red_blue = png(2, {"\255\0\0\0\0\255", "\1\2\3\4\5\6", "\7\8\9\10\11\12"}, 2)
local grey = png(3, {"\0\100\255", "\1\2\3"}, 0)

-- 16 x 8 pixels, the left half 200, 40, 30, the right half 20, 60, 220, as libjpeg 6b's interface
-- writes them with quality 90.
local jpeg = (""
  .. "ffd8ffdb0043000302020302020303030304030304050805050404050a070706080c0a0c0c0b0a0b0b0d0e1210"
  .. "0d0e110e0b0b1016101113141515150c0f171816141812141514ffdb00430103040405040509050509140d0b0d"
  .. "141414141414141414141414141414141414141414141414141414141414141414141414141414141414141414"
  .. "1414141414ffc00011080008001003011100021101031101ffc400150001010000000000000000000000000000"
  .. "0607ffc40014100100000000000000000000000000000000ffc400160101010100000000000000000000000000"
  .. "090708ffc40014110100000000000000000000000000000000ffda000c03010002110311003f0089254db00e4f"
  .. "467bffd9"):gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)

folder.put("probe.png", grey)
local probe, why = data.images(folder.path)
if not probe and why:find "was not there when Moonwalk was built" then
  t.skip("pictures", why)
  folder.remove()
  t.done()
end
os.remove(folder.path .. "/probe.png")

-- Pixels ------------------------------------------------------------------------------------------

do
  make "colour/cats"
  make "colour/dogs"
  folder.put("colour/cats/b.png", red_blue)
  folder.put("colour/cats/a.PNG", png(2, {("\0"):rep(6), ("\0"):rep(6), ("\0"):rep(6)}, 2))
  folder.put("colour/dogs/x.png", red_blue)
  folder.put("colour/dogs/notes.txt", "no picture")
  folder.put("colour/dogs/.hidden.png", "neither")
  local set = assert(data.images(folder.path .. "/colour"))
  t.is({set.x.dtype, set.x.shape, set.y.dtype, set.y:totable(), set.classes, set.name},
    {"u8", {3, 3, 3, 2}, "i64", {0, 0, 1}, {"cats", "dogs"}, "colour"}, "a folder for each class")
  t.is(set.x:totable()[3], {{{255, 0}, {1, 4}, {7, 10}}, {{0, 0}, {2, 5}, {8, 11}},
    {{0, 255}, {3, 6}, {9, 12}}}, "the pixels of a PNG, colour by colour")
  t.is(set.x:totable()[1][1], {{0, 0}, {0, 0}, {0, 0}}, "files in the order of their names")
  local one = assert(data.images(folder.path .. "/colour/", {classes = {"dogs", "cats"}, n = 1}))
  t.is({one.y:totable(), one.classes, one.name}, {{0, 1}, {"dogs", "cats"}, "colour"},
    "classes in an order of one's own, one of each")
  t.is(#set:batches {size = 2} ().x:totable(), 2, "batches of them")

  make "grey"
  folder.put("grey/1.png", grey)
  local greys = assert(data.images(folder.path .. "/grey"))
  t.is({greys.x:totable(), greys.y}, {{{{{0, 100, 255}, {1, 2, 3}}}}}, "grey, and without classes")
  t.is(data.images(folder.path .. "/grey", {channels = 3}).x:totable()[1][3],
    {{0, 100, 255}, {1, 2, 3}}, "grey as colour")
  make "other"
  folder.put("other/1.png", png(2, {"\0\255\200\0", "\0\128\9\255"}, 4))
  t.near(data.images(folder.path .. "/other").x:totable()[1][1], {{0, 255}, {188, 9}}, 3,
    "what is transparent is laid on white, in linear light")
  folder.put("other/1.png", png(2, {"\0\0\128\128", "\255\255\1\0"}, 0, 16))
  t.near(data.images(folder.path .. "/other").x:totable()[1][1], {{0, 128}, {255, 1}}, 1,
    "16 bits become 8")

  make "photos"
  folder.put("photos/1.jpeg", jpeg)
  local photos = assert(data.images(folder.path .. "/photos"))
  t.is(photos.x.shape, {1, 3, 8, 16}, "a JPEG")
  local worst, want = 0, {{200, 20}, {40, 60}, {30, 220}}
  for c, plane in ipairs(photos.x:totable()[1]) do
    for _, row in ipairs(plane) do
      for j, v in ipairs(row) do
        worst = math.max(worst, math.abs(v - want[c][j <= 8 and 1 or 2]))
      end
    end
  end
  t.ok(worst <= 3, ("its pixels are %d off at most"):format(worst))
  -- 0.299 r + 0.587 g + 0.114 b (ITU-R BT.601)
  t.near(data.images(folder.path .. "/photos", {channels = 1}).x:totable()[1][1][1][1], 86.7, 2,
    "a JPEG in grey")
end

-- Sizes -------------------------------------------------------------------------------------------

do
  make "sizes"
  folder.put("sizes/1.png", png(4, {"\0\10\20\30", "\40\50\60\70"}, 0))
  local function sized(size)
    return assert(data.images(folder.path .. "/sizes", {size = size})).x:totable()[1][1]
  end
  t.is(sized {2, 4}, {{0, 10, 20, 30}, {40, 50, 60, 70}}, "its own size")
  t.is(sized {1, 2}, {{25, 45}}, "half of it: the mean of what a pixel covers")
  t.is(sized(2), {{10, 20}, {50, 60}}, "a square is cut from the middle")
  t.is(sized(1), {{35}}, "one pixel of that square")
  t.is(sized {4, 8}[1], {0, 3, 8, 13, 18, 23, 28, 30}, "twice of it: interpolated")
  folder.put("sizes/2.png", png(3, {"\0\30\60", "\0\30\60", "\0\30\60"}, 0))
  local both = assert(data.images(folder.path .. "/sizes", {size = {2, 2}}))
  t.is(both.x:totable()[2][1], {{10, 50}, {10, 50}}, "three pixels as two")
end

-- What is wrong -----------------------------------------------------------------------------------

for _, case in ipairs {
  {"sizes", nil, "2.png: it is 3 pixels high and 3 wide, the first one 2 and 4; size = {height, "},
  {"none", nil, "none: No such file"},
  {"colour", {classes = {"cats", "birds"}}, "birds: No such file"},
  {"colour/dogs/notes.txt", nil, "Not a directory"},
} do
  local set, message = data.images(folder.path .. "/" .. case[1], case[2])
  t.ok(set == nil and message:find(case[3], 1, true), case[3])
end
make "empty/class"
t.ok(select(2, data.images(folder.path .. "/empty")):find "class: it has no .png, .jpg or .jpeg",
  "a class without pictures")
t.ok(select(2, data.images(folder.path .. "/empty/class")):find "it has neither folders nor",
  "an empty folder")
for _, case in ipairs {
  {"data.images: the folder is nil", function() data.images() end},
  {'there is no option "sise", did you mean "size"', function() data.images("x", {sise = 3}) end},
  {"data.images: the height of size is 0", function() data.images("x", {size = 0}) end},
  {"data.images: the width of size is nil", function() data.images("x", {size = {3}}) end},
  {"data.images: channels is 2, expected 1 or 3", function() data.images("x", {channels = 2}) end},
  {"data.images: classes is a table", function() data.images("x", {classes = {}}) end},
} do
  t.refuses(case[1], case[2])
end

make "bad"
for name, bytes in pairs {
  ["an empty file"] = "", ["text"] = "hello", ["a PNG's beginning"] = red_blue:sub(1, 20),
  ["a PNG cut short"] = red_blue:sub(1, -30), ["a JPEG's beginning"] = jpeg:sub(1, 40),
  ["a JPEG cut short"] = jpeg:sub(1, -8), ["a PNG of 2^31 pixels"] = png(1 << 15, {}, 0)
    :gsub("\0\0\128\0\0\0\0\0", "\0\0\255\255\0\0\255\255"),
} do
  folder.put("bad/1.png", bytes)
  local set, message = data.images(folder.path .. "/bad")
  t.ok(set == nil and message:find(folder.path .. "/bad/1.png: ", 1, true),
    name .. ": " .. tostring(message):match "[^/]*$")
end
do -- Damaged bytes.
  local tried, files = 0, {red_blue, jpeg}
  for _, bytes in ipairs(files) do
    for i = 1, #bytes do
      local flipped = string.char(bytes:byte(i) ~ (1 << i % 8))
      folder.put("bad/1.png", bytes:sub(1, i - 1) .. flipped .. bytes:sub(i + 1))
      local set, message = data.images(folder.path .. "/bad")
      folder.put("bad/1.png", bytes:sub(1, i - 1))
      local cut, reason = data.images(folder.path .. "/bad")
      tried = tried + ((set or message) and (cut or reason) and 1 or 0)
    end
  end
  t.is(tried, #red_blue + #jpeg, "damaged bytes give an error or a set")
end

folder.remove()
t.done()
