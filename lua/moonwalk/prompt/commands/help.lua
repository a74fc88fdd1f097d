-- help.lua: `:help` shows what there is at the prompt, and explains a command.

local core = require "moonwalk.core"
local check = require "moonwalk.check"
local markdown = require "moonwalk.look.markdown"
local screen = require "moonwalk.look.screen"
local session = require "moonwalk.prompt.session"

local FIRST = "Lua is typed as it is. The value of an expression is shown; `;` at its end hides "
  .. "it. `_` is the last one. mw, nn, optim and data are there."
local LAST = ":help edit explains a command. :doc prompt is the manual's chapter. Tab completes, "
  .. "Ctrl-C stops what runs, Ctrl-D leaves."

-- Functions, keys, and commands by their names, in the order in which they are shown.
local GROUPS = {
  {"Looking", "show(t)", "plot(ys)", "hist(t)", ":full", ":who", ":time", ":bench"},
  {"Graphs", "draw(loss)", "why(loss, w)", "walk(loss)", ":nan", ":debug"},
  {"Ops", ":op", ":source", ":ops", ":edit", ":watch", ":reload", ":new"},
  {"Training", "mw.fit(net, set)", ":pause", ":resume", ":step", ":stop"},
  {"Session", ":help", ":tour", ":doc", ":history", ":save"},
}

-- The groups, each with the usages of its commands, and at the end the commands of none.
local function groups()
  local list, named = {}, {}
  for i, group in ipairs(GROUPS) do
    list[i] = {group[1]}
    for k = 2, #group do
      local name = group[k]:match "^:(.*)$"
      local command = name and session.command(name)
      if name then named[name] = true end
      if command or not name then list[i][#list[i] + 1] = command and command.usage or group[k] end
    end
  end
  local others = {"Others"}
  for _, name in ipairs(session.commands()) do
    if not named[name] then others[#others + 1] = session.command(name).usage end
  end
  if #others > 1 then list[#list + 1] = others end
  return list
end

-- Words side by side behind a heading.
local function row(group, width, columns)
  local lines, line = {}, screen.paint(screen.pad(group[1], width), "bold")
  for i = 2, #group do
    if screen.width(line) + 2 + screen.width(group[i]) > columns then
      lines[#lines + 1], line = line, (" "):rep(width)
    end
    line = line .. "  " .. group[i]
  end
  lines[#lines + 1] = line
  return lines
end

local function overview()
  local columns, width, lines = screen.size(), 0, {markdown.render(FIRST), ""}
  local list = groups()
  for _, group in ipairs(list) do width = math.max(width, #group[1]) end
  for _, group in ipairs(list) do
    local rows = row(group, width, columns)
    table.move(rows, 1, #rows, #lines + 1, lines)
  end
  lines[#lines + 1] = ""
  lines[#lines + 1] = markdown.render(LAST)
  return table.concat(lines, "\n")
end

return {
  usage = ":help [command]",
  doc = "Shows what there is at the prompt, or explains a command.",
  run = function(self, argument)
    if argument == "" then return self:say(overview()) end
    local name = argument:gsub("^:", "")
    local command = session.command(name)
    if not command then
      local near = check.near(name, session.commands())
      core.error((":%s is no command; %s"):format(name, near and ("did you mean :%s?"):format(near)
        or ("?%s may explain it, :help lists the commands"):format(name)))
    end
    self:say(screen.paint(command.usage, "bold") .. "\n" .. screen.wrap(command.doc))
  end,
  complete = session.commands,
}
