-- summary.lua: a network as a table: its layers, their output shapes, their parameters, and what
-- training it takes.

local amounts = require "moonwalk.amounts"
local core = require "moonwalk.core"
local check = require "moonwalk.check"
local frozen = require "moonwalk.frozen"
local infer = require "moonwalk.nn.infer"
local Module = require "moonwalk.nn.module"
local profile = require "moonwalk.profile"

-- The shape of one sample: the first axis counts samples.
local function shape_text(shape)
  if not shape then return "" end
  return #shape > 1 and table.concat(shape, " x ", 2) or ""
end

-- 416520 -> "416.5 k"
local function short(n)
  if n < 1000 then return ("%d"):format(n) end
  for _, unit in ipairs {"k", "M", "G", "T"} do
    n = n / 1000
    if n < 1000 then return ("%.1f %s"):format(n, unit) end
  end
  return ("%.1f P"):format(n / 1000)
end

-- What each module's own calls take, without those of the modules in it, by module: what computing
-- its outputs takes less what its inputs take. Also what all of it takes.
local function count_flops(net, inputs)
  local own, inside = {}, {0}
  local function of(tensors) -- a packed table
    local list = {}
    for i = 1, tensors.n do
      if core.is_tensor(tensors[i]) then list[#list + 1] = tensors[i] end
    end
    return #list > 0 and (profile.flops(table.unpack(list))) or 0
  end
  local function see(module, forward, ...)
    inside[#inside + 1] = 0
    local results = table.pack(forward(module, ...))
    local all = of(results) - of(table.pack(...))
    own[module] = (own[module] or 0) + all - table.remove(inside)
    inside[#inside] = inside[#inside] + all
    return table.unpack(results, 1, results.n)
  end
  infer.try(net, false, function() return Module.observe(see, net, table.unpack(inputs)) end)
  return own, inside[1]
end

-- Adds a line for the module and, where it holds others, one for each of them below. A parameter
-- counts in one line alone: the module that holds it, the first of them when several do. `sum` has
-- the parameters counted so far, those of them that are frozen, whether some are not known yet, and
-- the operations by module where they are counted.
local function add_rows(rows, module, name, depth, sum)
  local children, width = module:children(), 0
  local row = {
    ("  "):rep(depth) .. (name and name .. "  " or "") .. module:describe(),
    shape_text(module:output_shape()),
  }
  rows[#rows + 1] = row
  for _, child in ipairs(children) do width = math.max(width, #child[1]) end
  for _, child in ipairs(children) do
    local space, is_number = (" "):rep(width - #child[1]), tonumber(child[1])
    add_rows(rows, child[2], is_number and space .. child[1] or child[1] .. space, depth + 1, sum)
  end
  local own = 0
  for _, entry in ipairs(module:own_parameters()) do
    local parameter = entry[2]
    if not sum.seen[parameter] then
      sum.seen[parameter] = true
      own = own + amounts.elements(parameter)
      if frozen.is(parameter) then sum.frozen = sum.frozen + amounts.elements(parameter) end
    end
  end
  sum.total = sum.total + own
  row[3] = own > 0 and amounts.grouped(own) or ""
  if module:is_lazy() then row[3], sum.open = "?", true end
  if sum.flops then
    local flops = sum.flops[module] or 0
    row[4] = flops > 0 and short(flops) or ""
    sum.flops[module] = nil -- a module that stands there again was called there, too
  end
  return rows
end

-- Rows of cells as lines, the first two columns to the left.
local function to_text(rows)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for column, cell in ipairs(row) do widths[column] = math.max(widths[column] or 0, #cell) end
  end
  for i, row in ipairs(rows) do
    local cells = {}
    for column, cell in ipairs(row) do
      cells[column] = ("%" .. (column <= 2 and "-" or "") .. widths[column] .. "s"):format(cell)
    end
    lines[i] = table.concat(cells, "  "):gsub(" +$", "")
  end
  return lines
end

-- What a training step needs: its program is compiled, and not run. Its loss is the outputs' sum.
local function training_memory(net, inputs)
  local trained, held = {}, 0
  for _, parameter in ipairs(net:parameters()) do
    local bytes = amounts.bytes(parameter)
    held = held + bytes
    if not frozen.is(parameter) then
      trained[#trained + 1] = parameter
      held = held + bytes -- its next value
    end
  end
  if #trained == 0 then return held, 0 end
  local between = infer.try(net, true, function()
    local loss
    for _, y in ipairs {net(table.unpack(inputs))} do
      if core.is_tensor(y) and (y.dtype == "f32" or y.dtype == "f64") then
        local sum = core.call("cast", core.call("sum", y), {dtype = "f64"})
        loss = loss and loss + sum or sum
      end
    end
    if not loss or not core.reaches(loss, trained) then return 0 end
    local next_values = core.grad(loss, trained)
    for i, parameter in ipairs(trained) do
      next_values[i] = core.call("sub", parameter, next_values[i])
    end
    return core.program_memory(core.program(next_values))
  end)
  return held, between
end

local function memory_line(net, inputs, batch)
  local held, between = training_memory(net, inputs)
  return ("training%s: %s, %s of it for parameters and their next values"):format(
    batch and (", %d at a time"):format(batch) or "",
    amounts.bytes_text(held + between), amounts.bytes_text(held))
end

local OPTIONS = {"batch", "dtype"}

---The network as a table. Output shapes are those of the last call or, when an input is given (the
---shape of a sample, tensors, or a list of them), those that it leads to; nothing is computed, but
---layers whose sizes are open get their parameters. FLOPs are the floating-point operations of a
---forward pass in evaluation mode, for a sample, or for the tensors that are given; a multiply-add
---counts as two. With a batch size, or tensors, it says how much
---memory a training step takes, but for what an optimizer keeps.
---@param net moonwalk.Module
---@param input? integer[]|moonwalk.Tensor|moonwalk.Tensor[] such as {1, 28, 28}
---@param options? {batch: integer?, dtype: mw.dtype?} dtype of the shape; "i64" for indices
---@return string
local function summary(net, input, options)
  local where = "nn.summary"
  if not Module.is(net) then check.fail(where, "net", net, "a module") end
  options = check.options(where, options, OPTIONS)
  local batch = options.batch and check.integer(where, "batch", options.batch, 1)
  local inputs, is_shape
  if input ~= nil then
    inputs, is_shape = infer.inputs(where, net, input, 1, options.dtype)
  end
  local sum, all = {total = 0, frozen = 0, seen = {}}, nil
  if inputs then sum.flops, all = count_flops(net, inputs) end
  local rows = {{"layer", "output", "parameters", inputs and "FLOPs"}}
  add_rows(rows, net, nil, 0, sum)
  rows[#rows + 1] = {"total", "", amounts.grouped(sum.total) .. (sum.open and " + ?" or ""),
    all and short(all)}
  if sum.frozen > 0 then rows[#rows + 1] = {"frozen", "", amounts.grouped(sum.frozen)} end
  local lines = to_text(rows)
  if batch and not is_shape then
    core.error(where .. ": batch goes with the shape of a sample; tensors have their own size")
  elseif batch then
    inputs = infer.inputs(where, net, input, batch, options.dtype)
  end
  if batch or inputs and not is_shape then
    lines[#lines + 1] = memory_line(net, inputs, batch)
  end
  return table.concat(lines, "\n")
end

Module.summary = core.entry(summary)

return Module.summary
