"""Looks for programs that are on PATH already, at the wanted version."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from toolchain.programs import cache
from toolchain.programs.pins import CHECKOUT, Program

PROBE_SECONDS = 15


def on_path(program: Program, own: Path = CHECKOUT / ".tools") -> dict[str, Path] | None:
    """The files of a program on PATH, or None if a name is missing or its version is another.

    own: folder of our own links, which do not count.
    """
    if not program.probe:
        return None
    path = os.pathsep.join(
        folder
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if folder and not Path(folder).resolve().is_relative_to(own.resolve())
    )
    files: dict[str, Path] = {}
    for name in (*program.called, *(argv[0] for argv in program.probe)):
        file = shutil.which(name, path=path)
        if file is None:
            return None
        files[name] = Path(file)
    answers = [_answer([str(files[argv[0]]), *argv[1:]]) for argv in program.probe]
    wanted = re.compile(rf"(?<![\d.]){re.escape(program.version)}(?![\d.]*\d)")
    if not all(wanted.search(answer) for answer in answers):
        return None
    return {name: files[name] for name in program.called}


def _answer(command: list[str]) -> str:
    """What a version command prints; remembered as long as the file stays the same."""
    stat = Path(command[0]).stat()
    question = f"{command} {stat.st_size} {stat.st_mtime_ns}"
    memory = cache.root() / "probes.json"
    known: dict[str, str] = json.loads(memory.read_text()) if memory.is_file() else {}
    if question not in known:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        known[question] = done.stdout + done.stderr
        memory.parent.mkdir(parents=True, exist_ok=True)
        new = memory.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(known))
        new.replace(memory)
    return known[question]
