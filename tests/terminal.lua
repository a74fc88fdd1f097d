-- terminal.lua: the command `moonwalk` in a terminal of a test's own, which tmux plays: keys go in,
-- and what its screen shows comes out.
--
--   local s <close> = terminal.open {columns = 80, rows = 24, locale = "C.UTF-8"}
--   s:ready()                       -- the prompt is there
--   s:run "x = mw.ones {2}"         -- types a line, Enter, waits for the next prompt
--   s:type "x:sum()"; s:key "Enter"
--   s:wait "2"                      -- until the screen has the text; raises after a minute
--   t.ok(s:text():find("f32", 1, true), "...")

local terminal = {}

local Terminal = {}
Terminal.__index = Terminal
terminal.Terminal = Terminal

local PATIENCE = 60 -- seconds
local MOST_AT_ONCE = 1 -- second between two looks that counts: a machine that stood still, or whose
                       -- clock was set, has shown nothing meanwhile
local KEPT = {"PATH", "TMPDIR", "MOONWALK_BUILD", "MOONWALK_DATA", "MOONWALK_GATE_SECONDS",
  "LD_LIBRARY_PATH",
  "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}

-- A server outlives a test that was killed by ten minutes at most.
local SETTINGS = [[
set -g status off
set -s escape-time 0
set -g default-terminal "%s"
set -g default-shell /bin/sh
set -g history-limit 10000
set -g remain-on-exit on
set -gq remain-on-exit-format ""
run-shell -b -d 600 -C kill-server
]]

local function quote(text) return "'" .. text:gsub("'", [['\'']]) .. "'" end

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  local done = pipe:close()
  return text, done
end

-- An argument of a command of tmux, which reads it as tmux does and not a shell.
local function argument(text)
  text = text:gsub('[%c"\\$]', function(c)
    return c:find "%c" and ("\\%03o"):format(c:byte()) or "\\" .. c
  end)
  return '"' .. text .. '"'
end

---An argument of a command of tmux.
terminal.argument = argument

---Whether there is a tmux to play a terminal. A test without one is skipped:
---`if not terminal.available() then t.skip("the prompt", "tmux is not there") return t.done() end`
---@return boolean
function terminal.available()
  local version = output "tmux -V 2>/dev/null"
  return (tonumber(version:match "(%d+%.%d+)") or 0) >= 3.2
end

-- What the shell of the terminal runs: the command, with nothing of this test's environment but
-- what it is given.
local function command_line(self, options)
  local parts = {"exec env -i", 'TERM="$TERM"', "LC_ALL=" .. quote(options.locale or "C.UTF-8"),
    "HOME=" .. quote(self.home), "XDG_CACHE_HOME=" .. quote(self.home .. "/cache"),
    "XDG_STATE_HOME=" .. quote(self.home .. "/state"),
    "XDG_DATA_HOME=" .. quote(self.home .. "/data")}
  for _, name in ipairs(KEPT) do
    local value = os.getenv(name)
    if value then parts[#parts + 1] = name .. "=" .. quote(value) end
  end
  for name, value in pairs(options.env or {}) do
    parts[#parts + 1] = name .. "=" .. quote(tostring(value))
  end
  parts[#parts + 1] = options.command or
    quote((os.getenv "MOONWALK_BUILD" or "build") .. "/moonwalk") .. " " .. (options.args or "")
  return table.concat(parts, " ")
end

---Starts the command in a terminal. Options: `columns` (80), `rows` (24); `locale` ("C.UTF-8",
---or "C"); `args`, the command's arguments as a shell reads them; `env`, a table of variables, of
---which TERM is the kind of terminal, "screen-256color" if none is named; `home`, a folder that
---stays, which is the user's home: else there is an empty one; `folder`, where the command runs;
---`command`, a command line instead of `moonwalk`.
---@param options table?
function terminal.open(options)
  options = options or {}
  local folder = output "mktemp -d":match "[^\n]+"
  local self = setmetatable({folder = folder, home = options.home or folder}, Terminal)
  local environment = {}
  for name, value in pairs(options.env or {}) do environment[name] = value end
  local kind = environment.TERM or "screen-256color"
  environment.TERM = nil
  local file = assert(io.open(folder .. "/tmux.conf", "w"))
  file:write(SETTINGS:format(kind))
  file:close()
  self.tmux = ("LC_ALL=C.UTF-8 tmux -u -S %s -f %s "):format(quote(folder .. "/socket"),
    quote(folder .. "/tmux.conf"))
  local started, done = output(("%snew-session -d -x %d -y %d %s %s 2>&1"):format(self.tmux,
    options.columns or 80, options.rows or 24, options.folder and "-c " .. quote(options.folder)
    or "", quote(command_line(self, setmetatable({env = environment}, {__index = options})))))
  if not done then error("tmux new-session: " .. started, 0) end
  self:connect()
  return self
end

-- Begins a client of the server that takes commands and gives answers as long as it runs, so that
-- a look at the screen starts no program.
function Terminal:connect()
  local answers = self.folder .. "/answers"
  output("mkfifo " .. quote(answers))
  self.commands = assert(io.popen(("%s-C attach-session -f no-output,ignore-size >%s 2>&1")
    :format(self.tmux, quote(answers)), "w"))
  self.answers = assert(io.open(answers, "r"))
end

-- The next answer: what stands between lines that begin with %begin and %end. What was not asked,
-- as that the client is attached, has a 0 at their ends.
local function next_answer(self)
  local lines, number = {}, nil
  for line in self.answers:lines() do
    if number then
      local word, own = line:match "^%%(%l+) %d+ (%d+) %d+$"
      if (word == "end" or word == "error") and own == number then
        return table.concat(lines, "\n") .. (#lines > 0 and "\n" or ""), word == "end"
      end
      lines[#lines + 1] = line
    else
      number = line:match "^%%begin %d+ (%d+) 1$"
    end
  end
  error("tmux has ended", 0)
end

-- The answer of tmux to one command or several, one behind the other.
function Terminal:ask(...)
  for i = 1, select("#", ...) do self.commands:write((select(i, ...)), "\n") end
  self.commands:flush()
  local answers = {}
  for i = 1, select("#", ...) do
    local text, done = next_answer(self)
    if not done then error(("tmux %s: %s"):format(select(i, ...), text), 0) end
    answers[i] = text
  end
  return table.concat(answers)
end

local function split(text)
  local lines = {}
  for line in text:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

-- The lines of the screen, the cursor's column and row, and whether the command has ended.
function Terminal:look()
  local text = self:ask("display-message -p '#{cursor_x} #{cursor_y} #{pane_dead}'",
    "capture-pane -p")
  local column, row, dead, rest = text:match "^(%d+) (%d+) (%d?)\n(.*)$"
  return split(rest), tonumber(column) + 1, tonumber(row) + 1, dead == "1"
end

-- What the screen shows, and where the cursor is.
local function state(lines, column, row)
  return ("%d %d %s"):format(column, row, table.concat(lines, "\n"))
end

-- Remembers the screen as it is before keys are sent, so that it is not taken for their outcome.
local function remember(self) self.before = state(self:look()) end

---Types a text.
---@param text string
function Terminal:type(text)
  remember(self)
  self:ask("send-keys -l -- " .. argument(text))
end

---Presses keys, by the names that tmux has for them: "Enter", "Up", "C-c", "Tab", "BSpace", "M-b".
function Terminal:key(...)
  local names = {}
  for i, name in ipairs {...} do names[i] = argument(name) end
  remember(self)
  self:ask("send-keys " .. table.concat(names, " "))
end

---Pastes a text, as a terminal does: in brackets where the program has asked for them.
---@param text string
function Terminal:paste(text)
  local path = self.folder .. "/pasted"
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  remember(self)
  self:ask("load-buffer " .. argument(path), "paste-buffer -p -d")
end

---The lines of the screen from the top, without the blanks at their ends.
---@return string[]
function Terminal:lines() return split(self:ask "capture-pane -p") end

---The screen as one text.
---@return string
function Terminal:text() return self:ask "capture-pane -p" end

---The screen as one text, with the escape sequences that colour it.
---@return string
function Terminal:styled() return self:ask "capture-pane -p -e" end

---The screen and all that has left it at the top, as one text; lines that were wrapped are one.
---@return string
function Terminal:all() return self:ask "capture-pane -p -J -S -" end

---Where the cursor is, from 1.
---@return integer column
---@return integer row
function Terminal:cursor()
  local _, column, row = self:look()
  return column, row
end

---What is done between two looks at a screen; a test that plays several terminals at a time goes on
---with another.
function terminal.rest() os.execute "sleep 0.02" end

-- Looks at the screen until done(lines, column, row, dead) has a result, which it returns.
function Terminal:poll(what, done, seconds)
  local waited, now = 0, os.time()
  while true do
    local lines, column, row, dead = self:look()
    local result = done(lines, column, row, dead)
    if result then
      self.before = nil
      return result
    end
    local before = now
    now = os.time()
    waited = waited + math.max(0, math.min(os.difftime(now, before), MOST_AT_ONCE))
    if waited > (seconds or PATIENCE) then
      error(("the terminal does not show %s, but%s:\n%s"):format(what,
        dead and ", now that the command has ended" or "", table.concat(lines, "\n")), 0)
    end
    terminal.rest()
  end
end

---Makes the terminal larger or smaller, and waits until the command can know: tmux tells it a while
---later.
function Terminal:resize(columns, rows)
  self:ask(("resize-window -x %d -y %d"):format(columns, rows))
  local tty = self:ask "display-message -p '#{pane_tty}'":match "[^\n]+"
  local size = ("%d %d\n"):format(rows, columns)
  self:poll("the new size", function() return output("stty -F " .. tty .. " size") == size end)
end

---Waits until the screen has a text, or until a function of the screen's text has a result, which
---is returned. Raises, with the screen, after a minute or as many seconds as are given.
---@param wanted string|fun(text: string): any
---@param seconds number?
function Terminal:wait(wanted, seconds)
  local is_text = type(wanted) == "string"
  return self:poll(is_text and "'" .. wanted .. "'" or "what is waited for", function(lines)
    local text = table.concat(lines, "\n")
    if is_text then return text:find(wanted, 1, true) end
    return wanted(text)
  end, seconds)
end

---Waits until the screen no longer has a text.
function Terminal:wait_gone(text, seconds)
  return self:wait(function(screen) return not screen:find(text, 1, true) end, seconds)
end

---Waits until the cursor stands behind a prompt on which nothing is typed. The screen as it was
---before the last keys is not taken for that.
---@param prompt string? # "> "
function Terminal:ready(prompt, seconds)
  prompt = prompt or "> "
  local before = self.before
  return self:poll("the prompt '" .. prompt .. "'", function(lines, column, row)
    local line = (lines[row] or ""):gsub("%s+$", "")
    return line == prompt:gsub("%s+$", "") and column == #prompt + 1
      and state(lines, column, row) ~= before
  end, seconds)
end

---Types a line and waits until it is shown; then Enter, and waits for the next prompt.
---@param text string
---@param prompt string? # that of the next line, "> "
function Terminal:run(text, prompt, seconds)
  self:type(text)
  self:poll("'" .. text .. "' before the cursor", function(lines, _, row)
    local shown = (lines[row] or ""):gsub("%s+$", "")
    local tail = text:gsub("%s+$", ""):sub(-math.min(#text, #shown, 12))
    return shown ~= ">" and shown:sub(-#tail) == tail
  end)
  self:key "Enter"
  return self:ready(prompt, seconds)
end

---Waits until the command has ended, and returns its exit status: 128 and the number of the signal
---that has ended it.
---@return integer status
function Terminal:finish(seconds)
  return self:poll("the command's end", function(_, _, _, dead)
    local answer = dead and self:ask "display-message -p '#{pane_dead_status} #{pane_dead_signal}'"
    local status, signal = (answer or ""):match "^(%d*) (%d*)"
    -- tmux may overlook that a process has ended until another one does.
    if status == "" and signal == "" then self:ask "run-shell true" end
    return tonumber(status) or signal and tonumber(signal) and 128 + tonumber(signal)
  end, seconds)
end

---Ends the command and takes the terminal away; a test's end does that too.
function Terminal:close()
  if self.closed then return end
  self.closed = true
  os.execute(self.tmux .. "kill-server 2>/dev/null")
  if self.commands then self.commands:close() end
  if self.answers then self.answers:close() end
  local remove = "rm -rf " .. quote(self.folder) -- in which what was ended may still write
  os.execute(("%s 2>/dev/null || { sleep 0.5; %s; }"):format(remove, remove))
end

Terminal.__close = Terminal.close
Terminal.__gc = Terminal.close

return terminal
