-- source.lua: `??conv2d` shows how something is written.

local core = require "moonwalk.core"
local code = require "moonwalk.look.code"
local lookup = require "moonwalk.prompt.lookup"
local pager = require "moonwalk.prompt.pager"
local screen = require "moonwalk.look.screen"
local sources = require "moonwalk.prompt.sources"

local DOTS = "      ..."

-- How many lines there are to be of each range: all where there is room, else the second one has a
-- third of it.
local function share(ranges, room)
  local one, other = ranges[1][2] - ranges[1][1] + 1, ranges[2] and ranges[2][2] - ranges[2][1] + 1
  if not other then return math.min(one, room), 0 end
  if one + other < room then return one, other end
  local second = math.min(other, math.max(room - one - 1, room // 3))
  return math.min(one, room - second - 1), second
end

-- The places of a file to show: {first, last} in its order. Where there is room for more, it goes
-- to the lines above what is the most telling, which is what that calls; around it if it is alone.
local function places(source, count, room)
  local ranges = source.ranges
  local one, other = share(ranges, room)
  local spare = room - one - (other > 0 and other + 1 or 0)
  local above = math.min(ranges[1][1] - 1, other > 0 and spare or spare // 2)
  local first = ranges[1][1] - above
  local last = math.min(ranges[1][1] + one - 1 + (other > 0 and 0 or spare - above), count)
  local list = {{first, last}}
  if other > 0 then list[2] = {ranges[2][1], ranges[2][1] + other - 1} end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  if list[2] and list[2][1] <= list[1][2] + 2 then
    list = {{list[1][1], math.max(list[1][2], list[2][2])}}
  end
  return list
end

-- The lines that are about it, as many as there is room for, in the order of the file.
local function excerpt(source, columns, room)
  local lines, result = code.lines(source.text, source.language), {}
  if #lines <= room then return code.numbered(lines, 1, #lines, columns) end
  local last_range = source.ranges[#source.ranges]
  local few = last_range[2] - last_range[1] < 10 -- a row of a table of ops, among others
  local function is_row(i)
    return #source.ranges == 1 and source.language == "c" and few and i >= last_range[1]
      and i <= last_range[2]
  end
  local list = places(source, #lines, room)
  for i, place in ipairs(list) do
    if i > 1 then result[#result + 1] = DOTS end
    local part = code.numbered(lines, place[1], place[2], columns, is_row)
    table.move(part, 1, #part, #result + 1, result)
  end
  if list[#list][2] < last_range[2] and list[#list][2] < #lines then result[#result + 1] = DOTS end
  return result
end

-- "conv2d winograd full" -> the source, the word, and whether all of it is asked for
local function read(session, argument)
  local word, rest = argument:match "^(%S+)%s*(.-)$"
  local full = rest:find "%f[%w]full$" ~= nil
  rest = full and rest:gsub("%s*full$", "") or rest
  local op, kernel = word:match "^([%w_]+)/([%w_]+)$"
  if rest ~= "" then op, kernel = word:gsub("^mw%.", ""), rest end
  if not kernel then return sources.of(session, lookup.find(session, word, "??")), word, full end
  if not core.op_info(op) then
    core.error(("%s is no op, of which %q could be a kernel; :source name full shows all of it")
      :format(op, kernel))
  end
  return sources.op(session, op, kernel), word .. " " .. kernel, full
end

return {
  usage = "??name [full]",
  doc = "Shows how an op, a kernel of it, a function or a layer is written: ??conv2d winograd.",
  run = function(session, argument)
    if argument == "" then
      core.error "?? is followed by what is to be shown: ??conv2d, ??conv2d winograd, ??mw.fit"
    end
    local source, word, full = read(session, argument)
    local columns, rows = screen.size()
    local count = #screen.lines(source.text)
    local head = screen.paint(source.title, "bold") .. (", %d lines"):format(count)
    if full then
      local lines = code.lines(source.text, source.language)
      local text = table.concat(code.numbered(lines, 1, #lines, columns), "\n")
      return pager.show(session, head .. "\n" .. text, source.ranges[#source.ranges][1])
    end
    local room = rows - 4 - (source.note and 1 + #source.note // columns or 0)
    local lines = excerpt(source, columns, math.max(room, 8))
    table.insert(lines, 1, head)
    if source.note then lines[#lines + 1] = screen.paint(source.note, "dim") end
    if #lines - 1 < count then
      lines[#lines + 1] = screen.paint(("??%s full shows all of it"):format(word), "dim")
    end
    session:say(table.concat(lines, "\n"))
  end,
  complete = lookup.words,
}
