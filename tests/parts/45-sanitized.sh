#!/bin/sh
# whole servers with AddressSanitizer, UBSan and ThreadSanitizer
. tests/parts/lib.sh

for preset in asan tsan; do
    build "$preset" tallyd tallyctl agicall || continue
    sanitizers "$preset"
    # Under a sanitizer everything takes its time; what is looked for here is its reports.
    TALLY_BIN=$(build_folder "$preset")/bin TALLY_TMP=$TALLY_LOGS/tmp TALLY_SLOW=4 TALLY_LABEL="$preset: " \
        TALLY_TREE_KILLS=15 python_tests "$preset" \
        test_calls.Calls test_calls.Operation test_calls.Dialogue test_hostile test_metrics \
        test_cluster.Loopback.test_three_nodes_under_load_come_to_the_same_totals \
        test_cluster.Loopback.test_garbage_on_the_peer_port_does_no_harm \
        test_kills.Kills.test_load_while_the_state_process_is_killed_again_and_again_loses_no_call \
        test_kills.Kills.test_the_whole_tree_killed_at_random_moments_keeps_every_number_that_was_said
    reports_none "$preset" || :
done
