#!/bin/bash
# Packs the release binaries of this checkout into the images cluster.local/loadtest-operator and
# cluster.local/loadtest-runner, as tars in $CACHE/images. Build the binaries first.
#
# BINARIES: where they are (default: release/ of Cargo's target directory)
# IMAGE_VERSION: the tag (default: the workspace's version)
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../conf.sh
. "$(dirname "$0")/../conf.sh"

max_mb=60 # an image beyond that carries something it should not: debug symbols, a test fixture
binaries=${BINARIES:-${CARGO_TARGET_DIR:-$ROOT/target}/release}
version=${IMAGE_VERSION:-$(awk -F'"' '/^\[/ { here = $0 } here == "[workspace.package]" && /^version *=/ { print $2 }' "$ROOT/Cargo.toml")}
[ -n "$version" ] || die "no version under [workspace.package] in $ROOT/Cargo.toml: set IMAGE_VERSION"

mkdir -p "$IMAGES"
for name in loadtest-operator loadtest-runner; do
  [ -x "$binaries/$name" ] || die "no $binaries/$name: cargo build --release"
  tar=$IMAGES/$name.tar
  python3 "$HERE/images/mkimage.py" "cluster.local/$name:$version" "$tar" --ca-bundle \
    --binary "$binaries/$name:/usr/local/bin/$name" --entry "/usr/local/bin/$name"
  mb=$(($(stat -c %s "$tar") / 1000000))
  [ "$mb" -le "$max_mb" ] || die "$tar has $mb MB, the limit is $max_mb MB: is $name stripped?"
done
