#!/bin/sh
# unit tests (Criterion), on the release build and with AddressSanitizer and UBSan
. tests/parts/lib.sh

# A line of Criterion's TAP is "ok - suite::test" or "not ok - suite::test ..."; each is one result.
unit() {
    program=$1 build_name=$2 name=${1##*/}
    output=$TALLY_LOGS/$PART-$build_name-$name.log
    tap=$TALLY_LOGS/$PART-$build_name-$name.tap
    rm -f "$tap"
    code=0
    "$program" --tap="$tap" >"$output" 2>&1 || code=$?
    if [ ! -s "$tap" ]; then
        fail "$PART $build_name: $name wrote no results (exit code $code)"
        tail -n 20 "$output" | sed 's/^/   | /'
        return
    fi
    # A test that is switched off is not one that passed.
    sed -n "/# SKIP/d; s/^ok - \([^ ]*\).*/pass $PART $build_name: \1/p" "$tap" >>"$PART_RESULTS"
    failed=$(sed -n -e "s/^ok - \([^ ]*\) .*# SKIP.*/fail $PART $build_name: \1 is disabled/p" \
        -e "s/^not ok - \([^ ]*\).*/fail $PART $build_name: \1/p" "$tap")
    if [ -n "$failed" ]; then
        echo "$failed" | tee -a "$PART_RESULTS"
        grep -A 12 '^not ok' "$tap" | head -n 60 | sed 's/^/   | /'
    elif [ "$code" -ne 0 ]; then
        fail "$PART $build_name: $name ended with exit code $code"
        tail -n 20 "$output" | sed 's/^/   | /'
    fi
    printf '   %s %s: %s\n' "$build_name" "$name" "$(grep -c '^ok' "$tap" || :) ok"
}

for preset in release asan; do
    build "$preset" || continue
    sanitizers "$preset"
    for program in "$(build_folder "$preset")"/bin/test_*; do
        [ -x "$program" ] || { fail "$PART $preset: no test programs"; break; }
        unit "$program" "$preset"
    done
    [ "$preset" = release ] || reports_none "$preset" || :
done
