#!/bin/bash
# Proves that the running cluster is a real one, in what our tests need of it. About 10 s. Starts and
# stops nothing but what it makes in a namespace of its own; exits non-zero if a proof fails.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=conf.sh
. "$(dirname "$0")/conf.sh"
init_pid > /dev/null || die "no cluster runs in $RUN: run up.sh"
kubectl() { "$HERE/kubectl" "$@"; }

namespace=selfcheck-$$
agent=selfcheck/$$
port=$((20000 + $$ % 10000)) # in the cluster's network namespace: only another self-check could hold it
work=$(mktemp -d)
servers=()
cleanup() {
  [ ${#servers[@]} = 0 ] || kill "${servers[@]}" 2> /dev/null || true
  kubectl delete namespace "$namespace" --ignore-not-found --wait=false > /dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT

passed=0 failed=0
# check NAME COMMAND...: the command's output is shown only if it fails.
check() {
  local name=$1
  shift
  if "$@" > "$work/out" 2>&1; then
    passed=$((passed + 1))
    echo "ok   $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name"
    tail -n 20 "$work/out"
  fi
}

dump() { # what one wants to know if the Job does not complete
  kubectl -n "$namespace" get all -o wide
  kubectl -n "$namespace" get events --sort-by=.lastTimestamp
  kubectl -n "$namespace" logs --all-containers --prefix -l job-name=client --tail=20
}

kubectl create namespace "$namespace" > /dev/null
kubectl label namespace "$namespace" pod-security.kubernetes.io/enforce=restricted > /dev/null
kubectl -n "$namespace" apply -f "$HERE/httpbin.yaml" > /dev/null

# A server of the host, on a free port of its loopback, for pods to reach.
"$BIN/probe" serve 127.0.0.1:0 > "$work/server" 2>&1 &
servers+=($!)
until grep -qs '^listening on ' "$work/server"; do sleep 0.1; done
"$HERE/import-service" "$port" "$(sed -n 's/^listening on //p' "$work/server")" > "$work/import" 2>&1 &
servers+=($!)

restricted='allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}'
kubectl -n "$namespace" apply -f - > /dev/null << YAML
apiVersion: batch/v1
kind: Job
metadata: {name: client}
spec:
  completions: 2
  parallelism: 2
  completionMode: Indexed
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      initContainers:
      - name: sidecar # native: it starts first, keeps running, and does not keep the Job from completing
        image: cluster.local/probe:1
        restartPolicy: Always
        args: [serve, "127.0.0.1:9000"]
        securityContext: {$restricted}
      containers:
      - name: client
        image: cluster.local/probe:1
        args: [get, "$agent", "http://127.0.0.1:9000/", "http://httpbin/get", "http://$NODE_IP:$port/"]
        securityContext: {$restricted}
YAML

job_completes() { kubectl -n "$namespace" wait --for=condition=Complete job/client --timeout=90s || { dump; return 1; }; }
client_logs() { kubectl -n "$namespace" logs -l job-name=client -c client --prefix; }
both_indexes() { client_logs | grep -o 'index=.' | sort | paste -sd' ' | grep -x 'index=0 index=1'; }
said() { client_logs | tee "$work/log" | grep -c -- "$1" | grep -qx 2 || { cat "$work/log"; return 1; }; }
logged() { kubectl -n "$namespace" logs deployment/httpbin | tee "$work/log" | grep -c "\"user_agent\":\"$agent\"" | grep -qx 2 || { cat "$work/log"; return 1; }; }
privileged_is_refused() {
  ! kubectl -n "$namespace" run privileged --image=cluster.local/probe:1 --privileged > "$work/log" 2>&1 && grep 'violates PodSecurity "restricted' "$work/log"
}
audited() {
  python3 - "$RUN/log/audit.log" "$namespace" << 'PYTHON'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
made = {(e["objectRef"]["resource"], e["user"]["username"]) for e in events
        if e["verb"] == "create" and e["objectRef"].get("namespace") == sys.argv[2]}
wanted = {("jobs", "admin"), ("pods", "system:serviceaccount:kube-system:job-controller")}
sys.exit(f"not in the audit log: {wanted - made}" if wanted - made else 0)
PYTHON
}

check "Indexed Job with a native sidecar completes under restricted Pod Security" job_completes
check "both indexes ran" both_indexes
check "a pod reaches a Service by its name" said "http://httpbin/get 200"
check "a pod reaches a server of the host by import-service" said "http://$NODE_IP:$port/ 200"
check "httpbin's access log counts requests by user agent" logged
check "Pod Security refuses a privileged pod" privileged_is_refused
check "the audit log names who made the Job and its pods" audited
check "helm knows its version" "$HERE/helm" version
check "helm lists releases" "$HERE/helm" list --all-namespaces
echo "selfcheck: $passed passed, $failed failed"
[ $failed = 0 ]
