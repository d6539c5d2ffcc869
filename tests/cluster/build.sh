#!/bin/bash
# Builds the parts of the cluster from Go modules into $CACHE (conf.sh): binaries and base images.
# Returns at once when they were built from the same sources and versions. Versions are pinned
# in tools/*/go.mod and nowhere else.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=conf.sh
. "$(dirname "$0")/conf.sh"
cd "$HERE"

# need_packages COMMAND=PACKAGE...: installs the Debian packages of the commands that are missing.
need_packages() {
  local pair missing=()
  for pair; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%=*}" > /dev/null || missing+=("${pair#*=}")
  done
  # No command tells that these headers are there.
  if [[ $* = *pkg-config* ]] && ! pkg-config --exists libseccomp 2> /dev/null; then missing+=(libseccomp-dev); fi
  [ ${#missing[@]} = 0 ] && return
  local install=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${missing[@]}")
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    die "missing packages; run as root: ${install[*]}"
  fi
  echo "build: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A new machine has no package lists, an old one outdated lists: try, update, try again.
  "${install[@]}" > "$CACHE/apt.log" 2>&1 || { apt-get update && "${install[@]}"; } > "$CACHE/apt.log" 2>&1 \
    || die "could not install packages, see $CACHE/apt.log; run: apt-get update && ${install[*]}"
}

# The cluster does not start without these, whether or not there is anything to build.
mkdir -p "$BIN/cni" "$IMAGES"
need_packages iptables=iptables ip=iproute2 curl=curl openssl=openssl sysctl=procps unshare=util-linux python3=python3

stamp=$(find build.sh tools images/pause.c images/mkimage.py -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
is_current() { [ "$(cat "$CACHE/stamp" 2> /dev/null)" = "$stamp" ]; }
if is_current; then
  echo "build: up to date in $CACHE"
  exit
fi

exec 8> "$CACHE/lock"
flock 8 # a second build waits here, then finds the work done
if is_current; then exit; fi
rm -f "$CACHE/stamp"

need_packages gcc=gcc pkg-config=pkg-config
go_wanted=$(awk '$1 == "go" { print $2 }' tools/go.mod)
command -v go > /dev/null || die "no go command: install Go $go_wanted or newer (https://go.dev/dl) and put it on PATH"
go_here=$(GOTOOLCHAIN=local go env GOVERSION)
[ "$(printf '%s\n' "$go_wanted" "${go_here#go}" | sort -V | head -n 1)" = "$go_wanted" ] \
  || die "Go $go_wanted or newer is needed, $(command -v go) is ${go_here#go}: install a newer one from https://go.dev/dl"

# step NAME COMMAND...: runs it and prints how long it took.
step() {
  local name=$1 begun=$EPOCHREALTIME
  shift
  "$@" || die "step $name failed"
  awk -v n="$name" -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "build: %-12s %6.1f s\n", n, b - a }'
}

# build MODULE OUTPUT LDFLAGS [GO_FLAG...] PACKAGE...: in tools/MODULE, stripped and without cgo.
build() {
  local module=$1 output=$2 ldflags=$3
  shift 3
  (cd "tools/$module" && go build -ldflags "-s -w $ldflags" -o "$BIN/$output" "$@")
}
export GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -trimpath" CGO_ENABLED=0

kubernetes=$(pinned k8s.io/kubernetes go.mod)
helm=$(pinned helm.sh/helm/v3 go.mod)
httpbin=$(pinned github.com/mccutchen/go-httpbin/v2 go.mod)
coredns=$(pinned github.com/coredns/coredns coredns/go.mod)
containerd=$(pinned github.com/containerd/containerd/v2 runtime/go.mod)
runc=$(pinned github.com/opencontainers/runc runtime/go.mod)

# Manifests are plain YAML, so they repeat two versions: see that they name what is built.
grep -q "image: cluster.local/coredns:$coredns\$" addons.yaml || die "addons.yaml names another coredns than $coredns"
grep -q "image: cluster.local/go-httpbin:$httpbin\$" httpbin.yaml || die "httpbin.yaml names another go-httpbin than $httpbin"

download() {
  local module
  for module in . cni coredns runtime; do (cd "tools/$module" && go mod download) || return; done
}

build_kubernetes() {
  local package flags="" minor=${kubernetes#1.}
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*} -X $package.gitTreeState=clean"
  done
  build . kube "$flags" ./kube && ln -sf kube "$BIN/kubectl" # kube looks at its own name
}

build_helm() {
  local package=helm.sh/helm/v3 minor=${kubernetes#1.}
  build . helm "-X $package/internal/version.version=v$helm -X $package/pkg/chartutil.k8sVersionMajor=1 -X $package/pkg/chartutil.k8sVersionMinor=${minor%%.*}" \
    $package/cmd/helm
}

build_cni() {
  local package=github.com/containernetworking/plugins/plugins
  build cni cni/ "" $package/ipam/host-local $package/main/bridge $package/main/loopback $package/meta/portmap
}

build_containerd() {
  local package=github.com/containerd/containerd/v2
  build runtime "" "-X $package/version.Version=v$containerd" -tags "no_btrfs no_devmapper no_zfs no_aufs" \
    $package/cmd/containerd $package/cmd/containerd-shim-runc-v2 $package/cmd/ctr
}

# runc needs C: its first stage runs before Go's threads, and without libseccomp it refuses the
# RuntimeDefault profile which Pod Security "restricted" demands. Static, it needs no library.
build_runc() {
  CGO_ENABLED=1 build runtime runc "-extldflags -static -X main.version=$runc" -tags "netgo osusergo seccomp" \
    github.com/opencontainers/runc
}

build_images() {
  local image="python3 images/mkimage.py"
  gcc -static -Os -s -o "$BIN/pause" images/pause.c \
    && $image cluster.local/pause:1 "$IMAGES/pause.tar" --file "$BIN/pause:/pause" --user 65535:65535 --entry /pause \
    && $image "cluster.local/coredns:$coredns" "$IMAGES/coredns.tar" --file "$BIN/coredns:/coredns" --entry /coredns -conf /etc/coredns/Corefile \
    && $image "cluster.local/go-httpbin:$httpbin" "$IMAGES/go-httpbin.tar" --file "$BIN/go-httpbin:/go-httpbin" --entry /go-httpbin \
    && $image cluster.local/probe:1 "$IMAGES/probe.tar" --file "$BIN/probe:/probe" --entry /probe
}

echo "build: Kubernetes $kubernetes, containerd $containerd, runc $runc, CoreDNS $coredns, Helm $helm, go-httpbin $httpbin; cold it takes about 6 minutes"
begun=$SECONDS
step download download
step kubernetes build_kubernetes
step helm build_helm
step go-httpbin build . go-httpbin "" github.com/mccutchen/go-httpbin/v2/cmd/go-httpbin
step netfwd,probe build . "" "" ./netfwd ./probe
step cni build_cni
step coredns build coredns coredns "" .
step containerd build_containerd
step runc build_runc
step images build_images
echo "$stamp" > "$CACHE/stamp"
echo "build: done in $((SECONDS - begun)) s, $(du -sh "$CACHE" | cut -f1) in $CACHE"
