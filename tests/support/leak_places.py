"""Where a secret value could stand, as texts of (where, bytes): files, processes, objects, logs, Git, the state."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import signal
import subprocess
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.support.recorded_stack import RecordedStack
from toolchain.node import cgroups, layout, sandbox

Texts = Iterable[tuple[str, bytes]]

CHUNK = 1024 * 1024
# More than the longest form of a value, so that one across two chunks is found.
_OVERLAP = 1024
_GZIP = b"\x1f\x8b"


def files(folder: Path, *without: str, since: float = 0) -> Iterator[tuple[str, bytes]]:
    """Every regular file below a folder, in overlapping pieces, a packed one unpacked as well.

    `without` are folders, as paths below `folder`, that are passed over. So are files whose status was last changed
    before `since` (seconds of the epoch): nobody sets that time, so what is in them was in them before.
    """
    # os.walk passes over a folder that goes away meanwhile, as folders of running programs do.
    found = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    for path in sorted(found):
        inside = path.relative_to(folder)
        if any(inside.is_relative_to(other) for other in without) or path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ctime < since:
                continue
        yield from ((str(path), piece) for piece in _pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    """A file as it is, and unpacked when it looks like gzip, as far as that goes. One that went away has none."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        packed = file.peek(len(_GZIP)).startswith(_GZIP)
        yield from _overlapping(file)
        if packed:
            file.seek(0)
            with contextlib.suppress(EOFError, gzip.BadGzipFile, zlib.error):
                yield from _overlapping(gzip.GzipFile(fileobj=file))


def _overlapping(file: io.BufferedReader | gzip.GzipFile) -> Iterator[bytes]:
    tail = b""
    # One step at a time, so that what stands before a broken place comes to light.
    while chunk := file.read1(CHUNK):
        yield tail + chunk
        tail = (tail + chunk)[-_OVERLAP:]


def git_objects(repository: Path) -> Iterator[tuple[str, bytes]]:
    """Every object of a Git repository, reachable or not, with its content."""
    done = subprocess.run(
        ["git", "-C", str(repository), "cat-file", "--batch", "--batch-all-objects"], capture_output=True, check=True
    )
    yield f"objects of {repository.name}", done.stdout


def processes(pids: Iterable[int]) -> Iterator[tuple[str, bytes]]:
    """Arguments and environment of processes. One that has ended meanwhile is passed over."""
    for pid in pids:
        for part in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                yield f"{part} of process {pid}", Path(f"/proc/{pid}/{part}").read_bytes()


def watched(process: subprocess.Popen[str], *folders: Path, timeout: float = 600) -> set[tuple[str, bytes]]:
    """Until a process ends: arguments and environments of it and all that it starts, and files in `folders`.

    What it writes into a pipe is for a later `communicate`. After `timeout` seconds it ends with all that it has
    started, and this raises subprocess.TimeoutExpired.
    """
    seen: set[tuple[str, bytes]] = set()
    deadline = time.monotonic() + timeout
    while process.poll() is None:
        if time.monotonic() > deadline:
            _end(process)
            raise subprocess.TimeoutExpired(process.args, timeout)
        seen.update(processes(_descendants(process.pid)))
        for folder in folders:
            seen.update(files(folder))
        # Between two looks the pipe is emptied: a full one would hold the process up.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=0.05)
    return seen


def _end(process: subprocess.Popen[str]) -> None:
    for pid in _descendants(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _descendants(pid: int) -> set[int]:
    """A process and its children, theirs too, at this moment."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rsplit(")", 1)[1].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def pod_logs(stack: RecordedStack) -> Iterator[tuple[str, bytes]]:
    """The log of each container of each pod, of the one before it too, and what the kubelet has turned over of it."""
    kept = layout.require(stack.name).var / "log/pods"
    for key, item in stack.objects.everything():
        if key.kind != "Pod":
            continue
        spec = item["spec"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            path = f"/api/v1/namespaces/{key.namespace}/pods/{key.name}/log?container={container['name']}"
            yield f"{key} {container['name']}", stack.objects.text(path)
            yield f"{key} {container['name']} before", stack.objects.text(f"{path}&previous=true")
            # The API shows the newest file only, and Vault fills one in a few minutes.
            folder = kept / f"{key.namespace}_{key.name}_{item['metadata']['uid']}" / container["name"]
            for file in sorted(folder.glob("*.log.*")):
                yield from ((f"{key} {container['name']} turned over", piece) for piece in _pieces(file))


def pod_volumes(stack: RecordedStack) -> Iterator[tuple[str, bytes]]:
    """The volumes of all pods as the node sees them: Secrets and memory are mounted in its own namespace only.

    `where` of a mounted Secret's file is that Secret, else the path.
    """
    folder = Path(f"/proc/{sandbox.init_pid(layout.require(stack.name))}/root/var/lib/kubelet/pods")
    mounted = {}
    for key, item in stack.objects.everything():
        for volume in item["spec"].get("volumes", []) if key.kind == "Pod" else []:
            if "secret" in volume:
                path = folder / item["metadata"]["uid"] / "volumes/kubernetes.io~secret" / volume["name"]
                mounted[path] = f"Secret {key.namespace}/{volume['secret']['secretName']}"
    for where, text in files(folder):
        yield next((secret for path, secret in mounted.items() if Path(where).is_relative_to(path)), where), text


def places(stack: RecordedStack) -> dict[str, Texts]:
    """What every phase has. They are read when they are asked for, in this order."""
    node = layout.require(stack.name)
    return {
        # The whole backend: state, history, backups.
        "state": files(stack.state / ".pulumi"),
        "export": iter([("stack export", stack.query("stack", "export", "--show-secrets").encode())]),
        "output": ((f"command {number}", text.encode()) for number, text in enumerate(stack.transcript)),
        "pod logs": pod_logs(stack),
        "API objects": ((str(key), json.dumps(item).encode()) for key, item in stack.objects.everything()),
        # Logs of the parts and of pods (also those that the API shows no more), the API server's audit log, volumes.
        "node's files": files(node.state, "var/lib/containerd", "var/lib/etcd"),
        "node's run": files(node.run),
        # Gigabytes of it are images as they were imported.
        "containerd": files(node.var / "lib/containerd", since=stack.bare_at),
        "etcd": files(node.var / "lib/etcd"),
        "pods' volumes": pod_volumes(stack),
        "Git": git_objects(node.state / "git/fleet.git"),
        "processes": processes(cgroups.processes(node.cgroup)),
    }


def volume_folders(stack: RecordedStack, claim: str) -> list[Path]:
    """Where the volumes of the claims whose names begin with `claim` are on this machine."""
    node = layout.require(stack.name)
    found = [volume["spec"] for volume in _bound(stack, claim)]
    return [node.var / Path(spec["local"]["path"]).relative_to("/var") for spec in found]


def mounts(stack: RecordedStack, claim: str) -> list[str]:
    """A part of the path at which pods have these volumes."""
    return [f"/volumes/kubernetes.io~local-volume/{volume['metadata']['name']}/" for volume in _bound(stack, claim)]


def _bound(stack: RecordedStack, claim: str) -> list[dict[str, Any]]:
    volumes = (stack.objects.get("/api/v1/persistentvolumes") or {})["items"]
    bound = [volume for volume in volumes if volume["status"]["phase"] == "Bound"]
    found = [volume for volume in bound if volume["spec"]["claimRef"]["name"].startswith(claim)]
    assert found, f"no volume is bound to a claim {claim}*"
    return found
