#!/bin/sh
# one node and clusters, simulated: thousands of crashes, failing disks and networks; and that each broken rule is noticed
. tests/parts/lib.sh

build release sim || exit 0
sim=$(build_folder release)/bin/sim

# same_twice OPTIONS...: one history, two times.
same_twice() {
    first=$("$sim" "$@" | grep '^hash') && second=$("$sim" "$@" | grep '^hash') &&
        echo "$first, $second" && [ "$first" = "$second" ]
}

for seed in 1 10 17; do
    step "seed $seed gives the same history twice" same_twice --seed "$seed" || :
    step "cluster seed $seed gives the same history twice" same_twice --cluster --seed "$seed" || :
done
step "seeds that failed once" "$sim" --kept tests/simulation/seeds.txt || :
step "each mutant of a node is noticed" "$sim" --mutants || :
step "each mutant of a cluster is noticed" "$sim" --cluster --mutants || :

# seeds OPTION COUNT WHAT: the first so many, and others each time: a seed says it all, so what breaks can be played
# again.
seeds() {
    from=$(($(date +%s) * 1000))
    step "$2 $3 seeds" "$sim" $1 --seeds 1.."$2" || :
    step "$2 new $3 seeds" "$sim" $1 --seeds "$from..$((from + $2 - 1))" || :
    sed -n 's/^/   /; /histories/,$p' "$TALLY_LOGS/$PART-$2_new_$3_seeds.log"
}
if [ "$TALLY_LONG" -eq 0 ]; then
    seeds "" 150 node
    seeds --cluster 300 cluster
else
    seeds "" 10000 node
    seeds --cluster 10000 cluster
fi

if build asan sim; then
    sanitizers asan
    step "30 seeds with AddressSanitizer and UBSan" "$(build_folder asan)/bin/sim" --seeds 1..30 || :
    step "60 cluster seeds with AddressSanitizer and UBSan" \
        "$(build_folder asan)/bin/sim" --cluster --seeds 1..60 || :
    step "one seed leaves no memory behind" "$(build_folder asan)/bin/sim" --seed 3 || :
    step "one cluster seed leaves no memory behind" "$(build_folder asan)/bin/sim" --cluster --seed 3 || :
    reports_none asan || :
fi
