#!/usr/bin/env python3
"""Packs files into a one-layer OCI image, as a tar that `ctr images import` and `docker load` take.

The image holds what it is told and no distribution: no shell, no package manager. The same input
gives the same bytes (no times, no owners), so an unchanged image is recognised by its digest.
"""
import argparse
import hashlib
import io
import json
import os
import platform
import re
import subprocess
import sys
import tarfile

NONROOT = 65532  # the id that "distroless" images made customary
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"  # where rustls-native-certs, OpenSSL and Go look
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MEDIA = "application/vnd.oci.image."

BASE_FILES = {
    "/etc/passwd": f"root:x:0:0:root:/:/none\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/:/none\n",
    "/etc/group": f"root:x:0:\nnonroot:x:{NONROOT}:\n",
    # Without it glibc asks DNS before /etc/hosts, and a pod's own name and hostAliases get lost.
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def parse_args():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("name", help="full image name with a tag other than latest")
    p.add_argument("out", help="tar to write")
    p.add_argument("--file", action="append", default=[], metavar="SRC:/DEST[:MODE]", help="pack one file (mode 755)")
    p.add_argument("--binary", action="append", default=[], metavar="SRC:/DEST",
                   help="pack a program with the shared objects and the loader it needs")
    p.add_argument("--ca-bundle", nargs="?", const=CA_BUNDLE, metavar="SRC",
                   help=f"pack a bundle of CA certificates as {CA_BUNDLE} (default: this machine's)")
    p.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    p.add_argument("--user", default=f"{NONROOT}:{NONROOT}")
    p.add_argument("--entry", nargs=argparse.REMAINDER, required=True, help="program and arguments; last option")
    return p.parse_args()


def shared_objects(binary):
    """Paths of the shared objects and the loader of `binary`; none for a static one."""
    run = subprocess.run(["ldd", binary], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if run.returncode != 0:
        if "not a dynamic executable" in run.stderr + run.stdout:
            return []
        sys.exit(f"mkimage: ldd {binary}: {run.stderr.strip()}")
    if missing := re.findall(r"(\S+) => not found", run.stdout):
        sys.exit(f"mkimage: {binary} needs {', '.join(missing)}, which this machine has not")
    # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)" or "/lib64/ld-linux-x86-64.so.2 (0x…)"
    return sorted(set(re.findall(r"^\s*(?:\S+ => )?(/\S+) \(0x", run.stdout, re.M)))


def collect(args):
    """{destination: (bytes, mode)} of everything that goes into the layer."""
    files = {path: (text.encode(), 0o644) for path, text in BASE_FILES.items()}

    def pack(source, destination, mode):
        with open(source, "rb") as f:
            files[destination] = (f.read(), mode)

    for spec in args.file:
        source, destination, *mode = spec.split(":")
        pack(source, destination, int(mode[0], 8) if mode else 0o755)
    for spec in args.binary:
        source, destination = spec.split(":")
        pack(source, destination, 0o755)
        for path in shared_objects(source):
            pack(path, path, 0o755)
    if args.ca_bundle:
        if not os.path.exists(args.ca_bundle):
            sys.exit(f"mkimage: no {args.ca_bundle}: apt-get install ca-certificates")
        pack(args.ca_bundle, CA_BUNDLE, 0o644)
    return files


def add(tar, name, data, mode=0o644):
    """Adds a file, or a directory if `data` is None, without times and owners."""
    info = tarfile.TarInfo(name)
    info.mode = mode
    if data is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    else:
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def layer(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "tmp", None, 0o1777)
        made = {"tmp"}
        for path, (data, mode) in sorted(files.items()):
            parts = path.strip("/").split("/")
            for depth in range(1, len(parts)):
                if (parent := "/".join(parts[:depth])) not in made:
                    add(tar, parent, None, 0o755)
                    made.add(parent)
            add(tar, "/".join(parts), data, mode)
    return out.getvalue()


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def as_json(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def descriptor(kind, blob, **more):
    return {"mediaType": MEDIA + kind, "digest": digest(blob), "size": len(blob), **more}


def main():
    args = parse_args()
    arch = ARCHITECTURES[platform.machine()]
    files = layer(collect(args))
    config = as_json({
        "architecture": arch, "os": "linux",
        "config": {"Entrypoint": args.entry, "User": args.user, "WorkingDir": "/",
                   "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *args.env]},
        "rootfs": {"type": "layers", "diff_ids": [digest(files)]},
        "history": [{"created_by": "mkimage.py"}],
    })
    manifest = as_json({
        "schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
        "config": descriptor("config.v1+json", config), "layers": [descriptor("layer.v1.tar", files)],
    })
    index = as_json({"schemaVersion": 2, "manifests": [descriptor(
        "manifest.v1+json", manifest, platform={"architecture": arch, "os": "linux"},
        # containerd takes the image's name from here; there is no registry to give it one.
        annotations={"io.containerd.image.name": args.name,
                     "org.opencontainers.image.ref.name": args.name.rsplit(":", 1)[-1]})]})
    with tarfile.open(args.out + ".tmp", "w", format=tarfile.USTAR_FORMAT) as tar:
        add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add(tar, "index.json", index)
        for blob in (config, manifest, files):
            add(tar, "blobs/sha256/" + digest(blob).removeprefix("sha256:"), blob)
    os.replace(args.out + ".tmp", args.out)
    print(f"{args.name} {digest(manifest)[:19]} {os.path.getsize(args.out) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
