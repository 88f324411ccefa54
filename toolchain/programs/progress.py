"""Says what is being built, for how long, and what is left."""

from __future__ import annotations

import sys
import threading
import time
from typing import TextIO


class Progress:
    """Lines on a terminal are rewritten; elsewhere one appears every `interval` seconds."""

    def __init__(self, estimates: dict[str, float], workers: int, out: TextIO = sys.stderr) -> None:
        """estimates: seconds by program; workers: how many are built at a time."""
        self._estimates = estimates
        self._workers = workers
        self._out = out
        self._terminal = out.isatty()
        self._interval = 1.0 if self._terminal else 30.0
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
            self._began[name] = time.monotonic()
            self._line(f"{name}: {doing}, usually {clock(self._estimates[name])}; {self._left()}")

    def done(self, name: str, result: str) -> None:
        """A program is ready, or failed."""
        with self._lock:
            seconds = time.monotonic() - self._began.pop(name)
            self._line(f"{name}: {result} after {clock(seconds)}; {self._left()}")

    def _left(self) -> str:
        now = time.monotonic()
        running = [max(0.0, self._estimates[name] - (now - began)) for name, began in self._began.items()]
        waiting = [self._estimates[name] for name in self._waiting]
        seconds = max([sum(running + waiting) / self._workers, *running, *waiting], default=0.0)
        count = len(running) + len(waiting)
        return f"{count} left, about {clock(seconds)}" if count else "nothing left"

    def _tick(self) -> None:
        while not self._end.wait(self._interval):
            with self._lock:
                if self._began:
                    now = time.monotonic()
                    running = ", ".join(
                        f"{name} {clock(now - began)} of {clock(self._estimates[name])}"
                        for name, began in self._began.items()
                    )
                    text = f"building {running}; {self._left()}"
                    self._out.write(f"\r\033[K{text[:118]}" if self._terminal else f"  {text}\n")
                    self._out.flush()
        if self._terminal:
            self._out.write("\r\033[K")

    def _line(self, text: str) -> None:
        self._out.write(("\r\033[K" if self._terminal else "") + text + "\n")
        self._out.flush()


def clock(seconds: float) -> str:
    """Seconds as people read them."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
