"""`ledger`: every secret, its one authority, since when and why."""

from __future__ import annotations

import argparse
import json
import sys

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from secret_authority.contract.names import AUDIT_TRAIL, ENGINE_NAMESPACE
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.audit_trail import table as table_of_events
from secret_authority.core.ledger.history import history
from secret_authority.core.ledger.ledger import Facts, ledger, table, vault_records
from secret_authority.core.phases import Phase
from secret_authority.repository.intent import read_intent


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("ledger", help=COMMANDS["ledger"].help)
    add_layout(verb)
    add_kubeconfig(verb)
    verb.add_argument("--offline", action="store_true", help="do not ask the cluster: the ledger of phase 0")
    verb.add_argument("--format", choices=["table", "json"], default="table")
    verb.add_argument("--history", action="store_true", help="every change of authority instead, oldest first")
    verb.set_defaults(run=_ledger)


def _ledger(options: argparse.Namespace) -> int:
    if options.offline and options.history:
        print(
            "--history needs the cluster: it keeps the times of its phases and the audit trail. "
            "Give --offline or --history, not both",
            file=sys.stderr,
        )
        return 2
    intent = read_intent(options.repository, layout(options))
    facts = Facts(Phase.ROOT_OF_TRUST, git=intent.git_facts())
    events: tuple[Event, ...] = ()
    if not options.offline:
        # The client of Kubernetes takes longer to load than everything else together.
        from secret_authority.access.cluster_state import read_cluster_state

        cluster = read_cluster_state(connection(options))
        if not cluster.reachable:
            print(
                f"the cluster of {options.kubeconfig} does not answer; a ledger without it would be a guess. "
                "Give --offline for the ledger of phase 0",
                file=sys.stderr,
            )
            return 1
        events = cluster.events or ()
        records = vault_records(cluster.events)
        facts = Facts(cluster.reached or Phase.ROOT_OF_TRUST, cluster.since, intent.git_facts(), records)
        if facts.trail_missing:
            print(_without_trail(facts.phase), file=sys.stderr)
            return 1
    as_json = options.format == "json"
    if options.history:
        changes = history(intent.catalogue, facts, events)
        print("\n".join(change.line() for change in changes) if as_json else table_of_events(changes))
        return 0
    entries = ledger(intent.catalogue, facts)
    print(json.dumps([entry.as_dict() for entry in entries], indent=2) if as_json else table(entries))
    return 0


def _without_trail(reached: Phase) -> str:
    return (
        f"the cluster has reached phase {reached.value}, but ConfigMap {AUDIT_TRAIL} in namespace {ENGINE_NAMESPACE} "
        "is not there, or is not the whole audit trail; a ledger without it would be a guess. The engine publishes it "
        "within a minute while Vault is in service; `secret-authority audit` asks Vault itself"
    )
