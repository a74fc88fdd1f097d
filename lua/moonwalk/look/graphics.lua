-- graphics.lua: pictures in terminals that draw pixels: by kitty's protocol
-- (https://sw.kovidgoyal.net/kitty/graphics-protocol) or as sixels.

local core = require "moonwalk.core"
local screen = require "moonwalk.look.screen"

local graphics = {}

-- ---- which -----------------------------------------------------------------------------------

local ANSWER_WITHIN = 100 -- milliseconds

local QUESTION = "\27[c" -- what it is (ECMA-48, 8.3.24: DA)

---Whether a terminal that answers so has sixels: 4 among its attributes stands for them.
---@param answer string
---@return boolean
function graphics.tells_sixels(answer) return answer:find "\27%[%?[%d;]*;4[;c]" ~= nil end

local sixels -- whether the terminal has them; nil: it was not asked

local function has_sixels()
  if sixels ~= nil then return sixels end
  local answer = core.ask_terminal(QUESTION, "c", ANSWER_WITHIN)
  if not answer then return false end -- it may be asked another time
  sixels = graphics.tells_sixels(answer)
  return sixels
end

---How the terminal shows pictures: what MOONWALK_PICTURES says, or what it can.
---@return "kitty"|"sixel"|"blocks"
function graphics.protocol()
  local wanted = os.getenv "MOONWALK_PICTURES" or ""
  if wanted == "kitty" or wanted == "sixel" or wanted == "blocks" then return wanted end
  if wanted ~= "" then
    core.error(("the environment variable MOONWALK_PICTURES is %q, expected kitty, sixel or blocks")
      :format(wanted))
  end
  if screen.colours() == 0 then return "blocks" end
  local kind, program = os.getenv "TERM" or "", os.getenv "TERM_PROGRAM" or ""
  local is_inside = os.getenv "TMUX" or kind:find "^screen" or kind:find "^tmux"
  if not is_inside and (os.getenv "KITTY_WINDOW_ID" or kind:find "kitty" or program == "ghostty"
    or program == "WezTerm") then
    return "kitty"
  end
  return has_sixels() and "sixel" or "blocks"
end

---The pixels of a character, as the terminal says or as is usual.
---@return integer width
---@return integer height
function graphics.cell()
  local width, height = core.cell()
  return width or 10, height or 20
end

-- ---- pixels ----------------------------------------------------------------------------------

---Pictures of one size side by side, as four bytes a pixel: red, green, blue, opacity. What lies
---between, behind and below them is transparent.
---@param row moonwalk.Picture[]
---@param gap integer pixels between them
---@param width integer pixels of the result
---@param height integer
---@return string rgba
function graphics.join(row, gap, width, height)
  local lines, space, empty = {}, ("\0"):rep(4 * gap), ("\0"):rep(4 * width)
  local behind = width - #row * (row[1].width + gap) + gap
  for y = 1, height do
    local parts = {}
    for i, picture in ipairs(row) do
      local first = 3 * (y - 1) * picture.width
      parts[i] = picture.rgb:sub(first + 1, first + 3 * picture.width):gsub("...", "%0\255")
    end
    lines[y] = y <= row[1].height and table.concat(parts, space) .. ("\0"):rep(4 * behind) or empty
  end
  return table.concat(lines)
end

-- ---- escape sequences ------------------------------------------------------------------------

local PIECE = 4096 -- letters in one sequence

-- A PNG file over so many columns and lines. The cursor stays, and nothing is answered.
local function kitty(rgba, width, height, columns, lines)
  local text, parts = core.base64(core.png(rgba, width, height, 4)), {}
  for first = 1, #text, PIECE do
    local more = first + PIECE <= #text and 1 or 0
    local head = first == 1 and ("a=T,f=100,q=2,C=1,c=%d,r=%d,"):format(columns, lines) or "q=2,"
    parts[#parts + 1] = ("\27_G%sm=%d;%s\27\\"):format(head, more,
      text:sub(first, first + PIECE - 1))
  end
  return table.concat(parts)
end

---The text that draws pixels over so many columns and lines of the terminal, from the beginning of
---a line on, and leaves the cursor at the beginning of the last of the lines.
---@param protocol "kitty"|"sixel"
---@param rgba string
---@param width integer pixels
---@param height integer
---@param columns integer
---@param lines integer
---@return string
function graphics.draw(protocol, rgba, width, height, columns, lines)
  local drawn = protocol == "kitty" and kitty(rgba, width, height, columns, lines)
    or core.sixel(rgba, width, height)
  -- Terminals do not agree on where the cursor goes: make room, note the place, come back to it.
  local room = ("\n"):rep(lines) .. ("\27[%dA"):format(lines)
  return room .. "\0277" .. drawn .. "\0278" .. ("\27[B"):rep(lines - 1) .. "\r"
end

return graphics
