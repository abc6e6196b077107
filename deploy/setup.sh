#!/bin/sh
# Installs the Debian packages that Tally needs and that are missing; does nothing, and needs
# neither root nor a network, where all of them are there.
#
#   sh deploy/setup.sh            what building and running needs
#   sh deploy/setup.sh --tests    what the tests need beyond that
#   sh deploy/setup.sh --package  what building the Debian package needs beyond it
#   sh deploy/setup.sh --check    install nothing: name what is missing, exit 1 if anything is
#
# Exit code: 0 all there, 1 something is missing and could not be installed, 2 usage.
set -eu

# What each is for stands in CMakeLists.txt beside the line that finds it.
build_packages="gcc libc6-dev cmake ninja-build pkgconf libnng-dev libsodium-dev libuv1-dev
    libinih-dev libjansson-dev libseccomp-dev libbsd-dev libmicrohttpd-dev
    libncurses-dev libsystemd-dev uthash-dev"
# Beyond them, what makes a Debian package.
package_packages="debhelper dpkg-dev fakeroot"
# clang with its sanitizers' and libFuzzer's libraries (libclang-rt-dev) and the symbolizer (llvm);
# Criterion, and the nanomsg that has to be linked before libnng; debootstrap for Asterisk; iproute2 and
# procps for hosts in network namespaces; tmux, a terminal, for what tallyctl top shows on one; lintian and
# systemd-container, which boots a Debian, for the package.
test_packages="clang clang-format libclang-rt-dev llvm libcriterion-dev libnanomsg-dev
    python3 tmux git debootstrap debian-archive-keyring iproute2 procps
    $package_packages lintian systemd-container"

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf 'setup: %s\n' "$*" >&2; }

packages=$build_packages check=no
for option; do
    case $option in
    --tests) packages="$build_packages $test_packages" ;;
    --package) packages="$build_packages $package_packages" ;;
    --check) check=yes ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown option $option"; usage >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    say "this is not a Debian system, so nothing was looked for and nothing is installed."
    say "Tally is built and tested on Debian 12. Elsewhere, install what these packages hold:"
    say "    $(echo $packages)"
    [ "$check" = yes ] && exit 1
    say "then go on with the option --no-install."
    exit 1
fi

# Names of the packages that are not installed, on one line.
missing() {
    for package in $packages; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || state=none
        [ "$state" = installed ] || printf '%s ' "$package"
    done
}

wanted=$(missing)
[ -n "$wanted" ] || exit 0
if [ "$check" = yes ]; then
    say "missing: $wanted"
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "these packages are missing: $wanted"
        say "and installing needs root: there is no sudo here. As root:"
        say "    apt-get update && apt-get install $wanted"
        exit 1
    fi
    as_root=sudo
    # Nobody is there to type a password where there is no terminal.
    [ -t 0 ] || as_root="sudo -n"
fi

folder=$(cd "$(dirname "$0")/.." && pwd)/build
mkdir -p "$folder"
log=$folder/setup.log
: >"$log"

apt() {
    # Another apt may be at work, as on a machine that has just been started.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
        </dev/null >>"$log" 2>&1
}

if [ -n "$as_root" ] && ! $as_root true; then
    say "these packages are missing: $wanted"
    say "and sudo was refused. As root:"
    say "    apt-get update && apt-get install $wanted"
    exit 1
fi

say "installing $wanted"
# The package lists may be missing or old: then the first try fails, and is no loss.
if ! apt install --no-install-recommends $wanted; then
    apt update || :
    if ! apt install --no-install-recommends $wanted; then
        tail -n 15 "$log" >&2
        say "apt-get could not install: $wanted"
        say "Is the network up, and does /etc/apt name a mirror that is reached? All of it: $log"
        exit 1
    fi
fi
wanted=$(missing)
if [ -n "$wanted" ]; then
    say "apt-get reported success, yet these are missing: $wanted(see $log)"
    exit 1
fi
