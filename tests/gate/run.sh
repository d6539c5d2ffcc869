#!/bin/sh
# run.sh [--bless]: weighs what one request costs the engine of target/release/loadtest, and compares it
# with costs.txt or writes that file anew. Installs valgrind where it can.
set -eu
cd "$(dirname "$0")/../.."

if ! command -v valgrind >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "gate: installing valgrind"
        apt-get install -y --no-install-recommends valgrind >/dev/null ||
            { apt-get update >/dev/null && apt-get install -y --no-install-recommends valgrind >/dev/null; }
    else
        echo "gate: valgrind is missing; install it (Debian: apt-get install valgrind)" >&2
        exit 1
    fi
fi
exec target/release/gate "$@"
