"""Tombstones: what Git itself says of secrets that Vault has taken over.

The encrypted file of a secret stays in Git after its handover, because Git and the root key must suffice to
rebuild a cluster. `tombstones.yaml` beside the catalogue says that it is inert: a later change of its
values is never applied, and a review can see that without a cluster. RFC-SECOPS-0001 §5 (copied, never moved).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.repository.bootstrap.encrypted_secrets import ciphertext_digest
from secret_authority.repository.files.replace import replace_all
from secret_authority.repository.files.yaml_documents import read_documents
from secret_authority.repository.intent.intent import Intent

FILE = "tombstones.yaml"
_HEAD = (
    "# Secrets that Vault has taken over, written by `secret-authority tombstone`. Their encrypted files stay for\n"
    "# a rebuild; a change of their values is never applied.\n"
)


@dataclass(frozen=True, order=True)
class Tombstone:
    """One secret: its handover, and a digest of its ciphertext, which is public in Git anyway."""

    secret: str
    file: str
    handover: str
    at: str
    ciphertext: str
    # Who wrote it, by Git's configuration; empty in tombstones of earlier releases.
    by: str = ""


def tombstone_file(intent: Intent) -> Path:
    return intent.root / PurePosixPath(intent.layout.catalogue).parent / FILE


def read_tombstones(intent: Intent) -> dict[str, Tombstone]:
    """The tombstones of the repository by secret; none without a file. Raises `InvalidInputError`."""
    path = tombstone_file(intent)
    if not path.exists():
        return {}
    shown = str(path.relative_to(intent.root))
    documents = read_documents(path, shown)
    entries: Any = documents[0].get("tombstones") if documents and isinstance(documents[0], Mapping) else None
    try:
        found = [Tombstone(**entry) for entry in entries]
    except TypeError:
        fix = "run `secret-authority tombstone` again"
        raise InvalidInputError([Problem(shown, "tombstones", "is not a list of tombstones", fix)]) from None
    return {tombstone.secret: tombstone for tombstone in found}


def read_trail_key(intent: Intent) -> str | None:
    """The public key that is pinned for the published audit trail, None for none. Raises `InvalidInputError`."""
    path = tombstone_file(intent)
    if not path.exists():
        return None
    shown = str(path.relative_to(intent.root))
    for document in read_documents(path, shown):
        key = document.get("trailKey") if isinstance(document, Mapping) else None
        if key is None:
            continue
        if not isinstance(key, str):
            raise InvalidInputError([Problem(shown, "trailKey", "is not a text", "restore it from Git")])
        return key
    return None


def write_tombstones(intent: Intent, tombstones: Mapping[str, Tombstone], trail_key: str | None) -> Path:
    """Write the file whole, sorted, for review. Returns its path. Raises `InvalidInputError`."""
    path = tombstone_file(intent)
    pinned = {} if trail_key is None else {"trailKey": trail_key}
    body = {**pinned, "tombstones": [vars(tombstones[name]) for name in sorted(tombstones)]}
    replace_all({path: _HEAD + yaml.safe_dump(body, sort_keys=False)})
    return path


def git_user(root: Path) -> str:
    """The person by Git's configuration, `Name <address>`; empty when it names none."""
    values = [
        subprocess.run(
            ["git", "-C", str(root), "config", "--get", key], capture_output=True, check=False, text=True
        ).stdout.strip()
        for key in ("user.name", "user.email")
    ]
    return f"{values[0]} <{values[1]}>" if all(values) else ""


def changed_after_handover(intent: Intent) -> list[Problem]:
    """Encrypted files whose values were changed after their secret was handed over."""
    found: list[Problem] = []
    known = {secret.name for secret in intent.catalogue}
    for tombstone in read_tombstones(intent).values():
        if tombstone.secret not in known:
            continue
        encrypted = intent.file_of(tombstone.secret)
        now = ciphertext_digest(intent.root, encrypted)
        if now != tombstone.ciphertext:
            found.append(
                Problem(
                    encrypted.file,
                    "",
                    f"holds other values than when {tombstone.secret} was handed over ({tombstone.at}); "
                    "the change is never applied",
                    f"rotate {tombstone.secret} in Vault instead, or restore the file; after `sops rotate` run "
                    "`secret-authority tombstone` again",
                )
            )
    return found
