-- autodiff.lua: ops that hand their input on, and matter to gradients and to the order of steps.
local function first(args) return args[1] end

return {after = first, hooked = first}
