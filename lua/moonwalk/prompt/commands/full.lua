-- full.lua: `:full` shows a value as a whole, however long it is.

local core = require "moonwalk.core"
local look = require "moonwalk.look.tensor"
local screen = require "moonwalk.look.screen"
local value = require "moonwalk.look.value"

local UNLIMITED = 1 << 30 -- lines

local function write(text) io.stdout:write(text) end

-- All elements, in pieces, between which Ctrl-C is heard.
local function show_tensor(session, t)
  session:say(look.head(t))
  core.body(t, nil, screen.size() - 1, write)
  session:say ""
end

return {
  usage = ":full [expression]",
  doc = "Shows all of a value, the last one if none is named; Ctrl-C stops it.",
  takes_lua = true,
  run = function(session, argument)
    local v = session.last
    if argument ~= "" then
      local good, result = session:value(argument)
      if not good then error(result, 0) end
      v = result
    elseif v == nil then
      core.error ":full shows the last value, and there is none yet; :full x shows that of x"
    end
    if core.is_tensor(v) and v.rank > 0 then return show_tensor(session, v) end
    session:say(value.text(v, nil, UNLIMITED))
  end,
}
