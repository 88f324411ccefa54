"""`enter`: give Vault a value that is issued elsewhere. Values come by prompt, pipe or file, never as an argument."""

from __future__ import annotations

import argparse
import getpass
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.arguments import add_kubeconfig, add_layout, connection, layout
from cli.commands import COMMANDS
from cli.failures import vault_errors
from cli.rotation_requests import follow, new_id, outcome, request_path
from secret_authority.access.built_entries import read_built
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.access.person import kubernetes_user
from secret_authority.access.vault_session import Session, reading
from secret_authority.access.vault_tunnel import free_port
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    ENTRY_ACCOUNT,
    ENTRY_ROLE,
    EVENTS,
    ROTATION_GIVEN,
    ROTATION_MOUNT,
)
from secret_authority.core.catalogue.built import why_not_as_built
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass
from secret_authority.core.digest import encode_values
from secret_authority.core.errors import InvalidInputError, LostRace, Problem, Unavailable, raise_if_any
from secret_authority.core.ledger.audit_trail import ENTERED, ENTRY_PREFIX, entered
from secret_authority.core.limits import impossible_values
from secret_authority.core.rotation.document import Request, RequestKind
from secret_authority.core.timestamps import api_time
from secret_authority.repository.catalogue.config_values import read_config_values
from secret_authority.repository.files.yaml_documents import load_documents, refuse_changed_line_ends
from secret_authority.repository.intent.intent import Intent, read_intent


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verb = verbs.add_parser("enter", help=COMMANDS["enter"].help)
    add_layout(verb)
    verb.add_argument("name", help="name of the secret in the catalogue (class external or config)")
    verb.add_argument("--file", type=Path, help="read the value from a file (default: ask, or read standard input)")
    verb.add_argument(
        "--replace", action="store_true", help="a new value of what is there already; with a rotator, by a rotation"
    )
    verb.add_argument(
        "--wait",
        type=float,
        default=600,
        metavar="SECONDS",
        help="for the rotation's end (default: 600; 0: do not)",
    )
    add_kubeconfig(verb)
    verb.set_defaults(run=_enter)


# More than all keys of a secret together can have, in base64 and with a comment on each line; in bytes.
MAX_INPUT = 16 * 2**20


class NoEventError(Exception):
    """The value is written, its audit event is not."""

    def __init__(self, version: int, reason: str) -> None:
        self.version = version
        super().__init__(reason)


def _enter(options: argparse.Namespace) -> int:
    intent = read_intent(options.repository, layout(options))
    secret = may_be_entered(intent, options.name, options.replace)
    keys = secret.consumed_keys
    # Everything that can be wrong is found before a person types a value or Vault is asked.
    if not keys:
        fix = "add a consumer with the keys that it reads"
        raise InvalidInputError([Problem(intent.layout.catalogue, f"secrets[{secret.name}]", "names no key", fix)])
    with vault_errors(secret.name):
        refuse_another_entry(connection(options), intent, secret)
    texts = read_values(keys, options.file, secret.name, secret.binary)
    try:
        with vault_errors(secret.name):
            made = write_entry(connection(options), secret, texts, options.replace)
    except LostRace:
        print(f"{secret.vault}: somebody else wrote a version meanwhile; nothing was written", file=sys.stderr)
        return 1
    except NoEventError as error:
        print(
            f"{secret.name}: version {error.version} is written to {secret.vault}, but the audit trail has no event of "
            f"it: {error}. Fix: run `pulumi up`, which gives the right to it; Vault's own audit log has the request",
            file=sys.stderr,
        )
        return 1
    _say_line_ends(secret, texts)
    if isinstance(made, Asked):
        return follow_rotation(options, secret, made)
    print(f"{secret.name}: version {made} written to {secret.vault}, keys {', '.join(keys)}")
    return 0


@dataclass(frozen=True)
class Asked:
    """What became of a value that was given to the engine of rotation; `begun` is monotonic time."""

    request: str
    outcome: str
    begun: float


def follow_rotation(options: argparse.Namespace, secret: CatalogueSecret, asked: Asked) -> int:
    """Follow the rotation that publishes the value."""
    if not asked.outcome:
        print(f"{secret.name}: request {asked.request} is filed and waits; see `secret-authority rotation status`")
        return 0
    print(f"{secret.name}: {asked.outcome}")
    if asked.outcome.startswith("refused"):
        return 1
    if not options.wait:
        return 0
    identity = asked.outcome.removeprefix("accepted as ")
    return follow(connection(options), secret.name, identity, asked.begun, options.wait)


def may_be_entered(intent: Intent, name: str, replace: bool) -> CatalogueSecret:
    file = intent.layout.catalogue
    secret = next((entry for entry in intent.catalogue if entry.name == name), None)
    if secret is None:
        raise InvalidInputError([Problem(file, "secrets", f"has no {name}", "add an entry, or correct the name")])
    how = {
        SecretClass.BOOTSTRAP: "is born in Git and handed over; rotate it instead",
        SecretClass.INTERNAL: "is generated in the cluster; rotate it instead",
    }
    reason = how.get(secret.secret_class)
    if replace and secret.rotator is not None:
        # Where it was born decides its first value only.
        reason = None
    folder = intent.layout.config
    if secret.secret_class is SecretClass.CONFIG and name in read_config_values(intent.root, folder, intent.catalogue):
        reason = f"is decided by Git: change {folder}/{name}.yaml"
    if reason:
        fix = "enter only secrets of class external, and configuration that has no file"
        if secret.rotator is not None:
            fix = "run `secret-authority rotate`, or give the next value with --replace"
        raise InvalidInputError([Problem(file, f"secrets[{name}]", reason, fix)])
    return secret


def refuse_another_entry(way: ClusterConnection, intent: Intent, secret: CatalogueSecret) -> None:
    """A value goes where the cluster says, so the cluster has to say the same as the checkout. Raises
    `InvalidInputError`, and `Unavailable` when that is not known.
    """
    built, field = read_built(way), f"secrets[{secret.name}]"
    if built is not None and built.cluster != intent.layout.cluster:
        reason, fix = f"the cluster that answers is {built.cluster}", "correct --kubeconfig, --context or --cluster"
        raise InvalidInputError([Problem(intent.layout.catalogue, field, reason, fix)])
    entries = {} if built is None else {entry.name: entry for entry in built.catalogue}
    if reason := why_not_as_built(secret, entries.get(secret.name)):
        fix = (
            "run `secret-authority pulumi up` with this checkout first, or use the one that the cluster was built with"
        )
        raise InvalidInputError([Problem(intent.layout.catalogue, field, reason, fix)])


def read_values(keys: list[str], file: Path | None, name: str, binary: Collection[str] = ()) -> dict[str, str]:
    """One value for each key, byte for byte: a secret of one key is the whole input, more keys are a YAML mapping.

    Returns them as Vault stores them: the keys in `binary` in base64. Raises `InvalidInputError` naming the keys that
    are missing, unknown, empty or undeliverable, never a value.
    """
    source = str(file) if file else "the input"
    if file is None and sys.stdin.isatty():
        values = {key: _ask(f"{name} {key}: ") for key in keys}
    else:
        content, shown = (_content(file), str(file)) if file else (_standard_input(), "standard input")
        values = {keys[0]: content} if len(keys) == 1 else _mapping(content, shown)
    fix = f"give {', '.join(keys)}"
    raise_if_any(
        [
            *(Problem(source, key, "is missing", fix) for key in keys if key not in values),
            *(Problem(source, key, "is not a key that a consumer reads", fix) for key in values if key not in keys),
            *(Problem(source, key, "is empty", fix) for key, value in values.items() if not value),
            *(Problem(source, key, what, how) for key, what, how in impossible_values(values, binary)),
        ]
    )
    return encode_values(values, binary)[0]


def _ask(prompt: str) -> bytes:
    try:
        return getpass.getpass(prompt).encode("utf-8", "surrogateescape")
    except UnicodeError:
        fix = "give it with --file or through standard input"
        raise InvalidInputError([Problem("the input", "", "is not text of this terminal's encoding", fix)]) from None


def _standard_input() -> bytes:
    # Never as text: decoding changes line ends and what is not UTF-8.
    stream: Any = getattr(sys.stdin, "buffer", sys.stdin)
    found = stream.read(MAX_INPUT + 1)
    content = found if isinstance(found, bytes) else str(found).encode("utf-8", "surrogateescape")
    return _bounded(content, "standard input")


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return _bounded(stream.read(MAX_INPUT + 1), str(file))
    except OSError as error:
        problem = Problem(str(file), "", f"cannot be read: {error.strerror}", "check the path given with --file")
        raise InvalidInputError([problem]) from None


def _bounded(content: bytes, source: str) -> bytes:
    if len(content) > MAX_INPUT:
        what = f"has more than {MAX_INPUT} bytes, and no secret can have as many"
        raise InvalidInputError([Problem(source, "", what, "give the values alone")])
    return content


def _mapping(content: bytes, shown: str) -> dict[str, bytes]:
    """A YAML mapping of texts, or of bytes with `!!binary`.

    The message of a syntax error gives the place and not the text, which is secret.
    """
    fix = 'write one line for each key, such as `username: "text"`, or `keystore: !!binary BASE64`'
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InvalidInputError([Problem(shown, "", "is not UTF-8 text", fix)]) from None
    refuse_changed_line_ends(text, shown)
    try:
        documents = load_documents(text, shown, binary=True)
    except InvalidInputError as error:
        raise InvalidInputError(
            Problem(shown, problem.field.partition(",")[0], problem.message, fix) for problem in error.problems
        ) from None
    found = documents[0] if len(documents) == 1 else None
    if not isinstance(found, dict):
        raise InvalidInputError([Problem(shown, "", "is not a mapping", fix)])
    good = (str, bytes)
    raise_if_any(Problem(shown, str(key), "is not a text", fix) for key in found if not isinstance(key, str))
    raise_if_any(Problem(shown, key, "is not a text", fix) for key, v in found.items() if not isinstance(v, good))
    return {key: value if isinstance(value, bytes) else value.encode() for key, value in found.items()}


def _say_line_ends(secret: CatalogueSecret, texts: Mapping[str, str]) -> None:
    """`echo` adds a line end, which few passwords have: it is written like every other byte, and said."""
    ended = sorted(key for key, text in texts.items() if text.endswith("\n") and text.count("\n") == 1)
    if ended:
        hint = "if it should not be, enter the value again with `printf %s` in place of `echo`, and --replace"
        print(f"{secret.name}: the line end after {', '.join(ended)} is part of the value; {hint}", file=sys.stderr)


def write_entry(
    way: ClusterConnection, secret: CatalogueSecret, texts: Mapping[str, str], replace: bool, why: str = ENTERED
) -> int | Asked:
    """Write a version through a tunnel of this process, as the entry identity. Returns its number.

    A later value of what has a rotator is given to the engine of rotation instead: two writers would meet.
    Raises `VaultSessionError`, `LostRace`, `NoEventError` and what `Vault.write` raises.
    """
    place, person = secret.vault, kubernetes_user(way)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(way, Path(folder), free_port(), ENTRY_ROLE, ENTRY_ACCOUNT)
        with reading(session) as vault:
            found = (vault.read(f"{place.mount}/metadata/{place.path}") or {}).get("data") or {}
            current = int(found.get("current_version") or 0)
            if current and not replace:
                fix = "add --replace to write a new version; the old one stays readable in Vault until it is destroyed"
                raise InvalidInputError([Problem(str(place), "", f"holds version {current} already", fix)])
            if current and secret.rotator is not None:
                return _give(vault, secret, texts, person, why)
            if not current and secret.secret_class not in (SecretClass.EXTERNAL, SecretClass.CONFIG):
                fix = f"wait until it has its first value, which class {secret.secret_class} gets by itself"
                raise InvalidInputError([Problem(str(place), "", "holds no value yet", fix)])
            body = {"options": {"cas": current}, "data": dict(texts)}
            try:
                made = vault.write(f"{place.mount}/data/{place.path}", body)
            except Unavailable as error:
                # What was sent may have arrived before the connection was cut.
                unknown = "whether the value was written is not known, run the command again"
                raise Unavailable(f"{error}; {unknown}") from None
            version = int(made["data"]["version"])
            event = entered(secret.name, str(place), version, api_time(made["data"]["created_time"]), person, why)
            try:
                path = f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret.name}/{event.id}"
                vault.write(path, {"options": {"cas": 0}, "data": event.fields()})
            except (Unavailable, VaultRefusedError, LostRace) as error:
                raise NoEventError(version, str(error)) from None
            return version


def _give(vault: Vault, secret: CatalogueSecret, texts: Mapping[str, str], person: str, why: str) -> Asked:
    """Give the value to the engine of rotation, then ask for a rotation with it. Nobody but the engine can read it."""
    begun, now = time.monotonic(), datetime.now(UTC)
    name = f"{ENTRY_PREFIX}{new_id(now)}"
    why = f"value entered by {person}" if why == ENTERED else f"{why}, by {person}"
    request = Request(name, RequestKind.ROTATE, why, at=now.isoformat(timespec="milliseconds"), given=True)
    path = f"{ROTATION_MOUNT}/data/{ROTATION_GIVEN}/{secret.name}/{name}"
    vault.write(path, {"options": {"cas": 0}, "data": dict(texts)})
    path = request_path(secret.name, name)
    vault.write(path, {"options": {"cas": 0}, "data": request.fields()})
    return Asked(name, outcome(vault, path), begun)
