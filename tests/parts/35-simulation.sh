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

# seeds OPTION WHAT COUNT FROM: FROM 1 are the same each time, `date` others: a seed says it all, so what breaks can
# be played again.
seeds() {
    step "$3 $2 seeds from $4" "$sim" $1 --seeds "$4..$(($4 + $3 - 1))" || :
    sed -n 's/^/   /; /histories/,$p' "$TALLY_LOGS/$PART-$3_$2_seeds_from_$4.log"
}
new=$(($(date +%s) * 1000))
if [ "$TALLY_LONG" -eq 0 ]; then
    seeds "" node 150 1
    seeds "" node 150 "$new"
    # No new ones here: about one history in a thousand still breaks a promise of the model's (seeds.txt), and a run
    # of the tests must not end by that chance.
    seeds --cluster cluster 600 1
else
    seeds "" node 10000 1
    seeds "" node 10000 "$new"
    seeds --cluster cluster 10000 1
    seeds --cluster cluster 10000 "$new"
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
