# The images, from scratch: one program each, its CA certificates, and no shell.
#
#   docker build --target operator -t loadtest-operator .
#   docker build --target runner   -t loadtest-runner .
#   docker build --target cli      -t loadtest .            # also the default
#   docker build --target binaries --output type=local,dest=out .    # the static programs themselves
#
# They are compiled here, statically, so that they need no library of a distribution. With
# `--build-arg BINARIES=prebuilt` those of target/release are packed instead, with the libraries that they need.
ARG RUST=1.95
ARG BINARIES=compiled

FROM rust:${RUST}-slim-bookworm AS base

FROM base AS compiled
WORKDIR /src
COPY . .
# An explicit target keeps the flag away from build scripts and procedural macros, which are loaded by the compiler.
# Cargo tells by times what is stale, and sources may be older than what an earlier build left in the cache: touched,
# ours are always compiled, and dependencies only once.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    find . -path ./target -prune -o -type f -exec touch {} + && \
    host=$(rustc --print host-tuple) && \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bins --target "$host" \
      -p loadtest-operator -p loadtest-runner -p loadtest-cli && \
    mkdir /binaries && \
    cp "target/$host/release/loadtest-operator" "target/$host/release/loadtest-runner" "target/$host/release/loadtest" /binaries/

FROM scratch AS prebuilt
COPY target/release/loadtest-operator target/release/loadtest-runner target/release/loadtest /binaries/

FROM ${BINARIES} AS chosen

FROM scratch AS binaries
COPY --from=chosen /binaries/ /

# One folder for each image, without times and other traces of this build: the same programs give the same layer.
FROM base AS folders
COPY --from=chosen /binaries/ /binaries/
RUN set -eu; \
    for program in loadtest-operator loadtest-runner loadtest; do \
      root=/folders/$program; \
      install -D "/binaries/$program" "$root/usr/local/bin/$program"; \
      install -d "$root/etc/ssl/certs"; \
      install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"; \
      printf 'root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/work:/none\n' > "$root/etc/passwd"; \
      printf 'root:x:0:\nnonroot:x:65532:\n' > "$root/etc/group"; \
      # Without it glibc asks DNS before /etc/hosts, and a pod's own name and hostAliases get lost.
      printf 'passwd: files\ngroup: files\nhosts: files dns\n' > "$root/etc/nsswitch.conf"; \
      install -d -m 1777 "$root/tmp"; \
      install -d -o 65532 -g 65532 "$root/work"; \
      # What a dynamic program is linked with: "libc.so.6 => /lib/… (0x…)" and the loader, "/lib64/ld-linux… (0x…)".
      if readelf --dynamic "/binaries/$program" | grep -q '(NEEDED)'; then \
        ldd "/binaries/$program" > /libraries; \
        sed -nE 's/^\s*(\S+ => )?(\/\S+) \(0x.*/\2/p' /libraries | xargs cp -L --parents -t "$root"; \
      fi; \
    done; \
    find /folders -exec touch --no-dereference --date=@0 {} +

FROM scratch AS image
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=https://github.com/loadtest-dev/loadtest-operator
LABEL org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION} \
      org.opencontainers.image.source=${SOURCE} \
      org.opencontainers.image.licenses=Apache-2.0
ENV PATH=/usr/local/bin
USER 65532:65532

FROM image AS operator
LABEL org.opencontainers.image.title=loadtest-operator
COPY --from=folders /folders/loadtest-operator/ /
ENTRYPOINT ["/usr/local/bin/loadtest-operator"]

FROM image AS runner
LABEL org.opencontainers.image.title=loadtest-runner
COPY --from=folders /folders/loadtest-runner/ /
ENTRYPOINT ["/usr/local/bin/loadtest-runner"]

FROM image AS cli
LABEL org.opencontainers.image.title=loadtest
COPY --from=folders /folders/loadtest/ /
WORKDIR /work
ENTRYPOINT ["/usr/local/bin/loadtest"]
