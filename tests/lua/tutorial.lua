-- tutorial.lua: the worked examples and the formulas of the CNN tutorial that the project began
-- with. Expected values are the tutorial's own, hand arithmetic, or plain loops in this file.
local t = require "tap"
local mw = require "moonwalk"
local nn = mw.nn

mw.seed(5)
math.randomseed(5)

-- Planes as tables of rows -----------------------------------------------------------------------

local function zeros(height, width)
  local plane = {}
  for i = 1, height do
    plane[i] = {}
    for j = 1, width do plane[i][j] = 0 end
  end
  return plane
end

local function pad(plane, by)
  local padded = zeros(#plane + 2 * by, #plane[1] + 2 * by)
  for i, row in ipairs(plane) do
    for j, value in ipairs(row) do padded[i + by][j + by] = value end
  end
  return padded
end

local function crop(plane, by)
  local inner = zeros(#plane - 2 * by, #plane[1] - 2 * by)
  for i, row in ipairs(inner) do
    for j in ipairs(row) do row[j] = plane[i + by][j + by] end
  end
  return inner
end

-- A half turn.
local function turn(plane)
  local height, width = #plane, #plane[1]
  local turned = zeros(height, width)
  for i = 1, height do
    for j = 1, width do turned[i][j] = plane[height + 1 - i][width + 1 - j] end
  end
  return turned
end

-- Adds the cross-correlation of a plane with a kernel, stride 1, to `sum`, which has its size.
local function correlate(plane, kernel, sum)
  for i, row in ipairs(sum) do
    for j in ipairs(row) do
      for p, weights in ipairs(kernel) do
        for q, weight in ipairs(weights) do
          row[j] = row[j] + plane[i + p - 1][j + q - 1] * weight
        end
      end
    end
  end
end

-- Puts stride - 1 zeros between the errors, as if the stride had been 1.
local function expand(errors, stride, height, width)
  local expanded = zeros(height, width)
  for i, row in ipairs(errors) do
    for j, value in ipairs(row) do
      expanded[(i - 1) * stride + 1][(j - 1) * stride + 1] = value
    end
  end
  return expanded
end

-- Output sizes -----------------------------------------------------------------------------------

do
  local right = true
  for _, case in ipairs {{5, 3, 0, 2, 2}, {5, 3, 0, 1, 3}, {7, 3, 1, 2, 4}, {5, 3, 1, 2, 3},
    {28, 5, 2, 1, 28}, {14, 5, 0, 1, 10}, {8, 3, 0, 2, 3}} do
    local size, kernel, padding, stride, want = table.unpack(case)
    local y = mw.conv2d(mw.zeros {1, 1, size, size}, mw.zeros {1, 1, kernel, kernel},
      {stride = stride, padding = padding})
    right = right and y.shape[3] == want and y.shape[4] == want
    right = right and want == (size - kernel + 2 * padding) // stride + 1
  end
  t.ok(right, "an output has (W - F + 2P)/S + 1 columns")
end

do
  -- The picture's 7x7x3 is the 5x5 image with its zero padding of 1 drawn around it.
  local layer = nn.Conv2d {3, 2, kernel = 3, stride = 2, padding = 1}
  t.is(layer(mw.randn {1, 3, 5, 5}).shape, {1, 2, 3, 3},
    "7x7x3 with its padding and two 3x3x3 filters at stride 2 give 3x3x2")
  local parameters = 0
  for _, p in ipairs(layer:parameters()) do
    local count = 1
    for _, size in ipairs(p.shape) do count = count * size end
    parameters = parameters + count
  end
  t.is(parameters, 56, "those two filters have (3*3*3 + 1) * 2 = 56 parameters")
end

-- The 5x5x3 convolution --------------------------------------------------------------------------

local image = {{
  {{0, 1, 1, 0, 2}, {2, 2, 2, 2, 1}, {1, 0, 0, 2, 0}, {0, 1, 1, 0, 0}, {1, 2, 0, 0, 2}},
  {{1, 0, 2, 2, 0}, {0, 0, 0, 2, 0}, {1, 2, 1, 2, 1}, {1, 0, 0, 0, 0}, {1, 2, 1, 1, 1}},
  {{2, 1, 2, 0, 0}, {1, 0, 0, 1, 0}, {0, 2, 1, 0, 1}, {0, 1, 2, 2, 2}, {2, 1, 0, 0, 1}},
}}
local filters = {
  {{{-1, 1, 0}, {0, 1, 0}, {0, 1, 1}}, {{-1, -1, 0}, {0, 0, 0}, {0, -1, 0}},
    {{0, 0, -1}, {0, 1, 0}, {1, -1, -1}}},
  {{{1, 1, -1}, {-1, -1, 1}, {0, -1, 1}}, {{0, 1, 0}, {-1, 0, -1}, {-1, 1, 0}},
    {{-1, 0, 0}, {-1, 0, 1}, {-1, 0, 0}}},
}
local biases = {1, 0}
local error_map = {{{{0, 1, 1}, {2, 2, 2}, {1, 0, 0}}, {{1, 0, 2}, {0, 0, 0}, {1, 2, 1}}}}

local want = {
  y = {{{{6, 7, 5}, {3, -1, -1}, {2, -1, 4}}, {{2, -5, -8}, {1, -4, -4}, {0, -5, -5}}}},
  dx = {{
    {{-1, 1, 1, -2, -1}, {1, -1, 3, -1, 1}, {2, 0, 2, 0, 2}, {4, 3, 4, 1, 3}, {0, -1, -2, 1, -1}},
    {{0, -1, 0, -2, 0}, {-1, -2, -3, -4, -1}, {0, 0, 0, 0, 0}, {-2, 0, 0, 0, -1},
      {0, -3, 0, -3, 0}},
    {{0, 1, 1, -2, 1}, {0, -1, -1, -4, -1}, {2, 0, 2, 0, 2}, {-2, -3, -2, -1, -2},
      {1, -1, 0, 1, 0}},
  }},
  dw = {
    {{{8, 10, 9}, {5, 6, 6}, {6, 5, 4}}, {{4, 1, 4}, {10, 9, 12}, {2, 2, 2}},
      {{2, 2, 3}, {5, 8, 5}, {7, 8, 7}}},
    {{{2, 2, 1}, {4, 7, 3}, {4, 4, 2}}, {{0, 1, 0}, {9, 5, 4}, {4, 0, 0}},
      {{4, 6, 5}, {2, 5, 2}, {2, 1, 0}}},
  },
  db = {9, 7},
}

local geometry = {stride = 2, padding = 1}

for _, dtype in ipairs {"f64", "f32"} do
  for _, kernel in ipairs {"plain", "gemm"} do
    mw.core.kernel_prefer("conv2d", kernel)
    local x, w, b = mw.tensor(image, dtype), mw.tensor(filters, dtype), mw.tensor(biases, dtype)
    local y = mw.conv2d(x, w, b, geometry):identity()
    local d = mw.grad(y, {x, w, b}, mw.tensor(error_map, dtype))
    local how = (" (%s, %s)"):format(dtype, kernel)
    t.near(y:totable(), want.y, 0, "the 5x5x3 convolution: forward, exact" .. how)
    t.near(d[1]:totable(), want.dx, 0, "the 5x5x3 convolution: dx, exact" .. how)
    t.near(d[2]:totable(), want.dw, 0, "the 5x5x3 convolution: dw, exact" .. how)
    t.near(d[3]:totable(), want.db, 0, "the 5x5x3 convolution: db, exact" .. how)
  end
end
mw.core.kernel_prefer("conv2d", nil)

local function layer_of_the_example(init)
  return nn.Conv2d {3, 2, kernel = 3, stride = 2, padding = 1, dtype = "f64", init = init}
end

do
  local layer = layer_of_the_example(function() return mw.tensor(filters, "f64") end)
  local set_bias = mw.tensor(biases, "f64")
  mw.core.run({}, {layer.bias}, {set_bias})
  local y = nn.Identity {}(layer(mw.tensor(image, "f64")))
  local opt = mw.optim.SGD(layer:parameters(), {lr = 0.001})
  -- <y, error_map> has error_map as its gradient in y.
  opt:step((y * mw.tensor(error_map, "f64")):sum())
  local weights = {}
  for o, filter in ipairs(filters) do
    weights[o] = {}
    for c, plane in ipairs(filter) do
      weights[o][c] = zeros(3, 3)
      for p = 1, 3 do
        for q = 1, 3 do weights[o][c][p][q] = plane[p][q] - 0.001 * want.dw[o][c][p][q] end
      end
    end
  end
  t.near(layer.weight:totable(), weights, 1e-15,
    "the 5x5x3 convolution: weights after one step at 0.001")
  t.near(layer.bias:totable(), {0.991, -0.007}, 1e-15,
    "the 5x5x3 convolution: biases after one step at 0.001")
end

do
  local name = "the 5x5x3 convolution agrees with the reference data"
  local folder = os.getenv "MOONWALK_DATA"
  local path = folder and folder .. "/reference/cases/tutorial_conv.safetensors"
  local file = path and io.open(path, "rb")
  if not file then
    t.skip(name, "MOONWALK_DATA names no folder with reference/cases")
  else
    file:close()
    local case = assert(mw.load(path))
    local right = true
    for key, value in pairs {["in.x"] = image, ["in.w"] = filters, ["in.b"] = biases,
      ["dout.y"] = error_map, ["out.y"] = want.y, ["din.x"] = want.dx, ["din.w"] = want.dw,
      ["din.b"] = want.db} do
      local mine = mw.tensor(value, "f64")
      right = right and mw.core.bytes(mine + 0) == mw.core.bytes(case[key] + 0)
    end
    t.ok(right, name)
  end
end

do
  -- The tutorial's check: the error function is the sum of the outputs, so their gradient is 1.
  local EPSILON <const> = 10e-4
  local x, b = mw.tensor(image, "f64"), mw.tensor(biases, "f64")
  local w = mw.tensor(filters, "f64")
  local dw = mw.grad(mw.conv2d(x, w, b, geometry):sum(), {w})[1]:totable()
  local function error_with(o, d, i, j, value)
    local old = filters[o][d][i][j]
    filters[o][d][i][j] = value
    local sum = mw.conv2d(x, mw.tensor(filters, "f64"), b, geometry):sum():item()
    filters[o][d][i][j] = old
    return sum
  end
  local worst = 0
  for o = 1, 2 do
    for d = 1, 3 do
      for i = 1, 3 do
        for j = 1, 3 do
          local weight = filters[o][d][i][j]
          local expected = (error_with(o, d, i, j, weight + EPSILON)
            - error_with(o, d, i, j, weight - EPSILON)) / (2 * EPSILON)
          worst = math.max(worst, math.abs(expected - dw[o][d][i][j]))
        end
      end
    end
  end
  t.near(worst, 0, 1e-9, "the gradient check with the sum as error function, epsilon 10e-4")
end

-- Backward as a convolution ----------------------------------------------------------------------

for case = 1, 12 do
  local size = {math.random(5, 9), math.random(5, 9)}
  local kernel, stride, padding = math.random(1, 4), math.random(1, 3), math.random(0, 2)
  local x = mw.randn({1, 3, size[1], size[2]}, "f64")
  local w = mw.randn({2, 3, kernel, kernel}, "f64")
  local y = mw.conv2d(x, w, {stride = stride, padding = padding})
  local dy = mw.randn(y.shape, "f64")
  local got = mw.grad(y, {x, w}, dy)
  -- The size of the output if the stride were 1, and of the padded image.
  local height = size[1] + 2 * padding - kernel + 1
  local width = size[2] + 2 * padding - kernel + 1
  local images, weights, errors = x:totable()[1], w:totable(), dy:totable()[1]
  local dx, dw = {}, {{}, {}}
  for c = 1, 3 do
    local sum = zeros(size[1] + 2 * padding, size[2] + 2 * padding)
    for o = 1, 2 do
      local expanded = expand(errors[o], stride, height, width)
      correlate(pad(expanded, kernel - 1), turn(weights[o][c]), sum)
      dw[o][c] = zeros(kernel, kernel)
      correlate(pad(images[c], padding), expanded, dw[o][c])
    end
    dx[c] = crop(sum, padding) -- the padding's errors go no further
  end
  local what = ("kernel %d, stride %d, padding %d (case %d)"):format(kernel, stride, padding, case)
  t.near(got[1]:totable()[1], dx, 1e-12,
    "dx = zeros inserted, padding, cross-correlation with the turned filter: " .. what)
  t.near(got[2]:totable(), dw, 1e-12,
    "dw = cross-correlation of the padded image with the expanded errors: " .. what)
end

-- Convolution and cross-correlation --------------------------------------------------------------

do
  local x, w = mw.randn({1, 1, 6, 7}, "f64"), mw.randn({1, 1, 3, 2}, "f64")
  local turned = mw.tensor({{turn(w:totable()[1][1])}}, "f64")
  local convolved = mw.conv2d(x, w, {flip = true})
  t.near(convolved:totable(), mw.conv2d(x, turned):totable(), 1e-14,
    "convolution is cross-correlation with the filter turned by 180 degrees")

  -- The definition: C[s][t] = sum of A[m][n] B[s-m][t-n], over all places where both are.
  local a, b = x:totable()[1][1], w:totable()[1][1]
  local full = zeros(6 + 3 - 1, 7 + 2 - 1)
  for m, row in ipairs(a) do
    for n, value in ipairs(row) do
      for p, weights in ipairs(b) do
        for q, weight in ipairs(weights) do
          full[m + p - 1][n + q - 1] = full[m + p - 1][n + q - 1] + value * weight
        end
      end
    end
  end
  local whole = {flip = true, padding = {2, 1}}
  t.near(mw.conv2d(x, w, whole):totable()[1][1], full, 1e-13,
    "conv2d with flip and full padding is the convolution of mathematics")
  -- Convolution commutes: the larger one slides over the smaller one, padded by its size.
  local swapped = mw.conv2d(w, x, {flip = true, padding = {5, 6}})
  t.near(swapped:totable()[1][1], full, 1e-13, "convolution is commutative")
end

-- Pooling ----------------------------------------------------------------------------------------

do
  local x = mw.tensor({{{{1, 3, 2, 0}, {4, 2, 1, 5}, {0, -1, 7, 7}, {-2, -3, 6, 7}}}}, "f64")
  local y = mw.maxpool(x, {kernel = 2})
  t.near(y:totable(), {{{{4, 5}, {0, 7}}}}, 0, "max pooling takes the largest of each window")
  local dx = mw.grad(y, {x}, mw.tensor({{{{10, 20}, {30, 40}}}}, "f64"))[1]
  t.near(dx:totable(), {{{{0, 0, 0, 0}, {10, 0, 0, 20}, {30, 0, 40, 0}, {0, 0, 0, 0}}}}, 0,
    "max pooling sends the error to the maximum, and 0 to everything else")
end

for n = 2, 4 do
  local x = mw.randn({2, 3, 3 * n, 2 * n}, "f64")
  local y = mw.meanpool(x, {kernel = n})
  local dy = mw.randn(y.shape, "f64")
  local dx = mw.grad(y, {x}, dy)[1]
  t.near(dx:totable(), mw.kron(dy, mw.ones({n, n}, "f64") / n ^ 2):totable(), 1e-15,
    ("mean pooling's backward is kron(dy, ones(%d,%d)/%d^2)"):format(n, n, n))
end

-- Activations and initialisation -----------------------------------------------------------------

do
  local x = mw.linspace(-8, 8, 65, "f64")
  local slope = mw.grad(x:sigmoid():sum(), {x})[1]:totable()
  local most, at = 0, nil
  for i, value in ipairs(slope) do
    if value > most then most, at = value, i end
  end
  t.ok(most <= 0.25, "sigmoid's derivative is at most 1/4")
  t.ok(at == 33 and math.abs(most - 0.25) < 1e-15, "sigmoid's derivative is 1/4 at 0")
end

do
  local x = mw.tensor({-3, -0.5, -1e-30, 0, 1e-30, 0.5, 3}, "f64")
  local slope = mw.grad(x:relu():sum(), {x})[1]
  t.near(slope:totable(), {0, 0, 0, 0, 1, 1, 1}, 0, "relu's derivative is 0 or 1")
end

do
  local layer = layer_of_the_example(nn.init.uniform(-1e-4, 1e-4))
  local least, most = math.huge, -math.huge
  for _, value in ipairs(layer.weight:reshape {54}:totable()) do
    least, most = math.min(least, value), math.max(most, value)
  end
  t.ok(-1e-4 <= least and least < -5e-5 and 5e-5 < most and most <= 1e-4,
    "filters uniform in [-1e-4, 1e-4] can be asked for")
  t.near(layer.bias:totable(), {0, 0}, 0, "biases begin at 0")
end

t.done()
