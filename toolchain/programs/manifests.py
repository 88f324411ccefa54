"""Copies upstream manifests out of the pinned modules, unchanged, for the Pulumi program to read."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.programs import cache, golang, links
from toolchain.programs.gomod import read_mod, read_sum
from toolchain.programs.pins import CHECKOUT, LOCKS, Manifests

HOME = CHECKOUT / ".tools" / "manifests"


def provide(wanted: list[Manifests], into: Path = HOME) -> None:
    """Link every wanted folder of manifests as `<into>/<name>`."""
    for entry in wanted:
        links.link(_folder(entry), into / entry.name)


def _folder(entry: Manifests) -> Path:
    lock = LOCKS / entry.lock
    version = read_mod(lock / "go.mod").require.get(entry.module)
    checksum = read_sum(lock / "go.sum").get(f"{entry.module}@{version}")
    if version is None or checksum is None:
        raise ToolchainError(f"manifests {entry.name}: {entry.module} is not in toolchain/go/{entry.lock}/go.mod")
    key = hashlib.sha256(f"{entry.module}@{version} {checksum} {entry.path}".encode()).hexdigest()[:16]
    target = cache.root() / "manifests" / entry.name / key
    if not target.is_dir():
        with cache.locked(f"manifests/{entry.name}") as place:
            work = cache.workspace(place)
            copy = work / "copy"
            shutil.copytree(golang.module_dir(lock, entry.module) / entry.path, copy)
            for path in [copy, *copy.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)  # the module cache is read-only
            if not target.is_dir():
                copy.rename(target)
            shutil.rmtree(work)
    return target
