#!/bin/sh
# Runs the libFuzzer targets over their kept corpora (tests/fuzz/corpus/NAME/ is that of fuzz_NAME).
#
#   sh tests/fuzz/run.sh [--seconds N] [--keep] [TARGET...]
#
#   --seconds N   for each target, 5 unless told otherwise
#   --keep        afterwards put what covers new code into the kept corpus, as little as does
# Targets are built with `cmake --preset fuzz && ninja -C build/fuzz`. What makes one fail is left in
# build/tests/fuzz/TARGET/ and named; run build/fuzz/bin/TARGET FILE to see it again.
# Exit code: 0 nothing found, 1 something found, 2 usage or no target.
set -eu

cd "$(dirname "$0")/../.."
seconds=5 keep=no
while [ $# -gt 0 ]; do
    case $1 in
    --seconds)
        case ${2:-} in '' | *[!0-9]*) echo "fuzz: --seconds needs a number" >&2; exit 2 ;; esac
        seconds=$2
        shift
        ;;
    --keep) keep=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) echo "fuzz: unknown option $1" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done

build=${TALLY_BUILD:-build}
if [ $# -eq 0 ]; then
    set -- "$build"/fuzz/bin/fuzz_*
    [ -x "$1" ] || { echo "fuzz: no targets in $build/fuzz/bin" >&2; exit 2; }
fi

found=0
for target; do
    name=${target##*/}
    program=$build/fuzz/bin/$name
    [ -x "$program" ] || { echo "fuzz: no target $name" >&2; exit 2; }
    kept=tests/fuzz/corpus/${name#fuzz_} work=$build/tests/fuzz/$name
    mkdir -p "$work/corpus"
    # The kept corpus is read only: what is new goes into the first folder. No input may take more
    # than 5 s or 1 GiB.
    set -- "$work/corpus"
    [ ! -d "$kept" ] || set -- "$@" "$kept"
    if "$program" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$work/" "$@" >"$work/log" 2>&1; then
        printf '%s: %s runs, %s files kept\n' "$name" \
            "$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")" \
            "$(find "$kept" -type f 2>/dev/null | wc -l)"
    else
        found=1
        printf '%s: FOUND, see %s\n' "$name" "$work/log"
        grep -E 'ERROR|runtime error|SUMMARY|Test unit written' "$work/log" || tail -n 20 "$work/log"
    fi
    if [ "$keep" = yes ]; then
        mkdir -p "$kept"
        "$program" -merge=1 "$kept" "$work/corpus" >"$work/merge.log" 2>&1
    fi
done
exit $found
