-- documents.lua: what the comments of Moonwalk's own Lua files say of its functions and classes.
-- The files are built in; the comments are LuaCATS's, as editors read them.

local core = require "moonwalk.core"
local lookup = require "moonwalk.prompt.lookup"
local members = require "moonwalk.prompt.members"
local screen = require "moonwalk.look.screen"

local documents = {}

---@class moonwalk.Document
---@field file string  "moonwalk/optim.lua"
---@field line integer  of the definition
---@field text string?  what the comment says
---@field params {name: string, type: string, doc: string}[]
---@field returns string[]
---@field options {name: string, type: string, doc: string}[]  fields of the table that it takes
---@field signature string?  "(net, train, options?)"

-- ---- files ------------------------------------------------------------------------------------

local files = {} -- lines, by name

local function lines_of(file)
  if files[file] then return files[file] end
  local text = core.text("modules", file)
  if not text then return nil end
  files[file] = screen.lines(text)
  return files[file]
end

-- The files that a part of mw is written in, its own first.
local function files_of(part)
  if not part or part == "mw" then return {"moonwalk/init.lua"} end
  local list, prefix = {"moonwalk/" .. part .. ".lua"}, "moonwalk/" .. part .. "/"
  for _, name in ipairs(core.texts "modules") do
    if name:sub(1, #prefix) == prefix then list[#list + 1] = name end
  end
  return list
end

-- ---- comments ---------------------------------------------------------------------------------

-- Where the comment begins that stands right above a line; that line itself if there is none.
local function comment_start(lines, line)
  local first = line
  while first > 1 and lines[first - 1]:find "^%s*%-%-%-" do first = first - 1 end
  return first
end

-- "size integer|integer[]? of a filter" -> the type and the rest: a type has no blank but in
-- brackets, behind a comma or a colon, or around a bar.
local function split_type(text)
  local depth, at = 0, 1
  while at <= #text do
    local c = text:sub(at, at)
    if c:find "[%(<{%[]" then depth = depth + 1
    elseif c:find "[%)>}%]]" then depth = depth - 1
    elseif c == " " and depth == 0 and not text:sub(1, at - 1):find "[,:|]$"
      and not text:find("^ *|", at) then break end
    at = at + 1
  end
  return text:sub(1, at - 1), (text:sub(at):gsub("^[%s#]+", ""))
end

-- The fields of a class that is annotated in one of the files, with those of the class it extends.
local function fields_of_class(name, places, depth)
  for _, file in ipairs(places) do
    local lines = lines_of(file)
    for i, line in ipairs(lines) do
      local class, parent = line:match "^%s*%-%-%-@class ([%w_.]+):?%s*([%w_.]*)"
      if class == name then
        local list = parent ~= "" and depth < 3 and fields_of_class(parent, places, depth + 1) or {}
        for k = i + 1, #lines do
          local field, rest = lines[k]:match "^%s*%-%-%-@field ([^%s]+) (.*)$"
          local more = lines[k]:match "^%s*%-%-%-  +(%S.*)$"
          if field then
            local kind, doc = split_type(rest)
            list[#list + 1] = {name = field:gsub("%?$", ""), type = kind, doc = doc}
          elseif more and #list > 0 then
            list[#list].doc = list[#list].doc .. " " .. more
          else
            break
          end
        end
        return list
      end
    end
  end
  return {}
end

local TAGS = {}

function TAGS.param(document, rest)
  local name, more = rest:match "^(%S+)%s+(.*)$"
  if not name then return nil end
  local kind, doc = split_type(more)
  local optional = name:find "%?$" and "?" or ""
  local entry = {name = name:gsub("%?$", ""), type = kind .. optional, doc = doc}
  table.insert(document.params, entry)
  return entry
end

TAGS["return"] = function(document, rest) table.insert(document.returns, rest) end

function TAGS.type(document, rest)
  document.signature = rest:match "^fun(%(.*)$"
  document.takes = rest:match "fun%(options: ([%w_.]+)%)"
end
TAGS.overload = TAGS.type

-- What a comment says, lines first to last, as a document.
local function read(lines, first, last, document)
  local text, entry = {}, nil
  for i = first, last do
    local body = lines[i]:match "^%s*%-%-%-(.*)$"
    local tag, rest = body:match "^@(%a+)%s*(.*)$"
    if tag then
      entry = TAGS[tag] and TAGS[tag](document, rest)
    elseif entry and body:find "^  +%S" then
      entry.doc = entry.doc .. " " .. body:match "^%s*(.-)%s*$"
    elseif not tag then
      text[#text + 1], entry = body:gsub("^ ", "", body:find "^ %S" and 1 or 0), nil
    end
  end
  while text[1] and not text[1]:find "%S" do table.remove(text, 1) end
  while text[#text] and not text[#text]:find "%S" do text[#text] = nil end
  if #text > 0 then document.text = table.concat(text, "\n") end
  return document
end

-- ---- definitions ------------------------------------------------------------------------------

-- How a name is defined in a line: function m.NAME(, m.NAME = , local NAME = , NAME = in a table.
local function defines(line, name)
  local plain = name:gsub("%p", "%%%0")
  return line:find("^%s*function [%w_.:]*[.:]" .. plain .. "%s*%(")
    or line:find("^%s*local function " .. plain .. "%s*%(")
    or line:find("^%s*local " .. plain .. "%s*=")
    or line:find("^[%w_.]+%." .. plain .. "%s*=")
    or line:find("^  " .. plain .. "%s*=")
end

-- The definition of a name in some files: one with a comment above it goes before others.
local function find_name(places, name)
  local file_found, line_found
  for _, file in ipairs(places) do
    for i, line in ipairs(lines_of(file) or {}) do
      if defines(line, name) then
        if comment_start(lines_of(file), i) < i then return file, i end
        if not file_found then file_found, line_found = file, i end
      end
    end
  end
  return file_found, line_found
end

-- A function or class that is annotated as a field of mw or of a part of it:
-- ---@field zeros fun(shape: mw.shape): mw.tensor
local function find_field(part, name)
  local file = files_of(part)[1]
  local lines, inside = lines_of(file) or {}, false
  for i, line in ipairs(lines) do
    local class = line:match "^%-%-%-@class ([%w_.]+)"
    if class then inside = class == (part == "mw" and "moonwalk" or "moonwalk." .. part) end
    local rest = inside and line:match("^%-%-%-@field " .. name .. "%?? (.*)$")
    if rest then
      local kind, doc = split_type(rest)
      for k = i + 1, #lines do
        local more = lines[k]:match "^%-%-%-  +(%S.*)$"
        if not more then break end
        doc = doc .. " " .. more
      end
      return {file = file, line = i, params = {}, returns = {}, options = {},
        signature = kind:match "^fun(%(.*)$", takes = kind:match "fun%(options: ([%w_.]+)%)",
        text = doc:find "%S" and doc:match "^%s*(.-)%s*$" or nil}
    end
  end
end

-- What the first comment of a file says that is all about one class: "dense.lua: Dense, a ..."
local function about_file(file, class)
  local head = {}
  for i, line in ipairs(lines_of(file)) do
    local text = line:match "^%-%- ?(.*)$"
    if not text or text == "" then break end
    head[i] = text
  end
  local stem = file:match "([^/]*)%.lua$"
  return stem == class:lower() and table.concat(head, " "):match "^[%w_]+%.lua: (.*)$" or nil
end

-- Where a function of Moonwalk's own is written, or nil.
local function place_of(fn)
  fn = lookup.unwrapped(fn)
  local info = type(fn) == "function" and debug.getinfo(fn, "S")
  local file = info and info.source:match "^=(moonwalk/.*)$"
  if file and lines_of(file) then return file, info.linedefined end
end

local function new_document(file, line)
  local lines = lines_of(file)
  local document = {file = file, line = line, params = {}, returns = {}, options = {}}
  read(lines, comment_start(lines, line), line - 1, document)
  document.signature = document.signature or lines[line]:match "function[^(]*(%b())"
  return document
end

-- Fills in the fields of the table that a function takes.
local function add_options(document, places)
  local class = document.takes
  for _, param in ipairs(document.params) do
    class = class or param.type:match "^(moonwalk%.%w*Options)%??$"
  end
  if not class then return end
  document.options = fields_of_class(class, places, 1)
  if #document.options == 0 then
    document.options = fields_of_class(class, core.texts "modules", 1)
  end
end

---What the comments say of a function or a class of Moonwalk's; nil where they say nothing.
---@param found moonwalk.Found  as lookup.find gives it
---@return moonwalk.Document?
function documents.of(found)
  local name, value = found.name:match "([^.:]+)$", found.value
  local class = lookup.class_of(value)
  local written_in, line = place_of(class and members.get(class, "init") or value)
  local places = files_of(found.part)
  if written_in then table.insert(places, 1, written_in) end
  local document
  if found.part and (class or found.kind == "function") then
    local file, at = find_name(places, class and class.class or name)
    local is_commented = file and comment_start(lines_of(file), at) < at
    if file and (not written_in or is_commented or file == written_in) then
      document = new_document(file, at)
    end
  end
  if written_in and not (document and document.text) then
    local own = new_document(written_in, line)
    if own.text or not document then document = own end
  end
  local field = found.part and find_field(found.part, name)
  if not document then document = field end
  if not document then return nil end
  local head = class and about_file(document.file, class.class)
  if head then document.text = head .. (document.text and "\n\n" .. document.text or "") end
  if field then
    document.text = document.text or field.text
    document.signature = document.signature or field.signature
    document.takes = document.takes or field.takes
  end
  add_options(document, places)
  return document
end

---The lines of a file that is built in, or nil.
---@type fun(file: string): string[]?
documents.lines = lines_of

---Where a function of Moonwalk's own is written: its file and line, or nil.
---@type fun(fn: function): string?, integer?
documents.place = place_of

return documents
