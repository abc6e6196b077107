#!/bin/sh
# each parser's libFuzzer target over its kept corpus, some seconds each
. tests/parts/lib.sh

step "fuzz build" build_quietly fuzz fuzzers || exit 0
seconds=5
[ "$TALLY_LONG" -eq 0 ] || seconds=120
targets=$(build_folder fuzz)/bin
if ! [ -x "$targets/fuzz_agi" ]; then
    fail "$PART: no targets"
    exit 0
fi
for target in "$targets"/fuzz_*; do
    echo "${target##*/}: sh tests/fuzz/run.sh --seconds $seconds ${target##*/}"
done | beside
