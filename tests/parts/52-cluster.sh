#!/bin/sh
# whole clusters on loopback: loss of nodes, disks and keys, strangers, and what a tap hears
. tests/parts/lib.sh

build release tallyd tallyctl agicall || exit 0
TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp python_tests cluster test_cluster test_clone
