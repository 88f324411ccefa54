"""Restarts workloads that ask for it when a Secret that they use has a new value.

Which versions a workload was started with is an annotation on it, so a restart of this program loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from secret_authority.clients.kubernetes import Api, ApiRefusedError, Object
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, RESTART_ON_CHANGE, SECRET_VERSIONS
from secret_authority.contract.pod_secret_refs import secret_names
from secret_authority.core.errors import LostRace
from secret_authority.core.timestamps import api_time
from secret_authority.engine.consumption.delivery import SyncStatus

WORKLOADS = ("deployments", "statefulsets", "daemonsets")


class WorkloadRestarts:
    """Restarts what carries the annotation `RESTART_ON_CHANGE` or uses a consumer of `reload: restart`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        # What could not be restarted in the last round, each with the reason.
        self.problems: list[str] = []

    def reconcile(self, synced: Iterable[SyncStatus]) -> list[str]:
        """Restart what asks for it and uses a Secret whose value has changed. Returns what was restarted.

        A workload that cannot be restarted now holds up no other.
        """
        self.problems = []
        by_namespace: dict[str, dict[str, SyncStatus]] = {}
        for status in synced:
            by_namespace.setdefault(status.consumer.namespace, {})[status.consumer.name] = status
        restarted: list[str] = []
        for namespace, mine in by_namespace.items():
            for kind in WORKLOADS:
                for workload in self._api.list(f"apis/apps/v1/namespaces/{namespace}/{kind}"):
                    name = f"{kind} {namespace}/{workload['metadata']['name']}"
                    try:
                        if self._restart(kind, workload, mine):
                            restarted.append(name)
                    except LostRace:
                        self.problems.append(f"{name} is not restarted: it was changed meanwhile")
                    except ApiRefusedError as error:
                        self.problems.append(f"{name} is not restarted: {error}")
        return restarted

    def _restart(self, kind: str, workload: Object, synced: Mapping[str, SyncStatus]) -> bool:
        metadata = workload["metadata"]
        annotations = metadata.get("annotations") or {}
        used = [synced[name] for name in sorted(secret_names(workload["spec"]["template"]["spec"])) if name in synced]
        if annotations.get(RESTART_ON_CHANGE) != "true" and not any(status.consumer.restart for status in used):
            return False
        before = annotations.get(SECRET_VERSIONS)
        known = dict(mark.partition("=")[::2] for mark in (before or "").split(","))
        # A Secret without a first value holds up no other: when it gets one, that is another restart.
        having = [status for status in used if status.version.number]
        # All others have arrived first, so that one restart serves all of them.
        if not having or any(status.problem for status in having):
            return False
        marks = {status.consumer.name: status.version.mark for status in having}
        # The Secret of a path that is gone from Vault stays, and so does its mark.
        marks |= {s.consumer.name: known[s.consumer.name] for s in used if s.consumer.name in known.keys() - marks}
        now = ",".join(f"{name}={mark}" for name, mark in sorted(marks.items()))
        if before == now:
            return False
        made = api_time(metadata["creationTimestamp"])
        changed = before is not None or any(s.version.written and s.version.written > made for s in having)
        patch: dict[str, Any] = {
            "metadata": {"annotations": {SECRET_VERSIONS: now}, "resourceVersion": metadata["resourceVersion"]}
        }
        if changed:
            patch["spec"] = {"template": {"metadata": {"annotations": {SECRET_VERSIONS: now}}}}
        path = f"apis/apps/v1/namespaces/{metadata['namespace']}/{kind}/{metadata['name']}"
        self._api.merge(f"{path}?fieldManager={CONSUMPTION_ACCOUNT}", patch)
        return changed
