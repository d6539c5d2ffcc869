#!/usr/bin/env bash
# build.sh [opensearch|opensearch-security|elasticsearch|elasticsearch-security ...]: fetches the servers' jars from Maven Central
# and compiles the launchers into target/search/NAME. Does nothing for a NAME whose inputs have not changed.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/jvm.sh"

# Pinned: the version a Maven brings by itself differs between distributions.
copy_dependencies=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies

main() {
    [ $# -gt 0 ] || set -- opensearch elasticsearch
    find_jdk
    exec 9>"$cache/lock" # two test binaries may ask for the same server at once
    flock 9
    local name
    for name; do
        build "$name"
    done
}

build() { # NAME
    local name=$1 out=$cache/$1 stamp
    inputs_of "$name"
    jvm_command "$name"
    [[ $name != *-security ]] || "$search/tls.sh" "$cache/tls"
    stamp=$(fingerprint)
    [ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ] || return 0

    rm -rf "$out"
    mkdir -p "$out"
    step "$name: jars from Maven Central" fetch_jars
    [ "$name" != opensearch-security ] || step "$name: plugin" unpack_plugin
    [[ $name != elasticsearch* ]] || copy_zstd
    step "$name: launcher" compile
    step "$name: class archive" archive_classes
    echo "$stamp" >"$out/stamp"
}

# poms = the last is the one to resolve; sources = every folder whose Java files belong to the server.
inputs_of() { # NAME
    poms=("$search/elasticsearch/pom.xml")
    sources=("$search/common/src" "$search/elasticsearch/src")
    case $1 in
    opensearch)
        poms=("$search/opensearch/pom.xml")
        sources=("$search/common/src" "$search/opensearch/src")
        ;;
    opensearch-security)
        poms=("$search/opensearch-security/pom.xml")
        sources=("$search/common/src" "$search/opensearch/src" "$search/opensearch-security/src")
        ;;
    elasticsearch-security)
        poms+=("$search/elasticsearch-security/pom.xml")
        sources+=("$search/elasticsearch-security/src")
        ;;
    esac
}

# The JDK is an input too: a class archive fits only the JDK that wrote it.
fingerprint() {
    { find "${sources[@]}" -type f | sort; ls "${poms[@]}" "$search"/{build,jvm}.sh "$search/common/log4j2.properties"; } |
        { xargs -d '\n' cat; cat "$jdk/release"; echo "$jdk"; } | sha256sum | cut -d' ' -f1
}

step() { # TITLE COMMAND...
    local title=$1 begin=${EPOCHREALTIME/./} took
    shift
    echo "tests/search: $title ..." >&2
    "$@"
    took=$((${EPOCHREALTIME/./} - begin))
    printf 'tests/search: %s: %d.%d s\n' "$title" $((took / 1000000)) $((took / 100000 % 10)) >&2
}

fetch_jars() {
    command -v mvn >/dev/null || install_maven
    JAVA_HOME=$jdk mvn -q -B -Dstyle.color=never -f "${poms[-1]}" "$copy_dependencies" \
        "-DoutputDirectory=$out/lib" -DincludeScope=runtime </dev/null >"$out/mvn.log" 2>&1 || {
        cat "$out/mvn.log" >&2
        fail "Maven could not fetch the jars of $name (is Maven Central, or a mirror of it in settings.xml, reachable?)"
    }
}

# Apart from the server's jars: where both bring a library, the plugin's version goes first.
unpack_plugin() {
    mkdir "$out/plugin"
    (cd "$out/plugin" && "$jdk/bin/jar" --extract --file "$out"/lib/opensearch-security-*.zip)
    rm "$out"/lib/opensearch-security-*.zip
}

install_maven() {
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || fail "mvn is missing: install Maven (apt-get install maven)"
    step "apt-get install maven" apt-get install -qq -y --no-install-recommends maven >/dev/null </dev/null
}

# Elasticsearch opens "libzstd.so" in a folder of ours; the system has it as libzstd.so.1.
copy_zstd() {
    local library
    for library in /usr/lib/*-linux-gnu/libzstd.so.1 /usr/lib64/libzstd.so.1 /usr/lib/libzstd.so.1; do
        [ -e "$library" ] || continue
        mkdir -p "$out/native"
        cp -L "$library" "$out/native/libzstd.so"
        return
    done
    fail "libzstd.so.1 is missing: install it (apt-get install libzstd1)"
}

compile() {
    find "${sources[@]}" -name '*.java' -print0 |
        xargs -0 "$jdk/bin/javac" --release 21 -nowarn -cp "$out/plugin/*:$out/lib/*" -d "$out/classes"
    cp "$search/common/log4j2.properties" "$out/classes/"
    # A jar, because a class archive does not take folders.
    "$jdk/bin/jar" --create --file "$out/launcher.jar" -C "$out/classes" .
}

# One start and end with recording on: the JVM maps the classes afterwards instead of parsing 10 000 of them,
# which halves the start.
archive_classes() {
    local scratch=$cache/archive-run
    "${jvm[@]}" "-XX:ArchiveClassesAtExit=$out/classes.jsa" "${jvm_main[@]}" \
        --scratch "$scratch" --exit-when-ready </dev/null >"$out/archive.log" 2>&1 || {
        cat "$out/archive.log" >&2
        fail "$name does not start"
    }
}

main "$@"
