#!/bin/sh
# a real Asterisk 22 calls one node, and three a cluster (put into build/asterisk: Debian sid by debootstrap)
. tests/parts/lib.sh

build release tallyd tallyctl agicall || exit 0
ASTERISK_DIR=${ASTERISK_DIR:-$TALLY_BUILD/asterisk}
if [ "$(id -u)" -ne 0 ]; then
    skip "$PART: a chroot with Asterisk needs root"
    exit 0
fi
log=$TALLY_LOGS/$PART-install.log
if ! bash tests/asterisk/rig.sh install "$ASTERISK_DIR" >"$log" 2>&1; then
    skip "$PART: Asterisk cannot be had: $(grep -E '^(E:|W:|rig.sh)' "$log" | tail -n 1 || tail -n 1 "$log")"
    exit 0
fi
ASTERISK_DIR=$ASTERISK_DIR TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp \
    python_tests asterisk test_asterisk test_cluster_calls
