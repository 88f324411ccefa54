"""Brings a new version in Vault to its consumers within seconds.

Vault's version numbers are metadata; no value is read here, and no Secret. For each consumer the version is
written as an annotation on its ExternalSecret, which makes External Secrets read Vault at once. Whether it
has done so is seen in the ExternalSecret's status. All of it is in the cluster's objects, so a restart of
this program loses nothing.

Upstream: external-secrets v0.20 refreshes an ExternalSecret when its labels or annotations change, and
writes a hash of them to status.syncedResourceVersion after a successful refresh.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from secret_authority.clients.kubernetes import Api, Object
from secret_authority.clients.vault import Vault
from secret_authority.contract.consumption_settings import SyncTarget
from secret_authority.contract.names import (
    CONSUMPTION_ACCOUNT,
    ESO_API,
    RESYNC_ANNOTATION,
    SYNCED_BEFORE_ANNOTATION,
    VERSION_ANNOTATION,
)
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.foreign_messages import without_values
from secret_authority.engine.consumption.versions import Place, Version, Versions

# After a failure External Secrets waits up to seven minutes; it is asked again sooner, ever more rarely.
RESYNC_SECONDS = 5.0
RESYNC_SECONDS_MOST = 60.0


@dataclass(frozen=True)
class SyncStatus:
    """The state of a consumer. `problem` is empty when its Secret has the newest version."""

    consumer: SyncTarget
    version: Version
    problem: str = ""
    # Vault's newest version is older than the one that the consumer has: see `rolled_back`.
    rolled_back: bool = False


def rolled_back(found: Object, version: Version) -> str:
    """The version that the ExternalSecret has brought, when Vault's newest is an older one; else empty.

    Vault was restored from a snapshot. The value may be one that was replaced for good reason, so it is not delivered
    until a person removes the annotation. A lower number that was written later is a path that was deleted with its
    metadata and written again, which is a new value.
    """
    before = (found["metadata"].get("annotations") or {}).get(VERSION_ANNOTATION, "")
    number, _, written = before.partition("@")
    now = version.mark.partition("@")[2]
    if not (number.isdecimal() and written.isdecimal() and now.isdecimal()):
        return ""
    return number if version.number <= int(number) and int(now) < int(written) else ""


def request_version(api: Api, found: Object, version: Version) -> None:
    """Make External Secrets read Vault now, for this version of the value."""
    metadata = found["metadata"]
    before = (found.get("status") or {}).get("syncedResourceVersion") or "never"
    path = f"{ESO_API}/namespaces/{metadata['namespace']}/externalsecrets/{metadata['name']}"
    _annotate(
        api, path, {VERSION_ANNOTATION: version.mark, SYNCED_BEFORE_ANNOTATION: before}, metadata["resourceVersion"]
    )


def what_is_missing(found: Object, version: Version) -> str:
    """Empty when the ExternalSecret has brought this version to its Secret, else what is missing."""
    annotations = found["metadata"].get("annotations") or {}
    status = found.get("status") or {}
    if annotations.get(VERSION_ANNOTATION) != version.mark:
        return f"version {version.number} is not asked for yet"
    ready = _condition(status)
    if ready.get("status") != "True":
        names = found["metadata"].get("name", ""), found["metadata"].get("namespace", "")
        said = without_values(str(ready.get("message") or ""), names)
        return said or "External Secrets has not looked at it yet"
    if status.get("syncedResourceVersion", "") in ("", annotations.get(SYNCED_BEFORE_ANNOTATION)):
        return f"version {version.number} is on its way"
    return ""


class SecretDelivery:
    """Looks at every consumer and does what is missing. Keeps times of requests and what it last read of Vault."""

    def __init__(self, api: Api, vault: Vault) -> None:
        self._api, self._versions = api, Versions(vault)
        # When an object may be asked to resync next, and how long it then waits.
        self._resyncs: dict[str, tuple[float, float]] = {}
        self._vault_away = False

    def written(self) -> bool:
        """Whether Vault has counted a change since `deliver` read the versions."""
        return self._versions.written()

    def deliver(self, consumers: Iterable[SyncTarget]) -> list[SyncStatus]:
        """Ask for the newest version wherever it is not asked for; gives the state of each consumer."""
        by_place: dict[Place, list[SyncTarget]] = {}
        for consumer in consumers:
            by_place.setdefault((consumer.mount, consumer.path), []).append(consumer)
        objects = {
            (namespace, found["metadata"]["name"]): found
            for namespace in sorted({consumer.namespace for mine in by_place.values() for consumer in mine})
            for found in self._api.list(f"{ESO_API}/namespaces/{namespace}/externalsecrets")
        }
        # Each version is asked for as soon as it is known, while others are still read.
        return [
            self._one(consumer, version, objects.get((consumer.namespace, consumer.name)))
            for place, version in self._versions_of(by_place)
            for consumer in by_place[place]
        ]

    def _versions_of(self, places: Collection[Place]) -> Iterator[tuple[Place, Version]]:
        try:
            for found in self._versions.each(places):
                if self._vault_away:
                    # It is back: whatever failed meanwhile is asked again at once.
                    self._vault_away = False
                    self._resyncs.clear()
                yield found
        except Unavailable:
            self._vault_away = True
            raise

    def _one(self, consumer: SyncTarget, version: Version, found: Object | None) -> SyncStatus:
        if found is None:
            return SyncStatus(consumer, version, "there is no ExternalSecret")
        if not version.number:
            return SyncStatus(consumer, version, "Vault has no value yet")
        if version.deleted:
            return SyncStatus(
                consumer, version, f"version {version.number} in Vault is deleted; the Secret stays as it is"
            )
        wrong = (version.base64 & consumer.keys) ^ consumer.binary
        if wrong:
            listed = ", ".join(sorted(wrong))
            return SyncStatus(
                consumer, version, f"Vault and the field `binary` of the catalogue disagree over {listed}"
            )
        if newer := rolled_back(found, version):
            where = f"externalsecret {consumer.name} --namespace {consumer.namespace}"
            problem = (
                f"Vault was rolled back: its newest version is {version.number}, and version {newer} was delivered "
                f"before. It is not delivered. Fix: write a new version, or accept this one with `kubectl annotate "
                f"{where} {VERSION_ANNOTATION}-` (docs/consumption.md)"
            )
            return SyncStatus(consumer, version, problem, rolled_back=True)
        annotations = found["metadata"].get("annotations") or {}
        problem = what_is_missing(found, version)
        path = f"{ESO_API}/namespaces/{consumer.namespace}/externalsecrets/{consumer.name}"
        if not problem:
            self._resyncs.pop(path, None)
        elif annotations.get(VERSION_ANNOTATION) != version.mark:
            try:
                request_version(self._api, found, version)
            except LostRace:
                problem = f"version {version.number} is asked for in the next round: it was changed meanwhile"
        elif _condition(found.get("status") or {}).get("status") == "False":
            self._request_resync(path)
        return SyncStatus(consumer, version, problem)

    def resync_failed_stores(self, namespaces: Iterable[str]) -> None:
        """A store that could not log in is tried again: while it is not ready, External Secrets asks nothing of it."""
        for namespace in namespaces:
            for store in self._api.list(f"{ESO_API}/namespaces/{namespace}/secretstores"):
                path = f"{ESO_API}/namespaces/{namespace}/secretstores/{store['metadata']['name']}"
                if _condition(store.get("status") or {}).get("status") == "False":
                    self._request_resync(path)
                else:
                    self._resyncs.pop(path, None)

    def _request_resync(self, path: str) -> None:
        now = time.monotonic()
        due, pause = self._resyncs.get(path, (now, RESYNC_SECONDS))
        if now < due:
            return
        self._resyncs[path] = (now + pause, min(2 * pause, RESYNC_SECONDS_MOST))
        _annotate(self._api, path, {RESYNC_ANNOTATION: str(int(time.time()))})


def _annotate(api: Api, path: str, annotations: Mapping[str, str], resource_version: str | None = None) -> None:
    metadata: dict[str, Any] = {"annotations": dict(annotations)}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    api.merge(f"{path}?fieldManager={CONSUMPTION_ACCOUNT}", {"metadata": metadata})


def _condition(status: Mapping[str, Any]) -> Mapping[str, str]:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "Ready":
            found: Mapping[str, str] = condition
            return found
    return {}
