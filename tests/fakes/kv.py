"""Vault's KV v2 engine in memory: versions, check-and-set, custom metadata. It counts requests."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from secret_authority.clients.vault import TIME_PATH, Vault
from secret_authority.clients.vault_counters import LEADER_PATH
from secret_authority.core.errors import LostRace


@dataclass
class _Entry:
    versions: list[tuple[dict[str, Any] | None, str]] = field(default_factory=list)
    custom: dict[str, str] = field(default_factory=dict)


class KvVault(Vault):
    """All mounts together: paths are MOUNT/data/PATH, MOUNT/metadata/PATH, MOUNT/destroy/PATH."""

    def __init__(self) -> None:
        super().__init__("https://vault.invalid")
        self.held: dict[str, _Entry] = {}
        self.requests: Counter[str] = Counter()

    @staticmethod
    def _split(path: str) -> tuple[str, str]:
        mount, kind, rest = path.partition("?")[0].split("/", 2)
        return kind, f"{mount}/{rest.rstrip('/')}"

    def read(self, path: str) -> dict[str, Any] | None:
        if path == LEADER_PATH:
            return {}  # it has no log
        self.requests["read"] += 1
        if path == TIME_PATH:
            return {"server_time_utc": int(time.time())}
        kind, place = self._split(path)
        found = self.held.get(place)
        if found is None:
            return None
        if kind == "metadata":
            versions = {
                str(n): {"created_time": at, "destroyed": data is None}
                for n, (data, at) in enumerate(found.versions, 1)
            }
            shown = {"versions": versions, "current_version": len(versions), "custom_metadata": dict(found.custom)}
            return {"data": {**shown, "created_time": found.versions[0][1] if found.versions else ""}}
        number = int(path.partition("?version=")[2] or len(found.versions))
        data, at = found.versions[number - 1]
        return {"data": {"data": data, "metadata": {"version": number, "created_time": at}}}

    def list(self, path: str) -> list[str]:
        self.requests["list"] += 1
        _, place = self._split(path)
        folder = f"{place}/"
        below = [name.removeprefix(folder) for name in self.held if name.startswith(folder)]
        return sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in below})

    def write(self, path: str, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        self.requests["write"] += 1
        kind, place = self._split(path)
        assert data is not None
        if kind == "destroy":
            found = self.held[place]
            for number in data["versions"]:
                found.versions[number - 1] = (None, found.versions[number - 1][1])
            return {}
        entry = self.held.setdefault(place, _Entry())
        if data["options"]["cas"] != len(entry.versions):
            raise LostRace(path)
        entry.versions.append((dict(data["data"]), datetime.now(UTC).isoformat().replace("+00:00", "Z")))
        return {"data": {"version": len(entry.versions)}}

    def patch(self, path: str, data: Mapping[str, Any]) -> dict[str, Any]:
        self.requests["patch"] += 1
        custom = self.held.setdefault(self._split(path)[1], _Entry()).custom
        for key, text in data["custom_metadata"].items():
            custom.pop(key, None)
            if text is not None:
                custom[key] = text
        return {}
