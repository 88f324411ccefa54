"""The cluster whose unseal shares a command reads or writes: only when it is the one that the repository means."""

from __future__ import annotations

import argparse

from cli.arguments import connection
from cli.failures import CommandError
from secret_authority.access.cluster_state import ClusterState, read_cluster_state
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.core.errors import InvalidInputError, Problem


def shares_cluster(options: argparse.Namespace, wanted: str, nothing: str) -> ClusterConnection:
    """The connection of the options, when that cluster holds the identity `wanted`.

    Shares for an identity that is not in the cluster could not be opened there. Raises `CommandError` for a cluster
    that does not answer (`nothing` says what was not done), `InvalidInputError` for another one.
    """
    there = connection(options)
    cluster = read_cluster_state(there)
    if not cluster.reachable:
        raise CommandError(f"the cluster of {there.kubeconfig} does not answer; {nothing}")
    refuse_another_cluster(cluster, wanted)
    return there


def refuse_another_cluster(cluster: ClusterState, wanted: str) -> None:
    """Raises `InvalidInputError` unless the cluster holds the identity of the recipient `wanted`."""
    if cluster.recipient == wanted:
        return
    reason = f"the cluster holds the identity of {cluster.recipient or 'nobody'}, not of {wanted}"
    fix = "plant it first: `secret-authority pulumi up` with the root holder; or correct checkout or context"
    raise InvalidInputError([Problem("root-of-trust.yaml", "clusters", reason, fix)])
