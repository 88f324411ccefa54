"""What a cluster says of itself before the run: its reached phase and the identity planted in it.

Read-only, with short time-outs, so that a preview in a pull request works without a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import kubernetes

from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT, ClusterConnection
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_SECRET,
    PHASE_LABEL,
    RECIPIENT_ANNOTATION,
    STATUS_SELECTOR,
    TRUST_RECORD,
)
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.published_trail import read_pieces
from secret_authority.core.phases import Phase
from secret_authority.core.recipients import TrustRecord


@dataclass(frozen=True)
class ClusterState:
    """What was found. When `reachable` is False the rest is unknown."""

    reachable: bool
    # Whether anything of this program is there, even without a record of a phase.
    built: bool = False
    # When each phase was reached, by the creation of its record.
    since: Mapping[Phase, datetime] = field(default_factory=dict)
    # The recipient of the identity in the cluster, None when none is planted.
    recipient: str | None = None
    # The audit trail, as the engine publishes it from Vault; None when there is none, or not the whole of it.
    events: tuple[Event, ...] | None = None
    # The recipients that a root holder admitted, by the cluster's own record; None when it has none.
    trust: TrustRecord | None = None

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
        since = {
            Phase(int(record.metadata.labels[PHASE_LABEL])): record.metadata.creation_timestamp for record in records
        }
        built, planted = bool(since) or _has_namespace(api), planted_recipient(api, FLUX_NAMESPACE)
        return ClusterState(True, built, since, planted, _events(api), _trust(api))
    except NO_CLUSTER:
        return UNREACHABLE


def _trust(api: kubernetes.client.CoreV1Api) -> TrustRecord | None:
    try:
        record = api.read_namespaced_config_map(TRUST_RECORD, ENGINE_NAMESPACE, _request_timeout=TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return None
        raise
    return TrustRecord.from_data(record.data or {})


def _events(api: kubernetes.client.CoreV1Api) -> tuple[Event, ...] | None:
    maps = api.list_namespaced_config_map(
        ENGINE_NAMESPACE, label_selector=STATUS_SELECTOR, _request_timeout=TIMEOUT
    ).items
    trail = read_pieces({found.metadata.name: found.data or {} for found in maps})
    return None if trail is None else trail.events


def _has_namespace(api: kubernetes.client.CoreV1Api) -> bool:
    try:
        api.read_namespace(ENGINE_NAMESPACE, _request_timeout=TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return False
        raise
    return True


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
