-- vanishing.lua: why deep networks of sigmoids are hard to train. Two networks of ten layers look
-- at the same points; of each, mw.stats shows what comes out of its layers and how much of the
-- gradient of the loss is left on the way back. A sigmoid's slope is 1/4 at most, so that little is
-- left after a few of them; that of a ReLU is 1 wherever it is active.
--
--   moonwalk lua/examples/vanishing.lua

local mw = require "moonwalk"
local nn = mw.nn

local DEPTH, WIDTH, POINTS = 10, 32, 256

-- Two rings of points, one inside the other.
local function rings()
  local points, labels = {}, {}
  for i = 1, POINTS do
    local radius, angle = i % 2 == 0 and 1 or 2, 2 * math.pi * i / POINTS
    points[i] = {radius * math.cos(angle), radius * math.sin(angle)}
    labels[i] = i % 2
  end
  local noise = mw.normal({POINTS, 2}, 0, 0.1)
  return mw.tensor(points) + noise, mw.tensor(labels, "i32")
end

local function deep(activation)
  local layers = {nn.Dense {2, WIDTH}, activation {}}
  for _ = 2, DEPTH do
    layers[#layers + 1] = nn.Dense {WIDTH, WIDTH}
    layers[#layers + 1] = activation {}
  end
  layers[#layers + 1] = nn.Dense {WIDTH, 2}
  return nn.Sequential(layers)
end

mw.seed(1)
local x, labels = rings()
for _, activation in ipairs {"Sigmoid", "ReLU"} do
  local stats = mw.stats(deep(nn[activation]), x, labels)
  local first, last = stats[1].gradient, stats[#stats - 2].gradient
  print(("%d layers of %s"):format(DEPTH, activation))
  print(stats)
  print(("of the gradient behind the last hidden layer the first one gets %.2g\n"):format(
    first / last))
end
