-- blocks.lua: pictures in characters: two pixels, one above the other, are one.

local blocks = {}

---@alias moonwalk.BlockKind
---| "true"   half blocks in 24-bit colours
---| "256"    half blocks in 256 colours
---| "blank-true"  blanks in 24-bit colours, where there are no half blocks
---| "blank-256"   blanks in 256 colours
---| "shades" blocks of different density
---| "ascii"  letters and signs of different density

---What a terminal can show.
---@param colours integer
---@param utf8 boolean
---@return moonwalk.BlockKind
function blocks.kind(colours, utf8)
  if colours >= 256 then
    return (utf8 and "" or "blank-") .. (colours > 256 and "true" or "256")
  end
  return utf8 and "shades" or "ascii"
end

-- ---- colours ----------------------------------------------------------------------------------

local LEVELS = {0, 95, 135, 175, 215, 255} -- of each colour in the cube of xterm's 256 colours

-- For each value of a byte, the nearest level, from 0.
local nearest = {}
for value = 0, 255 do
  local best = 1
  for i, level in ipairs(LEVELS) do
    if math.abs(level - value) < math.abs(LEVELS[best] - value) then best = i end
  end
  nearest[value] = best - 1
end

local function distance(r, g, b, r2, g2, b2) return (r - r2) ^ 2 + (g - g2) ^ 2 + (b - b2) ^ 2 end

---The nearest of xterm's 256 colours: of the cube of 6 x 6 x 6 (16 to 231), or of the greys 8, 18,
---..., 238 (232 to 255).
---@param r integer
---@param g integer
---@param b integer
---@return integer
function blocks.colour_256(r, g, b)
  local i, j, k = nearest[r], nearest[g], nearest[b]
  local step = math.max(math.min(((r + g + b) // 3 - 3) // 10, 23), 0)
  local grey = 8 + 10 * step
  local of_cube = distance(r, g, b, LEVELS[i + 1], LEVELS[j + 1], LEVELS[k + 1])
  if distance(r, g, b, grey, grey, grey) < of_cube then return 232 + step end
  return 16 + 36 * i + 6 * j + k
end

-- A colour as the end of an escape sequence's parameter that begins with 38 or 48.
local WRITERS = {
  ["true"] = function(r, g, b) return ("2;%d;%d;%d"):format(r, g, b) end,
  ["256"] = function(r, g, b) return ("5;%d"):format(blocks.colour_256(r, g, b)) end,
}

-- ---- lines ------------------------------------------------------------------------------------

-- A line in which each character has its own colours, or those of the one before.
local function coloured_line(picture, y, write)
  local parts, last, width, rgb = {}, nil, picture.width, picture.rgb
  for x = 0, width - 1 do
    local upper = 3 * (2 * y * width + x) + 1
    local lower = upper + 3 * width
    local style = "38;" .. write(rgb:byte(upper, upper + 2))
    if lower < #rgb then style = style .. ";48;" .. write(rgb:byte(lower, lower + 2)) end
    if style ~= last then parts[#parts + 1] = ("\27[%sm"):format(style) end
    parts[#parts + 1], last = "▀", style
  end
  return table.concat(parts) .. "\27[0m"
end

-- The mean of two pixels, and whether one of them is no number.
local function mean(picture, x, y)
  local at = 2 * y * picture.width + x + 1
  local below = 2 * y + 1 < picture.height and at + picture.width or at
  local marks, rgb = picture.marks, picture.rgb
  if marks and (marks:byte(at) == 1 or marks:byte(below) == 1) then return 255, 0, 255, true end
  local r, g, b = rgb:byte(3 * at - 2, 3 * at)
  local r2, g2, b2 = rgb:byte(3 * below - 2, 3 * below)
  return (r + r2) // 2, (g + g2) // 2, (b + b2) // 2, false
end

local function blank_line(picture, y, write)
  local parts, last = {}, nil
  for x = 0, picture.width - 1 do
    local r, g, b = mean(picture, x, y)
    local style = ("\27[48;%sm"):format(write(r, g, b))
    if style ~= last then parts[#parts + 1] = style end
    parts[#parts + 1], last = " ", style
  end
  return table.concat(parts) .. "\27[0m"
end

local RAMPS = {
  shades = {" ", "░", "▒", "▓", "█"},
  ascii = {" ", ".", ":", "-", "=", "+", "*", "#", "%", "@"},
}

local function shaded_line(picture, y, ramp)
  local parts = {}
  for x = 0, picture.width - 1 do
    local r, g, b, broken = mean(picture, x, y)
    local grey = 0.299 * r + 0.587 * g + 0.114 * b -- ITU-R BT.601
    parts[x + 1] = broken and "?" or ramp[1 + math.floor(grey * #ramp / 256)]
  end
  return table.concat(parts)
end

---The lines of a picture.
---@param picture moonwalk.Picture
---@param kind moonwalk.BlockKind
---@return string[]
function blocks.lines(picture, kind)
  local lines, colours = {}, WRITERS[kind:match "(%w+)$"]
  for y = 0, (picture.height + 1) // 2 - 1 do
    if RAMPS[kind] then lines[y + 1] = shaded_line(picture, y, RAMPS[kind])
    elseif kind:find "^blank" then lines[y + 1] = blank_line(picture, y, colours)
    else lines[y + 1] = coloured_line(picture, y, colours) end
  end
  return lines
end

return blocks
