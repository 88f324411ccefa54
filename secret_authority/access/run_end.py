"""When a run of Pulumi has ended: its engine's process is gone, or standard input is closed.

A port is no sign of it by itself: another program may get the port of an engine that has ended.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_LISTEN = "0A"  # proc(5), /proc/net/tcp


class RunEnd:
    """`engine` is the address of Pulumi's engine; empty when the run ends with standard input.

    The process that listens there is found once and then watched by a handle that no other process can get. Where it
    cannot be found (it is not an ancestor of this one, or this is no Linux), the open port has to do.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._handle: int | None = None
        if engine:
            pid = listening_ancestor(int(engine.rpartition(":")[2]))
            with contextlib.suppress(OSError, AttributeError):
                self._handle = os.pidfd_open(pid) if pid else None

    def reached(self, seconds: float) -> bool:
        """Whether the run has ended, after at most so many `seconds`."""
        if not self._engine:
            return _readable(sys.stdin.fileno(), seconds)
        if self._handle is not None:
            return _readable(self._handle, seconds)
        time.sleep(seconds)
        host, _, port = self._engine.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=5):
                return False
        except OSError:
            return True


def _readable(descriptor: int, seconds: float) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def listening_ancestor(port: int) -> int | None:
    """The process among the ancestors of this one that listens on the TCP port of this machine; None without one."""
    inodes = set(_listeners(port))
    for pid in _ancestors():
        with contextlib.suppress(OSError):
            for entry in (_PROC / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if entry.readlink().name in inodes:
                        return pid
    return None


def _listeners(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
                    yield f"socket:[{rest[5]}]"


def _ancestors() -> Iterator[int]:
    pid = os.getpid()
    while pid > 1:
        try:
            # After the name, which may hold anything: state and parent.
            pid = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return
        yield pid
