#!/bin/sh
# `make bench`: our engine beside other load generators on the same target, in pairs; writes
# docs/performance.md. Takes about 40 minutes. Arguments go to the benchmark (see
# tests/src/bin/bench/main.rs): --quick, --only wrk, --pairs 9, --seconds 10, --growth-seconds 60.
# With --quick or --only the page is only printed.
set -eu
cd "$(dirname "$0")/../.."

tests/bench/peers.sh
cargo build --release --locked --package loadtest-cli --bin loadtest
# Ten thousand users of one process need as many open files, on both sides.
ulimit -n "$(ulimit -H -n)"
case " $* " in
*" --quick "* | *" --only "*) ;;
*) set -- --out docs/performance.md "$@" ;;
esac
cargo build --release --locked --package loadtest-tests --bin bare --bin lean
exec cargo run --release --quiet --locked --package loadtest-tests --bin bench -- --loadtest target/release/loadtest "$@"
