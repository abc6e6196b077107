#!/bin/sh
# C code is as clang-format makes it, shell scripts parse
. tests/parts/lib.sh

formatted() { git ls-files -z '*.c' '*.h' | xargs -0 -r clang-format --dry-run -Werror; }
scripts_parse() {
    for file in $(git ls-files '*.sh'); do
        case $(head -n 1 "$file") in *bash) bash -n "$file" ;; *) sh -n "$file" ;; esac || return 1
    done
}

step "clang-format" formatted || :
step "shell scripts parse" scripts_parse || :
