# shellcheck shell=bash disable=SC2154 # root, here, cache and engine are of engine.sh
# Sourced after engine.sh: stand-ins for the images of others that a test cannot count on, under their own names, so
# that no Dockerfile and no compose file is changed for a test.

# The Debian of this machine, so that programs that were built here find the libraries that they know.
debian_rootfs() {
  local folder=$cache/debian codename
  [ -e "$folder/complete" ] && return
  codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
  need_packages debootstrap=debootstrap
  say "a Debian $codename for the stand-ins"
  rm -rf "$folder"
  debootstrap --variant=minbase --include=ca-certificates,curl,binutils "$codename" "$folder/root" \
    > "$cache/debootstrap.log" 2>&1 || die "debootstrap failed: see $cache/debootstrap.log"
  rm -rf "$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/*
  # Where a proxy looks into TLS, the machine has its certificate, and a compiler's container needs it too.
  cp -L /etc/ssl/certs/ca-certificates.crt "$folder/root/etc/ssl/certs/"
  touch "$folder/complete"
}

# stand_in IMAGE: the Debian under that name, unless there is one already.
stand_in() {
  docker image inspect "$1" > /dev/null 2>&1 && return
  debian_rootfs
  tar -C "$cache/debian/root" -c . | docker import - "$1" > /dev/null
}

# compiler IMAGE: the Debian with this machine's Rust, as Rust's own image has it.
compiler() {
  local context=$engine/compiler sysroot
  docker image inspect "$1" --format '{{ json .Config.Env }}' 2> /dev/null | grep -q CARGO_HOME && return
  debian_rootfs
  stand_in loadtest-tests/debian
  sysroot=$(rustc --print sysroot)
  say "a stand-in for $1"
  mkdir -p "$context/rust"
  cp -a "$sysroot/bin" "$sysroot/lib" "$context/rust/"
  cat > "$context/Dockerfile" << 'END'
FROM loadtest-tests/debian
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
COPY rust /usr/local/rust
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin
END
  docker build --network host --tag "$1" "$context" > "$cache/build.log" 2>&1 ||
    { tail -20 "$cache/build.log" >&2; die "could not build the stand-in for $1"; }
  rm -rf "$context"
}

# The image that Dockerfile names as its base.
rust_image() { sed -n "s/^FROM \(rust:.*\) AS base$/\1/p" "$root/Dockerfile" | sed "s/\${RUST}/$(sed -n 's/^ARG RUST=//p' "$root/Dockerfile")/"; }

# elasticsearch_image IMAGE: the real Elasticsearch of tests/search, as a container that takes the same settings.
elasticsearch_image() {
  local image=$1 server=$root/target/search/elasticsearch stamp context jdk
  "$root/tests/search/build.sh" elasticsearch
  stamp=$(cat "$server/stamp" "$here/elasticsearch"/* | sha256sum | cut -c1-16)
  [ "$(docker image inspect --format '{{ index .Config.Labels "stamp" }}' "$image" 2> /dev/null)" = "$stamp" ] && return
  say "a stand-in for $image"
  debian_rootfs
  stand_in loadtest-tests/debian
  context=$engine/elasticsearch
  mkdir -p "$context"
  cp "$here"/elasticsearch/* "$context/"
  # shellcheck disable=SC2016 # expanded by that shell
  jdk=$(bash -c '. "$1" && find_jdk && echo "$jdk"' _ "$root/tests/search/jvm.sh")
  mkdir "$context/jdk"
  tar -C "$jdk" --dereference --exclude=jmods --exclude=src.zip -c . | tar -C "$context/jdk" -x
  cp -a "$server/lib" "$server/launcher.jar" "$server/native" "$context/"
  docker build --network none --label "stamp=$stamp" --tag "$image" "$context" > "$cache/build.log" 2>&1 ||
    { tail -20 "$cache/build.log" >&2; die "could not build the stand-in for $image"; }
  rm -rf "$context"
}
