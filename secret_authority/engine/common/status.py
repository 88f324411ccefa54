"""What the engine tells: a ConfigMap for programs and people, an HTTP endpoint for probes and scraping."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

log = logging.getLogger(__name__)


@dataclass
class Condition:
    """One condition, as in the Kubernetes API."""

    status: bool
    message: str = ""
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class Status:
    """The engine's conditions and counters. Shared by the loop and the HTTP threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._conditions: dict[str, Condition] = {}
        self._numbers: dict[str, float] = {}
        self._beat = time.monotonic()

    def set(self, name: str, status: bool, message: str = "") -> None:
        """Set a condition, and log it when it has changed."""
        with self._lock:
            old = self._conditions.get(name)
            if old is None or (old.status, old.message) != (status, message):
                log.log(logging.INFO if status else logging.WARNING, "%s: %s", name, message or status)
            if old is None or old.status != status:
                self._conditions[name] = Condition(status, message)
            else:
                old.message = message

    def number(self, name: str, value: float) -> None:
        """Set a metric, `secret_authority_NAME`."""
        with self._lock:
            self._numbers[name] = value

    def heartbeat(self) -> None:
        """A round is over: the loop is alive."""
        with self._lock:
            self._beat = time.monotonic()

    def holds(self, name: str) -> bool:
        """Whether the condition is true; False for one that nobody has set yet."""
        with self._lock:
            found = self._conditions.get(name)
            return found is not None and found.status

    def alive(self, within_seconds: float) -> bool:
        """Whether a round has ended in the last `within_seconds` seconds."""
        with self._lock:
            return time.monotonic() - self._beat < within_seconds

    def as_dict(self) -> dict[str, dict[str, object]]:
        with self._lock:
            return {
                name: {"status": c.status, "message": c.message, "since": c.since}
                for name, c in sorted(self._conditions.items())
            }

    def metrics(self) -> str:
        """Prometheus text format."""
        with self._lock:
            lines = [
                f'secret_authority_condition{{type="{name}"}} {int(condition.status)}'
                for name, condition in sorted(self._conditions.items())
            ]
            lines += [f"secret_authority_{name} {value:g}" for name, value in sorted(self._numbers.items())]
        return "\n".join(lines) + "\n"
