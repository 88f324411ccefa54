"""Provides programs: from PATH, from the cache, from an official release, or built; then linked."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.programs import cache, found, golang, links, release
from toolchain.programs.pins import CHECKOUT, Program
from toolchain.programs.progress import Progress

BIN = CHECKOUT / ".tools" / "bin"
MOST_BUILDS = 4  # at a time; each may need 2 GiB of memory to link


def provide(programs: list[Program], into: Path = BIN) -> None:
    """Make programs available in a folder; what is there already costs no work.

    Raises ToolchainError with the reasons when some fail; the others are provided all the same.
    """
    missing = [program for program in programs if not _ready(program, into)]
    if not missing:
        return
    estimates = {program.name: cache.usual_seconds(program) for program in missing}
    missing.sort(key=lambda program: -estimates[program.name])
    workers = max(1, min(os.cpu_count() or 1, MOST_BUILDS))
    failed: list[str] = []

    def used() -> dict[str, float]:
        return {program.name: golang.used(_log(program)) for program in missing}

    with Progress(estimates, workers, used=used) as progress, ThreadPoolExecutor(workers) as pool:

        def one(program: Program) -> None:
            progress.begin(program.name, "getting")
            try:
                origin = _make(program)
            except (ToolchainError, OSError) as error:
                failed.append(f"{program.name}: {error}")
                progress.done(program.name, "failed")
            else:
                _link(program, into)
                progress.done(program.name, origin)

        try:
            list(pool.map(one, missing))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            golang.stop()
            raise
    if failed:
        raise ToolchainError("\n".join(failed))


def location(program: Program, name: str, into: Path = BIN) -> Path:
    """The path of a provided program.

    Raises ToolchainError when it is not provided yet.
    """
    at = into / name
    if not at.exists():
        raise ToolchainError(f"{name} is not there yet; run: python3 -m toolchain build {program.name}")
    return at


def _ready(program: Program, into: Path) -> bool:
    """Link what PATH or the cache has; False if it has to be made."""
    if cache.folder(program).is_dir():
        _link(program, into)
        return True
    files = found.on_path(program, into.parent)
    if files is None:
        return False
    for name, file in files.items():
        links.link(file, into / name)
    return True


def _make(program: Program) -> str:
    """Fetch or build a program into the cache; gives how."""
    with cache.locked(program.name) as place:
        if cache.folder(program).is_dir():  # another run made it meanwhile
            return "made by another run"
        began = time.monotonic()
        work = cache.workspace(place)
        try:
            ready, origin = release.fetch(program, work), "release"
            if ready is None:
                ready, origin = golang.build(program, work, _log(program)), "build"
            cache.keep(program, ready, origin, time.monotonic() - began, golang.used(_log(program)))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return {"release": "fetched", "build": "built"}[origin]


def _log(program: Program) -> Path:
    """Where the output of its build is."""
    return cache.root() / program.name / f"{cache.key(program)}.log"


def _link(program: Program, into: Path) -> None:
    for name in program.called:
        make = links.real_file if program.real_file else links.link
        make(cache.binary(program, name), into / name)
