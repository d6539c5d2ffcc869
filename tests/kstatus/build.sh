#!/usr/bin/env bash
# build.sh: builds target/kstatus/kstatus from Go modules; about 80 s of two cores the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
CGO_ENABLED=0 go build -trimpath -o ../../target/kstatus/kstatus .
