-- csv.lua: tables of text as data sets: what is a number, a class, missing, or wrong, and in which
-- line.
local mw = require "moonwalk"
local t = require "tap"
local folder = require "folder"
local data = mw.data

local function put(text) return folder.put("table.csv", text) end

local function read(text, options) return data.csv(put(text), options) end

local flowers = [[
length,width,species
5.1,3.5,setosa
7,3.25,versicolor
-6.3e0,+.5,virginica
4,2,setosa
]]

do
  local set = assert(read(flowers, {label = "species"}))
  t.near(set.x:totable(), {{5.1, 3.5}, {7, 3.25}, {-6.3, 0.5}, {4, 2}}, 1e-6, "numbers")
  t.is({set.y.dtype, set.y:totable(), set.classes, set.columns, set.name},
    {"i64", {0, 1, 2, 0}, {"setosa", "versicolor", "virginica"}, {"length", "width"}, "table.csv"},
    "classes in the order of their names")
  t.is(#set, 4, "a row for each line")
  t.is(read(flowers, {label = -1}).y:totable(), {0, 1, 2, 0}, "the last column, by number")
  t.is(read(flowers, {label = 3, columns = {"width"}}).x:totable(), {{3.5}, {3.25}, {0.5}, {2}},
    "columns that are chosen")
  t.ok(read(flowers).y == nil, "no label, no y")
  t.is(read(flowers).columns, {"length", "width", "species=setosa", "species=versicolor",
    "species=virginica"}, "a feature of texts has a column for each")
  t.is(read(flowers, {columns = {3}}).x:totable(), {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 0, 0}},
    "of 0 and 1")

  local test = read("species,width,length\nvirginica,1,2\n", {like = set})
  t.is({test.x:totable(), test.y:totable(), test.classes}, {{{2, 1}}, {2}, set.classes},
    "like another set: its columns and classes")
  t.ok(read("width,length\n1,2\n", {like = set}).y == nil, "without its label")
  t.is(select(2, read("width,length,species\n1,2,rose\n", {like = set})):match "line.*",
    'line 2: species is "rose", which the set that it shall be like has not: '
    .. "setosa, versicolor, virginica", "a class that it has not")
  t.ok(select(2, read("width\n1\n", {like = set})):find 'no column "length" for a feature',
    "a column that is not there")
  t.ok(select(2, read("width,length\n1,x\n", {like = set})):find 'line 2: length is "x"',
    "text for a number")
end

-- Numbers as strtod reads them, those that are short and those that are not.
do
  local texts = {
    "0", "-0", "1", "-1", "0.1", "123456789012345", "1234567890123456789", "0.000000000000001",
    ".5", "5.", "1e3", "1E-3", "+2", "-2.5e+2", "179769313486231570000000", "3.141592653589793",
    "4.35", "0.1234567890123456789", "2.2250738585072014e-308",
  }
  local set = assert(read("a\n" .. table.concat(texts, "\n") .. "\n", {label = 1, columns = {1},
    types = {a = "number"}}))
  local wrong = {}
  local values = mw.core.csv("a\n" .. table.concat(texts, "\n"), ",", true).columns[1].values
  for i, value in ipairs(values:totable()) do
    if value ~= tonumber(texts[i]) + 0.0 then wrong[#wrong + 1] = texts[i] end
  end
  t.is({wrong, set.y.dtype}, {{}, "f32"}, "numbers, to the bit")
  for _, text in ipairs {"0x10", "inf", "1e999", "1.2.3", "--1", "1 2", "e5", ".", "-", "1e"} do
    t.ok(mw.core.csv("a\n" .. text, ",", true).columns[1].codes, text .. " is text")
  end
end

-- Forms of tables.
for _, case in ipairs {
  {"quotes", 'a,"b ""c"""\n"1","x, y"\n2,"say ""no"""\n', {"a", 'b "c"=say "no"', 'b "c"=x, y'},
    {{1, 0, 1}, {2, 1, 0}}},
  {"a quoted line break", 'a,b\n1,"x\ny"\n2,z\n', {"a", "b=x\ny", "b=z"}, {{1, 1, 0}, {2, 0, 1}}},
  {"Windows line ends", "a,b\r\n1,2\r\n3,4\r\n", {"a", "b"}, {{1, 2}, {3, 4}}},
  {"no line break at the end", "a,b\n1,2", {"a", "b"}, {{1, 2}}},
  {"empty lines", "\n\na,b\n\n1,2\n\n\n3,4\n\n", {"a", "b"}, {{1, 2}, {3, 4}}},
  {"spaces around", "a , b\n 1 ,\t2 \n", {"a", "b"}, {{1, 2}}},
  {"a byte order mark", "\xef\xbb\xbfa,b\n1,2\n", {"a", "b"}, {{1, 2}}},
  {"one column", "a\n1\n2\n", {"a"}, {{1}, {2}}},
  {"semicolons", "a;b\n1;2\n", {"a", "b"}, {{1, 2}}, {separator = ";"}},
  {"tabs", "a\tb\n1\t2\n", {"a", "b"}, {{1, 2}}, {separator = "\t"}},
  {"no header", "1,2\n3,4\n", {"column 1", "column 2"}, {{1, 2}, {3, 4}}, {header = false}},
  {"missing filled with a number", "a,b\n1,\n,4\n", {"a", "b"}, {{1, -1}, {-1, 4}}, {missing = -1}},
  {"missing filled with the mean", "a,b\n1,NA\n?,4\n5,null\n6,6\n", {"a", "b"},
    {{1, 5}, {4, 4}, {5, 5}, {6, 6}}, {missing = "mean"}},
  {"rows that miss something left out", "a,b\n1,\n2,x\n,y\n4,y\n", {"a", "b=x", "b=y"},
    {{2, 1, 0}, {4, 0, 1}}, {missing = "drop"}},
  {"a missing text is none of its classes", "a\nx\n\"\"\ny\n", {"a=x", "a=y"},
    {{1, 0}, {0, 0}, {0, 1}}, {missing = 0}},
  {"numbers as classes", "a\n10\n9\n10\n", {"a=9", "a=10"}, {{0, 1}, {1, 0}, {0, 1}},
    {types = {a = "class"}}},
} do
  local set, why = read(case[2], case[5])
  t.is({set and set.columns or why, set and set.x:totable()}, {case[3], case[4]}, case[1])
end

do
  t.is(read("a,y\n1,0\n1,3\n", {label = "y"}).y.dtype, "i64", "whole numbers are labels")
  t.is(read("a,y\n1,0\n1,-3\n", {label = "y"}).y:totable(), {0, -3}, "negative ones are targets")
  t.is(read("a,y\n1,0\n1,3\n", {label = "y", types = {y = "number"}}).y.dtype, "f32",
    "as targets, if so called")
  local set = read("a,y\n1,7\n1,3\n", {label = "y", types = {y = "class"}})
  t.is({set.y:totable(), set.classes}, {{1, 0}, {"3", "7"}}, "as classes, if so called")
  local dropped = read("a,y\n1,b\n2,\n3,a\n", {label = "y", missing = "drop"})
  t.is({dropped.x:totable(), dropped.y:totable()}, {{{1}, {3}}, {1, 0}}, "a row without label")
  local trained = read("a\n1\n3\n", {missing = "mean"})
  t.is(read("a\n\n5\n?\n", {like = trained, missing = "mean"}).x:totable(), {{5}, {2}},
    "the mean is that of the set that it is like")
  local wide = {}
  for i = 1, 700 do wide[i] = i end
  local row = table.concat(wide, ",")
  local many = read((row .. "\n"):rep(50), {header = false, label = 1})
  t.is({#many, many.x.shape[2], many.x:totable()[50][699]}, {50, 699, 700}, "wide tables")
end

-- What is wrong, and where.
for _, case in ipairs {
  {"", "table.csv: it is empty"},
  {"\n\n", "table.csv: it is empty"},
  {"a,b\n", "table.csv: it has a header and no rows"},
  {"a,b\n1,2\n3\n", "table.csv: line 3: there are 1 fields, expected 2 as in the first row"},
  {"a,b\n\n1,\"x\ny\"\n1,2,3\n", "line 5: there are 3 fields, expected 2"},
  {"a,b\n1,\"2\n3,4\n", "line 2: a quote is not closed"},
  {'a,b\n1,"2"x\n', "line 2: something stands behind a closing quote"},
  {"a,a\n1,2\n", 'two columns are called "a"'},
  {"a,b\n1,2\n,3\n", "line 3: a has no value; missing = \"drop\""},
  {"a,b\n1,2\n2,\n", 'line 3: the label b has no value; missing = "drop"', {label = "b"}},
  {"a,b\n1,2\nx,3\n", 'line 3: a is "x", expected a number', {types = {a = "number"}}},
  {"a,b\n1,2\n", 'there is no column "c" for label', {label = "c"}},
  {"label,b\n1,2\n", 'there is no column "lable" for label, did you mean "label"?',
    {label = "lable"}},
  {"a,b\n1,2\n", "columns is column 3, there are 2", {columns = {3}}},
  {"a\n1\n", "there is no column for x", {label = 1}},
  {"a\n?\n", "every row misses a value", {missing = "drop"}},
  {"a\n?\n?\n", "a has no value at all", {missing = "mean"}},
} do
  local set, why = read(case[1], case[3])
  t.ok(set == nil and why:find(case[2], 1, true) and why:find(folder.path, 1, true) == 1,
    case[2] .. (set and " (was read)" or " | " .. why))
end
do
  local lines = {"a"}
  for i = 1, 1001 do lines[i + 1] = "text " .. i end
  t.ok(select(2, read(table.concat(lines, "\n"))):find "line 2: a has 1001 different texts; leave",
    "names are no classes")
  t.is(#assert(read(table.concat(lines, "\n"), {types = {a = "class"}})).columns, 1001,
    "unless called so")
  t.ok(select(2, data.csv(folder.path .. "/none.csv")):find "none.csv: No such file", "no file")
  t.ok(select(2, data.csv(folder.path)):find "Is a directory", "a folder")
end
for _, case in ipairs {
  {"data.csv: the path is 3", function() data.csv(3) end},
  {'data.csv: there is no option "lable", did you mean "label"', function()
    data.csv("x", {lable = 1})
  end},
  {'data.csv: separator is ", "', function() data.csv("x", {separator = ", "}) end},
  {'data.csv: missing is "zero", expected error or mean or drop', function()
    data.csv("x", {missing = "zero"})
  end},
  {"data.csv: like is 3", function() data.csv("x", {like = 3}) end},
  {'data.csv: types["length"] is "text"', function()
    read(flowers, {types = {length = "text"}})
  end},
} do
  t.refuses(case[1], case[2])
end

do -- Damaged tables: an error or a set, never a crash.
  local text, tried = 'a,"b ""c""",d\n1,"x, y",?\n2.5e3,"say ""no""",4\n', 0
  for i = 1, #text do
    for _, byte in ipairs {0, 10, 34, 44, 255} do
      local damaged = text:sub(1, i - 1) .. string.char(byte) .. text:sub(i + 1)
      for _, missing in ipairs {"drop", 0} do
        local set, why = read(damaged, {missing = missing})
        tried = tried + ((set or why) and 1 or 0)
      end
    end
    read(text:sub(1, i))
  end
  t.is(tried, 10 * #text, "damaged bytes give an error or a set")
end

folder.remove()
t.done()
