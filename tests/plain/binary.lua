-- binary.lua: plain formulas of the functions of two numbers, broadcast, and of where.
local nd = require "plain.nd"

-- By quadrants; the axes are the limits.
local function angle(a, b)
  if b > 0 then return math.atan(a / b) end
  if b < 0 then return math.atan(a / b) + (a < 0 and -math.pi or math.pi) end
  return a > 0 and math.pi / 2 or a < 0 and -math.pi / 2 or 0.0
end

-- A choice that lets NaN through, whichever side it is on.
local function extremum(a, b, takes_a)
  if a ~= a or b ~= b then return 0 / 0 end
  return takes_a and a or b
end

local functions = {
  add = function(a, b) return a + b end,
  sub = function(a, b) return a - b end,
  mul = function(a, b) return a * b end,
  div = function(a, b) return a / b end,
  mod = function(a, b) return a - b * (a // b) end,
  pow = function(a, b) return a ^ b end,
  pow_slope = function(a, b) return b == 0 and 0 or b * a ^ (b - 1) end,
  atan2 = angle,
  maximum = function(a, b) return extremum(a, b, a > b) end,
  minimum = function(a, b) return extremum(a, b, a < b) end,
  eq = function(a, b) return a == b end,
  ne = function(a, b) return a ~= b end,
  lt = function(a, b) return a < b end,
  le = function(a, b) return a <= b end,
  gt = function(a, b) return b < a end,
  ge = function(a, b) return b <= a end,
  logical_and = function(a, b) return a and b end,
  logical_or = function(a, b) return a or b end,
  logical_xor = function(a, b) return a and not b or b and not a end,
  where = function(condition, a, b)
    if condition then return a end
    return b
  end,
}

local plain = {}
for name, fn in pairs(functions) do
  plain[name] = function(args) return nd.zip(fn, table.unpack(args)) end
end

function plain.axpy(args)
  local a = args[3][1]
  return nd.zip(function(x, y) return a * x + y end, args[1], args[2])
end

function plain.momentum(args, attrs)
  local p, b, g, m, s = args[1], args[2], args[3], args[4][1], args[5][1]
  local kept = nd.zip(function(x, y) return m * x + y end, b, g)
  local way = attrs.nesterov and nd.zip(function(x, y) return m * x + y end, kept, g) or kept
  return {n = 2, nd.zip(function(x, y) return x + s * y end, p, way), kept}
end

return plain
