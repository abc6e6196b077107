#!/bin/sh
# the disk breaks and memory runs out under the real processes
. tests/parts/lib.sh

build release tallyd tallyctl agicall faulty || exit 0
TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp python_tests breakage test_faults
