#!/usr/bin/env bash
# start.sh NAME [--port N] [--data DIR] [--die-with-parent] [-- SETTING=VALUE ...]
#
# Runs a real search server in the foreground on 127.0.0.1. NAME: opensearch, opensearch-security,
# elasticsearch or elasticsearch-security. stdout: the one line "READY http(s)://127.0.0.1:PORT" once it takes requests;
# stderr: logs. SIGTERM ends it.
#
#   --port N           HTTP port; default 0, a free one
#   --data DIR         keep the data there; default: a temporary directory, removed at the end
#   --die-with-parent  end at the end of stdin: give it a pipe and keep the other end open
#   -- k=v ...         node settings, e.g. http.max_content_length=1mb
#
# Environment: SEARCH_HEAP (e.g. 512m), LOADTEST_SEARCH_CACHE, JAVA_HOME.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/jvm.sh"

usage() {
    sed -n '2,/^set/{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
    exit 2
}

[ $# -gt 0 ] || usage
name=$1
shift
arguments=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
    --port | --data)
        [ $# -gt 1 ] || usage
        arguments+=("$1" "$2")
        shift 2
        ;;
    --die-with-parent)
        arguments+=("$1")
        shift
        ;;
    *) usage ;;
    esac
done

find_jdk
jvm_command "$name"
"$search/build.sh" "$name" </dev/null >&2

# The number in the name is this process, which becomes the JVM. The JVM removes its directory itself;
# directories of processes that are gone are what SIGKILL left.
temporary=${TMPDIR:-/tmp}
for old in "$temporary"/loadtest-search.*; do
    pid=${old##*/loadtest-search.}
    [ -e "$old" ] && [ ! -e "/proc/${pid%%.*}" ] && rm -rf "$old"
done
scratch=$(mktemp -d "$temporary/loadtest-search.$$.XXXXXX")
mkdir "$scratch/tmp"

exec "${jvm[@]}" "-Djava.io.tmpdir=$scratch/tmp" "-XX:SharedArchiveFile=$cache/$name/classes.jsa" \
    "${jvm_main[@]}" --scratch "$scratch" "${arguments[@]}" "$@"
