-- walk.lua: mw.walk, which steps a graph backward from a loss, at each node showing its values and
-- gradients; and the same from a node that failed, for the prompt's :debug.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local operands = require "moonwalk.look.operands"
local screen = require "moonwalk.look.screen"
local origin = require "moonwalk.prompt.origin"
local tape = require "moonwalk.look.tape"

local walk = {}

local HELP = [[
Enter, n  the node before, on the way back
1, 2 ...  enter an input by its number
b         back to where you came from
s         show the output; s 1 an input, s g the gradient that comes in
v         leave with the output as the value; v 1, v g likewise
q         leave]]

local function say(text) io.stdout:write(screen.wrap(text), "\n") end

-- ---- a node ---------------------------------------------------------------------------------

-- "at [3]:1", "Dense at [1]:2"
local function built_at(place) return place:find " at " and place or "at " .. place end

local function title(self, view)
  local name = view.name and screen.paint(view.name, "bold") .. " = " or ""
  local place = self.tape.place[self.at.id]
  local count = place and ("%d of %d  "):format(place, #self.tape.order) or ""
  return screen.paint(count, "dim") .. name .. screen.paint(view.op, "bold")
    .. (view.origin and screen.paint("  " .. built_at(view.origin), "dim") or "")
end

-- Where the pictures of gradients begin among the rows.
local function parts_of(rows)
  local values, arriving = {}, {}
  for _, it in ipairs(rows) do
    local list = it.is_gradient and arriving or values
    list[#list + 1] = it
  end
  return values, arriving
end

local function show_node(self)
  local columns, view = screen.size(), self.view
  local line = view.origin and origin.line(view.origin)
  say(title(self, view))
  if line then say(screen.paint(screen.cut("  | " .. line, columns), "dim")) end
  if view.attributes ~= "" then say(screen.cut("  with " .. view.attributes, columns)) end
  local values, arriving = parts_of(view.rows)
  for _, text in ipairs(operands.lines(values, columns)) do say(text) end
  for _, text in ipairs(operands.lines(arriving, columns)) do say(text) end
end

local function enter(self, it)
  self.at, self.view = it, self.tape:view(it)
  show_node(self)
end

local function go(self, it)
  self.came[#self.came + 1] = self.at
  enter(self, it)
end

-- ---- commands -------------------------------------------------------------------------------

local commands = {}

-- The tensor that a word means: nothing the output, a number an input, "g" the gradient.
local function pick(self, word)
  local view = self.view
  if word == "" then
    if view.output then return view.output end
    return nil, "it has no output; give an input's number"
  elseif word == "g" then
    return view.gradient, view.gradient and "" or self.tape.problem or "no gradient comes here"
  end
  local t = view.inputs[tonumber(word)]
  return t, t and "" or ("%s is no input's number"):format(word)
end

function commands.n(self)
  local it = self.tape:next(self.at)
  if it then return go(self, it) end
  say "this is the first node; b goes back, q leaves"
end

function commands.b(self)
  local it = table.remove(self.came)
  if it then return enter(self, it) end
  say "this is where you began"
end

local function is_picture(t)
  local shape = t.shape
  return #shape >= 3 and #shape <= 4 and shape[#shape] > 4 and shape[#shape - 1] > 4
end

function commands.s(self, word)
  local t, why = pick(self, word)
  if not t then return say(why) end
  local good, text = pcall(function()
    return is_picture(t) and require("moonwalk.look.image").text(t)
      or require("moonwalk.look.tensor").text(t)
  end)
  if good then io.stdout:write(text, "\n") else say("it cannot be shown: " .. tostring(text)) end
end

function commands.v(self, word)
  local t, why = pick(self, word)
  if not t then return say(why) end
  self.value, self.over = t, true
end

function commands.q(self) self.over = true end

commands["?"] = function() say(HELP) end

local function enter_input(self, number)
  local t = self.view.inputs[number]
  if t then return go(self, self.tape.nodes[core.node(t).id]) end
  say(#self.view.inputs == 0 and "it has no inputs; b goes back"
    or ("it has the inputs 1 to %d"):format(#self.view.inputs))
end

local function obey(self, line)
  local word, rest = line:match "^%s*(%S*)%s*(.-)%s*$"
  if word == "" then word = "n" end
  if tonumber(word) then return enter_input(self, math.tointeger(tonumber(word))) end
  if commands[word] then return commands[word](self, rest) end
  say(("%q is no command: Enter goes on, a number enters an input, b goes back, q leaves, ? helps")
    :format(word))
end

---Steps through a tape until it is left.
---@param its_tape moonwalk.Tape
---@param first moonwalk.GraphNode
---@param mark string  the prompt
---@return moonwalk.Tensor? value  that was picked
function walk.through(its_tape, first, mark)
  local input = require "moonwalk.prompt.input"
  local self = {tape = its_tape, came = {}, at = first}
  enter(self, first)
  if its_tape.problem then say(its_tape.problem) end
  say(screen.paint("Enter goes on, a number enters an input, b goes back, ? helps, q leaves",
    "dim"))
  while not self.over do
    io.stdout:flush()
    local line = input.line(mark)
    if not line then break end
    obey(self, line)
  end
  return self.value
end

---Steps backward through the graph of a loss: at each node its inputs and its output, the gradient
---that comes to it and those that it hands on. Enter goes to the node before, a number to an input,
---b back again; s shows a value, v leaves with it, q leaves, ? explains. Without a terminal the
---commands are read from standard input.
---
---    walk(loss)
---@param loss moonwalk.Tensor  a scalar; of other tensors there are no gradients
---@return moonwalk.Tensor? value  that v picked
function walk.walk(loss)
  if not core.is_tensor(loss) then check.fail("walk", "the loss", loss, "a tensor") end
  local its_tape = tape.of(loss)
  local picked = walk.through(its_tape, its_tape.nodes[core.node(loss).id], "walk> ")
  if picked then return picked end
end

return walk
