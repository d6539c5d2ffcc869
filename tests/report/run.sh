#!/bin/sh
# run.sh: the report pages of real runs in a real browser: no serious finding of axe, nothing wider than the screen,
# nothing asked from the network. Screenshots are left in target/report.
# run.sh --screenshot FILE: only the picture of docs/report.png, of a run of its own.
#
# Needs Node; Chromium is installed when it is missing and can be. LOADTEST is the binary, CHROMIUM the browser.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/target/report
loadtest=${LOADTEST:-$root/target/release/loadtest}
mkdir -p "$out"

die() { echo "tests/report: $*" >&2; exit 1; }

if [ -z "${CHROMIUM:-}" ] && ! [ -x /usr/bin/chromium ]; then
  { [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; } || die "Chromium is missing: apt-get install chromium, or set CHROMIUM"
  echo "tests/report: installing Chromium"
  { apt-get install -y --no-install-recommends chromium || { apt-get update && apt-get install -y --no-install-recommends chromium; }; } \
    < /dev/null > "$out/apt.log" 2>&1 || die "could not install Chromium: see $out/apt.log"
fi
command -v npm > /dev/null || die "npm is missing: install Node (https://nodejs.org)"
cp "$here/package.json" "$here/check.mjs" "$here/screenshot.mjs" "$out/"
(cd "$out" && npm install --silent --no-audit --no-fund --no-package-lock)

# run MANIFEST FOLDER OPTION...: a run against the bundled target, whatever its verdict (1 and 4 are verdicts, 3 is not).
run() {
  manifest=$1 folder=$2 code=0
  shift 2
  rm -rf "$folder"
  "$loadtest" demo "$manifest" --quiet --out "$folder" "$@" > "$out/run.log" 2>&1 || code=$?
  case $code in 0 | 1 | 4) ;; *) cat "$out/run.log" >&2; die "the run ended with $code" ;; esac
}

if [ "${1:-}" = --screenshot ]; then
  [ $# = 2 ] || die "usage: run.sh --screenshot FILE"
  run "$here/picture.yaml" "$out/picture" --runners 2
  node "$out/screenshot.mjs" "$out/picture/report.html" "$2"
  exit
fi
# Failed on purpose: there are errors, breached thresholds, names that must be escaped.
run "$here/run.yaml" "$out/run" --runners 2
run "$here/run.yaml" "$out/one" --scale 0.1% --set spec.warmUp=null
# As of a run in a cluster that has a baseline, which no run here can have.
node -e '
  const fs = require("fs"), file = process.argv[1], status = JSON.parse(fs.readFileSync(file));
  const row = { metric: "latency.p99", before: "80.0ms", after: "101ms", change: "+26.25%", worseBy: "10%" };
  const tolerances = [{ ...row, passed: false }, { ...row, metric: "requests.rate", passed: true }];
  fs.writeFileSync(file, JSON.stringify({ ...status, baseline: { run: "shop-2", regressed: true, tolerances } }));
' "$out/run/summary.json"
"$loadtest" report "$out/run" -o html > "$out/run.log" 2>&1 || die "the page could not be made: see $out/run.log"
cp "$out/run/report.html" "$out/report.html"
cp "$out/one/report.html" "$out/few.html"
node "$out/check.mjs" "$out/report.html" "$out/few.html"
