#!/bin/sh
# each parser's libFuzzer target over its kept corpus, some seconds each
. tests/parts/lib.sh

build fuzz || exit 0
seconds=5
[ "$TALLY_LONG" -eq 0 ] || seconds=120
for target in "$(build_folder fuzz)"/bin/fuzz_*; do
    [ -x "$target" ] || { fail "$PART: no targets"; break; }
    step "${target##*/}" sh tests/fuzz/run.sh --seconds "$seconds" "${target##*/}" || :
done
