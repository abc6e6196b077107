#!/bin/sh
# the Debian package on a Debian 12 with a systemd of its own (put into build/debian by debootstrap)
. tests/parts/lib.sh

build_package() {
    TALLY_BUILD=$packages sh deploy/package.sh --no-install && mv "$packages"/tally_*.deb "$deb"
}

# The same with a higher version and another tally.conf: as good as one that was built again, and sooner.
make_newer() {
    rm -rf "$packages/newer"
    dpkg-deb -R "$deb" "$packages/newer" &&
        sed -i 's/^Version: .*/&+newer/' "$packages/newer/DEBIAN/control" &&
        echo '# newer' >>"$packages/newer/etc/tally/tally.conf" &&
        dpkg-deb --root-owner-group -b "$packages/newer" "$newer"
}

# What an installed Debian has of what is used here, and dig. What the package needs is there already, since the machines
# that are booted from it reach no mirror.
bare=systemd,systemd-sysv,dbus,procps,nftables,bind9-dnsutils
make_debian() {
    [ "$(cat "$debian/complete" 2>/dev/null)" != "$bare" ] || return 0
    rm -rf "$debian"
    debootstrap --variant=minbase --include="$bare" bookworm "$debian" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} || return 1
    # shellcheck disable=SC2046
    chroot "$debian" apt-get install -y --no-install-recommends \
        $(dpkg-deb -f "$deb" Depends | sed 's/([^)]*)//g; s/|[^,]*//g; s/,/ /g') </dev/null || return 1
    # Each machine has a name of its own.
    rm -f "$debian/etc/hostname"
    echo "$bare" >"$debian/complete"
}

packages=$TALLY_BUILD/package-tests
deb=$packages/tally.deb newer=$packages/tally-newer.deb
mkdir -p "$packages"
step 'a package is built' build_package || exit 0
step 'a newer package is made' make_newer || exit 0
step 'lintian finds no error' lintian --fail-on error "$deb"

if [ "$(id -u)" -ne 0 ]; then
    skip "$PART: a machine of its own needs root"
    exit 0
fi
debian=$TALLY_BUILD/debian
log=$TALLY_LOGS/$PART-install.log
if ! make_debian >"$log" 2>&1; then
    skip "$PART: Debian cannot be had: $(grep -E '^(E|W):' "$log" | tail -n 1)"
    exit 0
fi
TALLY_DEBIAN=$debian TALLY_DEB=$deb TALLY_NEWER_DEB=$newer TALLY_TMP=$TALLY_LOGS/tmp \
    python_tests machines test_package test_cluster_page
