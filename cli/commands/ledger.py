"""`ledger`: every secret, its one authority, since when and why."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.audit_trail import table as table_of_events
from secret_authority.core.ledger.history import history
from secret_authority.core.ledger.ledger import Facts, VaultRecord, ledger, table
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.intent import Intent, read_intent
from secret_authority.repository.intent.tombstones import read_tombstones


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("ledger", help=COMMANDS["ledger"].help)
    add_layout(verb)
    add_kubeconfig(verb)
    verb.add_argument("--offline", action="store_true", help="do not ask the cluster: what Git alone can say")
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
    facts, events = _offline(intent), tuple[Event, ...]()
    if options.offline:
        print(
            "without the cluster only Git speaks: its tombstones say what Vault has taken over; of everything else the "
            "phase, handovers since the last tombstones, and failures are not known",
            file=sys.stderr,
        )
    else:
        guess = "a ledger without it would be a guess. Give --offline for what Git alone can say"
        # The clients take longer to load than everything else together.
        from cli.cluster_answers import ledger_facts, trusted_cluster

        cluster = trusted_cluster(options, intent, guess)
        if cluster is None:
            return 1
        facts, events = ledger_facts(intent, cluster), cluster.events or ()
        if facts.phase >= Phase.RUNTIME_AUTHORITY:
            from components.preflight.exported_shares import exported_shares

            print(f"unseal shares: {exported_shares(connection(options), intent).text}", file=sys.stderr)
    as_json = options.format == "json"
    if options.history:
        changes = history(intent.catalogue, facts, events)
        print("\n".join(change.line() for change in changes) if as_json else table_of_events(changes))
        return 0
    entries = ledger(intent.catalogue, facts)
    print(json.dumps([entry.as_dict() for entry in entries], indent=2) if as_json else table(entries))
    return 0


def _offline(intent: Intent) -> Facts:
    """What Git alone says: a tombstone is the word of a person who has seen the audit trail."""
    entries = {entry.name: entry for entry in intent.catalogue}
    stones = {
        stone.secret: VaultRecord(f"{stone.handover} (tombstone)", datetime.fromisoformat(stone.at), str(entry.vault))
        for stone in read_tombstones(intent).values()
        if (entry := entries.get(stone.secret)) is not None
    }
    return Facts(Phase.ROOT_OF_TRUST, git=intent.git_facts(), vault=stones, config=intent.config_facts(), asked=False)
