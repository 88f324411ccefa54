"""A cluster's answer for a command: only from the cluster that is meant, and only while nothing contradicts it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from cli.arguments import connection
from secret_authority.access.cluster_state import ClusterState, read_cluster_state
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.vault_session import Session, reading
from secret_authority.access.vault_tunnel import free_port
from secret_authority.clients.vault_trail import Records, Trail, read_records, read_trail
from secret_authority.contract.names import AUDITOR_ACCOUNT
from secret_authority.core.ledger.consistency import ClusterFacts, RepositoryFacts, contradictions
from secret_authority.core.ledger.ledger import Facts, vault_records
from secret_authority.core.ledger.lifecycle import value_facts
from secret_authority.core.ledger.published_trail import PublishedTrail
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.intent import Intent
from secret_authority.repository.intent.tombstones import read_tombstones, read_trail_key


def trusted_cluster(options: argparse.Namespace, intent: Intent, without: str) -> ClusterState | None:
    """The cluster of the options, when it is that of the repository and its answers fit together.

    None otherwise; what is wrong is printed. `without` ends the message for a cluster that does not answer.
    """
    cluster = read_cluster_state(connection(options))
    if not cluster.reachable:
        print(f"the cluster of {options.kubeconfig} does not answer; {without}", file=sys.stderr)
        return None
    wrong = contradictions(facts_of(cluster), facts_of_repository(intent))
    for line in wrong:
        print(line, file=sys.stderr)
    return None if wrong else cluster


def published_trail(options: argparse.Namespace) -> PublishedTrail | None:
    """The published audit trail of whatever cluster the options name."""
    return read_cluster_state(connection(options)).trail


def facts_of(cluster: ClusterState) -> ClusterFacts:
    return ClusterFacts(
        built=cluster.built,
        phases=tuple(cluster.since),
        strange_records=cluster.strange_records,
        vault_built=cluster.vault_built,
        recipient=cluster.recorded_recipient,
        trail=cluster.trail,
        trail_problem=cluster.status.trail_problem,
    )


def facts_of_repository(intent: Intent) -> RepositoryFacts:
    cluster = intent.trust.cluster(intent.layout.cluster)
    handovers = {stone.secret: stone.handover for stone in read_tombstones(intent).values()}
    return RepositoryFacts(cluster.name, cluster.recipient, handovers, read_trail_key(intent))


def ledger_facts(intent: Intent, cluster: ClusterState) -> Facts:
    """What the ledger needs of a cluster that can be believed."""
    return Facts(
        cluster.reached or Phase.ROOT_OF_TRUST,
        cluster.since,
        intent.git_facts(),
        vault_records(cluster.events),
        intent.config_facts(),
        cluster.status.consumption(intent.catalogue),
        cluster.status.failing,
        values=value_facts(cluster.events),
        rotation=cluster.status.rotation,
        now=datetime.now(UTC),
    )


def read_vault(there: ClusterConnection) -> tuple[Trail, Records]:
    """Audit trail and records as the auditor identity reads them.

    Raises `VaultSessionError` and what `Vault.read` raises.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = Session(there, Path(folder), free_port(), AUDITOR_ACCOUNT, AUDITOR_ACCOUNT)
        with reading(session) as vault:
            # Records first: one that comes meanwhile would lack its event.
            records = read_records(vault)
            return read_trail(vault), records
