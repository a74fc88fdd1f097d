-- everywhere.lua: plays one session at the prompt in all kinds of terminals at a time, and looks at
-- their screens.
--
--   everywhere.play({
--     {"an expression", function(s)
--       s:enter "6 * 7"                -- typed on an empty screen; waits for the next prompt
--       s:is {"42"}                    -- what stands between the line and the prompt
--     end},
--   }, {args = "-i x.lua"})
--
-- A case is one test, of all kinds: it fails where one of them does. Whatever is asked, no line of
-- the answer may be wider than the terminal, without colours none may be there, and in the C locale
-- nothing but ASCII.

local t = require "tap"
local terminal = require "terminal"
local argument = terminal.argument

local everywhere = {}

local MOST_TOLD = 2 -- problems of a case

-- Of one terminal: what terminal.lua can do, and what stands below.
---@class everywhere.Screen
---@field name string  of the kind
---@field columns integer
---@field rows integer
---@field colour boolean
---@field utf8 boolean
---@field edits boolean  whether there is a line editor
---@field answer string[]  the screen between the line that was entered and the prompt
local Screen = setmetatable({}, terminal.Terminal)
Screen.__index, Screen.__close, Screen.__gc = Screen, Screen.__close, Screen.__gc

-- All kinds: two sizes, with and without colours, with and without the line editor, two locales.
local function kinds()
  local list = {}
  for _, size in ipairs {{80, 24}, {120, 40}} do
    for _, colour in ipairs {true, false} do
      for _, editor in ipairs {"libedit", "plain"} do
        for _, locale in ipairs {"C.UTF-8", "C"} do
          list[#list + 1] = {
            name = ("%dx%d, %s, %s, %s"):format(size[1], size[2],
              colour and "in colour" or "without colour", editor, locale),
            columns = size[1], rows = size[2], locale = locale,
            colour = colour, utf8 = locale ~= "C", editor = editor,
            env = {
              NO_COLOR = not colour and "1" or nil,
              COLORTERM = size[1] == 80 and "truecolor" or nil, -- else 256 colours
              MOONWALK_EDITOR = editor == "plain" and "plain" or nil,
              MOONWALK_THREADS = "1", -- many run at a time
              PAGER = "cat",
            },
          }
        end
      end
    end
  end
  return list
end

-- ---- what the screen shows --------------------------------------------------------------------

local function bare(styled) return (styled:gsub("\27%[[%d;:]*m", "")) end

local function width(line) return utf8.len(line) or #line end

-- The cursor's place, the rows, and the lines as they were written, in colours.
function Screen:see()
  local text = self:ask("display-message -p '#{cursor_x} #{cursor_y}'", "capture-pane -p",
    "display-message -p '===='", "capture-pane -p -J -e")
  local column, row, rows, styled = text:match "^(%d+) (%d+)\n(.-)====\n(.*)$"
  local lines = {}
  for line in rows:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines, tonumber(column) + 1, tonumber(row) + 1, styled
end

-- Notes that something is not as it should be.
function Screen:fail(what)
  local lines = (self:lines())
  while lines[#lines] == "" do lines[#lines] = nil end
  self.problems[#self.problems + 1] = ("%s: %s\n%s"):format(self.name, what,
    table.concat(lines, "\n"))
  return false
end

---Notes it when a condition does not hold.
---@param good any
---@param what string
function Screen:check(good, what) return good and true or self:fail(what) end

-- What holds of all answers.
local function check_rules(self, styled, typed)
  if not self.colour and styled:find("\27", 1, true) then self:fail "there are colours" end
  local shown = bare(styled)
  if not self.utf8 and shown:find "[\x80-\xFF]" then self:fail "there is more than ASCII" end
  local first = true
  for line in shown:gmatch "[^\n]*" do
    local is_typed = first and line:find(typed:sub(1, 40), 1, true)
    if not is_typed and width(line) > self.columns then self:fail("wrapped: " .. line) end
    first = false
  end
end

---Waits until the cursor stands behind a prompt on which nothing is typed.
---@param prompt string?  "> "
function Screen:ready(prompt, seconds)
  terminal.Terminal.ready(self, prompt, seconds)
  self.mark = prompt or "> "
end

---Clears the screen, where the prompt stands alone then.
function Screen:clear()
  self:ask("send-keys " .. (self.edits and "C-l" or "-R"))
  self:poll("an empty screen", function(_, _, row) return row == 1 end)
end

-- Types a line on an empty screen; answer_of(lines, column, row) gives the lines of its answer when
-- they are there.
local function enter(self, line, answer_of, seconds)
  if line == self.entered then self:clear() end -- else its answer could be taken for the new one
  self.entered = line
  self:ask("send-keys " .. (self.edits and "C-l" or "-R"), "send-keys -l -- " .. argument(line),
    "send-keys Enter")
  local styled
  self.answer = self:poll(("an answer to '%s'"):format(line), function()
    local lines, column, row, colours = self:see()
    styled = colours
    return answer_of(lines, column, row)
  end, seconds)
  self.styled_answer = styled
  check_rules(self, styled, line)
  return self
end

-- What is behind the line that was typed.
local function behind(styled) return styled:match "^[^\n]*\n(.*)$" end

-- Whether the cursor stands behind a prompt and nothing else.
local function is_free(lines, column, row, prompt)
  return column == #prompt + 1 and lines[row]:gsub("%s+$", "") == prompt:gsub("%s+$", "")
end

---Types a line on an empty screen, and waits for the prompt behind its answer.
---@param line string
---@param prompt string?  that of the next line, "> "
---@param seconds number?  to wait at most
function Screen:enter(line, prompt, seconds)
  prompt = prompt or "> "
  local head = (self.edits and self.mark or "") .. line
  local height = (width(head) + self.columns - 1) // self.columns
  enter(self, line, function(lines, column, row)
    if row <= height or not is_free(lines, column, row, prompt) then return nil end
    local shown = table.concat(lines, "", 1, height) -- without the blanks at the ends of rows
    if shown:gsub("%s", "") ~= head:gsub("%s", "") then return nil end
    return table.move(lines, height + 1, row - 1, 1, {})
  end, seconds)
  self.mark, self.styled_answer = prompt, behind(self.styled_answer)
  return self
end

---Types a line whose answer may be higher than the screen, on which its end is seen.
---@param line string
function Screen:enter_much(line, seconds)
  self:clear()
  return enter(self, line, function(lines, column, row)
    if row == 1 or not is_free(lines, column, row, "> ") then return nil end
    return table.move(lines, 1, row - 1, 1, {})
  end, seconds)
end

-- ---- what the answer has ----------------------------------------------------------------------

---Whether the answer has a text, which may go on in the next line.
function Screen:has(...)
  local text = table.concat(self.answer, "\n")
  local flowing = text:gsub("%s*\n%s*", " ")
  for _, wanted in ipairs {...} do
    if not (text:find(wanted, 1, true) or flowing:find(wanted, 1, true)) then
      self:fail(("%q is not there"):format(wanted))
    end
  end
  return self
end

---Whether the answer has none of the texts.
function Screen:lacks(...)
  local text = table.concat(self.answer, "\n")
  for _, unwanted in ipairs {...} do
    if text:find(unwanted, 1, true) then self:fail(("%q is there"):format(unwanted)) end
  end
  return self
end

---Whether the answer, lines joined by line breaks, matches a pattern.
function Screen:matches(pattern)
  if not table.concat(self.answer, "\n"):find(pattern) then
    self:fail(("nothing matches %q"):format(pattern))
  end
  return self
end

---Whether the answer is exactly these lines.
---@param lines string[]
function Screen:is(lines)
  local got, want = table.concat(self.answer, "\n"), table.concat(lines, "\n")
  if got ~= want then self:fail(("the answer is\n%s\nexpected\n%s"):format(got, want)) end
  return self
end

---The columns of the widest line of the answer.
---@return integer
function Screen:widest()
  local most = 0
  for _, line in ipairs(self.answer) do most = math.max(most, width(line)) end
  return most
end

-- The numbers of the escape sequences that hold at a place of a text, by sequence.
local function style_at(styled, place)
  local style = {}
  for numbers, after in styled:gmatch "\27%[([%d;]*)m()" do
    if after > place then break end
    if numbers == "" or numbers == "0" then style = {}
    elseif numbers == "39" then style.front = nil
    elseif numbers == "49" then style.back = nil
    elseif numbers:find "^[34]8;" or numbers:find "^[349]%d$" then
      style[numbers:find "^4" and "back" or "front"] = numbers
    else style[numbers] = numbers end
  end
  return style
end

---The cells of the answer, row by row, with the numbers of the escape sequences that colour them.
---@return {text: string, front: string?, back: string?}[][]
function Screen:cells()
  local rows, at, style = {}, 1, {}
  local styled, row = self.styled_answer, {}
  while at <= #styled do
    local numbers, after = styled:match("^\27%[([%d;]*)m()", at)
    local text = not numbers and styled:match("^[%z\1-\x7F\xC2-\xFD][\x80-\xBF]*", at)
    if numbers then
      if numbers == "" or numbers == "0" then style = {}
      elseif numbers == "39" then style.front = nil
      elseif numbers == "49" then style.back = nil
      elseif numbers:find "^[39]" then style.front = numbers
      elseif numbers:find "^4" then style.back = numbers end
    elseif text == "\n" then
      rows[#rows + 1], row = row, {}
    else
      row[#row + 1] = {text = text, front = style.front, back = style.back}
    end
    at = after or at + #text
  end
  return rows
end

---Where there are colours: whether a text of the answer is in some, or in that with a number of an
---escape sequence: "1" bold, "2" dim, "31" red.
---@param text string
---@param number string?
function Screen:is_coloured(text, number)
  if not self.colour then return self end
  local styled = self.styled_answer
  local place = styled:find(text, 1, true)
  if not place then
    self:fail(("%q is not in one colour"):format(text))
    return self
  end
  local found = {}
  for _, value in pairs(style_at(styled, place)) do found[#found + 1] = value end
  local all = table.concat(found, " ")
  if all == "" or number and not (" " .. all .. " "):find(" " .. number .. " ", 1, true) then
    self:fail(("%q has the colours %q, expected %s"):format(text, all, number or "some"))
  end
  return self
end

-- ---- playing ----------------------------------------------------------------------------------

local function open(kind, options)
  local given = {}
  for key, value in pairs(kind) do given[key] = value end
  for key, value in pairs(options) do given[key] = value end
  given.env = {}
  for key, value in pairs(kind.env) do given.env[key] = value end
  for key, value in pairs(options.env or {}) do given.env[key] = value end
  local s = terminal.open(given)
  for key, value in pairs(kind) do s[key] = value end
  s.mark, s.answer, s.problems = "> ", {}, {}
  return setmetatable(s, Screen)
end

-- An error's message without empty lines, and where it came from.
local function told(why)
  return debug.traceback((tostring(why):gsub("\n%s*\n%s*", "\n")), 2)
end

-- Goes through the cases in one terminal; one that does not come to its end is the last one.
local function go_through(s, cases, failed)
  s.problems = failed[1]
  local good, why = xpcall(s.ready, told, s)
  for i, case in ipairs(cases) do
    if not good then break end
    s.problems = failed[i]
    good, why = xpcall(case[2], told, s)
  end
  if not good then
    why = ("%s: %s\n(no case behind this one was played)"):format(s.name, why)
    s.problems[#s.problems + 1] = why
  end
end

local function has_libedit()
  local s <close> = terminal.open {}
  s:ready()
  s:run "require('moonwalk.prompt.input').kind()"
  return s:text():find('"libedit"', 1, true) ~= nil
end

-- Lets the terminals go on by turns, each from one look at its screen to the next.
local function play(running, cases, failed)
  local alone = terminal.rest
  terminal.rest = coroutine.yield
  while #running > 0 do
    for i = #running, 1, -1 do
      local it = running[i]
      assert(coroutine.resume(it.thread, it.screen, cases, failed))
      if coroutine.status(it.thread) == "dead" then
        it.screen:close()
        table.remove(running, i)
      end
    end
    os.execute "sleep 0.01"
  end
  terminal.rest = alone
end

---Plays cases in all kinds of terminals, and tells of each how it went.
---@param cases table[]  {name, function of an everywhere.Screen}
---@param options table?  of terminal.open
function everywhere.play(cases, options)
  options = options or {}
  if not terminal.available() then
    t.skip("the prompt in all kinds of terminals", "tmux is not there")
    return
  end
  local failed, running, editor = {}, {}, has_libedit()
  if not editor then print "# there is no libedit: all of it is played without a line editor" end
  for i = 1, #cases do failed[i] = {} end
  for i, kind in ipairs(kinds()) do
    local s = open(kind, options)
    s.edits = kind.editor == "libedit" and editor
    running[i] = {screen = s, thread = coroutine.create(go_through)}
  end
  play(running, cases, failed)
  for i, case in ipairs(cases) do
    t.ok(#failed[i] == 0, case[1])
    for k, problem in ipairs(failed[i]) do
      if k > MOST_TOLD then print(("# and %d more"):format(#failed[i] - MOST_TOLD)) break end
      print("# " .. problem:gsub("\n", "\n#   "))
    end
  end
end

return everywhere
