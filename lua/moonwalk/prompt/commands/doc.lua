-- doc.lua: `:doc` shows the manual.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local markdown = require "moonwalk.look.markdown"
local pager = require "moonwalk.prompt.pager"
local screen = require "moonwalk.look.screen"
local tell = require "moonwalk.prompt.tell"

---@class moonwalk.Section
---@field chapter string  "training"
---@field title string
---@field level integer  1 for a chapter
---@field first integer  the place of its heading in the chapter's text
---@field last integer

-- The sections of a chapter; one goes as far as the next heading of its level or of a higher one.
local function sections_of(chapter, text)
  local list, at, in_code = {}, 1, false
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    if line:find "^```" then in_code = not in_code end
    local marks, title = line:match "^(#+) +(.-)%s*$"
    if marks and not in_code then
      list[#list + 1] = {chapter = chapter, title = title:gsub("`", ""), level = #marks, first = at}
    end
    at = at + #line + 1
  end
  for i, section in ipairs(list) do
    section.last = #text
    for k = i + 1, #list do
      if list[k].level <= section.level then
        section.last = list[k].first - 1
        break
      end
    end
  end
  return list
end

local function chapters()
  local names = {}
  for _, file in ipairs(core.texts "manual") do names[#names + 1] = file:match "^(.*)%.md$" end
  return names
end

local function text_of(chapter) return core.text("manual", chapter .. ".md") end

-- The chapters with their titles and sections.
local function contents()
  local columns, lines = screen.size(), {}
  local names, width = chapters(), 0
  for _, name in ipairs(names) do width = math.max(width, #name) end
  for _, name in ipairs(names) do
    local titles = {}
    for _, section in ipairs(sections_of(name, text_of(name))) do
      if section.level <= 2 then titles[#titles + 1] = section.title end
    end
    local head = screen.pad(name, width + 2)
    local rest = markdown.wrap(table.concat(titles, "; "), columns, head, (" "):rep(width + 2))
    rest[1] = screen.paint(name, "bold") .. rest[1]:sub(#name + 1)
    table.move(rest, 1, #rest, #lines + 1, lines)
  end
  lines[#lines + 1] = screen.paint(
    ":doc training shows a chapter, :doc checkpoint the section that has the word", "dim")
  return table.concat(lines, "\n")
end

-- Sections whose title has all words, those of higher levels first.
local function find_sections(words)
  local found = {}
  for i, name in ipairs(chapters()) do
    for k, section in ipairs(sections_of(name, text_of(name))) do
      local title, all = section.title:lower(), true
      for word in words:lower():gmatch "%S+" do all = all and title:find(word, 1, true) ~= nil end
      section.order = i * 1000 + k
      if all then found[#found + 1] = section end
    end
  end
  table.sort(found, function(a, b)
    if a.level ~= b.level then return a.level < b.level end
    return a.order < b.order
  end)
  return found
end

-- Chapters and sections in whose text the words stand, where no title has them.
local function mentions(words)
  local lines = {}
  for _, name in ipairs(chapters()) do
    local text = text_of(name)
    for _, section in ipairs(sections_of(name, text)) do
      local body = text:sub(section.first, section.last):lower()
      if section.level == 2 and body:find(words:lower(), 1, true) then
        lines[#lines + 1] = ("  %s: %s"):format(name, section.title)
      end
    end
  end
  return lines
end

local function words_known()
  local list = chapters()
  for _, name in ipairs(chapters()) do
    for _, section in ipairs(sections_of(name, text_of(name))) do
      for word in section.title:gmatch "%a[%w_]+" do list[#list + 1] = word:lower() end
    end
  end
  return list
end

local function show(session, text)
  pager.show(session, markdown.render(text))
end

return {
  usage = ":doc [topic]",
  doc = "Shows a chapter of the manual, or the section whose heading has the word.",
  run = function(session, argument)
    if argument == "" then return pager.show(session, contents()) end
    local whole = text_of((argument:lower():gsub("%.md$", "")))
    if whole then return show(session, whole) end
    local found = find_sections(argument)
    if #found == 0 then
      local lines = mentions(argument)
      local near = #lines == 0 and check.near(argument, words_known())
      core.error(("no heading of the manual has %s; %s"):format(check.show(argument),
        #lines > 0 and "these sections speak of it:\n" .. table.concat(lines, "\n")
        or near and ("did you mean :doc %s?"):format(near) or ":doc lists the chapters"))
    end
    local first = found[1]
    show(session, text_of(first.chapter):sub(first.first, first.last))
    local others = {}
    for i = 2, #found do
      if found[i].chapter ~= first.chapter or found[i].first > first.last then
        others[#others + 1] = ("%s: %s"):format(found[i].chapter, found[i].title)
      end
    end
    if #others > 0 then
      tell(session, "also: " .. table.concat(others, "; "), "dim")
    end
  end,
  complete = words_known,
}
