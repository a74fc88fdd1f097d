# slices.sh: where every step that can be is cut as finely as can be, the reference cases and the
# finite differences agree as they do otherwise.
. tests/tap.sh

for file in reference gradcheck trajectory tutorial; do
  check "tests/lua/$file.lua with MOONWALK_SLICING=always" \
    env MOONWALK_SLICING=always sh tests/run "tests/lua/$file.lua"
done

done_testing
