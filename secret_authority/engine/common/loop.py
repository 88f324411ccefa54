"""The loop of an engine: round after round, as long as it holds its lease and nobody stops it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.common.lease import Lease
from secret_authority.engine.common.status import Status

log = logging.getLogger(__name__)


class LeasedLoop:
    """Runs rounds, and tells `status` that it is alive. `idle_seconds`: between two tries to get the lease."""

    def __init__(self, lease: Lease, status: Status, idle_seconds: float) -> None:
        self._lease, self._status, self._idle_seconds = lease, status, idle_seconds
        self._stop = threading.Event()

    def stop(self) -> None:
        """End after the present round; from any thread or signal handler."""
        self._stop.set()

    def stopped(self) -> bool:
        return self._stop.is_set()

    def run(self, one_round: Callable[[], float]) -> int:
        """`one_round` returns for how many seconds to rest after it.

        Returns an exit code: 0 when stopped, 1 when another engine has taken the lease. While the API server is
        away rounds go on: every change of theirs is conditional.
        """
        held = False
        while not self._stop.is_set():
            try:
                if not self._lease.hold():
                    if held:
                        log.error("another engine holds the lease; this one ends")
                        return 1
                    self._status.heartbeat()
                    self._stop.wait(self._idle_seconds)
                    continue
                held = True
            except Unavailable as error:
                log.warning("the lease cannot be renewed: %s", error)
            rest = one_round()
            self._status.heartbeat()
            self._stop.wait(rest)
        if held:
            try:
                self._lease.release()
            except (Unavailable, LostRace):
                log.info("the lease was not given back; it ends by itself")
        return 0
