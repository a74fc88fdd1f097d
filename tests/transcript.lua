-- transcript.lua: sessions at the prompt as the manual shows them: what is typed, and what the
-- screen answers, in blocks of the language `moonwalk`.
--
--     ```moonwalk
--     > x = mw.tensor {1, 2}
--     > x * 2
--     f32[2]  min 2  mean 3  max 4
--     {2, 4}
--     ```
--
-- Lines that begin with > and >> are typed. A line that is ... stands for any lines.

local transcript = {}

---@class moonwalk.Exchange
---@field typed string  of one or several lines
---@field answer string[]
---@field section string  the heading above it
---@field note string?  of a comment before the block: <!-- note -->

---What is typed on a page, and what is answered.
---@param text string  Markdown
---@return moonwalk.Exchange[]
function transcript.read(text)
  local list, section, inside, note = {}, "", false, nil
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local typed, more = line:match "^> (.*)$", line:match "^>> (.*)$"
    if line:find "^```" then
      inside = not inside and line == "```moonwalk"
      if not inside then note = nil end
    elseif not inside then
      section = line:match "^#+ (.*)$" or section
      note = line:match "^<!%-%- *(.-) *%-%->$" or note
    elseif typed then
      list[#list + 1] = {typed = typed, answer = {}, section = section, note = note}
    elseif more then
      list[#list].typed = list[#list].typed .. "\n" .. more
    else
      table.insert(list[#list].answer, line)
    end
  end
  return list
end

---What the screen has answered to the text that was typed last.
---@param all string  the screen and what has left it
---@param typed string
---@return string[]?
function transcript.answer(all, typed)
  local shown, from, at = "\n> " .. typed:gsub("\n", "\n>> ") .. "\n", nil, 1
  all = "\n" .. all:gsub(" +\n", "\n")
  while at do
    local found, last = all:find(shown, at, true)
    if found then from = last + 1 end
    at = found and found + 1
  end
  if not from then return nil end
  local lines = {}
  for line in all:sub(from):gmatch "([^\n]*)\n" do
    if line:find "^> ?" then break end
    lines[#lines + 1] = line
  end
  while lines[#lines] == "" do lines[#lines] = nil end
  return lines
end

-- A line without its numbers, and these.
local function parts(line)
  local numbers = {}
  line = line:gsub("%[%d+%]:%d+", "[]") -- which entry it was
  local words = line:gsub("%-?%d+%.?%d*[eE]?%-?%d*", function(number)
    numbers[#numbers + 1] = tonumber(number) or 0
    return "#"
  end)
  return words:gsub("%s+", " "), numbers
end

-- Whether a line is the one that is wanted: words are, and numbers are near.
local function is_near(got, want, tolerance)
  if got == want then return true end
  local got_words, got_numbers = parts(got)
  local want_words, want_numbers = parts(want)
  if got_words ~= want_words or #got_numbers ~= #want_numbers then return false end
  for i, number in ipairs(want_numbers) do
    local scale = math.max(math.abs(number), math.abs(got_numbers[i]))
    if math.abs(number - got_numbers[i]) > tolerance * scale + 1e-6 then return false end
  end
  return true
end

---The first line of an answer that is another one than the page shows, or nil. What follows it
---after an empty line is none of it.
---@param got string[]
---@param want string[]
---@param tolerance number  of numbers: 0.01 for a hundredth
---@return string? difference
function transcript.difference(got, want, tolerance)
  local i, any = 1, false
  for _, line in ipairs(want) do
    if line == "..." then any = true
    else
      while any and got[i] and not is_near(got[i], line, tolerance) do i = i + 1 end
      if not got[i] or not is_near(got[i], line, tolerance) then
        return ("got  %s\nwant %s"):format(got[i] or "nothing more", line)
      end
      i, any = i + 1, false
    end
  end
  if got[i] and got[i] ~= "" and not any then return "too much: " .. got[i] end
end

return transcript
