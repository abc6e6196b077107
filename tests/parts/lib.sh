# tests/parts/lib.sh: what a part of the tests may use. A part begins with `. tests/parts/lib.sh`; its
# second line is its title. It runs in the top folder, with these set:
#   TALLY_BUILD    the build folder; the release build is in it, others in TALLY_BUILD/PRESET
#   TALLY_LOGS     where output goes
#   TALLY_LONG     1 where time does not matter
#   PART           its name
#   PART_RESULTS   one line per test: "pass NAME", "fail NAME" or "skip NAME: why"
# It ends with exit code 0 if it got to its end, whatever the tests said.
set -eu

pass() { echo "pass $*" >>"$PART_RESULTS"; }
fail() { echo "fail $*" | tee -a "$PART_RESULTS"; }
skip() { echo "skip $*" | tee -a "$PART_RESULTS"; }

# step NAME COMMAND...: one test, which passes if the command does. Its output goes into
# TALLY_LOGS/PART-NAME.log, the end of which is shown where it fails.
step() {
    step_name=$1
    shift
    step_log=$TALLY_LOGS/$PART-$(echo "$step_name" | tr ' /' '__').log
    step_begun=$(date +%s)
    if "$@" >"$step_log" 2>&1; then
        pass "$PART: $step_name"
        printf '   ok   %s (%s s)\n' "$step_name" "$(($(date +%s) - step_begun))"
        return 0
    fi
    fail "$PART: $step_name"
    tail -n 40 "$step_log" | sed 's/^/   | /'
    return 1
}

# beside: steps side by side, one for each CPU; a line of standard input each, "NAME: COMMAND", the command in words of
# the shell. A NAME holds no ": ". Results are in the order of the lines.
beside() {
    beside_results=$PART_RESULTS.beside
    rm -rf "$beside_results"
    mkdir "$beside_results"
    # shellcheck disable=SC2016
    nl -b a -n rz -w 4 -s ' ' | xargs -d '\n' -n 1 -P "$(nproc)" sh -c '
        . tests/parts/lib.sh
        PART_RESULTS=$PART_RESULTS.beside/${1%% *} line=${1#* }
        step "${line%%: *}" sh -c "${line#*: }" || [ -s "$PART_RESULTS" ]' sh ||
        fail "$PART: a step ended without a result"
    cat "$beside_results"/* >>"$PART_RESULTS"
    rm -r "$beside_results"
}

# The folder of a preset's build.
build_folder() {
    case $1 in release) echo "$TALLY_BUILD" ;; *) echo "$TALLY_BUILD/$1" ;; esac
}

# build PRESET [TARGET...]: a test of its own, since a warning is an error. No target: all.
build() {
    build_preset=$1
    shift
    step "$build_preset build${*:+ of $*}" build_quietly "$build_preset" "$@"
}

build_quietly() {
    build_preset=$1 build_dir=$(build_folder "$1")
    shift
    cmake --preset "$build_preset" -B "$build_dir" -DTALLY_TESTS=ON && ninja --quiet -C "$build_dir" "$@"
}

# sanitizers NAME: where reports of the sanitizers go from here on; reports_none afterwards is
# a test that there are none. For a leak Criterion ends green, and a server's child may be killed before
# anyone reads its exit code, so only the files tell.
sanitizers() {
    reports=$TALLY_LOGS/$PART-$1.reports
    rm -rf "$reports"
    mkdir -p "$reports"
    ASAN_OPTIONS=log_path=$reports/asan:detect_stack_use_after_return=1
    UBSAN_OPTIONS=log_path=$reports/ubsan:print_stacktrace=1
    TSAN_OPTIONS=log_path=$reports/tsan:second_deadlock_stack=1
    LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
    [ -f tests/lsan.supp ] || LSAN_OPTIONS=print_suppressions=0
    [ ! -f tests/tsan.supp ] || TSAN_OPTIONS=$TSAN_OPTIONS:suppressions=$PWD/tests/tsan.supp
    export ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS LSAN_OPTIONS
}

reports_none() {
    step "no sanitizer report from $1" sh -c '
        found=0
        for file in "$0"/*; do
            [ -s "$file" ] || continue
            echo "$file:"; head -n 60 "$file"; found=1
        done
        exit $found' "$reports"
}

# python_tests NAME MODULE-OR-TEST...: the tests of tests/servers or tests/asterisk with the programs
# of TALLY_BIN, side by side; one result for each test.
python_tests() {
    python_log=$TALLY_LOGS/$PART-$1.log
    shift
    /usr/bin/python3 -B tests/servers/run.py --log "$python_log" "$@" || :
}
