-- repeats.lua: what stands in a drawing again and again, such as the blocks of a deep network, is
-- drawn where it begins and where it ends.

local repeats = {}

local LONGEST = 400 -- nodes that are repeated
local LEAST_SAVED = 6 -- nodes that need not be drawn

-- What a node looks like, but for names and for what it reads. Where in a sequence a slice begins
-- makes no difference.
local function look_of(node)
  local parts = {node.kind, node.title, node.title ~= "slice" and node.attributes or ""}
  for _, output in ipairs(node.outputs) do parts[#parts + 1] = output.spec end
  for _, entry in ipairs(node.folded) do parts[#parts + 1] = entry.spec or entry.value end
  parts[#parts + 1] = tostring(node.parameters)
  return table.concat(parts, "\0")
end

-- Whether node i + p is to its surroundings what node i is. What they read is the same, or lies
-- apart by as much as from each piece to the next: `strides` has how much, by node of the piece and
-- input.
local function alike(nodes, looks, position, i, p, strides)
  local a, b = nodes[i], nodes[i + p]
  if looks[i] ~= looks[i + p] or #a.inputs ~= #b.inputs then return false end
  for k, input in ipairs(a.inputs) do
    local other = b.inputs[k]
    local apart = position[other.from] - position[input.from]
    if input.output ~= other.output or (strides[k] or apart) ~= apart then return false end
    strides[k] = apart
  end
  return true
end

-- How many nodes from i on are like those p after.
local function run_length(nodes, looks, position, i, p)
  local n, strides = 0, {}
  while i + n + p <= #nodes do
    strides[n % p] = strides[n % p] or {}
    if not alike(nodes, looks, position, i + n, p, strides[n % p]) then break end
    n = n + 1
  end
  return n
end

-- The shortest piece that begins at i and is there at least three times: its length, and how often.
local function piece_at(nodes, looks, position, i)
  for p = 1, math.min(LONGEST, (#nodes - i + 1) // 3) do
    if looks[i] == looks[i + p] then
      local times = 1 + run_length(nodes, looks, position, i, p) // p
      if times >= 3 and (times - 2) * p >= LEAST_SAVED then return p, times end
    end
  end
end

local function copy_of(node)
  local copy, inputs = {}, {}
  for key, value in pairs(node) do copy[key] = value end
  for i, input in ipairs(node.inputs) do
    inputs[i] = {}
    for key, value in pairs(input) do inputs[i][key] = value end
  end
  copy.inputs = inputs
  return copy
end

---The nodes of a drawing without those in between: the first and the last of what is there again
---and again stay, and a node of the kind "gap" between them says how much is not drawn.
---@param nodes moonwalk.DrawnNode[]
---@return moonwalk.DrawnNode[]
function repeats.elide(nodes)
  local looks, position, kept, instead = {}, {}, {}, {}
  for i, node in ipairs(nodes) do looks[i], position[node] = look_of(node), i end
  local i = 1
  while i <= #nodes do
    local p, times = piece_at(nodes, looks, position, i)
    if p then
      for k = i, i + p - 1 do kept[#kept + 1] = nodes[k] end
      kept[#kept + 1] = {kind = "gap", inputs = {}, nodes = p, times = times - 2}
      local before = {} -- what the last piece reads of the one before it, it reads of the first
      for k = i, i + p - 1 do before[nodes[k + (times - 2) * p]] = nodes[k] end
      i = i + (times - 1) * p
      for k = i, i + p - 1 do
        kept[#kept + 1] = nodes[k]
        instead[nodes[k]] = before
      end
      i = i + p
    else
      kept[#kept + 1] = nodes[i]
      i = i + 1
    end
  end
  local copies, list = {}, {}
  for k, node in ipairs(kept) do
    list[k] = copy_of(node)
    copies[node] = list[k]
  end
  for k, node in ipairs(list) do
    local before = instead[kept[k]] or {}
    for _, input in ipairs(node.inputs) do
      local from = copies[before[input.from] or input.from]
      if not from and not input.aside then node.hidden = (node.hidden or 0) + 1 end
      input.from = from or input.from
    end
  end
  return list
end

return repeats
