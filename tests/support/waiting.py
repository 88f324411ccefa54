"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def until(condition: Callable[[], bool], what: str | Callable[[], str], timeout: float = 60) -> None:
    """Wait for a condition, at most `timeout` seconds. Fails with `what` was awaited, as it is then."""
    deadline = time.monotonic() + timeout
    while not condition():
        late = time.monotonic() >= deadline
        assert not late, f"not within {timeout:.0f} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.1)


def until_all(conditions: Mapping[str, Callable[[], bool]], timeout: float = 60) -> dict[str, float]:
    """Wait for several conditions at once. After how many seconds each of them first held."""
    begun, held = time.monotonic(), dict[str, float]()

    def all_held() -> bool:
        for what, condition in conditions.items():
            if what not in held and condition():
                held[what] = time.monotonic() - begun
        return len(held) == len(conditions)

    until(all_held, lambda: ", ".join(conditions.keys() - held.keys()), timeout)
    return held
