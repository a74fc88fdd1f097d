-- picture.lua: writes a drawing to a file: SVG as it is, PNG by a program found at run time.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local shell = require "moonwalk.shell"

local picture = {}

-- Programs that make a PNG of an SVG; %s are its path and that of the SVG.
local CONVERTERS = {
  {"rsvg-convert", "rsvg-convert -f png -o %s < %s"},
  {"magick", "magick SVG:- PNG:%s < %s"},
  {"convert", "convert SVG:- PNG:%s < %s"},
}

local function write(path, text)
  local file, why = io.open(path, "wb")
  if not file then return nil, why end
  local written = file:write(text)
  if not (file:close() and written) then return nil, path .. ": cannot be written" end
  return path
end

-- A PNG of an SVG file: its path, or nil and why.
local function convert(source, path)
  for _, converter in ipairs(CONVERTERS) do
    if shell.has(converter[1]) then
      local command = converter[2]:format(shell.quote(path), shell.quote(source))
      local pipe = assert(io.popen("{ " .. command .. "; } 2>&1"))
      local output = pipe:read "a"
      if pipe:close() then return path end
      return nil, ("%s: %s failed: %s"):format(path, converter[1], output:match "^[^\n]*")
    end
  end
  return nil, path .. ": a PNG takes rsvg-convert (package librsvg2-bin) or ImageMagick, which are "
    .. "not there; an .svg file takes neither"
end

---Raises unless a file is one that a drawing can be written to.
---@param where string
---@param path any
---@return string? path
function picture.check(where, path)
  if path == nil then return nil end
  check.path(where, "file", path)
  local ending = path:lower():match "%.(%a+)$"
  if ending ~= "svg" and ending ~= "png" then
    core.error(("%s: file is %q, expected a name that ends in .svg or .png"):format(where, path))
  end
  return path
end

---Writes a drawing, by what the path ends in. nil and a message when it cannot be written.
---@param path string
---@param text string  SVG
---@return string? path
---@return string? message
function picture.write(path, text)
  if path:lower():find "%.svg$" then return write(path, text) end
  local temporary = os.tmpname()
  local done, why = write(temporary, text)
  if not done then return nil, why end
  done, why = convert(temporary, path)
  os.remove(temporary)
  if not done then return nil, why end
  return path
end

return picture
