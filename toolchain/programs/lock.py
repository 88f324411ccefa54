"""Writes the lock of a program from the table of pins, with the go command alone."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from toolchain.programs import golang
from toolchain.programs.pins import Patch, Program


def relock(program: Program) -> None:
    """Write go.mod and go.sum of a program.

    The go command takes every checksum from the checksum database; a module without a record there
    ends the command. Raises ToolchainError then, and the old lock stays.
    """
    with tempfile.TemporaryDirectory() as folder:
        work, log = Path(folder), Path(folder) / "go.log"
        for source in program.lock.glob("*.go"):
            shutil.copyfile(source, work / source.name)
        golang.run(["mod", "init", program.module], work, log)
        if program.patch:
            _lock_upstream(program, program.patch, work, log)
        for module, replacement in program.replace.items():
            golang.run(["mod", "edit", f"-replace={module}={replacement}"], work, log)
        if program.package == ".":
            for module, version in program.require.items():
                golang.run(["mod", "edit", f"-require={module}@{version}"], work, log)
            golang.run(["mod", "tidy"], work, log)
        else:
            wanted = [f"{module}@{version}" for module, version in program.require.items()]
            golang.run(["get", *wanted], work, log)
            owner = max((m for m in program.require if program.package.startswith(m)), key=len)
            golang.run(["get", "-tool", f"{program.package}@{program.require[owner]}"], work, log)
        golang.run(["list", "-mod=readonly", "-deps", program.package], work, log)
        _take(work, program.lock)


def _lock_upstream(program: Program, patch: Patch, work: Path, log: Path) -> None:
    """Lock the unchanged module on its own, then lay the changed copy where `replace` points."""
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder)
        golang.run(["mod", "init", f"{program.module}/upstream"], alone, log)
        golang.run(["mod", "edit", f"-require={patch.module}@{program.require[patch.module]}"], alone, log)
        golang.run(["mod", "download", patch.module], alone, log)
        _take(alone, program.lock / golang.UPSTREAM)
        golang.lay_upstream(program, patch, alone, work, log)
    golang.run(["mod", "edit", f"-replace={patch.module}=./{golang.UPSTREAM}"], work, log)


def _take(work: Path, lock: Path) -> None:
    lock.mkdir(exist_ok=True)
    for name in ("go.mod", "go.sum"):
        if (work / name).exists():
            shutil.copyfile(work / name, lock / name)
