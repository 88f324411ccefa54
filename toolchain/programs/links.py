"""Links into the checkout, so that `.tools/bin` holds every program and nothing is copied twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link(target: Path, at: Path) -> None:
    """Make a symbolic link, or correct one, without a moment in which it is missing."""
    if at.is_symlink() and at.readlink() == target:
        return
    new = _beside(at)
    new.symlink_to(target)
    new.replace(at)


def real_file(target: Path, at: Path) -> None:
    """Like link, but a hard link, or a copy where the cache lies on another file system."""
    if at.is_file() and not at.is_symlink() and _same(target, at):
        return
    new = _beside(at)
    try:
        new.hardlink_to(target)
    except OSError:
        shutil.copy2(target, new)
    new.replace(at)


def _same(one: Path, other: Path) -> bool:
    a, b = one.stat(), other.stat()
    return one.samefile(other) or (a.st_size == b.st_size and a.st_mtime_ns == b.st_mtime_ns)


def _beside(at: Path) -> Path:
    at.parent.mkdir(parents=True, exist_ok=True)
    new = at.with_name(f".{at.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    return new
