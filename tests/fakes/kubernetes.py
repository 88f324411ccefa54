"""Kubernetes API servers in memory."""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from typing import Any

from secret_authority.clients.kubernetes import Api, ApiRefusedError, named
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import read_pieces
from secret_authority.engine.common.publisher import RESYNC_SECONDS


class FakeApi(Api):
    """Objects in memory, with the API server's rules for creation and replacement."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 0

    def get(self, path: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get(path))

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        below = [one for place, one in sorted(self.objects.items()) if place.rpartition("/")[0] == path]
        key, _, value = label_selector.partition("=")
        return copy.deepcopy([one for one in below if not key or one["metadata"].get("labels", {}).get(key) == value])

    def create(self, path: str, body: Any) -> dict[str, Any]:
        place = f"{path}/{body['metadata']['name']}"
        if place in self.objects:
            raise LostRace(path)
        return self.store(place, dict(body))

    def replace(self, path: str, body: Any) -> dict[str, Any]:
        if path not in self.objects:
            raise ApiRefusedError("PUT", path, 404, "NotFound")
        wanted = body["metadata"].get("resourceVersion")
        if wanted and self.objects[path]["metadata"]["resourceVersion"] != wanted:
            raise LostRace(path)
        return self.store(path, dict(body))

    def merge(self, path: str, body: Any) -> dict[str, Any]:
        return self.store(path, {**self.objects[path], **{k: v for k, v in body.items() if k != "metadata"}})

    def delete(self, path: str, uid: str | None = None) -> None:
        if uid and path in self.objects and self.objects[path]["metadata"].get("uid") != uid:
            raise LostRace(path)
        self.objects.pop(path, None)

    def store(self, place: str, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        body = copy.deepcopy(body)
        for name, text in body.pop("stringData", {}).items():
            body.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
        uid = (self.objects.get(place) or {}).get("metadata", {}).get("uid") or f"uid-{self.version}"
        body["metadata"] = {**body["metadata"], "uid": uid, "resourceVersion": str(self.version)}
        self.objects[place] = body
        return copy.deepcopy(body)


def merged(old: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, Mapping):
        return patch
    kept = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


class FakeConfigMaps(FakeApi):
    """ConfigMaps of one namespace, with a clock. No delete: the engine has no right to it."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.away, self.requests, self.writes = 0.0, False, 0, 0

    def get(self, path: str) -> dict[str, Any] | None:
        self.requests += 1
        if self.away:
            raise Unavailable("away")
        return super().get(path)

    def create(self, path: str, body: Any) -> dict[str, Any]:
        self.writes += 1
        return super().create(path, body)

    def merge(self, path: str, body: Any) -> dict[str, Any]:
        self.writes += 1
        return self.store(path, merged(self.objects[path], body))

    def delete(self, path: str, uid: str | None = None) -> None:
        raise AssertionError("the engine has no right to delete a ConfigMap")

    def data(self, name: str) -> dict[str, str]:
        found: dict[str, str] = self.objects[named("configmaps", "ns", name)]["data"]
        return found

    def lose(self, name: str) -> None:
        del self.objects[named("configmaps", "ns", name)]

    def later(self) -> None:
        self.now += RESYNC_SECONDS

    def trail(self) -> tuple[Event, ...] | None:
        names = (path.rpartition("/")[2] for path in self.objects)
        trail = read_pieces({name: self.data(name) for name in names})
        return None if trail is None else trail.events
