#!/bin/sh
# Installs what is missing, builds, starts one node on loopback, places one call to it and shows the
# dialogue, then serves until Ctrl-C (or SIGTERM). Run again it goes on counting where it stopped.
#
#   sh deploy/run.sh [--port N] [--dir DIR] [--once] [--no-install] [--no-build]
#
#   --port N       serve FastAGI on 127.0.0.1:N (4573)
#   --dir DIR      where tally.conf and the state directory are (build/run). tally.conf is made from
#                  deploy/tally.conf where there is none, and then kept: change it as you like;
#                  only its listen lines are written anew each time
#   --once         end after the first call instead of serving
#   --no-install   look for no packages
#   --no-build     run the programs in build/bin as they are
# Exit code: 0 ended by a signal and drained, 1 something failed (it says what), 2 usage.
set -eu

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf 'run: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
bad_usage() { say "$1"; usage >&2; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD:-$root/build}
port=4573 dir=$build/run once=no install=yes compile=yes
while [ $# -gt 0 ]; do
    case $1 in
    --port)
        case ${2:-} in '' | *[!0-9]* | ??????*) bad_usage "--port needs a number from 1 to 65535" ;; esac
        [ "$2" -ge 1 ] && [ "$2" -le 65535 ] || bad_usage "--port needs a number from 1 to 65535"
        port=$2
        shift
        ;;
    --dir)
        [ -n "${2:-}" ] || bad_usage "--dir needs a folder"
        case $2 in /*) dir=$2 ;; *) dir=$PWD/$2 ;; esac
        shift
        ;;
    --once) once=yes ;;
    --no-install) install=no ;;
    --no-build) compile=no ;;
    -h | --help) usage; exit 0 ;;
    *) bad_usage "unknown option $1" ;;
    esac
    shift
done

# Whether anything listens on the port, on any of this machine's addresses.
listening() {
    hex=$(printf ':%04X' "$port")
    # Columns: number, local address, remote address, state (0A is LISTEN).
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v p="$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { f = 1 } END { exit !f }'
}
if listening; then
    die "port $port is taken: another program listens there (perhaps another tallyd)." \
        "End it, or choose another port: sh deploy/run.sh --port $((port < 65535 ? port + 1 : 4573))"
fi

if [ "$install" = yes ]; then
    sh "$root/deploy/setup.sh" || die "packages are missing; with --no-install they are not looked for"
fi

if [ "$compile" = yes ]; then
    mkdir -p "$build"
    log=$build/run-build.log
    say "building (the first time takes about a minute)"
    # The tests need packages of their own: a build folder that has them keeps them.
    tests=-DTALLY_TESTS=OFF
    [ ! -f "$build/CMakeCache.txt" ] || tests=
    if ! (cd "$root" && cmake --preset release -B "$build" $tests &&
        ninja -C "$build" tallyd tallyctl agicall) >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        die "the build failed; all of it: $log"
    fi
fi
for program in tallyd tallyctl agicall; do
    [ -x "$build/bin/$program" ] || die "$build/bin/$program is missing: run without --no-build"
done

mkdir -p "$dir" || die "cannot make the folder $dir"
conf=$dir/tally.conf
[ -f "$conf" ] || sed -e 's/^ *state *=.*/state = state/' -e '/^ *user *=/d' \
    "$root/deploy/tally.conf" >"$conf" || die "cannot write $conf"
awk -v listen="listen = 127.0.0.1:$port" '
    /^[ \t]*listen[ \t]*=/ { next }
    { print }
    /^[ \t]*\[fastagi\]/ { print listen; written = 1 }
    END { if (!written) print "[fastagi]\n" listen }' "$conf" >"$conf.new" && mv "$conf.new" "$conf" ||
    die "cannot write $conf"

tallyd=
# stop: end tallyd, which lets calls finish, and take over its exit code.
stop() {
    trap '' INT TERM
    code=0
    if [ -n "$tallyd" ]; then
        kill -TERM "$tallyd" 2>/dev/null || :
        wait "$tallyd" || code=$?
        [ "$code" -eq 0 ] || say "tallyd ended with exit code $code"
    fi
    [ "$code" -eq 0 ] || exit 1
    say "stopped; the counters are in $dir/state, run again to go on counting"
    exit "$1"
}
trap 'stop 0' INT TERM
# A terminal that is closed.
trap 'stop 0' HUP

"$build/bin/tallyd" -c "$conf" </dev/null &
tallyd=$!
tries=0
until listening; do
    if ! kill -0 "$tallyd" 2>/dev/null; then
        wait "$tallyd" || :
        tallyd=
        die "tallyd did not start; its message is above"
    fi
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
        say "tallyd does not listen on port $port after 30 s"
        stop 1
    fi
    sleep 0.1
done

printf '\nA call to agi://127.0.0.1:%s/hits; > is what Asterisk would say, < what Tally says:\n\n' "$port"
if ! "$build/bin/agicall" "agi://127.0.0.1:$port/hits" </dev/null; then
    say "the call failed"
    stop 1
fi
[ "$once" = no ] || stop 0

cat <<TEXT

Tally serves on 127.0.0.1:$port until Ctrl-C. To call it from Asterisk on this machine, paste into
extensions.conf, run "asterisk -rx 'dialplan reload'", and dial 31415:

    exten => 31415,1,AGI(agi://127.0.0.1:$port/hits)
     same => n,Hangup()

Without sound, for a dialplan of your own (sets TALLY_STATUS, TALLY_NUMBER, TALLY_TOTAL, TALLY_NODE):

    exten => 31416,1,AGI(agi://127.0.0.1:$port/count,tickets,by=1,id=\${UNIQUEID})
     same => n,NoOp(you are number \${TALLY_NUMBER})

Another call from here:  build/bin/agicall agi://127.0.0.1:$port/hits
The counters:            build/bin/tallyctl -d $dir/state counters
The configuration:       $conf
TEXT

# Where tallyd ends by itself, so does this.
code=0
wait "$tallyd" || code=$?
tallyd=
die "tallyd ended by itself with exit code $code; its message is above"
