"""The restore of Vault from a snapshot bundle, as a machine that knows only what it observes.

    refused    something does not fit; nothing was changed
    begun      the record names the snapshot; External Secrets and the engines above Vault are scaled down
    replaced   Vault holds the snapshot; the shares that fit it are stored, once it has opened with them
    revoked    tokens, leases and rotations that came back to life are ended
    open       the restore is on record in the audit trail, and everything is scaled up again

`next_move` says which one thing comes next. Each move may be repeated, so a run may be killed anywhere and started
again. Two facts of Vault carry the order (docs/decisions/0019-restore-into-an-empty-vault.md):
- Vault answers 204 to a forced restore some seconds before the restore is durable: a server killed then comes back
  with what it held before. So whether it was replaced is read from Vault's cluster id, never from an answer.
- Whatever was revoked since the snapshot works again from the moment of the unseal. So everything that would use
  Vault is away before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias

from secret_authority.core.restore.record import RestoreRecord


class Holds(StrEnum):
    """What Vault holds. UNKNOWN: it is sealed or was not asked; that is none of the others."""

    NOTHING = "nothing"  # initialised by this program, and no value was ever written
    VALUES = "values"
    SNAPSHOT = "the snapshot"
    UNKNOWN = "unknown"


class Shares(StrEnum):
    """Which unseal shares the cluster stores; OTHER also for none."""

    SNAPSHOT = "the snapshot's"
    OTHER = "others"


class Reason(Enum):
    """Why a restore does not begin. Nothing was changed."""

    NOT_CLAIMED = (
        "Vault was not initialised by this program",
        "build phase 3 first: `pulumi config set secret-authority:restore SNAPSHOT`, then `pulumi up`",
    )
    NOT_INITIALISED = ("Vault is not initialised yet", "wait until `pulumi up` has built phase 3, and run again")
    HOLDS_VALUES = (
        "Vault holds values, and a restore would overwrite them",
        "to bring back one secret's older value, use --only NAME; else restore into a new, empty Vault",
    )
    SEVERAL_NODES = (
        "Vault has more than one node, and a snapshot is restored into one",
        "set vault.replicas to 1 for the restore, and raise it afterwards",
    )
    ANOTHER_RESTORE = (
        "a restore of another snapshot has begun and not ended",
        "finish it: give its snapshot with --snapshot",
    )
    FOREIGN = (
        "the snapshot is of another cluster",
        "give --cluster, the store or --snapshot of the cluster that is meant",
    )
    EMPTY = ("the snapshot holds no secret", "give another one with --snapshot")
    SHARES_DO_NOT_OPEN = (
        "the sealed shares in the bundle do not open with this identity, or do not open the snapshot",
        "give the identity of a root holder of the day of the snapshot, or another snapshot",
    )
    NOT_WHOLE = ("the bundle is not whole", "give another one with --snapshot: `secret-authority snapshot list`")

    @property
    def text(self) -> str:
        return str(self.value[0])

    @property
    def fix(self) -> str:
        return str(self.value[1])


@dataclass(frozen=True)
class Observation:
    """One look. None: not asked or not known, and that moves nothing.

    `claimed`: the marker of this program's initialisation is there. `closed`: nothing above Vault runs. `in_flight`:
    paths of rotation documents that came back unfinished. `unasked`: secrets with a rotator that was not asked yet
    whether its target accepts what came back. `audited`: the event is in the trail.
    """

    record: RestoreRecord | None
    claimed: bool
    initialised: bool | None
    sealed: bool | None
    holds: Holds = Holds.UNKNOWN
    nodes: int | None = None
    shares: Shares = Shares.OTHER
    closed: bool | None = None
    in_flight: tuple[str, ...] | None = None
    unasked: tuple[str, ...] = ()
    audited: bool | None = None


@dataclass(frozen=True)
class Refused:
    """The restore does not begin."""

    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.reason.text}{detail}. Fix: {self.reason.fix}."


@dataclass(frozen=True)
class Wait:
    """Nothing can be done now."""

    reason: str


@dataclass(frozen=True)
class Done:
    """Restored, on record and open."""

    record: RestoreRecord


class Step(StrEnum):
    """One thing to do. Each may be repeated."""

    BEGIN = "begin"  # create the record
    CLOSE = "close"  # scale down what would use Vault
    REPLACE = "replace"  # the forced restore
    STORE_SHARES = "store the shares"  # put the snapshot's shares where the unsealer finds them
    UNSEAL = "unseal"  # with the snapshot's shares; with the stored ones while it is not the snapshot yet
    CONFIGURE = "configure"  # this release's policies and logins
    ABANDON = "abandon rotations"
    ASK = "ask rotators"  # each, whether its target accepts the restored value; it answers once its engine runs
    AUDIT = "audit"
    REVOKE = "revoke"  # every token but the own one, and every lease
    OPEN = "open"  # scale up again, and close the record


Move: TypeAlias = Step | Wait | Refused | Done


def next_move(snapshot: str, seen: Observation) -> Move:
    """The one thing to do next to restore `snapshot`, from what is seen alone."""
    record = seen.record
    if record is not None and record.open and record.snapshot != snapshot:
        return Refused(Reason.ANOTHER_RESTORE, record.snapshot)
    if record is not None and not record.open and seen.holds is Holds.SNAPSHOT and record.snapshot == snapshot:
        return Done(record)
    if record is None or not record.open:
        return _before(seen)
    if seen.closed is None:
        return Wait("it is not known whether everything that uses Vault is away")
    # Closed again after an unseal too: a Deployment may have been scaled up by hand meanwhile.
    if not seen.closed:
        return Step.CLOSE
    if seen.initialised is None or seen.sealed is None:
        return Wait("Vault does not answer")
    if not seen.initialised:
        return Wait("Vault is not initialised: its storage was lost meanwhile")
    return Step.UNSEAL if seen.sealed else _unsealed(seen, record)


def _before(seen: Observation) -> Move:
    """Everything that can be wrong is found before the first change."""
    if seen.initialised is None or seen.sealed is None:
        return Wait("Vault does not answer")
    if not seen.initialised:
        return Refused(Reason.NOT_INITIALISED)
    if not seen.claimed:
        return Refused(Reason.NOT_CLAIMED)
    match seen.holds:
        case Holds.UNKNOWN:
            return Wait("Vault is sealed, or cannot be asked what it holds")
        case Holds.VALUES | Holds.SNAPSHOT:
            return Refused(Reason.HOLDS_VALUES)
        case Holds.NOTHING:
            pass
    if seen.nodes is None:
        return Wait("it is not known how many nodes Vault has")
    return Refused(Reason.SEVERAL_NODES, f"{seen.nodes}") if seen.nodes != 1 else Step.BEGIN


def _unsealed(seen: Observation, record: RestoreRecord) -> Move:
    match seen.holds:
        case Holds.UNKNOWN:
            return Wait("Vault cannot be asked what it holds")
        case Holds.VALUES:
            return Refused(Reason.HOLDS_VALUES, "since the restore began")
        case Holds.NOTHING:
            return Step.REPLACE
        case Holds.SNAPSHOT:
            pass
    if seen.shares is not Shares.SNAPSHOT:
        return Step.STORE_SHARES
    if not record.revoked:
        return Step.REVOKE
    if not record.configured:
        return Step.CONFIGURE
    if seen.in_flight is None:
        return Wait("it is not known which rotations were unfinished")
    if seen.in_flight:
        return Step.ABANDON
    if seen.unasked:
        return Step.ASK
    return Step.OPEN if seen.audited else Step.AUDIT
