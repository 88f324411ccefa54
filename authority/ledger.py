"""The ledger: every secret, its one authority, since when and why.

It is derived each time from the catalogue, Git and Vault's own records, and stored nowhere as a second
truth. RFC-SECOPS-0001 §3.3 (authority by phase) and §5 (handover).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from authority.catalogue import Catalogue, CatalogueSecret, SecretClass
from authority.phases import Authority, Phase


@dataclass(frozen=True)
class GitFact:
    """What Git says of a bootstrap secret: the encrypted file and when it last changed."""

    file: str
    changed: datetime | None = None


@dataclass(frozen=True)
class VaultRecord:
    """The record that a handover (or a first write) leaves in Vault's metadata."""

    run: str
    at: datetime


@dataclass(frozen=True)
class Facts:
    """What is known of one cluster. `since` is when the cluster reached `phase`, None when not on record."""

    phase: Phase
    since: datetime | None = None
    git: Mapping[str, GitFact] = field(default_factory=dict)
    vault: Mapping[str, VaultRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `authority` is None while the secret has no value anywhere."""

    secret: str
    secret_class: SecretClass
    owner: str
    authority: Authority | None
    phase: Phase
    since: datetime | None
    why: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "secret": self.secret,
            "class": self.secret_class.value,
            "owner": self.owner,
            "authority": self.authority.value if self.authority else None,
            "phase": self.phase.value,
            "since": self.since.isoformat() if self.since else None,
            "why": self.why,
        }


def ledger(catalogue: Catalogue, facts: Facts) -> tuple[Entry, ...]:
    """One entry for each secret of the catalogue, in its order."""
    return tuple(_entry(secret, facts) for secret in catalogue)


def summary(entries: tuple[Entry, ...]) -> dict[str, int]:
    """How many secrets each authority holds; "unborn" counts those without a value."""
    counts = Counter(entry.authority.value if entry.authority else "unborn" for entry in entries)
    return dict(sorted(counts.items()))


def _entry(secret: CatalogueSecret, facts: Facts) -> Entry:
    authority, since, why = _authority(secret, facts)
    return Entry(secret.name, secret.secret_class, secret.owner, authority, facts.phase, since, why)


def _authority(secret: CatalogueSecret, facts: Facts) -> tuple[Authority | None, datetime | None, str]:
    record = facts.vault.get(secret.name)
    if record is not None:
        how = "handed over" if secret.secret_class is SecretClass.BOOTSTRAP else "written first"
        return Authority.VAULT, record.at, f"{how} to {secret.vault} by run {record.run}"
    if secret.secret_class is not SecretClass.BOOTSTRAP:
        return None, None, f"class {secret.secret_class}: its first value is written to {secret.vault}"
    fact = facts.git.get(secret.name)
    file = fact.file if fact else "no file"
    if facts.phase is Phase.ROOT_OF_TRUST:
        return (
            Authority.OFFLINE_ROOT,
            fact.changed if fact else None,
            f"no cluster yet: only the offline root can read {file}",
        )
    if facts.phase <= Phase.BOOTSTRAP:
        does = "Flux materialises" if facts.phase is Phase.BOOTSTRAP else "nothing materialises yet"
        return Authority.GIT, facts.since, f"encrypted intent in Git: {does} {file}"
    return Authority.GIT, facts.since, f"not handed over yet: encrypted intent in Git, {file}"
