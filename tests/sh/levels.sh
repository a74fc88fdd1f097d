# levels.sh: the tests of kernels at each instruction level that this processor has, not only at the
# best one, which is what other tests run.
. tests/tap.sh

moonwalk=$MOONWALK_BUILD/moonwalk

# The level that a process takes when it is asked to take that one.
level_of() {
  MOONWALK_LEVEL=$1 "$moonwalk" -e '
    mw.tune {file = false}
    mw.ones {1, 1, 3, 3}:conv2d(mw.ones {1, 1, 2, 2}):eval()
    print((mw.tune()[1].machine:match "%S+"))'
}

for level in v1 v3 v4 base; do
  if [ "$(level_of $level)" != $level ]; then
    skip "level $level" "this processor, or this build, does not have it"
    continue
  fi
  for test in reference conv pool products unary; do
    check "$test.lua at level $level" \
      env MOONWALK_LEVEL=$level "$moonwalk" "tests/lua/$test.lua"
  done
done

done_testing
