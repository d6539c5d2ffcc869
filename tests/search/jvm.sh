# shellcheck shell=bash disable=SC2034 # the arrays are used where this is sourced
# Sourced by build.sh and start.sh: the folders, the JDK, and the JVM's command line.

search=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${LOADTEST_SEARCH_CACHE:-$search/../../target/search}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

fail() {
    echo "tests/search: $*" >&2
    exit 1
}

jdk_major() { # DIR -> 25, or nothing when it is no JDK
    [ -x "$1/bin/javac" ] && sed -n 's/^JAVA_VERSION="\([0-9]*\).*/\1/p' "$1/release" 2>/dev/null
}

# Both servers are built for Java 21. JAVA_HOME wins when it is new enough, else the newest JDK of the system.
find_jdk() {
    local dir major best=20
    jdk=
    for dir in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*; do
        major=$(jdk_major "$dir" || true)
        if [ "${major:-0}" -gt "$best" ]; then
            jdk=$dir best=$major
            [ "$dir" = "${JAVA_HOME:-}" ] && return
        fi
    done
    [ -n "$jdk" ] || fail "no JDK 21 or newer in JAVA_HOME or /usr/lib/jvm: install one" \
        "(apt-get install openjdk-21-jdk-headless, or Temurin from adoptium.net) or set JAVA_HOME"
}

# The array jvm = everything up to the launcher's own arguments. Heaps: see README.md, "Numbers".
jvm_command() { # NAME
    local out=$cache/$1 heap main
    case $1 in
    opensearch) heap=256m main=loadtest.search.OpenSearchServer ;;
    opensearch-security) heap=384m main=loadtest.search.SecureOpenSearchServer ;;
    elasticsearch) heap=384m main=loadtest.search.ElasticsearchServer ;;
    elasticsearch-security) heap=384m main=loadtest.search.SecureElasticsearchServer ;;
    *) fail "no server is called '$1' (opensearch, opensearch-security, elasticsearch, elasticsearch-security)" ;;
    esac
    jvm=(
        "$jdk/bin/java" "-Xmx${SEARCH_HEAP:-$heap}" -XX:+ExitOnOutOfMemoryError
        # Short lives on few cores: no parallel collector, no second compiler.
        -XX:+UseSerialGC -XX:TieredStopAtLevel=1
        # stdout is for READY, /tmp and the working directory for nothing.
        -Xlog:disable -Xlog:all=warning:stderr -XX:-UsePerfData "-XX:ErrorFile=$cache/hs_err_%p.log"
        # log4j would stop logging before the node has closed.
        -Dlog4j.shutdownHookEnabled=false -Dlog4j2.disable.jmx=true
    )
    case $1 in elasticsearch*)
        # best_compression is zstd from a native library. libvec is not on Maven Central, and a missing
        # library switches all native access off, zstd too, unless it is named as unwanted.
        jvm+=("-Des.nativelibs.path=$out/native" -Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false)
        ;;
    esac
    local jars="$out/lib/*"
    [[ $1 != *-security ]] || jvm+=("-Dloadtest.tls=$cache/tls")
    if [ "$1" = opensearch-security ]; then
        jvm+=("-Dloadtest.plugin=$out/plugin")
        jars="$out/plugin/*:$jars"
    fi
    jvm_main=(-cp "$out/launcher.jar:$jars" "$main")
}
