# arrows.sh: who may know whom. lua/ -> plugins/ -> graph/, and ops/ -> graph/moonwalk.h alone.
. tests/tap.sh

quoted() { grep -Hn '^ *# *include *"' "$@" /dev/null; } # includes of our own files
named() { grep -Hn '^ *# *include' "$@" /dev/null; }     # all includes

nothing "graph/ includes no file from outside of graph/" \
  "$(quoted graph/*.[ch] | grep -v '"[a-z_]*\.h"')"
nothing "graph/ includes no header of another folder by its bare name" \
  "$(for header in plugins/*.h lua/*.h; do quoted graph/*.[ch] | grep "\"${header##*/}\""; done)"
nothing "graph/ knows no language" "$(named graph/*.[ch] | grep -E '<(lua|lauxlib|ffi|cjson)')"

standard='assert|complex|ctype|errno|fenv|float|inttypes|limits|math|stdalign|stdarg|stdbool|stddef'
standard="$standard|stdint|stdio|stdlib|string|tgmath|time"
nothing "ops/ include graph/moonwalk.h, graph/vector.h, graph/vector_math.h, and the C library alone" \
  "$(named ops/*.c plugins/examples/*.c plugins/template/*.c |
    grep -vE "[<\"](\.\./graph/)?(moonwalk|vector|vector_math)\.h[>\"]|<($standard)\.h>" |
    grep -vE "^ops/conv2d[a-z_]*\.c:.*\"conv2d\.h\"")" # kernels of one op in several files

nothing "plugins/ do not know lua/" "$(named plugins/*.[ch] | grep -E '<(lua|lauxlib)|"[^"]*lua/')"
nothing "lua/ does not look inside of graph/" \
  "$(quoted lua/*.[ch] | grep -E '"[^"]*(internal|gemm)\.h"')"

# Only what builds or tests an op may name it: graph/ knows no op by name. What it says about
# ops in comments does not count.
names=$(sed -n 's/^ *\.name = "\([a-z0-9_]*\)".*/\1/p' ops/*.c | sort -u | tr '\n' '|')
nothing "graph/*.c name no op" \
  "$(grep -nE "\"(${names%|})\"" graph/*.c | grep -vE '/\*.*"|^ \*')"

nothing "no path of a developer's machine is in the tree" \
  "$(grep -rnE '["'\'' =(]/(work|home|Users)/' --include='*.[ch]' --include='*.lua' --include='*.md' \
    --include='*.sh' --include=Makefile graph ops plugins lua tests docs tools Makefile README.md \
    2>/dev/null | grep -v '^tests/sh/arrows.sh')"

done_testing
