-- tour.lua: the page docs/tour.md at the prompt, step by step: its text is shown, and what it types
-- is put in front of the user.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local input = require "moonwalk.prompt.input"
local markdown = require "moonwalk.look.markdown"
local screen = require "moonwalk.look.screen"

local tour = {}

---@class moonwalk.TourStep
---@field section integer
---@field title string  of its section
---@field text string  Markdown
---@field lines string[]  what is typed then, each of one or several lines

---@class moonwalk.Tour
---@field steps moonwalk.TourStep[]
---@field step integer
---@field line integer  of the step, which is offered next
---@field shown boolean  the step's text was shown
---@field offered string?  the line that was put in front of the user
---@field awaited string?  the same, while what was typed instead of it runs
---@field told boolean?  that :tour goes on
local Tour = {}
Tour.__index = Tour

local PAGE = "tour.md"

-- The steps of a page: each is a text and the block behind it. The page's own heading is none.
local function steps_of(page)
  local steps, text, section, title, lines = {}, {}, 0, "", nil
  local function add(typed)
    steps[#steps + 1] = {section = section, title = title, lines = typed,
      text = table.concat(text, "\n"):match "^%s*(.-)%s*$"}
    text = {}
  end
  for line in (page .. "\n"):gmatch "([^\n]*)\n" do
    local heading = line:match "^## (.*)$"
    local typed, more = line:match "^> (.*)$", line:match "^>> (.*)$"
    if line:find "^```" then
      if lines then add(lines) end
      lines = not lines and {} or nil
    elseif lines then
      if typed then lines[#lines + 1] = typed
      elseif more then lines[#lines] = lines[#lines] .. "\n" .. more end
    elseif heading then
      if section > 0 and table.concat(text):find "%S" then add {} end
      text, section, title = {}, section + 1, heading
    elseif section > 0 and not line:find "^!%[" then
      text[#text + 1] = line
    end
  end
  add {}
  return steps
end

---A tour from its beginning.
---@return moonwalk.Tour
function tour.new()
  local steps = steps_of((assert(core.text("manual", PAGE))))
  return setmetatable({steps = steps, step = 1, line = 1, shown = false}, Tour)
end

---The titles of the sections.
---@return string[]
function Tour:titles()
  local titles = {}
  for _, step in ipairs(self.steps) do titles[step.section] = step.title end
  return titles
end

---Goes to a section, by its number or a word of its title.
---@param wanted string
function Tour:go(wanted)
  local titles, words, section = self:titles(), {}, math.tointeger(tonumber(wanted))
  for i, title in ipairs(titles) do
    if title:lower():find(wanted:lower(), 1, true) and not section then section = i end
    for word in title:lower():gmatch "%a+" do words[#words + 1] = word end
  end
  if not titles[section] then
    local near = check.near(wanted:lower(), words)
    core.error((":tour has no section %s; %s"):format(check.show(tonumber(wanted) or wanted),
      near and ("did you mean :tour %s?"):format(near)
      or ("they are 1 to %d: %s"):format(#titles, table.concat(titles, ", "))))
  end
  self.step, self.line, self.shown = 1, 1, false
  while self.steps[self.step].section < section do self.step = self.step + 1 end
end

-- Shows a step's text, below its section's title where that begins.
local function show(self, session)
  local step, before = self.steps[self.step], self.steps[self.step - 1]
  if not before or before.section ~= step.section then
    session:say("\n" .. screen.paint(("%d of %d  %s"):format(step.section,
      self.steps[#self.steps].section, step.title), "bold cyan"))
  end
  local text = markdown.render(step.text)
  if text ~= "" then session:say("\n" .. text .. "\n") end
  self.shown = true
end

-- Puts the line that comes next in front of the user.
local function offer(self, session)
  local line = self.steps[self.step].lines[self.line]
  self.offered = line
  if input.offer(line) then return end
  session:say(screen.paint("Enter runs: ", "dim") .. line:gsub("\n", "\n            "))
end

---Goes on: with the next text, and the next line.
---@param session moonwalk.Session
function Tour:on(session)
  while self.steps[self.step] do
    if not self.shown then show(self, session) end
    if self.steps[self.step].lines[self.line] then return offer(self, session) end
    self.step, self.line, self.shown = self.step + 1, 1, false
  end
  session.tour = nil
end

---What a line that was read stands for: without a line editor, an empty one is the line that is
---offered.
---@param text string
---@return string
function Tour:read(text)
  self.awaited, self.offered = self.offered, nil
  return self.awaited and not text:find "%S" and input.kind() == "plain" and self.awaited or text
end

---Goes on after a line was run, if it was the one that was offered.
---@param session moonwalk.Session
---@param text string
function Tour:after(session, text)
  local awaited = self.awaited
  self.awaited = nil
  if text == awaited then
    self.line = self.line + 1
    if not session.job then return self:on(session) end
    session:say(screen.paint(":resume goes on with the training, and :tour with the tour", "dim"))
  elseif awaited and not self.told and not text:find "^%s*:tour" then
    self.told = true
    session:say(screen.paint(":tour goes on with the tour", "dim"))
  end
end

return tour
