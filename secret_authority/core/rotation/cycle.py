"""One secret's rotation against a store and a rotator: what each look asks, and what each move does.

The store is Vault in the cluster and a model in the tests; the same lines run in both.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.rotation import record
from secret_authority.core.rotation.document import Document, Request, Start, State, Trigger
from secret_authority.core.rotation.rotator import (
    Accepts,
    Fence,
    GivenValueError,
    MadeByTarget,
    Plan,
    Rotator,
    TakesValues,
    Value,
)
from secret_authority.core.rotation.runner import NotAcceptedError
from secret_authority.core.rotation.state_machine import (
    Answer,
    Apply,
    Audit,
    Change,
    Clean,
    Complete,
    Delivery,
    Discard,
    Move,
    Newest,
    Observation,
    Prepare,
    Publish,
    Record,
    Revoke,
    discarded,
    same,
)


class RotationStore(Protocol):
    """Where one secret, its rotation document, its requests and its events are.

    Writes with `cas` raise `LostRace` when that version is not the newest any more. All raise `Unavailable`.
    """

    @property
    def secret(self) -> str: ...

    @property
    def place(self) -> str: ...

    def clock(self) -> tuple[datetime, bool]:
        """The store's time, and whether this process agrees with it."""

    def document(self) -> tuple[Document, int, tuple[int, ...]]:
        """The document, its version (0 for none), and older versions that still hold values."""

    def write_document(self, document: Document, cas: int) -> None: ...

    def destroy(self, versions: tuple[int, ...]) -> None: ...

    def newest(self) -> Newest: ...

    def digest(self, value: Value) -> str: ...

    def digest_of(self, version: int) -> str | None:
        """The digest of an older version; None when it cannot be read."""

    def publish(self, value: Value, cas: int) -> None: ...

    def metadata(self) -> Mapping[str, str]: ...

    def patch_metadata(self, fields: Mapping[str, str | None]) -> None:
        """None takes a key away."""

    def audited(self, event_id: str) -> bool: ...

    def append(self, event: Event) -> None:
        """Create-only; nothing happens when the event is there."""

    def requests(self) -> tuple[Request, ...]:
        """Those that are not answered."""

    def answer(self, request: str, outcome: str) -> None:
        """A value that was given with it is destroyed: the document has it, or nobody wants it."""

    def given(self, request: str) -> Value | None:
        """The value that was given with a request; None when it is gone."""


class Cycle:
    """A `RotationBackend` for one secret. `delivery` says who has a version; None when that cannot be known.

    Set `start` when the schedule admits a rotation, and `admitted` to the generation that the document had then; the
    rotation uses it up, whichever engine does it. `revoke_old` false spares the question whether the old value is
    accepted.
    """

    def __init__(
        self,
        store: RotationStore,
        rotator: Rotator,
        delivery: Callable[[Newest, Document], Delivery | None],
        run: str,
        revoke_old: bool = True,
    ) -> None:
        self._store, self._rotator, self._delivery = store, rotator, delivery
        self._run, self.revoke_old = run, revoke_old
        self.start: Start | None = None
        self.admitted: int | None = None
        # The last look, unless it did not come to its end.
        self.seen: Observation | None = None
        self._unused_since: datetime | None = None

    def observe(self) -> Observation:
        self.seen = None
        self.seen = self._observe()
        return self.seen

    def _observe(self) -> Observation:
        # The document first: what is published after this look is seen as another writer by nobody, because its
        # document has changed as well and the check-and-set write then fails.
        document, version, leftovers = self._store.document()
        if self.admitted is not None and document.generation != self.admitted:
            # Another engine has rotated since: what was asked for may be done.
            self.start = None
        newest = self._store.newest()
        now, clock_ok = self._store.clock()
        seen = Observation(
            now=now,
            document=document,
            version=version,
            leftovers=leftovers,
            newest=newest,
            clock_ok=clock_ok,
            requests=self._store.requests(),
            start=self.start,
        )
        if document.pending is not None:
            seen = replace(seen, pending_digest=self._store.digest(document.pending))
        return self._ask(seen)

    def _ask(self, seen: Observation) -> Observation:
        """Ask what the state needs, and no more."""
        document, newest = seen.document, seen.newest
        wanted = record.metadata(document)
        if wanted and newest.mark == document.published:
            found = self._store.metadata()
            seen = replace(seen, recorded=all(found.get(key) == value for key, value in wanted.items()))
        match document.state:
            case State.IDLE if self.start is not None and (refusal := self._refusal(self.start, newest)):
                return replace(seen, refusal=refusal)
            case State.IDLE if self.start is not None and self.start.trigger is Trigger.RESTORE:
                accepts = self._rotator.accepts(newest.value) if newest.value else None
                return replace(seen, ready=self._rotator.ready(), accepts_newest=accepts)
            case State.IDLE if self.start is not None:
                return replace(seen, ready=self._rotator.ready(), delivery=self._delivery(newest, document))
            case State.PREPARED if document.pending is not None and self._incomplete(document.pending):
                return replace(seen, incomplete=True)
            case State.PREPARED if document.pending is not None and newest.mark == document.base:
                return replace(seen, accepts_pending=self._rotator.accepts(document.pending))
            case State.PUBLISHED if document.published:
                return replace(seen, delivery=self._delivery(newest, document))
            case State.PUBLISHED if newest.mark != document.base:
                return replace(seen, overwritten=self._overwritten(seen))
            case State.RETIRING:
                return self._ask_of_retired(seen)
            case State.HELD | State.CONFLICT:
                return replace(seen, audited=self._store.audited(document.id))
        return seen

    def _incomplete(self, value: Value) -> bool:
        return isinstance(self._rotator, MadeByTarget) and self._rotator.incomplete(value)

    def _overwritten(self, seen: Observation) -> bool | None:
        """Whether the version that follows the base holds the pending value: it was published, then overwritten."""
        document = seen.document
        if seen.newest.version <= document.base_version:
            return None  # versions began again: Vault was restored, or the path was deleted
        digest = self._store.digest_of(document.base_version + 1)
        return None if digest is None else same(digest, seen.pending_digest)

    def _ask_of_retired(self, seen: Observation) -> Observation:
        document = seen.document
        seen = replace(seen, audited=self._store.audited(document.id), delivery=self._delivery(seen.newest, document))
        if document.retires is None or not self.revoke_old:
            return seen
        in_use = self._rotator.in_use(document.retires)
        accepts = self._rotator.accepts(document.retires)
        return replace(seen, in_use=in_use, quiet=self._quiet(seen, in_use), accepts_retired=accepts)

    def _quiet(self, seen: Observation, in_use: int | None) -> timedelta:
        delivered = datetime.fromisoformat(seen.document.delivered_at)
        if in_use is None:
            return seen.now - delivered
        if in_use:
            self._unused_since = None
            return timedelta()
        # A look of an earlier rotation counts nothing.
        if self._unused_since is None or self._unused_since < delivered:
            self._unused_since = seen.now
        return seen.now - self._unused_since

    def do(self, move: Move, seen: Observation) -> None:
        document = seen.document
        match move:
            case Change():
                self._store.write_document(move.document, seen.version)
            case Answer():
                self._store.answer(move.request, move.outcome)
                if self.start is not None and self.start.request == move.request:
                    self.start = None
            case Prepare():
                prepared = self._prepared(move.start, seen)
                self.start = None  # one permission, one attempt: also a write whose answer is lost may have been done
                self._store.write_document(prepared, seen.version)
            case Complete():
                self._store.write_document(self._completed(seen), seen.version)
            case Apply():
                pending = _known(document.pending)
                self._rotator.apply(pending, self._fence(seen))
                if self._rotator.accepts(pending) is Accepts.NO:
                    raise NotAcceptedError("the target does not accept the value that it was given")
            case Publish():
                self._store.publish(_known(document.pending), document.base_version)
            case Record():
                self._store.patch_metadata(record.metadata(document))
            case Revoke():
                self._rotator.revoke(_known(document.retires), self._fence(seen))
                if self._rotator.accepts(_known(document.retires)) is Accepts.YES:
                    raise NotAcceptedError("the target still accepts the value that was revoked")
            case Discard():
                if document.pending is not None:
                    self._rotator.discard(document.pending, self._fence(seen))
                self._store.write_document(discarded(document), seen.version)
            case Audit():
                digest = seen.newest.digest or ""
                event = record.event(document, self._store.secret, self._store.place, digest, move.result, seen.now)
                self._store.append(event)
            case Clean():
                self._store.destroy(move.versions)

    def _fence(self, seen: Observation) -> Fence:
        document = seen.document
        # After a restore the newest value is dead until the one of this rotation is published.
        first = document.step == 0 and not document.published and seen.newest.mark == document.base
        dead = document.trigger == Trigger.RESTORE and first
        return Fence(self._store.secret, document.generation, document.id, _known(seen.newest.value), dead)

    def _prepared(self, start: Start, seen: Observation) -> Document:
        generation = max(seen.document.generation, self._rotator.generation() or 0) + 1
        identity = f"ro-{secrets.token_hex(10)}"
        current = _known(seen.newest.value)
        if start.given:
            try:
                plan = self._plan_given(start, current)
            except GivenValueError as error:
                raise LostRace(str(error)) from None  # another engine has used it meanwhile
        else:
            dead = start.trigger is Trigger.RESTORE
            plan = self._rotator.plan(current, Fence(self._store.secret, generation, identity, current, dead))
            if dead:
                plan = replace(plan, retires=None)  # it is refused already
        return Document(
            state=State.PREPARED,
            generation=generation,
            id=identity,
            trigger=start.trigger.value,
            why=start.why,
            run=self._run,
            begun_at=seen.now.isoformat(timespec="milliseconds"),
            request=start.request,
            cut_off=start.request if start.cut_off else "",
            base=seen.newest.mark,
            base_version=seen.newest.version,
            publications=plan.publications,
            retires=plan.retires,
            synced=seen.document.synced,
            synced_at=seen.document.synced_at,
        )

    def _completed(self, seen: Observation) -> Document:
        document = seen.document
        assert isinstance(self._rotator, MadeByTarget)  # noqa: S101  `_incomplete` has seen it
        value = self._rotator.complete(_known(document.pending), self._fence(seen))
        if self._rotator.incomplete(value):
            raise NotAcceptedError("the target has made nothing")
        before, after = document.publications[: document.step], document.publications[document.step + 1 :]
        made = replace(document.publications[document.step], value=value)
        return replace(document, publications=(*before, made, *after), failures=0, next_try="", error="")

    def _refusal(self, start: Start, newest: Newest) -> str:
        """Why the value that was given cannot be the next one; empty for one that can, and for what is made here."""
        if not start.given or newest.value is None:
            return ""
        try:
            self._plan_given(start, newest.value)
        except GivenValueError as error:
            return str(error)
        return ""

    def _plan_given(self, start: Start, current: Value) -> Plan:
        if not isinstance(self._rotator, TakesValues):
            raise GivenValueError(f"rotator {self._rotator.kind} takes no value from outside; use `rotate`")
        given = self._store.given(start.request)
        if given is None:
            raise GivenValueError("the value that was entered is gone; enter it again")
        return self._rotator.plan_given(current, given)


def _known(value: Value | None) -> Value:
    """A value that the move presupposes. A deleted version is no ground to touch a target."""
    if value is None:
        raise Unavailable("the newest version in Vault holds no value that can be read")
    return value
