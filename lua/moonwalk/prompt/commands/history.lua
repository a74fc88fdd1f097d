-- history.lua: `:history` lists what was typed.

local screen = require "moonwalk.look.screen"

-- An entry as lines: its number, whether it failed, its text.
local function add_entry(lines, number, entry, width, columns)
  local mark = entry.ok == false and "!" or " "
  local head = ("%" .. width .. "d%s "):format(number, mark)
  for line in (entry.text .. "\n"):gmatch "([^\n]*)\n" do
    lines[#lines + 1] = screen.paint(head, mark == "!" and "red" or "dim")
      .. screen.cut(line, columns - width - 2)
    head = (" "):rep(width + 2)
  end
end

return {
  usage = ":history [word]",
  doc = "Lists what was typed, or what of it has the word; ! marks what failed.",
  run = function(session, argument)
    local columns = screen.size()
    local width, lines = #tostring(#session.entries), {}
    for number, entry in ipairs(session.entries) do
      local is_this = number == #session.entries and entry.ok == nil
      if not is_this and entry.text:find(argument, 1, true) then
        add_entry(lines, number, entry, width, columns)
      end
    end
    if #lines == 0 then
      lines[1] = argument == "" and "nothing was typed yet"
        or ("nothing that was typed has %q"):format(argument)
    end
    session:say(table.concat(lines, "\n"))
  end,
}
