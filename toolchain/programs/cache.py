"""The content-addressed cache: one folder per program and per hash of all that goes into it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from toolchain.programs.pins import Program, architecture


@dataclass(frozen=True)
class Record:
    """What is known of a folder of the cache."""

    name: str
    version: str
    origin: str  # "build" or "release"
    seconds: float
    # What the build used of the processors; 0 where it is not known.
    processor: float = 0.0


def root() -> Path:
    """The cache of this user, after the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "secret-authority" / "toolchain"


@cache
def go_version() -> str:
    """The version of the go command, without running it where its VERSION file can be read."""
    go = shutil.which("go")
    if go is None:
        return "none"
    version = Path(go).resolve().parent.parent / "VERSION"
    if version.is_file():
        return version.read_text().split()[0]
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def key(program: Program) -> str:
    """Hash of all that decides what the program is: pins, lock, sources, platform, compiler."""
    digest = hashlib.sha256()
    pinned = {name: value for name, value in asdict(program).items() if name not in ("seconds", "probe", "real_file")}
    for part in (json.dumps(pinned, sort_keys=True), architecture(), go_version()):
        digest.update(part.encode() + b"\0")
    for file in sorted(program.lock.rglob("*")):
        if file.is_file():
            name = file.relative_to(program.lock).as_posix()
            digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def folder(program: Program) -> Path:
    """Where the program lies once it is there; it is complete whenever it exists."""
    return root() / program.name / key(program)


def binary(program: Program, name: str) -> Path:
    """The file behind one of the program's names: its own, or the multi-call program."""
    own = folder(program) / name
    return own if own.exists() else folder(program) / program.name


def record(program: Program) -> Record | None:
    """The record of a program that is in the cache, else None."""
    file = folder(program) / "record.json"
    return Record(**json.loads(file.read_text())) if file.is_file() else None


def usual_seconds(program: Program) -> float:
    """Processor seconds of a build: as pinned, or more where this machine has used more."""
    known = [Record(**json.loads(file.read_text())) for file in (root() / program.name).glob("*/record.json")]
    return max(float(program.seconds), *(found.processor for found in known), 0.0)


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the lock of a cache entry; gives its folder, emptied of what interrupted runs left."""
    place = root() / name
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in place.glob("tmp-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield place


def workspace(place: Path) -> Path:
    """A new temporary folder in the cache, on the same file system as the results."""
    return Path(tempfile.mkdtemp(prefix="tmp-", dir=place))


def keep(program: Program, ready: Path, origin: str, seconds: float, processor: float = 0.0) -> Path:
    """Move a finished folder to its place, at once and as a whole."""
    known = Record(program.name, program.version, origin, round(seconds, 1), round(processor, 1))
    (ready / "record.json").write_text(json.dumps(asdict(known)) + "\n")
    ready.chmod(0o755)
    target = folder(program)
    ready.rename(target)
    return target
