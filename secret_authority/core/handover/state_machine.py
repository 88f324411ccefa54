"""The handover of a bootstrap secret from Git to Vault, as a machine that knows only what it observes.

One secret, one transaction. `next_move` takes what was observed of Git, the bootstrap Secret, Vault and the audit trail
and says which step comes next; nothing else is remembered. A run that is killed anywhere is continued by the next run,
and two runs at once end in the same state.

    BEGIN    note, create-only, which handover this secret has: one id and one place, for ever
    WRITE    copy the value to Vault with check-and-set 0: only where nothing was ever written
    RECORD   after reading it back and comparing keyed digests: one merge patch of the metadata
    CONSUME  empty the bootstrap Secret and mark it
    AUDIT    append the event, create-only
    done

RECORD is the instant at which authority moves. Until Vault's metadata has the record Git is the authority, from then
on Vault is. Nothing moves without proof: a value that cannot be compared with Git's is not handed over. A record that
is not whole is reported, and Git stays without authority: only a handover begins one, and Git's value may have been
consumed. RFC-SECOPS-0001 §5: copied, never moved; once per secret; on failure the bootstrap secret stays authoritative
and a retry is safe.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, StrEnum
from typing import NamedTuple, TypeAlias

from secret_authority.core.digest import Comparison, ValueDigest, compare
from secret_authority.core.phases import Authority

# Keys of the KV v2 custom metadata. Values there are 1 to 512 bytes long and can be listed by readers.
AUTHORITY = "authority"
ID = "handover_id"
DIGEST = "handover_digest"
AT = "handover_at"
RUN = "handover_run"
REVISION = "handover_revision"
SECRET = "secret"
BASE64_KEYS = "base64_keys"
_REQUIRED = (AUTHORITY, ID, DIGEST, AT, RUN, SECRET)
METADATA_VALUE_LIMIT = 512


class Step(StrEnum):
    """The steps that change something, in order."""

    BEGIN = "begin"
    WRITE = "write"
    RECORD = "record"
    CONSUME = "consume"
    AUDIT = "audit"


class Wait(StrEnum):
    """What ends a block, and so how soon it is worth another try."""

    PASSES = "passes by itself"
    PERSON = "needs a person"


class _Block(NamedTuple):
    text: str
    wait: Wait
    fix: str


class Reason(Enum):
    """Why a handover does not continue, what ends that, and what to do."""

    NO_BOOTSTRAP = _Block(
        "the bootstrap Secret is not in the cluster yet",
        Wait.PASSES,
        "wait for Flux; if it stays, see the status of the Kustomization",
    )
    GIT_AWAY = _Block(
        "the revision of Git cannot be read at the moment, so the value cannot be compared with Git's",
        Wait.PASSES,
        "wait for the source-controller; if it stays, see the status of the GitRepository",
    )
    NOT_IN_GIT = _Block(
        "Git has no encrypted file for the bootstrap Secret, so its value is not known to be Git's",
        Wait.PERSON,
        "restore the encrypted file, or remove the entry from the catalogue",
    )
    KEYS_NOT_IN_GIT = _Block(
        "the encrypted file in Git lacks keys that the catalogue names",
        Wait.PERSON,
        "correct the keys in the catalogue or in the encrypted file",
    )
    UNREADABLE = _Block(
        "the encrypted file in Git cannot be decrypted, so the value cannot be compared with Git's",
        Wait.PERSON,
        "mend the file as the message says",
    )
    NOT_FROM_GIT = _Block(
        "the bootstrap Secret does not hold what Git holds",
        Wait.PERSON,
        "if Git was changed after the Secret was made, delete the Secret: Flux creates it again from Git",
    )
    NOT_ADMITTED = _Block(
        "the entry in Git's catalogue is not the one that `pulumi up` has checked",
        Wait.PERSON,
        "run `pulumi up` with this revision checked out, or restore the entry in Git",
    )
    KEYS_MISSING = _Block(
        "the bootstrap Secret lacks keys that the catalogue names",
        Wait.PERSON,
        "correct the keys in the catalogue or in the encrypted file",
    )
    MORE_KEYS = _Block(
        "the bootstrap Secret has keys that the catalogue does not name, and emptying it would destroy them",
        Wait.PERSON,
        "add the keys to the entry, or remove them from the encrypted file and delete the Secret",
    )
    HANDED_OVER_BEFORE = _Block(
        "this secret was handed over before, to another place; a secret is handed over once",
        Wait.PERSON,
        "restore the Vault path of the entry in the catalogue (docs/runbooks/handover.md)",
    )
    VALUE_DIFFERS = _Block(
        "Vault holds another value at the path, without a record",
        Wait.PERSON,
        "find out who wrote it. Nothing was overwritten. If the value in Vault is not wanted, delete the path "
        "with its metadata and run again; if it is wanted, the class of the secret is external",
    )
    WRITTEN_OFTEN = _Block(
        "Vault holds more than one version at the path, without a record",
        Wait.PERSON,
        "find out who writes there; remove that writer, delete the path with its metadata, run again",
    )
    DELETED_BEFORE = _Block(
        "a value at the path was deleted in Vault, without a record",
        Wait.PERSON,
        "delete the metadata of the path as well, and run again",
    )
    CONSUMED_WITHOUT_RECORD = _Block(
        "the bootstrap Secret is marked consumed, but Vault has no record",
        Wait.PERSON,
        "restore Vault from its snapshot, or, when the cluster is rebuilt, delete the consumed Secret so that "
        "Flux creates it again from Git",
    )
    CONSUMED_BY_ANOTHER = _Block(
        "the bootstrap Secret is marked as consumed by another handover",
        Wait.PERSON,
        "give each secret a bootstrap Secret of its own in the catalogue",
    )
    RECORD_LOST = _Block(
        "the audit trail has the handover, but Vault's metadata has no record",
        Wait.PERSON,
        "restore Vault from its snapshot, or the metadata from the audit trail (docs/runbooks/handover.md)",
    )
    RECORD_BROKEN = _Block(
        "the record in Vault's metadata is not whole",
        Wait.PERSON,
        "restore the metadata from the audit trail (docs/runbooks/handover.md)",
    )
    RECORD_FOREIGN = _Block(
        "the record in Vault's metadata is that of another handover",
        Wait.PERSON,
        "give the secret a Vault path of its own in the catalogue",
    )
    TWO_AUTHORITIES = _Block(
        "the catalogue gives it two authorities",
        Wait.PERSON,
        "give each secret a Vault path, keys and caches of its own in the catalogue",
    )

    @property
    def wait(self) -> Wait:
        return self.value.wait

    @property
    def fix(self) -> str:
        return self.value.fix

    def __str__(self) -> str:
        return self.value.text


class Notice(StrEnum):
    """What is reported beside the move and never acted on."""

    GIT_CHANGED = "Git was changed after the handover; the change is not applied, Vault is the authority"
    BOOTSTRAP_CHANGED = "the bootstrap Secret was changed after the handover; the change is not applied"
    VALUE_GONE = "the newest version in Vault is deleted"
    TRAIL_DIFFERS = "the record in Vault's metadata and its event in the audit trail differ"


@dataclass(frozen=True)
class Plan:
    """What the catalogue and the cluster say of one handover. `id` is the same in every run.

    `place` is where the value goes, `mount/path` in Vault.
    """

    secret: str
    id: str
    place: str
    # Metadata that goes in with the record, such as the rotation policy.
    metadata: Mapping[str, str] = field(default_factory=dict)


def handover_id(cluster: str, secret: str, vault_path: str) -> str:
    """The id of the one handover that a secret can have in a cluster; derived, so that every run knows it."""
    text = "\0".join((cluster, secret, vault_path))
    return "ho-" + hmac.new(b"secret-authority.dev/handover", text.encode(), hashlib.sha256).hexdigest()[:20]


@dataclass(frozen=True)
class Mark:
    """The mark on a consumed bootstrap Secret."""

    id: str
    at: str


@dataclass(frozen=True)
class Bootstrap:
    """The bootstrap Secret. `digest` is None when keys are missing or the data is gone.

    `missing`: keys that the catalogue names and it lacks; `more`: keys that the catalogue does not name.
    """

    digest: ValueDigest | None
    missing: tuple[str, ...] = ()
    mark: Mark | None = None
    holds_data: bool = True
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class InGit:
    """What Git's encrypted file decrypts to; `unknown` says why that cannot be known now, None when it is.

    With `unknown` set, `digest` may still be that of the last revision that could be read.
    """

    digest: ValueDigest | None = None
    unknown: Reason | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if self.digest is None and self.unknown is None:
            raise ValueError("Git's value is known, or there is a reason why not")

    def compare(self, other: ValueDigest | None) -> Comparison:
        """Compare with a value that was read elsewhere."""
        return Comparison.UNKNOWN if self.unknown else compare(self.digest, other)


@dataclass(frozen=True)
class Begun:
    """Which handover a secret has: noted once, before anything is written, and never changed."""

    id: str
    place: str


@dataclass(frozen=True)
class Record:
    """The record of a handover in Vault's metadata."""

    secret: str
    id: str
    digest: str
    at: str
    run: str
    revision: str | None = None

    def metadata(self) -> dict[str, str]:
        """The record as custom metadata. One merge patch carries all of it, so it is there whole or not at all."""
        fields = {
            AUTHORITY: Authority.VAULT.value,
            SECRET: self.secret,
            ID: self.id,
            DIGEST: self.digest,
            AT: self.at,
            RUN: self.run,
        }
        return fields | ({REVISION: self.revision} if self.revision else {})

    @staticmethod
    def begun_in(metadata: Mapping[str, str]) -> bool:
        """Whether there is a record, whole or not."""
        return any(key in metadata for key in (AUTHORITY, ID, DIGEST, AT, RUN))

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Record | None:
        """The record, None when there is none. Raises ValueError when it is not whole."""
        if not cls.begun_in(metadata):
            return None
        missing = [key for key in _REQUIRED if not metadata.get(key)]
        if missing or metadata[AUTHORITY] != Authority.VAULT.value:
            raise ValueError(", ".join(missing) or AUTHORITY)
        try:
            datetime.fromisoformat(metadata[AT])
        except ValueError:
            raise ValueError(AT) from None
        return cls(
            metadata[SECRET], metadata[ID], metadata[DIGEST], metadata[AT], metadata[RUN], metadata.get(REVISION)
        )


@dataclass(frozen=True)
class InVault:
    """What is at the Vault path. `version` is 0 when nothing was ever written.

    `digest` is that of the value read back, None when the newest version is deleted or unreadable as text.
    `broken` names the parts of a record that are missing or invalid.
    """

    version: int = 0
    digest: ValueDigest | None = None
    record: Record | None = None
    broken: str | None = None


@dataclass(frozen=True)
class TrailEntry:
    """What the audit trail has of one change of authority over the secret."""

    id: str
    place: str
    at: str = ""
    run: str = ""
    digest: str = ""


@dataclass(frozen=True)
class SecretTrail:
    """The audit trail of one secret: the event of this handover, and others that gave the secret to Vault.

    `others` is read only while there is no record: what has one was handed over here.
    """

    own: TrailEntry | None = None
    others: tuple[TrailEntry, ...] = ()


@dataclass(frozen=True)
class Observation:
    """What was observed at one time. `bootstrap` is None when there is no such Secret.

    `begun` is None when no handover of this secret was ever begun.
    """

    vault: InVault
    bootstrap: Bootstrap | None
    git: InGit
    trail: SecretTrail = SecretTrail()
    begun: Begun | None = None


@dataclass(frozen=True)
class Blocked:
    """The handover does not continue; nothing was changed. `passing` when time may end it."""

    secret: str
    reason: Reason
    detail: str = ""

    @property
    def passing(self) -> bool:
        return self.reason.wait is Wait.PASSES

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.secret}: {self.reason}{detail}. Fix: {self.reason.fix}."


@dataclass(frozen=True)
class Done:
    """Handed over, consumed and on record."""

    record: Record


Move: TypeAlias = Step | Blocked | Done


def next_move(plan: Plan, seen: Observation) -> Move:
    """The one thing to do next, from what is seen alone."""
    if seen.vault.broken is not None:
        return Blocked(plan.secret, Reason.RECORD_BROKEN, seen.vault.broken)
    record = seen.vault.record
    if record is None:
        return _before_record(plan, seen)
    if record.id != plan.id:
        return Blocked(plan.secret, Reason.RECORD_FOREIGN, f"secret {record.secret}, handover {record.id}")
    return _after_record(plan, seen, record)


def _after_record(plan: Plan, seen: Observation, record: Record) -> Move:
    found = seen.bootstrap
    # No Secret at all is as inert as an empty one. Flux creates it again as long as the file is in Git; the next
    # run then finds data and consumes it again.
    if found is not None and found.mark is not None and found.mark.id not in ("", record.id):
        return Blocked(plan.secret, Reason.CONSUMED_BY_ANOTHER, f"handover {found.mark.id}")
    if found is not None and (found.holds_data or found.mark != Mark(record.id, record.at)):
        if found.more:
            return Blocked(plan.secret, Reason.MORE_KEYS, ", ".join(found.more))
        return Step.CONSUME
    return Done(record) if seen.trail.own is not None else Step.AUDIT


def _before_record(plan: Plan, seen: Observation) -> Move:
    def blocked(reason: Reason, detail: str = "") -> Blocked:
        return Blocked(plan.secret, reason, detail)

    elsewhere = _elsewhere(plan, seen)
    if elsewhere is not None:
        return blocked(Reason.HANDED_OVER_BEFORE, f"handover {elsewhere.id} to {elsewhere.place}")
    if seen.trail.own is not None:
        return blocked(Reason.RECORD_LOST, f"handover {plan.id}")
    found = seen.bootstrap
    if found is None:
        return blocked(Reason.NO_BOOTSTRAP)
    if found.mark is not None:
        return blocked(Reason.CONSUMED_WITHOUT_RECORD, f"handover {found.mark.id}")
    if found.missing or found.digest is None:
        return blocked(Reason.KEYS_MISSING, ", ".join(found.missing))
    if found.more:
        return blocked(Reason.MORE_KEYS, ", ".join(found.more))
    match seen.git.compare(found.digest):
        case Comparison.UNKNOWN:
            return blocked(seen.git.unknown or Reason.NOT_IN_GIT, seen.git.detail)
        case Comparison.DIFFERS:
            return blocked(Reason.NOT_FROM_GIT)
        case Comparison.EQUAL:
            return _copied(plan, seen, found.digest)


def _elsewhere(plan: Plan, seen: Observation) -> Begun | None:
    """Another handover of this secret, by its note or, from a release without notes, by its event."""
    if seen.begun is not None and seen.begun.id != plan.id:
        return seen.begun
    return next((Begun(event.id, event.place) for event in seen.trail.others), None)


def _copied(plan: Plan, seen: Observation, wanted: ValueDigest) -> Move:
    """The step for a bootstrap Secret that holds Git's value."""
    vault = seen.vault
    if vault.version > 1:
        return Blocked(plan.secret, Reason.WRITTEN_OFTEN, f"version {vault.version}")
    if vault.version == 1 and vault.digest is None:
        return Blocked(plan.secret, Reason.DELETED_BEFORE)
    # The comparison after reading back: Vault holds what the bootstrap Secret holds.
    if vault.version == 1 and compare(vault.digest, wanted) is not Comparison.EQUAL:
        return Blocked(plan.secret, Reason.VALUE_DIFFERS)
    if seen.begun is None:
        return Step.BEGIN
    return Step.RECORD if vault.version else Step.WRITE


def notices(seen: Observation) -> tuple[Notice, ...]:
    """What a person should know and no step acts on."""
    record = seen.vault.record
    if record is None:
        return ()
    found: list[Notice] = []
    if seen.git.digest is not None and seen.git.digest.compare(record.digest) is Comparison.DIFFERS:
        found.append(Notice.GIT_CHANGED)
    held = seen.bootstrap.digest if seen.bootstrap and seen.bootstrap.holds_data else None
    if held is not None and held.compare(record.digest) is Comparison.DIFFERS:
        found.append(Notice.BOOTSTRAP_CHANGED)
    if seen.vault.digest is None:
        found.append(Notice.VALUE_GONE)
    own = seen.trail.own
    if own is not None and (own.at, own.run, own.digest) != (record.at, record.run, record.digest):
        found.append(Notice.TRAIL_DIFFERS)
    return tuple(found)
