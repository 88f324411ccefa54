"""Names, folders and addresses of a node. Everything else derives its paths from here."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from toolchain.node.errors import NodeError

CHECKOUT = Path(__file__).resolve().parents[2]
STATE_ROOT = Path("/var/lib/secret-authority/nodes")
RUNTIME_ROOT = Path("/run/secret-authority")
LOCK_FILE = Path("/run/lock/secret-authority-nodes.lock")

# One /24 for each node out of each pool. 64 nodes are more than a machine carries.
LINK_POOL = "10.220"
POD_POOL = "10.221"
SERVICE_POOL = "10.222"
MAX_NODES = 64

# An interface name has at most 15 characters, and "sa-" is part of it.
NAME_PATTERN = re.compile(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?")
CLUSTER_DOMAIN = "cluster.local"
GIT_HOST = "git.node.internal"
API_PORT = 6443
VOLUME_COUNT = 8


def valid_name(name: str) -> str:
    """Return `name`, or raise NodeError when it cannot name a node."""
    if not NAME_PATTERN.fullmatch(name):
        raise NodeError(
            f"node name {name!r}: use 1 to 12 characters a-z, 0-9 and '-', starting with a letter "
            "and not ending with '-'"
        )
    return name


@dataclass(frozen=True)
class Node:
    """A node's name and its slot. The slot (0 to 63) selects the address ranges."""

    name: str
    slot: int

    @property
    def state(self) -> Path:
        """What must outlive the processes: PKI, etcd, images, volumes, logs."""
        return STATE_ROOT / self.name

    @property
    def runtime(self) -> Path:
        """Sockets and pid-sized facts. It is worthless once the processes are gone."""
        return RUNTIME_ROOT / self.name

    @property
    def var(self) -> Path:
        """The folder that is /var inside the sandbox."""
        return self.state / "var"

    @property
    def run(self) -> Path:
        """The folder that is /run inside the sandbox."""
        return self.runtime / "run"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the cluster administrator, for people and programs on the host."""
        return self.state / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        """Containerd's socket as the host sees it."""
        return self.run / "containerd/containerd.sock"

    @property
    def link(self) -> str:
        """The host's end of the veth pair."""
        return f"sa-{self.name}"

    @property
    def host_address(self) -> str:
        """The host as pods and the node see it."""
        return f"{LINK_POOL}.{self.slot}.1"

    @property
    def address(self) -> str:
        """The node as the host and the pods see it."""
        return f"{LINK_POOL}.{self.slot}.2"

    @property
    def link_cidr(self) -> str:
        return f"{LINK_POOL}.{self.slot}.0/24"

    @property
    def pod_cidr(self) -> str:
        return f"{POD_POOL}.{self.slot}.0/24"

    @property
    def service_cidr(self) -> str:
        return f"{SERVICE_POOL}.{self.slot}.0/24"

    @property
    def api_service(self) -> str:
        return f"{SERVICE_POOL}.{self.slot}.1"

    @property
    def dns_service(self) -> str:
        return f"{SERVICE_POOL}.{self.slot}.10"

    @property
    def api_url(self) -> str:
        return f"https://{self.address}:{API_PORT}"

    @property
    def cgroup(self) -> str:
        """Path of the node's cgroup below the root of every hierarchy."""
        return f"secret-authority/{self.name}"


def known_nodes() -> list[Node]:
    """Every node with a state folder, in order of name."""
    if not STATE_ROOT.is_dir():
        return []
    found = [find(entry.name) for entry in sorted(STATE_ROOT.iterdir()) if entry.is_dir()]
    return [node for node in found if node is not None]


def find(name: str) -> Node | None:
    """The node of this name when it has a readable state folder."""
    try:
        slot = json.loads((STATE_ROOT / valid_name(name) / "node.json").read_text())["slot"]
    except (OSError, ValueError, KeyError):
        return None
    return Node(name, int(slot))


def require(name: str) -> Node:
    """The node of this name, or NodeError when there is none."""
    node = find(name)
    if node is None:
        raise NodeError(f"node {name}: it does not exist; run `python3 -m toolchain.node up --name {name}`")
    return node


def allocate(name: str) -> Node:
    """Find the node of this name, or give it the first slot whose addresses nobody uses.

    The caller holds the lock of all nodes.
    """
    node = find(name)
    if node is not None:
        return node
    taken = {other.slot for other in known_nodes()}
    routes = main_routes()
    for slot in range(MAX_NODES):
        candidate = Node(name, slot)
        ranges = [
            ipaddress.ip_network(cidr) for cidr in (candidate.link_cidr, candidate.pod_cidr, candidate.service_cidr)
        ]
        if slot in taken or any(ours.overlaps(route) for ours in ranges for route in routes):
            continue
        candidate.state.mkdir(parents=True, exist_ok=True)
        partial = candidate.state / "node.json.new"
        partial.write_text(json.dumps({"slot": slot}) + "\n")
        partial.rename(candidate.state / "node.json")
        return candidate
    raise NodeError(f"node {name}: no free address range in {LINK_POOL}.0.0/16; take down a node first")


def main_routes() -> list[ipaddress.IPv4Network]:
    """The host's IPv4 routes, apart from the default route and other nodes' links."""
    shown = subprocess.run(["ip", "-j", "-4", "route", "show"], capture_output=True, text=True, check=True)
    routes = []
    for route in json.loads(shown.stdout or "[]"):
        destination = route.get("dst", "default")
        if destination != "default":
            routes.append(ipaddress.IPv4Network(destination, strict=False))
    return routes


def binary(name: str) -> Path:
    """Where the program `name` is: the toolchain's folder first, then PATH.

    SECRET_AUTHORITY_BIN replaces the toolchain's folder. Raises NodeError when the program is missing.
    """
    folder = Path(os.environ.get("SECRET_AUTHORITY_BIN", CHECKOUT / ".tools/bin"))
    if (folder / name).exists():
        return (folder / name).absolute()
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise NodeError(f"program {name}: not in {folder} and not on PATH; run `python3 -m toolchain build`")
    return Path(found)
