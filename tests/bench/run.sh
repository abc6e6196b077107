#!/bin/sh
# Measures Tally beside what it may be compared with, side by side in alternating rounds, and writes one Markdown
# table (table.md), pictures (*.svg) and all figures for programs (figures.json) to build/bench/ (TALLY_BENCH). Installs what
# it compares with and draws with (redis-tools, python3-matplotlib). Not a test: nothing passes or fails, and a
# busy machine gives poor figures.
#
#   sh tests/bench/run.sh [--quick] [--rounds N] [--seconds S] [--only PARTS] [--soak MINUTES] [--no-build] [--no-install]
#
#   --quick          about 3 minutes in place of 25: short rounds, small logs; to see that it works
#   --rounds N       rounds of each figure, 5 unless told otherwise, 3 at most of what takes long
#   --seconds S      length of a round, 3
#   --only PARTS     with commas between them:
#                      calls      `hits` without its wait, 1 to 512 at a time: calls/s, CPU, latency
#                      arrivals   the highest rate at which calls may arrive that wait for a second
#                      memory     of calls that wait
#                      counts     durable counts over the IPC, 1 to 1,024 outstanding; log per count
#                      counters   1 to 1,000,000 of them, and a checkpoint of them
#                      recovery   over the log's length
#                      cluster    three nodes beside one: throughput, delay, catch-up, CPU at rest
#                      sizes      network, checkpoint and kernel memory per count, counter and call; in no run unless it
#                                 is named
#                      soak       10 minutes of calls; likewise
#   --soak MINUTES   the soak besides, for so long
#   --no-build       use what is in the build folder (TALLY_BUILD, build/ unless set) as it is
#   --no-install     install nothing; rows and pictures that lack something are left out, and named
#
# What it is compared with: a bare server without checks or state (bare.c), append and fdatasync in groups without
# anything else (floor.c), Redis with `appendonly yes, appendfsync always`. Every count of Tally's is synced before
# it is answered, as always. Servers listen on loopback, on free ports; load generators share the machine
# with them.
set -eu

cd "$(dirname "$0")/../.."
build=${TALLY_BUILD:-build}
out=${TALLY_BENCH:-$build/bench} do_build=yes install=yes
say() { printf 'bench: %s\n' "$*" >&2; }

# What this script knows is taken out of the options; the rest is for bench.py.
left=$#
while [ "$left" -gt 0 ]; do
    case $1 in
    --no-build) do_build=no ;;
    --no-install) install=no ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    *) set -- "$@" "$1" ;;
    esac
    shift
    left=$((left - 1))
done

mkdir -p "$out"
if [ "$install" = yes ]; then
    missing=
    for package in redis-tools python3-matplotlib; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=none
        [ "$state" = installed ] || missing="$missing $package"
    done
    as_root=
    [ "$(id -u)" -eq 0 ] || as_root=sudo
    # shellcheck disable=SC2086
    if [ -n "$missing" ]; then
        say "installing$missing"
        { $as_root apt-get update && $as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $missing; } >"$out/install.log" 2>&1 ||
            say "cannot install$missing (see $out/install.log): what needs them is left out"
    fi
fi
if [ "$do_build" = yes ]; then
    { cmake --preset release -B "$build" -DTALLY_TESTS=ON &&
        ninja -C "$build" tallyd tallyctl agicall bare floor bench_ipc bench_recovery; } \
        >"$out/build.log" 2>&1 || {
        tail -n 20 "$out/build.log" >&2
        say "the build failed, see $out/build.log"
        exit 1
    }
fi
TALLY_BENCH=$out TALLY_BIN=$build/bin exec /usr/bin/python3 -B tests/bench/bench.py "$@"
