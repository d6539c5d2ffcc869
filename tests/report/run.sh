#!/bin/sh
# The report pages of real runs in a real browser. Needs Chromium (apt-get install chromium) and Node.
# LOADTEST is the binary; screenshots are left in target/report.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$here/../../target/report
loadtest=${LOADTEST:-$here/../../target/release/loadtest}
mkdir -p "$out"
cp "$here/package.json" "$here/check.mjs" "$out/"
(cd "$out" && npm install --silent --no-audit --no-fund --no-package-lock)
rm -rf "$out/run" "$out/one"
# Failed on purpose: there are errors, breached thresholds, names that must be escaped.
"$loadtest" demo "$here/run.yaml" --quiet --runners 2 --out "$out/run" || [ $? -eq 1 ]
"$loadtest" demo "$here/run.yaml" --quiet --out "$out/one" --scale 0.1% --set spec.warmUp=null || true
cp "$out/run/report.html" "$out/report.html"
cp "$out/one/report.html" "$out/few.html"
node "$out/check.mjs" "$out/report.html" "$out/few.html"
