-- gate/checks.lua: what the gate asks of an op. It runs in a process of its own, which the op may
-- bring down, and says what it finds line by line, as JSON, to the one that waits (gate.lua).

local core = require "moonwalk.core"
local cases = require "moonwalk.gate.cases"
local gradcheck = require "moonwalk.gradcheck"

local checks = {}

-- Patterns with which memory is filled: numbers that change whatever they get into.
local NAN, LARGE = 0xFF, 0x42

local WORKERS = 3

-- f32 and f64 agree to so much of an output's largest element, or of 1.
local AGREE = 1e-3

---@class gate.Subject
---@field op table as core.op_info gives it
---@field kernel string? the name of another kernel for an op that exists
---@field dtypes table<string, boolean> that its kernels serve; every: all
---@field list table[] its cases, for each dtype: see gate/cases.lua

local function fail(format, ...)
  error({problem = format:format(...)}, 0)
end

local function skip(format, ...)
  error({skipped = format:format(...)}, 0)
end

-- Where results are kept for comparison -----------------------------------------------------------

-- "y[2,3]" for element k, from 0, of a result
local function element_name(result, k)
  local shape, parts = result.tensor.shape, {}
  for axis = #shape, 1, -1 do
    table.insert(parts, 1, tostring(k % shape[axis] + 1))
    k = k // shape[axis]
  end
  return ("%s[%s]"):format(result.name, table.concat(parts, ","))
end

local sizes = {f32 = 4, f64 = 8, i32 = 4, i64 = 8, u8 = 1, bool = 1}

-- The first element in which two runs differ, by name, with its bytes; nil when none does.
local function difference(results, one, other)
  for i, result in ipairs(results) do
    local a, b = one[i], other[i]
    if a ~= b then
      local size = sizes[result.tensor.dtype]
      for k = 0, math.min(#a, #b) // size - 1 do
        local from, to = k * size + 1, (k + 1) * size
        local here, there = a:sub(from, to), b:sub(from, to)
        if here ~= there then return element_name(result, k), here, there end
      end
      return result.name, a, b
    end
  end
end

-- The bytes of all results in a run under guard.
local function guarded(subject, results, options)
  local tensors = {}
  for i, result in ipairs(results) do tensors[i] = result.tensor end
  options.op = not subject.op.composed and subject.op.name or nil
  local values, calls, kernel = core.gate_run(tensors, options)
  if subject.kernel and kernel == subject.kernel then subject.used = true end
  subject.calls = subject.calls + calls
  for i, value in ipairs(values) do values[i] = core.bytes(value) end
  return values
end

local function run_options(changes)
  local options = {outputs = LARGE, scratch = LARGE, slack = LARGE, at_end = true, workers = 1}
  for name, value in pairs(changes or {}) do options[name] = value end
  return options
end

-- Each part of what a case computes: see cases.parts.
local function each_part(subject, visit, what)
  local n = 0
  for _, case in ipairs(subject.list) do
    core.gate_note(("%s of %s"):format(what, case.text))
    for _, part in ipairs(cases.parts(case)) do
      n = n + 1
      visit(case, part.results, part)
    end
  end
  return n
end

-- The checks --------------------------------------------------------------------------------------

local function same_specs(a, b)
  if #a ~= #b then return false end
  for i = 1, #a do
    if a[i].dtype ~= b[i].dtype
      or table.concat(a[i].shape, ",") ~= table.concat(b[i].shape, ",") then
      return false
    end
  end
  return true
end

-- They are understood, and infer says the same each time.
local function check_cases(subject)
  for _, case in ipairs(subject.list) do
    core.gate_note("infer of " .. case.text)
    local one = cases.outputs(case)
    core.gate_forget()
    local other = cases.outputs(case)
    if not same_specs(one, other) then
      fail("%s: infer says something else the second time", case.text)
    end
  end
  local n = #subject.op.cases
  return ("%d case%s, %s"):format(n, n == 1 and "" or "s", table.concat(subject.variants, " and "))
end

-- Arrays with guard pages right behind them, and right before them.
local function check_bounds(subject)
  local n = each_part(subject, function(case, results)
    for _, at_end in ipairs {true, false} do
      local succeeded, problem = pcall(guarded, subject, results, run_options {at_end = at_end})
      if not succeeded then fail("%s: %s", case.text, problem) end
    end
  end, "a guarded run")
  if subject.kernel and not subject.used then
    skip("no case is one that the kernel %s supports", subject.kernel)
  end
  return ("%d calls between guard pages, %d ways"):format(subject.calls, n)
end

local function check_inputs(subject)
  for _, case in ipairs(subject.list) do
    core.gate_note("a run of " .. case.text)
    local before = {}
    for i, tensor in ipairs(case.tensors) do before[i] = core.bytes(tensor) end
    for _, part in ipairs(cases.parts(case)) do
      local tensors = {}
      for i, result in ipairs(part.results) do tensors[i] = result.tensor end
      core.eval(table.unpack(tensors))
    end
    for i, tensor in ipairs(case.tensors) do
      if core.bytes(tensor) ~= before[i] then
        fail("%s: input %d has other bytes afterwards", case.text, i)
      end
    end
  end
  return "unchanged"
end

-- The whole work twice: what a kernel remembers shows.
local function check_purity(subject)
  if core.gate_flags(subject.op.name) then skip "it says that it is not pure (MW_IMPURE)" end
  local n = each_part(subject, function(case, results)
    local one = guarded(subject, results, run_options())
    local at = difference(results, one, guarded(subject, results, run_options()))
    if at then
      fail("%s: the same input gives another %s the second time: it depends on something else",
        case.text, at)
    end
  end, "the same call twice")
  return ("the same bits twice, %d times"):format(n)
end

-- What each pattern shows when the results depend on it.
local PATTERNS = {
  {"outputs", "%s: %s depends on what was in the output before: write each element, add to none"},
  {"scratch", "%s: %s depends on what was in the scratch memory, which is undefined"},
  {"slack", "%s: %s depends on bytes past the end, or before the start, of an array"},
}

local function check_written(subject)
  each_part(subject, function(case, results)
    local one = guarded(subject, results, run_options())
    for _, pattern in ipairs(PATTERNS) do
      local other = guarded(subject, results, run_options {[pattern[1]] = NAN})
      local at, here, there = difference(results, one, other)
      if at and here:find "^\x42+$" and there:find "^\xFF+$" then
        fail("%s: %s is not written", case.text, at)
      end
      if at then fail(pattern[2], case.text, at) end
    end
  end, "a run over patterns")
  return "every element of every output"
end

-- Shapes that the cases do not have, wherever infer takes them.
local function check_shapes(subject)
  local taken, refused = 0, 0
  for _, case in ipairs(subject.list) do
    for _, varied in ipairs(cases.varied(case)) do
      core.gate_note("infer of " .. varied.text)
      local built, parts = pcall(cases.parts, varied)
      if not built then refused = refused + 1 end
      for _, part in ipairs(built and parts or {}) do
        local ran, one = pcall(guarded, subject, part.results, run_options())
        if not ran and tostring(one):find("it wrote ", 1, true) then fail("%s", one) end
        if ran then
          taken = taken + 1
          local other = guarded(subject, part.results, run_options {outputs = NAN, at_end = false})
          local at = difference(part.results, one, other)
          if at then fail(PATTERNS[1][2], varied.text, at) end
        else
          refused = refused + 1
        end
      end
    end
  end
  return ("%d more, %d refused by the op"):format(taken, refused)
end

local function plain_bytes(results)
  local tensors, bytes = {}, {}
  for i, result in ipairs(results) do tensors[i] = result.tensor end
  core.eval(table.unpack(tensors))
  for i, tensor in ipairs(tensors) do bytes[i] = core.bytes(tensor) end
  return bytes
end

-- Chunks in another order and by other workers; and threads as they are.
local function check_threads(subject)
  local grown = 0
  for _, case in ipairs(subject.list) do
    local larger = cases.grown(case)
    for _, one in ipairs {case, larger} do
      core.gate_note("several threads for " .. one.text)
      local results = cases.parts(one)[1].results
      core.threads(WORKERS) -- so many have memory for matrix products
      local serial = guarded(subject, results, run_options())
      local at = difference(results, serial,
        guarded(subject, results, run_options {workers = WORKERS}))
      if at then
        fail("%s: %s depends on the order of the chunks, or on which worker has them", one.text, at)
      end
      core.threads(1)
      local single = plain_bytes(cases.parts(one)[1].results)
      core.threads(2)
      at = difference(results, single, plain_bytes(cases.parts(one)[1].results))
      core.threads(1)
      if at then fail("%s: %s is another one with 2 threads", one.text, at) end
    end
    if larger then
      grown = grown + 1
      break
    end
  end
  return "the same bits" .. (grown > 0 and "" or "; no case could be made larger")
end

local function check_memory(subject)
  if core.gate_sanitized() then skip "the address sanitizer's malloc cannot be made to fail" end
  local failed
  each_part(subject, function(case, results)
    core.gate_note("a run without memory of " .. case.text)
    local succeeded, problem = pcall(guarded, subject, results, run_options {starved = true})
    if not succeeded then failed = tostring(problem) end
  end, "a run without memory")
  return failed and "an error: " .. failed or "not needed: it allocates nothing"
end

local function numbers_of(tensor)
  local format, bytes, list = tensor.dtype == "f32" and "<f" or "<d", core.bytes(tensor), {}
  local size = string.packsize(format)
  for i = 1, #bytes // size do list[i] = format:unpack(bytes, (i - 1) * size + 1) end
  return list
end

-- Raises a text of the format where they are not near, relative to the largest element or to 1.
local function compare_numbers(case, result, other, tolerance, format)
  local a, b, most = numbers_of(result.tensor), numbers_of(other.tensor), 1
  for _, y in ipairs(b) do
    if math.abs(y) < math.huge then most = math.max(most, math.abs(y)) end
  end
  for k = 1, math.max(#a, #b) do
    local x, y = a[k], b[k]
    local gap = x and y and (x == y or x ~= x and y ~= y) and 0 or x and y and math.abs(x - y)
    local near = gap and gap <= tolerance * most -- a NaN is not
    if not near then
      fail("%s: " .. format, case.text, element_name(result, k - 1), x, y)
    end
  end
end

local function check_dtypes(subject)
  local compared = 0
  for _, case in ipairs(subject.list) do
    if case.partner then
      core.gate_note("f32 and f64 for " .. case.text)
      local one, other = cases.parts(case)[1].results, cases.parts(case.partner)[1].results
      plain_bytes(one)
      plain_bytes(other)
      for i, result in ipairs(one) do
        local is_float = result.tensor.dtype == "f32" and other[i].tensor.dtype == "f64"
        if is_float then
          compare_numbers(case, result, other[i], AGREE, "%s is %.9g in f32 and %.9g in f64")
        elseif core.bytes(result.tensor) ~= core.bytes(other[i].tensor) then
          fail("%s: %s is another one in f64", case.text, result.name)
        end
      end
      compared = compared + 1
    end
  end
  if compared == 0 then skip "its cases are not of f32 and f64, or its kernels serve one alone" end
  return ("%d case%s"):format(compared, compared == 1 and " agrees" or "s agree")
end

-- Another kernel for an op computes what the plain one does.
local function check_plain(subject)
  local name, n = subject.op.name, 0
  for _, case in ipairs(subject.list) do
    local results = {}
    for i, kernel in ipairs {subject.kernel, "plain"} do
      core.gate_note(("the kernel %s in %s"):format(kernel, case.text))
      core.kernel_prefer(name, kernel)
      results[i] = cases.parts(case)[1].results
      plain_bytes(results[i])
    end
    core.kernel_prefer(name, subject.kernel)
    for i, result in ipairs(results[1]) do
      n = n + 1
      local dtype = result.tensor.dtype
      if dtype == "f32" or dtype == "f64" then
        compare_numbers(case, result, results[2][i], dtype == "f32" and AGREE or 1e-9,
          "%s is %.17g, and %.17g by the kernel plain")
      elseif core.bytes(result.tensor) ~= core.bytes(results[2][i].tensor) then
        fail("%s: %s is another one than by the kernel plain", case.text, result.name)
      end
    end
  end
  return ("%d results as the kernel plain has them"):format(n)
end

-- A call on each entry of a batch, or on strips of the elements, makes up the call on the whole.
local function check_slices(subject)
  local op, n = subject.op, 0
  if not op.elementwise and not op.batched then skip "it says nothing of batches or elements" end
  for _, case in ipairs(subject.list) do
    core.gate_note("slices of " .. case.text)
    for part = 1, #cases.parts(case) do
      local results = {}
      for i, mode in ipairs {"always", "never"} do
        local before = core.slicing(mode)
        results[i] = cases.parts(case)[part].results
        plain_bytes(results[i])
        if i == 1 then n = n + core.stats().slices_last end
        core.slicing(before)
      end
      for i, result in ipairs(results[1]) do
        local dtype = result.tensor.dtype
        if dtype == "f32" or dtype == "f64" then
          compare_numbers(case, result, results[2][i], dtype == "f32" and AGREE or 1e-9,
            "%s is %.17g when it is computed slice by slice, and %.17g in one call")
        elseif core.bytes(result.tensor) ~= core.bytes(results[2][i].tensor) then
          fail("%s: %s is another one when it is computed slice by slice", case.text, result.name)
        end
      end
    end
  end
  if n == 0 then skip "no case can be cut" end
  return ("%d slices make up the same results"):format(n)
end

-- x as a program computes it, and may use its memory again.
local function computed(x)
  local same = core.call("eq", x, x)
  return x.dtype == "bool" and core.call("logical_and", x, same) or core.call("where", same, x, x)
end

-- In the midst of a program, where it may write over its inputs, the op comes to the same.
local function check_in_place(subject)
  if not subject.op.in_place then skip "it says that it writes over none of its inputs" end
  for _, case in ipairs(subject.list) do
    core.gate_note("inputs that may be written over of " .. case.text)
    local tensors = {}
    for i, tensor in ipairs(case.tensors) do tensors[i] = computed(tensor) end
    for k, part in ipairs(cases.parts(case)) do
      local others = cases.parts(cases.with(case, tensors))[k].results
      for i, result in ipairs(others) do others[i] = {tensor = computed(result.tensor)} end
      local at = difference(part.results, plain_bytes(part.results), plain_bytes(others))
      if at then fail("%s: %s is another one where inputs may be written over", case.text, at) end
    end
  end
  return "the same bits where it writes over its inputs"
end

-- On sorted numbers the results are sorted, too; where two are equal no gradient passes.
local function check_rising(case)
  local x = core.param(case.tensors[1]:reshape {-1}:sort():reshape(case.tensors[1].shape):eval())
  local y = cases.call(case, {x})
  local dx = core.grad(y:sum(), {x})[1]
  local xs, ys, ds = x:reshape {-1}:totable(), y:reshape {-1}:totable(), dx:reshape {-1}:totable()
  for i = 2, #ys do
    if ys[i] < ys[i - 1] then
      fail("%s: it falls from %g at %g to %g at %g, and says that it rises", case.text, ys[i - 1],
        xs[i - 1], ys[i], xs[i])
    elseif ys[i] == ys[i - 1] and xs[i] > xs[i - 1] and (ds[i] ~= 0 or ds[i - 1] ~= 0) then
      fail("%s: it is %g at %g and at %g, where its derivative is not 0, and says that it rises",
        case.text, ys[i], xs[i - 1], xs[i])
    end
  end
end

-- relu before it, and after it, come to the same.
local function check_picks(case)
  local before = cases.call(case, {case.tensors[1]:relu()}):reshape {-1}:totable()
  local after = cases.call(case, {case.tensors[1]}):relu():reshape {-1}:totable()
  for i, value in ipairs(before) do
    if value ~= after[i] and value == value then
      fail("%s: element %d of relu's values is %g, and relu of it %g: it says that it picks the "
        .. "largest of some", case.text, i, value, after[i])
    end
  end
end

-- What a program may exchange: a function that rises, and an op that picks the largest elements.
local function check_order(subject)
  local op = subject.op
  if not op.rises and not op.picks then skip "it says nothing of order" end
  for _, case in ipairs(subject.list) do
    local dtype = case.tensors[1].dtype
    if dtype == "f32" or dtype == "f64" then
      core.gate_note("the order of " .. case.text)
      if op.rises then check_rising(case) end
      if op.picks then check_picks(case) end
    end
  end
  return op.rises and "it rises" or "it picks the largest"
end

-- Whether differences in f64 say something: nothing in it is rounded to f32.
local function is_exact(case)
  local found = false
  for _, y in ipairs(cases.outputs(case)) do
    if y.dtype == "f32" then return false end
    found = found or y.dtype == "f64"
  end
  return found and case.variant ~= "f32" and cases.has_floats(case)
end

-- Whether an op hands its input on as it is and lets no gradient pass: it is there for that.
local function stops(subject)
  local _, is_view = core.gate_flags(subject.op.name)
  for _, case in ipairs(is_view and subject.list or {}) do
    if is_exact(case) and #core.bytes(case.tensors[1]) > 0 then
      local x = core.param(case.tensors[1])
      local dx = core.grad(cases.call(case, {x, table.unpack(case.tensors, 2)}):sum(), {x})[1]
      return not core.bytes(dx:eval()):find "[^\0]"
    end
  end
  return false
end

-- The largest error of gradients over the cases, against central differences in f64.
local function gradients(subject, second)
  local op = subject.op
  if not op.differentiable then skip "it has none" end
  if second and not op.twice then skip "none is claimed" end
  if stops(subject) then skip "it lets none pass, which a view may be there for" end
  local worst, n, elements, names, outputs = 0, 0, 0, {}, {}
  for i, output in ipairs(op.outputs) do outputs[i] = output.name end
  for _, case in ipairs(subject.list) do
    if is_exact(case) then
      core.gate_note("the gradient check of " .. case.text)
      for i = 1, #case.tensors do names[i] = cases.input_name(case, i) end
      local error, report = gradcheck(function(...) return cases.call(case, {...}) end,
        case.tensors, {raise = false, second = second, names = names, outputs = outputs})
      if not report.passed then fail("%s: %s", case.text, report.message) end
      worst, n, elements = math.max(worst, error), n + 1, elements + report.checked
    end
  end
  if n == 0 then skip "no case has f64 in and out, or no kernel serves it" end
  return ("%d elements, error at most %.1e"):format(elements, worst)
end

local function check_gradient(subject) return gradients(subject, false) end
local function check_second(subject) return gradients(subject, true) end

-- Those that come first are the ground for the others: after their failure nothing more is known.
local GROUND = {cases = true, bounds = true, purity = true, written = true}

checks.list = {
  {"cases", check_cases}, {"bounds", check_bounds}, {"purity", check_purity},
  {"written", check_written}, {"inputs", check_inputs}, {"shapes", check_shapes},
  {"plain", check_plain}, {"threads", check_threads}, {"slices", check_slices},
  {"in place", check_in_place}, {"order", check_order}, {"memory", check_memory},
  {"f32, f64", check_dtypes}, {"gradient", check_gradient}, {"second order", check_second},
}

-- Running them ------------------------------------------------------------------------------------

local function say(value)
  core.gate_say(core.json_encode(value) .. "\n")
end

local function text_of(problem)
  if type(problem) ~= "table" then return (tostring(problem):gsub("^case:%d+: ", "")) end
  return problem.problem
end

local function run_check(check, subject)
  say {check = check[1]}
  local start = core.clock()
  local succeeded, result = pcall(check[2], subject)
  local answer = {check = check[1], passed = succeeded, seconds = core.clock() - start,
    text = succeeded and result or nil}
  if not succeeded and type(result) == "table" and result.skipped then
    answer.passed, answer.skipped, answer.text = true, true, result.skipped
  elseif not succeeded then
    answer.text = text_of(result)
  end
  say(answer)
  return answer.passed, answer.skipped
end

local function test_op(job)
  local op = core.op_info(job.op)
  if not op then
    error(job.op .. " is not there in a new program: it was made at run time", 0)
  end
  local subject = {op = op, kernel = job.kernel, calls = 0,
    dtypes = cases.served(job.op, job.kernel)}
  if job.kernel then core.kernel_prefer(job.op, job.kernel) end
  core.threads(1) -- threads that wait for work take time from the one that has it
  local succeeded, problem = pcall(cases.read_all, subject)
  if not succeeded then
    say {check = "cases", passed = false, text = text_of(problem), seconds = 0}
    return
  end
  for _, check in ipairs(checks.list) do
    if check[2] ~= check_plain or subject.kernel then
      local passed, skipped = run_check(check, subject)
      if not passed and GROUND[check[1]] then return end
      if skipped and check[2] == check_bounds then return end -- the kernel is never used
    end
  end
end

-- The kernels that came from that library, for ops that were there.
local function kernels_of(path, own)
  local list = {}
  for name in pairs(core.ops()) do
    local seen = {}
    for line in core.kernel_list(name):gmatch "[^\n]+" do
      local kernel, origin = line:match "^(%S+) %S+ %S+ %S+ (.*)$"
      if origin == path and not own[name] and not seen[kernel] then
        seen[kernel] = true
        list[#list + 1] = {op = name, kernel = kernel}
      end
    end
  end
  table.sort(list, function(a, b) return a.op .. " " .. a.kernel < b.op .. " " .. b.kernel end)
  return list
end

local function dtype_list(name)
  local list = {}
  for dtype in pairs(cases.served(name)) do list[#list + 1] = dtype end
  table.sort(list)
  return list
end

-- What is in a library: its ops, and its kernels for others.
local function list_plugin(path, overrides, help)
  local abi, version = core.gate_abi(path)
  local own, ops = {}, {}
  for i, name in ipairs(core.plugin_load(path, overrides)) do
    own[name] = true
    ops[i] = {name = name, version = core.op_info(name).version, help = help and help(name, true),
      dtypes = dtype_list(name)}
  end
  say {abi = abi, version = version, ops = ops, kernels = kernels_of(path, own)}
end

---What the process is there for: {list = true, help = ...}, {bench = true, threads = ...}, or {op =
---..., kernel = ...}; and the library's `path`, and whether it `overrides` what is shipped.
---@param text string JSON
function checks.run(text)
  local job = core.json_decode(text)
  core.gate_note "its registration"
  if job.list then
    list_plugin(job.path, job.overrides, job.help and require "moonwalk.help" or nil)
  elseif job.bench then
    core.threads(job.threads)
    require "moonwalk.gate.bench"(core.plugin_load(job.path), function(line)
      say {line = line}
    end)
  else
    if job.path then core.plugin_load(job.path, job.overrides) end
    test_op(job)
  end
  say {done = true}
end

return checks
