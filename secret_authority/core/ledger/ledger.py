"""The ledger: every secret, its one authority, since when and why.

It is derived each time from the catalogue, Git and Vault's own records, and stored nowhere as a second
truth. RFC-SECOPS-0001 §3.3 (authority by phase) and §5 (handover).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from secret_authority.core.catalogue.schema import Catalogue, CatalogueSecret, SecretClass, is_dated
from secret_authority.core.ledger.audit_trail import Event, gives_to_vault
from secret_authority.core.ledger.lifecycle import (
    NOT_KNOWN,
    Lifecycle,
    RotationFact,
    ValueFacts,
    lifecycle,
    rough,
)
from secret_authority.core.phases import Authority, Phase


@dataclass(frozen=True)
class GitFact:
    """What Git says of a bootstrap secret: the encrypted file and when it was added."""

    file: str
    added: datetime | None = None


@dataclass(frozen=True)
class VaultRecord:
    """The record that a handover (or a first write) leaves in Vault's metadata.

    `place` is `mount/path` in Vault; `others` are the places of later records of the same secret, which a secret that
    is handed over once does not have.
    """

    run: str
    at: datetime
    place: str
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConsumptionFacts:
    """What the engine of consumption has published: Vault's version of each secret with consumers, and what it lacks.

    `missing`: secrets without a value in Vault.
    """

    versions: Mapping[str, int] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Facts:
    """What is known of one cluster. `since` says when the cluster reached each phase on record.

    `git` are the encrypted files of bootstrap secrets, `config` the plain files of configuration values. `vault` is
    None when the audit trail could not be read: nobody knows then what Vault holds. `consumption` is None when its
    engine has published nothing. `failing`: why a secret does not get on, in the words of the engine that tries.
    `asked` is False for a ledger without the cluster: `vault` then has what Git's tombstones say. `values` follow from
    the trail, `rotation` from the engine of rotation; None when they cannot be read. `now` is the time of the look.
    """

    phase: Phase
    since: Mapping[Phase, datetime] = field(default_factory=dict)
    git: Mapping[str, GitFact] = field(default_factory=dict)
    vault: Mapping[str, VaultRecord] | None = None
    config: Mapping[str, GitFact] = field(default_factory=dict)
    consumption: ConsumptionFacts | None = None
    failing: Mapping[str, str] = field(default_factory=dict)
    asked: bool = True
    values: ValueFacts | None = None
    rotation: Mapping[str, RotationFact] | None = None
    now: datetime | None = None

    @property
    def trail_missing(self) -> bool:
        """Whether Vault may hold secrets that these facts do not tell of. Below phase 3 there is no Vault."""
        return self.asked and self.vault is None and max(self.since, default=self.phase) >= Phase.RUNTIME_AUTHORITY


@dataclass(frozen=True)
class Entry:
    """One line of the ledger. `authority` is None while the secret has no value anywhere, or when it is not known.

    `phase` is None without the cluster.
    """

    secret: str
    secret_class: SecretClass
    owner: str
    authority: Authority | None
    phase: Phase | None
    since: datetime | None
    why: str
    known: bool = True
    # Why the secret does not get on, empty when nothing is wrong with it.
    failing: str = ""
    life: Lifecycle = NOT_KNOWN

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
            "known": self.known,
            "phase": None if self.phase is None else self.phase.value,
            "since": self.since.isoformat() if self.since else None,
            "why": self.why,
            "failing": self.failing,
            "age_seconds": None if self.life.age is None else int(self.life.age.total_seconds()),
            "due": self.life.due.isoformat() if self.life.due else None,
            "last_result": self.life.last_result,
            # Which of the three are null because nobody can know them.
            "unknown": sorted(self.life.unknown),
        }

    def shown(self, what: str) -> str:
        """Age, due or last result for people: "unknown" when it cannot be known, a dash when there is none."""
        life = self.life
        texts = {
            "age": rough(life.age) if life.age is not None else "",
            "due": _time(life.due) if life.due else "",
            "last_result": life.last_result or "",
        }
        return "unknown" if what in life.unknown else texts[what] or "-"


def vault_records(events: Iterable[Event] | None) -> dict[str, VaultRecord] | None:
    """The first event that gave each secret to Vault, from the audit trail; None without a trail."""
    if events is None:
        return None
    found: dict[str, VaultRecord] = {}
    for event in sorted(events):
        if not gives_to_vault(event):
            continue
        first = found.get(event.secret)
        if first is None:
            found[event.secret] = VaultRecord(event.run, datetime.fromisoformat(event.at), event.place)
        else:
            found[event.secret] = replace(first, others=(*first.others, event.place))
    return found


def table(entries: tuple[Entry, ...]) -> str:
    """The ledger for people: one line a secret, columns aligned."""
    head = ("SECRET", "CLASS", "AUTHORITY", "PHASE", "SINCE", "AGE", "DUE", "LAST RESULT", "OWNER", "WHY")
    rows = [
        (
            entry.secret,
            entry.secret_class.value,
            entry.holder,
            "-" if entry.phase is None else str(entry.phase.value),
            _time(entry.since) if entry.since else "-",
            entry.shown("age"),
            entry.shown("due"),
            entry.shown("last_result"),
            entry.owner,
            f"{entry.why}. FAILING: {entry.failing}" if entry.failing else entry.why,
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ledger(catalogue: Catalogue, facts: Facts) -> tuple[Entry, ...]:
    """One entry for each secret of the catalogue, in its order."""
    return tuple(_entry(secret, facts) for secret in catalogue)


def summary(entries: tuple[Entry, ...]) -> dict[str, int]:
    """How many secrets each authority holds; "unborn" counts those without a value, "unknown" those not known."""
    counts = Counter(entry.holder for entry in entries)
    return dict(sorted(counts.items()))


def _entry(secret: CatalogueSecret, facts: Facts) -> Entry:
    if facts.trail_missing:
        answer = _unknown("the audit trail cannot be read: it is not known whether Vault holds it")
    else:
        answer = _answer(secret, facts)
    failing = facts.failing.get(secret.name, "")
    return Entry(
        secret.name,
        secret.secret_class,
        secret.owner,
        answer.authority,
        facts.phase if facts.asked else None,
        answer.since,
        answer.why,
        answer.known,
        failing,
        _life(secret, facts, answer),
    )


def _life(secret: CatalogueSecret, facts: Facts, answer: _Answer) -> Lifecycle:
    """Git does not say when a value in an encrypted file changed last; nothing rotates what is there."""
    if not answer.known or (answer.authority is Authority.VAULT and facts.now is None):
        return NOT_KNOWN
    if answer.authority is Authority.VAULT and facts.now is not None:
        return lifecycle(secret.name, is_dated(secret), facts.values, facts.rotation, facts.now)
    return Lifecycle(unknown=frozenset({"age"} if answer.authority else ()))


@dataclass(frozen=True)
class _Answer:
    authority: Authority | None
    since: datetime | None
    why: str
    known: bool = True


def _unknown(why: str) -> _Answer:
    return _Answer(None, None, why, known=False)


def _answer(secret: CatalogueSecret, facts: Facts) -> _Answer:
    record = (facts.vault or {}).get(secret.name)
    if record is not None:
        return _on_record(secret, record)
    if secret.secret_class is SecretClass.CONFIG:
        return _configuration(secret, facts)
    if not facts.asked:
        return _without_cluster(secret, facts)
    if secret.secret_class is not SecretClass.BOOTSTRAP:
        return _Answer(None, None, f"class {secret.secret_class}: its first value is written to {secret.vault}")
    return _in_git(secret, facts)


def _on_record(secret: CatalogueSecret, record: VaultRecord) -> _Answer:
    if record.others:
        places = ", ".join((record.place, *record.others))
        return _unknown(f"more than one transfer to Vault is on record, to {places}: find out which one is in use")
    how = "handed over" if secret.secret_class is SecretClass.BOOTSTRAP else "written first"
    why = f"{how} to {record.place} by run {record.run}"
    if record.place != str(secret.vault):
        why += f"; the catalogue names {secret.vault}, which is not applied"
    return _Answer(Authority.VAULT, record.at, why)


def _configuration(secret: CatalogueSecret, facts: Facts) -> _Answer:
    """Git decides configuration that has a file there; other configuration is entered into Vault by hand."""
    file = facts.config.get(secret.name)
    if file is not None:
        return _Answer(Authority.GIT, file.added, f"configuration in Git, {file.file}; copied to {secret.vault}")
    if not facts.asked:
        return _without_cluster(secret, facts)
    if facts.phase < Phase.CONSUMPTION or (facts.consumption and secret.name in facts.consumption.missing):
        return _Answer(None, None, f"class config without a file in Git: it is entered to {secret.vault}")
    version = facts.consumption.versions.get(secret.name) if facts.consumption else None
    if version:
        return _Answer(Authority.VAULT, None, f"entered to {secret.vault}, version {version}")
    return _unknown(f"class config without a file in Git: nothing published says whether {secret.vault} holds it")


def _without_cluster(secret: CatalogueSecret, facts: Facts) -> _Answer:
    if secret.secret_class is not SecretClass.BOOTSTRAP:
        return _unknown(f"not known without the cluster: Vault, once {secret.vault} holds its first value")
    fact = facts.git.get(secret.name)
    why = "the offline root until phase 1, Git from then on, Vault from its handover on"
    return _unknown(f"not known without the cluster: {why}; encrypted file {fact.file if fact else 'missing'}")


def _in_git(secret: CatalogueSecret, facts: Facts) -> _Answer:
    fact = facts.git.get(secret.name)
    file, added = (fact.file, fact.added) if fact else ("no file", None)
    if facts.phase is Phase.ROOT_OF_TRUST:
        return _Answer(Authority.OFFLINE_ROOT, added, f"no cluster yet: only the offline root can read {file}")
    # Git took over when the control plane came up, or when the file was added, whichever was later.
    since = max((at for at in (facts.since.get(Phase.GITOPS), added) if at), default=None)
    if facts.phase is Phase.GITOPS:
        return _Answer(Authority.GIT, since, f"encrypted intent in Git: nothing materialises yet {file}")
    if facts.phase is Phase.BOOTSTRAP:
        return _Answer(Authority.GIT, since, f"encrypted intent in Git: Flux materialises {file}")
    return _Answer(Authority.GIT, since, f"not handed over yet: encrypted intent in Git, {file}")
