-- in_place.lua: new values of parameters that are written over the old ones: only where nobody
-- else has those, where all that reads them has done so, and where nothing can fail any more.
local mw = require "moonwalk"
local t = require "tap"

local function values(...)
  local list = {}
  for i, p in ipairs {...} do list[i] = p:totable() end
  return list
end

-- By hand: each new value from the old ones.
do
  local p, q = mw.param {1, 2}, mw.param {10, 20}
  mw.update({p, q}, {q, p})
  t.is(values(p, q), {{10, 20}, {1, 2}}, "two parameters change places")
  mw.update({p, q}, {q, q * 2})
  t.is(values(p, q), {{1, 2}, {2, 4}}, "one takes what the other had")
  mw.update({p, q}, {p * 2, p + q})
  t.is(values(p, q), {{2, 4}, {3, 6}}, "the old value is read after the new one is there")
  mw.update({q, p}, {p + q, p * 2})
  t.is(values(p, q), {{4, 8}, {5, 10}}, "in whatever order")
  mw.update({p, q}, {p - q, q - p})
  t.is(values(p, q), {{-1, -2}, {1, 2}}, "both new values read both old ones")
  mw.update({p}, {p * p})
  t.is(values(p), {{1, 4}}, "an operand twice")
  mw.update({p}, {(p * 3):reshape {2, 1} :reshape {2}})
  t.is(values(p), {{3, 12}}, "the new value is a view")
  mw.update({p, q}, {p:reshape {2, 1} :reshape {2} + 1, p:flip {axes = {1}}})
  t.is(values(p, q), {{4, 13}, {12, 3}}, "the old one is read through views, and turned round")
  local double = p * 2
  mw.update({p, q}, {double, double})
  t.is(values(p, q), {{8, 26}, {8, 26}}, "two parameters take the same value")
  mw.update({p}, {p + 1})
  t.is(values(p, q), {{9, 27}, {8, 26}}, "and go their own ways then")
  mw.update({p}, {p - p:sum()})
  t.is(values(p), {{-27, -9}}, "the whole old value is needed")
  mw.update({p}, {(p + 1):cumsum {axis = 1}})
  t.is(values(p), {{-26, -34}}, "and by an op that is not elementwise")
end

-- Whoever has the old value keeps it.
do
  local p = mw.param {1, 2}
  local view, copy = p:reshape {2, 1} :eval(), mw.tensor(p)
  local as_it_is = mw.compile(function() return p end)()
  local stale = p * 1
  mw.update({p}, {p + 1})
  t.is({view:totable(), copy:totable(), as_it_is:totable()}, {{{1}, {2}}, {1, 2}, {1, 2}},
    "a view, a copy and a result that were there before have the old value")
  t.error(function() stale:eval() end, "stale value", "what was not computed is stale")
  view, as_it_is = nil, nil -- luacheck: no unused
  collectgarbage()
  collectgarbage()
  for _ = 1, 3 do mw.update({p}, {p + 1}) end
  t.is(values(p, copy), {{5, 6}, {1, 2}}, "nobody has it: the value is the same")
  local kept = p:reshape {2, 1} :eval()
  mw.update({p}, {p + 1})
  t.is({kept:totable(), p:totable()}, {{{5}, {6}}, {6, 7}}, "again somebody has it")
  local y = (p * 10):sum()
  mw.core.run({y}, {p}, {p + y})
  t.is({y:item(), p:totable()}, {130, {136, 137}}, "a result beside the update is of the old value")
  local shown = p + 1
  mw.core.run({shown}, {p}, {shown})
  mw.update({p}, {p + 1})
  t.is({shown:totable(), p:totable()}, {{137, 138}, {138, 139}}, "a result that is the new value")
end

-- The memory that it is about: no second place for each parameter.
do
  local N = 1 << 16
  local p = mw.param(mw.zeros {N})
  mw.update({p}, {p + 1})
  collectgarbage()
  collectgarbage()
  local before = mw.stats().bytes_live
  for _ = 1, 3 do mw.update({p}, {p * 2 + 1}) end
  collectgarbage()
  collectgarbage()
  t.ok(mw.stats().bytes_live < before + N, "no further storage is held")
  t.is(p:sum():item(), 15 * N, "for a parameter that is cut into strips")
end

-- Two outputs of a step, each over an input of its own.
do
  local N = 1 << 15 | 1
  local function bytes_live()
    collectgarbage()
    collectgarbage()
    return mw.stats().bytes_live
  end
  -- p is 1 first, b is 0, g is 2: three steps of 1/2 b + g and p - b. Returns what they hold more.
  local function check(name, p, b, step)
    local before = bytes_live()
    for _ = 1, 3 do step() end
    local more = bytes_live() - before
    t.is({p:max():item(), p:min():item(), b:max():item(), b:min():item()},
      {-7.5, -7.5, 3.5, 3.5}, name)
    return more
  end
  local function fresh() return mw.param(mw.ones {N}), mw.param(mw.zeros {N}) end
  local g, m, s = mw.full({N}, 2):eval(), mw.tensor(0.5), mw.tensor(-1)

  local p, b = fresh()
  t.ok(check("both", p, b, function()
    mw.update({p, b}, {p:momentum(b, g, m, s)})
  end) < N, "and no further storage is held")

  p, b = fresh()
  check("somebody has the one", p, b, function()
    local kept = p:reshape {N, 1} :eval()
    mw.update({p, b}, {p:momentum(b, g, m, s)})
    t.ok(kept:max():item() > p:max():item(), "whose old value stays")
  end)

  p, b = fresh()
  local total
  check("the one is read again", p, b, function()
    local p_new, b_new = p:momentum(b, g, m, s)
    total = p:sum()
    mw.core.run({total}, {p, b}, {p_new, b_new})
  end)
  t.is(total:item(), -4 * N, "as it was before")

  p, b = fresh()
  check("in a strip", p, b, function()
    local p_new, b_new = (p * 1):momentum(b + 0, g + 0, m, s)
    mw.update({b, p}, {b_new + 0, p_new * 1})
  end)

  p, b = mw.param {1, 2}, mw.param {10, 20}
  mw.update({b, p}, {p:momentum(b, mw.tensor {1, 1}, m, s)})
  t.is(values(p, b), {{6, 11}, {-5, -9}}, "they change places")
  mw.update({p}, {(p:momentum(p, p, m, s))})
  t.is(values(p), {{-3, -5.5}}, "one tensor three times")
  mw.update({p, b}, {p:momentum(b, p:reshape {2, 1} :reshape {2}, m, s)})
  t.is(values(p, b), {{2.5, 4.5}, {-5.5, -10}}, "a view of the one")
  t.error(function()
    local p_new, b_new = p:momentum(b, mw.tensor {1, 1}, m, s)
    mw.update({p, b}, {p_new, b_new:hook(function() error "no" end)})
  end, "no", "a hook behind it fails")
  t.is(values(p, b), {{2.5, 4.5}, {-5.5, -10}}, "and neither has changed")
end

-- A run that fails leaves all parameters as they were.
do
  local p, q = mw.param {1, 2}, mw.param {3, 4}
  t.error(function() mw.update({p, q}, {p + 1, q:hook(function() error "no" end) + 1}) end, "no",
    "a hook fails")
  t.is(values(p, q), {{1, 2}, {3, 4}}, "and no parameter has changed")
  t.error(function()
    mw.update({p, q}, {p + 1, q:hook(function() mw.core.interrupt() end) + 1})
  end, "interrupted", "a run is interrupted")
  t.is(values(p, q), {{1, 2}, {3, 4}}, "and no parameter has changed")
  local labels = mw.tensor({0, 7}, "i64")
  t.error(function()
    mw.update({p, q}, {p + 1, q + mw.zeros {2, 2}:cross_entropy(labels)})
  end, "cross_entropy", "a kernel fails")
  t.is(values(p, q), {{1, 2}, {3, 4}}, "and no parameter has changed")
  mw.debug.nan(true)
  t.error(function() mw.update({q, p}, {q + 1, (p - 5):log()}) end, "log", "NaN is looked for")
  mw.debug.nan(false)
  t.is(values(p, q), {{1, 2}, {3, 4}}, "and found in the last step: no parameter has changed")
  mw.update({p, q}, {p + 1, q + 1})
  t.is(values(p, q), {{2, 3}, {4, 5}}, "the next run is as any")
end

-- The optimizers' steps give the same bits whether others have the old values or not.
do
  local function train(name, options, hold)
    mw.seed(4)
    local net = mw.nn.Sequential {
      mw.nn.Conv2d {1, 4, kernel = 3}, mw.nn.BatchNorm {4}, mw.nn.ReLU {}, mw.nn.Flatten {},
      mw.nn.Dense {144, 90}, mw.nn.ReLU {}, mw.nn.Dense {90, 5},
    }
    local opt = mw.optim[name](net:parameters(), options)
    local x, y = mw.randn {6, 1, 8, 8}, mw.tensor({0, 1, 2, 3, 4, 0}, "i64")
    local held = {}
    for _ = 1, 5 do
      if hold then
        for _, p in ipairs(net:parameters()) do held[#held + 1] = p:reshape {-1} :eval() end
        for _, p in pairs(opt:state()) do held[#held + 1] = p:reshape {-1} :eval() end
      end
      opt:step(net(x):cross_entropy(y))
    end
    local sums = {}
    for i, p in ipairs(net:parameters()) do sums[i] = mw.core.bytes(p) end
    return sums
  end
  local options = {lr = 0.1, momentum = 0.9, weight_decay = 0.01}
  for _, name in ipairs {"SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Lion"} do
    local given = name == "SGD" and options or {lr = 0.01, weight_decay = 0.01}
    t.ok(table.concat(train(name, given, false)) == table.concat(train(name, given, true)),
      name .. " comes to the same when somebody has all old values")
  end
end

t.done()
