-- prompt_everywhere_pixels.lua: pictures by kitty's protocol and as sixels, in all kinds of
-- terminals: the bytes that they get, and that all else on the screen stays where it is.

local t = require "tap"
local everywhere = require "everywhere"
local folder = require "folder"

-- What a command of the prompt writes to the terminal, byte by byte, up to where a text ends it.
local function bytes_of(s, line, last)
  local path = s.folder .. "/written"
  s:clear()
  s:ask(("pipe-pane -O \"cat >'%s'\""):format(path))
  s:enter(line)
  local bytes
  s:poll("the end of a picture", function()
    local file = io.open(path, "rb")
    bytes = file and file:read "a"
    if file then file:close() end
    return bytes and bytes:find(last, 1, true)
  end)
  s:ask "pipe-pane"
  return bytes
end

-- 8 by 8 pixels are 4 lines high, of white and black alone.
local LINE = "show(mw.zeros({2, 8, 8}, 'u8'), {scale = 1, captions = {'left', 'right'}})"

local function is_below(s)
  s:check(#s.answer == 5 and s.answer[5]:find "^left +right$" and not s.answer[4]:find "%S",
    "four lines are left to the picture, above the captions")
  s:enter "6 * 7":is {"42"}
end

everywhere.play({
  {"kitty: a PNG file in base 64, over the columns and lines that are left to it", function(s)
    local bytes = bytes_of(s, LINE, "\27\\")
    -- PNG's first eight bytes are iVBORw0KGgo in base 64.
    s:check(bytes:find "\27_Ga=T,f=100,[^;]*r=4,m=0;iVBORw0KGgo[%w+/]+=*\27\\", "the picture")
    is_below(s)
  end},
}, {env = {MOONWALK_PICTURES = "kitty"}})

everywhere.play({
  {"sixels: their size and their bands", function(s)
    local bytes = bytes_of(s, LINE, "\27\\")
    local body = bytes:match "\27P[%d;]*q(.-)\27\\"
    s:check(body, "the picture")
    local width, height = (body or ""):match '^"1;1;(%d+);(%d+)'
    -- Each band of six lines ends with "-", but the last may not.
    local bands = select(2, (body or ""):gsub("%-", ""))
    local full = height and (tonumber(height) + 5) // 6
    s:check(width and (bands == full or bands == full - 1),
      ("%s by %s pixels in %d bands"):format(width, height, bands))
    is_below(s)
  end},
}, {env = {MOONWALK_PICTURES = "sixel"}})

folder.remove()
t.done()
