#!/bin/sh
# Builds the Debian package: build/tally_VERSION_ARCH.deb.
#
#   sh deploy/package.sh [--no-install]
#
#   --no-install   look for no packages
# The version is the one on top of deploy/debian/changelog.
# Exit code: 0 built (its last line names the file), 1 something failed (it says what), 2 usage.
set -eu

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }
say() { printf 'package: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

root=$(cd "$(dirname "$0")/.." && pwd)
build=${TALLY_BUILD:-$root/build}
install=yes
for option; do
    case $option in
    --no-install) install=no ;;
    -h | --help) usage; exit 0 ;;
    *) say "unknown option $option; sh deploy/package.sh --help tells the options"; exit 2 ;;
    esac
done

[ "$install" = no ] || sh "$root/deploy/setup.sh" --package ||
    die "packages are missing; with --no-install they are not looked for"

# A tree as dpkg-buildpackage wants it, which leaves its results beside it. Only what the package is made of: a change
# elsewhere makes the same one.
tree=$build/package/tally
log=$build/package/build.log
rm -rf "$build/package"
mkdir -p "$tree"
for part in CMakeLists.txt common replica server deploy README.md; do
    cp -R "$root/$part" "$tree/" || die "cannot copy $part to $tree"
done
mv "$tree/deploy/debian" "$tree/debian"
say "building (about a minute)"
if ! (cd "$tree" && dpkg-buildpackage -b -us -uc) >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    die "the build failed; all of it: $log"
fi
for file in "$build"/package/tally_*.deb; do
    mv "$file" "$build/" && printf '%s\n' "$build/${file##*/}"
done
