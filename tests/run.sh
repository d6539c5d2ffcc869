#!/usr/bin/env bash
# run.sh [unit] [codec] [search] [api] [crash] [gate] [report] [containers] [e2e] [scale]: runs the test layers, without
# arguments those of `default` below, prints how long each took, and ends with one summary line. What it starts it stops.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
cd "$root" || exit 1
export RUST_BACKTRACE=0 # a failed test tells the state of things; frames of the test harness hide it

begun=$SECONDS
rows=()
failed=0
servers=()

# stage NAME COMMAND...: runs, times and notes; goes on after a failure, so that one run tells all.
stage() {
  local name=$1 at=$SECONDS result=ok
  shift
  printf '\n=== %s\n' "$name"
  "$@" || { result=FAILED; failed=$((failed + 1)); }
  rows+=("$(printf '%-28s %6d s  %s' "$name" $((SECONDS - at)) "$result")")
  [ "$result" = ok ]
}

cleanup() {
  stop_servers
  if [ "${cluster_was_up-}" = no ]; then "$here/environment.sh" down; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# --- layers ----------------------------------------------------------------------------------------
lint() { cargo fmt --all --check && cargo clippy --workspace --all-targets --locked -- -D warnings; }
unit_tests() { cargo test --workspace --locked --no-fail-fast; }
release() { cargo build --release --locked --workspace --bins; }

# start_servers COMMAND...: starts real servers in the background; what they say after READY is $ready.
ready=
start_servers() {
  local output
  output=$(mktemp)
  "$@" > "$output" 2> "$output.err" < /dev/null &
  servers+=($!)
  for _ in $(seq 600); do
    grep -q '^READY' "$output" && break
    kill -0 $! 2> /dev/null || break
    sleep 0.2
  done
  ready=$(sed -n 's/^READY //p' "$output")
  [ -n "$ready" ] || tail -20 "$output.err"
  rm -f "$output" "$output.err"
  [ -n "$ready" ]
}
stop_servers() {
  local pid
  for pid in "${servers[@]}"; do kill "$pid" 2> /dev/null; wait "$pid" 2> /dev/null; done
  servers=()
}

# Real HTTP servers for the codec's tests.
http_servers() { "$here/servers/build.sh" && start_servers "$here/servers/start.py"; }
codec_tests() {
  LOADTEST_TEST_HTTP_SERVERS=$ready cargo test --locked -p loadtest-runner --test servers -- --ignored
}

# Real servers for the exporter's tests: $1 is the name; its url is appended to $search_urls.
search_urls=
start_search() {
  start_servers "$here/search/start.sh" "$1" && search_urls=${search_urls:+$search_urls,}$ready
}
search_servers() {
  "$here/search/build.sh" opensearch opensearch-security elasticsearch elasticsearch-security && start_search opensearch && start_search elasticsearch
}
search_tests() {
  LOADTEST_TEST_SEARCH_URLS=$search_urls cargo test --locked --no-fail-fast \
    -p loadtest-runner --test search -p loadtest-cli --test results -- --ignored
}

# The cluster that a person has running is used and left running; one of ours is stopped at the end.
cluster() {
  if [ -z "${cluster_was_up-}" ]; then
    cluster_was_up=no
    "$here/cluster/kubectl" get --raw /readyz > /dev/null 2>&1 && cluster_was_up=yes
  fi
  "$here/environment.sh" "$1"
}
api_tests() {
  "$here/gitops/check.sh" && "$here/kstatus/build.sh" && plugin_tests &&
    cargo build --locked -p loadtest-operator &&
    cargo test --locked -p loadtest-tests --test api --test chart --test kstatus --test rails -- --ignored
}
# The operator as a process with the chart's rights, every call of which fails once.
crash_tests() {
  LOADTEST_TEST_OPERATOR=$root/target/release/loadtest-operator \
    cargo test --locked -p loadtest-tests --test crash -- --ignored --test-threads=1
}
# They write statuses themselves: an operator that is installed must not write its own meanwhile.
plugin_tests() {
  local replicas result=0
  replicas=$("$here/cluster/kubectl" -n loadtest-system get deployment/loadtest-operator \
    -o 'jsonpath={.spec.replicas}' 2> /dev/null)
  [ -z "$replicas" ] || scale_operator 0 wait --for=delete pod -l app.kubernetes.io/name=loadtest-operator
  cargo test --locked -p loadtest-cli --test cluster_api --test pipelines -- --ignored || result=1
  [ -z "$replicas" ] || scale_operator "$replicas" rollout status deployment/loadtest-operator
  return $result
}
# scale_operator REPLICAS COMMAND...: and waits with a command of kubectl.
scale_operator() {
  local replicas=$1
  shift
  "$here/cluster/kubectl" -n loadtest-system scale deployment/loadtest-operator --replicas="$replicas" > /dev/null
  "$here/cluster/kubectl" -n loadtest-system "$@" --timeout=60s > /dev/null
}
# One at a time: two generators and two targets on two cores would make honest runs Invalid.
e2e_tests() { cargo test --locked -p loadtest-tests --test e2e --test takeover --test install -- --ignored --test-threads=1; }
# After them: it judges what they made the operator do.
rights_test() { cargo test --locked -p loadtest-tests --test rights -- --ignored; }
# A measurement, and no part of `make test`.
scale_tests() {
  LOADTEST_TEST_OPERATOR=$root/target/release/loadtest-operator \
    cargo test --locked -p loadtest-tests --test scale -- --ignored --nocapture --test-threads=1
}

# --- what to run -----------------------------------------------------------------------------------
default=(unit codec search api gate crash e2e)
layers=("$@")
[ $# -gt 0 ] || layers=("${default[@]}")
for layer in "${layers[@]}"; do
  case $layer in
  unit) stage "lints" lint; stage "unit, wire and local runs" unit_tests ;;
  codec) stage "HTTP servers" http_servers && stage "codec against real servers" codec_tests
    stop_servers ;;
  search) stage "search servers" search_servers && stage "search server tests" search_tests
    stop_servers ;;
  api) stage "cluster" cluster up && stage "API server tests" api_tests ;;
  crash) stage "release build" release && stage "cluster" cluster up && stage "crash anywhere" crash_tests ;;
  gate) stage "release build" release && stage "what one request costs" "$here/gate/run.sh" ;;
  report) stage "release build" release && stage "reports in a browser" "$here/report/run.sh" ;;
  containers) stage "release build" release && stage "images and compose" "$here/containers/run.sh" ;;
  e2e) stage "release build" release && stage "operator in the cluster" cluster operator &&
    { stage "end-to-end tests" e2e_tests && stage "rights of the operator" rights_test; } ;;
  scale) stage "release build" release && stage "cluster" cluster up && stage "scaling" scale_tests ;;
  *) echo "run.sh: no layer $layer: use unit, codec, search, api, crash, gate, report, containers, e2e or scale" >&2; exit 2 ;;
  esac
done

printf '\n'
printf '%s\n' "${rows[@]}"
if [ $failed = 0 ]; then
  echo "PASSED: ${#rows[@]} stages in $((SECONDS - begun)) s"
else
  echo "FAILED: $failed of ${#rows[@]} stages in $((SECONDS - begun)) s"
  exit 1
fi
