"""`audit`: every change of authority, read from Vault. `tombstone`: prepare the Git change after a handover."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from cli.failures import vault_errors
from secret_authority.access.published_status import PublishedStatus
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.errors import InvalidInputError, Problem, raise_if_any
from secret_authority.core.handover.state_machine import Notice
from secret_authority.core.ledger.audit_trail import table
from secret_authority.core.ledger.consistency import trail_mismatches
from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_digest, ciphertext_mark
from secret_authority.repository.intent.intent import Intent, read_intent
from secret_authority.repository.intent.tombstones import (
    Tombstone,
    git_user,
    read_tombstones,
    read_trail_key,
    write_tombstones,
)


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    audit = verbs.add_parser("audit", help=COMMANDS["audit"].help)
    add_kubeconfig(audit)
    audit.add_argument("--format", choices=["table", "json"], default="table")
    audit.add_argument("--secret", help="only this secret")
    audit.add_argument("--cluster", help="compare with the repository first: its cluster, its tombstones")
    audit.add_argument("--repository", type=Path, default=Path(), help="a checkout (default: this folder)")
    audit.add_argument("--catalogue", help=argparse.SUPPRESS)
    audit.add_argument("--bootstrap", action="append", default=[], help=argparse.SUPPRESS)
    audit.set_defaults(run=_audit)
    tombstone = verbs.add_parser("tombstone", help=COMMANDS["tombstone"].help)
    add_layout(tombstone)
    add_kubeconfig(tombstone)
    tombstone.add_argument("names", nargs="*", help="names of secrets (default: all that are handed over)")
    tombstone.set_defaults(run=_tombstone)


def _audit(options: argparse.Namespace) -> int:
    # The clients take longer to load than everything else together.
    from cli.cluster_answers import published_trail, read_vault, trusted_cluster

    cluster = None
    if options.cluster:
        # With the repository at hand, the answer is that of the cluster which is meant.
        intent = read_intent(options.repository, layout(options))
        cluster = trusted_cluster(options, intent, "what it took over is not known")
        if cluster is None:
            return 1
    with vault_errors("the audit trail cannot be read"):
        trail, records = read_vault(connection(options))
    events = list(trail.events)
    if options.secret:
        events = [event for event in events if event.secret == options.secret]
    print("\n".join(event.line() for event in events) if options.format == "json" else table(events))
    for line in trail.malformed:
        print(f"not an event: {line}. Fix: find out who wrote it; see docs/runbooks/handover.md", file=sys.stderr)
    published = cluster.trail if cluster else published_trail(options)
    mismatches = trail_mismatches(trail.events, records.ids, published)
    for line in (*records.broken, *mismatches):
        fix = "repeat this in a minute; if it stays, see docs/runbooks/handover.md"
        print(f"the trail does not fit: {line}. Fix: {fix}", file=sys.stderr)
    return 1 if trail.malformed or records.broken or mismatches else 0


def _tombstone(options: argparse.Namespace) -> int:
    from cli.cluster_answers import trusted_cluster

    intent = read_intent(options.repository, layout(options))
    cluster = trusted_cluster(options, intent, "what it took over is not known")
    if cluster is None:
        return 1
    handovers = {event.secret: event for event in cluster.events or () if event.id.startswith("ho-")}
    known = {secret.name for secret in intent.catalogue.of_class(SecretClass.BOOTSTRAP)}
    wanted = set(options.names) or known & set(handovers)
    raise_if_any(_not_handed_over(name, known, intent.layout.catalogue) for name in sorted(wanted - set(handovers)))
    if not wanted:
        raise InvalidInputError([Problem(intent.layout.catalogue, "", "no secret is handed over yet", "reach phase 3")])
    raise_if_any(problem for name in sorted(wanted) for problem in _not_as_handed_over(name, intent, cluster.status))
    stones, person = read_tombstones(intent), git_user(intent.root)
    for name in wanted:
        file = intent.file_of(name)
        digest = ciphertext_digest(intent.root, file)
        stones[name] = Tombstone(name, file.file, handovers[name].id, handovers[name].at, digest, person)
    key = read_trail_key(intent) or (cluster.trail.key if cluster.trail else None)
    path = write_tombstones(intent, stones, key)
    print(f"{path}: {len(stones)} tombstones. Review the change, then commit it.")
    return 0


def _not_as_handed_over(name: str, intent: Intent, status: PublishedStatus) -> Iterator[Problem]:
    """A tombstone says that the file is what was handed over. Only the engine, which has the keys, can compare values.

    It says of which ciphertext it has compared the value; so the file must have that ciphertext.
    """
    file = intent.file_of(name)
    if Notice.GIT_CHANGED in status.notices.get(name, ()):
        fix = f"restore the file that was handed over, or rotate {name} in Vault; a rebuild would bring this value back"
        yield Problem(file.file, "", f"holds another value than the one of {name} that was handed over", fix)
        return
    compared = status.done.get(name)
    if not compared:
        yield Problem(file.file, "", f"was not compared yet with what was handed over of {name}", "wait for the engine")
    elif compared != ciphertext_mark(intent.root, file):
        fix = "commit and push it, or check out that revision; the engine compares what Flux has fetched"
        yield Problem(file.file, "", f"is not the file that the engine has compared, at {status.revision}", fix)


def _not_handed_over(name: str, known: set[str], file: str) -> Problem:
    if name not in known:
        return Problem(file, f"secrets[{name}]", "is no bootstrap secret of the catalogue", "correct the name")
    return Problem(file, f"secrets[{name}]", "is not handed over: Git is its authority", "reach phase 3 first")
