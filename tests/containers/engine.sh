# shellcheck shell=bash
# Sourced: a Docker engine of its own, apart from everything else on the machine. It leaves iptables, forwarding and
# other engines alone, so it can stand beside the cluster of tests/cluster and beside a Docker that is installed.
#
# engine_start makes DOCKER_HOST and DOCKER_CONFIG point to it; engine_stop leaves no process, mount or cgroup behind.
# Images stay in $cache/data, so the next start has them.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=${LOADTEST_CONTAINERS_CACHE:-$root/target/containers}
mkdir -p "$cache"

die() { echo "tests/containers: $*" >&2; exit 1; }
say() { echo "tests/containers: $*"; }

# need_packages COMMAND=PACKAGE...: installs the Debian packages of the commands that are missing.
need_packages() {
  local pair missing=()
  for pair; do
    [ -x "/usr/bin/${pair%%=*}" ] || [ -x "/usr/sbin/${pair%%=*}" ] || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] && return
  local install=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}")
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    die "missing packages; run as root: ${install[*]}"
  fi
  say "installing ${missing[*]}"
  # The packages must not start an engine of their own: in run level 1 nothing is started.
  { RUNLEVEL=1 "${install[@]}" || { apt-get update && RUNLEVEL=1 "${install[@]}"; }; } \
    < /dev/null > "$cache/apt.log" 2>&1 || die "could not install ${missing[*]}: see $cache/apt.log"
}

# `docker compose` as a plugin, built from the version that tools/go.mod names.
build_compose() {
  local plugin=$cache/config/cli-plugins/docker-compose stamp
  stamp=$(cat "$here/tools/go.mod" "$here/tools/go.sum" | sha256sum)
  [ -x "$plugin" ] && [ "$(cat "$cache/compose.stamp" 2> /dev/null)" = "$stamp" ] && return
  command -v go > /dev/null || die "no go command: install Go (https://go.dev/dl) and put it on PATH"
  say "building docker compose"
  mkdir -p "${plugin%/*}"
  (cd "$here/tools" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$plugin" \
    github.com/docker/compose/v2/cmd) || die "could not build docker compose"
  echo "$stamp" > "$cache/compose.stamp"
}

# The client of Debian's package, which fits its engine.
docker() { /usr/bin/docker "$@"; }

engine_start() {
  [ "$(id -u)" = 0 ] || die "an engine of its own needs root"
  need_packages docker=docker.io dockerd=docker.io
  build_compose
  exec 9> "$cache/lock"
  flock --wait 900 9 || die "another test has had the engine for 15 minutes: see $cache/lock"
  engine=$(mktemp -d /tmp/loadtest-containers.XXXXXX) # short: it holds Unix sockets
  echo '{}' > "$engine/daemon.json"
  # No bridge, no rules: networks are made by name, and published ports are carried by a process.
  dockerd --data-root "$cache/data" --exec-root "$engine/exec" --pidfile "$engine/dockerd.pid" \
    --host "unix://$engine/docker.sock" --config-file "$engine/daemon.json" \
    --cgroup-parent "/${engine##*/}" --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
    --default-address-pool base=172.30.0.0/16,size=24 < /dev/null > "$cache/dockerd.log" 2>&1 9>&- &
  engine_pid=$!
  export DOCKER_HOST=unix://$engine/docker.sock DOCKER_CONFIG=$cache/config DOCKER_BUILDKIT=1
  for _ in $(seq 150); do
    docker version > /dev/null 2>&1 && return
    kill -0 $engine_pid 2> /dev/null || break
    sleep 0.2
  done
  tail -20 "$cache/dockerd.log" >&2
  die "the engine does not start: see $cache/dockerd.log"
}

# What may be left of an earlier test that was killed, and of this one.
engine_sweep() {
  local kind
  docker ps --all --quiet | xargs --no-run-if-empty /usr/bin/docker rm --force --volumes > /dev/null
  docker network prune --force > /dev/null
  for kind in $(docker volume ls --quiet); do docker volume rm "$kind" > /dev/null; done
}

engine_stop() {
  [ -n "${engine-}" ] || return 0
  engine_sweep || true
  kill "$engine_pid" 2> /dev/null || true
  wait "$engine_pid" 2> /dev/null || true
  umount "$engine/exec/netns/default" 2> /dev/null || true
  find /sys/fs/cgroup -maxdepth 2 -type d -name "${engine##*/}" | while read -r group; do
    find "$group" -depth -type d -exec rmdir {} \; || true
  done
  rm -rf "$engine"
  engine=
}
