"""The loops of an engine: each of its parts goes round in a thread of its own, as long as the lease is held."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.engine.common.barrier import run_step
from secret_authority.engine.common.lease import DURATION_SECONDS, Lease
from secret_authority.engine.common.status import Status

log = logging.getLogger(__name__)

RENEW_SECONDS = DURATION_SECONDS / 3
# How long a part rests after an error that it did not foresee.
AFTER_ERROR_SECONDS = 5.0
# How long the parts may take to end, in seconds, once they are asked to.
END_SECONDS = 20.0
# The longest rest of a part that rests as long as its round took: the lease has to be renewed.
REST_SECONDS = 5.0


def rest_after(took: float, least: float) -> float:
    """How many seconds to rest after a round: `least`, or as long as it took, so that it stays a part of the load."""
    return max(least, min(took, REST_SECONDS))


@dataclass(frozen=True)
class Part:
    """A piece of an engine's work. Nothing that another part does, or suffers, ends or delays it.

    `reconcile` does one round, and returns for how many seconds to rest after it. What it raises becomes the condition
    `name`. `patience`: its rounds may take so many times longer than those of others until the engine counts as dead.
    """

    name: str
    reconcile: Callable[[], float]
    patience: float = 1.0


class LeasedLoop:
    """Runs the parts of one engine. `idle_seconds`: between two tries to get the lease."""

    def __init__(self, lease: Lease, status: Status, idle_seconds: float, renew_seconds: float = RENEW_SECONDS) -> None:
        self._lease, self._status = lease, status
        self._idle_seconds, self._renew_seconds = idle_seconds, renew_seconds
        self._stop = threading.Event()
        self._lost = False
        self._renewed_at: float | None = None

    def stop(self) -> None:
        """End after the present rounds; from any thread or signal handler."""
        self._stop.set()

    def stopped(self) -> bool:
        return self._stop.is_set()

    def held(self) -> bool:
        """Whether the lease cannot be another engine's now. Asked before a change of authority."""
        return self._renewed_at is not None and time.monotonic() - self._renewed_at < DURATION_SECONDS

    def run(self, *parts: Part) -> int:
        """Returns an exit code: 0 when stopped, 1 when another engine has taken the lease.

        While the API server is away the rounds go on: every change of theirs is conditional.
        """
        while not self._stop.is_set() and not self._renew():
            self._status.heartbeat()
            self._stop.wait(self._idle_seconds)
        threads = [threading.Thread(target=self._go, args=(part,), name=part.name, daemon=True) for part in parts]
        if not self._stop.is_set():
            for part, thread in zip(parts, threads, strict=True):
                self._status.heartbeat(part.name, part.patience)  # a first round that hangs is seen as well
                thread.start()
            self._keep_lease()
        end = time.monotonic() + END_SECONDS
        for thread in threads:
            if thread.is_alive():
                thread.join(max(end - time.monotonic(), 0.0))
        if self._lost:
            log.error("another engine holds the lease; this one ends")
            return 1
        if self._renewed_at is not None:
            try:
                self._lease.release()
            except (Unavailable, LostRace):
                log.info("the lease was not given back; it ends by itself")
        return 0

    def _keep_lease(self) -> None:
        while not self._stop.wait(self._renew_seconds):
            self._status.heartbeat()
            if not self._renew() and self._lost:
                self._stop.set()

    def _renew(self) -> bool:
        """Whether the lease was taken or renewed now. `_lost` when it had been held and another has it."""
        begun = time.monotonic()
        try:
            if self._lease.hold():
                self._renewed_at = begun
                return True
        except Unavailable as error:
            log.warning("the lease cannot be renewed: %s", error)
            return False
        except Exception as error:
            log.error("the lease cannot be renewed: unexpected %s", type(error).__name__)
            return False
        self._lost = self._renewed_at is not None
        return False

    def _go(self, part: Part) -> None:
        while not self._stop.is_set():
            rest = run_step(self._status, part.name, part.reconcile)
            if rest is not None:
                self._status.set(part.name, True)
            self._status.heartbeat(part.name, part.patience)
            self._stop.wait(AFTER_ERROR_SECONDS if rest is None else rest)
