"""`rotate`: ask for a new value of a secret. `rotation`: see what waits for what, and hold, resume or abort it.

Requests are filed in Vault create-only, by an identity that can read no value; the engine of rotation acts on them.
What the status says comes from the engine, what the history says from Vault's audit trail.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.arguments import add_kubeconfig, connection
from cli.commands import COMMANDS
from cli.failures import vault_errors
from cli.rotation_requests import (
    follow,
    known_secret,
    new_id,
    outcome,
    read_status,
    read_watched,
    request_path,
    silence_of_engine,
)
from secret_authority.contract.names import (
    AUDITOR_ACCOUNT,
    ENGINE_NAMESPACE,
    REQUESTS_ACCOUNT,
    REQUESTS_ROLE,
)
from secret_authority.core.errors import InvalidInputError, LostRace, Problem
from secret_authority.core.ledger.audit_trail import table
from secret_authority.core.rotation.document import Request, RequestKind, Trigger
from secret_authority.core.rotation.policy_change import parse_changes

if TYPE_CHECKING:
    from secret_authority.access.kubeconfig import ClusterConnection
    from secret_authority.clients.vault import Vault


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    rotate = verbs.add_parser("rotate", help=COMMANDS["rotate"].help)
    _add_request(rotate, RequestKind.ROTATE)
    rotate.add_argument(
        "--compromise", action="store_true", help="the present value is known to others: before all else"
    )
    rotate.add_argument(
        "--cut-off", action="store_true", help="with --compromise: revoke the old value although consumers still use it"
    )
    rotate.add_argument("--id", help="id of the event that calls for it; sent again, it rotates nothing again")
    rotate.add_argument(
        "--wait", type=float, default=600, metavar="SECONDS", help="for the end (default: 600; 0: do not)"
    )
    rotation = verbs.add_parser("rotation", help=COMMANDS["rotation"].help)
    subjects = rotation.add_subparsers(required=True, metavar="SUBJECT")
    status = subjects.add_parser("status", help="state, age, when due, what it waits for")
    status.add_argument("name", nargs="?", help="only this secret")
    status.add_argument("--format", choices=["table", "json"], default="table")
    add_kubeconfig(status)
    status.set_defaults(run=_status)
    history = subjects.add_parser("history", help="when, why, which run, what result, from Vault")
    history.add_argument("name")
    add_kubeconfig(history)
    history.set_defaults(run=_history)
    for kind, words in (
        (RequestKind.HOLD, "begin nothing, and stop where it is"),
        (RequestKind.RESUME, "go on from where it was held"),
        (RequestKind.ABORT, "take back what is not published yet"),
        (RequestKind.ACCEPT, "leave a conflict: what is newest in Vault is right"),
    ):
        _add_request(subjects.add_parser(kind.value, help=words), kind)
    policy = subjects.add_parser(RequestKind.POLICY.value, help="change the policy that lives with a secret in Vault")
    policy.add_argument(
        "--set",
        action="append",
        required=True,
        metavar="FIELD=VALUE",
        help="ttl=720h, rotate_before=24h, expires_at=2027-03-01T00:00:00Z ...; FIELD= takes it away",
    )
    _add_request(policy, RequestKind.POLICY)


def _add_request(verb: argparse.ArgumentParser, kind: RequestKind) -> None:
    verb.add_argument("name", help="name of the secret in the catalogue")
    verb.add_argument("--why", required=True, help="the reason, for the audit trail")
    add_kubeconfig(verb)
    verb.set_defaults(run=_ask, kind=kind, compromise=False, cut_off=False, id=None, wait=0.0)


def _ask(options: argparse.Namespace) -> int:
    from secret_authority.clients.vault import VaultRefusedError

    if options.cut_off and not options.compromise:
        raise InvalidInputError([Problem("the command", "--cut-off", "is for a compromise only", "add --compromise")])
    way = connection(options)
    request = wanted_request(options)
    entries = read_status(way)
    known_secret({**entries, **read_watched(way)} if options.kind is RequestKind.POLICY else entries, options.name)
    before = str(entries.get(options.name, {}).get("id", ""))
    path = request_path(options.name, request.id)
    begun = time.monotonic()
    with (
        vault_errors("the request may not have been filed"),
        _session(way, REQUESTS_ROLE, REQUESTS_ACCOUNT) as vault,
    ):
        try:
            vault.write(path, {"options": {"cas": 0}, "data": request.fields()})
        except (LostRace, VaultRefusedError):
            # The identity may create and not change, so Vault refuses an id that is there.
            if not vault.read(path):
                raise
            print(f"request {request.id} was filed before; nothing is filed again")
            before = ""
        became = outcome(vault, path)
    if not became:
        print(f"{options.name}: request {request.id} is filed and waits; see `secret-authority rotation status`")
        return 0
    print(f"{options.name}: {became} ({time.monotonic() - begun:.1f} s)")
    if became.startswith("refused"):
        return 1
    if not options.wait or options.kind is not RequestKind.ROTATE:
        return 0
    return follow(way, options.name, became.removeprefix("accepted as "), begun, options.wait, before)


def wanted_request(options: argparse.Namespace) -> Request:
    now = datetime.now(UTC)
    identity = options.id or new_id(now)
    if not identity.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(identity) > 128:
        fix = "use letters, digits, dots and dashes, at most 128"
        raise InvalidInputError([Problem("the command", "--id", "is not a valid id", fix)])
    trigger = Trigger.COMPROMISE if options.compromise else Trigger.EVENT if options.id else Trigger.MANUAL
    at = now.isoformat(timespec="milliseconds")
    try:
        changes = parse_changes(options.set) if options.kind is RequestKind.POLICY else {}
    except ValueError as error:
        raise InvalidInputError([Problem("the command", "--set", str(error), "see docs/rotation.md")]) from None
    return Request(identity, options.kind, options.why[:512], trigger, options.cut_off, at, changes=changes)


@contextmanager
def _session(way: ClusterConnection, role: str, account: str) -> Iterator[Vault]:
    from secret_authority.access.vault_session import Session, reading
    from secret_authority.access.vault_tunnel import free_port

    with (
        tempfile.TemporaryDirectory() as folder,
        reading(Session(way, Path(folder), free_port(), role, account)) as vault,
    ):
        yield vault


def _status(options: argparse.Namespace) -> int:
    way = connection(options)
    entries = {**{name: watched_entry(one) for name, one in read_watched(way).items()}, **read_status(way)}
    if options.name:
        known_secret(entries, options.name)
        entries = {options.name: entries[options.name]}
    print(json.dumps(entries, indent=2, sort_keys=True) if options.format == "json" else status_table(entries))
    if silent := silence_of_engine(way):
        print(f"{silent}: these are its last words; see the pods of namespace {ENGINE_NAMESPACE}", file=sys.stderr)
        return 1
    return 0


def watched_entry(one: Mapping[str, Any]) -> dict[str, Any]:
    """A value that is issued elsewhere, as a line of the status: it is not rotated, its end is watched."""
    waits = f"a person: it ends at {one['expires']}" if one.get("expires") else "a person: nobody has said when it ends"
    empty = {"generation": "", "result": "", "state": "external"}
    return {**empty, "since": one["since"], "due": one["due"], "problem": one["problem"], "waitsFor": waits}


def status_table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a secret, columns aligned."""
    head = ("SECRET", "STATE", "GENERATION", "SINCE", "DUE", "LAST RESULT", "WAITS FOR", "REQUESTS")
    rows = [
        (
            name,
            str(entry["state"]),
            str(entry["generation"]) or "-",
            str(entry["since"]) or "-",
            str(entry["due"]) or "-",
            str(entry["result"]) or "-",
            str(entry["problem"] or entry["waitsFor"]) or "-",
            ", ".join(entry.get("requests") or ()) or "-",
        )
        for name, entry in sorted(entries.items())
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _history(options: argparse.Namespace) -> int:
    from secret_authority.clients.vault_trail import read_trail

    with (
        vault_errors("the audit trail cannot be read"),
        _session(connection(options), AUDITOR_ACCOUNT, AUDITOR_ACCOUNT) as vault,
    ):
        trail = read_trail(vault, options.name)
    print(table(trail.events))
    return 1 if trail.malformed else 0
