"""The images of the table, unpacked once for all nodes of this machine.

A containerd without CRI imports them into a folder of this user's cache. Contents and unpacked layers never change in
place, so a new node takes them by hard links, and copies containerd's databases. Where the cache is on another file
system, and in a node whose containerd has run before, images are imported one by one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from toolchain.node import image_store as store
from toolchain.node import image_table as table
from toolchain.node import layout, processes
from toolchain.node.errors import NodeError
from toolchain.node.layout import Node
from toolchain.node.progress import Progress
from toolchain.programs import cache

# Beside the layers: one of each for metadata and for snapshots.
_DATABASES = "io.containerd.*/*.db"
_CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]

[grpc]
address = "{folder}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/root/opt"
"""


def prepare(progress: Progress) -> None:
    """Unpack the images of the table, unless that is done or a program is missing. Those of other versions are removed.

    Raises NodeError when containerd does not do it.
    """
    wanted, root = unpacked(), _root()
    if wanted is None or os.geteuid() != 0:  # only root has nodes
        return
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if wanted.exists():
            return
        for other in root.iterdir():
            if other.is_dir():
                shutil.rmtree(other)
        partial = Path(tempfile.mkdtemp(dir=root, prefix="partial-"))
        try:
            with _containerd(partial, progress) as socket:
                marks = {image.reference: store.add(socket, image, partial, progress) for image in table.load()}
            (partial / "images.json").write_text(json.dumps(marks, indent=2) + "\n")
            partial.rename(wanted)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def fill(node: Node, progress: Progress) -> None:
    """Give the images to a node whose containerd has never run. It must not run yet. Raises NodeError."""
    source, target = unpacked(), node.var / "lib/containerd"
    if source is None or any(target.iterdir()):
        return
    _root().mkdir(parents=True, exist_ok=True)
    if _root().stat().st_dev != target.stat().st_dev:
        return
    prepare(progress)
    partial = target.with_name("containerd.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = ["cp", "--archive", "--link", str(source / "root"), str(partial)]
    linked = subprocess.run(command, capture_output=True, text=True, check=False)
    if linked.returncode:
        # The cache is of another checkout by now, or this file system has no links.
        shutil.rmtree(partial, ignore_errors=True)
        return
    for database in partial.glob(_DATABASES):
        database.unlink()
        shutil.copy2(source / "root" / database.relative_to(partial), database)
    shutil.copyfile(source / "images.json", store.marks_of(node))
    # Whole or not at all: a folder replaces an empty one.
    partial.rename(target)
    progress.say("the images of this machine's cache are there")


def _root() -> Path:
    return cache.root().with_name("node-images")


def unpacked() -> Path | None:
    """Where the images of the table are, as they are now; None while a program is missing."""
    try:
        facts = [f"{image.reference} {store.fingerprint(image)}" for image in table.load()]
        containerd = layout.binary("containerd").resolve().stat()
    except NodeError:
        return None
    facts.append(f"containerd {containerd.st_size} {containerd.st_mtime_ns}")
    return _root() / hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@contextlib.contextmanager
def _containerd(folder: Path, progress: Progress) -> Iterator[Path]:
    """The socket of a containerd that keeps everything below `folder`, and mounts where nobody else sees it."""
    config, log, socket = folder / "config.toml", folder / "containerd.log", folder / "containerd.sock"
    config.write_text(_CONFIG.format(folder=folder))
    # It ends with whoever started it, however that ends.
    command = ["unshare", "--mount", "setpriv", "--pdeathsig", "KILL"]
    command += [str(layout.binary("containerd")), "--config", str(config)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=processes.ENVIRONMENT,
        )

    def missing() -> str | None:
        if process.poll() is not None:
            raise NodeError(f"containerd: it ended with code {process.returncode}")
        return None if store.listing(socket) is not None else "its socket does not answer"

    try:
        progress.wait("containerd", missing, timeout=60, log=log)
        yield socket
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise NodeError("containerd: it does not end") from None
