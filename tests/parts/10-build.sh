#!/bin/sh
# everything builds with gcc and with clang, warnings being errors
. tests/parts/lib.sh

build release || :
build clang || :
