"""What the engine tells: a ConfigMap for programs and people, an HTTP endpoint for probes and scraping."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from authority.audit import Event
from engine.kubernetes_api import Api
from engine.trust_store import put

log = logging.getLogger(__name__)

STATUS_CONFIG = "runtime-authority-status"
AUDIT_CONFIG = "audit-trail"
# A ConfigMap holds 1 MiB; the trail is cut into pieces well below that.
_EVENTS_EACH = 1000
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
        with self._lock:
            old = self._conditions.get(name)
            if old is None or (old.status, old.message) != (status, message):
                log.log(logging.INFO if status else logging.WARNING, "%s: %s", name, message or status)
            if old is None or old.status != status:
                self._conditions[name] = Condition(status, message)
            else:
                old.message = message

    def number(self, name: str, value: float) -> None:
        with self._lock:
            self._numbers[name] = value

    def ticked(self) -> None:
        with self._lock:
            self._tick = time.monotonic()

    def holds(self, name: str) -> bool:
        with self._lock:
            found = self._conditions.get(name)
            return found is not None and found.status

    def alive(self, within_seconds: float) -> bool:
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
    """Writes the ConfigMaps, each only when its content has changed."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self._last: dict[str, Mapping[str, str]] = {}

    def status(self, data: Mapping[str, str]) -> None:
        self._put(STATUS_CONFIG, data)

    def trail(self, events: Iterable[Event]) -> None:
        """The audit trail, a copy for reading; the trail itself is in Vault."""
        lines = [event.line() for event in events]
        for number, start in enumerate(range(0, max(len(lines), 1), _EVENTS_EACH)):
            name = AUDIT_CONFIG if number == 0 else f"{AUDIT_CONFIG}-{number}"
            self._put(name, {"events": "\n".join(lines[start : start + _EVENTS_EACH])})

    def _put(self, name: str, data: Mapping[str, str]) -> None:
        if self._last.get(name) != data:
            put(self._api, "configmaps", self._namespace, name, {"data": dict(data)}, _LABELS)
            self._last[name] = dict(data)
