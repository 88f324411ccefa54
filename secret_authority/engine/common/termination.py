"""How a Job of the engine fails: the reason goes to its log and to the pod's status, where Pulumi finds it."""

from __future__ import annotations

import sys
from pathlib import Path

_MESSAGE = Path("/dev/termination-log")


def fail(reason: str) -> int:
    """Tell the reason. Returns the exit code of a failed verb."""
    print(reason, file=sys.stderr, flush=True)
    if _MESSAGE.exists():
        _MESSAGE.write_text(reason[:4000])
    return 1
