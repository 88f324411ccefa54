"""The sandbox of a node: its namespaces, its mounts and its link to the host.

The first process of the sandbox does nothing but hold it. Every part of the node is started inside by
`processes.spawn`. When the first process ends, the kernel ends all others of its PID namespace; the
mounts, the network namespace, the veth pair and the nft tables go with them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from toolchain.node import cgroups, processes
from toolchain.node.errors import NodeError
from toolchain.node.layout import VOLUME_COUNT, Node
from toolchain.node.progress import Progress

INIT_PROGRAM = "sleep"

# The kubelet wants these kernel settings and would change them for the whole machine. Inside the sandbox
# it finds files with the wanted values in their place, so the machine keeps its own.
KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}

_UNSHARE = (
    "unshare",
    "--mount",
    "--net",
    "--pid",
    "--uts",
    "--ipc",
    "--fork",
    "--mount-proc",
    "--kill-child=KILL",
)
_VAR_FOLDERS = ("lib/kubelet", "lib/containerd", "lib/etcd", "lib/cni", "log/pods", "log/containers", "tmp")

# Runs as the first process. $1 state folder, $2 the folder for /var, $3 the folder for /run, $4 the folder
# with kernel settings, $5 the host name. SIGCHLD is ignored so that orphans leave no zombies.
_INIT = r"""
set -e
inner="$2${1#/var}"
mkdir -p "$inner"
mount --bind "$1" "$inner"
mount --rbind "$2" /var
mount --bind "$3" /run
( cd "$4" && find . -type f ) | while read -r f; do
  if [ -e "/proc/sys/$f" ]; then mount --bind "$4/$f" "/proc/sys/$f"; fi
done
mount --make-rshared /
hostname "$5"
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
: >/run/sandbox-ready
trap '' CHLD
exec sleep infinity
"""


def init_cgroup(node: Node) -> str:
    return f"{node.cgroup}/init"


def init_pid(node: Node) -> int | None:
    """The host's id of the sandbox's first process, or None when the sandbox is gone."""
    return processes.find(init_cgroup(node), INIT_PROGRAM)


def ensure(node: Node, progress: Progress) -> int:
    """Make the sandbox unless it runs; return the id of its first process."""
    pid = init_pid(node)
    if pid is None or not (node.run / "sandbox-ready").exists():
        pid = _create(node, progress)
    _link(node, pid)
    return pid


def _create(node: Node, progress: Progress) -> int:
    progress.say("making the sandbox")
    # What is left of an earlier one: pods and parts whose first process was killed, a half-made one.
    # The git server runs on the host and stays.
    for child in ("init", "parts", "kubepods"):
        processes.kill_all(f"{node.cgroup}/{child}")
    # The kubelet waits seconds for every dead pod whose cgroup it finds.
    cgroups.remove(f"{node.cgroup}/kubepods")
    # The kernel takes its time to drop a dead network namespace; its end of the pair must not be reused.
    remove_link(node)
    shutil.rmtree(node.runtime, ignore_errors=True)
    _make_folders(node)
    log_path = node.logs / "init.log"
    folders = (node.state, node.var, node.run)
    with log_path.open("wb") as log:
        processes.spawn(
            [*_UNSHARE, "/bin/sh", "-c", _INIT, "sh", *folders, node.config / "sysctl", node.name],
            init_cgroup(node),
            log,
        )

    def missing() -> str | None:
        if init_pid(node) is None and not cgroups.processes(init_cgroup(node)):
            raise NodeError(f"sandbox of node {node.name}: it ended at once{_log_end(log_path)}")
        if init_pid(node) is None or not (node.run / "sandbox-ready").exists():
            return "mounts are being made"
        return None

    progress.wait("sandbox", missing, timeout=20, log=log_path)
    pid = init_pid(node)
    if pid is None:
        raise NodeError(f"sandbox of node {node.name}: it ended{_log_end(log_path)}")
    return pid


def _log_end(path: Path) -> str:
    text = path.read_text(errors="replace").strip() if path.exists() else ""
    return f": {text[-500:]}" if text else ""


def _make_folders(node: Node) -> None:
    node.state.chmod(0o755)
    for below in _VAR_FOLDERS:
        (node.var / below).mkdir(parents=True, exist_ok=True)
    for number in range(VOLUME_COUNT):
        (node.var / f"local/volumes/{number}").mkdir(parents=True, exist_ok=True)
    for name in ("run", "lock"):
        # Programs expect /var/run to be /run.
        link = node.var / name
        if not link.is_symlink():
            link.symlink_to("/run" if name == "run" else "/run/lock")
    for folder in (node.logs, node.pki, node.config, node.run / "lock", node.run / "cni"):
        folder.mkdir(parents=True, exist_ok=True)
    node.pki.chmod(0o700)
    for name, value in KERNEL_SETTINGS.items():
        path = node.config / "sysctl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")


def _link(node: Node, pid: int) -> None:
    """Make the veth pair, its addresses and the host's routes to pods and services. Idempotent."""
    inside = ["nsenter", "--target", str(pid), "--net", "--", "ip"]
    if not (_succeeds(["ip", "link", "show", "dev", node.link]) and _succeeds([*inside, "link", "show", "eth0"])):
        remove_link(node)
        _ip("link", "add", node.link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    _run([*inside, "addr", "replace", f"{node.address}/24", "dev", "eth0"])
    _run([*inside, "link", "set", "eth0", "up"])
    _run([*inside, "route", "replace", "default", "via", node.host_address])
    _ip("addr", "replace", f"{node.host_address}/24", "dev", node.link)
    _ip("link", "set", node.link, "up")
    for cidr in (node.pod_cidr, node.service_cidr):
        _ip("route", "replace", cidr, "via", node.address)


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NodeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


def remove_link(node: Node) -> None:
    """Remove the host's end of a veth pair that outlived its sandbox."""
    subprocess.run(["ip", "link", "del", "dev", node.link], capture_output=True, check=False)
