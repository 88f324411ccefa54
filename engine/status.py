"""What the engine tells: a ConfigMap for programs and people, an HTTP endpoint for probes and scraping."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from authority import published_trail
from authority.audit import Event
from engine.kubernetes_api import Api, Object, named
from engine.trust_store import put

log = logging.getLogger(__name__)

STATUS_CONFIG = "runtime-authority-status"
# How long a lost or altered ConfigMap may stay so, in seconds.
KEEP_SECONDS = 30.0
_LABELS = {"app.kubernetes.io/part-of": "secret-authority", "secret-authority.dev/part": "status"}


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
        self._tick = time.monotonic()

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

    def ticked(self) -> None:
        """A round is over: the loop is alive."""
        with self._lock:
            self._tick = time.monotonic()

    def holds(self, name: str) -> bool:
        """Whether the condition is true; False for one that nobody has set yet."""
        with self._lock:
            found = self._conditions.get(name)
            return found is not None and found.status

    def alive(self, within_seconds: float) -> bool:
        """Whether a round has ended in the last `within_seconds` seconds."""
        with self._lock:
            return time.monotonic() - self._tick < within_seconds

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


def serve(status: Status, port: int, ready_when: str, alive_seconds: float = 120) -> ThreadingHTTPServer:
    """Answer /healthz, /readyz and /metrics in threads of their own. Nothing secret is in any of them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/healthz":
                    self._answer(200 if status.alive(alive_seconds) else 503, "")
                case "/readyz":
                    self._answer(200 if status.holds(ready_when) else 503, json.dumps(status.as_dict()))
                case "/metrics":
                    self._answer(200, status.metrics())
                case _:
                    self._answer(404, "")

        def _answer(self, code: int, body: str) -> None:
            data = body.encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return  # probes are no news

    server = ThreadingHTTPServer(("", port), Handler)
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class Publisher:
    """Keeps the ConfigMaps of the engine as they should be: a lost or altered one is put right.

    What was told last stays in memory and is compared with the cluster at every `keep`, at most each
    `KEEP_SECONDS`; a change of content goes out at once. Every method raises `Unavailable`, `LostRace` and
    `ApiRefusedError`; what could not be written is tried again by the next `keep`.
    """

    def __init__(self, api: Api, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._wanted: dict[str, Mapping[str, str]] = {}
        # The names whose content has not gone out yet, and when the cluster was looked at last.
        self._dirty: set[str] = set()
        self._kept_at: float | None = None

    def status(self, data: Mapping[str, str]) -> None:
        """The conditions and the evidence of this engine."""
        self._tell({STATUS_CONFIG: data})

    def trail(self, events: Iterable[Event]) -> None:
        """The audit trail, a copy for reading; the trail itself is in Vault."""
        pieces = published_trail.pieces(events)
        for name in [name for name in self._wanted if name != STATUS_CONFIG and name not in pieces]:
            del self._wanted[name]  # the trail has become shorter: Vault was restored
        self._tell(pieces)

    def keep(self) -> None:
        """Compare what was told with what the cluster has, now and then, and put it right."""
        now = self._clock()
        if not self._dirty and self._kept_at is not None and now - self._kept_at < KEEP_SECONDS:
            return
        for name, data in self._wanted.items():
            self._put(name, data)
        if published_trail.NAME in self._wanted:
            self._empty_left_overs()
        self._kept_at = now

    def _tell(self, wanted: Mapping[str, Mapping[str, str]]) -> None:
        changed = {
            name: dict(data)
            for name, data in wanted.items()
            if name in self._dirty or self._wanted.get(name) != data
        }
        self._wanted |= changed
        self._dirty |= changed.keys()
        for name, data in changed.items():
            self._put(name, data)

    def _put(self, name: str, data: Mapping[str, str]) -> None:
        found = self._api.get(named("configmaps", self._namespace, name))
        if not _is(found, data):
            surplus = set((found or {}).get("data") or {}) - set(data)
            content = {"data": {**data, **dict.fromkeys(surplus)}}
            put(self._api, "configmaps", self._namespace, name, content, _LABELS)
            if found is not None and name not in self._dirty:
                log.warning("ConfigMap %s was not as it should be; it is again", name)
        self._dirty.discard(name)

    def _empty_left_overs(self) -> None:
        """Pieces of a longer trail, or of nobody knows what. The engine holds no right to delete ConfigMaps."""
        for name in map(published_trail.piece_name, range(published_trail.MOST_PIECES)):
            if name in self._wanted:
                continue
            if self._api.get(named("configmaps", self._namespace, name)) is not None:
                self._put(name, published_trail.EMPTY)


def _is(found: Object | None, data: Mapping[str, str]) -> bool:
    if found is None or (found.get("data") or {}) != data:
        return False
    labels = found["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in _LABELS.items())
