-- observer.lua: what watches trainings while they run. In a script there is none; the prompt sets
-- one, which shows them, and lets them stand still between two steps.

local observer = {}

---What watches one run, from its beginning.
---@class moonwalk.RunObserver
---@field progress table?  is told of the steps, as terminal.progress is, whose place it takes
---@field between fun(trainer: moonwalk.Trainer): string|boolean|nil  is called between two steps,
---  and may yield; where it gives a reason (true: "interrupted") the run ends
---@field ended fun(trainer: moonwalk.Trainer, reason: string)  is called at the end, also by an
---  error

---Gives the observer of a run that begins, or nil.
---@type (fun(trainer: moonwalk.Trainer): moonwalk.RunObserver?)?
observer.attach = nil

---The observer of a run that begins, or nil.
---@param trainer moonwalk.Trainer
---@return moonwalk.RunObserver?
function observer.of(trainer)
  return observer.attach and observer.attach(trainer)
end

return observer
