#!/bin/sh
# Installs what is missing, builds, and runs every test. The last line is "N passed, N failed" (with
# ", N skipped" where something could not run); the exit code is 1 if anything failed, 2 for usage.
#
#   sh tests/run.sh                 everything
#   sh tests/run.sh --only PART     one part, or several: --only unit --only fuzz
#   sh tests/run.sh --long          longer: more kills, minutes of fuzzing
#   sh tests/run.sh --list          the parts
#   sh tests/run.sh --no-install    use what is installed
#
# A part is a file tests/parts/NN-NAME.sh, run in the order of NN; tests/parts/lib.sh says what it may
# use. Everything written is under build/, the output of each step in build/tests/.
set -eu

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf 'tests: %s\n' "$*" >&2; }

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

# Names and titles (each part's second line) of all parts.
list() {
    for file in tests/parts/[0-9][0-9]-*.sh; do
        name=${file##*/[0-9][0-9]-}
        printf '%-12s %s\n' "${name%.sh}" "$(sed -n '2s/^# //p' "$file")"
    done
}

only='' install=yes long=0
while [ $# -gt 0 ]; do
    case $1 in
    --only)
        [ $# -ge 2 ] || { say "--only needs the name of a part: see --list"; exit 2; }
        shift
        [ -n "$(ls tests/parts/[0-9][0-9]-"$1".sh 2>/dev/null)" ] ||
            { say "no part $1; there are:"; list >&2; exit 2; }
        only="$only $1 "
        ;;
    --long) long=1 ;;
    --list) list; exit 0 ;;
    --no-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown option $1"; usage >&2; exit 2 ;;
    esac
    shift
done

TALLY_BUILD=${TALLY_BUILD:-$root/build}
TALLY_LONG=$long
TALLY_LOGS=$TALLY_BUILD/tests
export TALLY_BUILD TALLY_LONG TALLY_LOGS
mkdir -p "$TALLY_LOGS"
results=$TALLY_LOGS/results
: >"$results"

if [ "$install" = yes ]; then
    sh deploy/setup.sh --tests || { say "what the tests need is not all there"; exit 1; }
fi

part=''
# The running part gets the signal too (it is of the same process group) and cleans up behind itself.
trap 'say "interrupted${part:+ in part $part}"; exit 130' INT TERM

now() { date +%s; }
count() { grep -c "^$1 " "$2" || :; }

begun=$(now)
for file in tests/parts/[0-9][0-9]-*.sh; do
    part=${file##*/[0-9][0-9]-} part=${part%.sh}
    case ${only:-" $part "} in *" $part "*) ;; *) continue ;; esac
    printf '== %s: %s\n' "$part" "$(sed -n '2s/^# //p' "$file")"
    PART=$part
    PART_RESULTS=$TALLY_LOGS/$part.results
    export PART PART_RESULTS
    : >"$PART_RESULTS"
    part_begun=$(now)
    code=0
    sh "$file" </dev/null || code=$?
    # A part that ends early, or that tests nothing, must not look like a good one.
    if [ "$code" -ne 0 ] && [ "$(count fail "$PART_RESULTS")" -eq 0 ]; then
        echo "fail $part ended with exit code $code" | tee -a "$PART_RESULTS"
    elif [ ! -s "$PART_RESULTS" ]; then
        echo "fail $part ran no test" | tee -a "$PART_RESULTS"
    fi
    cat "$PART_RESULTS" >>"$results"
    printf '== %s: %s passed, %s failed, %s skipped in %s s\n' "$part" \
        "$(count pass "$PART_RESULTS")" "$(count fail "$PART_RESULTS")" \
        "$(count skip "$PART_RESULTS")" "$(($(now) - part_begun))"
done

passed=$(count pass "$results") failed=$(count fail "$results") skipped=$(count skip "$results")
printf '\nAll of it took %s s.\n' "$(($(now) - begun))"
if [ "$skipped" -gt 0 ]; then
    echo "Could not run:"
    sed -n 's/^skip /  /p' "$results"
fi
if [ "$failed" -gt 0 ]; then
    echo "Failed (all output is in ${TALLY_LOGS#"$root/"}/):"
    sed -n 's/^fail /  /p' "$results"
fi
printf '%s passed, %s failed' "$passed" "$failed"
[ "$skipped" -eq 0 ] || printf ', %s skipped' "$skipped"
printf '\n'
[ "$failed" -eq 0 ]
