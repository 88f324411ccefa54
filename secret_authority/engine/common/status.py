"""What an engine knows of itself: conditions and numbers, for publishing, probes and scraping."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from secret_authority.core.conditions import STALE_SECONDS, Condition

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Held:
    condition: Condition
    # When it was observed last, by the clock that nobody sets.
    seen: float


class Status:
    """The engine's conditions and counters. Shared by its parts and the HTTP threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._conditions: dict[str, _Held] = {}
        self._numbers: dict[str, float] = {}
        # By part: when a round of it has ended last, and how much longer than usual one may take.
        self._beats: dict[str, tuple[float, float]] = {"": (time.monotonic(), 1.0)}

    def set(self, name: str, status: bool, message: str = "") -> None:
        """Set a condition that was observed now, and log it when it has changed."""
        now = present_time()
        with self._lock:
            held = self._conditions.get(name)
            old = held.condition if held else None
            if old is None or (old.status, old.message) != (status, message):
                log.log(logging.INFO if status else logging.WARNING, "%s: %s", name, message or status)
            since = old.since if old is not None and old.status == status else now
            self._conditions[name] = _Held(Condition(status, message, since, now), time.monotonic())

    def confirm(self, name: str) -> None:
        """A condition was observed again, as it was set last."""
        with self._lock:
            if held := self._conditions.get(name):
                fresh = replace(held.condition, observed_at=present_time())
                self._conditions[name] = _Held(fresh, time.monotonic())

    def number(self, name: str, value: float | None) -> None:
        """Set a metric, `secret_authority_NAME`; None takes it away, for what is not known any more."""
        with self._lock:
            if value is None:
                self._numbers.pop(name, None)
            else:
                self._numbers[name] = value

    def count(self, name: str, by: float = 1) -> None:
        """Add to a metric, `secret_authority_NAME`."""
        with self._lock:
            self._numbers[name] = self._numbers.get(name, 0) + by

    def heartbeat(self, part: str = "", patience: float = 1.0) -> None:
        """A round of a part is over. `patience`: its next one may take so many times longer than usual."""
        with self._lock:
            self._beats[part] = (time.monotonic(), patience)

    def holds(self, name: str) -> bool:
        """Whether the condition is true, as of a short time ago; False for one that nobody has set yet."""
        with self._lock:
            held = self._conditions.get(name)
            return held is not None and held.condition.status and time.monotonic() - held.seen <= STALE_SECONDS

    def alive(self, within_seconds: float) -> bool:
        """Whether of each part a round has ended in the last `within_seconds` seconds, times its patience."""
        now = time.monotonic()
        with self._lock:
            return all(now - beat < within_seconds * patience for beat, patience in self._beats.values())

    def as_dict(self) -> dict[str, dict[str, object]]:
        with self._lock:
            return {name: held.condition.fields() for name, held in sorted(self._conditions.items())}

    def shown(self) -> tuple[tuple[str, bool, str], ...]:
        """The conditions without their times: equal as long as nothing has changed."""
        with self._lock:
            return tuple(
                (name, held.condition.status, held.condition.message) for name, held in sorted(self._conditions.items())
            )

    def metrics(self) -> str:
        """Prometheus text format. A condition that was not observed lately has an age and no value."""
        now = time.monotonic()
        with self._lock:
            held = sorted(self._conditions.items())
            lines = [
                f'secret_authority_condition{{type="{name}"}} {int(one.condition.status)}'
                for name, one in held
                if now - one.seen <= STALE_SECONDS
            ]
            lines += [
                f'secret_authority_condition_age_seconds{{type="{name}"}} {now - one.seen:.0f}' for name, one in held
            ]
            lines += [f"secret_authority_{name} {value:.15g}" for name, value in sorted(self._numbers.items())]
        return "\n".join(lines) + "\n"


def present_time() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
