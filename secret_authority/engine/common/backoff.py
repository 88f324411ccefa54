"""When to look at a thing again: soon while something happens to it, ever more rarely while nothing does."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class _Seen:
    outcome: Hashable
    pause: float
    due: float


class Backoff:
    """By key: what the last look found, and when the next one is due. One thread at a time for each key."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def now(self) -> float:
        """The clock that the pauses are counted by, in seconds."""
        return self._clock()

    def seen(self, key: str) -> bool:
        """Whether there was a look since the last `forget`."""
        return key in self._seen

    def due(self, key: str) -> bool:
        seen = self._seen.get(key)
        return seen is None or self._clock() >= seen.due

    def looked(self, key: str, outcome: Hashable, least: float, most: float) -> None:
        """Note a look and what it found. The pause doubles, from `least` to `most` seconds, while it finds the same."""
        seen = self._seen.get(key)
        pause = least if seen is None or seen.outcome != outcome else min(max(2 * seen.pause, least), most)
        self._seen[key] = _Seen(outcome, pause, self._clock() + pause)

    def forget(self, key: str) -> None:
        """Look again at once."""
        self._seen.pop(key, None)

    def clear(self) -> None:
        self._seen.clear()

    def next_due(self) -> float:
        """Seconds until the first key is due; 0 when none was looked at."""
        return max(min((seen.due for seen in self._seen.values()), default=0.0) - self._clock(), 0.0)
