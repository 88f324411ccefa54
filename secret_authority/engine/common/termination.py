"""How a Job of the engine fails: the reason goes to its log and to the pod's status, where Pulumi finds it."""

from __future__ import annotations

import sys
from pathlib import Path

_MESSAGE = Path("/dev/termination-log")


def leave(message: str) -> None:
    """Leave words in the pod's status, where there is one."""
    if _MESSAGE.exists():
        _MESSAGE.write_text(message[:4000])


def fail(reason: str) -> int:
    """Tell the reason. Returns the exit code of a failed verb."""
    print(reason, file=sys.stderr, flush=True)
    leave(reason)
    return 1
