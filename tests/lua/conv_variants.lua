-- conv_variants.lua: every kernel of conv2d and its two derivatives against the plain one, over
-- shapes that are awkward for vectors, tiles and bands; the same bits with any number of threads.
local t = require "tap"
local mw = require "moonwalk"
local core = mw.core

local OPS = {"conv2d", "conv_transpose2d", "conv2d_weight_gradient"}

-- The same sources with vectors that are wider than this processor's may be.
for _, name in ipairs {"conv2d_implicit", "conv2d_shifted", "conv2d_winograd"} do
  core.plugin_load(("%s/wide/%s.so"):format(os.getenv "MOONWALK_BUILD" or "build", name))
end

-- The names of all kernels but the plain one.
local function variants()
  local names, seen = {}, {plain = true}
  for line in mw.kernel("conv2d"):gmatch "[^\n]+" do
    local name = line:match "^%S+"
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return names
end

local function prefer(kernel)
  for _, op in ipairs(OPS) do
    local has = kernel and ("\n" .. mw.kernel(op)):find("\n" .. kernel .. " ", 1, true)
    mw.kernel(op, has and kernel or false)
  end
end

-- n, channels, height, width; filters, kernel; then attributes.
local shapes = {
  {2, 16, 9, 11, 17, 3, padding = 1},
  {1, 17, 7, 6, 24, 3, stride = 2, padding = 1},
  {3, 32, 8, 8, 32, 3, dilation = 2, padding = 1, groups = 2, flip = true},
  {2, 16, 13, 5, 40, 5, stride = 3, padding = 2},
  {1, 24, 6, 6, 16, 2, stride = 2, flip = true},
  {2, 16, 5, 5, 16, 1},
  {2, 9, 6, 7, 20, 1, stride = 2, padding = 1},
  {2, 20, 10, 30, 20, 3, stride = 4, dilation = 3, padding = 1},
  {1, 16, 30, 30, 9, 3},
  {5, 16, 4, 4, 48, 3, padding = 1},
  {1, 8, 3, 3, 8, 3, padding = 3},
  {2, 40, 1, 1, 72, 3, padding = 1},
  {1, 130, 9, 9, 70, 3, padding = 1, flip = true},
  {9, 10, 12, 13, 11, 3, padding = {2, 0, 1, 3}},
  {1, 33, 57, 4, 65, 3, padding = 1}, -- several bands
  {1, 8, 20, 600, 8, 3, padding = {0, 1}}, -- a row is more than a band
  {2, 3, 9, 10, 32, 3, padding = 1},
  {2, 1, 12, 12, 6, 5, padding = 2},
  {2, 6, 14, 14, 16, 5},
  {3, 2, 11, 9, 5, 3, padding = {0, 1}}, -- rows of less than a vector
  {2, 3, 13, 8, 4, {2, 4}, padding = 2, dilation = {1, 2}, flip = true},
  {2, 4, 17, 3, 6, {3, 2}},
  {3, 12, 5, 9, 12, 3, padding = 1, groups = 12},
  {1, 64, 8, 8, 96, 4, stride = {1, 2}, padding = {1, 2}},
  {2, 16, 6, 6, 16, {1, 3}, padding = {0, 1}},
  {1, 16, 5, 9, 300, 3, padding = 1}, -- dw is summed in parts
  {4, 16, 9, 11, 17, 3, padding = 1}, -- from here on Winograd's tiles, with rests of all sizes
  {2, 17, 20, 19, 24, 3, padding = 1, flip = true},
  {20, 32, 8, 8, 32, 3},
  {1, 130, 17, 18, 70, 3, padding = {2, 0, 3, 1}, flip = true},
  {16, 16, 5, 7, 40, 3, padding = {0, 2, 3, 1}},
  {40, 16, 4, 4, 16, 3, padding = 1},
  {1, 16, 41, 150, 16, 3, padding = 1},
}

local function describe(a)
  local list = {}
  for i = 1, 5 do list[i] = a[i] end
  local text = "x " .. table.concat(list, ",", 1, 4) .. " to " .. a[5] .. " by " ..
    (type(a[6]) == "table" and table.concat(a[6], "x") or a[6])
  for _, name in ipairs {"stride", "padding", "dilation", "groups"} do
    local value = a[name]
    if value then
      text = ("%s, %s %s"):format(text, name,
        type(value) == "table" and table.concat(value, ",") or value)
    end
  end
  return text .. (a.flip and ", flip" or "")
end

-- Numbers that are exact in f32, so that both dtypes see the same.
local function random(shape)
  return mw.uniform(shape, -1, 1, "f32"):eval():cast "f64":eval()
end

local function attributes_of(a, more)
  local result = {stride = a.stride, padding = a.padding, dilation = a.dilation, groups = a.groups,
    flip = a.flip}
  for key, value in pairs(more or {}) do result[key] = value end
  return result
end

local function kernel_of(a) return type(a[6]) == "table" and a[6] or {a[6], a[6]} end

mw.seed(5)
local function inputs_of(a)
  local kernel, groups = kernel_of(a), a.groups or 1
  local x = random {a[1], a[2], a[3], a[4]}
  local w = random {a[5], a[2] // groups, kernel[1], kernel[2]}
  local dy = random(mw.conv2d(x, w, nil, attributes_of(a)).shape)
  return {x, w, random {a[5]}, dy, random {a[2]}}
end

-- The rows and columns of x that no kernel reaches, so that conv_transpose2d gives an x as large.
local function rest_of(a, dy)
  local function sides(value, i, n)
    if type(value) ~= "table" then return value end
    return #value == n and value[i] or value[(i - 1) % #value + 1]
  end
  local rest, kernel = {}, kernel_of(a)
  for i = 1, 2 do
    local padding = a.padding or 0
    local before, after = sides(padding, i, 4), sides(padding, i + 2, 4)
    rest[i] = a[2 + i] + before + after - (kernel[i] - 1) * (sides(a.dilation or 1, i, 2)) - 1
      - (dy.shape[2 + i] - 1) * sides(a.stride or 1, i, 2)
  end
  return rest
end

-- All that the three ops compute from these inputs, forward and backward.
local function results_of(a, inputs)
  local x, w, b, dy, bx = table.unpack(inputs)
  local y = mw.conv2d(x, w, b, attributes_of(a))
  local list = {y, table.unpack(mw.grad(y, {x, w, b}, dy))}
  local u = mw.conv_transpose2d(dy, w, bx, attributes_of(a, {output_padding = rest_of(a, dy)}))
  local dw = mw.conv2d_weight_gradient(x, dy, attributes_of(a, {kernel = kernel_of(a)}))
  table.move({u, dw, table.unpack(mw.grad(u, {dy, w, bx}, x))}, 1, 5, #list + 1, list)
  table.move(mw.grad(dw, {x, dy}, w), 1, 2, #list + 1, list)
  for _, tensor in ipairs(list) do tensor:eval() end
  return list
end

local NAMES = {"y", "dx", "dw", "db", "transpose's y", "weight gradient", "transpose's dx",
  "transpose's dw", "transpose's db", "weight gradient's dx", "weight gradient's dy"}

local function cast(list, dtype)
  local result = {}
  for i, tensor in ipairs(list) do result[i] = tensor:cast(dtype):eval() end
  return result
end

-- Differences in units of what the dtype allows, relative to the largest number: at most 1.
local function fault(got, want)
  for i, tensor in ipairs(want) do
    local allowed = (got[i].dtype == "f64" and 1e-12 or 5e-6) * mw.abs(tensor):max():item()
    local most = mw.abs(got[i]:cast "f64" - tensor):max():item()
    if most > allowed or most ~= most then
      return ("%s differs by %g, allowed is %g"):format(NAMES[i], most, allowed)
    end
  end
end

local differs = {} -- from gemm in some bit: it did serve
for _, a in ipairs(shapes) do
  local inputs = inputs_of(a)
  prefer "plain"
  local want = results_of(a, inputs)
  local problems = {}
  for _, dtype in ipairs {"f32", "f64"} do
    local given = cast(inputs, dtype)
    prefer "gemm"
    local gemm = core.bytes(results_of(a, given)[1])
    for _, kernel in ipairs(variants()) do
      prefer(kernel)
      local got = results_of(a, given)
      local problem = fault(got, want)
      if problem then problems[#problems + 1] = ("%s in %s: %s"):format(kernel, dtype, problem) end
      if core.bytes(got[1]) ~= gemm then differs[kernel] = true end
    end
  end
  t.is(table.concat(problems, "; "), "", describe(a) .. ": all kernels agree")
end
for _, kernel in ipairs(variants()) do
  if kernel ~= "gemm" then t.ok(differs[kernel], kernel .. " serves, in other bits than gemm") end
end

-- The same bits with one, two and three threads -------------------------------------------------

local function bits(a, inputs, threads)
  core.threads(threads)
  local list = {}
  for i, tensor in ipairs(results_of(a, inputs)) do list[i] = core.bytes(tensor) end
  core.threads(1)
  return table.concat(list)
end

for _, kernel in ipairs(variants()) do
  prefer(kernel)
  local problems = {}
  for _, a in ipairs {{11, 16, 14, 15, 24, 3, padding = 1}, {1, 24, 40, 41, 17, 3, padding = 1},
    {3, 16, 9, 9, 260, 3, stride = 2, padding = 1}} do
    for _, dtype in ipairs {"f32", "f64"} do
      local inputs = cast(inputs_of(a), dtype)
      local one = bits(a, inputs, 1)
      for threads = 2, 3 do
        if bits(a, inputs, threads) ~= one then
          problems[#problems + 1] = ("%s, %s, %d threads"):format(describe(a), dtype, threads)
        end
      end
    end
  end
  t.is(table.concat(problems, "; "), "", kernel .. ": the same bits with any number of threads")
end

-- NaN reaches what depends on it, and an infinite weight times the padding's zeros is NaN.
for _, kernel in ipairs(variants()) do
  prefer(kernel)
  local nan = mw.zeros {1, 16, 8, 9}
  nan = mw.where(mw.arange(16 * 72):reshape {1, 16, 8, 9}:eq(72 * 5 + 9 * 3 + 4), 0 / 0, nan)
  local y = mw.conv2d(nan, mw.ones {16, 16, 3, 3}, nil, {padding = 1})
  local unseen = 0
  for _, plane in ipairs(y:totable()[1]) do
    for i = 3, 5 do
      for j = 4, 6 do unseen = unseen + (plane[i][j] == plane[i][j] and 1 or 0) end
    end
  end
  t.is(unseen, 0, kernel .. ": NaN in x reaches what is made of it")
  local infinite = mw.full({16, 16, 3, 3}, 1 / 0)
  y = mw.conv2d(mw.ones {1, 16, 8, 9}, infinite, nil, {padding = 1}):totable()[1][1]
  t.ok(y[1][1] ~= y[1][1], kernel .. ": an infinite weight times the padding's 0 is NaN")
end
prefer(nil)

t.done()
