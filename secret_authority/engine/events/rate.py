"""How many messages are taken in a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Bucket:
    """A token bucket: as many at once as in a minute. `clock` is in seconds and never goes back."""

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = float(a_minute), clock
        self._left, self._at = self._most, clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may come now."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._at) * self._most / 60)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True
