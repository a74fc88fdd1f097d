-- first_step.lua: a process that makes LeNet-5 and does one step of training: its time is that of
-- the whole process. With the word "memory" it does 100 steps, and says how many MB it had at most
-- beyond those of its data.

package.path = (arg[0]:match "^(.*/)" or "./") .. "?.lua;" .. package.path
local networks = require "networks"

local job = networks.job("lenet5", 64, arg[1] ~= "memory" and 1 or nil)
for _ = 1, arg[1] == "memory" and 100 or 1 do job.step() end

if arg[1] == "memory" then
  local data = 0
  for _, item in ipairs(job.batches) do
    data = data + 4 * item.x.shape[1] * item.x.shape[3] * item.x.shape[4]
  end
  for line in io.lines "/proc/self/status" do
    local peak = line:match "^VmHWM:%s*(%d+)"
    if peak then print((tonumber(peak) * 1024 - data) / 1e6) end
  end
end
