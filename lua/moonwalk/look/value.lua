-- value.lua: a value as the prompt shows it.

local value = {}

---@param v any
---@return string
function value.text(v) return tostring(v) end

return value
