"""Who has the newest version of a secret: its Secrets by External Secrets, and every pod that uses them.

A pod has a version when it was made from a template that names it (the engine of consumption restarts workloads so),
when its containers started after the Secrets had that version, or, for a consumer with `reload: file` that mounts
whole volumes, when the kubelet has had time to bring it. What is not known is not delivered, and is named. A pod that
is being deleted counts until it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from secret_authority.clients.kubernetes import Api, Object
from secret_authority.contract.names import ESO_API, SECRET_VERSIONS
from secret_authority.contract.pod_secret_refs import CONTAINERS, secret_names
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.rotation.document import Document
from secret_authority.core.rotation.schedule import MOST_SKEW
from secret_authority.core.rotation.state_machine import Delivery, Newest
from secret_authority.core.timestamps import api_time
from secret_authority.engine.consumption.delivery import what_is_missing
from secret_authority.engine.consumption.versions import Version

# The kubelet brings a changed Secret to mounted volumes within its sync period and its cache, a minute each.
KUBELET = timedelta(seconds=120)
_ENDED = ("Succeeded", "Failed")


class DeliveryEvidence:
    """Looks at the consumers of one secret. `clock` is Vault's time. Raises `Unavailable`."""

    def __init__(self, api: Api, secret: CatalogueSecret, clock: Callable[[], datetime]) -> None:
        self._api, self._secret, self._clock = api, secret, clock

    def __call__(self, newest: Newest, document: Document) -> Delivery:
        version = Version(newest.version, newest.written)
        unsynced = list(self._unsynced(version))
        if unsynced:
            return Delivery(tuple(unsynced), synced=False)
        return Delivery(tuple(self.pods_without(version, document)), synced=True)

    def _unsynced(self, version: Version) -> Iterator[str]:
        for consumer in self._secret.consumers:
            name = f"{consumer.namespace}/{consumer.secret}"
            path = f"{ESO_API}/namespaces/{consumer.namespace}/externalsecrets/{consumer.secret}"
            found = self._api.get(path)
            problem = "there is no ExternalSecret" if found is None else what_is_missing(found, version)
            if problem:
                yield f"Secret {name}: {problem}"

    def pods_without(self, version: Version, document: Document) -> Iterator[str]:
        """The pods that are not proved to have this version, and why not."""
        for consumer in self._secret.consumers:
            since = self._clock() if consumer.reload == "file" else None
            for pod in self._api.list(f"api/v1/namespaces/{consumer.namespace}/pods"):
                if (
                    consumer.secret in secret_names(pod["spec"])
                    and (pod.get("status") or {}).get("phase") not in _ENDED
                ):
                    reason = pod_problem(pod, consumer.secret, version, document, since)
                    if reason:
                        yield f"pod {consumer.namespace}/{pod['metadata']['name']}: {reason}"


def pod_problem(pod: Object, secret: str, version: Version, document: Document, files_at: datetime | None) -> str:
    """Empty when the pod has this version of the Secret, else what is missing.

    `files_at`: the time of the look, for a consumer that reads its mounted files again; else None.
    """
    if version.number == 1 or f"{secret}={version.mark}" in _marks(pod):
        return ""  # the Secret never had another value, or the pod was made for this one
    if document.synced != version.mark:
        return "it is not known since when its Secret has this version"
    synced = datetime.fromisoformat(document.synced_at)
    late = [name for name, started in _started(pod, secret) if started <= synced + MOST_SKEW]
    if not late:
        return ""
    if files_at is not None and whole_volumes_only(pod["spec"], secret):
        return "" if files_at >= synced + KUBELET else "the kubelet may not have brought the new file yet"
    return f"container {late[0]} started before its Secret had this version"


def _marks(pod: Object) -> list[str]:
    return str((pod["metadata"].get("annotations") or {}).get(SECRET_VERSIONS, "")).split(",")


def _started(pod: Object, secret: str) -> Iterator[tuple[str, datetime]]:
    """The running containers of a pod that use the Secret, and since when. One that waits will read the new value."""
    users = set(containers_that_use(pod["spec"], secret))
    status = pod.get("status") or {}
    for kind in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or []:
            running = (container.get("state") or {}).get("running")
            if container["name"] in users and running and running.get("startedAt"):
                yield container["name"], api_time(running["startedAt"])


def containers_that_use(spec: Mapping[str, Any], secret: str) -> Iterable[str]:
    """Containers that name the Secret in their environment or mount a volume of it."""
    volumes = {volume["name"] for volume in spec.get("volumes") or [] if secret in secret_names({"volumes": [volume]})}
    for kind in CONTAINERS:
        for container in spec.get(kind) or []:
            mounted = {mount["name"] for mount in container.get("volumeMounts") or []}
            if mounted & volumes or secret in secret_names({kind: [container]}):
                yield container["name"]


def whole_volumes_only(spec: Mapping[str, Any], secret: str) -> bool:
    """Whether the pod uses the Secret in mounted volumes alone, none of them by `subPath`."""
    volumes = {volume["name"] for volume in spec.get("volumes") or [] if secret in secret_names({"volumes": [volume]})}
    for kind in CONTAINERS:
        for container in spec.get(kind) or []:
            if secret in secret_names({kind: [container]}):
                return False
            for mount in container.get("volumeMounts") or []:
                if mount["name"] in volumes and (mount.get("subPath") or mount.get("subPathExpr")):
                    return False
    return bool(volumes)
