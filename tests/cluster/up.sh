#!/bin/bash
# up.sh [--reuse]: starts a new, empty cluster and prints how long each phase took.
#
# A cluster that runs already in $CLUSTER_RUN is torn down first; with --reuse a healthy one is kept,
# objects and all. If the start fails, the ends of the logs are printed and everything is stopped
# again; the logs stay in $CLUSTER_RUN/log. Undo with down.sh.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=conf.sh
. "$(dirname "$0")/conf.sh"
export PATH=$PATH:/usr/sbin:/sbin # a root shell by `su` has neither

reuse=false
case "${1-}" in
  "") ;;
  --reuse) reuse=true ;;
  *) die "usage: up.sh [--reuse]" ;;
esac
[ "$(id -u)" = 0 ] || die "must run as root: it makes namespaces, mounts and cgroups"
[[ $RUN = /* ]] || die "CLUSTER_RUN must be an absolute path: $RUN"
# A Unix socket's path has at most 107 bytes; containerd makes one more beside its own.
[ ${#CONTAINERD_SOCKET} -le 100 ] || die "CLUSTER_RUN is too long for a Unix socket: $RUN"
[ -d /sys/fs/cgroup/memory ] || die "cgroup v1 hierarchies are needed in /sys/fs/cgroup: boot with systemd.unified_cgroup_hierarchy=0"

kubectl() { "$HERE/kubectl" "$@"; }
node_ready() { kubectl wait --for=condition=Ready "node/$NODE" --timeout=1s; }
# Through the ClusterIP: it answers when kube-proxy, CNI, kubelet and CoreDNS all work.
dns_ready() { "$HERE/enter" curl -sf -m 1 "http://$DNS_SERVICE_IP:8181/ready"; }

"$HERE/build.sh"
if $reuse && init_pid > /dev/null && kubectl get --raw /readyz > /dev/null 2>&1 && node_ready > /dev/null 2>&1; then
  echo "up: reusing the cluster in $RUN: export KUBECONFIG=$RUN/kubeconfig"
  exit
fi
"$HERE/down.sh" --wipe
mkdir -p "$RUN/log" "$RUN/config/cni"
touch "$RUN/.loadtest-cluster" # down.sh --wipe removes no directory without it

# --- certificates and configuration ---------------------------------------------------------------
begun=$EPOCHREALTIME
phase() { awk -v n="$1" -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "up: %-24s +%.1f s\n", n, b - a }'; }

"$HERE/pki.sh"
: > "$RUN/config/resolv.conf" # pods ask CoreDNS, and CoreDNS asks nobody
for file in containerd.toml kubelet.yaml kube-proxy.yaml audit-policy.yaml cni/10-bridge.conflist; do
  sed -e "s|@RUN@|$RUN|g; s|@BIN@|$BIN|g; s|@CONTAINERD_SOCKET@|$CONTAINERD_SOCKET|g; s|@NODE@|$NODE|g" \
    -e "s|@POD_CIDR@|$POD_CIDR|g; s|@POD_SUBNET@|$POD_SUBNET|g; s|@DNS_SERVICE_IP@|$DNS_SERVICE_IP|g" \
    "$HERE/config/$file" > "$RUN/config/$file"
done

# --- cgroups: one child of our own in every v1 hierarchy ------------------------------------------
# Below our own, because a container's root may write only there.
while IFS=: read -r _ controllers path; do
  hierarchy=${controllers#name=}
  # The unified hierarchy of a hybrid machine has no name and no controllers.
  if [ -z "$hierarchy" ] || [ ! -d "/sys/fs/cgroup/$hierarchy" ]; then continue; fi
  parent=/sys/fs/cgroup/$hierarchy${path%/}
  mkdir -p "$parent/$CGROUP"
  if [ "$hierarchy" = cpuset ]; then # a new cpuset is empty, and no process may join an empty one
    for file in cpuset.cpus cpuset.mems; do cat "$parent/$file" > "$parent/$CGROUP/$file"; done
    echo 1 > "$parent/$CGROUP/cgroup.clone_children"
  fi
  echo "$hierarchy $parent/$CGROUP" >> "$RUN/cgroups"
done < /proc/self/cgroup

# --- start ----------------------------------------------------------------------------------------
# What a stock Debian kernel has as modules; no harm where they are built in or may not be loaded.
modprobe -a overlay br_netfilter nf_conntrack 2> /dev/null || true

exec 9< /proc/self/ns/net # the host's namespace, for the API server's one listener there
(
  while read -r _ directory; do echo "$BASHPID" > "$directory/cgroup.procs"; done < "$RUN/cgroups"
  # --kill-child: the kernel ends the cluster's PID 1, and with it everything, when unshare ends.
  exec setsid unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child=KILL --mount-proc \
    --propagation private "$HERE/node-init.sh"
) >> "$RUN/log/node-init.log" 2>&1 < /dev/null &
starter=$!
exec 9<&-
echo "$starter $(start_ticks $starter)" > "$RUN/starter"
disown # or bash reports its end

give_up() {
  echo "up: $1; the ends of the logs in $RUN/log:" >&2
  tail -n 12 "$RUN"/log/{containerd,etcd,kube-apiserver,kubelet,kube-proxy,import,netfwd,node-init}.log >&2 2> /dev/null || true
  "$HERE/down.sh"
  exit 1
}
trap 'give_up interrupted' INT TERM

# wait_for NAME SECONDS COMMAND...: until COMMAND succeeds; gives up early if a daemon has ended.
wait_for() {
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" > /dev/null 2>&1; do
    [ $SECONDS -lt $deadline ] || give_up "no $name in time"
    starter_pid > /dev/null || give_up "no $name: the cluster's PID 1 ended"
    ! grep -q ' ended with ' "$RUN/log/node-init.log" || give_up "no $name: a daemon ended"
    sleep 0.2
  done
  phase "$name"
}

wait_for "API listener" 30 grep -q '^listening on ' "$RUN/log/netfwd.log"
api=$(sed -n 's/^listening on //p' "$RUN/log/netfwd.log")
(umask 077 && sed "s|@HOST_API@|$api|" "$RUN/pki/admin.kubeconfig" > "$RUN/kubeconfig")
wait_for "API server ready" 90 kubectl get --raw /readyz
wait_for "add-ons applied" 30 kubectl apply -f "$HERE/addons.yaml"
wait_for "node ready" 90 node_ready
wait_for "default service account" 30 kubectl get serviceaccount default
wait_for "DNS by ClusterIP" 90 dns_ready
echo "up: API server at https://$api: export KUBECONFIG=$RUN/kubeconfig"
