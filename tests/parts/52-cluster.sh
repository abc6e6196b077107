#!/bin/sh
# whole clusters, on loopback and on hosts of their own: bad networks, loss of nodes, disks and keys, strangers
. tests/parts/lib.sh

build release tallyd tallyctl agicall || exit 0
TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp
export TALLY_BIN TALLY_TMP
# Side by side: mostly they wait.
python_tests network test_network &
python_tests cluster test_cluster test_clone test_copies
wait
