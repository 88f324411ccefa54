"""Requests of a person to the engine of rotation: filed in Vault create-only, answered there, and followed to the end.

The engine publishes the state of each rotation as a ConfigMap without values; a request and its answer are in Vault.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from secret_authority.contract.names import ENGINE_NAMESPACE, ROTATION_MOUNT, ROTATION_REQUESTS, ROTATION_STATUS
from secret_authority.core.conditions import silence
from secret_authority.core.errors import InvalidInputError, Problem, Unavailable
from secret_authority.core.rotation.document import State

if TYPE_CHECKING:
    from secret_authority.access.kubeconfig import ClusterConnection
    from secret_authority.clients.vault import Vault

POLL_SECONDS = 0.5
ANSWER_SECONDS = 60.0


def new_id(now: datetime) -> str:
    """An id that sorts by time and that nobody else has."""
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def request_path(secret: str, request: str) -> str:
    return f"{ROTATION_MOUNT}/data/{ROTATION_REQUESTS}/{secret}/{request}"


def outcome(vault: Vault, path: str) -> str:
    """What became of the request; empty when the engine has not answered within a minute."""
    end = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < end:
        found = ((vault.read(path) or {}).get("data") or {}).get("data") or {}
        if found.get("outcome"):
            return str(found["outcome"])
        time.sleep(POLL_SECONDS)
    return ""


def follow(
    way: ClusterConnection, name: str, identity: str, begun: float, wait: float, before: str | None = None
) -> int:
    """Print each state of the rotation until its end. Returns 0 when it is done, 1 when it ends otherwise.

    `begun` is the monotonic time of the request, `wait` is in seconds from then. `before`: the rotation that the status
    showed when the request was filed, and shows for a moment longer; None for what it shows now.
    """
    shown = ""
    while time.monotonic() < begun + wait:
        entry = read_status(way).get(name, {})
        state = str(entry.get("state", ""))
        before = str(entry.get("id", "")) if before is None else before
        if before and entry.get("id") == before != identity:
            time.sleep(POLL_SECONDS)
            continue
        if entry.get("id") != identity and entry.get("generation"):
            print(f"{name}: another rotation follows; see `secret-authority rotation history {name}`")
            return 0
        line = state + (f": {entry['waitsFor']}" if entry.get("waitsFor") and state != State.IDLE else "")
        if line != shown and state != State.IDLE:
            print(f"{name}: {line} ({time.monotonic() - begun:.1f} s)")
        shown = line
        if state == State.IDLE and entry.get("id") == identity and entry.get("result"):
            print(f"{name}: {entry['result']} ({time.monotonic() - begun:.1f} s)")
            return 0 if str(entry["result"]).startswith("done") else 1
        time.sleep(POLL_SECONDS)
    print(f"{name}: not at its end after {wait:g} s; the engine continues", file=sys.stderr)
    return 1


def read_status(way: ClusterConnection) -> dict[str, dict[str, Any]]:
    """What the engine of rotation published of each secret with a rotator. Raises `Unavailable` without it."""
    return _published(way, "secrets")


def read_watched(way: ClusterConnection) -> dict[str, dict[str, Any]]:
    """What it published of the values that are issued elsewhere. Raises `Unavailable` without it."""
    return _published(way, "watched")


def silence_of_engine(way: ClusterConnection) -> str:
    """Why what the engine published is its last word only; empty while it is up. Raises `Unavailable` without it."""
    return silence(_data(way).get("conditions", ""), datetime.now(UTC))


def _published(way: ClusterConnection, key: str) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = json.loads(_data(way).get(key) or "{}")
    return entries


def _data(way: ClusterConnection) -> Mapping[str, str]:
    found = way.api().get(f"api/v1/namespaces/{ENGINE_NAMESPACE}/configmaps/{ROTATION_STATUS}")
    if found is None:
        raise Unavailable(f"ConfigMap {ENGINE_NAMESPACE}/{ROTATION_STATUS} is missing: no secret has a rotator yet")
    return found.get("data") or {}


def known_secret(entries: Mapping[str, object], name: str) -> None:
    """Raises `InvalidInputError` for a secret that the engine does not rotate."""
    if name not in entries:
        known = ", ".join(sorted(entries)) or "none"
        raise InvalidInputError([Problem("the command", name, "has no rotator", f"name one of: {known}")])
