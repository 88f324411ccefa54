"""Many secrets that are due at once, a Vault in memory, and a modelled cluster whose workloads use several each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from secret_authority.contract.names import SECRET_VERSIONS, SYNCED_BEFORE_ANNOTATION, VERSION_ANNOTATION
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.timestamps import api_time
from secret_authority.engine.consumption.versions import Version
from tests.fakes.kv import KvVault


def name_of(number: int) -> str:
    return f"secret-{number:05}"


def herd_catalogue(count: int, ttl: str = "1h") -> Catalogue:
    """`count` generated secrets of one key; each has a consumer Secret of its own name in namespace shop."""
    secrets = [
        {
            "name": name_of(number),
            "class": "internal",
            "owner": "team",
            "vault": {"datasource": "herd", "consumer": name_of(number)},
            "consumers": [{"namespace": "shop", "secret": name_of(number), "keys": {"KEY": "key"}}],
            "rotation": {"type": "time-based", "ttl": ttl},
            "rotator": {"kind": "generated"},
        }
        for number in range(count)
    ]
    header = {"apiVersion": "secret-authority.dev/v1", "kind": "SecretCatalogue", "bootstrapNamespaces": ["b"]}
    return Catalogue.model_validate({**header, "secrets": secrets})


def hand_over(vault: Any, catalogue: Catalogue, age: timedelta) -> None:
    """A first value and a record for each, all of the same minute."""
    at = (datetime.now(UTC) - age).isoformat(timespec="milliseconds")
    vault.write("platform-authority/data/digest-key", {"options": {"cas": 0}, "data": {"key": "A" * 44}})
    for secret in catalogue:
        place = secret.vault
        vault.write(f"{place.mount}/data/{place.path}", {"options": {"cas": 0}, "data": {"key": "first"}})
        record = {
            "authority": "vault",
            "secret": secret.name,
            "handover_id": "ho-1",
            "handover_digest": "hmac-sha256:00",
            "handover_run": "run",
            "handover_at": at,
        }
        assert secret.rotation is not None
        custom = {"custom_metadata": {**record, **secret.rotation.metadata()}}
        vault.patch(f"{place.mount}/metadata/{place.path}", custom)


class HerdCluster:
    """External Secrets, and workloads of one pod; each uses `share` Secrets. `settle` lets everything arrive."""

    def __init__(self, vault: KvVault, count: int, share: int) -> None:
        self._vault, self._count, self._share = vault, count, share
        self.versions = [self._newest(number) for number in range(count)]
        self.pods = [self._marks(workload) for workload in range(count // share)]
        self._specs = [self._spec(workload) for workload in range(count // share)]
        self.restarts: Counter[int] = Counter()
        self.requests = 0
        self.objects: dict[str, Any] = {}

    def _newest(self, number: int) -> Version:
        at = self._vault.held[f"platform-data/herd/{name_of(number)}"].versions
        return Version(len(at), api_time(at[-1][1]))

    def _marks(self, workload: int) -> str:
        numbers = range(workload * self._share, (workload + 1) * self._share)
        return ",".join(f"{name_of(number)}={self.versions[number].mark}" for number in numbers)

    def _spec(self, workload: int) -> dict[str, Any]:
        numbers = range(workload * self._share, (workload + 1) * self._share)
        return {
            "containers": [{"name": "app", "envFrom": [{"secretRef": {"name": name_of(number)}} for number in numbers]}]
        }

    def settle(self) -> None:
        self.versions = [self._newest(number) for number in range(self._count)]
        for workload, marks in enumerate(self.pods):
            wanted = self._marks(workload)
            if wanted != marks:
                self.pods[workload] = wanted
                self.restarts[workload] += 1

    def get(self, path: str) -> dict[str, Any] | None:
        self.requests += 1
        if "externalsecrets" not in path:
            return self.objects.get(path)
        number = int(path.rpartition("-")[2])
        annotations = {VERSION_ANNOTATION: self.versions[number].mark, SYNCED_BEFORE_ANNOTATION: "before"}
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "syncedResourceVersion": "after"}
        return {"metadata": {"annotations": annotations}, "status": ready}

    def list(self, path: str, label_selector: str = "") -> list[dict[str, Any]]:
        self.requests += 1
        return [
            {
                "metadata": {"name": f"workload-{workload}", "annotations": {SECRET_VERSIONS: marks}},
                "spec": self._specs[workload],
                "status": {
                    "phase": "Running",
                    "containerStatuses": [{"name": "app", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
                },
            }
            for workload, marks in enumerate(self.pods)
        ]

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.requests += 1
        self.objects[f"{path}/{body['metadata']['name']}"] = dict(body)
        return dict(body)

    def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.requests += 1
        self.objects[path] = dict(body)
        return dict(body)
