#!/usr/bin/env bash
# Provides what start.py starts: go-httpbin, built from the version that the cluster's tools pin;
# Debian's nginx, unpacked beside it and not installed, so that no service is set up; node and
# python3 from PATH. Everything made here is in target/servers.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$root/target/servers
mkdir -p "$bin"

die() { echo "servers: $*" >&2; exit 1; }

# apt COMMAND...: a new machine has no package lists, an old one outdated lists: try, update, try again.
apt() {
  command -v apt-get > /dev/null || return 1
  apt-get "$@" > "$bin/apt.log" 2>&1 || { apt-get update && apt-get "$@"; } >> "$bin/apt.log" 2>&1
}

# need COMMAND PACKAGE: installs the package if the command is missing.
need() {
  command -v "$1" > /dev/null && return
  echo "servers: installing $2" >&2
  [ "$(id -u)" = 0 ] && DEBIAN_FRONTEND=noninteractive apt install -y --no-install-recommends "$2" && return
  die "no $1 on PATH and it could not be installed; run as root: apt-get install $2"
}

need python3 python3
need node nodejs

command -v go > /dev/null || die "no go command to build go-httpbin with: install Go (https://go.dev/dl) and put it on PATH"
(cd "$root/tests/cluster/tools" \
  && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -trimpath" \
    go build -o "$bin/go-httpbin" github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin) >&2 \
  || die "go-httpbin could not be built from tests/cluster/tools/go.mod"

nginx=$(PATH=$PATH:/usr/sbin command -v nginx || true)
if [ -z "$nginx" ]; then
  nginx=$bin/nginx/usr/sbin/nginx
  if [ ! -x "$nginx" ]; then
    echo "servers: unpacking Debian's nginx" >&2
    rm -rf "$bin/nginx"
    mkdir "$bin/nginx"
    (cd "$bin/nginx" && apt download nginx && dpkg-deb -x nginx_*.deb .) \
      || die "no nginx on PATH and Debian's could not be fetched, see $bin/apt.log; install nginx"
  fi
  "$nginx" -v 2> /dev/null \
    || die "$nginx does not run here ($(ldd "$nginx" | grep -m1 'not found' | xargs)): install nginx"
fi
ln -sf "$nginx" "$bin/nginx-here"
