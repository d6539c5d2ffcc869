#!/usr/bin/env bash
# version.sh: prints the version of everything, which is written in Cargo.toml. tests/tests/release.rs sees that the
# chart and the documents say the same.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
awk -F'"' '/^\[/ { here = $0 } here == "[workspace.package]" && /^version *=/ { print $2 }' Cargo.toml
