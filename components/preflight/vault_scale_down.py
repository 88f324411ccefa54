"""Refuses to take Vault pods away behind Raft's back: the rest would have no quorum, and Vault would not serve."""

from __future__ import annotations

import kubernetes

from secret_authority.access.kubeconfig import NO_CLUSTER, TIMEOUT, ClusterConnection
from secret_authority.contract.names import VAULT, VAULT_NAMESPACE
from secret_authority.core.errors import InvalidInputError, Problem


def refuse_fewer_replicas(connection: ClusterConnection, wanted: int) -> None:
    """Raise `InvalidInputError` when the cluster runs more Vault pods than `wanted`. No cluster is no error."""
    try:
        apps = kubernetes.client.AppsV1Api(connection.core_api().api_client)
        found = apps.read_namespaced_stateful_set(VAULT, VAULT_NAMESPACE, _request_timeout=TIMEOUT)
    except NO_CLUSTER:
        return
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return
        raise
    running = int(found.spec.replicas)
    if wanted < running:
        raise InvalidInputError(
            [
                Problem(
                    "vault.replicas",
                    "",
                    f"{wanted} is less than the {running} pods that run: the rest would have no quorum",
                    f"remove the peers first (vault operator raft remove-peer) and scale StatefulSet {VAULT_NAMESPACE}/"
                    f"{VAULT} down, or set it to {running}",
                )
            ]
        )
