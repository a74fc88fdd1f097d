-- image.lua: mw.show: the pictures of a tensor in the terminal, or in a file.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local blocks = require "moonwalk.look.blocks"
local graphics = require "moonwalk.look.graphics"
local grid = require "moonwalk.look.grid"
local screen = require "moonwalk.look.screen"

local image = {}

---@class moonwalk.ShowOptions
---@field range number[]|"all"|nil  {lo, hi}: what is black and what is white, or "all": the least
---  and the largest of all values; else those of each picture, and 0 and 255 of u8
---@field scale integer?  by which pictures are enlarged
---@field columns integer?  pictures side by side
---@field captions any[]|moonwalk.Tensor|nil  what stands below each picture
---@field file string?  a PNG file to write, in place of the terminal

---@class moonwalk.Device  what a picture is shown on
---@field columns integer
---@field rows integer
---@field colours integer
---@field utf8 boolean
---@field protocol "kitty"|"sixel"|"blocks"
---@field cell integer[]?  the pixels of a character: width, height

local WHERE = "show"
local GAP = 2 -- columns between pictures
local BELOW = 3 -- rows that are left to what follows
local LEAST, LEAST_PIXELS = 14, 6 -- columns of a picture of a grid, in characters and in pixels
local MOST_PIXELS = 1 << 24 -- of a file

-- ---- options ----------------------------------------------------------------------------------

local function check_range(range)
  if range == nil or range == "all" then return end
  local is_pair = type(range) == "table" and #range == 2 and type(range[1]) == "number"
    and type(range[2]) == "number" and range[1] < range[2]
  if not is_pair then
    check.fail(WHERE, "range", range, '"all" or two numbers, the smaller one first, such as {0, 1}')
  end
end

-- Captions as texts; a tensor of labels is taken too.
local function read_captions(captions, count)
  if captions == nil then return nil end
  if core.is_tensor(captions) and captions.rank == 1 then captions = captions:totable() end
  if type(captions) ~= "table" then
    check.fail(WHERE, "captions", captions, "a list of texts, or a tensor [n] of labels")
  end
  local texts = {}
  for i = 1, math.min(count, #captions) do
    texts[i] = tostring(captions[i]):gsub("%c", " ")
  end
  return texts
end

local function read_options(options)
  options = check.options(WHERE, options, {"range", "scale", "columns", "captions", "file"})
  check_range(options.range)
  if options.scale ~= nil then check.integer(WHERE, "scale", options.scale, 1) end
  if options.columns ~= nil then check.integer(WHERE, "columns", options.columns, 1) end
  if options.file ~= nil then
    check.path(WHERE, "file", options.file)
    if not options.file:lower():find "%.png$" then
      check.fail(WHERE, "file", options.file, "a name that ends in .png")
    elseif options.captions then
      core.error "show: captions go to the terminal, a file has none; leave them out"
    end
  end
  return options
end

-- ---- in the terminal --------------------------------------------------------------------------

---The terminal that standard output is.
---@return moonwalk.Device
function image.device()
  local columns, rows = screen.size()
  return {
    columns = columns, rows = rows, colours = screen.colours(), utf8 = screen.utf8(),
    protocol = graphics.protocol(), cell = {graphics.cell()},
  }
end

-- A row of pictures as lines of characters.
local function block_lines(row, device)
  local kind, lines = blocks.kind(device.colours, device.utf8), {}
  for i, picture in ipairs(row) do
    for y, text in ipairs(blocks.lines(picture, kind)) do
      lines[y] = i > 1 and lines[y] .. (" "):rep(GAP) .. text or text
    end
  end
  if device.colours >= 256 then return lines end
  for y, text in ipairs(lines) do lines[y] = text:gsub(" +$", "") end
  return lines
end

-- A row of pictures as what draws its pixels; the pictures are as large as their characters.
local function pixel_lines(row, arrangement, device)
  local lines = (arrangement.height + 1) // 2
  local columns = #row * (arrangement.width + GAP) - GAP
  local height = lines * device.cell[2]
  local width = columns * device.cell[1]
  local rgba = graphics.join(row, GAP * device.cell[1], width, height)
  return {graphics.draw(device.protocol, rgba, width, height, columns, lines)}
end

-- The captions of a row, each as wide as its picture.
local function caption_line(captions, indices, width)
  local parts = {}
  for k, i in ipairs(indices) do
    parts[k] = screen.pad(screen.cut(captions[i] or "", width), width)
  end
  return (table.concat(parts, (" "):rep(GAP)):gsub(" +$", ""))
end

-- What one should know of what is not shown as it is.
local function notes(pictures, arrangement, device, broken)
  local list = {}
  if arrangement.shown < pictures.count then
    list[1] = ("%d of %d pictures"):format(arrangement.shown, pictures.count)
  end
  local is_reduced = arrangement.width < pictures.width or arrangement.height < pictures.height
  if is_reduced and device.protocol == "blocks" then
    list[#list + 1] = ("%d x %d pixels reduced to %d x %d"):format(pictures.width, pictures.height,
      arrangement.width, arrangement.height)
  end
  if broken then
    list[#list + 1] = "NaN is " .. ((device.colours >= 256 or device.protocol ~= "blocks")
      and "magenta" or "shown as ?")
  end
  if #list == 0 then return nil end
  local text = screen.cut(table.concat(list, ", "), device.columns)
  return device.colours > 0 and ("\27[2m%s\27[0m"):format(text) or text
end

---The text that shows the pictures of a tensor.
---@param t moonwalk.Tensor
---@param options moonwalk.ShowOptions?
---@param device moonwalk.Device? else the terminal
---@param margin integer? pixels that are left out on all sides
---@return string
function image.text(t, options, device, margin)
  options, device = read_options(options), device or image.device()
  local pictures = grid.pictures(WHERE, t, margin)
  local captions = read_captions(options.captions, pictures.count)
  local arrangement = grid.arrange(pictures, {
    columns = device.columns, rows = math.max(device.rows - BELOW, 2), gap = GAP,
    halves = device.protocol ~= "blocks" or device.colours >= 256 and device.utf8,
    captions = captions ~= nil, least = device.protocol == "blocks" and LEAST or LEAST_PIXELS,
    scale = options.scale, across = options.columns,
  })
  local width, height, broken, lines = arrangement.width, arrangement.height, false, {}
  if device.protocol ~= "blocks" then
    width, height = width * device.cell[1], height * device.cell[2] // 2
  end
  for r = 1, arrangement.down do
    local row, indices = {}, {}
    for c = 1, arrangement.across do
      indices[c] = arrangement.at(r, c)
      row[c] = indices[c] and grid.picture(pictures, indices[c], width, height, options.range)
      broken = broken or row[c] and row[c].marks ~= nil
    end
    local texts = device.protocol == "blocks" and block_lines(row, device)
      or pixel_lines(row, arrangement, device)
    if r > 1 then lines[#lines + 1] = "" end
    table.move(texts, 1, #texts, #lines + 1, lines)
    if captions then lines[#lines + 1] = caption_line(captions, indices, arrangement.width) end
  end
  lines[#lines + 1] = notes(pictures, arrangement, device, broken)
  return table.concat(lines, "\n")
end

-- ---- in a file --------------------------------------------------------------------------------

-- A picture alone, in grey if it has no colours.
local function single_png(pictures, picture)
  local is_grey = pictures.channels == 1 and not picture.marks
  local bytes = is_grey and picture.rgb:gsub("(.)..", "%1") or picture.rgb
  return core.png(bytes, picture.width, picture.height, is_grey and 1 or 3)
end

---The pictures of a tensor as a PNG file: all of them, and transparent pixels between them.
---@param t moonwalk.Tensor
---@param options moonwalk.ShowOptions?
---@return string bytes
function image.png(t, options)
  options = read_options(options)
  local pictures, scale = grid.pictures(WHERE, t), options.scale or 1
  local across = options.columns or pictures.across or math.ceil(pictures.count ^ 0.5)
  across = math.min(across, pictures.count)
  local down = math.ceil(pictures.count / across)
  local width, height = pictures.width * scale, pictures.height * scale
  local gap = math.max(GAP, scale)
  local total, lines = across * (width + gap) - gap, down * (height + gap) - gap
  if total * lines > MOST_PIXELS then
    core.error(("show: the file would have %d x %d pixels; t:slice {{1, 100}} takes the first 100")
      :format(total, lines))
  end
  if pictures.count == 1 then
    return single_png(pictures, grid.picture(pictures, 1, width, height, options.range))
  end
  local parts = {}
  for r = 1, down do
    local row = {}
    for i = (r - 1) * across + 1, math.min(r * across, pictures.count) do
      row[#row + 1] = grid.picture(pictures, i, width, height, options.range)
    end
    parts[r] = graphics.join(row, gap, total, height + (r < down and gap or 0))
  end
  return core.png(table.concat(parts), total, lines, 4)
end

local function write_file(path, bytes)
  local replace = require("moonwalk.files").replace
  local done, why = replace(path, function(file) return file:write(bytes) end)
  if not done then return nil, why end
  return path
end

---Shows the pictures of a tensor in the terminal, as large as all of them fit, or writes them to a
---PNG file. [h,w] and [1,h,w] are one picture, [3,h,w] one in colours, [n,h,w] several, [n,1,h,w]
---and [n,3,h,w] a batch; of other [n,c,h,w], such as filters and what layers give, each row has
---the channels of one, in grey. Terminals that draw pixels (kitty, sixels) show pixels, others
---blocks of characters.
---
---    show(batch.x, {captions = batch.y})
---    show(net[1].weight, {range = "all", scale = 4})
---    show(batch.x, {file = "digits.png"})
---@param t moonwalk.Tensor
---@param options moonwalk.ShowOptions?
---@return string? path  of the file that was written; nil and a message when it could not be
---@return string? message
function image.show(t, options)
  if read_options(options).file then return write_file(options.file, image.png(t, options)) end
  io.stdout:write(image.text(t, options), "\n")
end

return image
