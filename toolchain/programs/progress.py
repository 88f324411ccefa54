"""Says what is being built, for how long, and what is left: at the pace at which this machine really works."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TextIO

# How long the machine counts as a quiet one, in seconds, against what is measured of it since.
PRIOR_SECONDS = 20.0
# A build that has used more than its estimate still has this share of it to go.
REST = 0.1


class Progress:
    """Lines on a terminal are rewritten; elsewhere one appears every `interval` seconds.

    Estimates are processor seconds. Other work on the machine does not change them; it changes how many of them
    pass in a second, and that is measured.
    """

    def __init__(
        self,
        estimates: Mapping[str, float],
        workers: int,
        out: TextIO = sys.stderr,
        used: Callable[[], Mapping[str, float]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """estimates: processor seconds by program; workers: how many are built at a time.

        used: what each program has used until now, in processor seconds.
        """
        self._estimates, self._workers, self._out, self._used, self._clock = estimates, workers, out, used, clock
        self._terminal = out.isatty()
        self._interval = 1.0 if self._terminal else 30.0
        self._start = clock()
        self._began: dict[str, float] = {}
        self._waiting = set(estimates)
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def begin(self, name: str, doing: str) -> None:
        """A program is taken up."""
        with self._lock:
            self._waiting.discard(name)
            self._began[name] = self._clock()
            self._line(f"{name}: {doing}, {duration(self._estimates[name])} of one processor; {self._left()}")

    def done(self, name: str, result: str) -> None:
        """A program is ready, or failed."""
        with self._lock:
            seconds = self._clock() - self._began.pop(name)
            self._line(f"{name}: {result} after {duration(seconds)}; {self._left()}")

    def seconds_left(self) -> float:
        """How long the rest takes when the machine goes on as it has gone until now."""
        used = self._used()
        running = [max(self._estimates[n] - used.get(n, 0.0), self._estimates[n] * REST) for n in self._began]
        rest = running + [self._estimates[name] for name in self._waiting]
        elapsed = self._clock() - self._start
        # Processor seconds that pass in a second, over all builds.
        pace = (sum(used.values()) + PRIOR_SECONDS * self._workers) / (elapsed + PRIOR_SECONDS)
        return max([sum(rest), *(seconds * self._workers for seconds in rest)], default=0.0) / pace

    def _left(self) -> str:
        count = len(self._began) + len(self._waiting)
        return f"{count} left, about {duration(self.seconds_left())}" if count else "nothing left"

    def _tick(self) -> None:
        while not self._end.wait(self._interval):
            with self._lock:
                if self._began:
                    now = self._clock()
                    running = ", ".join(f"{name} {duration(now - began)}" for name, began in self._began.items())
                    text = f"building {running}; {self._left()}"
                    self._out.write(f"\r\033[K{text[:118]}" if self._terminal else f"  {text}\n")
                    self._out.flush()
        if self._terminal:
            self._out.write("\r\033[K")

    def _line(self, text: str) -> None:
        self._out.write(("\r\033[K" if self._terminal else "") + text + "\n")
        self._out.flush()


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
