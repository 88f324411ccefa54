"""For processes that hold identities and root tokens in memory: no core dump, no look into it by another process."""

from __future__ import annotations

import ctypes
import logging
import os
import resource

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_dumps() -> None:
    """Set RLIMIT_CORE to 0, also for children, and PR_SET_DUMPABLE to 0, which forbids ptrace by the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log.warning("PR_SET_DUMPABLE cannot be set: %s", os.strerror(ctypes.get_errno()))
