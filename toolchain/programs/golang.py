"""Builds a program from its pinned modules with the go command.

The go command checks every module against go.sum, which is part of the lock and was written by the
go command itself from the public checksum database.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from toolchain.errors import ToolchainError
from toolchain.programs.pins import ModuleFile, Patch, Program

UPSTREAM = "upstream"  # folder of a lock, and of a build, for a module that is built from a changed copy
SHOWN_LINES = 15  # of a failed build's log

_running: set[subprocess.Popen[bytes]] = set()
# Processor seconds of the builds of this process, by the folder of their log; see `used`.
_ended: dict[Path, float] = {}
_logs: dict[int, Path] = {}


def environment() -> dict[str, str]:
    """The caller's environment without flags that would change the result; binaries are static."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def run(arguments: list[str], cwd: Path, log: Path) -> None:
    """Run the go command; its output goes to a log.

    Raises ToolchainError with the end of the log when it fails.
    """
    go = shutil.which("go")
    if go is None:
        raise ToolchainError("the go command is missing; install Go (https://go.dev/dl) and try again")
    with (
        log.open("ab") as file,
        subprocess.Popen([go, *arguments], cwd=cwd, env=environment(), stdout=file, stderr=file) as process,
    ):
        _logs[process.pid] = log
        _running.add(process)
        code = _ends(process, log)
    if code:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
        raise ToolchainError(f"go {arguments[0]} failed; the whole log is {log}\n{end}")


def _ends(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait for a go command and add up what it and its compilers have used; gives its exit code."""
    # Its numbers are gone once it is waited for, unless they are asked for with its end.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    _ended[log] = _ended.get(log, 0.0) + usage.ru_utime + usage.ru_stime
    _running.discard(process)
    return process.returncode


def used(log: Path) -> float:
    """Processor seconds of the go commands with this log until now, those that run included.

    A compiler counts when it has ended: until then it is nobody's finished child.
    """
    running = [process.pid for process in list(_running) if _logs.get(process.pid) == log]
    return _ended.get(log, 0.0) + sum(map(_processor_seconds, running))


def _processor_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0  # it has just ended, or this is no Linux
    own_and_children = sum(int(number) for number in fields[11:15])
    return own_and_children / os.sysconf("SC_CLK_TCK")


def stop() -> None:
    """Interrupt every go command that runs; go removes its own temporary files then."""
    for process in list(_running):
        process.send_signal(signal.SIGINT)


def module_dir(lock: Path, module: str) -> Path:
    """The folder of a module in the module cache, downloaded and verified if need be."""
    go = shutil.which("go") or "go"
    done = subprocess.run(
        [go, "mod", "download", "-json", module],
        cwd=lock,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    answer = json.loads(done.stdout or "{}")
    if done.returncode or "Dir" not in answer:
        raise ToolchainError(f"module {module} cannot be had: {answer.get('Error') or done.stderr.strip()}")
    return Path(answer["Dir"])


def build(program: Program, work: Path, log: Path) -> Path:
    """Build a program; gives the folder with the program and the files that belong beside it."""
    source, ready = work / "source", work / "ready"
    source.mkdir()
    ready.mkdir()
    for file in program.lock.iterdir():
        if file.name in ("go.mod", "go.sum") or file.suffix == ".go":
            shutil.copyfile(file, source / file.name)
    if program.patch:
        lay_upstream(program, program.patch, program.lock / UPSTREAM, source, log)
    for embedded in program.embed:
        _copy(source, embedded, source)
    variables = [f"-X {variable}={program.fill(value)}" for variable, value in program.stamp.items()]
    run(
        [
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags=" + " ".join(["-s -w", *variables]),
            f"-o={ready / program.name}",
            program.package,
        ],
        source,
        log,
    )
    for beside in program.files:
        if beside.module:
            _copy(source, beside, ready).chmod(0o755)
        else:
            shutil.copyfile(program.lock / beside.path, ready / Path(beside.path).name)
    return ready


def lay_upstream(program: Program, patch: Patch, lock: Path, source: Path, log: Path) -> None:
    """Lay a changed copy of a module's Go files beside main.go, where the lock's `replace` looks for it.

    lock: the folder whose go.sum holds the checksum of the unchanged module.
    """
    origin, copy = module_dir(lock, patch.module), source / UPSTREAM
    for file in [origin / "go.mod", *origin.rglob("*.go")]:
        if not file.name.endswith("_test.go"):
            target = copy / file.relative_to(origin)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    for ours in (program.lock / "patch").rglob("*.go"):
        shutil.copyfile(ours, copy / ours.relative_to(program.lock / "patch"))
    edits = [f"-droprequire={module}" for module in patch.without]
    edits += [f"-require={module}@{version}" for module, version in patch.instead]
    run(["mod", "edit", *edits], copy, log)


def _copy(lock: Path, file: ModuleFile, target: Path) -> Path:
    copy = target / Path(file.path).name
    shutil.copyfile(module_dir(lock, file.module) / file.path, copy)
    return copy
