"""What a cluster says of itself before the run: its reached phase and the identity planted in it.

Read-only, with short time-outs, so that a preview in a pull request works without a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import kubernetes

from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT, ClusterConnection
from secret_authority.access.published_status import PublishedStatus, read_status
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_RECORD,
    IDENTITY_SECRET,
    PART_OF,
    PHASE_LABEL,
    PLANTED_AGAIN_ANNOTATION,
    RECIPIENT_ANNOTATION,
    RESTORE_RECORD,
    STATUS_SELECTOR,
    TRUST_RECORD,
    VAULT_NAMESPACE,
)
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import PublishedTrail, read_pieces
from secret_authority.core.phases import Phase
from secret_authority.core.recipients import TrustRecord
from secret_authority.core.restore.record import RestoreRecord


@dataclass(frozen=True)
class ClusterState:
    """What was found. When `reachable` is False the rest is unknown."""

    reachable: bool
    # Whether anything of this program is there, even without a record of a phase; and whether its Vault is.
    built: bool = False
    # When each phase was reached, by the creation of its record.
    since: Mapping[Phase, datetime] = field(default_factory=dict)
    # The recipient of the identity in the cluster, None when none is planted.
    recipient: str | None = None
    # The recipients that a root holder admitted, by the cluster's own record; None when it has none.
    trust: TrustRecord | None = None
    # The audit trail, as the engine publishes it from Vault; None when there is none, or not the whole of it.
    trail: PublishedTrail | None = None
    vault_built: bool = False
    # The recipient on the public record of the planted identity, None when there is no record.
    recorded_recipient: str | None = None
    # The record's note of when the identity was planted again; empty when it never was.
    planted_again: str = ""
    # Objects that are labelled as the record of a phase and are none.
    strange_records: tuple[str, ...] = ()
    status: PublishedStatus = field(default_factory=PublishedStatus)

    @property
    def events(self) -> tuple[Event, ...] | None:
        return None if self.trail is None else self.trail.events

    @property
    def reached(self) -> Phase | None:
        """The highest phase on record, None for a cluster without records."""
        return max(self.since, default=None)


UNREACHABLE = ClusterState(reachable=False)


def read_cluster_state(connection: ClusterConnection) -> ClusterState:
    """Read the phase records and the planted recipient. An unreachable cluster is no error."""
    try:
        api = connection.core_api()
        records = api.list_namespaced_config_map(
            ENGINE_NAMESPACE, label_selector=PHASE_LABEL, _request_timeout=TIMEOUT
        ).items
        since, strange = _phases(records)
        planted = planted_recipient(api, FLUX_NAMESPACE)
        vault_built = _has_namespace(api, VAULT_NAMESPACE)
        built = bool(since) or bool(planted) or vault_built or _has_namespace(api, ENGINE_NAMESPACE)
        maps = _published(api)
        recorded, planted_again = _identity_record(api)
        return ClusterState(
            reachable=True,
            built=built,
            since=since,
            recipient=planted,
            trust=_trust(api),
            trail=read_pieces(maps),
            vault_built=vault_built,
            recorded_recipient=recorded,
            planted_again=planted_again,
            strange_records=strange,
            status=read_status(maps),
        )
    except NO_CLUSTER:
        return UNREACHABLE


def read_restore_record(connection: ClusterConnection) -> RestoreRecord | None:
    """The record of the last restore of this cluster's Vault; None for none, or when the cluster does not answer.

    Raises ValueError for a record that cannot be read.
    """
    try:
        api = connection.core_api()
        found = api.read_namespaced_config_map(RESTORE_RECORD, VAULT_NAMESPACE, _request_timeout=TIMEOUT)
    except NO_CLUSTER:
        return None
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return None
        raise
    return RestoreRecord.from_data(found.data or {})


def _trust(api: kubernetes.client.CoreV1Api) -> TrustRecord | None:
    try:
        record = api.read_namespaced_config_map(TRUST_RECORD, ENGINE_NAMESPACE, _request_timeout=TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return None
        raise
    return TrustRecord.from_data(record.data or {})


def _phases(records: Iterable[kubernetes.client.V1ConfigMap]) -> tuple[dict[Phase, datetime], tuple[str, ...]]:
    since: dict[Phase, datetime] = {}
    strange: list[str] = []
    for record in records:
        try:
            since[Phase(int(record.metadata.labels[PHASE_LABEL]))] = record.metadata.creation_timestamp
        except ValueError:
            strange.append(f"ConfigMap {ENGINE_NAMESPACE}/{record.metadata.name}")
    return since, tuple(sorted(strange))


def _published(api: kubernetes.client.CoreV1Api) -> dict[str, dict[str, str]]:
    """What the engines publish, by name."""
    maps = api.list_namespaced_config_map(
        ENGINE_NAMESPACE, label_selector=STATUS_SELECTOR, _request_timeout=TIMEOUT
    ).items
    return {found.metadata.name: found.data or {} for found in maps}


def _has_namespace(api: kubernetes.client.CoreV1Api, name: str) -> bool:
    """Whether there is such a namespace of this program; one of somebody else does not count."""
    try:
        found = api.read_namespace(name, _request_timeout=TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return False
        raise
    return name == ENGINE_NAMESPACE or PART_OF.items() <= (found.metadata.labels or {}).items()


def _identity_record(api: kubernetes.client.CoreV1Api) -> tuple[str | None, str]:
    """The recipient on record, None without a record; and when its identity was planted again."""
    try:
        found = api.read_namespaced_config_map(IDENTITY_RECORD, ENGINE_NAMESPACE, _request_timeout=TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return None, ""
        raise
    return (found.data or {}).get("recipient"), (found.metadata.annotations or {}).get(PLANTED_AGAIN_ANNOTATION, "")


def planted_recipient(api: kubernetes.client.CoreV1Api, namespace: str) -> str | None:
    """The recipient of the identity that is planted in a namespace, by its annotation. None for none."""
    try:
        secret = api.read_namespaced_secret(IDENTITY_SECRET, namespace, _request_timeout=TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return None
        raise
    recipient: str | None = (secret.metadata.annotations or {}).get(RECIPIENT_ANNOTATION)
    return recipient
