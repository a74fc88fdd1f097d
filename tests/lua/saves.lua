-- saves.lua: a file is taken for saved when it is whole.
local t = require "tap"
local folder = require "folder"
local core = require "moonwalk.core"
local saves = require "moonwalk.saves"

local path = folder.put("op.c", "first")
local known = core.file_stamp(path)
local file = saves.of(path)

local function due()
  os.execute(("sleep %.3f"):format(file:pause() + 0.01))
  return file:look(known)
end

t.is(due(), nil, "nothing was saved")
t.ok(file:pause() > 0.1, "it waits")
t.is(file:look(known), nil, "it is not looked at before it is time")

folder.put("op.c", "sec")
t.is(due(), nil, "a file that has just changed may be written still")
t.ok(file:pause() < 0.1, "the next look is soon")
folder.put("op.c", "second")
t.is(due(), nil, "nor is it whole when it has changed again")
t.is(due(), core.file_stamp(path), "one that stays as it is, is")
known = core.file_stamp(path)
t.is(due(), nil, "and is taken once")

folder.put("op.c", "sec")
t.is(due(), nil, "it changes")
os.remove(path)
t.is(due(), nil, "a file that is gone is nothing")
folder.put("op.c", "third")
t.is(due(), nil, "and one that comes back is not whole at once")
t.is(due(), core.file_stamp(path), "but then")

folder.remove()
t.done()
