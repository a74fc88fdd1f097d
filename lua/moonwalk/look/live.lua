-- live.lua: the loss of a training that runs, drawn again and again in its place in the terminal's
-- flow. It takes the place of the progress line, whose methods it has: add, say, close.
--
-- All that it asks of a terminal is to move up some lines and to clear a line, so that what was
-- printed before stays, and the last picture stays too when the training is over.

local core = require "moonwalk.core"
local amounts = require "moonwalk.amounts"
local axes = require "moonwalk.look.axes"
local chart = require "moonwalk.look.chart"
local plot = require "moonwalk.look.plot"
local screen = require "moonwalk.look.screen"

---@class moonwalk.Live
---@field frozen boolean  nothing is drawn, for now
local Live = {}
Live.__index = Live

local live = {}

local MOST = 2048 -- pieces of the curve that are kept, however many steps there are
local PAUSE = 0.1 -- seconds from one picture to the next, at least
local SHARE = 100 -- ... and how many times what the drawing of one takes

-- ---- the curve ------------------------------------------------------------------------------

---@class moonwalk.Curve
---@field width integer  steps in a piece
---@field steps number[]  the last one of each piece
---@field means number[]  NaN where there is no finite loss
---@field count integer
local Curve = {}
Curve.__index = Curve

---A curve of losses that stays small: when there are too many pieces, each two become one.
---@return moonwalk.Curve
function live.curve()
  return setmetatable({
    width = 1, steps = {}, means = {}, count = 0, sum = 0.0, n = 0, finite = 0,
  }, Curve)
end

local function halve(self)
  local steps, means = self.steps, self.means
  for i = 1, self.count // 2 do
    local a, b = means[2 * i - 1], means[2 * i]
    steps[i], means[i] = steps[2 * i], a ~= a and b or b ~= b and a or (a + b) / 2
  end
  for i = self.count // 2 + 1, self.count do steps[i], means[i] = nil, nil end
  self.count, self.width = self.count // 2, 2 * self.width
end

---@param step integer
---@param loss number
function Curve:add(step, loss)
  self.n = self.n + 1
  if loss - loss == 0 then self.sum, self.finite = self.sum + loss, self.finite + 1 end
  if self.n < self.width then return end
  self.count = self.count + 1
  self.steps[self.count] = step
  self.means[self.count] = self.finite > 0 and self.sum / self.finite or 0 / 0
  self.sum, self.n, self.finite = 0.0, 0, 0
  if self.count == MOST then halve(self) end
end

---The curve as a series of so many points at most, of which each is a mean.
---@param across integer
---@return moonwalk.Series
function Curve:series(across)
  if self.count <= across then
    return {xs = table.move(self.steps, 1, self.count, 1, {}),
      ys = table.move(self.means, 1, self.count, 1, {})}
  end
  local xs, ys = {}, {}
  for k = 1, across do
    local sum, n = 0.0, 0
    local first, last = (k - 1) * self.count // across + 1, k * self.count // across
    for i = first, last do
      local mean = self.means[i]
      if mean == mean then sum, n = sum + mean, n + 1 end
    end
    xs[k], ys[k] = self.steps[last], n > 0 and sum / n or 0 / 0
  end
  return {xs = xs, ys = ys}
end

-- ---- the picture ----------------------------------------------------------------------------

local function minutes(seconds)
  if seconds >= 3600 then return ("%d h %02d min"):format(seconds // 3600, seconds // 60 % 60) end
  return ("%d:%02d"):format(seconds // 60, seconds // 1 % 60)
end

-- The losses of epochs by the validation set, at the steps that they ended with.
local function valid_series(trainer)
  local xs, ys = {}, {}
  for _, row in ipairs(trainer.history) do
    if row.valid_loss and row.step then
      xs[#xs + 1], ys[#ys + 1] = row.step, row.valid_loss
    end
  end
  return {xs = xs, ys = ys}
end

local WIDE = 50 -- a largest loss so many times the smallest makes the scale logarithmic

-- The chart's ranges, or nil before there is a finite loss.
local function ranges(self, list)
  local low, high, left, right = math.huge, -math.huge, math.huge, -math.huge
  for _, one in ipairs(list) do
    for i, y in ipairs(one.ys) do
      if y - y == 0 then
        low, high = math.min(low, y), math.max(high, y)
        left, right = math.min(left, one.xs[i]), math.max(right, one.xs[i])
      end
    end
  end
  if low > high then return nil end
  self.log = low > 0 and (self.log or high > WIDE * low)
  if left == right then left, right = left - 1, right + 1 end
  low, high = axes.limits(low, high, self.log)
  return {low = left, high = right, whole = true}, {low = low, high = high, log = self.log}
end

local function rate_of(optimizer)
  return optimizer.rate and optimizer:rate() or optimizer.lr
end

-- Parts of a line, as many as fit.
local function joined(parts, width)
  local line
  for _, part in ipairs(parts) do
    local longer = line and line .. "   " .. part or part
    if screen.width(longer) > width then break end
    line = longer
  end
  return line or ""
end

-- A loss with four decimals, or four digits where it has grown beyond these.
local function loss_text(loss)
  return amounts.number(loss, math.abs(loss) < 1e6 and "%.4f" or "%.4g")
end

-- What stands below the curve: the last numbers, and how far it is.
local function status(self, width)
  local trainer, o, now = self.trainer, self.trainer.options, core.clock()
  local pens = self.pens
  local row = trainer.history[#trainer.history]
  local function name(pen, text) return screen.paint(pen.mark or "⠤⠤", pen.style) .. " " .. text end
  local numbers = {name(pens[1], "loss " .. loss_text(self.loss or 0 / 0))}
  if row and row.valid_loss then
    numbers[2] = name(pens[2], "valid_loss " .. loss_text(row.valid_loss))
  end
  local lr = rate_of(trainer.optimizer)
  if type(lr) == "number" then numbers[#numbers + 1] = ("lr %.4g"):format(lr) end
  local seconds, done = now - self.began, self.samples - self.before
  local rate = done / math.max(seconds, 1e-9)
  local total = o.epochs * #trainer.train
  local places = {
    ("epoch %d/%d"):format(math.min(trainer.epoch, o.epochs), o.epochs),
    ("step %d/%d"):format(trainer.steps, o.epochs * trainer.steps_in_epoch),
    ("%d samples/s"):format(rate // 1),
    self.closing and "in " .. minutes(seconds) or rate > 0
      and minutes(math.max(total - self.samples, 0) / rate) .. " left" or nil,
  }
  local lines = {joined(numbers, width), joined(places, width)}
  if self.hint and not self.closing then
    lines[3] = screen.paint(screen.cut(self.hint, width), "dim")
  end
  return lines
end

-- Whether a chart can stand above these lines in the terminal: else it could not be drawn over.
local function fits(lines, foot, width, rows)
  for _, line in ipairs(lines) do
    if screen.width(line) > width then return false end
  end
  return #lines + #foot < rows
end

-- The lines of the picture as it is now, none wider than the terminal, and fewer than its rows.
local function picture(self)
  local columns, rows = screen.size()
  local width = math.max(columns - 1, 1) -- a full line would be folded where a terminal shrinks
  local foot = status(self, width)
  for i = #foot, math.max(rows, 2), -1 do foot[i] = nil end
  local height = math.max(math.min(rows // 2, 18, rows - #foot - 2), 4)
  local valid = valid_series(self.trainer)
  local curve = self.curve:series(width)
  local x, y = ranges(self, {curve, valid})
  if not x then return foot, columns end
  local lines = chart.text({
    x = x, y = y,
    draw = function(c, across, up)
      plot.draw(c, self.pens[1], curve, across, up)
      for i, step in ipairs(valid.xs) do
        local v = up:place(valid.ys[i])
        if v then c:point(self.pens[2], across:place(step), v) end
      end
    end,
  }, width, height)
  if not fits(lines, foot, width, rows) then return foot, columns end
  table.move(foot, 1, #foot, #lines + 1, lines)
  return lines, columns
end

-- ---- drawing --------------------------------------------------------------------------------

-- Whether a terminal that becomes narrower folds the lines which it shows; xterm cuts them off.
local function folds()
  return not os.getenv "XTERM_VERSION" and os.getenv "TERM" ~= "linux"
end

-- How many rows of the terminal the picture takes that is drawn.
local function rows_of(self)
  local columns = screen.size()
  if not self.widths or columns >= self.columns or not folds() then
    return self.widths and #self.widths or 0
  end
  local rows = 0
  for _, width in ipairs(self.widths) do rows = rows + math.max((width - 1) // columns + 1, 1) end
  return rows
end

local function up(rows) return rows > 0 and ("\27[%dA"):format(rows) or "" end

---Takes the picture away; what is printed next stands in its place.
function Live:erase()
  local rows = rows_of(self)
  if rows > 0 then
    self.write("\r" .. up(rows) .. ("\27[K\n"):rep(rows) .. up(rows))
  end
  self.widths = nil
end

-- Puts a picture in place of the one that is there.
local function put(self, lines, columns)
  local old = rows_of(self)
  local parts, widths = {"\r", up(old)}, {}
  for i, line in ipairs(lines) do
    -- Cleared as a whole first: then the terminal forgets that it had folded a line here.
    parts[#parts + 1] = "\27[K" .. line .. "\n"
    widths[i] = screen.width(line)
  end
  if old > #lines then
    parts[#parts + 1] = ("\27[K\n"):rep(old - #lines) .. up(old - #lines)
  end
  self.write(table.concat(parts))
  self.lines, self.widths, self.columns = lines, widths, columns
end

---Draws the picture, in place of the one that is there.
function Live:draw()
  local began = core.clock()
  put(self, picture(self))
  self.drawn = core.clock()
  self.pause = math.max(PAUSE, SHARE * (self.drawn - began))
end

---Leaves the picture that is there in the flow; the next one is drawn below of what is printed.
function Live:leave() self.widths = nil end

---Takes a line below the picture as a part of it, which the next one covers.
---@param width integer  columns of the line
function Live:adopt(width)
  if self.widths then self.widths[#self.widths + 1] = width end
end

---Counts a step. Draws, when it is time to.
---@param samples integer
---@param loss number
function Live:add(samples, loss)
  self.samples = self.samples + samples
  self.curve:add(self.trainer.steps, loss)
  if loss - loss == 0 then
    -- One batch's loss jumps; the number that is shown is a moving mean.
    self.loss = self.loss and 0.98 * self.loss + 0.02 * loss or loss
  end
  if self.frozen then return end
  local now = core.clock()
  if now - self.drawn >= self.pause then self:draw() end
end

---Prints lines above the picture.
---@param text string
---@param file file*?  standard error
function Live:say(text, file)
  file = file or io.stderr
  if not self.widths then return self.print(file, text .. "\n") end
  self:erase()
  self.print(file, text .. "\n")
  if self.frozen then return end
  -- The picture itself can wait for its time, if it still fits.
  if screen.size() == self.columns then put(self, self.lines, self.columns) else self:draw() end
end

---Draws the last picture, which stays.
---@param always boolean?  also where none was drawn before
function Live:close(always)
  self.closing = true
  if not self.frozen and (self.widths or always) then self:draw() end
  self:leave()
  self.closing = false
end

---Waits some seconds before the first picture: none is drawn of what is over sooner.
---@param seconds number
function Live:wait(seconds)
  self.drawn, self.pause = core.clock(), seconds
end

---Time that passed while the training stood still, which does not count.
---@param seconds number
function Live:skip(seconds) self.began = self.began + seconds end

local known = setmetatable({}, {__mode = "k"}) -- the curves of trainers, which may run again

---A picture of a training's loss that is drawn as it runs.
---@param trainer moonwalk.Trainer
---@param options {hint: string?, write: (fun(text: string))?, print: function?}?  `hint`: a line
---  below; `write`: draws on the terminal; `print`: fun(file, text) prints the text of say()
---@return moonwalk.Live
function live.new(trainer, options)
  options = options or {}
  local done = (trainer.epoch - 1) * #trainer.train + trainer.position
  known[trainer] = known[trainer] or live.curve()
  local pens = chart.pens(2)
  return setmetatable({
    trainer = trainer, curve = known[trainer], hint = options.hint,
    pens = {pens[1], {mark = "o", style = pens[2].style}},
    samples = done, before = done, began = core.clock(), drawn = -math.huge, pause = 0,
    frozen = false,
    write = options.write or function(text)
      io.stdout:write(text)
      io.stdout:flush()
    end,
    print = options.print or function(file, text)
      file:write(text)
      file:flush()
    end,
  }, Live)
end

return live
