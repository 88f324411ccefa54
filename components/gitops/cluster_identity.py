"""Plants the cluster's decryption identity, past Pulumi: it is never an input, so it is never in a state.

RFC-SECOPS-0001 §5: bootstrap secrets are decrypted inside the cluster only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import kubernetes
import pulumi
import pulumi_kubernetes as k8s

from components.kit.ownership import made_by_this_program, owner
from components.kit.planting import plant_secret
from components.settings.stack import ROOT_IDENTITY_VARIABLE, Settings
from secret_authority.access.cluster_state import ClusterState, planted_recipient
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.clients.age import Identity
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_KEY,
    IDENTITY_RECORD,
    IDENTITY_SECRET,
    MANAGED_BY,
    PLANTED_AGAIN_ANNOTATION,
    RECIPIENT_ANNOTATION,
    TRUST_RECORD,
)
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.recipients import TrustRecord

_NAMESPACES = (FLUX_NAMESPACE, ENGINE_NAMESPACE)


def planted_again(connection: ClusterConnection, identity: Identity | None, cluster: ClusterState) -> str:
    """What the record is to say of the last time that a deleted identity was planted again.

    Pulumi knows the record alone, and plants when that changes. So a root holder's run that finds the record, and not
    the identity in both of its places, says another time.
    """
    if identity is None or cluster.recorded_recipient is None:
        return cluster.planted_again
    try:
        there = is_planted(connection, _NAMESPACES, identity.recipient)
    except kubernetes.client.ApiException:
        return cluster.planted_again  # who may not look can plant nothing either
    return cluster.planted_again if there else datetime.now(UTC).isoformat(timespec="milliseconds")


def identity_record(
    name: str,
    settings: Settings,
    identity: Identity | None,
    recipient: str,
    opts: pulumi.ResourceOptions,
    again: str = "",
) -> k8s.core.v1.ConfigMap:
    """The public record of the planted identity. Creating or changing it plants the identity first.

    Without a root holder (`identity` None) the identity that is planted is accepted when it is the one of
    `recipient`; anything else fails the run. `again`: see `planted_again`.
    """
    hook = pulumi.ResourceHook("plant-cluster-identity", _planting(settings, identity, recipient))
    hooks = pulumi.ResourceHookBinding(before_create=[hook], before_update=[hook])
    return k8s.core.v1.ConfigMap(
        name,
        metadata={
            "name": IDENTITY_RECORD,
            "namespace": ENGINE_NAMESPACE,
            "labels": MANAGED_BY,
            "annotations": {RECIPIENT_ANNOTATION: recipient, **({PLANTED_AGAIN_ANNOTATION: again} if again else {})},
        },
        data={"recipient": recipient, "secret": IDENTITY_SECRET},
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks)),
    )


def trust_record(name: str, record: TrustRecord, opts: pulumi.ResourceOptions) -> k8s.core.v1.ConfigMap:
    """The recipients that a root holder admitted. A run without the root holder changes nothing here (RootOfTrust)."""
    return k8s.core.v1.ConfigMap(
        name,
        metadata={"name": TRUST_RECORD, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
        data=record.as_data(),
        opts=opts,
    )


def _planting(
    settings: Settings, identity: Identity | None, recipient: str
) -> Callable[[pulumi.ResourceHookArgs], None]:
    def plant_identity(_: pulumi.ResourceHookArgs) -> None:
        if identity is None and is_planted(settings.connection, _NAMESPACES, recipient):
            return
        for namespace in _NAMESPACES:
            plant(settings.connection, namespace, _required(identity, settings.layout.cluster))

    return plant_identity


def _required(identity: Identity | None, cluster: str) -> Identity:
    if identity is None:
        fix = f"run once with {ROOT_IDENTITY_VARIABLE} set to the root holder's identity file"
        raise InvalidInputError([Problem(f"cluster {cluster}", "", "its identity is needed and not open", fix)])
    return identity


def is_planted(connection: ClusterConnection, namespaces: Iterable[str], recipient: str) -> bool:
    """Whether each namespace holds the identity of `recipient` already. Raises `kubernetes.client.ApiException`."""
    api = connection.core_api()
    return all(planted_recipient(api, namespace) == recipient for namespace in namespaces)


IDENTITY_FIX = (
    "if something still decrypts with it, use another cluster; if not, save a copy of it, delete it, and run again "
    "with the root holder"
)


def foreign_identity(metadata: Mapping[str, Any], recipients: Collection[str] | None = None) -> str:
    """Why a Secret with a decryption identity is not this program's to replace; empty when it is.

    `recipients`: those that this cluster has or had; None when only the maker of the Secret is judged.
    """
    recipient = (metadata.get("annotations") or {}).get(RECIPIENT_ANNOTATION)
    if not made_by_this_program(metadata) or recipient is None:
        return f"holds a decryption identity that belongs to {owner(metadata)}"
    if recipients is not None and recipient not in recipients:
        return f"holds the identity of {recipient}, which root-of-trust.yaml does not name for this cluster"
    return ""


def plant(connection: ClusterConnection, namespace: str, identity: Identity) -> None:
    """Write the identity into a namespace, in place of an earlier one of this program. Safe to repeat.

    Raises `kubernetes.client.ApiException`, and `InvalidInputError` for a Secret of this name that somebody else made:
    a Flux that runs already would lose the key that it decrypts with.
    """
    plant_secret(
        connection,
        namespace,
        IDENTITY_SECRET,
        {IDENTITY_KEY: identity.as_file()},
        annotations={RECIPIENT_ANNOTATION: identity.recipient},
        foreign=foreign_identity,
        fix=IDENTITY_FIX,
    )
