"""`drill`: what a cluster would survive now, shown where it does no harm. docs/runbooks/drills.md

Nothing in the cluster, in Git or in the store is changed: a snapshot is restored into a throwaway server on this
machine, and the rest is read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from cli.arguments import add_kubeconfig, add_layout
from cli.commands import COMMANDS
from cli.passphrase import add_root_identity
from secret_authority.core.survival import Domain, all_survived, as_dict, judge, newest_snapshot, text

_DRILLS = {
    "snapshot": "restore the newest snapshot on this machine with the cluster's own unseal shares, and compare it with "
    "Vault as it is now",
    "report": "the same, and for each failure domain whether it is survived now, and why",
}


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    drill = verbs.add_parser("drill", help=COMMANDS["drill"].help)
    subjects = drill.add_subparsers(required=True, metavar="SUBJECT")
    subjects.add_parser("list", help="the drills, and what is never tried on a running cluster").set_defaults(run=_list)
    for name, run in (("snapshot", _snapshot), ("report", _report)):
        verb = subjects.add_parser(name, help=_DRILLS[name])
        add_layout(verb)
        add_kubeconfig(verb)
        add_root_identity(verb, required=True, help_text="a root identity: of who would rebuild the cluster")
        verb.add_argument("--credentials", type=Path, metavar="FILE", help="of the store, where it asks for them")
        verb.add_argument("--vault", default="vault", metavar="PROGRAM", help="of the same version (default: vault)")
        verb.add_argument("--format", choices=["text", "json"], default="text")
        verb.set_defaults(run=run)


def _list(_: argparse.Namespace) -> int:
    for name, what in _DRILLS.items():
        print(f"drill {name}: {what}. Changes nothing.")
    print("Never tried on a running cluster: to stop Git, to seal Vault, to lose a volume or the cluster.")
    print("docs/runbooks/drills.md says what shows these, and how to try them on a cluster that may be lost.")
    return 0


def _report(options: argparse.Namespace) -> int:
    from cli.drill_facts import PARTS, look

    lines = judge(look(options), PARTS)
    print(json.dumps(as_dict(lines), indent=2) if options.format == "json" else "\n".join(text(lines)))
    if all_survived(lines):
        return 0
    print("not every domain is known to be survived", file=sys.stderr)
    return 1


def _snapshot(options: argparse.Namespace) -> int:
    from cli.drill_facts import look

    lines = newest_snapshot(look(options))
    if options.format == "json":
        print(json.dumps(as_dict(lines, (Domain.CLUSTER,)), indent=2))
    else:
        print("\n".join(text(lines, (Domain.CLUSTER,))[1:]))
    return 0 if all(line.answer.holds is True for line in lines) else 1
