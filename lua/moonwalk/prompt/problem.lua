-- problem.lua: what is said of an error at the prompt: the message, what may have been meant, and
-- the calls that led to it.

local core = require "moonwalk.core"
local check = require "moonwalk.check"

local problem = {}

local MOST_CALLS = 8

local function is_own(frame) return frame.source:find "^=moonwalk/" ~= nil end

-- The user's functions that were running when a task failed, innermost first, as lines.
local function calls_of(thread)
  local lines, level = {}, 0
  while #lines <= MOST_CALLS do
    local frame = debug.getinfo(thread, level, "Sln")
    if not frame then break end
    if frame.currentline > 0 and not is_own(frame) then
      local name = frame.what == "main" and "the script"
        or frame.name and ("function '%s'"):format(frame.name) or "a function"
      lines[#lines + 1] = ("  at %s:%d in %s"):format(frame.short_src, frame.currentline, name)
    end
    level = level + 1
  end
  if #lines > 0 then lines[#lines] = lines[#lines]:gsub(" in .*$", "") end -- the line itself
  if #lines > MOST_CALLS then lines[#lines] = "  ..." end
  return lines
end

-- Names that a line may have meant: variables, and parts of mw.
local function known_names(session)
  local names = {}
  for name in session:variables() do names[#names + 1] = name end
  for name in pairs(getmetatable(session.env).lazy) do names[#names + 1] = name end
  for name in pairs(_G) do names[#names + 1] = name end
  return names
end

-- What may have been meant by a global variable that is nil, or nil.
local function meant(session, name)
  local near = check.near(name, known_names(session))
  if near then return near end
  local mw = session.env.mw
  if core.op_info(name) or rawget(mw, name) ~= nil then return "mw." .. name end
  for _, part in ipairs {"nn", "optim", "data"} do
    local there, value = pcall(function() return mw[part][name] end)
    if there and value ~= nil then return part .. "." .. name end
  end
  local op = core.near(name)
  return op and "mw." .. op
end

-- The message, or a plainer one where a variable is used that is not there.
local function plain(session, message)
  local place, name = message:match "^(.-)attempt to .* a nil value %(global '([%a_][%w_]*)'%)$"
  if not name or session:get(name) ~= nil then return message end
  local near = meant(session, name)
  return ("%sthere is no variable '%s'%s"):format(place, name,
    near and ("; did you mean %s?"):format(near) or "")
end

-- The message without the place where it stands, when that is the line which was just typed.
local function without_place(message, task, session)
  local number = task and task.number or #session.entries
  local entry = session.entries[number]
  if not entry or entry.text:find "\n" then return message end
  return (message:gsub(("^%%[%d%%]:1: "):format(number), ""))
end

---An error as the prompt keeps and shows it.
---@param session moonwalk.Session
---@param message any
---@param task moonwalk.Task?
---@return {message: string, text: string, number: integer}
function problem.describe(session, message, task)
  if type(message) ~= "string" then
    local meta = getmetatable(message)
    message = type(meta) == "table" and meta.__tostring and tostring(message)
      or ("(an error that is a %s)"):format(type(message))
  end
  local lines = {plain(session, without_place(message, task, session))}
  local calls = task and calls_of(task.thread) or {}
  if #calls > 1 then table.move(calls, 1, #calls, #lines + 1, lines) end
  local failure = core.failure and core.failure() or {}
  failure.message, failure.text = message, table.concat(lines, "\n")
  failure.number = task and task.number or #session.entries
  return failure
end

return problem
