# plugin.sh: `moonwalk plugin`: a new op, from its skeleton to where every script finds it.
. tests/tap.sh

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
export XDG_CACHE_HOME="$scratch/cache" XDG_DATA_HOME="$scratch/data"
tree=$PWD
moonwalk=$MOONWALK_BUILD/moonwalk
plugin() { "$moonwalk" plugin "$@"; }

refused() { # name, text, status, command...: passes when it fails so and its output has the text
  tap_name=$1 tap_text=$2 tap_status=$3
  shift 3
  tap_said=$("$@" 2>&1)
  tap_got=$?
  case $tap_got:$tap_said in
  "$tap_status":*"$tap_text"*) pass "$tap_name" ;;
  *) fail "$tap_name" "status $tap_got: $tap_said" ;;
  esac
}

says "moonwalk plugin says what there is" "plugin install FILE.so" plugin
says "so does --help, also behind a command" "plugin install FILE.so" plugin test --help
refused "a misspelt command" "did you mean test?" 2 plugin tset
refused "a command without a file" "build wants a file" 2 plugin build
refused "an option that there is not" "test has no option --agin" 2 plugin test x.so --agin

# new
cd "$scratch" || exit 1
says "new writes the C file" "wobble/wobble.c" plugin new wobble
for file in wobble.c wobble.lua Makefile; do
  check "$file is there" test -s "wobble/$file"
done
check "a Makefile of three lines" test "$(wc -l <wobble/Makefile)" -eq 3
nothing "the template's name is nowhere" "$(grep -rn scale wobble)"
refused "it does not write over files" "wobble/Makefile is there already" 1 plugin new wobble
says "into a folder of another name" "ops/wobble2.c" plugin new wobble2 ops
refused "a name that is none" 'the name is "Wobble"' 1 plugin new Wobble
refused "the name of an op that there is" "there is an op relu already" 1 plugin new relu

# build, test
cd wobble || exit 1
refused "testing what is not built yet" "wobble.so is not there; moonwalk plugin build makes it" 1 \
  plugin test wobble.so
says "build makes the library" "wobble.so" plugin build wobble.c
check "which is there" test -s wobble.so
says "-o says where" "elsewhere/w.so" plugin build wobble.c -o elsewhere/w.so
check "and there it is" test -s elsewhere/w.so
refused "building what is no C" 'the file is "wobble.so", expected one that ends in .c' 1 \
  plugin build wobble.so
refused "building what is not there" "nowhere.c: No such file" 1 plugin build nowhere.c
sed 's/factor \* x\[i\]/factor * z[i]/' wobble.c >wrong.c
line=$(grep -n 'z\[i\]' wrong.c | cut -d: -f1)
refused "an error of the compiler names the line" "wrong.c:$line:" 1 plugin build wrong.c
says "test passes" "wobble.so: passed;" plugin test wobble.so
says "it checked the gradient" "second order" plugin test wobble.so
says "it knows the verdict then" "known from an earlier test" plugin test wobble.so
case $(plugin test wobble.so --again) in
*"known from"*) fail "but for --again" ;;
*) pass "but for --again" ;;
esac
says "the C file can be tested as well" ": passed;" plugin test wobble.c
refused "--seconds wants a number" 'seconds is "soon"' 2 plugin test wobble.so --seconds soon
says "make builds and tests, and the example runs" "dx = f32[3] {10, 10, 10}" \
  make --no-print-directory MOONWALK="$moonwalk" test
sed 's/"dy \* factor"/"dy"/' wobble.c >wrong.c
plugin build wrong.c >/dev/null
refused "a wrong gradient is found" "the gradient is" 1 plugin test wrong.so
refused "and not installed" "wrong.so is not installed" 1 plugin install wrong.so

# info, bench, install
says "info: the ABI" "ABI 1, built against Moonwalk" plugin info wobble.so
says "info: the op with its schema" "mw.wobble(x, {factor = 2}) -> y" plugin info wobble.so
says "info: the element types" "wobble, version 1, for f32, f64" plugin info wobble.so
refused "info of what is no plugin" "wobble.c.so: " 1 sh -c "cp wobble.c wobble.c.so
  '$moonwalk' plugin info wobble.c.so"
says "bench: a line for each size" "f64" plugin bench wobble.so
says "with the elements" "1000002" plugin bench wobble.so
refused "bench survives what it measures" "crashed with signal 11 (SIGSEGV)" 1 \
  plugin bench "$MOONWALK_BUILD/hostile/crashes.so"
cat >single.c <<EOF
/* real: f32 */
#include "$tree/tests/hostile/hostile.h"
static const mw_op op = {GOOD_OP("single"), .example = "mw.single(mw.ones{2})"};
MW_PLUGIN(&op)
EOF
says "bench of an op for f32 alone" "single: mw.single(mw.ones{2})" plugin bench single.c
says "whose gradient cannot be checked" "1 case, f32" plugin test single.c
says "install says where" "$scratch/data/moonwalk/plugins/wobble.so" plugin install wobble.so
check "and there it is" cmp wobble.so "$scratch/data/moonwalk/plugins/wobble.so"
says "without a test if asked" "plugins/wrong.so" plugin install wrong.so --untested

# The example of the tree, and a shipped op.
cd "$tree" || exit 1
refused "a shipped op's file" "op gelu exists already, from shipped" 1 plugin test ops/gelu.c
says "passes in the shipped op's place" ": passed;" plugin test --override ops/gelu.c
says "squareplus.c passes" ": passed;" plugin test plugins/examples/squareplus.c
refused "crashes.so is refused, with the signal" "signal 11 (SIGSEGV)" 1 \
  plugin test "$MOONWALK_BUILD/hostile/crashes.so"

done_testing
