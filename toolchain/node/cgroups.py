"""The cgroup tree of a node, in every hierarchy of the machine (v1, hybrid or v2).

Membership in this tree is what makes a process the node's own. No process outside is ever ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from toolchain.node.errors import NodeError


@dataclass(frozen=True)
class Hierarchy:
    """One mounted cgroup hierarchy."""

    mount: Path
    version: int
    controllers: frozenset[str]


def hierarchies() -> list[Hierarchy]:
    """Every cgroup hierarchy that is mounted at its root."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(maxsplit=2)
        if kind not in ("cgroup", "cgroup2") or root != "/":
            continue
        controllers = frozenset(options.split(",")) if kind == "cgroup" else frozenset[str]()
        found.append(Hierarchy(Path(mount), 1 if kind == "cgroup" else 2, controllers))
    return found


def ownership_hierarchy() -> Hierarchy:
    """The hierarchy that answers whose a process is: the v1 pids controller, else v2."""
    found = hierarchies()
    for hierarchy in found:
        if "pids" in hierarchy.controllers:
            return hierarchy
    for hierarchy in found:
        if hierarchy.version == 2:
            return hierarchy
    raise NodeError("cgroups: neither the pids controller of v1 nor v2 is mounted below /sys/fs/cgroup")


def create(path: str) -> list[Path]:
    """Create the cgroup `path` in every hierarchy and return its folders."""
    folders = []
    for hierarchy in hierarchies():
        folder = hierarchy.mount
        for part in path.split("/"):
            parent, folder = folder, folder / part
            folder.mkdir(exist_ok=True)
            if "cpuset" in hierarchy.controllers:
                _inherit_cpuset(parent, folder)
            if hierarchy.version == 2:
                _delegate(parent)
        folders.append(folder)
    return folders


def _inherit_cpuset(parent: Path, folder: Path) -> None:
    """A new v1 cpuset takes no process before it names its processors and memory nodes."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (folder / name).read_text().strip():
            (folder / name).write_text((parent / name).read_text())


def _delegate(folder: Path) -> None:
    """Let the children of a v2 cgroup use every controller the folder has."""
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def processes(path: str) -> list[int]:
    """Process ids (as the host counts them) in the cgroup `path` and below it."""
    top = ownership_hierarchy().mount / path
    found: list[int] = []
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            found.extend(int(pid) for pid in Path(folder, "cgroup.procs").read_text().split())
    return found


def contains(path: str, pid: int) -> bool:
    """Whether the process is in the cgroup `path` or below it, at this moment."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return False
    wanted = "pids" if "pids" in ownership_hierarchy().controllers else ""
    for line in lines:
        _, controllers, own = line.split(":", 2)
        if wanted in controllers.split(","):
            return own == f"/{path}" or own.startswith(f"/{path}/")
    return False


def _folders_below(top: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


def exists(path: str) -> bool:
    return any((hierarchy.mount / path).is_dir() for hierarchy in hierarchies())


def remove(path: str) -> list[Path]:
    """Remove the cgroup `path` everywhere. Return the folders that are still busy."""
    busy = []
    for hierarchy in hierarchies():
        for folder in _folders_below(hierarchy.mount / path):
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                busy.append(folder)
    return busy


def remove_if_empty(path: str) -> None:
    """Remove a cgroup that has no children and no processes left; else leave it."""
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):
            (hierarchy.mount / path).rmdir()
