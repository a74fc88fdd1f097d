-- test.lua: loads the plugin and compares its gradient with finite differences.
local mw = require "moonwalk"

mw.plugin(arg[1])

local x = mw.tensor({{1, -2}, {0.5, 3}}, "f64")
print(mw.scale(x, {factor = 10}))
assert(mw.gradcheck(function(v) return mw.scale(v, {factor = 10}) end, {x}))
print "the gradient is right"
