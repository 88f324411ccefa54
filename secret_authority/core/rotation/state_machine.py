"""The rotation of one secret, as a machine that knows only what it observes.

    idle       nothing is pending
    prepared   the new value is durable in the document; the target is made to accept it, and that is tested. A target
               that makes values itself is asked for one first: by the rotation's id, which is durable
    published  decided and no way back: the value is written as the newest version, consumers get it
    retiring   every consumer has it; the old one is revoked, and shown to be refused
    held       stopped by a person or by the failure strategy
    conflict   somebody else wrote the secret meanwhile

`next_move` says which one thing comes next; nothing else is remembered. Each durable change is one check-and-set
write of the document, of the secret, or one fenced call to the target. So any number of engines may be killed or paused
anywhere. RFC-SECOPS-0001 §6.2.

Two orders carry everything:
- `published` is written to the document before the secret is written. An engine that aborts has to win the document
  first, and from then on no engine can decide to publish. Writing the secret first would leave a moment in which one
  engine publishes what another one discards.
- The old value is revoked only by a look that sees the new one delivered to every consumer. Whatever is not known is
  not delivered, and a target that cannot be asked has neither accepted nor refused.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeAlias

from secret_authority.core.rotation.document import Document, Request, RequestKind, Start, State, Trigger
from secret_authority.core.rotation.rotator import Accepts, Value

DRAIN = timedelta(seconds=60)


@dataclass(frozen=True)
class Rules:
    """What the secret's policy and its rotator say.

    `drain`: for how long the old value must be out of use. `settled_first`: applying a value may break one that was in
    force before, so every consumer must have the newest before a rotation begins. Whoever lags behind (after another
    writer, say) uses just the credential whose turn it is.
    """

    revoke_old: bool = True
    drain: timedelta = DRAIN
    settled_first: bool = True


@dataclass(frozen=True)
class Newest:
    """The newest version of the secret in Vault. `version` 0: none; `digest` None: deleted or not readable."""

    version: int = 0
    mark: str = ""
    digest: str | None = None
    written: datetime | None = None
    value: Value | None = None


@dataclass(frozen=True)
class Delivery:
    """Which consumers are not proved to have the newest version, each in words. Empty: all have it.

    `synced`: whether every consumer Secret has it, whatever the pods have.
    """

    missing: tuple[str, ...] = ()
    synced: bool = True

    @property
    def complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True)
class Observation:
    """One look. What is None was not asked or could not be known, and moves nothing.

    `now` is Vault's clock; `clock_ok` is false when it differs too much from the engine's. `version` is that of the
    document, `leftovers` are older versions of it that still hold values. `incomplete`: the target has to make what the
    pending value lacks. `overwritten`: whether the version after the base holds the pending value. `recorded`: whether
    the secret's metadata tell of the last publication. `quiet`: for how long nobody was seen using the old value.
    `refusal`: why the rotator cannot do what the start asks for.
    """

    now: datetime
    document: Document = field(default_factory=Document)
    version: int = 0
    leftovers: tuple[int, ...] = ()
    newest: Newest = field(default_factory=Newest)
    clock_ok: bool = True
    pending_digest: str | None = None
    incomplete: bool = False
    overwritten: bool | None = None
    accepts_newest: Accepts | None = None
    accepts_pending: Accepts | None = None
    accepts_retired: Accepts | None = None
    delivery: Delivery | None = None
    in_use: int | None = None
    quiet: timedelta = timedelta()
    recorded: bool = True
    audited: bool = False
    requests: tuple[Request, ...] = ()
    start: Start | None = None
    refusal: str = ""
    ready: str = ""


@dataclass(frozen=True)
class Wait:
    """Nothing to do now. `reason` is empty when nothing is wanted either."""

    reason: str = ""


@dataclass(frozen=True)
class Change:
    """Write the document with check-and-set on the version that was seen."""

    document: Document
    what: str


@dataclass(frozen=True)
class Answer:
    """Note the outcome at the request, so that it is asked no more."""

    request: str
    outcome: str


@dataclass(frozen=True)
class Prepare:
    """Make new values and write them to the document, with check-and-set."""

    start: Start


@dataclass(frozen=True)
class Complete:
    """Have the target make what the pending value lacks, and write it to the document, with check-and-set."""


@dataclass(frozen=True)
class Apply:
    """Make the target accept the pending value, then test it."""


@dataclass(frozen=True)
class Publish:
    """Write the pending value to the secret, with check-and-set on the base version."""


@dataclass(frozen=True)
class Record:
    """Patch the secret's metadata: when, why, which run, which generation."""


@dataclass(frozen=True)
class Revoke:
    """Make the target refuse the old value."""


@dataclass(frozen=True)
class Discard:
    """Take back at the target what was applied and never published."""


@dataclass(frozen=True)
class Audit:
    """Append the event, create-only."""

    result: str


@dataclass(frozen=True)
class Clean:
    """Destroy older versions of the document: they hold values."""

    versions: tuple[int, ...]


Move: TypeAlias = (
    Wait | Change | Answer | Prepare | Complete | Apply | Publish | Record | Revoke | Discard | Audit | Clean
)


def same(a: str | None, b: str | None) -> bool:
    """Whether two digests of one secret are known and equal."""
    return a is not None and b is not None and hmac.compare_digest(a, b)


def next_move(rules: Rules, seen: Observation) -> Move:
    """The one thing to do next, from what is seen alone."""
    asked = _asked(seen)
    if asked is not None:
        return asked
    match seen.document.state:
        case State.IDLE:
            return _idle(rules, seen)
        case State.PREPARED:
            return _prepared(seen)
        case State.PUBLISHED:
            return _published(seen)
        case State.RETIRING:
            return _retiring(rules, seen)
        case State.HELD:
            return _held(seen)
        case State.CONFLICT:
            return _conflict(seen)


def _idle(rules: Rules, seen: Observation) -> Move:
    if seen.leftovers:
        return Clean(seen.leftovers)
    if not seen.recorded:
        return Record()
    if seen.start is None:
        return Wait()
    if seen.refusal:
        return Answer(seen.start.request, f"refused: {seen.refusal}")
    if _paused(seen):
        return Wait(f"next try at {seen.document.next_try}: {seen.document.error}")
    if not seen.clock_ok:
        return Wait("the clocks of Vault and of this engine differ too much to begin")
    if seen.newest.digest is None:
        return Wait("Vault holds no value that can be read")
    if seen.ready:
        return Wait(seen.ready)
    if seen.start.trigger is Trigger.RESTORE:
        return _restored(seen, seen.start)
    if rules.settled_first and not seen.start.cut_off:
        if _newly_synced(seen):
            return _note_synced(seen)
        missing = _missing(seen)
        if missing:
            return Wait(f"every consumer has to have the present value first: {missing}")
    return Prepare(seen.start)


def _restored(seen: Observation, start: Start) -> Move:
    """Vault came back from a snapshot. Whether its value still counts, its target knows; consumers are not asked."""
    match seen.accepts_newest:
        case Accepts.YES:
            return Answer(start.request, "same: its target accepts the restored value")
        case Accepts.NO:
            return Prepare(start)
    return Wait("the target cannot be asked whether it accepts the restored value")


def _prepared(seen: Observation) -> Move:
    document = seen.document
    if seen.newest.mark != document.base:
        return _conflicting(seen, "another writer changed the secret before the new value was published")
    if _paused(seen):
        return Wait(f"next try at {document.next_try}: {document.error}")
    if seen.incomplete:
        return Complete()
    match seen.accepts_pending:
        case Accepts.YES:
            return Change(replace(document, state=State.PUBLISHED, failures=0, next_try="", error=""), "publish")
        case Accepts.NO:
            return Apply()
    return Wait("the target cannot be asked whether it accepts the new value")


def _published(seen: Observation) -> Move:
    document, newest = seen.document, seen.newest
    if not document.published:
        if newest.mark == document.base:
            return Publish()
        if same(newest.digest, seen.pending_digest):
            at = (newest.written or seen.now).isoformat(timespec="milliseconds")
            return Change(replace(document, published=newest.mark, published_at=at), "published")
        if seen.overwritten is None:
            return Wait("it cannot be seen whether the new value was published")
        return _conflicting(seen, "another writer changed the secret", published=seen.overwritten)
    if newest.mark != document.published:
        return _conflicting(seen, "another writer changed the secret after the new value was published")
    if not seen.recorded:
        return Record()
    if _newly_synced(seen):
        return _note_synced(seen)
    missing = _missing(seen)
    if missing and not document.cut_off:
        return Wait(f"not delivered: {missing}")
    if document.last_step:
        cut = seen.delivery.missing if seen.delivery else ("consumers that could not be seen",)
        at = seen.now.isoformat(timespec="milliseconds")
        retiring = replace(document, state=State.RETIRING, delivered_at=at, cut=cut if missing else ())
        return Change(retiring, "delivered")
    if not document.delivered_at:
        return Change(replace(document, delivered_at=seen.now.isoformat(timespec="milliseconds")), "step delivered")
    rest = document.publications[document.step].rest
    if not document.cut_off and (not seen.clock_ok or seen.now < datetime.fromisoformat(document.delivered_at) + rest):
        return Wait(f"the next value follows {int(rest.total_seconds())} s after delivery")
    following = replace(
        document,
        state=State.PREPARED,
        step=document.step + 1,
        base=newest.mark,
        base_version=newest.version,
        published="",
        published_at="",
        delivered_at="",
    )
    return Change(following, "next step")


def _retiring(rules: Rules, seen: Observation) -> Move:
    document = seen.document
    if seen.newest.mark != document.published:
        return _conflicting(seen, "another writer changed the secret after the new value was published")
    if document.retires is None or seen.accepts_retired is Accepts.NO:
        return _finish(seen, "done")
    if not rules.revoke_old:
        return _finish(seen, "done; the old value is valid and not revoked")
    if seen.accepts_retired is not Accepts.YES:
        return Wait("the target cannot be asked whether it still accepts the old value")
    if not seen.clock_ok:
        return Wait("the clocks of Vault and of this engine differ too much to revoke")
    if _paused(seen):
        return Wait(f"next try at {document.next_try}: {document.error}")
    if not document.cut_off:
        missing = _missing(seen)
        if missing:
            return Wait(f"not delivered: {missing}")
        if seen.in_use:
            return Wait(f"{seen.in_use} sessions use the old value")
        if seen.quiet < rules.drain:
            return Wait(f"the old value has to be out of use for {int(rules.drain.total_seconds())} s")
    return Revoke()


def _held(seen: Observation) -> Move:
    document = seen.document
    if not document.ending:
        return Wait("held; resume or abort it")
    return _end(seen)


def _conflict(seen: Observation) -> Move:
    if not seen.document.committed:
        return _end(seen)
    if not seen.audited:
        return Audit(seen.document.ending)
    return Wait(f"{seen.document.ending}; nothing is revoked. See docs/rotation.md, then `rotation accept`")


def _end(seen: Observation) -> Move:
    """End a rotation that was never published: clean the target, tell, be idle or stay held."""
    document = seen.document
    if not document.discarded:
        if _paused(seen):
            return Wait(f"next try at {document.next_try}: {document.error}")
        return Discard()
    if not seen.audited:
        return Audit(document.ending)
    if document.parked:
        return Wait(f"held: {document.ending}")
    return Change(document.finished(document.ending, seen.now), "ended")


def discarded(document: Document) -> Document:
    """The document after `Discard`: the pending value is gone from the target and from here."""
    return replace(document, discarded=True, publications=(), retires=None, failures=0, next_try="", error="")


def _finish(seen: Observation, result: str) -> Move:
    document = seen.document
    if document.cut:
        result += f"; cut off: {', '.join(document.cut)}"
    if not seen.audited:
        return Audit(result)
    return Change(document.finished(result, seen.now), "done")


def _conflicting(seen: Observation, why: str, published: bool | None = None) -> Move:
    document = seen.document
    # A publication that was decided and lost to another writer never happened: as if it was still prepared.
    lost = published is False and document.step == 0
    held_from = None if lost else (State.PUBLISHED if document.committed else None)
    return Change(replace(document, state=State.CONFLICT, held_from=held_from, ending=f"conflict: {why}"), "conflict")


def _newly_synced(seen: Observation) -> bool:
    return seen.delivery is not None and seen.delivery.synced and seen.document.synced != seen.newest.mark


def _note_synced(seen: Observation) -> Move:
    """From this instant on, a pod that starts reads the newest version. Durable, so that an engine may be restarted."""
    at = seen.now.isoformat(timespec="milliseconds")
    return Change(replace(seen.document, synced=seen.newest.mark, synced_at=at), "synced")


def _missing(seen: Observation) -> str:
    if seen.delivery is None:
        return "it is not known who has the newest version"
    shown = seen.delivery.missing[:3]
    more = len(seen.delivery.missing) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _paused(seen: Observation) -> bool:
    return bool(seen.document.next_try) and seen.now < datetime.fromisoformat(seen.document.next_try)


def _asked(seen: Observation) -> Move | None:
    """What the oldest request calls for that can be answered or acted on now; None when there is none."""
    document = seen.document
    for request in _in_order(seen.requests):
        if request.id in (document.request, document.cut_off):
            return Answer(request.id, f"accepted as {document.id}" if document.id else "accepted")
        move = _act_on(request, seen)
        if move is not None:
            return move
    return None


def _in_order(requests: Iterable[Request]) -> list[Request]:
    return sorted(requests, key=lambda request: (request.at, request.id))


def _act_on(request: Request, seen: Observation) -> Move | None:
    document = seen.document
    match request.kind:
        case RequestKind.HOLD:
            if document.state in (State.HELD, State.CONFLICT):
                return Answer(request.id, f"refused: it is in state {document.state} already")
            held = replace(document, state=State.HELD, held_from=document.state, request=request.id)
            return Change(held, "hold")
        case RequestKind.RESUME:
            return _resume(request, seen)
        case RequestKind.ABORT:
            return _abort(request, seen)
        case RequestKind.ACCEPT:
            return _accept(request, seen)
        case RequestKind.POLICY:
            return None  # no matter of a rotation; see engine/rotation/policies.py
        case RequestKind.ROTATE:
            if not document.in_flight and document.state is State.IDLE:
                return None  # the schedule decides when it begins
            if request.trigger is Trigger.COMPROMISE:
                # It waits for the one in flight; when it may cut off, that one waits for nobody any more.
                if request.cut_off and not document.cut_off and document.state in (State.PUBLISHED, State.RETIRING):
                    return Change(replace(document, cut_off=request.id), "cut off")
                return None
            return Answer(request.id, f"refused: rotation {document.id or 'of this secret'} is {document.state}")


def _resume(request: Request, seen: Observation) -> Move:
    document = seen.document
    if document.state is State.CONFLICT:
        return Answer(request.id, f"refused: {_HOW_TO_LEAVE}")
    if document.state is not State.HELD or (document.ending and not document.parked):
        return Answer(request.id, f"refused: it is {document.state}, not held")
    if document.ending:
        if not (document.discarded and seen.audited):
            return Answer(request.id, "refused: it is still being taken back; try again in a minute")
        return Change(replace(document.finished(document.ending, seen.now), request=request.id), "resume")
    back = replace(document, state=document.held_from or State.IDLE, held_from=None, request=request.id)
    return Change(replace(back, failures=0, next_try="", error=""), "resume")


def _abort(request: Request, seen: Observation) -> Move:
    document = seen.document
    if document.state is State.CONFLICT:
        return Answer(request.id, f"refused: {_HOW_TO_LEAVE}")
    if document.state is State.HELD and document.ending:
        return _resume(request, seen)
    if document.committed and document.in_flight:
        return Answer(request.id, "refused: the new value is published; only a new rotation leads away from it")
    if not document.in_flight:
        if document.state is State.HELD:
            return _resume(request, seen)
        return Answer(request.id, "refused: no rotation is in flight")
    ending = f"aborted: {request.why}"
    return Change(replace(document, state=State.HELD, ending=ending, parked=False, request=request.id), "abort")


_HOW_TO_LEAVE = "it is in conflict; find out which value is right, then `rotation accept`"


def _accept(request: Request, seen: Observation) -> Move:
    """Leave a conflict with what is newest in Vault. Nothing is revoked: the next rotation ends what else is valid."""
    document = seen.document
    if document.state is not State.CONFLICT:
        return Answer(request.id, f"refused: it is {document.state}, not in conflict")
    if not document.committed:
        return Answer(request.id, "refused: the new value is being taken back by itself; nothing has to be decided")
    if not seen.audited:
        return Audit(document.ending)
    finished = document.finished(document.ending, seen.now)
    return Change(replace(finished, request=request.id), "conflict settled")
