#!/bin/bash
# PID 1 of the cluster, in mount, network, PID, UTS, IPC and cgroup namespaces of its own: makes them
# a node, starts every daemon, reaps. Started by up.sh, with the host's network namespace as fd 9.
set -uo pipefail
# shellcheck source-path=SCRIPTDIR source=conf.sh
. "$(dirname "$0")/conf.sh"
export PATH=$BIN:$PATH # the shim asks for runc by name when it tells containerd its features
pki=$RUN/pki
log=$RUN/log

# --- mounts ---------------------------------------------------------------------------------------
mount --make-rshared / # shared within this namespace only; unshare made it private first
mount -t sysfs sysfs /sys || die "cannot mount /sys" # shows this network namespace
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
while read -r hierarchy _; do # rooted at our own cgroup: the kubelet's /kubepods lies in it
  options=$hierarchy
  [ "$hierarchy" = systemd ] && options=none,name=systemd
  mkdir "/sys/fs/cgroup/$hierarchy"
  mount -t cgroup -o "$options" cgroup "/sys/fs/cgroup/$hierarchy" || die "cannot mount cgroup $hierarchy"
done < "$RUN/cgroups"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/log
for name in kubelet cni; do
  mkdir -p "/var/lib/$name" "$RUN/$name"
  mount --bind "$RUN/$name" "/var/lib/$name"
done
mount --make-rshared /var/lib/kubelet
# The kubelet sets three sysctls of the whole machine. Give it files to write to instead.
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
  file=$RUN/config/${setting##*/}
  file=${file%=*}
  echo "${setting#*=}" > "$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
hostname $NODE

# --- network: no uplink, so no packet can leave the machine -----------------------------------------
ip link set lo up
{ ip link add node0 type bridge && ip addr add $NODE_IP/24 dev node0 && ip link set node0 up; } || die "cannot make bridge node0"
ip route add default dev node0 # only so that a ClusterIP has a route before its translation
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 || die "cannot set sysctls: is the module br_netfilter loaded?"

# --- daemons --------------------------------------------------------------------------------------
declare -A name_of
start() { # NAME COMMAND...
  local name=$1
  shift
  "$@" >> "$log/$name.log" 2>&1 &
  name_of[$!]=$name
}
# For every wait below: a daemon that ended will never become ready.
still_alive() {
  local pid
  for pid in "${!name_of[@]}"; do [ -e "/proc/$pid" ] || die "${name_of[$pid]} ended"; done
}
start_kube() { start "$1" "$BIN/kube" "$@"; }

start netfwd "$BIN/netfwd" "$HOST_API" 127.0.0.1:6443 /proc/self/fd/9
exec 9<&-

# Without fsync: nobody needs this data after a crash of the machine.
start_kube etcd --name n1 --data-dir "$RUN/etcd" --unsafe-no-fsync --logger zap --log-level warn \
  --listen-client-urls https://127.0.0.1:2379 --advertise-client-urls https://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster n1=http://127.0.0.1:2380 \
  --client-cert-auth --trusted-ca-file "$pki/etcd-ca.crt" --cert-file "$pki/etcd.crt" --key-file "$pki/etcd.key"

# The audit log is never rotated: a test reads one file. Entries are written before the call returns.
start_kube kube-apiserver --bind-address 0.0.0.0 --secure-port 6443 --advertise-address $NODE_IP \
  --etcd-servers https://127.0.0.1:2379 --etcd-cafile "$pki/etcd-ca.crt" \
  --etcd-certfile "$pki/etcd-client.crt" --etcd-keyfile "$pki/etcd-client.key" \
  --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged --anonymous-auth=false \
  --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
  --kubelet-certificate-authority "$pki/ca.crt" --kubelet-client-certificate "$pki/apiserver-kubelet-client.crt" \
  --kubelet-client-key "$pki/apiserver-kubelet-client.key" --kubelet-preferred-address-types InternalIP \
  --service-account-issuer https://kubernetes.default.svc.cluster.local \
  --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
  --service-cluster-ip-range $SERVICE_CIDR \
  --requestheader-client-ca-file "$pki/front-proxy-ca.crt" --requestheader-allowed-names front-proxy-client \
  --requestheader-extra-headers-prefix X-Remote-Extra- --requestheader-group-headers X-Remote-Group \
  --requestheader-username-headers X-Remote-User \
  --proxy-client-cert-file "$pki/front-proxy-client.crt" --proxy-client-key-file "$pki/front-proxy-client.key" \
  --audit-policy-file "$RUN/config/audit-policy.yaml" --audit-log-path "$log/audit.log" \
  --audit-log-mode blocking --audit-log-maxsize 100000

start containerd "$BIN/containerd" --config "$RUN/config/containerd.toml"
{
  until cluster_ctr version > /dev/null 2>&1; do still_alive && sleep 0.1; done
  for image in $BASE_IMAGES; do cluster_ctr images import --digests=false "$IMAGES/$image.tar" || die "cannot import $image"; done
} >> "$log/import.log" 2>&1

until curl -sf -o /dev/null --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" https://127.0.0.1:6443/readyz; do
  still_alive && sleep 0.1
done

# At the default 20 requests a second, 5 s pass before the first namespace has its service account.
start_kube kube-controller-manager --kubeconfig "$pki/controller-manager.kubeconfig" \
  --authentication-kubeconfig "$pki/controller-manager.kubeconfig" \
  --authorization-kubeconfig "$pki/controller-manager.kubeconfig" \
  --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials \
  --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" --client-ca-file "$pki/ca.crt" \
  --requestheader-client-ca-file "$pki/front-proxy-ca.crt" \
  --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
  --kube-api-qps 300 --kube-api-burst 600 \
  --allocate-node-cidrs --cluster-cidr $POD_CIDR --service-cluster-ip-range $SERVICE_CIDR
start_kube kube-scheduler --kubeconfig "$pki/scheduler.kubeconfig" \
  --authentication-kubeconfig "$pki/scheduler.kubeconfig" --authorization-kubeconfig "$pki/scheduler.kubeconfig" \
  --bind-address 127.0.0.1 --leader-elect=false
# Without the label the loss of the only node is the loss of all: the node controller then takes itself
# for the one that is cut off, and evicts nobody.
start_kube kubelet --config "$RUN/config/kubelet.yaml" --kubeconfig "$pki/kubelet.kubeconfig" \
  --hostname-override $NODE --node-ip $NODE_IP --node-labels node.kubernetes.io/exclude-disruption=true
start_kube kube-proxy --config "$RUN/config/kube-proxy.yaml"

# Nothing restarts a daemon: one that ends is a finding. bash reaps what is re-parented to it.
while wait -n -p pid; status=$?; [ -n "${pid:-}" ]; do
  echo "$(date +%T) ${name_of[$pid]} ended with $status"
done
die "every daemon ended"
