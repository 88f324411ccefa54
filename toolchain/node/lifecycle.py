"""Bring a node up, look at it, take it down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.node import addons, api, cgroups, files, image_cache, netpolicy, packages, parts, pki, processes, sandbox
from toolchain.node import image_store as store
from toolchain.node.errors import NodeError
from toolchain.node.layout import (
    CLUSTER_DOMAIN,
    LOCK_FILE,
    RUNTIME_ROOT,
    STATE_ROOT,
    Node,
    allocate,
    find,
    valid_name,
)
from toolchain.node.progress import Progress

CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
BOOT_IMAGES = ("registry.k8s.io/pause", "registry.k8s.io/coredns/coredns")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of one node, or of the address table with the name "". Waits for its turn."""
    path = LOCK_FILE.with_name(f"{LOCK_FILE.stem}-{name}.lock") if name else LOCK_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # The holder before us may have removed the file: then this lock protects nothing.
        with contextlib.suppress(OSError):
            if os.fstat(handle).st_ino == path.stat().st_ino:
                break
        os.close(handle)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def up(name: str, progress: Progress) -> Node:
    """Bring the node up or repair it; return when it is Ready and its DNS answers."""
    if os.geteuid() != 0:
        raise NodeError("the local node needs root: namespaces, mounts and cgroups are made")
    with locked(valid_name(name)):
        with locked(""):
            node = allocate(name)
        if sandbox.init_pid(node) is None:
            packages.ensure_debian_packages(progress)
        if not (node.pki / "git-server.crt").exists():
            progress.say("making keys and certificates")
        pki.ensure(node)
        files.write_all(node)
        init = sandbox.ensure(node, progress)
        _start(node, init, progress)
        return node


def _start(node: Node, init: int, progress: Progress) -> None:
    all_parts = parts.all_parts(node)
    client = api.Client(node)
    image_cache.fill(node, progress)
    for name in ("containerd", "etcd", "kube-apiserver"):
        all_parts[name].ensure(init, progress)

    containerd, apiserver = all_parts["containerd"], all_parts["kube-apiserver"]

    def containerd_missing() -> str | None:
        containerd.check_alive()
        return None if store.answers(node) else "its socket does not answer"

    def apiserver_missing() -> str | None:
        all_parts["etcd"].check_alive()
        apiserver.check_alive()
        return client.ready()

    progress.wait("containerd", containerd_missing, timeout=30, log=containerd.log)
    enforced = netpolicy.available()
    store.ensure(node, [*BOOT_IMAGES, *([netpolicy.IMAGE] if enforced else [])], progress)
    if enforced:
        netpolicy.ensure_rules(node, init)
    progress.wait("API server", apiserver_missing, timeout=120, log=apiserver.log)
    kubelet = all_parts["kubelet"]
    for name in ("kubelet", "kube-controller-manager", "kube-scheduler"):
        all_parts[name].ensure(init, progress)
    addons.apply(node, client)
    addons.recycle(node, client, progress)

    def node_missing() -> str | None:
        kubelet.check_alive()
        found = client.get(f"/api/v1/nodes/{node.name}")
        if found is None:
            return "the kubelet has not registered it"
        return node_not_ready(found)

    progress.wait("node registered", lambda: _registered(node, client, kubelet), timeout=60, log=kubelet.log)
    all_parts["kube-proxy"].ensure(init, progress)
    revived = Revived(init, progress)
    for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
        part = all_parts[name]
        progress.wait(name, lambda part=part: revived.unhealthy(part), timeout=60, log=part.log)  # type: ignore[misc]
    progress.wait("node Ready", node_missing, timeout=90, log=kubelet.log)

    def dns_missing() -> str | None:
        for part in all_parts.values():
            revived.check_alive(part)
        name = f"kubernetes.default.svc.{CLUSTER_DOMAIN}"
        return None if api.resolve(node.dns_service, name) == node.api_service else f"no answer for {name}"

    progress.wait("cluster DNS", dns_missing, timeout=90, log=kubelet.log)
    client.close()


class Revived:
    """Starts a controller again that ends while the node starts, as the kubelet does in other clusters.

    kube-controller-manager ends when the API server does not accept one of its service accounts, made a moment before.
    """

    def __init__(self, init: int, progress: Progress) -> None:
        self._init, self._progress = init, progress
        self._left = 3

    def check_alive(self, part: parts.Part) -> None:
        """Raise NodeError with the end of the log when the program is gone for good."""
        if part.name in CONTROLLERS and part.pid is None and self._left:
            self._left -= 1
            self._progress.say(f"{part.name}: it ended")
            part.ensure(self._init, self._progress)
        part.check_alive()

    def unhealthy(self, part: parts.Part) -> str | None:
        """As of the part."""
        self.check_alive(part)
        return part.unhealthy()


def _registered(node: Node, client: api.Client, kubelet: parts.Part) -> str | None:
    kubelet.check_alive()
    return None if client.get(f"/api/v1/nodes/{node.name}") else "the kubelet has not registered it"


def node_not_ready(found: dict[str, Any]) -> str | None:
    """None when the Node object is Ready and its report is recent, else why not."""
    for condition in found.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready":
            return None if condition["status"] == "True" else str(condition.get("message") or "not Ready")
    return "no Ready condition yet"


def down(name: str, progress: Progress) -> None:
    """End everything of the node and remove every trace. Works on half-made and dead nodes too."""
    valid_name(name)
    with locked(name):
        node = find(name) or Node(name, 0)
        if cgroups.exists(node.cgroup):
            progress.say("ending its processes")
            processes.kill_all(node.cgroup)
            progress.wait("cgroups", lambda: _busy(node), timeout=30)
        sandbox.remove_link(node)
        shutil.rmtree(node.runtime, ignore_errors=True)
        if node.state.exists():
            progress.say("removing its state")
            _remove_state(node.state)
        cgroups.remove_if_empty("secret-authority")
        for folder in (STATE_ROOT, STATE_ROOT.parent, RUNTIME_ROOT):
            with contextlib.suppress(OSError):
                folder.rmdir()
    progress.say("down")


def _busy(node: Node) -> str | None:
    busy = cgroups.remove(node.cgroup)
    return f"{busy[0]} is busy" if busy else None


def _remove_state(folder: Path) -> None:
    """Remove the state folder. A mount that ends with the sandbox may hold it for a moment."""
    deadline = time.monotonic() + 10
    while True:
        try:
            shutil.rmtree(folder)
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise NodeError(f"{folder}: cannot be removed: {error}") from error
            time.sleep(0.1)


def status(node: Node) -> dict[str, Any]:
    """Facts about a node for people and programs."""
    running = {name: part.pid for name, part in parts.all_parts(node).items()}
    client = api.Client(node, timeout=2.0)
    ready: str | None
    try:
        found = client.get(f"/api/v1/nodes/{node.name}")
        ready = node_not_ready(found) if found else "not registered"
    except (OSError, NodeError) as error:
        ready = str(error)
    dns = api.resolve(node.dns_service, f"kubernetes.default.svc.{CLUSTER_DOMAIN}")
    return {
        "name": node.name,
        "address": node.address,
        "host_address": node.host_address,
        "pods": node.pod_cidr,
        "services": node.service_cidr,
        "kubeconfig": str(node.kubeconfig),
        "parts": running,
        "ready": ready is None,
        "reason": ready or "",
        "dns": dns == node.api_service,
    }
