"""`ledger`: every secret, its one authority, since when and why."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from authority.audit import table as history
from authority.ledger import Facts, ledger, table, vault_records
from authority.phases import Phase
from cli.trust_commands import add_layout, layout
from components.cluster_state import look_at_cluster
from repository.intent import read_intent


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("ledger", help="every secret, its one authority, since when and why")
    add_layout(verb)
    verb.add_argument("--kubeconfig", type=Path, default=Path(os.environ.get("KUBECONFIG", "~/.kube/config")))
    verb.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    verb.add_argument("--offline", action="store_true", help="do not ask the cluster: the ledger of phase 0")
    verb.add_argument("--format", choices=["table", "json"], default="table")
    verb.add_argument("--history", action="store_true", help="every change of authority instead, oldest first")
    verb.set_defaults(run=_ledger)


def _ledger(options: argparse.Namespace) -> int:
    intent = read_intent(options.repository, layout(options))
    facts = Facts(Phase.ROOT_OF_TRUST, git=intent.git_facts())
    if not options.offline:
        cluster = look_at_cluster(options.kubeconfig.expanduser(), options.context)
        if not cluster.reachable:
            print(
                f"the cluster of {options.kubeconfig} does not answer; a ledger without it would be a guess. "
                "Give --offline for the ledger of phase 0",
                file=sys.stderr,
            )
            return 1
        if options.history:
            as_json = options.format == "json"
            print("\n".join(e.line() for e in sorted(cluster.events)) if as_json else history(cluster.events))
            return 0
        records = vault_records(cluster.events)
        facts = Facts(cluster.reached or Phase.ROOT_OF_TRUST, cluster.since, intent.git_facts(), records)
    entries = ledger(intent.catalogue, facts)
    if options.format == "json":
        print(json.dumps([entry.as_dict() for entry in entries], indent=2))
    else:
        print(table(entries))
    return 0
