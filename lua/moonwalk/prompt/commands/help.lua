-- help.lua: `:help` lists the commands.

local screen = require "moonwalk.look.screen"
local session = require "moonwalk.prompt.session"

local FIRST = [[
Lua is typed as it is; the value of an expression is shown, `;` at the end hides it, _ is the last
one. mw, nn, optim and data are there. ?conv2d explains an op, ??conv2d shows its source.
]]

return {
  usage = ":help",
  doc = "Lists the commands.",
  run = function(self)
    local width, rows = 0, {}
    for i, name in ipairs(session.commands()) do
      local command = session.command(name)
      rows[i] = {command.usage, command.doc}
      width = math.max(width, screen.width(command.usage))
    end
    local columns, lines = screen.size(), {FIRST}
    for i, row in ipairs(rows) do
      lines[i + 1] = screen.cut(screen.pad(row[1], width + 2) .. row[2], columns)
    end
    self:say(table.concat(lines, "\n"))
  end,
}
