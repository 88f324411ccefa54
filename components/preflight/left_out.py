"""Entries of the catalogue that are wrong by themselves: a new one is left out, one that is built stops the run.

What is built for an entry would be deleted without it, and its workloads would lose their Secrets. What was never
built takes nothing from anybody by waiting, and holds up no other team.
"""

from __future__ import annotations

import pulumi

from components.settings.stack import Settings
from secret_authority.access.built_entries import read_built
from secret_authority.access.cluster_state import ClusterState
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.core.errors import InvalidInputError, Unavailable
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.intent import Intent


def check_left_out(settings: Settings, intent: Intent, cluster: ClusterState) -> None:
    """Warn of each entry that is left out. Raises `InvalidInputError` for those that are built, or may be.

    Before the phase of consumption nothing in the cluster belongs to one entry.
    """
    if not intent.left_out:
        return
    reached = cluster.reached or Phase.ROOT_OF_TRUST
    built: set[str] | None = set()
    if max(settings.phase, reached) >= Phase.CONSUMPTION:
        built = _built(settings.connection) if cluster.reachable else None
        if built == set() and reached >= Phase.CONSUMPTION:
            built = None  # there is no list where one has to be
    if built is None:
        raise InvalidInputError(intent.left_out.values())
    if found := [problem for name, problem in intent.left_out.items() if name in built]:
        raise InvalidInputError(found)
    for name, problem in intent.left_out.items():
        pulumi.log.warn(f"{name} is left out, and nothing of it is built: {problem}")


def _built(connection: ClusterConnection) -> set[str] | None:
    """The entries that consumption was last built with, by name; none before it is built. None when unknown."""
    try:
        found = read_built(connection)
    except Unavailable:
        return None
    return set() if found is None else {entry.name for entry in found.catalogue}
