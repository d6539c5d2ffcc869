#!/usr/bin/env bash
# run.sh [--compile]: our images, built and run by a real Docker, and the load test of examples/compose with them.
#
# Needs root, Go and the release binaries; Debian's docker.io and debootstrap are installed when they are missing. The
# images are packed from target/release; with --compile they are compiled in a container, as a user's are, which takes
# many minutes. Everything that is started ends with this script.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=engine.sh
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"
# shellcheck source-path=SCRIPTDIR source=bases.sh
. "$here/bases.sh"
cd "$root"

images=(operator runner cli)
declare -A program=([operator]=loadtest-operator [runner]=loadtest-runner [cli]=loadtest)
version=$(awk -F'"' '/^\[/ { here = $0 } here == "[workspace.package]" && /^version *=/ { print $2 }' Cargo.toml)
max_mb=60 # an image beyond that carries something it should not
binaries=prebuilt
if [ "${1-}" = --compile ]; then binaries=compiled; fi

fail() { echo "FAILED: $*" >&2; exit 1; }
# equal WHAT FOUND WANTED
equal() { [ "$2" = "$3" ] || fail "$1: found \"$2\", wanted \"$3\""; }

cleanup() {
  local code=$?
  if [ $code != 0 ] && [ -n "${engine-}" ]; then
    docker ps --all --format '{{ .Names }}' | while read -r name; do
      echo "--- $name"; docker logs --tail 20 "$name" 2>&1 || true
    done
  fi >&2
  engine_stop
  exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM

tag() { echo "${program[$1]}:$version"; }

build() { # IMAGE OPTION...: quietly, unless it fails
  local image=$1
  shift
  docker build --target "$image" --tag "$(tag "$image")" --network host --build-arg BINARIES=$binaries \
    --build-arg VERSION="$version" "$@" . > "$cache/build.log" 2>&1 || { tail -40 "$cache/build.log" >&2; fail "build of $image"; }
}
inspect() { docker image inspect --format "$2" "$(tag "$1")"; }

# As a cluster with the strictest Pod Security runs them.
run() { # IMAGE ARGUMENT...
  local image=$1
  shift
  docker run --rm --network none --read-only --cap-drop ALL --security-opt no-new-privileges "$(tag "$image")" "$@" \
    2> "$cache/run.err" || { cat "$cache/run.err" >&2; fail "$image does not run"; } # else it warns of forwarding
}

images_are_as_they_should_be() {
  local image megabytes
  for image in "${images[@]}"; do
    equal "$image: user" "$(inspect "$image" '{{ .Config.User }}')" 65532:65532
    equal "$image: label" "$(inspect "$image" '{{ index .Config.Labels "org.opencontainers.image.version" }}')" "$version"
    megabytes=$(($(inspect "$image" '{{ .Size }}') / 1000000))
    [ $megabytes -le $max_mb ] || fail "$image has $megabytes MB, the limit is $max_mb MB"
    run "$image" --help > /dev/null
    # There is nothing in it but what Dockerfile names.
    docker create --name files --network none "$(tag "$image")" > /dev/null 2>&1 || fail "$image cannot be unpacked"
    docker export files | tar -t > "$cache/files"
    docker rm files > /dev/null
    ! grep -E '(^|/)(bash|sh|dash|busybox|apt|dpkg|perl)$' "$cache/files" || fail "$image has a shell or a package manager"
    say "$image: $megabytes MB, $(grep -vc '/$' "$cache/files") files"
  done
  equal "the command line's version" "$(run cli --version)" "loadtest $version"
}

# The same programs give the same layer, whenever and however often it is packed.
layers_are_reproducible() {
  local image before
  for image in "${images[@]}"; do
    before=$(inspect "$image" '{{ .RootFS.Layers }}')
    build "$image" --no-cache
    equal "$image: layer of a second build" "$(inspect "$image" '{{ .RootFS.Layers }}')" "$before"
  done
}

compose() { docker compose --project-directory examples/compose --file "examples/compose/$1" "${@:2}"; }

compose_files_are_understood() {
  local file
  for file in examples/compose/*.yaml; do
    compose "${file##*/}" --profile '*' config --quiet || fail "$file"
  done
}

# in_search PATH: an answer of the search server. asked RUN: requests of a run as the target counted them, which is asked
# from inside the network.
in_search() { curl --fail --silent --show-error "http://$search$1"; }
asked() {
  compose search.yaml exec -T elasticsearch curl --fail --silent --show-error http://target:8080/__stats |
    python3 -c 'import json, sys; print(sum(count for agent, count in json.load(sys.stdin)["by_user_agent"].items() if agent.endswith("run/" + sys.argv[1])))' "$1"
}
# of SUMMARY MEMBER...: a member of a run's status.
of() { python3 -c 'import functools, json, sys; print(functools.reduce(lambda value, name: value[name], sys.argv[2:], json.load(open(sys.argv[1]))))' "$@"; }

# counted_three_times SERVICE CODE: its last run, as its own answer, the search server and the target have it.
counted_three_times() {
  local service=$1 code=$2 folder summary id requests
  # On a busy machine a threshold may be breached (1) or the load not be sent (4): true answers, and not tested here.
  case $code in 0 | 1 | 4) ;; *) cat "$cache/$service.log" >&2; fail "$service ended with $code" ;; esac
  folder=$(mktemp -d "$engine/runs.XXXXXX")
  compose compose.yaml cp target:/work/loadtest-runs "$folder" > /dev/null 2>&1
  summary=$(find "$folder/loadtest-runs" -name summary.json -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
  id=$(of "$summary" run id)
  requests=$(of "$summary" summary requests)
  [ "$requests" -gt 0 ] || fail "$service made no request"
  in_search /loadtest-requests-*/_refresh > /dev/null
  equal "$service: documents in the search server" \
    "$(in_search "/loadtest-requests-*/_count?q=loadtest.run.id:$id" | sed 's/.*"count":\([0-9]*\).*/\1/')" "$requests"
  equal "$service: requests that the target counted" "$(asked "$id")" "$requests"
  say "$service: $(of "$summary" verdict), $requests requests = documents in the search server = counted by the target"
}

compose_runs_deliver() {
  local code=0
  elasticsearch_image "$(sed -n 's/^ *image: \(.*elasticsearch:.*\)/\1/p' examples/compose/search.yaml)"
  docker tag "$(tag cli)" loadtest
  export ELASTICSEARCH_PORT=0 # a free one
  compose search.yaml up --detach --wait elasticsearch > "$cache/search.log" 2>&1 || { cat "$cache/search.log" >&2; fail "the search server"; }
  search=$(compose search.yaml port elasticsearch 9200)
  search=127.0.0.1:${search##*:}
  compose compose.yaml up --no-build --detach standalone > "$cache/standalone.log" 2>&1 || { cat "$cache/standalone.log" >&2; fail "docker compose up"; }
  compose compose.yaml wait standalone >> "$cache/standalone.log" 2>&1 || code=$?
  counted_three_times standalone $code
  code=0
  compose compose.yaml run --rm --no-TTY several > "$cache/several.log" 2>&1 < /dev/null || code=$?
  counted_three_times several $code
}

# step NAME: runs it and says how long it took.
step() {
  local begun=$SECONDS
  "$1"
  say "${1//_/ }: $((SECONDS - begun)) s"
}
bases() {
  if [ $binaries = compiled ]; then compiler "$(rust_image)"; else stand_in "$(rust_image)"; fi
}
build_images() { for image in "${images[@]}"; do build "$image"; done; }

for name in "${program[@]}"; do
  [ -x "target/release/$name" ] || die "no target/release/$name: run make build"
done
step engine_start
engine_sweep
step bases
step build_images
step images_are_as_they_should_be
step layers_are_reproducible
step compose_files_are_understood
step compose_runs_deliver
