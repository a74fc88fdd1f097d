-- fingerprint.lua: digests of what a training step computes, and where those of two runs part.
--
-- A step's line in the log has with `fingerprint = true`, besides the loss with all its digits,
--   digests       of each parameter and buffer after the step, by name
-- and with "nodes" also
--   nodes         of what each node of the step's programs has written, in the order in which
--                 they ran: a list of {name, digest}, with names like "conv2d at net.lua:9"

local core = require "moonwalk.core"

local fingerprint = {}

---Calls fn(...). Gives the digests of all nodes that are computed meanwhile, and what it returns.
---@param fn function
---@param ... any
---@return table[] nodes {name, digest}
---@return any ...
function fingerprint.nodes(fn, ...)
  core.observe(true)
  local results = table.pack(pcall(fn, ...))
  local seen = core.observe(false)
  if not results[1] then error(results[2], 0) end
  local nodes = {}
  for i, entry in ipairs(seen) do
    local op, origin, digest = table.unpack(entry)
    nodes[i] = {origin ~= "" and ("%s at %s"):format(op, origin) or op, digest}
  end
  return nodes, table.unpack(results, 2, results.n)
end

---Adds the digests to a step's row.
---@param row table
---@param net moonwalk.Module
---@param nodes table[]?
function fingerprint.add(row, net, nodes)
  row.digests, row.nodes = {}, nodes
  for name, t in pairs(net:state()) do row.digests[name] = core.digest(core.bytes(t)) end
end

-- ---- comparing ------------------------------------------------------------------------------

-- Where the nodes of a step part: a text, or nil.
local function node_difference(a, b)
  for i = 1, math.max(#a, #b) do
    local x, y = a[i], b[i]
    if not x or not y then
      return ("node %d, %s, is in one of them alone"):format(i, (x or y)[1])
    elseif x[1]:gsub(" at .*", "") ~= y[1]:gsub(" at .*", "") then
      return ("node %d is %s and %s"):format(i, x[1], y[1])
    elseif x[2] ~= y[2] then
      return ("node %d of %d, %s%s"):format(i, #a, x[1],
        x[1] ~= y[1] and (" (and at %s)"):format(y[1]:match " at (.*)" or "no line") or "")
    end
  end
end

-- The names whose digests differ, in order.
local function differing(a, b)
  local names = {}
  for name, digest in pairs(a) do
    if b[name] ~= digest then names[#names + 1] = name end
  end
  for name in pairs(b) do
    if a[name] == nil then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

---Where two rows of the same step part, as a text, or nil when they are the same.
---@param a table
---@param b table
---@return string?
function fingerprint.difference(a, b)
  local nodes = a.nodes and b.nodes and node_difference(a.nodes, b.nodes)
  if nodes then return nodes end
  if a.loss ~= b.loss then return ("the loss: %.17g and %.17g"):format(a.loss, b.loss) end
  local names = a.digests and b.digests and differing(a.digests, b.digests) or {}
  if #names == 0 then return nil end
  return ("%s%s after the step"):format(table.concat(names, ", ", 1, math.min(#names, 4)),
    #names > 4 and (" and %d more"):format(#names - 4) or "")
end

return fingerprint
