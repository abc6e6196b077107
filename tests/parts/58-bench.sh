#!/bin/sh
# the benchmark's own code: a run that is too short to say anything has all its rows
. tests/parts/lib.sh

build release tallyd tallyctl agicall bare floor bench_ipc bench_recovery || exit 0
short_run() {
    TALLY_BUILD=$(build_folder release) TALLY_BENCH=$TALLY_LOGS/bench sh tests/bench/run.sh --no-install --no-build \
        --quick --rounds 1 --seconds 0.1 --only calls,memory,counts,recovery,sizes || return 1
    # Where Redis or what draws is not there, a note says so; anything else that is left out is an error.
    ! grep '^- .*\(rows are left out:\|calls failed\)' "$TALLY_LOGS/bench/table.md" || return 1
    for row in 'hits.*512 at a time: calls/s' '2,000 waiting' '1,024 outstanding: p99' 'recovery of 300,000' \
        'wire per count'; do
        grep -q "^| .*$row.* | [0-9]" "$TALLY_LOGS/bench/table.md" || return 1
    done
    [ ! -e "$TALLY_LOGS/bench/work" ]
}
step 'a short run has every row of its parts' short_run || :
