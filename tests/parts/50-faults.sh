#!/bin/sh
# processes killed and stopped at any moment: no count lost or doubled
. tests/parts/lib.sh

build release tallyd tallyctl agicall || exit 0
TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp python_tests faults test_kills
