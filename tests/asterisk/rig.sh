#!/bin/bash
# Runs a real Asterisk against a FastAGI server on loopback.
#
#   rig.sh install DIR                       put Debian sid's Asterisk and its sounds into DIR (once)
#   rig.sh start DIR                         start it with the *.conf files beside this script
#   rig.sh call DIR EXTEN [N] [CONCURRENCY]  place N calls to EXTEN@default, wait, print a summary
#   rig.sh cli DIR COMMAND...                run one Asterisk CLI command
#   rig.sh log DIR                           print the path of the full log (verbose 5, AGI debug)
#   rig.sh stop DIR
#
# Needs root (debootstrap, chroot). Nothing is written outside DIR: the configuration is copied to
# DIR/srv/rig-AMI_PORT, where the log lies too. Two rigs may share one DIR if their AMI_PORT differs.
#
# Environment:
#   AGI_HOST (127.0.0.1), AGI_PORT (4573)   where the FastAGI server listens
#   AMI_PORT (5038)         Asterisk's manager port on 127.0.0.1; names the rig
#   RIG_NAME (rig)          the dialplan's SYSTEMNAME
#   RIG_DIALPLAN            a dialplan in place of the rig's; its context "tally" is included in "default"
#   RIG_ENTER               a command that Asterisk is started by, e.g. nsenter -t 123 --net --
#   RIG_RESOLV              a file that Asterisk sees as /etc/resolv.conf
#   CALL_STAYS (300)        the caller hangs up this many seconds after the answer
#   CALL_DTMF               instead of only waiting, the caller presses this, e.g. ww12# (w = half a second)
#   CALL_ID                 caller id, e.g. '"Alice" <1234>'
#   CALL_SCRIPT             what exten "script" asks for, e.g. count,tickets,by=2
#   CALL_LIMIT (120)        give up when calls have not ended so many seconds after the last was placed
#   DEBIAN_MIRROR           for install: a package mirror other than debootstrap's default
# Exit code: 0, or 2 with a message; "call" ends with 1 where a call has not ended.
set -euo pipefail

AGI_HOST=${AGI_HOST:-127.0.0.1} AGI_PORT=${AGI_PORT:-4573} AMI_PORT=${AMI_PORT:-5038}
conf=$(cd "$(dirname "$0")" && pwd)/conf

die() { echo "rig.sh: $*" >&2; exit 2; }
usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 2; }

[ $# -ge 2 ] || usage
verb=$1 dir=$(realpath -m "$2"); shift 2
# The rig's folder as seen inside the chroot and from outside.
inner=/srv/rig-$AMI_PORT
rig=$dir$inner log=$rig/log/full

cli() { chroot "$dir" asterisk -C "$inner/etc/asterisk.conf" -rx "$*"; }

# Is the process in the pid file really our Asterisk?
running() {
    [ -s "$rig/pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(cat "$rig/pid")/cmdline" |
        grep -q "$inner/etc/asterisk.conf"
}

install_() {
    # debootstrap keeps a folder of its own in DIR until it is through: without it, DIR is whole.
    if [ -x "$dir/usr/sbin/asterisk" ] && [ ! -d "$dir/debootstrap" ]; then return; fi
    [ "$(id -u)" -eq 0 ] || die "install: needs root"
    debootstrap --variant=minbase --include=asterisk,asterisk-core-sounds-en-gsm \
        sid "$dir" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"}
    chroot "$dir" asterisk -V
}

# Asterisk gets ready, or does not, within 20 s.
start() {
    [ -x "$dir/usr/sbin/asterisk" ] || die "no Asterisk in $dir: run install first"
    if running; then die "already running, pid $(cat "$rig/pid")"; fi
    rm -rf "$rig"
    mkdir -p "$rig"/{etc,log,run,lib,spool/outgoing,spool/tmp,cache}
    # Files Asterisk would complain about if they were missing.
    touch "$rig"/etc/{acl,ccss,cdr,cel,features,indications,udptl}.conf
    local file modules
    # The module folder's name depends on the machine's architecture.
    modules=$(echo "$dir"/usr/lib/*/asterisk/modules)
    for file in "$conf"/*.conf; do
        sed -e "s|@RIG@|$inner|g; s|@AGI@|$AGI_HOST:$AGI_PORT|g; s|@AMI_PORT@|$AMI_PORT|g" \
            -e "s|@MODULES@|${modules#"$dir"}|g; s|@NAME@|${RIG_NAME:-rig}|g" "$file" >"$rig/etc/${file##*/}"
    done
    if [ -n "${RIG_DIALPLAN:-}" ]; then
        { cat "$RIG_DIALPLAN"; printf '\n[default]\ninclude => tally\n'; grep '^exten => h,' "$conf/extensions.conf"; } \
            >"$rig/etc/extensions.conf"
    fi
    chroot "$dir" chown -R asterisk: "$inner"
    # A mount is seen by this Asterisk alone.
    # shellcheck disable=SC2016
    setsid ${RIG_ENTER:-} unshare --mount --propagation private sh -ec '
        [ -z "$1" ] || mount --bind "$1" "$2/etc/resolv.conf"
        shift
        exec chroot "$@"' sh "${RIG_RESOLV:-}" "$dir" asterisk -f -n -U asterisk -G asterisk -C "$inner/etc/asterisk.conf" \
        >"$rig/log/stdout" 2>&1 </dev/null &
    echo $! >"$rig/pid"
    for _ in $(seq 200); do
        sleep 0.1
        running || { cat "$rig/log/stdout" >&2; die "Asterisk ended at once"; }
        if grep -qs 'Asterisk Ready' "$log"; then
            echo "Asterisk $(cli core show version | cut -d' ' -f2) pid $(cat "$rig/pid") log $log"
            return
        fi
    done
    stop
    die "Asterisk did not get ready in 20 s, see $log"
}

stop() {
    running || { rm -f "$rig/pid"; return 0; }
    local pid
    pid=$(cat "$rig/pid")
    cli core stop now >/dev/null 2>&1 || true
    for _ in $(seq 50); do running || break; sleep 0.1; done
    if running; then kill -KILL "$pid"; fi
    rm -f "$rig/pid"
}

# The dialplan's h extension writes one "rig-end" line for each call that ended.
ended() { tail -c "+$1" "$log" | grep -ac "app_verbose.c: rig-end id=$2-" || true; }

call() {
    local exten=${1:?EXTEN} n=${2:-1} concurrency=${3:-1}
    running || die "not running"
    [[ $(cli dialplan show "$exten@default") == *"'$exten'"* ]] || die "no extension $exten"
    local id from i file done_=0 limit
    id=$$.$(date +%s) from=$(($(stat -c %s "$log") + 1))
    SECONDS=0
    for ((i = 1; i <= n; i++)); do
        while done_=$(ended "$from" "$id"); [ $((i - 1 - done_)) -ge "$concurrency" ]; do
            [ "$SECONDS" -lt $((i * 5 + ${CALL_LIMIT:-120})) ] ||
                die "stuck: $done_ of $((i - 1)) calls ended"
            sleep 0.05
        done
        file=$id-$i.call
        {
            echo "Channel: Local/$exten@default"
            echo "WaitTime: ${CALL_STAYS:-300}"
            echo "MaxRetries: 0"
            echo "Callerid: ${CALL_ID-\"Caller $i\" <$((1000 + i))>}"
            echo "Setvar: __RIG_ID=$id-$i"
            echo "Setvar: __RIG_SCRIPT=${CALL_SCRIPT:-}"
            if [ -n "${CALL_DTMF:-}" ]; then
                echo "Application: SendDTMF"
                echo "Data: $CALL_DTMF"
            else
                echo "Application: Wait"
                echo "Data: ${CALL_STAYS:-300}"
            fi
        } >"$rig/spool/tmp/$file"
        chroot "$dir" chown asterisk: "$inner/spool/tmp/$file"
        # Asterisk takes whole files only: it watches the folder for what is moved in.
        mv "$rig/spool/tmp/$file" "$rig/spool/outgoing/"
    done
    limit=$((SECONDS + ${CALL_LIMIT:-120}))
    while done_=$(ended "$from" "$id"); [ "$done_" -lt "$n" ] && [ "$SECONDS" -lt "$limit" ]; do
        sleep 0.1
    done
    echo "calls placed $n, ended $done_, seconds $SECONDS"
    tail -c "+$from" "$log" | grep -ao "app_verbose.c: rig-end id=$id-.*" |
        grep -ao 'AGISTATUS=[A-Z]*' | sort | uniq -c
    [ "$done_" -eq "$n" ]
}

case $verb in
install) install_ ;;
start) start ;;
stop) stop ;;
call) call "$@" ;;
cli) cli "$@" ;;
log) echo "$log" ;;
*) usage ;;
esac
