#!/bin/sh
# Prometheus's own promtool reads the figures, the scrape sample and the alert rules (put into build/promtool)
. tests/parts/lib.sh

# Out of its package, and not installed: that would start a Prometheus here.
get_promtool() {
    mkdir -p "$TALLY_BUILD/promtool" && cd "$TALLY_BUILD/promtool" || return 1
    apt-get -q download prometheus || { apt-get -q update && apt-get -q download prometheus; } || return 1
    dpkg-deb -x prometheus_*.deb package && mv package/usr/bin/promtool . && rm -rf package prometheus_*.deb
}

build release tallyd tallyctl agicall || exit 0
promtool=$(command -v promtool) || promtool=$TALLY_BUILD/promtool/promtool
if [ ! -x "$promtool" ]; then
    log=$TALLY_LOGS/$PART-install.log
    if ! (get_promtool) >"$log" 2>&1; then
        skip "$PART: promtool cannot be had: $(grep -E '^(E|W):' "$log" | tail -n 1)"
        exit 0
    fi
fi
TALLY_PROMTOOL=$promtool TALLY_BIN=$(build_folder release)/bin TALLY_TMP=$TALLY_LOGS/tmp \
    python_tests promtool test_monitoring
