-- screens.lua: the pictures of the README and the manual: plays sessions at the prompt in a
-- terminal, and draws its screen.
--
--   LUA_PATH='tests/?.lua;tools/?.lua;;' MOONWALK_BUILD=build build/moonwalk tools/screens.lua \
--     docs/screens [NAME ...]

local terminal = require "terminal"
local screen_svg = require "screen_svg"

local PATIENCE = 120 -- seconds

-- ---- what the sessions need -------------------------------------------------------------------

local SQUASH = [[
/* squash.c: an activation function. */
#include <math.h>
#include <moonwalk.h>

static mw_status forward(const mw_call *call) {
  const real *x = call->in[0].data;
  real *y = call->out[0].data;
  for (int64_t i = 0; i < call->in[0].count; i++) y[i] = 1 / (1 + (real)exp(-x[i]));
  return MW_OK;
}

static const mw_op squash = {
    .name = "squash",
    .version = 1,
    .doc = "A function that squashes.",
    .example = "mw.squash(mw.randn{2,3})",
    .inputs = {{"x"}},
    .outputs = {{"y"}},
    .infer = mw_infer_like,
    .forward = forward,
    .derivative = {"dy * y * (1 - y)"},
};
MW_PLUGIN(&squash)
]]

-- Makes a sigmoid of squash.c a tanh, as one would by hand.
local EDITOR = [[
#!/bin/sh
for file; do
  case $file in
  *.c) sed -i 's|1 / (1 + (real)exp(-x\[i\]))|(real)tanh(x[i])|
s|dy \* y \* (1 - y)|dy * (1 - y * y)|' "$file" ;;
  esac
done
]]

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

-- ---- the sessions -----------------------------------------------------------------------------

-- Types lines, the lines of a block each at its own prompt.
local function run(screen, ...)
  for _, text in ipairs {...} do
    local lines = {}
    for line in (text .. "\n"):gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
    for i, line in ipairs(lines) do screen:run(line, i < #lines and ">> " or "> ", PATIENCE) end
  end
end

local function start(screen, text)
  screen:type(text)
  screen:key "Enter"
end

-- What the tour has come to when the picture is taken.
local function digits(screen)
  run(screen, "mw.seed(1)", "digits = data.digits {n = 4000};",
    "train, valid = digits:split {0.9, 0.1, seed = 1};", "batch = train:batches {size = 8} ();")
end

local function network(screen)
  digits(screen)
  run(screen, [[
net = nn.Sequential {
  nn.Conv2d {1, 8, kernel = 5}, nn.ReLU {}, nn.MaxPool {2},
  nn.Flatten {}, nn.Dense {8 * 12 * 12, 10},
}]], 'options = {epochs = 5, valid = valid, metrics = {"accuracy"}};')
end

local DEEP = [[
function deep(layer)
  local list = {nn.Flatten {}, nn.Dense {784, 32}}
  for _ = 1, 4 do
    list[#list + 1] = layer {}
    list[#list + 1] = nn.Dense {32, 32}
  end
  return nn.Sequential(list)
end]]

---@class moonwalk.Scene
---@field name string
---@field title string  what the picture shows
---@field rows integer?  of the terminal
---@field from string  how the picture's first line begins
---@field play fun(screen: table)

---@type moonwalk.Scene[]
local SCENES = {
  {
    name = "digits", title = "Eight digits, shown in a terminal", from = "> show",
    play = function(screen)
      digits(screen)
      run(screen, "show(batch.x)", "batch.y")
    end,
  },
  {
    name = "training", title = "A training, whose loss is drawn while it runs",
    from = "> history", rows = 26,
    play = function(screen)
      network(screen)
      start(screen, "history = mw.fit(net, train, options)")
      screen:wait("epoch 5/5", PATIENCE)
    end,
  },
  {
    name = "filters", title = "The filters that a network has learned", from = "> show",
    play = function(screen)
      network(screen)
      run(screen, "history = mw.fit(net, train, options)", "show(net[1].weight)",
        "hist(net[1].weight)")
    end,
  },
  {
    name = "why", title = "The gradient's way back through sigmoids, where it vanishes, and "
      .. "through rectifiers, where it does not", from = "> net = deep(nn.Sigmoid)", rows = 40,
    play = function(screen)
      digits(screen)
      run(screen, DEEP, "net = deep(nn.Sigmoid);", "loss = net(batch.x):cross_entropy(batch.y)",
        "why(loss, net[2].weight)", "net = deep(nn.ReLU);",
        "loss = net(batch.x):cross_entropy(batch.y)", "why(loss, net[2].weight)")
    end,
  },
  {
    name = "swap", title = "An op in C is edited while a network trains that uses it: "
      .. "it was a sigmoid, now it is a tanh, and the loss falls", from = "epoch 1/", rows = 30,
    play = function(screen)
      run(screen, "mw.seed(1)", 'mw.plugin "squash.c"', "digits = data.digits {n = 20000};",
        "squash = nn.Lambda(function(x) return x:squash() end);",
        "layers = {nn.Flatten {}, nn.Dense {784, 32}}",
        "for i = 3, 11, 2 do layers[i], layers[i + 1] = squash, nn.Dense {32, 32} end",
        "net = nn.Sequential(layers);",
        "sgd = optim.SGD(net:parameters(), {lr = 0.02});")
      start(screen, "mw.fit(net, digits, {epochs = 8, batch = 16, optimizer = sgd});")
      screen:wait("epoch 5/8", PATIENCE)
      start(screen, ":edit squash")
      screen:wait("epoch 8/8  loss", PATIENCE)
      screen:ready("> ", PATIENCE)
    end,
  },
}

-- ---- taking them ------------------------------------------------------------------------------

-- The screen and what has left it, from the last line on that begins with a text; without its
-- prompt at the end.
local function picture_of(screen, from)
  local lines, first = {}, 1
  for line in screen:ask "capture-pane -p -e -S -":gmatch "([^\n]*)\n" do
    lines[#lines + 1] = line
    local plain = line:gsub("\27%[[%d;]*m", "")
    if plain:sub(1, #from) == from and (first == 1 or from:find "^>") then first = #lines end
  end
  while #lines > first do
    local plain = lines[#lines]:gsub("\27%[[%d;]*m", ""):gsub("%s", "")
    if plain ~= "" and plain ~= ">" then break end
    lines[#lines] = nil
  end
  return table.concat(lines, "\n", first) .. "\n"
end

local function take(scene, folder)
  local columns, place = 80, os.tmpname()
  os.remove(place)
  assert(os.execute("mkdir " .. place))
  write(place .. "/squash.c", SQUASH)
  write(place .. "/editor", EDITOR)
  os.execute(("chmod +x %s/editor"):format(place))
  do
    local screen <close> = terminal.open {columns = columns, rows = scene.rows or 30,
      folder = place, env = {COLORTERM = "truecolor", EDITOR = place .. "/editor"}}
    screen:ready()
    scene.play(screen)
    local path = ("%s/%s.svg"):format(folder, scene.name)
    local svg = screen_svg.of(picture_of(screen, scene.from), columns, scene.title)
    write(path, svg)
    print(("%s  %.1f kB"):format(path, #svg / 1000))
  end
  os.execute("rm -rf " .. place)
end

local wanted = {}
for i = 2, #arg do wanted[arg[i]] = true end
for _, scene in ipairs(SCENES) do
  if not next(wanted) or wanted[scene.name] then take(scene, arg[1]) end
end
