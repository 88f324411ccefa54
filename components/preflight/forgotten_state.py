"""Stops a run before its first change when Pulumi's state was lost or forgotten and the cluster was not.

A program cannot read its own state, and the outputs of the stack are as absent after an interrupted first run as they
are without a state. What the engine does tell is which resources it creates: the layer of GitOps is in the state before
anything is in the cluster, and stays in it until nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator

import pulumi

from components.settings.stack import Settings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.contract.names import ENGINE_NAMESPACE, IDENTITY_RECORD, VAULT_NAMESPACE
from secret_authority.core.errors import raise_if_any
from secret_authority.core.forgotten_state import Built, why_not_begun


def refuse_forgotten_state(settings: Settings, cluster: ClusterState) -> pulumi.ResourceHookBinding:
    """Hooks for the first resource that stands for something in the cluster, which must not be made beside another.

    Pulumi calls them, in a preview too, only when its state does not have the resource. What they raise names each
    object that was found, and keeps the resource out of the state, so that the next run is refused as well.
    """

    def check(_args: pulumi.ResourceHookArgs) -> None:
        preview = pulumi.runtime.is_dry_run()
        problem = why_not_begun(built(cluster), settings.layout.cluster, preview=preview)
        raise_if_any([problem] if problem else [])

    hook = pulumi.ResourceHook("state-of-this-cluster", check, pulumi.ResourceHookOptions(on_dry_run=True))
    return pulumi.ResourceHookBinding(before_create=[hook])


def built(cluster: ClusterState) -> Built:
    """What was found in the cluster, for the decision."""
    found = tuple(_objects(cluster))
    if cluster.built and not found:
        found = (f"Namespace {ENGINE_NAMESPACE}",)
    return Built(cluster.reachable, cluster.reached, found)


def _objects(cluster: ClusterState) -> Iterator[str]:
    for phase, at in sorted(cluster.since.items()):
        yield f"the record of phase {phase.value} of {at:%Y-%m-%d %H:%M}"
    yield from cluster.strange_records
    if cluster.recipient is not None:
        yield f"the identity of {cluster.recipient}"
    if cluster.recorded_recipient is not None:
        yield f"ConfigMap {ENGINE_NAMESPACE}/{IDENTITY_RECORD}"
    if cluster.vault_built:
        yield f"Namespace {VAULT_NAMESPACE}"
