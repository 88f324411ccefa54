"""Start, find and end the processes of a node. Ending goes by cgroup membership, race-free."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from toolchain.node import cgroups
from toolchain.node.errors import NodeError

# What a long-lived process gets to see. Nothing of the caller's environment, which may hold secrets.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    # Memory for processor time: at the default of 100 the API server needs a quarter more time, and half the memory.
    "GOGC": "300",
}

# Joins the cgroups named by the first argument, then becomes the rest of the command line.
_JOIN = 'for d in $1; do echo 0 >"$d/cgroup.procs" || exit 97; done; shift; exec "$@"'


def spawn(
    argv: Sequence[str | Path],
    cgroup: str,
    log: IO[bytes],
    *,
    namespaces_of: int | None = None,
    cwd: Path = Path("/"),
) -> None:
    """Start a long-lived process in the cgroup, with its output in `log`.

    With `namespaces_of` it starts inside the namespaces of that process, as a child of its init. The
    call returns once the process is on its own. Raises NodeError when it could not be started.
    """
    folders = " ".join(str(folder) for folder in cgroups.create(cgroup))
    command = ["/bin/sh", "-c", _JOIN, "sh", folders]
    if namespaces_of is not None:
        command += ["nsenter", "--target", str(namespaces_of)]
        command += ["--mount", "--net", "--pid", "--uts", "--ipc", "--"]
    # The inner shell leaves at once, so that the process gets the right parent and no terminal.
    command += ["/bin/sh", "-c", '"$@" </dev/null &', "sh", *map(str, argv)]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=ENVIRONMENT,
        cwd=cwd,
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0:
        raise NodeError(f"cannot start {argv[0]}: exit code {done.returncode}; see {log.name}")
    # Between the shell's end and the program's start the process is still called "sh".
    deadline = time.monotonic() + 5
    while find(cgroup, Path(argv[0]).name) is None and cgroups.processes(cgroup) and time.monotonic() < deadline:
        time.sleep(0.005)


def command_name(pid: int) -> str:
    """The kernel's short name of a process, or an empty string when it is gone or a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name = status[status.index("(") + 1 : status.rindex(")")]
    state = status[status.rindex(")") + 2]
    return "" if state in "ZX" else name


def find(cgroup: str, program: str) -> int | None:
    """The process of this program in the cgroup, or None. Names are cut at 15 characters."""
    for pid in cgroups.processes(cgroup):
        if command_name(pid) == program[:15]:
            return pid
    return None


def send(cgroup: str, pid: int, number: signal.Signals) -> bool:
    """Signal a process, provided it still belongs to the cgroup. False when it does not."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The handle is taken first: the number cannot be reused between the check and the signal.
        if not cgroups.contains(cgroup, pid):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def stop(cgroup: str, program: str, *, patience: float = 10.0) -> None:
    """End the program in the cgroup: ask, and after `patience` seconds force it."""
    pid = find(cgroup, program)
    if pid is None:
        return
    send(cgroup, pid, signal.SIGTERM)
    if not _gone(cgroup, program, patience):
        send(cgroup, pid, signal.SIGKILL)
        if not _gone(cgroup, program, patience):
            raise NodeError(f"{program}: process {pid} does not end")


def _gone(cgroup: str, program: str, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while find(cgroup, program) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill_all(cgroup: str, *, patience: float = 30.0) -> None:
    """End every process in the cgroup and below it, at once. Raises NodeError if some survive."""
    deadline = time.monotonic() + patience
    while pids := cgroups.processes(cgroup):
        if time.monotonic() > deadline:
            names = ", ".join(f"{pid} {command_name(pid) or '(zombie)'}" for pid in pids[:8])
            raise NodeError(f"cgroup {cgroup}: these processes do not end: {names}")
        for pid in pids:
            with contextlib.suppress(OSError):
                send(cgroup, pid, signal.SIGKILL)
        time.sleep(0.02)
