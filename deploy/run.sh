#!/bin/sh
# Installs what is missing, builds, starts one node on loopback, places one call to it and shows the
# dialogue, then serves until Ctrl-C (or SIGTERM). Run again it goes on counting where it stopped.
# With --nodes it starts a cluster on this machine, to try: each node takes a call, and all come to the
# same totals.
#
#   sh deploy/run.sh [--nodes N] [--port N] [--dir DIR] [--once] [--no-install] [--no-build]
#
#   --nodes N      so many nodes, 1 to 5 (1)
#   --port N       serve FastAGI on 127.0.0.1:N (4573); of a cluster's nodes each has the next port, and
#                  the nodes reach each other on ports from N + 10 on
#   --dir DIR      where tally.conf and the state directory are (build/run), with --nodes below
#                  DIR/node-1 and so on, each with its log. tally.conf is made from deploy/tally.conf where there
#                  is none, and then kept: change it as you like; only its listen lines, and in a cluster its
#                  name, peer-listen and peers, are written anew each time
#   --once         end after the first calls instead of serving
#   --no-install   look for no packages
#   --no-build     run the programs in build/bin as they are
# Exit code: 0 ended by a signal and drained, 1 something failed (it says what), 2 usage.
set -eu

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf 'run: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
bad_usage() { say "$1; sh deploy/run.sh --help tells the options"; exit 2; }

root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD:-$root/build}
port=4573 nodes=1 dir=$build/run once=no install=yes compile=yes
while [ $# -gt 0 ]; do
    case $1 in
    --port)
        case ${2:-} in '' | *[!0-9]* | ??????*) bad_usage "--port needs a number from 1 to 65535" ;; esac
        [ "$2" -ge 1 ] && [ "$2" -le 65535 ] || bad_usage "--port needs a number from 1 to 65535"
        port=$2
        shift
        ;;
    --nodes)
        case ${2:-} in [1-5]) nodes=$2 ;; *) bad_usage "--nodes needs a number from 1 to 5" ;; esac
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

every=$(seq "$nodes")
agi_port() { echo $((port + $1 - 1)); }
peer_port() { echo $((port + 9 + $1)); }
home() { if [ "$nodes" -eq 1 ]; then echo "$dir"; else echo "$dir/node-$1"; fi; }
[ $((port + 9 + nodes)) -le 65535 ] || bad_usage "--port needs a number below $((65536 - 9 - nodes))"

# listening PORT: whether anything listens on it, on any of this machine's addresses.
listening() {
    hex=$(printf ':%04X' "$1")
    # Columns: number, local address, remote address, state (0A is LISTEN).
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v p="$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { f = 1 } END { exit !f }'
}
# taken: the first port that is needed and taken; none: false.
taken() {
    for i in $every; do
        for need in $(agi_port "$i") $([ "$nodes" -eq 1 ] || peer_port "$i"); do
            listening "$need" && echo "$need" && return
        done
    done
    return 1
}
if busy=$(taken); then
    while [ "$port" -lt 65400 ] && taken >/dev/null; do port=$((port + 20)); done
    die "port $busy is taken: another program listens there (perhaps another tallyd)." \
        "End it, or choose other ports: sh deploy/run.sh --nodes $nodes --port $port"
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

# make_conf I PEERS: tally.conf of node I as it is, or as it ships, but for the lines that this script writes.
# PEERS is a file to stand at its end.
make_conf() {
    folder=$(home "$1") conf=$(home "$1")/tally.conf
    mkdir -p "$folder" || die "cannot make the folder $folder"
    [ -f "$conf" ] || sed -e 's/^ *state *=.*/state = state/' -e '/^ *user *=/d' \
        "$root/deploy/tally.conf" >"$conf" || die "cannot write $conf"
    node=
    [ "$nodes" -eq 1 ] ||
        node=$(printf 'name = node-%s\npeer-listen = 127.0.0.1:%s' "$1" "$(peer_port "$1")")
    awk -v listen="listen = 127.0.0.1:$(agi_port "$1")" -v node="$node" '
        /^[ \t]*\[/ { peer = 0 }
        node != "" && /^[ \t]*\[peer / { peer = 1 }
        peer || /^[ \t]*listen[ \t]*=/ { next }
        node != "" && /^[ \t]*(name|peer-listen)[ \t]*=/ { next }
        { print }
        node != "" && /^[ \t]*\[node\]/ { print node }
        /^[ \t]*\[fastagi\]/ { print listen; written = 1 }
        END { if (!written) print "[fastagi]\n" listen }' "$conf" >"$conf.new" &&
        cat "$2" >>"$conf.new" && mv "$conf.new" "$conf" || die "cannot write $conf"
}

for i in $every; do make_conf "$i" /dev/null; done
if [ "$nodes" -gt 1 ]; then
    # Every node's key goes into every file. A node whose key cannot be made says why.
    peers=$dir/peers
    : >"$peers" || die "cannot write $peers"
    for i in $every; do
        key=$("$build/bin/tallyd" -c "$(home "$i")/tally.conf" -k) || die "node $i has no key"
        printf '%s\n' "$key" | sed -n '/^\[peer/,$p' >>"$peers"
    done
    for i in $every; do make_conf "$i" "$peers"; done
fi

started= nap=
# stop: end every tallyd, which lets calls finish, and take over their exit codes.
stop() {
    trap '' INT TERM
    code=0
    [ -z "$nap" ] || { kill "$nap"; wait "$nap"; } 2>/dev/null || :
    for node in $started; do kill -TERM "${node#*:}" 2>/dev/null || :; done
    for node in $started; do
        wait "${node#*:}" || { code=$?; say "node ${node%:*} ended with exit code $code"; }
    done
    [ "$code" -eq 0 ] || exit 1
    say "stopped; the counters are in $dir, run again to go on counting"
    exit "$1"
}
trap 'stop 0' INT TERM
# A terminal that is closed.
trap 'stop 0' HUP

# ended: whether a tallyd has ended by itself; then it is said how.
ended() {
    for node in $started; do
        kill -0 "${node#*:}" 2>/dev/null && continue
        code=0
        wait "${node#*:}" || code=$?
        left=
        for other in $started; do [ "$other" = "$node" ] || left="$left $other"; done
        started=$left
        if [ "$nodes" -eq 1 ]; then
            say "tallyd ended by itself with exit code $code; its message is above"
        else
            say "node ${node%:*} ended by itself with exit code $code; the end of its log:"
            tail -n 4 "$(log_of "${node%:*}")" >&2
        fi
        return 0
    done
    return 1
}

# A session of its own: a Ctrl-C reaches this script alone, which then lets the calls of all nodes finish. One node's
# log is shown, those of several would only mix.
log_of() { echo "$(home "$1")/tallyd.log"; }
for i in $every; do
    if [ "$nodes" -eq 1 ]; then
        setsid "$build/bin/tallyd" -c "$(home "$i")/tally.conf" </dev/null &
    else
        setsid "$build/bin/tallyd" -c "$(home "$i")/tally.conf" </dev/null >>"$(log_of "$i")" 2>&1 &
    fi
    started="$started $i:$!"
done
tries=0
for i in $every; do
    until listening "$(agi_port "$i")"; do
        if ended; then
            [ -z "$started" ] || stop 1
            exit 1
        fi
        tries=$((tries + 1))
        if [ "$tries" -gt 300 ]; then
            say "tallyd does not listen on port $(agi_port "$i") after 30 s"
            stop 1
        fi
        sleep 0.1
    done
done

ctl() { node_of_ctl=$1; shift; "$build/bin/tallyctl" -d "$(home "$node_of_ctl")/state" "$@"; }

# A node of a new cluster says no number before it has met another.
if [ "$nodes" -gt 1 ]; then
    for i in $every; do
        until ctl "$i" --json status 2>/dev/null | grep -q '"joining":false'; do
            tries=$((tries + 1))
            [ "$tries" -le 600 ] || { say "node $i has met no other node"; stop 1; }
            sleep 0.1
        done
    done
fi

for i in $every; do
    url=agi://127.0.0.1:$(agi_port "$i")/hits
    printf '\nA call to %s; > is what Asterisk would say, < what Tally says:\n\n' "$url"
    if ! "$build/bin/agicall" "$url" </dev/null; then
        say "the call failed"
        stop 1
    fi
done

# totals: what each node says of the counter hits.
totals() { for i in $every; do ctl "$i" get hits || echo "?"; done; }
if [ "$nodes" -gt 1 ]; then
    until [ "$(totals | sort -u | wc -l)" -eq 1 ] &&
        [ "$(ctl 1 --json peers | grep -c '"behind":0,')" -eq $((nodes - 1)) ]; do
        tries=$((tries + 1))
        [ "$tries" -le 900 ] || { say "the nodes do not come to the same total"; stop 1; }
        sleep 0.1
    done
    printf '\nThe nodes have met. The counter hits at each of them:\n\n'
    for i in $every; do printf '    node-%s  %s\n' "$i" "$(ctl "$i" get hits)"; done
    printf '\nWhat node-1 says of the others:\n\n'
    ctl 1 peers | sed 's/^/    /'
fi
[ "$once" = no ] || stop 0

bin=$build/bin
case $bin in "$PWD"/*) bin=${bin#"$PWD"/} ;; esac

[ "$nodes" -eq 1 ] || cat <<TEXT

$nodes nodes serve on 127.0.0.1, ports $port to $(agi_port "$nodes"), until Ctrl-C. Their numbers are PROVISIONAL:
two nodes that count at the same moment may say the same one; the totals are exact. deploy/CLUSTER.md
tells how to run a cluster on machines of its own. Each node has a folder $dir/node-N
with its tally.conf, tallyd.log and state. How the first one sees the others:

    $bin/tallyctl -d $(home 1)/state peers

What follows is about the first node.
TEXT
cat <<TEXT

Tally serves on 127.0.0.1:$port until Ctrl-C. To call it from Asterisk on this machine, paste into
extensions.conf, run "asterisk -rx 'dialplan reload'", and dial 31415:

    exten => 31415,1,AGI(agi://127.0.0.1:$port/hits)
     same => n,Hangup()

Without sound, for a dialplan of your own (sets TALLY_STATUS, TALLY_NUMBER, TALLY_TOTAL, TALLY_NODE):

    exten => 31416,1,AGI(agi://127.0.0.1:$port/count,tickets,by=1,id=\${SYSTEMNAME}-\${UNIQUEID})
     same => n,NoOp(you are number \${TALLY_NUMBER})

Another call from here:  $bin/agicall agi://127.0.0.1:$port/hits
The counters:            $bin/tallyctl -d $(home 1)/state counters
The configuration:       $(home 1)/tally.conf
TEXT

# Where a tallyd ends by itself, so does this. A signal ends the sleep at once, and not only after it.
until ended; do
    sleep 1 &
    nap=$!
    wait "$nap" || :
    nap=
done
[ -z "$started" ] || stop 1
exit 1
