-- debug.lua: mw.debug, which watches what programs compute.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local debug = {}

local function finish(before, succeeded, ...)
  core.watch(before)
  if not succeeded then error((...), 0) end
  return ...
end

---Looks at every value that is computed while it is on. The first step that makes a NaN or an
---infinity out of inputs which have none is an error: it names the op, the line that built it, and
---the least, the largest and the mean number of each input. Only what runs meanwhile is looked at,
---and a value that is there already is not computed again. When it is off it costs nothing.
---
---    mw.debug.nan()                        -- from now on; mw.debug.nan(false) ends it
---    mw.debug.nan(function() ... end)      -- while a function runs, whose results it returns
---@param on? boolean|function  true
---@param ... any  the function's arguments
---@return any before  whether it was on; or what the function returns
function debug.nan(on, ...)
  if on == nil or type(on) == "boolean" then return core.watch(on ~= false) end
  if type(on) ~= "function" then
    check.fail("debug.nan", "the argument", on, "true, false or a function")
  end
  return finish(core.watch(true), pcall(on, ...))
end

return debug
