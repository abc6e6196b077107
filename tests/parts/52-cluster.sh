#!/bin/sh
# whole clusters, on loopback and on hosts of their own: bad networks, loss of nodes, disks and keys, strangers
. tests/parts/lib.sh

build release tallyd tallyctl agicall resume || exit 0
# What takes longest comes first.
TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp python_tests cluster \
    test_clone test_network test_cluster test_copies
