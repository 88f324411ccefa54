"""The ledger: every secret, its one authority, since when and why.

It is derived each time from the catalogue, Git and Vault's own records, and stored nowhere as a second
truth. RFC-SECOPS-0001 §3.3 (authority by phase) and §5 (handover).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass
from secret_authority.core.ledger.audit_trail import Event, gives_to_vault
from secret_authority.core.phases import Authority, Phase


@dataclass(frozen=True)
class GitFact:
    """What Git says of a bootstrap secret: the encrypted file and when it was added."""

    file: str
    added: datetime | None = None


@dataclass(frozen=True)
class VaultRecord:
    """The record that a handover (or a first write) leaves in Vault's metadata."""

    run: str
    at: datetime


@dataclass(frozen=True)
class Facts:
    """What is known of one cluster. `since` says when the cluster reached each phase on record.

    `vault` is None when the audit trail could not be read: nobody knows then what Vault holds.
    """

    phase: Phase
    since: Mapping[Phase, datetime] = field(default_factory=dict)
    git: Mapping[str, GitFact] = field(default_factory=dict)
    vault: Mapping[str, VaultRecord] | None = None

    @property
    def trail_missing(self) -> bool:
        """Whether Vault may hold secrets that these facts do not tell of. Below phase 3 there is no Vault."""
        return self.vault is None and max(self.since, default=self.phase) >= Phase.RUNTIME_AUTHORITY


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `authority` is None while the secret has no value anywhere, or when it is not known."""

    secret: str
    secret_class: SecretClass
    owner: str
    authority: Authority | None
    phase: Phase
    since: datetime | None
    why: str
    known: bool = True

    @property
    def holder(self) -> str:
        """The authority as a word: "unborn" without a value, "unknown" without the audit trail."""
        if not self.known:
            return "unknown"
        return self.authority.value if self.authority else "unborn"

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


def vault_records(events: Iterable[Event] | None) -> dict[str, VaultRecord] | None:
    """The first event that gave each secret to Vault, from the audit trail; None without a trail."""
    if events is None:
        return None
    found: dict[str, VaultRecord] = {}
    for event in sorted(events):
        if gives_to_vault(event):
            found.setdefault(event.secret, VaultRecord(event.run, datetime.fromisoformat(event.at)))
    return found


def table(entries: tuple[Entry, ...]) -> str:
    """The ledger for people: one line a secret, columns aligned."""
    head = ("SECRET", "CLASS", "AUTHORITY", "PHASE", "SINCE", "OWNER", "WHY")
    rows = [
        (
            entry.secret,
            entry.secret_class.value,
            entry.holder,
            str(entry.phase.value),
            entry.since.strftime("%Y-%m-%d %H:%M:%SZ") if entry.since else "-",
            entry.owner,
            entry.why,
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def ledger(catalogue: Catalogue, facts: Facts) -> tuple[Entry, ...]:
    """One entry for each secret of the catalogue, in its order."""
    return tuple(_entry(secret, facts) for secret in catalogue)


def summary(entries: tuple[Entry, ...]) -> dict[str, int]:
    """How many secrets each authority holds; "unborn" counts those without a value, "unknown" those not known."""
    counts = Counter(entry.holder for entry in entries)
    return dict(sorted(counts.items()))


def _entry(secret: CatalogueSecret, facts: Facts) -> Entry:
    if facts.trail_missing:
        why = "the audit trail cannot be read: it is not known whether Vault holds it"
        return Entry(secret.name, secret.secret_class, secret.owner, None, facts.phase, None, why, known=False)
    authority, since, why = _authority(secret, facts)
    return Entry(secret.name, secret.secret_class, secret.owner, authority, facts.phase, since, why)


def _authority(secret: CatalogueSecret, facts: Facts) -> tuple[Authority | None, datetime | None, str]:
    record = (facts.vault or {}).get(secret.name)
    if record is not None:
        how = "handed over" if secret.secret_class is SecretClass.BOOTSTRAP else "written first"
        return Authority.VAULT, record.at, f"{how} to {secret.vault} by run {record.run}"
    if secret.secret_class is not SecretClass.BOOTSTRAP:
        return None, None, f"class {secret.secret_class}: its first value is written to {secret.vault}"
    fact = facts.git.get(secret.name)
    file, added = (fact.file, fact.added) if fact else ("no file", None)
    if facts.phase is Phase.ROOT_OF_TRUST:
        return Authority.OFFLINE_ROOT, added, f"no cluster yet: only the offline root can read {file}"
    # Git took over when the control plane came up, or when the file was added, whichever was later.
    since = max((at for at in (facts.since.get(Phase.GITOPS), added) if at), default=None)
    if facts.phase is Phase.GITOPS:
        return Authority.GIT, since, f"encrypted intent in Git: nothing materialises yet {file}"
    if facts.phase is Phase.BOOTSTRAP:
        return Authority.GIT, since, f"encrypted intent in Git: Flux materialises {file}"
    return Authority.GIT, since, f"not handed over yet: encrypted intent in Git, {file}"
