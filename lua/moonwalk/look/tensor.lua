-- tensor.lua: a tensor as it is shown at the prompt: a line that says what it is and how its values
-- lie, and below it as many of them as fit.
--
--     f32[64,6,28,28]  min -2.31  mean 0.0021  max 4.12  3 NaN
--     {{{{-0.0905, -1.0051, ...,  1.1071, -0.7710},
--        ...
--
-- What tostring() gives is another text, for scripts; see lua/format.c.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local check = require "moonwalk.check"
local screen = require "moonwalk.look.screen"

local tensor = {}

local UNLIMITED = 1 << 30 -- columns
local FEW = 6 -- entries that an axis shows before outer ones show more than their first

-- ---- numbers --------------------------------------------------------------------------------

---A number in few characters: "0.0021", "-2.31", "12346", "1.2e+09".
---@param x number
---@return string
function tensor.number(x)
  if math.type(x) == "integer" then return ("%d"):format(x) end
  local size = math.abs(x)
  if size >= 1e4 and size < 1e7 or x == math.floor(x) and size < 1e7 then
    return ("%.0f"):format(x)
  end
  return ("%.4g"):format(x)
end

-- ---- the first line ---------------------------------------------------------------------------

-- What a tensor is besides its values: " parameter 'conv1.weight', frozen".
local function kind_of(t)
  if not core.is_param(t) then return "" end
  local name = core.name(t)
  local kind = require("moonwalk.updates").is_buffer(t) and " buffer" or " parameter"
  if name ~= "" then kind = ("%s '%s'"):format(kind, name) end
  return kind .. (require("moonwalk.frozen").is(t) and ", frozen" or "")
end

-- How the values lie, as parts of a line.
local function describe(t, facts)
  local parts = {}
  if facts.count == 0 then return {"no elements"} end
  if t.dtype == "bool" then
    local trues = math.floor(facts.mean * facts.count + 0.5)
    return {("%d true, %d false"):format(trues, facts.count - trues)}
  end
  if facts.mean then
    for i, name in ipairs {"min", "mean", "max"} do
      parts[i] = ("%s %s"):format(name, tensor.number(facts[name]))
    end
  end
  if facts.nans > 0 then
    parts[#parts + 1] = screen.paint(amounts.count(facts.nans, "NaN", "NaN"), "bold red")
  end
  if facts.infinities > 0 then
    parts[#parts + 1] = screen.paint(amounts.count(facts.infinities, "infinity", "infinities"),
      "bold red")
  end
  return parts
end

---The line that says what a tensor is and how its values lie: minimum, mean and maximum are those
---of the finite ones. It is computed if it was not. Where it is too long it is two and more.
---@param t moonwalk.Tensor
---@param columns integer? else the terminal's
---@return string
function tensor.head(t, columns)
  columns = columns or (screen.size())
  local kind = screen.cut(kind_of(t), columns - #core.spec(t))
  local lines = {screen.paint(core.spec(t), "bold") .. kind}
  for _, part in ipairs(describe(t, core.summary(t))) do
    local longer = lines[#lines] .. "  " .. part
    if screen.width(longer) <= columns then lines[#lines] = longer
    else lines[#lines + 1] = "  " .. part end
  end
  return table.concat(lines, "\n")
end

-- ---- how much is shown ------------------------------------------------------------------------

-- The lines that the elements take when so many entries of each axis are shown, those of the last
-- axis in one line.
local function lines_of(shape, shown)
  local lines = 1
  for axis = #shape - 1, 1, -1 do
    lines = lines * shown[axis] + (shown[axis] < shape[axis] and 1 or 0)
  end
  return lines
end

-- Lets all axes but the last show as many entries as there are lines for: inner ones first.
local function spread(shape, shown, rows)
  for _, most in ipairs {FEW, math.huge} do
    for axis = #shape - 1, 1, -1 do
      while shown[axis] < math.min(shape[axis], most) do
        shown[axis] = shown[axis] + 1
        if lines_of(shape, shown) > rows then
          shown[axis] = shown[axis] - 1
          break
        end
      end
    end
  end
end

-- The columns of the longest row, whose elements have a width.
local function row_width(rank, shown, all, width)
  return rank + shown * (width + 2) - 2 + (shown < all and 5 or 0) + rank + 1
end

-- Lets the last axis show as many entries as go into a line. The width of elements depends on which
-- are shown.
local function fit_row(t, shown, columns)
  local rank, all = #shown, t.shape[#shown]
  shown[rank] = math.min(all, columns)
  while shown[rank] > 1 do
    local width = core.element_width(t, shown)
    if row_width(rank, shown[rank], all, width) <= columns then return end
    local fitting = (columns - 2 * rank - 4) // (width + 2)
    shown[rank] = math.max(math.min(fitting, shown[rank] - 1), 1)
  end
end

-- A vector runs over several lines.
local function fit_vector(t, shown, columns, rows)
  local all = t.shape[1]
  shown[1] = math.min(all, rows * columns)
  while shown[1] > 1 do
    local width = core.element_width(t, shown)
    local in_line = math.max((columns - 3) // (width + 2), 1)
    -- The dots that stand for the others take the place of two elements at most.
    local room = rows * in_line - (shown[1] < all and math.ceil(7 / (width + 2)) or 0)
    if shown[1] <= room then return end
    shown[1] = math.max(math.min(room, shown[1] - 1), 1)
  end
end

---The elements of a tensor, without what does not fit in so many columns and lines.
---@param t moonwalk.Tensor
---@param columns integer
---@param rows integer
---@return string
function tensor.body(t, columns, rows)
  local shape, shown = t.shape, {}
  for axis, length in ipairs(shape) do
    if length == 0 then return "{}" end
    shown[axis] = 1
  end
  if #shape == 1 then
    fit_vector(t, shown, columns, rows)
  elseif #shape > 1 then
    spread(shape, shown, rows)
    fit_row(t, shown, columns)
  end
  local text = core.body(t, shown, #shape == 1 and columns - 1 or UNLIMITED)
  if #shape == 0 then return text end
  local lines = {}
  for line in text:gmatch "[^\n]+" do lines[#lines + 1] = screen.cut(line, columns) end
  return table.concat(lines, "\n")
end

---A tensor as it is shown at the prompt. It is computed if it was not.
---@param t moonwalk.Tensor
---@param columns integer? else the terminal's
---@param rows integer? at most so many lines; else half of the terminal's
---@return string
function tensor.text(t, columns, rows)
  if not core.is_tensor(t) then check.fail("look.tensor", "t", t, "a tensor") end
  local width, height = screen.size()
  columns, rows = columns or width, rows or height // 2
  if t.rank == 0 then
    local text = core.body(t)
    local broken = text:find "nan" or text:find "inf"
    return ("%s%s  %s"):format(screen.paint(core.spec(t), "bold"), kind_of(t),
      broken and screen.paint(text, "bold red") or text)
  end
  local head = tensor.head(t, columns)
  local above = select(2, head:gsub("\n", "")) + 1
  local body = tensor.body(t, columns, math.max(rows - above, 1))
  return body == "{}" and head or head .. "\n" .. body
end

return tensor
