"""The manifest of a bundle: what the snapshot holds, so that a restore can be compared with it. No value.

It names secrets, so it is in the bundle as age ciphertext only. A digest of metadata covers what Vault answers to "Read
secret metadata" (KV v2): every version, its times, the policy and the record of authority.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

FORMAT = 1
_Fields = TypeVar("_Fields")


@dataclass(frozen=True)
class SealFacts:
    """How many unseal shares there are, how many open Vault, and the digest of the sealed ones in the bundle."""

    shares: int
    threshold: int
    digest: str


@dataclass(frozen=True)
class AuditDevice:
    """An audit device that Vault had: a server without a working one serves nobody. `file_path` as in its options."""

    path: str
    file_path: str


@dataclass(frozen=True, order=True)
class SavedSecret:
    """One path of KV v2. `mark` tells its newest version from every other, also after the path was made again.

    `digest`: the keyed digest of the value that the record of authority speaks of, empty without a record.
    `generation`: the number of its last rotation, 0 when it never was. `metadata`: digest of all its metadata.
    """

    location: str
    version: int
    mark: str
    metadata: str
    digest: str = ""
    generation: int = 0


@dataclass(frozen=True)
class Manifest:
    """`cluster` is the name in root-of-trust.yaml, `cluster_id` Vault's own. `taken_at` by Vault's clock, UTC.

    `node`: the Raft node that a single restored server has to be. `sha256` (hex) and `size` (bytes) are those of the
    snapshot before its encryption.
    """

    cluster: str
    cluster_id: str
    taken_at: datetime
    index: int
    term: int
    server_version: str
    node: str
    sha256: str
    size: int
    seal: SealFacts
    audit: tuple[AuditDevice, ...]
    secrets: tuple[SavedSecret, ...]

    def to_json(self) -> str:
        fields = asdict(self) | {"format": FORMAT, "taken_at": self.taken_at.isoformat()}
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Read what `to_json` wrote. Raises ValueError for anything else, also for the format of a newer release."""
        try:
            data: Any = json.loads(text)
            if data.pop("format") != FORMAT:
                raise ValueError("the manifest has a format that this release does not know")
            taken_at = datetime.fromisoformat(_text(data.pop("taken_at")))
            if taken_at.utcoffset() is None:
                raise ValueError("the manifest's time has no zone")
            made = cls(
                cluster=_text(data.pop("cluster")),
                cluster_id=_text(data.pop("cluster_id")),
                taken_at=taken_at,
                index=_number(data.pop("index")),
                term=_number(data.pop("term")),
                server_version=_text(data.pop("server_version")),
                node=_text(data.pop("node")),
                sha256=_text(data.pop("sha256")),
                size=_number(data.pop("size")),
                seal=_fields(SealFacts, data.pop("seal")),
                audit=tuple(_fields(AuditDevice, one) for one in data.pop("audit")),
                secrets=tuple(_fields(SavedSecret, one) for one in data.pop("secrets")),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"the manifest is not whole: {type(error).__name__}") from None
        if data:
            raise ValueError("the manifest has fields that this release does not know")
        if len({secret.location for secret in made.secrets}) != len(made.secrets):
            raise ValueError("the manifest names a path twice")
        return made


def differences(manifest: Manifest, found: Sequence[SavedSecret]) -> list[str]:
    """Where a restored server's paths are not those of the manifest, one line each, by location. No value."""
    wanted = {secret.location: secret for secret in manifest.secrets}
    there = {secret.location: secret for secret in found}
    lines: list[str] = []
    for location in sorted(wanted.keys() | there.keys()):
        if location not in there:
            lines.append(f"{location} is missing")
        elif location not in wanted:
            lines.append(f"{location} is not in the manifest")
        elif wanted[location] != there[location]:
            lines.append(
                f"{location} has version {there[location].mark}, not {wanted[location].mark}, or other metadata"
            )
    return lines


def changed_since(manifest: Manifest, now: Sequence[SavedSecret]) -> list[str]:
    """The locations that are not in the manifest as Vault has them now, or are in Vault no more."""
    saved = {secret.location: secret for secret in manifest.secrets}
    found = {secret.location: secret for secret in now}
    return sorted(place for place in saved.keys() | found.keys() if saved.get(place) != found.get(place))


def metadata_digest(metadata: Mapping[str, Any]) -> str:
    """The digest of the `data` of KV v2's "Read secret metadata"."""
    return _sha256(json.dumps(metadata, sort_keys=True, ensure_ascii=False))


def state_digest(secrets: Sequence[SavedSecret], seal: str) -> str:
    """Equal for equal metadata of all secrets and equal sealed shares (`seal_digest`).

    Tells whether anything has changed since a snapshot. One from before the shares were made again opens with the old
    ones only.
    """
    return _sha256(json.dumps([seal, *sorted([secret.location, secret.metadata] for secret in secrets)]))


def seal_digest(ciphertexts: Sequence[str], threshold: int) -> str:
    """The digest of sealed shares, as the bundle holds them."""
    return _sha256(json.dumps([threshold, *(text.strip() for text in ciphertexts)]))


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError
    return value


def _fields(kind: type[_Fields], data: Any) -> _Fields:
    """A flat dataclass of texts and numbers, each of the type that the class declares."""
    declared: dict[str, Any] = kind.__annotations__
    checks = {"str": _text, "int": _number}
    if not isinstance(data, dict):
        raise TypeError
    return kind(**{name: checks[str(declared[name])](value) for name, value in data.items()})
