-- value.lua: any Lua value as it is shown at the prompt: tensors by look/tensor.lua, networks as
-- their table, and tables as Lua would write them, as much of them as fits:
--
--     {loss = 0.3, {1, 2}}

local core = require "moonwalk.core"
local screen = require "moonwalk.look.screen"

local value = {}

local DEEPEST = 6 -- tables in tables
local MOST_KEYS = 10000 -- beside a list, that are put in order
local MOST_STRING = 200 -- bytes of a string that stands in a table
local INDENT = 2
local LEAST_LINES = 5 -- of a table that is not in one: the braces, two entries, what is left out

local KEYWORDS = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch "%a+" do KEYWORDS[word] = true end

-- ---- what takes one line ----------------------------------------------------------------------

local ESCAPES = {["\n"] = "\\n", ["\t"] = "\\t", ["\r"] = "\\r", ["\\"] = "\\\\", ['"'] = '\\"'}

-- A string as Lua would write it. Bytes that are no text are shown by their numbers.
local function quote(text)
  local is_text = screen.utf8() and utf8.len(text)
  local escaped = text:gsub(is_text and '[%c\\"]' or '[%c\\"\x80-\xff]', function(character)
    return ESCAPES[character] or ("\\%03d"):format(character:byte())
  end)
  return '"' .. escaped .. '"'
end

-- A number in a table: six digits are enough to see it by.
local function number(x)
  if math.type(x) == "integer" or x ~= x or x == math.huge or x == -math.huge then
    return tostring(x)
  end
  if x == math.floor(x) and math.abs(x) < 1e15 then return ("%.1f"):format(x) end
  return ("%.6g"):format(x)
end

-- A tensor in a table. It is not computed for that.
local function short_tensor(t)
  local text = core.spec(t)
  if t.rank == 0 and core.computed(t) then
    local x = t:item()
    text = ("%s %s"):format(text, type(x) == "number" and number(x) or tostring(x))
  end
  return text .. (core.is_param(t) and " parameter" or "")
end

local function is_module(v) return require("moonwalk.nn.module").is(v) end

-- A table that has a text of its own.
local function own_text(v)
  local meta = getmetatable(v)
  if type(meta) ~= "table" or not meta.__tostring then return nil end
  local done, text = pcall(tostring, v)
  return done and text:match "^[^\n]*" or nil
end

-- A value in a table, if it is none that is gone through itself.
local function atom(v)
  local kind = type(v)
  if kind == "string" then
    if #v <= MOST_STRING then return quote(v) end
    return quote(v:sub(1, (utf8.offset(v, 0, MOST_STRING + 1) or MOST_STRING + 1) - 1)) .. "..."
  elseif kind == "number" then
    return number(v)
  elseif core.is_tensor(v) then
    return short_tensor(v)
  elseif kind ~= "table" then
    return tostring(v)
  end
  return is_module(v) and v:describe() or own_text(v)
end

-- ---- tables -----------------------------------------------------------------------------------

---@class moonwalk.Entries
---@field length integer
---@field left_out integer  that are not counted
---@field get fun(i: integer): any, string  a value, and its key as it is written: "loss = "
---@field flat boolean  a list of numbers and the like

local function key_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then
    return key .. " = "
  end
  return ("[%s] = "):format(atom(key) or tostring(key))
end

local RANKS = {number = 1, string = 2}

local function before(a, b)
  local first, second = RANKS[type(a)] or 3, RANKS[type(b)] or 3
  if first ~= second then return first < second end
  if first < 3 then return a < b end
  return tostring(a) < tostring(b)
end

-- Whether a list has nothing but numbers and the like, judged by its first items.
local function is_flat(v, length)
  for i = 1, math.min(length, 1000) do
    local item = rawget(v, i)
    local is_long = type(item) == "string" and #item > 20
    if type(item) == "table" or core.is_tensor(item) or is_long then return false end
  end
  return length > 0
end

-- What is in a table: its list, and then the rest in the order of its keys.
local function entries_of(v)
  local length, keys, others = rawlen(v), {}, 0
  for key in pairs(v) do
    if not (math.type(key) == "integer" and key >= 1 and key <= length) then
      others = others + 1
      if others <= MOST_KEYS then keys[others] = key end
    end
  end
  table.sort(keys, before)
  local function get(i)
    if i <= length then return rawget(v, i), "" end
    return v[keys[i - length]], key_text(keys[i - length])
  end
  return {
    length = length + #keys, left_out = others - #keys, get = get,
    flat = others == 0 and is_flat(v, length),
  }
end

local line

-- A table in one line of so many columns; what does not fit is left out. `path` has the tables
-- around it. Also whether all of it is there that can be.
local function table_line(v, columns, path, depth)
  if path[v] then return "<itself>", true end
  local list = entries_of(v)
  if depth > DEEPEST and list.length > 0 then return "{...}", true end
  local parts, left, whole = {}, columns - 2, list.left_out == 0
  path[v] = true
  for i = 1, list.length do
    local item, key = list.get(i)
    local behind = i < list.length and 5 or 0 -- ", ..."
    local text, all = line(item, left - screen.width(key) - behind, path, depth + 1)
    text = key .. text
    if i > 1 and screen.width(text) + behind > left then
      parts[i], whole = "...", false
      break
    end
    parts[i], whole = text, whole and all
    left = left - screen.width(text) - 2
  end
  path[v] = nil
  return "{" .. table.concat(parts, ", ") .. "}", whole
end

-- A value in one line of so many columns, if that can be; and whether all of it is there.
function line(v, columns, path, depth)
  local text = atom(v)
  if not text then return table_line(v, columns, path, depth) end
  if screen.width(text) <= columns then return text, true end
  return screen.cut(text, math.max(columns, 8)), false
end

-- Items of a list side by side, from one on to another, as lines.
local function flow(list, first, last, columns)
  local lines, current = {}, ""
  for i = first, last do
    local item = list.get(i)
    local text = (atom(item) or "{...}") .. (i < list.length and "," or "")
    if current ~= "" and screen.width(current) + 1 + screen.width(text) > columns then
      lines[#lines + 1], current = current, ""
    end
    current = current == "" and text or current .. " " .. text
  end
  lines[#lines + 1] = current
  return lines
end

-- Leaves out the middle of a list of so many places: how many are kept before and behind it.
local function keep(count, places)
  if count <= places then return count, 0 end
  local kept = math.max(places - 1, 2)
  return kept - kept // 2, kept // 2
end

-- The lines of a list of numbers and the like, but for those in the middle.
local function flat_lines(list, columns, rows)
  local most = rows * columns // 2 -- more cannot be shown
  if list.length <= most then
    local lines = flow(list, 1, list.length, columns)
    if #lines <= rows then return lines end
  end
  local head, tail = keep(rows + 1, rows)
  local first = flow(list, 1, math.min(most, list.length), columns)
  local last = flow(list, math.max(list.length - most, 0) + 1, list.length, columns)
  local lines = table.move(first, 1, head, 1, {})
  lines[#lines + 1] = "...,"
  return table.move(last, #last - tail + 1, #last, #lines + 1, lines)
end

local table_lines

-- An entry in one line of so many columns, and whether it is a table that needs more.
local function entry_line(item, key, columns, path, depth)
  local text, whole = line(item, columns - screen.width(key) - 1, path, depth)
  local is_open = not whole and type(item) == "table" and not atom(item) and depth <= DEEPEST
  return key .. text, is_open
end

-- A table as lines: "{", the entries, "}".
function table_lines(v, columns, rows, path, depth)
  local list, lines, space = entries_of(v), {"{"}, (" "):rep(INDENT)
  local inside, room = columns - INDENT, math.max(rows, LEAST_LINES) - 2
  local function add(texts)
    for _, text in ipairs(texts) do lines[#lines + 1] = space .. text end
  end
  path[v] = true
  if list.flat then add(flat_lines(list, inside, room)) end
  local head, tail = keep(list.flat and 0 or list.length, room)
  local entries, open = {}, 0
  for i = 1, head + tail do
    local at = i <= head and i or list.length - tail + i - head
    local item, key = list.get(at)
    local text, is_open = entry_line(item, key, inside, path, depth + 1)
    entries[i] = {at = at, item = item, key = key, text = text, is_open = is_open}
    open = open + (is_open and 1 or 0)
  end
  local spare = room - head - tail - (tail > 0 and 1 or 0) -- lines beyond one for each entry
  local share = 1 + spare // math.max(open, 1)
  for i, entry in ipairs(entries) do
    local texts = {entry.text}
    if entry.is_open and share >= LEAST_LINES then
      texts = table_lines(entry.item, inside, share, path, depth + 1)
      texts[1] = entry.key .. texts[1]
    end
    texts[#texts] = texts[#texts] .. (entry.at < list.length and "," or "")
    add(texts)
    if i == head and tail > 0 then
      add {("... %d more ..."):format(list.length - head - tail + list.left_out)}
    end
  end
  path[v] = nil
  lines[#lines + 1] = "}"
  return lines
end

-- ---- any value --------------------------------------------------------------------------------

-- A string, as it is when it has several lines. Of a long one the beginning is shown.
local function text_of_string(v, columns, rows)
  local last, left = math.min(#v, columns * rows), rows
  for line_end in v:sub(1, last):gmatch "()\n" do
    left = left - 1
    if left == 0 then last = line_end - 1 end
  end
  local head = v:sub(1, (utf8.offset(v, 0, last + 1) or last + 1) - 1)
  local text = head:find "\n" and head or quote(head)
  return last == #v and text or ("%s\n... of %d bytes"):format(text, #v)
end

---A value as it is shown at the prompt. A table is shown in one line where it fits, else in lines,
---of which the middle is left out; in it, numbers have six digits, and tensors are named by dtype
---and shape. A string is quoted, unless it has several lines: then it is a text to be read.
---@param v any
---@param columns integer? else the terminal's
---@param rows integer? at most so many lines, for tensors and tables; else half of the terminal's
---@return string
function value.text(v, columns, rows)
  local width, height = screen.size()
  columns, rows = columns or width, rows or height // 2
  if type(v) == "string" then return text_of_string(v, columns, rows) end
  if core.is_tensor(v) then return require("moonwalk.look.tensor").text(v, columns, rows) end
  local meta = getmetatable(v)
  local is_plain = type(v) == "table" and not (type(meta) == "table" and meta.__tostring)
  if not is_plain then return tostring(v) end
  local text, whole = table_line(v, columns, {}, 1)
  if whole and screen.width(text) <= columns then return text end
  local lines = table_lines(v, columns, rows, {}, 1)
  for i, long in ipairs(lines) do lines[i] = screen.cut(long, columns) end
  return table.concat(lines, "\n")
end

return value
