#!/usr/bin/env bash
# peers.sh: installs the load generators that `make bench` compares with and that are missing, and says
# what it did. All go to target/bench/peers, except wrk, which is Debian's package. Needs cargo, go and
# python3; the first time it takes some minutes, most of them for building oha and goose.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# The one place where versions are written. wrk is whatever Debian has (4.1.0 in bookworm).
oha=1.16.0
k6=v1.8.1
hey=v0.1.5
vegeta=v12.13.0
locust=2.47.0
goose=0.19.0 # also in goose/Cargo.toml

peers=$PWD/target/bench/peers
mkdir -p "$peers/bin" "$peers/versions"

die() { echo "peers: $*" >&2; exit 1; }
need() { command -v "$1" > /dev/null || die "$2 needs $1, which is not on PATH"; }

# missing NAME VERSION: whether that version still has to be installed.
missing() {
  if [ "$(cat "$peers/versions/$1" 2> /dev/null)" = "$2" ] && [ -x "$peers/bin/$1" ]; then
    echo "peers: $1 $2 is there"
    return 1
  fi
  echo "peers: installing $1 $2"
}
# A version is written down only when all of it is installed.
installed() { echo "$2" > "$peers/versions/$1"; }

apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null ||
    die "$1 is missing and can be installed only by root with apt-get: apt-get install $1"
  echo "peers: installing Debian's $1"
  apt-get install -y --no-install-recommends "$1" > /dev/null ||
    { apt-get update > /dev/null && apt-get install -y --no-install-recommends "$1" > /dev/null; }
}

from_go() { # NAME VERSION MODULE
  missing "$1" "$2" || return 0
  need go "$1"
  GOBIN=$peers/bin go install "$3@$2"
  installed "$1" "$2"
}

command -v wrk > /dev/null && echo "peers: wrk is there" || apt_install wrk

from_go hey $hey github.com/rakyll/hey
from_go vegeta $vegeta github.com/tsenart/vegeta/v12
from_go k6 $k6 go.k6.io/k6

if missing locust $locust; then
  need python3 locust
  rm -rf "$peers/locust"
  python3 -m venv "$peers/locust" 2> /dev/null || { apt_install python3-venv && python3 -m venv "$peers/locust"; }
  "$peers/locust/bin/pip" install --quiet "locust==$locust"
  ln -sf ../locust/bin/locust "$peers/bin/locust"
  installed locust $locust
fi

from_cargo() { # NAME VERSION ARGUMENTS...
  missing "$1" "$2" || return 0
  need cargo "$1"
  # Its own build directory: the workspace's is not to be locked for minutes.
  CARGO_TARGET_DIR=$peers/build cargo install --quiet --locked --force --root "$peers" "${@:3}"
  rm -rf "$peers/build"
  installed "$1" "$2"
}
from_cargo oha $oha --version $oha oha
# A library: the job of the benchmark is a program of its own.
from_cargo goose $goose --path tests/bench/goose
