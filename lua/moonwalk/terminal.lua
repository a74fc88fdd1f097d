-- terminal.lua: what is shown in a terminal: progress, digits, tables.

local core = require "moonwalk.core"
local amounts = require "moonwalk.amounts"
local check = require "moonwalk.check"
local image = require "moonwalk.look.image"

local terminal = {}

-- ---- progress -------------------------------------------------------------------------------

---@class moonwalk.Progress
local Progress = {}
Progress.__index = Progress

---A line that shows how far a training is: samples a second, the loss, the time left. It is
---drawn on standard error, and only when that is a terminal.
---@param total integer samples that there are to go through, all epochs together
---@param done integer? how many have been gone through before
---@return moonwalk.Progress
function terminal.progress(total, done)
  local now = core.clock()
  done = done or 0
  return setmetatable({
    total = total, done = done, before = done, began = now, drawn = now, note = "",
    columns = core.terminal "stderr",
  }, Progress)
end

local function minutes(seconds)
  return ("%d:%02d"):format(seconds // 60, seconds // 1 % 60)
end

-- The line at a moment: what share is done, as a bar and as numbers.
local function line(self, now)
  local seconds = math.max(now - self.began, 1e-9)
  local share = math.min(self.done / math.max(self.total, 1), 1)
  local rate = (self.done - self.before) / seconds
  local left = rate > 0 and minutes((self.total - self.done) / rate) or "?"
  local text = (" %3d %%  %d samples/s  loss %s  %s%s left"):format(share * 100 // 1, rate // 1,
    amounts.number(self.loss, "%.4f"), self.note, left)
  local width = math.max(math.min(self.columns - #text - 3, 30), 0)
  local full = width * share // 1
  local bar = ("="):rep(full) .. (" "):rep(width - full)
  return ("[%s]%s"):format(bar, text):sub(1, self.columns - 1)
end

---Counts samples that were gone through, and takes the loss to show.
---@param samples integer
---@param loss moonwalk.Tensor|number
function Progress:add(samples, loss)
  self.done = self.done + samples
  if not self.columns then return end
  local value = core.is_tensor(loss) and loss:item() or loss
  -- One batch's loss jumps; what is shown is a moving mean.
  self.loss = self.loss and 0.98 * self.loss + 0.02 * value or value
  local now = core.clock()
  if now - self.drawn < 0.1 then return end
  self.drawn = now
  io.stderr:write("\r", line(self, now), "\27[K")
  io.stderr:flush()
end

---Prints a line on standard error; the progress is shown below it.
---@param text string
function Progress:say(text)
  self:close()
  io.stderr:write(text, "\n")
  io.stderr:flush()
end

---Takes the line away.
function Progress:close()
  if not self.columns then return end
  io.stderr:write("\r\27[K")
  io.stderr:flush()
end

-- ---- images ---------------------------------------------------------------------------------

local MARGIN = 2 -- of the 28 pixels of a digit, nearly always empty

---Images side by side as text, as the terminal can show them; see look/image.lua.
---@param images moonwalk.Tensor [n,1,height,width], u8 or from 0 to 1
---@param captions string[]? what to write below them
---@return string
function terminal.images(images, captions)
  if not core.is_tensor(images) or #images.shape ~= 4 or images.shape[2] ~= 1 then
    check.fail("terminal.images", "images", images, "a tensor [n,1,height,width]")
  end
  local range = images.dtype ~= "u8" and {0, 1} or nil
  return image.text(images, {range = range, scale = 1, captions = captions}, nil, MARGIN)
end

---Draws some of the images that a network takes for something else, side by side with what they
---are and what they are taken for.
---@param set moonwalk.Dataset of images u8 [n,1,height,width]
---@param wrong moonwalk.Mistake[]
---@param most integer? images to draw, 3 when left out, fewer where the terminal is narrow
---@return string
function terminal.mistakes(set, wrong, most)
  if #wrong == 0 then return "nothing was taken for something else" end
  local captions, rows = {}, {}
  for k = 1, math.min(#wrong, most or 3) do
    captions[k] = ("a %d, taken for %d"):format(wrong[k].label, wrong[k].predicted)
    rows[k] = wrong[k].index
  end
  return terminal.images(set:subset(rows).x, captions)
end

-- ---- tables ---------------------------------------------------------------------------------

---A confusion matrix as text: a line for each label, a column for each prediction.
---@param confusion integer[][]
---@return string
function terminal.confusion(confusion)
  local width = 5
  for _, row in ipairs(confusion) do
    for _, count in ipairs(row) do width = math.max(width, #tostring(count) + 1) end
  end
  local cell_format = "%" .. width .. "s"
  local head = {"label\\as"}
  for predicted = 1, #confusion do head[#head + 1] = cell_format:format(predicted - 1) end
  local lines = {table.concat(head)}
  for label, row in ipairs(confusion) do
    local parts = {("%8d"):format(label - 1)}
    for i, count in ipairs(row) do parts[i + 1] = cell_format:format(count > 0 and count or ".") end
    lines[#lines + 1] = table.concat(parts)
  end
  return table.concat(lines, "\n")
end

return terminal
