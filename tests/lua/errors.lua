-- errors.lua: wrong input gives an error at the line of the script, which says what came and what
-- was expected.
local t = require "tap"
local mw = require "moonwalk"

local core = mw.core
local file = debug.getinfo(1, "S").short_src

-- fn is written on one line, so that the error must name the line where fn is defined. What is
-- written in Lua is called without `return`: a tail call leaves no trace of its line.
local function wrong(fn, text, name)
  local line = debug.getinfo(fn, "S").linedefined
  local succeeded, message = pcall(fn)
  message = tostring(message)
  local want = ("%s:%d: %s"):format(file, line, text)
  local passed = not succeeded and message:sub(1, #want) == want
  t.ok(passed, name)
  if not passed then
    print("# got  " .. (succeeded and "no error" or message:gsub("\n", "\n# ")))
    print("# want " .. want)
  end
end

local x, image = mw.randn {2, 3}, mw.randn {1, 3, 8, 8}
local filters = mw.randn {4, 3, 3, 3}
local labels = mw.tensor({0, 1}, "i64")

-- Ops: inputs
wrong(function() return mw.relu "x" end,
  "relu: x is 'x', expected a tensor or a number", "a string for a tensor")
wrong(function() return mw.relu() end,
  "relu: argument 1 (x) is missing, expected a tensor", "no tensor")
wrong(function() return mw.relu(x, x) end,
  "relu: f32[2,3] is one argument too many; it takes 1 tensor", "a tensor too many")
wrong(function() return mw.relu(print) end,
  "relu: x is a function, expected a tensor or a number", "a function for a tensor")
wrong(function() return x + nil end,
  "add: argument 2 (b) is missing, expected a tensor", "nil as an operand")
wrong(function() return x + {1, 2, 3} end,
  "add: b is a table, expected a tensor; a table of numbers becomes one with mw.tensor",
  "a table as an operand")
wrong(function() return x * "2" end,
  "mul: b is '2', expected a tensor or a number", "a string as an operand")
wrong(function() return labels * 0.5 end,
  "mul: b is 0.5, expected an integer beside i64[2]; use :cast to change the dtype",
  "a fraction beside integers")
wrong(function() return mw.tensor({1}, "u8") + 300 end,
  "add: b is 300, expected an integer from 0 to 255 beside u8[1]", "a number that does not fit")
wrong(function() return x + labels end, "add: ", "dtypes that differ")
wrong(function() return x + mw.randn {4} end, "add: ", "shapes that do not broadcast")
wrong(function() return x:matmul(mw.randn {2, 2}) end, "matmul: ", "a wrong matrix product")
wrong(function() return mw.conv2d(image, mw.randn {4, 2, 3, 3}) end, "conv2d: ", "wrong channels")
wrong(function() return mw.conv2d(x, filters) end, "conv2d: x is f32[2,3], expected rank 4",
  "a wrong rank")
wrong(function() return mw.conv2d(image, {stride = 2}, filters) end,
  "conv2d: argument 2 is a table; the attributes come last", "attributes before a tensor")
wrong(function() return mw.concat({x, 3}, {axis = 1}) end,
  "concat: tensor 2 of the list is 3", "a number in a list of tensors")

-- Ops: attributes
wrong(function() return mw.conv2d(image, filters, {strides = 2}) end,
  "conv2d: unknown attribute 'strides'; did you mean 'stride'? It has stride, padding,",
  "a misspelt attribute")
wrong(function() return mw.conv2d(image, filters, {stride = 0}) end, "conv2d: stride is 0",
  "an attribute out of bounds")
wrong(function() return mw.conv2d(image, filters, {stride = 1.5}) end,
  "conv2d: stride is a number that is no integer, expected an integer", "a fraction for an integer")
wrong(function() return mw.conv2d(image, filters, {stride = {1, "a"}}) end,
  "conv2d: entry 2 of stride is 'a', expected an integer", "a string in a list")
wrong(function() return mw.conv2d(image, filters, {stride = {1, 1, 1}}) end,
  "conv2d: stride has 3 entries, expected 1 or 2", "a list of a wrong length")
wrong(function() return mw.conv2d(image, filters, {stride = print}) end,
  "conv2d: attribute stride is a function", "a function for an attribute")
wrong(function() return mw.conv2d(image, filters, {[true] = 1}) end,
  "conv2d: the attribute table has the key true, expected names", "an attribute without a name")
wrong(function() return x:sum {axes = 0} end,
  "sum: axes is 0; it counts from 1, or from -1 at the end", "axis 0")
wrong(function() return x:sum(3) end, "sum: axis 3 is out of range", "an axis that is not there")
wrong(function() return x:sum({1}, {2}) end, "sum: axes is given twice", "an attribute given twice")
wrong(function() return x:relu(1) end,
  "relu: 1 is one argument too many; it takes 1 tensor", "a value without an attribute for it")
wrong(function() return x:cast "float" end, "cast: dtype is \"float\", expected one of",
  "an unknown choice")
wrong(function() return x:reshape(4, 2) end, "reshape: ", "a reshape to another size")
wrong(function() return x:reshape(-1, 0) end, "reshape: ", "a division of a shape by zero")
wrong(function() return x:reshape(mw.randn {2}) end,
  "reshape: f32[2] is one argument too many", "a tensor for an attribute")

-- Names
wrong(function() return mw.conv2 end, "mw.conv2 does not exist; did you mean mw.conv2d?",
  "a misspelt op")
wrong(function() return mw.cat end, "mw.cat does not exist; did you mean mw.concat?",
  "what an op is called elsewhere")
wrong(function() return mw.tensr {1} end, "mw.tensr does not exist; did you mean mw.tensor?",
  "a misspelt function")
wrong(function() return x:reshap(3, 2) end,
  "a tensor has no field, method or op 'reshap'; did you mean 'reshape'?", "a misspelt method")
wrong(function() return x:totabel() end,
  "a tensor has no field, method or op 'totabel'; did you mean 'totable'?", "another one")
wrong(function() return core.call("nonsense_op", x) end, "there is no op 'nonsense_op'",
  "an unknown op")
wrong(function() mw.help "conv2" end, "help: there is no op 'conv2'; did you mean 'conv2d'?",
  "help for a misspelt op")

-- Constructors
wrong(function() return mw.tensor {{1, 2}, {3}} end,
  "tensor: the table [2] has 1 elements, expected 2 as in the first one", "a ragged table")
wrong(function() return mw.tensor {{1, 2}, {3, "x"}} end,
  "tensor: element [2][2] is 'x', expected a number", "a string in a tensor")
wrong(function() return mw.tensor({1.5}, "i32") end,
  "tensor: element [1] is 1.5, expected an integer", "a fraction in an integer tensor")
wrong(function() return mw.tensor({1 << 31}, "i32") end,
  "tensor: element [1] is 2147483648, expected an integer of 32 bits", "an overflow of i32")
wrong(function() return mw.tensor {{1}, 2} end,
  "tensor: element [2] is 2, expected a table of 1", "a number among tables")
wrong(function() return mw.tensor(nil) end,
  "tensor: the value is nil, expected a number, a boolean or a table", "a tensor of nil")
wrong(function() return mw.tensor {{{{{{{{{1}}}}}}}}} end,
  "tensor: the tables are nested deeper than 8, the highest rank", "tables nested too deeply")
wrong(function() return mw.zeros {2, -1} end,
  "size 2 of the shape is -1, expected an integer of 0 or more", "a negative size")
wrong(function() return mw.zeros {2, 1.5} end,
  "size 2 of the shape is 1.5, expected an integer of 0 or more", "a fractional size")
wrong(function() return mw.zeros "2" end,
  "the shape is '2', expected a table such as {2, 3}", "a string for a shape")
wrong(function() return mw.zeros(2, 3) end,
  "dtype is 3, expected a string; a shape is one table, such as {2, 3}", "sizes side by side")
wrong(function() return mw.zeros({2}, "f16") end,
  "dtype is 'f16', expected 'f32', 'f64', 'i32', 'i64', 'u8' or 'bool'", "an unknown dtype")
wrong(function() return mw.zeros {1 << 40, 1 << 40} end,
  "the shape f32[1099511627776,1099511627776] is too large to address", "a shape that overflows")
wrong(function() return mw.zeros {1 << 50, 0} end,
  "shape f32[1125899906842624,0] is too large to address", "a shape that overflows around a 0")
wrong(function() return mw.zeros {1, 1, 1, 1, 1, 1, 1, 1, 1} end,
  "the shape has 9 sizes, at most 8 are possible", "a rank of 9")
wrong(function() return mw.randn({2}, "i32") end,
  "randn: dtype is 'i32', expected 'f32' or 'f64'", "random integers")
wrong(function() return mw.uniform({2}, 3, 1) end, "uniform: low is 3, above high, 1",
  "an interval turned round")
wrong(function() return mw.arange(1, 5, 0) end, "arange: step is 0", "a step of 0")
wrong(function() return mw.arange(1, 1e300) end, "arange: 1e+300 elements are too many",
  "an endless sequence")
wrong(function() return mw.linspace(0, 1, 2.5) end,
  "linspace: n is 2.5, expected an integer of 0 or more", "a fraction of a count")
wrong(function() return mw.seed "x" end, "seed: n is 'x', expected an integer", "a seed of letters")
wrong(function() return mw.threads(0) end, "threads: n is 0, expected 1 to 1024", "no threads")
wrong(function() return mw.param(x, 5) end, "param: name is 5, expected a string",
  "a number for a name")

-- Indexing and values
wrong(function() return x[4] end,
  "index 4 is out of range: axis 1 of f32[2,3] has size 2, counted from 1", "an index too large")
wrong(function() return x[0] end, "index 0 is out of range: axis 1", "index 0")
wrong(function() return x[1.5] end, "index 1.5 is no integer", "a fractional index")
wrong(function() return x:sum()[1] end, "f32[] is a scalar, it has no axis to index",
  "an index into a scalar")
wrong(function() x[1] = 5 end, "a tensor cannot be written to at 1", "an assignment")
wrong(function() return #x:sum() end, "a scalar has no length", "the length of a scalar")
wrong(function() return x < x end,
  "tensors cannot be compared with < or >, which give one boolean in Lua; a:lt(b)", "<")
wrong(function() return x >= x end,
  "tensors cannot be compared with <= or >=, which give one boolean in Lua; a:le(b)", ">=")
wrong(function() return x:item() end,
  "item: the tensor is f32[2,3], expected one element; t:totable() gives all", "item of many")
wrong(function() x:slice {{1, 4}} end, "slice: axis 1: last is 4, but the size is 2",
  "a slice out of range")
wrong(function() x:slice {1, 1, 1} end,
  "slice: there are 3 parts, but the tensor is f32[2,3]", "a slice of too many axes")
wrong(function() x:slice {{1, 2, 0}} end,
  "slice: axis 1: step is 0, expected an integer other than 0", "a slice with step 0")
wrong(function() x:slice(1) end,
  "slice: the parts are 1, expected a table such as {{1, 2}}", "a slice without a table")
wrong(function() return core.from_bytes("abc", "f32", {1}) end,
  "from_bytes: there are 3 bytes, expected 4 for f32[1]", "bytes of a wrong length")

-- Gradients
wrong(function() return mw.grad(x, {x}) end, "grad: ", "the gradient of a tensor without dy")
wrong(function() return mw.grad(x:sum(), x) end, "grad: x is one tensor, expected a list: {x}",
  "a tensor for a list")
wrong(function() return mw.grad(x:sum(), {x, 1}) end, "grad: x[2] is 1, expected a tensor",
  "a number in the list")
wrong(function() return mw.grad(x:sum(), {w = x}) end,
  "grad: x has the key 'w', expected a list such as {x, w}", "names in the list")
wrong(function() return mw.grad(5, {x}) end, "grad: y is 5, expected a tensor",
  "the gradient of a number")
wrong(function() return mw.grad(x:sum(), {x}, 1) end,
  "grad: dy is 1, expected a tensor of y's shape", "a number for dy")
wrong(function() return core.run({}, {x}, {x}) end, "", "an update of what is no parameter")
wrong(function() mw.compile(5) end,
  "compile: the argument is 5, expected a function", "compile of a number")
wrong(function() mw.compile(print)({}) end,
  "compile: argument 1 is a table, expected a tensor", "a compiled function of a table")
wrong(function() mw.compile(function(u) return u * u:sum():item() end)(x) end,
  "input 'argument 1, while mw.compile traces' f32[2,3] has no value yet",
  "a value that is asked for in a compiled function")
local metrics = require "moonwalk.metrics"
wrong(function() metrics.evaluate(mw.nn.ReLU {}) end,
  "evaluate: the set is nil, expected a data set", "an evaluation without a data set")
wrong(function() metrics.evaluate(print, {}) end, "evaluate: net is a function, expected a module",
  "an evaluation of a function")
wrong(function() mw.plugin "/no/such/plugin.so" end, "", "a plugin that is not there")

-- Functions that the Lua modules call; strings with a NUL, at which C would take them to end
wrong(function() return core.permutation() end, "permutation: n is nil, expected an integer",
  "a permutation of nothing")
wrong(function() return core.rows(x, nil, 1) end, "rows: count is nil, expected an integer",
  "rows without a number")
wrong(function() return core.rows(x, nil, 1, 1, "f32", "1") end,
  "rows: scale is '1', expected a number", "rows times a string")
wrong(function() return core.digits(1) end, "digits: seed is nil, expected an integer",
  "digits without a seed")
wrong(function() return core.idx() end, "idx: the path is nil, expected a string", "idx of nothing")
wrong(function() return core.terminal "x" end,
  "terminal: the stream is 'x', expected 'stdin', 'stdout' or 'stderr'",
  "a stream that there is not")
wrong(function() return core.kernel_prefer("relu", {}) end,
  "kernel_prefer: the kernel is a table, expected a string", "a kernel that is a table")
wrong(function() return x.item(5) end, "item: argument 1 is 5, expected a tensor",
  "a method of a number")
wrong(function() return x["shape\0"] end,
  "a tensor's field: its name has a NUL character: 'shape...'", "a NUL in a field")
wrong(function() return mw.zeros({1}, "f64\0") end, "dtype is 'f64...', expected",
  "a NUL in a dtype")
wrong(function() return x:cast "f64\0" end, "cast: dtype has a NUL character: 'f64...'",
  "a NUL in an attribute")
wrong(function() return mw.param({1}, "a\0b") end, "param: name has a NUL character: 'a...'",
  "a NUL in a parameter's name")
wrong(function() return mw["relu\0"] end, "mw.relu\0 does not exist; did you mean mw.relu?",
  "a NUL in an op's name")
wrong(function() return mw[x] end, "mw[a tensor f32[2,3]] does not exist", "a tensor for a name")
wrong(function() return core.call("place", x, {shape = {math.mininteger, 3}, start = {-1, 1}}) end,
  "place: entry 1 of shape is -9223372036854775808, expected 0 or more", "a negative size")
wrong(function() x:slice {rows = 1} end,
  'slice: the parts have the key "rows", but the tensor is f32[2,3]', "a slice of what is no axis")
wrong(function() mw.gradcheck(mw.relu, {x}, {eps = "x"}) end,
  'gradcheck: eps is "x", expected a number', "an eps that is no number")
wrong(function() mw.gradcheck(mw.relu, {x}, 3) end,
  "gradcheck: the table of options is 3, expected", "options that are no table")
wrong(function() mw.data.dataset(x, {1, 2}) end,
  "data.dataset: y is a table, expected a tensor of rank 1", "labels that are no tensor")
wrong(function() mw.data.digits {"test"} end,
  'data.digits: [1] is "test"; options are given by name: split, n, seed',
  "an option without its name")
wrong(function() mw.optim.SGD({mw.param {1}}, {0.1}) end,
  "optim.SGD: [1] is 0.1; options are given by name: lr", "a learning rate without its name")

wrong(function() mw.gradcheck() end, "gradcheck: fn is nil, expected a function",
  "a check of nothing")
wrong(function() mw.gradcheck(mw.relu, x) end,
  "gradcheck: the list of inputs is a tensor f32[2,3], expected one such as", "a check of no list")

-- Ctrl-C
local process = io.open "/proc/self/stat"
if process then
  local id = process:read "n"
  process:close()
  os.execute(("(sleep 0.2; kill -INT %d) &"):format(id))
  wrong(function() while true do local _ = nil end end, "interrupted", "a loop that Ctrl-C stops")
else
  t.skip("a loop that Ctrl-C stops", "there is no /proc")
end

-- However it is called, the line is the script's.
local function deep(n)
  if n > 0 then return (deep(n - 1)) end
  mw.relu "x"
end
local deep_line = debug.getinfo(deep, "S").linedefined + 2
local function from(fn, line, text, name)
  t.is(tostring(select(2, pcall(fn))), ("%s:%d: %s"):format(file, line, text), name)
end
local relu_x = "relu: x is 'x', expected a tensor or a number"
from(function() deep(10000) end, deep_line, relu_x, "a deep recursion")
local routine = coroutine.create(function() mw.relu "x" end)
from(function() error(select(2, coroutine.resume(routine)), 0) end,
  debug.getinfo(1, "l").currentline - 2, relu_x, "a coroutine")
wrong(function() local _, message = pcall(function() mw.relu "x" end) error(message, 0) end, relu_x,
  "an error that is raised again")
wrong(function() mw.compile(function() return mw.relu "x" end)(x) end, relu_x,
  "a compiled function")
wrong(function() table.sort({1, 2}, function() mw.relu "x" end) end, relu_x, "a callback of C")
local function hook() debug.sethook() mw.relu "x" end
from(function() debug.sethook(hook, "c") os.time() end, debug.getinfo(hook, "S").linedefined,
  relu_x, "a hook")
wrong(function() return setmetatable({}, {__index = function() mw.relu "x" end}).x end, relu_x,
  "a metamethod")
wrong(function() local _ <close> = setmetatable({}, {__close = function() mw.relu "x" end}) end,
  relu_x, "the end of a scope")
wrong(function() for _ in function() mw.relu "x" end do os.time() end end, relu_x, "an iterator")
wrong(function() xpcall(mw.relu, function(message) error(message, 0) end, "x") mw.relu "x" end,
  relu_x, "a message handler")
local dense = mw.nn.Dense {3, 4}
wrong(function() return dense(mw.ones {2, 5}) end,
  "dense: x has 5 columns, weight expects 3 (x f32[2,5] from ", "a layer that is tail-called")
wrong(function() return mw.nn.Dense {} end, "nn.Dense: ", "a constructor that is tail-called")
wrong(function() return x:slice {1, 1, 1} end, "slice: there are 3 parts",
  "a method in Lua that is tail-called")
wrong(function() mw.update({mw.param {1}}, {mw.ones(2)}) end,
  "update: parameter 1 is f32[1], its new value is f32[2]", "a parameter without a name")
wrong(function() return x:cross_entropy(mw.one_hot(mw.tensor({0, 2}, "i64"), {classes = 3})) end,
  "cross_entropy: labels is f32[2,3], a number for each class; expected the class, counted from 0, "
  .. "in i64: labels:argmax(2) of one-hot labels", "one-hot labels")
wrong(function() return mw.update(5) end, "update: parameters is 5", "a function that is so")
local weight = mw.param(mw.ones {2}, "w")
wrong(function() return mw.optim.SGD({weight}, {lr = "x"}) end, "optim.SGD: lr is",
  "an optimizer that is")
wrong(function() return mw.optim.SGD {weight}:step(weight * 2) end, "step: the loss is a tensor",
  "a step that is")
wrong(function() return mw.data.digits {count = 3} end, "data.digits: there is no option",
  "a data set that is")
wrong(function() return mw.data.digits {n = 3}:batches {count = 3} end, "batches: there is no",
  "batches that are")
wrong(function() return mw.compile(function(v) return {v} end)(x) end, "compile: result 1 of",
  "a compiled function that is")
wrong(function() return mw.vjp(mw.exp, x) end, "vjp: the function's result", "mw.vjp that is")
wrong(function() return mw.stats(dense, x, 3) end, "stats: the loss is 3", "mw.stats that is")
wrong(function() return dense:load {} end, "load: \"weight\" is nil", "a load that is")
local Broken = mw.nn.Module:extend "Broken"
function Broken:forward(u) self.called = true; return u:relu "x" end
from(function() return Broken()(x) end, debug.getinfo(Broken.forward, "S").linedefined,
  "relu: 'x' is one argument too many; it takes 1 tensor", "a method forward of one's own")
from(function() return mw.nn.Sequential {Broken()}(x) end,
  debug.getinfo(Broken.forward, "S").linedefined,
  "Broken (layer 1): relu: 'x' is one argument too many; it takes 1 tensor", "in a Sequential")

-- Deep in Lua's own modules the line is still the script's.
wrong(function() mw.gradcheck(function() return 1 end, {x}) end,
  "gradcheck: the function returned no tensor of f32 or f64", "an error in a Lua module")
-- What people try first.
wrong(function() return x:view(6) end,
  "a tensor has no field, method or op 'view'; did you mean 'reshape'?", "a method's other name")
wrong(function() return mw.view(x, 6) end, "mw.view does not exist; did you mean mw.reshape?",
  "an op's other name")
wrong(function() return mw.zeros_like(x) end,
  "mw.zeros_like does not exist; did you mean mw.zeros(t.shape, t.dtype)?", "a constructor's")
wrong(function() return x:gt(0):mean() end,
  'mean: x is bool[2,3], but kernels exist for f32, f64; use :cast "f32"', "a mean of what is bool")
wrong(function() return x:sum():backward() end,
  "a tensor has no field, method or op 'backward'; did you mean 'mw.grad(y, {x})'?", "backward()")
wrong(function() return mw.optim.SGD(dense) end,
  "optim.SGD: the first argument is the module Dense, expected a list of parameters: "
  .. "net:parameters()", "an optimizer of a network")
wrong(function() mw.optim.SGD {weight}:zero_grad() end,
  "optim.SGD: there is nothing to set to zero", "zero_grad()")
wrong(function() mw.optim.SGD {weight}:step(x:sum()) end,
  "step: the loss depends on none of the 1 parameters of this optimizer, such as f32[2] 'w'",
  "a loss that has nothing to do with the parameters")
wrong(function() mw.optim.SGD {weight}:step(weight:sum(), nil, 3) end,
  "step: argument 3 is 3, expected a tensor to compute, too", "a further tensor of a step")
wrong(function() mw.compile(function() end)(x) end,
  "compile: the function returned nothing, expected tensors", "a function without results")
wrong(function() return mw.nonsense_name end, "mw.nonsense_name does not exist; mw.help() lists",
  "a name that nothing is near")

t.done()
