"""Brings a new version in Vault to its consumers within seconds, and restarts the workloads that ask for it.

Vault's version numbers are metadata; no value is read here, and no Secret. For each consumer the version is
written as an annotation on its ExternalSecret, which makes External Secrets read Vault at once. Whether it
has done so is seen in the ExternalSecret's status. All of it is in the cluster's objects, so a restart of
this program loses nothing.

Upstream: external-secrets v0.20 refreshes an ExternalSecret when its labels or annotations change, and
writes a hash of them to status.syncedResourceVersion after a successful refresh.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from secret_authority.clients.kubernetes import Api, Object
from secret_authority.clients.vault import Vault
from secret_authority.contract.consumption_settings import SyncTarget
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, RESTART_ON_CHANGE
from secret_authority.core.errors import Unavailable
from secret_authority.core.timestamps import api_time
from secret_authority.engine.consumption.restarts import used_secrets
from secret_authority.engine.consumption.versions import Version, Versions

VERSION = "secret-authority.dev/vault-version"
SYNCED_BEFORE = "secret-authority.dev/synced-before"
NUDGED = "secret-authority.dev/nudged"
SECRET_VERSIONS = "secret-authority.dev/secret-versions"
ESO = "apis/external-secrets.io/v1"
WORKLOADS = ("deployments", "statefulsets", "daemonsets")
# After a failure External Secrets waits up to seven minutes; it is asked again sooner, ever more rarely.
NUDGE_SECONDS = 5.0
NUDGE_SECONDS_MOST = 60.0


@dataclass(frozen=True)
class Delivery:
    """How a consumer stands. `problem` is empty when its Secret has the newest version."""

    consumer: SyncTarget
    version: Version
    problem: str = ""


def ask_for(api: Api, found: Object, version: Version) -> None:
    """Make External Secrets read Vault now, for this version of the value."""
    metadata = found["metadata"]
    before = (found.get("status") or {}).get("syncedResourceVersion") or "never"
    path = f"{ESO}/namespaces/{metadata['namespace']}/externalsecrets/{metadata['name']}"
    _annotate(api, path, {VERSION: version.mark, SYNCED_BEFORE: before}, metadata["resourceVersion"])


def has(found: Object, version: Version) -> str:
    """Empty when the ExternalSecret has brought this version to its Secret, else what is missing."""
    annotations = found["metadata"].get("annotations") or {}
    status = found.get("status") or {}
    if annotations.get(VERSION) != version.mark:
        return f"version {version.number} is not asked for yet"
    ready = _condition(status)
    if ready.get("status") != "True":
        return ready.get("message") or "External Secrets has not looked at it yet"
    if status.get("syncedResourceVersion", "") in ("", annotations.get(SYNCED_BEFORE)):
        return f"version {version.number} is on its way"
    return ""


class Distribution:
    """Looks at every consumer and does what is missing. Keeps times of nudges and what it last read of Vault."""

    def __init__(self, api: Api, vault: Vault) -> None:
        self._api, self._versions = api, Versions(vault)
        # When an object may be nudged next, and how long it then waits.
        self._nudged: dict[str, tuple[float, float]] = {}
        self._vault_away = False

    def deliver(self, consumers: Iterable[SyncTarget]) -> list[Delivery]:
        """Ask for the newest version wherever it is not asked for; says how each consumer stands."""
        wanted = list(consumers)
        places = list(dict.fromkeys((consumer.mount, consumer.path) for consumer in wanted))
        try:
            versions = self._versions.of(places)
        except Unavailable:
            self._vault_away = True
            raise
        if self._vault_away:
            # It is back: whatever failed meanwhile is asked again at once.
            self._vault_away = False
            self._nudged.clear()
        objects = {
            (namespace, found["metadata"]["name"]): found
            for namespace in sorted({consumer.namespace for consumer in wanted})
            for found in self._api.list(f"{ESO}/namespaces/{namespace}/externalsecrets")
        }
        return [
            self._one(
                consumer, versions[consumer.mount, consumer.path], objects.get((consumer.namespace, consumer.name))
            )
            for consumer in wanted
        ]

    def _one(self, consumer: SyncTarget, version: Version, found: Object | None) -> Delivery:
        if found is None:
            return Delivery(consumer, version, "there is no ExternalSecret")
        if not version.number:
            return Delivery(consumer, version, "Vault has no value yet")
        if version.deleted:
            return Delivery(
                consumer, version, f"version {version.number} in Vault is deleted; the Secret stays as it is"
            )
        wrong = (version.base64 & consumer.keys) ^ consumer.binary
        if wrong:
            listed = ", ".join(sorted(wrong))
            return Delivery(consumer, version, f"Vault and the field `binary` of the catalogue disagree over {listed}")
        annotations = found["metadata"].get("annotations") or {}
        problem = has(found, version)
        path = f"{ESO}/namespaces/{consumer.namespace}/externalsecrets/{consumer.name}"
        if not problem:
            self._nudged.pop(path, None)
        elif annotations.get(VERSION) != version.mark:
            ask_for(self._api, found, version)
        elif _condition(found.get("status") or {}).get("status") == "False":
            self._nudge(path)
        return Delivery(consumer, version, problem)

    def look_at_stores(self, namespaces: Iterable[str]) -> None:
        """A store that could not log in is tried again: while it is not ready, External Secrets asks nothing of it."""
        for namespace in namespaces:
            for store in self._api.list(f"{ESO}/namespaces/{namespace}/secretstores"):
                path = f"{ESO}/namespaces/{namespace}/secretstores/{store['metadata']['name']}"
                if _condition(store.get("status") or {}).get("status") == "False":
                    self._nudge(path)
                else:
                    self._nudged.pop(path, None)

    def _nudge(self, path: str) -> None:
        now = time.monotonic()
        due, pause = self._nudged.get(path, (now, NUDGE_SECONDS))
        if now < due:
            return
        self._nudged[path] = (now + pause, min(2 * pause, NUDGE_SECONDS_MOST))
        _annotate(self._api, path, {NUDGED: str(int(time.time()))})

    def restart(self, deliveries: Iterable[Delivery]) -> list[str]:
        """Restart what asks for it and uses a Secret whose value has changed. Returns what was restarted."""
        by_namespace: dict[str, dict[str, Delivery]] = {}
        for delivery in deliveries:
            by_namespace.setdefault(delivery.consumer.namespace, {})[delivery.consumer.name] = delivery
        restarted: list[str] = []
        for namespace, mine in by_namespace.items():
            for kind in WORKLOADS:
                for workload in self._api.list(f"apis/apps/v1/namespaces/{namespace}/{kind}"):
                    if self._restart_one(kind, workload, mine):
                        restarted.append(f"{kind} {namespace}/{workload['metadata']['name']}")
        return restarted

    def _restart_one(self, kind: str, workload: Object, deliveries: Mapping[str, Delivery]) -> bool:
        metadata = workload["metadata"]
        annotations = metadata.get("annotations") or {}
        if annotations.get(RESTART_ON_CHANGE) != "true":
            return False
        used = [
            deliveries[name]
            for name in sorted(used_secrets(workload["spec"]["template"]["spec"]))
            if name in deliveries
        ]
        # All of its Secrets have arrived first, so that one restart serves all of them.
        if not used or any(delivery.problem for delivery in used):
            return False
        now = ",".join(f"{delivery.consumer.name}={delivery.version.mark}" for delivery in used)
        before = annotations.get(SECRET_VERSIONS)
        if before == now:
            return False
        made = api_time(metadata["creationTimestamp"])
        changed = before is not None or any(d.version.written and d.version.written > made for d in used)
        patch: dict[str, Any] = {
            "metadata": {"annotations": {SECRET_VERSIONS: now}, "resourceVersion": metadata["resourceVersion"]}
        }
        if changed:
            patch["spec"] = {"template": {"metadata": {"annotations": {SECRET_VERSIONS: now}}}}
        path = f"apis/apps/v1/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"
        self._api.merge(f"{path}?fieldManager={CONSUMPTION_ACCOUNT}", patch)
        return changed


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
