#!/usr/bin/env bash
# selfcheck.sh [--load N] [NAME ...]: proves that the servers do what the tests rely on.
#
# For each NAME (default: all four) it starts the server, makes a data stream through a composable template,
# sends one gzip bulk of creates twice (201, then 409), counts, asks for an HDR percentile, ends the server,
# and looks that nothing is left. With --load it sends N more documents, four gzip bulks of 2000 at a time:
# is the heap big enough? One line per server: start time and memory. Any surprise: exit 1 with the answer
# that surprised.
set -Eeuo pipefail
trap 'echo "selfcheck: line $LINENO failed" >&2' ERR

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LOADTEST_SEARCH_CACHE:-$here/../../target/search}
docs=500
load=0
bulk_of_load=2000
stream=loadtest-requests-selfcheck
work=$(mktemp -d "${TMPDIR:-/tmp}/loadtest-selfcheck.XXXXXX")
server_pid=

cleanup() {
    if [ -n "$server_pid" ]; then
        kill "$server_pid" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT

fail() {
    echo "selfcheck: $name: $*" >&2
    echo "--- last lines of its log" >&2
    tail -n 20 "$work/log" >&2 || true
    exit 1
}

main() {
    if [ "${1:-}" = --load ]; then
        load=$2
        shift 2
    fi
    [ $# -gt 0 ] || set -- opensearch opensearch-security elasticsearch elasticsearch-security
    "$here/build.sh" "$@"
    write_bulk run-0 1 $docs >"$work/bulk.gz"
    local first name
    for ((first = 1; first <= load; first += bulk_of_load)); do
        write_bulk run-1 "$first" $((first + bulk_of_load - 1 < load ? first + bulk_of_load - 1 : load)) \
            >"$work/load-$first.gz"
    done
    for name; do
        check "$name"
    done
}

# Document i took i milliseconds; its id is a function of i, so the second sending must meet the first.
write_bulk() { # ID_PREFIX FIRST LAST
    awk -v run="$1" -v first="$2" -v last="$3" 'BEGIN {
        for (i = first; i <= last; i++) {
            printf "{\"create\":{\"_id\":\"%s-%08d\"}}\n", run, i
            printf "{\"@timestamp\":\"2026-01-01T00:00:00.%03dZ\",\"loadtest\":{\"run\":\"%s\",\"us\":%d}}\n", i % 1000, run, i * 1000
        }
    }' | gzip -1
}

check() { # NAME
    local started ready rss url took peak loaded=
    started=${EPOCHREALTIME/./}
    # A coprocess is what a test harness is: it holds both ends and reads READY from stdout.
    coproc SERVER { exec "$here/start.sh" "$name" --die-with-parent 2>"$work/log"; }
    server_pid=$SERVER_PID
    local out=${SERVER[0]} in=${SERVER[1]}
    read -r -t 180 ready <&"$out" || fail "no READY within 180 s"
    took=$(((${EPOCHREALTIME/./} - started) / 100000))
    url=${ready#READY }
    rss=$(rss_of VmRSS)

    curl=(curl -sS --max-time 60)
    json=(-H "content-type: application/json")
    [[ $name != *-security ]] || refuses_strangers
    case $name in
    opensearch-security) curl+=(-u admin:loadtest-secret) ;;
    elasticsearch-security) use_api_key ;;
    esac
    install_template
    expect "first bulk" 201
    expect "second bulk" 409
    count_and_percentile
    [ "$load" = 0 ] || under_load
    peak=$(rss_of VmHWM)

    # One by signal, the others by losing their parent: both ways must end them.
    if [ "$name" = opensearch ]; then
        kill "$server_pid"
    else
        eval "exec $in>&-"
    fi
    ended
    printf '%-22s start %d.%d s, RSS %d MB at READY, %d MB at most%s\n' \
        "$name" $((took / 10)) $((took % 10)) "$rss" "$peak" "$loaded"
}

rss_of() { # FIELD
    awk -v field="$1:" '$1 == field { print int($2 / 1024) }' "/proc/$server_pid/status"
}

# Nobody 401, the wrong password 401.
refuses_strangers() {
    curl+=(--cacert "$cache/tls/ca.crt")
    [ "$("${curl[@]}" -o /dev/null -w '%{http_code}' "$url/")" = 401 ] || fail "answers without credentials"
    [ "$("${curl[@]}" -u admin:wrong -o /dev/null -w '%{http_code}' "$url/")" = 401 ] || fail "takes a wrong password"
}

# A key that may little more than create documents.
use_api_key() {
    local role='{"loadtest":{"cluster":["monitor","manage_index_templates"],"index":[{"names":["loadtest-*"],"privileges":["create_doc","auto_configure","read","maintenance"]}]}}'
    local answer
    answer=$("${curl[@]}" -u admin:loadtest-secret "$url/_security/api_key?filter_path=encoded" "${json[@]}" \
        -d "{\"name\":\"selfcheck\",\"role_descriptors\":$role}")
    [[ $answer =~ \"encoded\":\"([^\"]+)\" ]] || fail "no API key: $answer"
    curl+=(-H "authorization: ApiKey ${BASH_REMATCH[1]}")
}

install_template() {
    local answer
    answer=$("${curl[@]}" -X PUT "$url/_index_template/loadtest-requests" "${json[@]}" -d '{
        "index_patterns": ["loadtest-requests-*"], "data_stream": {}, "priority": 500,
        "template": {
            "settings": {"number_of_shards": 1, "number_of_replicas": 0, "codec": "best_compression"},
            "mappings": {"dynamic": "strict", "properties": {
                "@timestamp": {"type": "date"},
                "loadtest": {"properties": {"run": {"type": "keyword"}, "us": {"type": "long"}}}}}}}')
    [ "$answer" = '{"acknowledged":true}' ] || fail "template: $answer"
}

expect() { # TITLE STATUS: every item of the bulk has it
    local answer statuses
    answer=$("${curl[@]}" -H "content-type: application/x-ndjson" -H "content-encoding: gzip" \
        --data-binary @"$work/bulk.gz" "$url/$stream/_bulk?filter_path=items.*.status,items.*.error.type,error")
    statuses=$(grep -o "\"status\":$2\b" <<<"$answer" | wc -l || true)
    [ "$statuses" = "$docs" ] || fail "$1: $statuses items of $docs are $2: ${answer:0:500}"
}

count_and_percentile() {
    local answer
    "${curl[@]}" -o /dev/null -X POST "$url/$stream/_refresh"
    answer=$("${curl[@]}" "$url/$stream/_count?filter_path=count")
    [ "$answer" = "{\"count\":$docs}" ] || fail "count: $answer"
    answer=$("${curl[@]}" "$url/$stream/_search?filter_path=aggregations" "${json[@]}" -d '{"size": 0, "aggs": {"us": {"percentiles":
        {"field": "loadtest.us", "percents": [99], "hdr": {"number_of_significant_value_digits": 3}}}}}')
    # 99 % of 1..500 ms is 495 ms; three significant digits may round it up by a thousandth.
    [[ $answer =~ \"99.0\":(495[0-9]{3})\. ]] || fail "p99: $answer"
}

under_load() {
    local began=${EPOCHREALTIME/./} answers answer
    answers=$(printf '%s\n' "$work"/load-*.gz | xargs -P 4 -I FILE \
        "${curl[@]}" -H "content-type: application/x-ndjson" -H "content-encoding: gzip" \
        --data-binary @FILE -w '\n' "$url/$stream/_bulk?filter_path=errors")
    loaded=", $((load * 1000 / ((${EPOCHREALTIME/./} - began) / 1000))) docs/s"
    answer=$(grep -v '^{"errors":false}$' <<<"$answers" || true)
    [ -z "$answer" ] || fail "load: ${answer:0:500}"
    "${curl[@]}" -o /dev/null -X POST "$url/$stream/_refresh"
    answer=$("${curl[@]}" "$url/$stream/_count?filter_path=count")
    [ "$answer" = "{\"count\":$((docs + load))}" ] || fail "count after the load: $answer"
}

ended() {
    local status=0 deadline=$((SECONDS + 30))
    while kill -0 "$server_pid" 2>/dev/null; do
        [ $SECONDS -lt $deadline ] || fail "still runs 30 s after it was told to end"
        sleep 0.1
    done
    wait "$server_pid" 2>/dev/null || status=$?
    [ $status = 0 ] || [ $status = 143 ] || fail "ended with $status"
    local left
    left=$(compgen -G "${TMPDIR:-/tmp}/loadtest-search.$server_pid.*" || true)
    [ -z "$left" ] || fail "left behind: $left"
    server_pid=
}

main "$@"
