#!/usr/bin/env bash
# environment.sh up|operator|demo|down: everything that runs around a cluster test.
#
#   up        a real cluster with our CRDs (kept when it runs already), a real OpenSearch on the
#             host, and the way from pods to it
#   operator  up, and the operator installed by Helm from our release images (upgraded when installed)
#   demo      operator, and examples/httpbin.yaml run once in the namespace `demo`
#   down      stops all of it and forgets its state
#
# The same CLUSTER_RUN names the same environment; see tests/cluster/README.md.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=cluster/conf.sh
. "$here/cluster/conf.sh"
HERE=$here/cluster # conf.sh takes the folder of whoever sources it
chart=$ROOT/charts/loadtest-operator
namespace=loadtest-system

kubectl() { "$here/cluster/kubectl" "$@"; }

# background NAME COMMAND...: starts a process that outlives this script, noted by pid and start time.
background() {
  local name=$1
  shift
  setsid "$@" < /dev/null > "$RUN/log/$name.log" 2> "$RUN/log/$name.err" &
  echo "$! $(start_ticks $!)" > "$RUN/$name.pid"
}

# running NAME: whether what `background` started still runs.
running() {
  local pid ticks
  [ -e "$RUN/$1.pid" ] && read -r pid ticks < "$RUN/$1.pid" && [ "$(start_ticks "$pid")" = "$ticks" ]
}

# wait_for_line NAME PREFIX SECONDS: waits for a line in its output and prints it.
wait_for_line() {
  local end=$((SECONDS + $3))
  until grep -m1 "^$2" "$RUN/log/$1.log"; do
    running "$1" || { tail -20 "$RUN/log/$1.err" >&2; die "$1 ended: see $RUN/log/$1.err"; }
    [ $SECONDS -lt $end ] || die "$1 said no \"$2\" in $3 s: see $RUN/log/$1.err"
    sleep 0.2
  done
}

stop() {
  local pid ticks
  running "$1" || return 0
  read -r pid ticks < "$RUN/$1.pid"
  kill "$pid" 2> /dev/null || true
  for _ in $(seq 100); do running "$1" || return 0; sleep 0.1; done
  kill -KILL "$pid"
}

up() {
  "$here/cluster/up.sh" --reuse
  if ! running opensearch; then
    background opensearch "$here/search/start.sh" opensearch
    local ready
    ready=$(wait_for_line opensearch READY 120)
    echo "${ready#READY }" > "$RUN/search.url"
    stop import-search
  fi
  if ! running import-search; then
    background import-search "$here/cluster/import-service" 9200 "$(sed 's|^http://||' "$RUN/search.url")"
    wait_for_line import-search listening 20 > /dev/null
  fi
  kubectl apply --server-side --force-conflicts -f "$chart/files/crds" > /dev/null
  kubectl wait --for=condition=Established --timeout=30s \
    crd/loadtests.loadtest.dev crd/loadtestruns.loadtest.dev > /dev/null
  echo "environment: search server at $(cat "$RUN/search.url"), for pods at http://$NODE_IP:9200"
}

operator() {
  up
  "$here/cluster/images/build-images.sh"
  "$here/cluster/load" "$IMAGES/loadtest-operator.tar" "$IMAGES/loadtest-runner.tar"
  # Runners ask for a tenth of a core: this node has two, and several runs at once.
  "$here/cluster/helm" upgrade --install loadtest "$chart" --namespace "$namespace" \
    --create-namespace --take-ownership --values "$here/values.yaml" --wait --timeout 120s > /dev/null
  kubectl -n "$namespace" rollout restart deployment > /dev/null # same tag, newer image
  kubectl -n "$namespace" rollout status deployment --timeout=120s
}

demo() {
  operator
  kubectl get namespace demo > /dev/null 2>&1 || kubectl create namespace demo > /dev/null
  kubectl -n demo apply -f "$here/cluster/httpbin.yaml" -f "$here/search-service.yaml" > /dev/null
  kubectl -n demo rollout status deployment/httpbin --timeout=60s
  kubectl -n demo apply -f "$ROOT/examples/httpbin.yaml"
  kubectl -n demo wait --for=condition=Finished loadtest/httpbin --timeout=5m
  kubectl -n demo get ltest -o wide
  echo
  echo "Go on with: export KUBECONFIG=$RUN/kubeconfig; kubectl -n demo describe ltest httpbin"
  echo "End with:   make cluster-down"
}

down() {
  stop import-search
  stop opensearch
  "$here/cluster/down.sh" --wipe
}

case ${1-} in
up | operator | demo | down) "$1" ;;
*) sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
