#!/bin/sh
# whole servers on loopback: calls, operation, refusals, hostile connections, a full disk
. tests/parts/lib.sh

build release tallyd tallyctl agicall || exit 0
# What takes longest comes first.
TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp python_tests servers \
    test_ctl_fsck \
    test_backup \
    test_watch \
    test_deploy \
    test_tallyctl \
    test_ctl_log \
    test_ctl_export \
    test_ctl_doctor \
    test_ctl_commands \
    test_manual \
    test_add \
    test_retire \
    test_top \
    test_ctl_status \
    test_agicall \
    test_calls \
    test_hostile \
    test_disk \
    test_run \
    test_metrics \
    test_service \
    test_documents
