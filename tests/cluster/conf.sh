# shellcheck shell=bash disable=SC2034  # sourced: its readers use what is unused here
# What every script here shares: places, names, addresses, and how to find the running cluster.
# Only the names read from the environment (`${NAME:-default}`) are for callers to set.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)

# What build.sh makes; may be shared by any number of clusters.
CACHE=${LOADTEST_CLUSTER_CACHE:-$ROOT/target/cluster}
BIN=$CACHE/bin
IMAGES=$CACHE/images
# Images every cluster starts with. Others come by `load`, so that none is there by accident.
BASE_IMAGES="pause coredns go-httpbin probe"

# All state of one running cluster. Short, because it holds Unix sockets (see up.sh).
RUN=${CLUSTER_RUN:-/tmp/loadtest-cluster}
# The API server's one listener on the host; port 0 lets the kernel choose a free one.
HOST_API=${HOST_API:-127.0.0.1:0}
# The cluster's cgroup in every hierarchy; named after $RUN, so two clusters never share one.
CGROUP=loadtest-$(printf %s "$RUN" | cksum | cut -d' ' -f1)
CONTAINERD_SOCKET=$RUN/containerd.sock

NODE=node1
# Addresses exist only inside the cluster's network namespace: every cluster may use the same.
NODE_IP=10.98.0.1
POD_CIDR=10.97.0.0/16
POD_SUBNET=10.97.0.0/24
SERVICE_CIDR=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_SERVICE_IP=10.96.0.10

die() { echo "${0##*/}: $*" >&2; exit 1; }

# pinned MODULE GO_MOD: the version of MODULE which that go.mod asks for, without its "v".
pinned() {
  awk -v m="$1" '{ for (i = 1; i < NF; i++) if ($i == m) { print substr($(i + 1), 2); exit } }' "$HERE/tools/$2"
}

# When the process began, in clock ticks since boot: with the pid it names one process for ever.
start_ticks() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }

# The pid of the `unshare` that holds the running cluster; fails if none runs.
starter_pid() {
  local pid ticks
  [ -e "$RUN/starter" ] || return 1
  read -r pid ticks < "$RUN/starter"
  [ "$(start_ticks "$pid")" = "$ticks" ] && echo "$pid"
}

# The cluster's PID 1 as the host sees it; fails if no cluster runs.
init_pid() {
  local starter child
  starter=$(starter_pid) || return 1
  child=$(tr -d ' ' < "/proc/$starter/task/$starter/children")
  [ -n "$child" ] && echo "$child"
}

# ctr on the running cluster's containerd, without a warning about cgroup v1 at every call.
cluster_ctr() { CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$BIN/ctr" --address "$CONTAINERD_SOCKET" --namespace k8s.io "$@"; }
