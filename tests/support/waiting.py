"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], bool], what: str | Callable[[], str], timeout: float = 60) -> None:
    """Wait for a condition, at most `timeout` seconds. Fails with `what` was awaited, as it is then."""
    deadline = time.monotonic() + timeout
    while not condition():
        late = time.monotonic() >= deadline
        assert not late, f"not within {timeout:.0f} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.1)
