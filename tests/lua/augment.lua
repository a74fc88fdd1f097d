-- augment.lua: each change to an image against hand values or a plain loop, and what is drawn
-- against its distribution.
local mw = require "moonwalk"
local t = require "tap"
local data, core = mw.data, mw.core

-- Images [n,c,h,w] whose pixels are all different.
local function ramp(n, c, h, w)
  return mw.arange(1, n * c * h * w, 1, "f32"):reshape {n, c, h, w}:eval()
end

local function all(x) return x:reshape({-1}):totable() end

local function shape_of(x) return table.concat(x.shape, ",") end

-- One image [h,w] as nested tables, moved as the manual says: each pixel of the result is looked up
-- in the image by the inverse of shear, scale, rotation and shift around its middle.
local function moved(image, how)
  local h, w = #image, #image[1]
  local angle, lean = math.rad(how.rotate or 0), math.tan(math.rad(how.shear or 0))
  local cos, sin = math.cos(angle), math.sin(angle)
  -- Forward, y down: a shear that leans the top to the right, then scale, then rotation.
  local scale = how.scale or 1
  local a, b = cos * scale, (cos * -lean + sin) * scale
  local c, d = -sin * scale, (sin * lean + cos) * scale
  local determinant = a * d - b * c
  local function pixel(y, x)
    if how.border == "edge" then
      y, x = math.max(0, math.min(h - 1, y)), math.max(0, math.min(w - 1, x))
    end
    if y < 0 or y >= h or x < 0 or x >= w then return how.fill or 0 end
    return image[y + 1][x + 1]
  end
  local result = {}
  for i = 0, h - 1 do
    result[i + 1] = {}
    for j = 0, w - 1 do
      local x = j - (w - 1) / 2 - (how.shift_x or 0)
      local y = i - (h - 1) / 2 - (how.shift_y or 0)
      local u = (d * x - b * y) / determinant + (w - 1) / 2
      local v = (a * y - c * x) / determinant + (h - 1) / 2
      local u0, v0 = math.floor(u), math.floor(v)
      local p, q = u - u0, v - v0
      result[i + 1][j + 1] = (1 - q) * ((1 - p) * pixel(v0, u0) + p * pixel(v0, u0 + 1))
        + q * ((1 - p) * pixel(v0 + 1, u0) + p * pixel(v0 + 1, u0 + 1))
    end
  end
  return result
end

-- Moving ------------------------------------------------------------------------------------------

do
  local x = ramp(2, 3, 4, 5)
  local same = data.augment {rotate = {0, 0}, scale = {1, 1}, shear = {0, 0}, shift = {0, 0}} (x)
  t.is(same:totable(), x:totable(), "moved by nothing, an image is what it was")
  t.is(data.augment {} (x):totable(), x:totable(), "so it is by an empty augmentation")

  local square = mw.tensor {{{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}}}}
  t.near(data.augment {rotate = {90, 90}} (square):totable(),
    {{{{3, 6, 9}, {2, 5, 8}, {1, 4, 7}}}}, 1e-5, "90 degrees are counter-clockwise")
  t.near(data.augment {rotate = {180, 180}} (square):totable(),
    {{{{9, 8, 7}, {6, 5, 4}, {3, 2, 1}}}}, 1e-5, "180 degrees")
  t.is(data.augment {shift_x = {1, 1}} (square):totable(),
    {{{{0, 1, 2}, {0, 4, 5}, {0, 7, 8}}}}, "a pixel to the right")
  t.is(data.augment {shift_y = {-1, -1}, fill = -1} (square):totable(),
    {{{{4, 5, 6}, {7, 8, 9}, {-1, -1, -1}}}}, "a pixel up, with another fill")
  t.is(data.augment {shift = {1, 1}, border = "edge"} (square):totable(),
    {{{{1, 1, 2}, {1, 1, 2}, {4, 4, 5}}}}, "right and down, with the edge's pixels")
  t.is(data.augment {shift_x = {0.5, 0.5}} (square):totable()[1][1][1], {0.5, 1.5, 2.5},
    "half a pixel is interpolated, with the fill outside")
  t.is(data.augment {shift = {50, 50}} (square):sum():item(), 0, "far away nothing is left")
  t.near(data.augment {scale = {2, 2}} (square):totable()[1][1][1], {3, 3.5, 4}, 1e-6,
    "twice as large")

  for _, how in ipairs {
    {rotate = 20}, {rotate = -33, shift_x = 1.5}, {scale = 0.7}, {shear = 25},
    {shear = -10, scale = 1.3, rotate = 75, shift_x = -0.75, shift_y = 2.25, fill = 5},
    {shear = 12, scale = 0.6, rotate = 190, shift_y = -1.5, border = "edge"},
  } do
    local given = {fill = how.fill, border = how.border}
    for _, name in ipairs {"rotate", "scale", "shear", "shift_x", "shift_y"} do
      if how[name] then given[name] = {how[name], how[name]} end
    end
    local images = mw.randn {1, 2, 7, 9}:eval()
    local want = images:totable()
    local got = data.augment(given)(images):totable()
    local names = {}
    for name, value in pairs(how) do names[#names + 1] = name .. " " .. tostring(value) end
    t.near(got, {{moved(want[1][1], how), moved(want[1][2], how)}}, 2e-5,
      "a plain loop: " .. table.concat(names, ", "))
  end
  t.is(data.augment {rotate = {90, 90}} (mw.tensor {{{1, 2}, {3, 4}}}).shape, {1, 2, 2},
    "images without channels")
end

do -- What is drawn, from what a shift does to a ramp: pixel x becomes x - shift in the middle.
  local n, images = 4000, {}
  local row = {}
  for j = 1, 41 do row[j] = j - 21 end
  for i = 1, n do images[i] = {row} end
  local x = mw.tensor(images):reshape {n, 1, 1, 41}:eval()
  local out = data.augment {shift_x = 3} (x, {seed = 8}):totable()
  local sum, square, least, most = 0, 0, math.huge, -math.huge
  for i = 1, n do
    local shift = -out[i][1][1][21]
    sum, square = sum + shift, square + shift * shift
    least, most = math.min(least, shift), math.max(most, shift)
  end
  -- Uniform in -3..3: mean 0 with deviation 0.027, variance 3 with 0.042.
  t.ok(math.abs(sum / n) < 0.11 and math.abs(square / n - 3) < 0.17
    and least > -3.001 and least < -2.98 and most < 3.001 and most > 2.98,
    ("shifts: mean %.3f, variance %.3f, %.3f to %.3f"):format(sum / n, square / n, least, most))
  local y = data.augment {shift_x = 3, shift_y = {0, 0}, noise = 0.01} (x, {seed = 8}):totable()
  t.near(y[7][1][1][21], out[7][1][1][21], 0.06, "noise leaves the other draws as they are")
  local later = data.augment {shift_x = 3} (x:slice {{11, 20}}:eval(), {seed = 8, first = 11})
  t.is(later:totable(), table.move(out, 11, 20, 1, {}), "what is drawn depends on the place")
end

do -- Elastic: displacements are smooth, of the deviation that is asked for, and not all the same.
  local n, side = 60, 48
  local columns, lines = {}, {}
  for i = 1, side do
    columns[i], lines[i] = {}, {}
    for j = 1, side do columns[i][j], lines[i][j] = j, i end
  end
  local images = {}
  for i = 1, n do images[i] = {columns, lines} end
  local out = data.augment {elastic = 1.5, elastic_spacing = 6, border = "edge"} (mw.tensor(images))
  local sum, square, count, rough = 0, 0, 0, 0
  for _, image in ipairs(out:totable()) do
    for part = 1, 2 do
      for i = 9, side - 8 do
        for j = 9, side - 8 do
          local d = image[part][i][j] - (part == 1 and j or i)
          local before = image[part][i][j - 1] - (part == 1 and j - 1 or i)
          sum, square, count = sum + d, square + d * d, count + 1
          rough = math.max(rough, math.abs(d - before))
        end
      end
    end
  end
  local deviation = math.sqrt(square / count)
  t.ok(math.abs(sum / count) < 0.1 and math.abs(deviation - 1.5) < 0.15,
    ("elastic: mean %.3f, standard deviation %.3f"):format(sum / count, deviation))
  t.ok(rough < 1.5, ("neighbours move alike: by %.2f at most"):format(rough))
  local image = mw.randn {1, 1, 28, 28}:eval()
  t.ok(mw.core.bytes(data.augment {elastic = 1} (image)) ~= mw.core.bytes(image), "bent")
  t.is(data.augment {elastic = 0} (image):totable(), image:totable(), "elastic = 0 bends nothing")
  t.is(shape_of(data.augment {elastic = 1, elastic_spacing = 1} (mw.ones {2, 1, 1, 1})), "2,1,1,1",
    "an image of one pixel")
end

-- Cropping and reflecting -------------------------------------------------------------------------

do
  local x = ramp(1, 2, 4, 5)
  t.is(data.augment {crop = {2, 3}, center = true} (x):totable(),
    {{{{7, 8, 9}, {12, 13, 14}}, {{27, 28, 29}, {32, 33, 34}}}}, "a crop from the middle")
  t.is(data.augment {crop = {4, 5}} (x):totable(), x:totable(), "a crop of all")
  t.is(data.augment {pad = 1, crop = {6, 7}, fill = 9} (x):totable()[1][1][2],
    {9, 1, 2, 3, 4, 5, 9}, "padding")
  -- Random crops come from every place about as often.
  local n = 3000
  local many = mw.arange(0, 15, 1):reshape {1, 1, 4, 4}:expand {n, 1, 4, 4}:eval()
  local counts, exact = {}, true
  for _, image in ipairs(data.augment {crop = 2} (many, {seed = 2}):totable()) do
    local corner = math.tointeger(image[1][1][1])
    counts[corner] = (counts[corner] or 0) + 1
    exact = exact and image[1][1][2] == corner + 1 and image[1][2][1] == corner + 4
  end
  local least, most, kinds = math.huge, 0, 0
  for _, count in pairs(counts) do
    least, most, kinds = math.min(least, count), math.max(most, count), kinds + 1
  end
  t.ok(exact and kinds == 9 and least > 260 and most < 410, -- 333, standard deviation 17
    ("nine places of a crop, %d to %d times of 3000"):format(least, most))
  t.is(data.augment {pad = 2} (x).shape, {1, 2, 4, 5}, "pad alone keeps the size")

  t.is(data.augment {flip = 1} (x):totable()[1][2],
    {{25, 24, 23, 22, 21}, {30, 29, 28, 27, 26}, {35, 34, 33, 32, 31}, {40, 39, 38, 37, 36}},
    "left and right are exchanged")
  t.is(data.augment {flip_vertical = 1} (ramp(1, 1, 3, 2)):totable(), {{{{5, 6}, {3, 4}, {1, 2}}}},
    "up and down")
  t.is(data.augment {flip = 0} (x):totable(), x:totable(), "never")
  local flipped = 0
  for _, image in ipairs(data.augment {flip = true} (many):totable()) do
    flipped = flipped + (image[1][1][1] == 3 and 1 or 0)
  end
  t.ok(flipped > 1390 and flipped < 1610, ("flipped %d of 3000"):format(flipped)) -- deviation 27
end

-- Noise, normalising, erasing ---------------------------------------------------------------------

do
  local n = 40000
  local noisy = data.augment {noise = 2} (mw.zeros {4, n // 4}, {seed = 3})
  local sum, square, within = 0, 0, 0
  for _, v in ipairs(all(noisy)) do
    sum, square = sum + v, square + v * v
    within = within + (math.abs(v) < 2 and 1 or 0)
  end
  -- Mean 0 with deviation 0.01, variance 4 with 0.028, and 68.27 % within one deviation.
  t.ok(math.abs(sum / n) < 0.04 and math.abs(square / n - 4) < 0.12
    and math.abs(within / n - 0.6827) < 0.01,
    ("noise: mean %.3f, variance %.3f, %.4f within a deviation"):format(sum / n, square / n,
      within / n))
  t.is(#all(data.augment {noise = 1} (mw.zeros {3, 1, 3, 3})), 27, "an odd number of pixels")

  local x = mw.tensor {{{{1, 2}}, {{10, 30}}}}
  t.near(data.augment {normalise = {mean = {1.5, 20}, std = {0.5, 10}}} (x):totable(),
    {{{{-1, 1}}, {{-1, 1}}}}, 1e-6, "normalised by channel")
  t.near(data.augment {normalise = {mean = 1, std = 2}} (x):totable(),
    {{{{0, 0.5}}, {{4.5, 14.5}}}}, 1e-6, "by one number for all")
  t.near(data.augment {normalise = {mean = {1, 2}, std = {1, 0}}} (mw.tensor {{3, 2}, {1, 2}})
    :totable(), {{2, 0}, {0, 0}}, 0, "features; one that never changes becomes 0")
  local digits = data.digits {n = 200}
  local moments = digits:moments()
  for batch in digits:batches {size = 200, augment = {normalise = moments}} do
    local mean = batch.x:mean():item()
    local variance = (batch.x * batch.x):mean():item() - mean ^ 2
    t.ok(math.abs(mean) < 1e-4 and math.abs(variance - 1) < 1e-3, "normalised by its moments")
  end

  local ones = mw.ones {2000, 2, 20, 30}:eval()
  local erased = data.augment {erase = 0.25, erase_area = {0.1, 0.1}} (ones, {seed = 6})
  local hit, pixels, solid = 0, 0, true
  for _, image in ipairs(erased:totable()) do
    local top, bottom, left, right, zeros = math.huge, 0, math.huge, 0, 0
    for i, row in ipairs(image[1]) do
      for j, v in ipairs(row) do
        solid = solid and v == image[2][i][j]
        if v == 0 then
          zeros, top, bottom = zeros + 1, math.min(top, i), math.max(bottom, i)
          left, right = math.min(left, j), math.max(right, j)
        end
      end
    end
    if zeros > 0 then
      hit, pixels = hit + 1, pixels + zeros
      solid = solid and zeros == (bottom - top + 1) * (right - left + 1)
    end
  end
  t.ok(hit > 430 and hit < 570, ("%d of 2000 erased, expected about 500"):format(hit))
  t.ok(solid and math.abs(pixels / hit - 60) < 3,
    ("a rectangle of %.1f pixels, expected about 60"):format(pixels / hit))
end

-- One after the other, dtypes, and what is not possible -------------------------------------------

do
  local x = mw.tensor({{{{0, 255}}}}, "u8")
  t.is(data.augment {flip = 1} (x):totable(), {{{{1, 0}}}}, "bytes are scaled")
  t.is(data.augment {flip = 1} (mw.tensor({{{{1, 2}}}}, "f64")).dtype, "f64", "f64 stays f64")
  local set = data.dataset(mw.arange(0, 5, 1):reshape {1, 1, 2, 3}:eval())
  local batch = set:batches {augment = {{normalise = {mean = 0, std = 0.5}}, {crop = {1, 3},
    center = true}, {shift_x = {1, 1}, fill = 7}}} ()
  t.is(batch.x:totable(), {{{{7, 0, 2}}}}, "a list of augmentations is done in its order")
  t.is(tostring(data.augment {rotate = 10, crop = {2, 3}}), "augment {rotate = 10, crop = {2, 3}}",
    "printed")
  local given = {rotate = 5}
  local a = data.augment(given)
  given.rotate = 90
  t.is(a.options.rotate, 5, "the options are kept as they were")
  local one, two = mw.randn {1, 1, 5, 5}:eval(), data.augment {rotate = 30, noise = 1}
  t.ok(core.bytes(two(one, {epoch = 1})) == core.bytes(two(one)) and
    core.bytes(two(one, {epoch = 2})) ~= core.bytes(two(one))
    and core.bytes(two(one, {seed = 2})) ~= core.bytes(two(one)), "seed and epoch decide")
  t.is(shape_of(data.augment {rotate = 10, elastic = 1} (mw.full({1, 1, 4, 4}, 0 / 0))), "1,1,4,4",
    "pixels that are not numbers")
end

local image = mw.ones {1, 1, 4, 4}
for _, case in ipairs {
  {"data.augment: the table of options is nil", function() data.augment() end},
  {'did you mean "normalise"', function() data.augment {normalize = {}} end},
  {"data.augment: rotate is a table, expected a number or a pair", function()
    data.augment {rotate = {1, 2, 3}}
  end},
  {"data.augment: rotate is {3, 1}, expected the lower number first", function()
    data.augment {rotate = {3, 1}}
  end},
  {"data.augment: scale[1] is -0.5", function() data.augment {scale = 1.5} end},
  {"data.augment: shear[1] is -90", function() data.augment {shear = 90} end},
  {"data.augment: elastic is -1", function() data.augment {elastic = -1} end},
  {"data.augment: flip is 2, expected a number from 0 to 1", function()
    data.augment {flip = 2}
  end},
  {"data.augment: noise is ", function() data.augment {noise = 0 / 0} end},
  {"data.augment: border is \"edges\"", function() data.augment {border = "edges"} end},
  {"data.augment: the height of crop is 0", function() data.augment {crop = 0} end},
  {"data.augment: the width of crop is nil", function() data.augment {crop = {3}} end},
  {"data.augment: normalise is 3, expected a table {mean = ..., std = ...}", function()
    data.augment {normalise = 3}
  end},
  {"data.augment: normalise.std is -1", function()
    data.augment {normalise = {mean = 0, std = -1}}
  end},
  {"augment: normalise has 3 numbers, the data has 1 channels", function()
    data.augment {normalise = {mean = {1, 2, 3}, std = 1}} (image)
  end},
  {"augment: crop is {5, 5}, expected at most {4, 4}: the image; pad adds a border", function()
    data.augment {crop = 5} (image)
  end},
  {"augment: x is f32[2,3]; moving, cropping", function()
    data.augment {rotate = 3} (mw.ones {2, 3})
  end},
  {"augment: x is f32[1,1,1,2,2], expected [n,channels,height,width]", function()
    data.augment {noise = 1} (mw.ones {1, 1, 1, 2, 2})
  end},
  {"augment: x is i64, expected bytes or floats", function()
    data.augment {noise = 1} (mw.ones({1, 2}, "i64"))
  end},
  {"an augmentation: x is 3", function() data.augment {} (3) end},
} do
  local problem = t.refuses(case[1], case[2])
  if not (problem and tostring(problem):find "^tests/lua/augment.lua:%d+: ") then
    t.ok(false, "at the user's line: " .. tostring(problem))
  end
end

t.done()
