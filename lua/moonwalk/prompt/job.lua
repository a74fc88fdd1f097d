-- job.lua: trainings that run at the prompt, and may stand still.

local job = {}

---Whether a chunk yielded because a training in it made a step.
---@param ... any  what it yielded
---@return boolean
function job.takes(...) -- luacheck: no unused args
  return false
end

---Goes on with a task whose training has made a step, or lets it stand still.
---@param session moonwalk.Session
---@param task moonwalk.Task
---@return boolean? ok
function job.step(session, task) return session:advance(task) end

---Whether the prompt may be left now.
---@return boolean
function job.may_leave() return true end

return job
