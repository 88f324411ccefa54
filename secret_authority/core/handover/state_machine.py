"""The handover of a bootstrap secret from Git to Vault, as a machine that knows only what it observes.

One secret, one transaction, five states. `next_move` looks at Git, the bootstrap Secret, Vault and the
audit trail and says which step comes next; nothing else is remembered. So a run that is killed anywhere is
taken up by the next run, and two runs at once end in the same state.

    WRITE    copy the value to Vault with check-and-set 0: only where nothing was ever written
    RECORD   after reading it back and comparing keyed digests: one merge patch of the metadata
    CONSUME  empty the bootstrap Secret and mark it
    AUDIT    append the event, create-only
    done

RECORD is the instant at which authority moves. Until the record stands in Vault's metadata Git is the
authority, from then on Vault is. A record that is not whole is reported, and Git stays without authority:
only a handover begins one, and Git's value may have been consumed. RFC-SECOPS-0001 §5: copied, never moved;
once per secret; on failure the bootstrap secret stays authoritative and a retry is safe.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from secret_authority.core.digest import same_digest
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

    WRITE = "write"
    RECORD = "record"
    CONSUME = "consume"
    AUDIT = "audit"


class Reason(StrEnum):
    """Why a handover does not go on. The first two pass by themselves; the others need a person."""

    NO_BOOTSTRAP = "the bootstrap Secret is not in the cluster yet"
    NOT_FROM_GIT = "the bootstrap Secret does not hold what Git holds"
    KEYS_MISSING = "the bootstrap Secret lacks keys that the catalogue names"
    VALUE_DIFFERS = "Vault holds another value at the path, without a record"
    WRITTEN_OFTEN = "Vault holds more than one version at the path, without a record"
    DELETED_BEFORE = "a value at the path was deleted in Vault, without a record"
    CONSUMED_WITHOUT_RECORD = "the bootstrap Secret is marked consumed, but Vault has no record"
    RECORD_BROKEN = "the record in Vault's metadata is not whole"
    RECORD_FOREIGN = "the record in Vault's metadata is that of another handover"
    TWO_AUTHORITIES = "the catalogue gives it two authorities"


_FIXES = {
    Reason.NO_BOOTSTRAP: "wait for Flux; if it stays, see the status of the Kustomization",
    Reason.NOT_FROM_GIT: (
        "if Git was changed after the Secret was made, delete the Secret: Flux makes it anew from Git"
    ),
    Reason.KEYS_MISSING: "correct the keys in the catalogue or in the encrypted file",
    Reason.VALUE_DIFFERS: (
        "find out who wrote it. Nothing was overwritten. If the value in Vault is not wanted, delete the path "
        "with its metadata and run again; if it is wanted, the class of the secret is external"
    ),
    Reason.WRITTEN_OFTEN: (
        "find out who writes there; remove that writer, delete the path with its metadata, run again"
    ),
    Reason.DELETED_BEFORE: "delete the metadata of the path as well, and run again",
    Reason.CONSUMED_WITHOUT_RECORD: (
        "restore Vault from its snapshot, or, when the cluster is built anew, delete the consumed Secret so that "
        "Flux makes it anew from Git"
    ),
    Reason.RECORD_BROKEN: "restore the metadata from the audit trail (docs/runbooks/handover.md)",
    Reason.RECORD_FOREIGN: "give the secret a Vault path of its own in the catalogue",
    Reason.TWO_AUTHORITIES: "give each secret a Vault path, keys and caches of its own in the catalogue",
}
_PASSING = frozenset({Reason.NO_BOOTSTRAP, Reason.NOT_FROM_GIT})


class Notice(StrEnum):
    """What is reported beside the move and never acted on."""

    GIT_CHANGED = "Git was changed after the handover; the change is not applied, Vault is the authority"
    BOOTSTRAP_CHANGED = "the bootstrap Secret was changed after the handover; the change is not applied"
    VALUE_GONE = "the newest version in Vault is deleted"


@dataclass(frozen=True)
class Plan:
    """What the catalogue and the cluster say of one handover. `id` is the same in every run."""

    secret: str
    id: str
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
    """The bootstrap Secret. `digest` is None when keys are missing or the data is gone."""

    digest: str | None
    missing: tuple[str, ...] = ()
    mark: Mark | None = None
    holds_data: bool = True


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

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Record | None:
        """The record, None when there is none. Raises ValueError when it is not whole."""
        if not any(key in metadata for key in (AUTHORITY, ID, DIGEST, AT, RUN)):
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
    """What stands at the Vault path. `version` is 0 when nothing was ever written.

    `digest` is that of the value read back, None when the newest version is deleted or unreadable as text.
    `broken` names the parts of a record that do not fit.
    """

    version: int = 0
    digest: str | None = None
    record: Record | None = None
    broken: str | None = None


@dataclass(frozen=True)
class Observation:
    """What one look at the world gives. `bootstrap` is None when there is no such Secret.

    `git` is the digest of what Git's ciphertext decrypts to, None when it cannot be known at the moment;
    `audited` says whether the event of this handover stands in the audit trail.
    """

    vault: InVault
    bootstrap: Bootstrap | None
    git: str | None = None
    audited: bool = False


@dataclass(frozen=True)
class Blocked:
    """The handover does not go on; nothing was changed. `passing` when time may mend it."""

    secret: str
    reason: Reason
    detail: str = ""

    @property
    def passing(self) -> bool:
        return self.reason in _PASSING

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.secret}: {self.reason}{detail}. Fix: {_FIXES[self.reason]}."


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
    found = seen.bootstrap
    # No Secret at all is as inert as an empty one. Flux makes it anew as long as the file is in Git; the next
    # look then finds data and consumes it again.
    if found is not None and (found.holds_data or found.mark != Mark(record.id, record.at)):
        return Step.CONSUME
    return Done(record) if seen.audited else Step.AUDIT


def _before_record(plan: Plan, seen: Observation) -> Move:
    def blocked(reason: Reason, detail: str = "") -> Blocked:
        return Blocked(plan.secret, reason, detail)

    found, vault = seen.bootstrap, seen.vault
    if found is None:
        return blocked(Reason.NO_BOOTSTRAP)
    if found.mark is not None:
        return blocked(Reason.CONSUMED_WITHOUT_RECORD, f"handover {found.mark.id}")
    if found.missing or found.digest is None:
        return blocked(Reason.KEYS_MISSING, ", ".join(found.missing))
    if seen.git is not None and not same_digest(seen.git, found.digest):
        return blocked(Reason.NOT_FROM_GIT)
    if vault.version == 0:
        return Step.WRITE
    if vault.version > 1:
        return blocked(Reason.WRITTEN_OFTEN, f"version {vault.version}")
    if vault.digest is None:
        return blocked(Reason.DELETED_BEFORE)
    # The comparison after reading back: what stands in Vault is what the bootstrap Secret holds.
    return Step.RECORD if same_digest(vault.digest, found.digest) else blocked(Reason.VALUE_DIFFERS)


def notices(seen: Observation) -> tuple[Notice, ...]:
    """What a person should know and no step acts on."""
    record = seen.vault.record
    if record is None:
        return ()
    found: list[Notice] = []
    if seen.git is not None and not same_digest(seen.git, record.digest):
        found.append(Notice.GIT_CHANGED)
    held = seen.bootstrap.digest if seen.bootstrap and seen.bootstrap.holds_data else None
    if held is not None and not same_digest(held, record.digest):
        found.append(Notice.BOOTSTRAP_CHANGED)
    if seen.vault.digest is None:
        found.append(Notice.VALUE_GONE)
    return tuple(found)
