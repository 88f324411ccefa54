"""What goes on in a thread beside a test."""

from __future__ import annotations

import threading
from typing import Self


class Background:
    """Runs `_run` for as long as the context lasts; `_stop` is set when it should return."""

    _stop: threading.Event
    _thread: threading.Thread

    def _run(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
