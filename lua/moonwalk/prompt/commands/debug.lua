-- debug.lua: `:debug` enters the node that failed.

local core = require "moonwalk.core"
local screen = require "moonwalk.look.screen"
local origin = require "moonwalk.prompt.origin"

-- The line that was running, where it is another one than that which built the node. A message that
-- does not name it came when the entry's value was shown.
local function raised_at(failure)
  local place = failure.message:match "^(%[%d+%]:%d+): " or failure.message:match "^([^\n:]+:%d+): "
    or ("[%d]:1"):format(failure.number)
  local built = (failure.origin or ""):gsub("^[%w_]+ at ", "")
  if not place or place == built then return nil end
  local line = origin.line(place)
  return line and place, line
end

local function say_message(session, failure)
  local columns = screen.size()
  session:say(screen.wrap(screen.paint("error: ", "bold red") .. failure.message))
  local place, line = raised_at(failure)
  if place then
    session:say(screen.paint(screen.cut(("  at %s | %s"):format(place, line), columns), "dim"))
  end
end

-- What the node was given, by name and by number, as the variable `failed`.
local function bind_inputs(session, failure)
  local failed, names = {}, {}
  for _, input in ipairs(failure.inputs) do
    if input.role ~= "key" and input.role ~= "saved" then
      local name, i = input.name:match "^(.-)%[(%d+)%]$"
      if name then
        failed[name] = type(failed[name]) == "table" and failed[name] or {}
        failed[name][tonumber(i)] = input.tensor
      else
        failed[input.name] = input.tensor
      end
      failed[#failed + 1] = input.tensor
      names[#names + 1] = "failed." .. input.name
    end
  end
  session:set("failed", failed)
  return names
end

return {
  usage = ":debug",
  doc = "After an error, enters the node that failed: what it was given, and how that was made.",
  run = function(session)
    local failure = session.failure
    if not failure then core.error ":debug: there was no error" end
    say_message(session, failure)
    if not failure.inputs then
      return session:say(screen.wrap("it is not the error of a node in a graph, whose inputs could "
        .. "be looked at"))
    end
    local names = bind_inputs(session, failure)
    if #names > 0 then
      session:say(screen.paint(screen.wrap("its inputs are in " .. table.concat(names, ", ")),
        "dim"))
    end
    local its_tape = require("moonwalk.look.tape").of_failure(failure)
    local picked = require("moonwalk.look.walk").through(its_tape, its_tape.nodes[failure.id],
      "debug> ")
    if picked then
      session.last, session.env._ = picked, picked
      session:say(require("moonwalk.look.value").text(picked))
    end
  end,
}
