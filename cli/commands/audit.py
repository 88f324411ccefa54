"""`audit`: every change of authority, read from Vault. `tombstone`: prepare the Git change after a handover."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from secret_authority.contract.names import AUDITOR_ACCOUNT
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.errors import InvalidInputError, Problem, Unavailable, raise_if_any
from secret_authority.core.ledger.audit_trail import table
from secret_authority.core.ledger.ledger import Facts, vault_records
from secret_authority.core.phases import Phase
from secret_authority.repository.intent import read_intent
from secret_authority.repository.tombstones import Tombstone, ciphertext_digest, read_tombstones, write_tombstones


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = verbs.add_parser("audit", help=COMMANDS["audit"].help)
    add_kubeconfig(audit)
    audit.add_argument("--format", choices=["table", "json"], default="table")
    audit.add_argument("--secret", help="only this secret")
    audit.set_defaults(run=_audit)
    tombstone = verbs.add_parser("tombstone", help=COMMANDS["tombstone"].help)
    add_layout(tombstone)
    add_kubeconfig(tombstone)
    tombstone.add_argument("names", nargs="*", help="names of secrets (default: all that are handed over)")
    tombstone.set_defaults(run=_tombstone)


def _audit(options: argparse.Namespace) -> int:
    # The clients take longer to load than everything else together.
    from secret_authority.access.vault_session import Session, reading
    from secret_authority.access.vault_tunnel import VaultSessionError, free_port
    from secret_authority.clients.vault import VaultRefusedError
    from secret_authority.clients.vault_trail import read_trail

    try:
        with tempfile.TemporaryDirectory() as folder:
            session = Session(connection(options), Path(folder), free_port(), AUDITOR_ACCOUNT, AUDITOR_ACCOUNT)
            with reading(session) as vault:
                trail = read_trail(vault)
    except VaultSessionError as error:
        print(f"Vault cannot be reached: {error}", file=sys.stderr)
        return 1
    except (Unavailable, VaultRefusedError) as error:
        print(f"the audit trail cannot be read: {error}", file=sys.stderr)
        return 1
    events = list(trail.events)
    if options.secret:
        events = [event for event in events if event.secret == options.secret]
    print("\n".join(event.line() for event in events) if options.format == "json" else table(events))
    for line in trail.malformed:
        print(f"not an event: {line}. Fix: find out who wrote it; see docs/runbooks/handover.md", file=sys.stderr)
    return 1 if trail.malformed else 0


def _tombstone(options: argparse.Namespace) -> int:
    from secret_authority.access.cluster_state import read_cluster_state

    intent = read_intent(options.repository, layout(options))
    cluster = read_cluster_state(connection(options))
    if not cluster.reachable:
        print(f"the cluster of {options.kubeconfig} does not answer; what it took over is not known", file=sys.stderr)
        return 1
    reached = cluster.reached or Phase.ROOT_OF_TRUST
    if Facts(reached, cluster.since, vault=vault_records(cluster.events)).trail_missing:
        print(
            "the published audit trail is not there or not whole; what Vault took over is not known. The engine "
            "publishes it within a minute while Vault is in service",
            file=sys.stderr,
        )
        return 1
    handovers = {event.secret: event for event in cluster.events or () if event.id.startswith("ho-")}
    known = {secret.name for secret in intent.catalogue.of_class(SecretClass.BOOTSTRAP)}
    wanted = set(options.names) or known & set(handovers)
    open_names = sorted(wanted - set(handovers))
    raise_if_any(_not_handed_over(name, known, intent.layout.catalogue) for name in open_names)
    stones = read_tombstones(intent)
    for name in wanted:
        file = intent.file_of(name)
        digest = ciphertext_digest(intent.root, file)
        stones[name] = Tombstone(name, file.file, handovers[name].id, handovers[name].at, digest)
    if not wanted:
        raise InvalidInputError([Problem(intent.layout.catalogue, "", "no secret is handed over yet", "reach phase 3")])
    path = write_tombstones(intent, stones)
    print(f"{path}: {len(stones)} tombstones. Look at the change, then commit it.")
    return 0


def _not_handed_over(name: str, known: set[str], file: str) -> Problem:
    if name not in known:
        return Problem(file, f"secrets[{name}]", "is no bootstrap secret of the catalogue", "correct the name")
    return Problem(file, f"secrets[{name}]", "is not handed over: Git is its authority", "reach phase 3 first")
