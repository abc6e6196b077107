#!/bin/sh
# Measures Tally beside the bare server (tests/bench/bare.c), side by side in alternating rounds, and
# prints one Markdown table. Not a test: nothing passes or fails, and a busy machine gives poor figures.
#
#   sh tests/bench/run.sh [--rounds N] [--seconds S] [--quick] [--no-build] [--cluster [--only PARTS]]
#
#   --rounds N    rounds of each server for each figure, 5 unless told otherwise; the median counts
#   --seconds S   length of a round, 3
#   --quick       2 rounds of 1 second, 2,000 calls at once in place of 10,000
#   --no-build    use what is in the build folder (TALLY_BUILD, build/ unless set) as it is
#   --cluster     three nodes beside one in place of it: throughput, replication delay, catch-up and CPU at
#                 rest (tests/bench/cluster.py); --quick then has logs of a tenth
#   --only PARTS  of --cluster, with commas between them: fastagi, ipc, catchup, checkpoint, rest
#
# Every count of Tally's is synced before it is answered, as always; state and logs go to BUILD/bench/.
# Load generator and server share the machine. A program bench_recovery in the build folder prints the
# last row itself.
set -eu

cd "$(dirname "$0")/../.."
build=${TALLY_BUILD:-build} rounds=5 seconds=3 at_once=10000 do_build=yes cluster= only=
number_of() {
    case ${2:-} in '' | 0 | *[!0-9]*) echo "bench: $1 needs a number above 0" >&2; exit 2 ;; esac
}
while [ $# -gt 0 ]; do
    case $1 in
    --rounds) number_of "$@"; rounds=$2; shift ;;
    --seconds) number_of "$@"; seconds=$2; shift ;;
    --quick) rounds=2 seconds=1 at_once=2000 ;;
    --no-build) do_build=no ;;
    --cluster) cluster=yes ;;
    --only) only=${2:-}; shift ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) echo "bench: unknown option $1 (see --help)" >&2; exit 2 ;;
    esac
    shift
done

bin=$build/bin work=$build/bench server=
mkdir -p "$work"
if [ "$do_build" = yes ]; then
    { cmake --preset release -B "$build" -DTALLY_TESTS=ON && ninja -C "$build"; } >"$work/build.log" 2>&1 || {
        tail -n 20 "$work/build.log" >&2
        echo "bench: the build failed, see $work/build.log" >&2
        exit 1
    }
fi
ulimit -n "$(ulimit -Hn)"
if [ "$cluster" = yes ]; then
    [ "$at_once" = 10000 ] || set -- --quick
    TALLY_BUILD=$build TALLY_BIN=$bin exec python3 tests/bench/cluster.py --rounds "$rounds" \
        --seconds "$seconds" ${only:+--only "$only"} "$@"
fi
say() { [ ! -t 2 ] || printf '\r\033[K%s' "$*" >&2; }

# The server under test: bare or tally. Its pid is in $server, its port in $port.
stop_server() {
    [ -n "$server" ] || return 0
    kill "$server" 2>/dev/null || :
    wait "$server" 2>/dev/null || :
    server=
}
trap 'stop_server; rm -rf "$work/state"' EXIT
trap 'exit 130' INT TERM

# wait_for FILE TEXT: until a line of the file has it, at most 20 s.
wait_for() {
    tries=200
    until grep -q "$2" "$1" 2>/dev/null; do
        tries=$((tries - 1))
        if [ $tries = 0 ] || ! kill -0 "$server" 2>/dev/null; then
            cat "$1" >&2
            echo "bench: the server did not start" >&2
            exit 1
        fi
        sleep 0.1
    done
}

start_bare() {
    rm -f "$work/bare.out" # The words waited for must be this one's.
    "$bin/bare" -w "$1" >"$work/bare.out" 2>&1 &
    server=$!
    wait_for "$work/bare.out" '^listening on '
    port=$(sed -n 's/^listening on .*://p' "$work/bare.out")
}

# A free port: that of a bare server that is gone again.
free_port() {
    start_bare 0
    stop_server
}

start_tally() {
    free_port
    rm -rf "$work/state"
    cat >"$work/tally.conf" <<CONF
[node]
name = bench
state = state
[fastagi]
listen = 127.0.0.1:$port
workers = 2
calls = $at_once
[script hits]
step = answer
step = wait ${1}ms
step = count
step = stream-file queue-thereare
step = say-number
step = stream-file vm-goodbye
step = hangup
CONF
    rm -f "$work/tallyd.log"
    "$bin/tallyd" -c "$work/tally.conf" >"$work/tallyd.log" 2>&1 &
    server=$!
    wait_for "$work/tallyd.log" 'ready: serving FastAGI'
}

# The server's processes, its first one and all below it.
processes() {
    for pid in "$@"; do
        echo "$pid"
        children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null) || children=
        # shellcheck disable=SC2086
        [ -z "$children" ] || processes $children
    done
}

# Those that hold calls: all of bare's, the workers of tallyd's.
call_processes() {
    for pid in $(processes "$server"); do
        case $1 in
        bare) echo "$pid" ;;
        *) tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q worker && echo "$pid" ;;
        esac
    done
}

# CPU seconds used so far, in clock ticks.
ticks() {
    for pid in $(processes "$server"); do
        sed 's/.*) //' "/proc/$pid/stat"
    done | awk '{ sum += $12 + $13 } END { print sum + 0 }'
}

resident_kib() {
    for pid in $(call_processes "$1"); do
        cat "/proc/$pid/smaps_rollup" 2>/dev/null || cat "/proc/$pid/status"
    done | awk '/^(Pss|VmRSS):/ { sum += $2 } END { print sum + 0 }'
}

# field NAME: of agicall's one line of JSON on standard input.
field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }

# sorted numbers on standard input: the median, and the spread in percent of it
median() { sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
spread() {
    sort -n | awk '{ v[NR] = $1 } END { m = (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2
        printf "%.0f", (m ? 100 * (v[NR] - v[1]) / m : 0) }'
}

# round NAME CONCURRENCY: one round of that server; its calls/s and CPU per call go to files.
round() {
    "start_$1" 0
    before=$(ticks)
    "$bin/agicall" --load --json --concurrency "$2" --duration "${seconds}s" \
        "agi://127.0.0.1:$port/hits" >"$work/out" 2>>"$work/agicall.log" || :
    used=$(($(ticks) - before))
    field rate <"$work/out" >>"$work/$1.rate"
    calls=$(field calls <"$work/out")
    failed=$(field failed <"$work/out")
    [ "${failed:-1}" = 0 ] || echo "$1, $2 at a time: ${failed:-all} calls failed: $(cat "$work/out")" >>"$work/notes"
    awk "BEGIN { print 1000000 * $used / $(getconf CLK_TCK) / ${calls:-1} }" >>"$work/$1.cpu"
    stop_server
}

compare() {
    rm -f "$work"/*.rate "$work"/*.cpu
    i=0
    while [ $i -lt "$rounds" ]; do
        i=$((i + 1))
        say "$1 at a time, round $i of $rounds"
        round bare "$1"
        round tally "$1"
    done
    bare=$(median <"$work/bare.rate") tally=$(median <"$work/tally.rate")
    awk "BEGIN { printf \"| \`hits\`, wait 0, $1 at a time: calls/s | %.0f | %.0f | %.2f | %.0f | %.0f | %s | %s |\\n\",
        $bare, $tally, $tally / $bare, $(median <"$work/bare.cpu"), $(median <"$work/tally.cpu"),
        \"$(spread <"$work/bare.rate") %\", \"$(spread <"$work/tally.rate") %\" }"
}

# crowd NAME: so many calls at once, each waiting for 1 s; sets crowd_failed and crowd_kib, the most that was
# resident above what the idle server has, per call.
crowd() {
    say "$1, $at_once calls at once"
    "start_$1" 1000
    idle=$(resident_kib "$1") most=0
    "$bin/agicall" --load --json --concurrency "$at_once" --calls $((2 * at_once)) \
        "agi://127.0.0.1:$port/hits" >"$work/out" 2>>"$work/agicall.log" &
    load=$!
    while kill -0 $load 2>/dev/null; do
        now=$(resident_kib "$1")
        [ "$now" -le "$most" ] || most=$now
        sleep 0.1
    done
    wait $load || :
    stop_server
    crowd_failed=$(field failed <"$work/out")
    crowd_rate=$(field rate <"$work/out")
    crowd_kib=$(awk "BEGIN { printf \"%.1f\", ($most - $idle) / $at_once }")
}

: >"$work/notes"
: >"$work/agicall.log"
{
    echo '| what | bare | Tally | Tally / bare | bare: CPU µs a call | Tally: CPU µs a call | bare: spread | Tally: spread |'
    echo '|---|--:|--:|--:|--:|--:|--:|--:|'
    for concurrency in 1 8 64 512; do
        compare $concurrency
    done
    crowd bare
    bare_failed=$crowd_failed bare_kib=$crowd_kib bare_rate=$crowd_rate
    crowd tally
    echo "| \`hits\`, wait 1 s, $at_once at once: calls failed of $((2 * at_once)) | ${bare_failed:-?} | ${crowd_failed:-?} | | | | | |"
    awk "BEGIN { printf \"| the same: calls/s | %.0f | %.0f | %.2f | | | | |\\n\", ${bare_rate:-0}, ${crowd_rate:-0},
        ${crowd_rate:-0} / (${bare_rate:-0} + 1e-9) }"
    echo "| the same: resident KiB per waiting call | $bare_kib | $crowd_kib | | | | | |"
    if [ -x "$bin/bench_recovery" ]; then
        say 'recovery'
        (cd "$work" && "../bin/bench_recovery")
    fi
} >"$work/table.md"
say ''
cat "$work/table.md"
printf '\n%s rounds of %s s, medians; spread is (most - least) / median; %s CPUs, load generator on the same; %s\n' \
    "$rounds" "$seconds" "$(nproc)" "$(uname -sr)"
[ ! -s "$work/notes" ] || { echo; cat "$work/notes"; }
