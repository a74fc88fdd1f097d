-- random.lua: the plain formulas of random ops: Philox4x32-10 and what is made of its words.

local nd = require "plain.nd"

-- Philox4x32-10 as in the paper (Salmon et al., SC 2011): key and counter of 64 bits each, the
-- upper half of the counter is 0. Returns four words of 32 bits.
local function philox(seed, counter)
  local low = 0xffffffff
  local key = {seed & low, seed >> 32}
  local c = {counter & low, counter >> 32, 0, 0}
  for _ = 1, 10 do
    local a, b = 0xD2511F53 * c[1], 0xCD9E8D57 * c[3]
    c = {(b >> 32) ~ c[2] ~ key[1], b & low, (a >> 32) ~ c[4] ~ key[2], a & low}
    key = {(key[1] + 0x9E3779B9) & low, (key[2] + 0xBB67AE85) & low}
  end
  return c
end

-- A number in [0, 1) of 24 bits, or of 53.
local function unit(dtype, high, low)
  if dtype == "f32" then return (high >> 8) * 2.0 ^ -24 end
  return ((high << 32 | low) >> 11) * 2.0 ^ -53
end

-- The number as the dtype holds it.
local function rounded(dtype, value)
  return dtype == "f32" and ("<f"):unpack(("<f"):pack(value)) or value
end

-- An array whose element i, from 0, is f(i).
local function fill(shape, f)
  local y = nd.full(shape, 0)
  for i = 0, #y - 1 do y[i + 1] = f(i) end
  return y
end

-- Where each element takes one word: the word of element i, from 0.
local function word(key, i)
  return philox(key[1], key[2] + i // 4)[i % 4 + 1]
end

local random = {}

function random.random_uniform(args, attrs)
  local key = args[1]
  return fill(attrs.shape, function(i)
    local w = philox(key[1], key[2] + i)
    local u = unit(attrs.dtype, w[1], w[2])
    return rounded(attrs.dtype, attrs.low + (attrs.high - attrs.low) * u)
  end)
end

function random.random_normal(args, attrs)
  local key = args[1]
  return fill(attrs.shape, function(i)
    local w = philox(key[1], key[2] + i)
    local radius = math.sqrt(-2 * math.log(1 - unit("f64", w[1], w[2])))
    local angle = 2 * math.pi * unit("f64", w[3], w[4])
    return rounded(attrs.dtype, attrs.mean + attrs.deviation * radius * math.cos(angle))
  end)
end

function random.random_bernoulli(args, attrs)
  local p, key = args[1], args[2]
  return fill(p and p.shape or attrs.shape, function(i)
    return word(key, i) / 2 ^ 32 < (p and p[i + 1] or attrs.p) and 1 or 0
  end)
end

function random.random_permutation(args, attrs)
  local key, order = args[1], fill({attrs.n}, function(i) return i end)
  for i = attrs.n, 2, -1 do
    local w = philox(key[1], key[2] + i - 1)
    local j = math.tointeger((w[1] % i * (2 ^ 32 % i) + w[2] % i) % i) + 1
    order[i], order[j] = order[j], order[i]
  end
  return order
end

function random.dropout(args, attrs)
  local x, key = args[1], args[2]
  if not attrs.training or attrs.p == 0 then return x end
  return fill(x.shape, function(i)
    if attrs.p == 1 or word(key, i) / 2 ^ 32 < attrs.p then return 0 end
    return x[i + 1] / (1 - attrs.p)
  end)
end

return random
