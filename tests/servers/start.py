#!/usr/bin/env python3
"""Starts the HTTP servers that the codec is tested against, on loopback ports that are free.

stdout: the one line "READY go-httpbin=127.0.0.1:PORT nginx=... node=... python-1.0=... python-1.1=..."
once all take requests. SIGTERM, SIGINT or a server's end ends all of them. `build.sh` is run first.
"""

import ctypes
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parent.parent / "target" / "servers"
children = {}


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: also when this is killed hard


def start(name, scratch, *command, **options):
    """Starts a server. What it says goes to a file; where it listens it says in "PORT n" lines."""
    log = open(scratch / f"{name}.log", "w+")
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent, **options
    )
    children[name] = child
    return child, log


def fail(name, log):
    log.seek(0)
    sys.exit(f"servers: {name} did not start:\n{log.read()[-2000:]}")


def ports(name, child, log, count):
    """The ports that a server of ours says it listens on."""
    for _ in range(300):
        log.seek(0)
        said = [line.split()[1] for line in log if line.startswith("PORT ") and line.endswith("\n")]
        if len(said) == count:
            return said
        if child.poll() is not None:
            break
        time.sleep(0.05)
    fail(name, log)


def listening(child, port):
    for _ in range(300):
        if child.poll() is not None:
            return False
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except ConnectionRefusedError:
            time.sleep(0.05)
    return False


def start_httpbin(scratch):
    """It cannot say which port it was given, so it is given one that was free a moment ago."""
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        command = [BIN / "go-httpbin", "-host", "127.0.0.1", "-port", str(port), "-log-level", "OFF"]
        child, log = start("go-httpbin", scratch, *command)
        if listening(child, port):
            return port
        child.kill()
        child.wait()
    fail("go-httpbin", log)


def start_nginx(scratch):
    """It inherits its socket, as it would from the nginx that it replaces."""
    root = scratch / "root"
    root.mkdir()
    content = bytes(i * 31 + (i >> 8) & 0xFF for i in range(300_000))
    for size in (0, 1, 1_000, 300_000):
        (root / f"{size}.bin").write_bytes(content[:size])
    (root / "page.html").write_text("<p>hello</p>\n" * 500)
    (root / "included.shtml").write_text('a<!--#include file="1.bin" -->b' * 50)
    (root / "folder").mkdir()
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.set_inheritable(True)
    port = listener.getsockname()[1]
    text = (HERE / "nginx.conf").read_text()
    conf = scratch / "nginx.conf"
    conf.write_text(text.replace("@PORT@", str(port)).replace("@SCRATCH@", str(scratch)))
    child, log = start(
        "nginx", scratch, BIN / "nginx-here", "-p", scratch, "-c", conf, "-e", "stderr",
        pass_fds=[listener.fileno()], env={"NGINX": f"{listener.fileno()};"},
    )  # fmt: skip
    for _ in range(100):
        if (scratch / "nginx.pid").exists() or child.poll() is not None:
            break
        time.sleep(0.05)
    if child.poll() is not None or not listening(child, port):
        fail("nginx", log)
    return port


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    subprocess.run([HERE / "build.sh"], check=True, stdout=sys.stderr)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="loadtest-servers."))
    scratch.chmod(0o755)  # nginx, started by root, serves files as nobody
    try:
        node = ports("node", *start("node", scratch, "node", HERE / "node.mjs"), 1)
        python = ports("python", *start("python", scratch, sys.executable, HERE / "web.py"), 2)
        found = {
            "go-httpbin": start_httpbin(scratch),
            "nginx": start_nginx(scratch),
            "node": node[0],
            "python-1.0": python[0],
            "python-1.1": python[1],
        }
        print("READY", *(f"{name}=127.0.0.1:{port}" for name, port in found.items()), flush=True)
        while True:
            time.sleep(0.2)
            for name, child in children.items():
                if child.poll() is not None:
                    sys.exit(f"servers: {name} ended with {child.returncode}")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would leave servers behind
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for child in children.values():
            child.terminate()
        for child in children.values():
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(scratch, ignore_errors=True)


try:
    main()
except subprocess.CalledProcessError:
    sys.exit(1)  # build.sh has said why
