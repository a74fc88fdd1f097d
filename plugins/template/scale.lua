-- scale.lua: the op at work. Run it with: moonwalk scale.lua
local mw = require "moonwalk"
mw.plugin(arg[0]:gsub("[^/]*$", "") .. "scale.so")

local x = mw.param {1, -2, 0.5}
local y = mw.scale(x, {factor = 10})
print("y  = " .. tostring(y))
print("dx = " .. tostring(mw.grad(y:sum(), {x})[1]))
