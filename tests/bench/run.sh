#!/bin/sh
# `make bench`: our engine and wrk on the same target, in pairs; writes docs/performance.md.
# Arguments go to the benchmark (see tests/src/bin/bench/main.rs), for example: --pairs 9 --seconds 10
set -eu
cd "$(dirname "$0")/../.."

if ! command -v wrk >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "bench: installing wrk"
        apt-get install -y --no-install-recommends wrk >/dev/null ||
            { apt-get update >/dev/null && apt-get install -y --no-install-recommends wrk >/dev/null; }
    else
        echo "bench: wrk is missing; install it (Debian: apt-get install wrk)" >&2
        exit 1
    fi
fi

cargo build --release --locked --package loadtest-cli --bin loadtest
exec cargo run --quiet --locked --package loadtest-tests --bin bench -- \
    --loadtest target/release/loadtest --out docs/performance.md "$@"
