#!/bin/sh
# one node, simulated: thousands of crashes, failing disks and rot; and that each broken rule is noticed
. tests/parts/lib.sh

build release sim || exit 0
sim=$(build_folder release)/bin/sim

same_twice() {
    first=$("$sim" --seed "$1" | grep '^hash') && second=$("$sim" --seed "$1" | grep '^hash') &&
        echo "$first, $second" && [ "$first" = "$second" ]
}

for seed in 1 10 17; do
    step "seed $seed gives the same history twice" same_twice "$seed" || :
done
step "seeds that failed once" "$sim" --kept tests/simulation/seeds.txt || :
step "each mutant is noticed" "$sim" --mutants || :

count=250
[ "$TALLY_LONG" -eq 0 ] || count=10000
step "$count seeds" "$sim" --seeds 1.."$count" || :
# Others each time: a seed says it all, so what breaks can be played again.
from=$(($(date +%s) * 1000))
step "$count new seeds" "$sim" --seeds "$from..$((from + count - 1))" || :
sed -n 's/^/   /; /histories/,$p' "$TALLY_LOGS/$PART-${count}_new_seeds.log"

if build asan sim; then
    sanitizers asan
    step "40 seeds with AddressSanitizer and UBSan" "$(build_folder asan)/bin/sim" --seeds 1..40 || :
    step "one seed leaves no memory behind" "$(build_folder asan)/bin/sim" --seed 3 || :
    reports_none asan || :
fi
