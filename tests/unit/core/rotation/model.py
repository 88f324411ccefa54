"""A model of everything around a rotation: Vault, a database with two users or one, and consumers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.digest import keyed_digest
from secret_authority.core.errors import LostRace, Problem, Unavailable
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.rotation.cycle import Cycle
from secret_authority.core.rotation.document import Document, Request
from secret_authority.core.rotation.rotator import (
    Accepts,
    Fence,
    FencedError,
    GivenValueError,
    Overlap,
    Plan,
    Publication,
    TargetRefusedError,
    Value,
)
from secret_authority.core.rotation.state_machine import Delivery, Newest

KEY = b"k" * 32
SLOTS = ("app_a", "app_b")


class Killed(BaseException):
    """The engine's process ends here."""


@dataclass
class World:
    """What lives outside of every engine."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    versions: list[tuple[dict[str, str], datetime]] = field(default_factory=list)
    documents: list[dict[str, Any] | None] = field(default_factory=list)
    custom: dict[str, str] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    given: dict[str, dict[str, str]] = field(default_factory=dict)
    # The database: passwords (None: no login) and the generation noted at each user.
    passwords: dict[str, str | None] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    # What the database has made itself, by the id of the rotation; and the ids for which it makes nothing any more.
    made: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    up: bool = True
    refuses: bool = False
    # Whether an engine finds its own clock to be that of Vault.
    clocks_agree: bool = True
    # What each consumer uses, as the number of a version.
    consumers: list[int] = field(default_factory=lambda: [1, 1])
    random: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.passwords = {"app_a": "first", "app_b": None}
        self.generations = dict.fromkeys(SLOTS, 0)
        self.versions = [({"username": "app_a", "password": "first", "host": "db"}, self.now)]

    def logs_in(self, value: Mapping[str, str]) -> bool:
        return self.passwords[value["username"]] == value["password"]

    def value(self, number: int) -> dict[str, str]:
        return self.versions[number - 1][0]

    def newest(self) -> dict[str, str]:
        return self.versions[-1][0]

    def deliver(self, consumer: int) -> None:
        self.consumers[consumer] = len(self.versions)

    def write(self, value: Mapping[str, str]) -> None:
        self.versions.append((dict(value), self.now))

    def usable(self) -> list[str]:
        return [slot for slot in SLOTS if self.passwords[slot] is not None]


@dataclass
class Store:
    """Vault, seen by one engine. `point` is called before every request and may kill or fail."""

    world: World
    point: Callable[[str], None] = lambda _name: None
    secret: str = "orders-db"
    place: str = "platform-data/postgres/orders"

    def clock(self) -> tuple[datetime, bool]:
        return self.world.now, self.world.clocks_agree

    def document(self) -> tuple[Document, int, tuple[int, ...]]:
        self.point("read document")
        found = self.world.documents
        if not found:
            return Document(), 0, ()
        newest = found[-1]
        assert newest is not None
        older = tuple(n for n, one in enumerate(found[:-1], 1) if one is not None)
        return Document.from_fields(newest), len(found), older

    def write_document(self, document: Document, cas: int) -> None:
        self.point("write document")
        if cas != len(self.world.documents):
            raise LostRace("document")
        self.world.documents.append(document.fields())
        self.point("document written")

    def destroy(self, versions: tuple[int, ...]) -> None:
        self.point("destroy")
        for number in versions:
            self.world.documents[number - 1] = None

    def newest(self) -> Newest:
        self.point("read newest")
        number = len(self.world.versions)
        value, written = self.world.versions[-1]
        return Newest(number, f"{number}@x", self.digest(Value(value)), written, Value(value))

    def digest(self, value: Value) -> str:
        return keyed_digest(KEY, {name: text.encode() for name, text in value.fields.items()})

    def digest_of(self, version: int) -> str | None:
        self.point("read older")
        return self.digest(Value(self.world.value(version)))

    def publish(self, value: Value, cas: int) -> None:
        self.point("publish")
        if cas != len(self.world.versions):
            raise LostRace("secret")
        self.world.write(value.fields)
        self.point("published")

    def metadata(self) -> Mapping[str, str]:
        return dict(self.world.custom)

    def patch_metadata(self, fields: Mapping[str, str | None]) -> None:
        self.point("patch metadata")
        self.world.custom.update({key: text for key, text in fields.items() if text is not None})

    def audited(self, event_id: str) -> bool:
        return event_id in self.world.events

    def append(self, event: Event) -> None:
        self.point("append event")
        self.world.events.setdefault(event.id, event)
        self.point("event appended")

    def requests(self) -> tuple[Request, ...]:
        return tuple(one for name, one in self.world.requests.items() if name not in self.world.answers)

    def answer(self, request: str, outcome: str) -> None:
        self.point("answer")
        self.world.answers.setdefault(request, outcome)
        self.point("answered")
        self.world.given.pop(request, None)

    def given(self, request: str) -> Value | None:
        self.point("read given")
        found = self.world.given.get(request)
        return Value(found) if found else None


@dataclass
class TwoUsers:
    """A database whose users take turns."""

    world: World
    point: Callable[[str], None] = lambda _name: None
    fenced: bool = True
    kind: ClassVar[str] = "model"
    overlap: ClassVar[Overlap] = Overlap.TWO_SLOTS
    window: ClassVar[bool] = False
    target: str = "db"

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        return []

    def ready(self) -> str:
        return "" if self.world.up else "the database does not answer"

    def plan(self, current: Value, fence: Fence) -> Plan:
        other = SLOTS[1 - SLOTS.index(current.fields["username"])]
        fields = {**current.fields, "username": other, "password": f"secret-{next(self.world.random)}"}
        return Plan((Publication(Value(fields)),), retires=current)

    def plan_given(self, current: Value, given: Value) -> Plan:
        if given.fields["username"] == current.fields["username"]:
            raise GivenValueError("it is the turn of the other user")
        return Plan((Publication(Value({**current.fields, **given.fields})),), retires=current)

    def _enter(self, name: str, value: Value, fence: Fence) -> str:
        self.point(name)
        if not self.world.up:
            raise Unavailable("the database does not answer")
        if self.world.refuses:
            raise TargetRefusedError("no rights")
        user = value.fields["username"]
        if self.fenced:
            if self.world.generations[user] > fence.generation:
                raise FencedError(user)
            if user == fence.in_force.fields["username"] and value != fence.in_force:
                raise FencedError(user)
            self.world.generations[user] = fence.generation
        return user

    def apply(self, value: Value, fence: Fence) -> None:
        user = self._enter("apply", value, fence)
        self.world.passwords[user] = value.fields["password"]
        self.point("applied")

    def accepts(self, value: Value) -> Accepts:
        if not self.world.up:
            return Accepts.UNKNOWN
        return Accepts.YES if self.world.logs_in(value.fields) else Accepts.NO

    def in_use(self, value: Value) -> int | None:
        if not self.world.up:
            return None
        return sum(self.world.value(c)["username"] == value.fields["username"] for c in self.world.consumers)

    def revoke(self, value: Value, fence: Fence) -> None:
        user = self._enter("revoke", value, fence)
        self.world.passwords[user] = None
        self.point("revoked")

    discard = revoke

    def generation(self) -> int | None:
        return max(self.world.generations.values()) if self.world.up else None


class OneUser(TwoUsers):
    """A database with one user: a new password ends the old one."""

    overlap: ClassVar[Overlap] = Overlap.NONE
    window: ClassVar[bool] = True

    def plan(self, current: Value, fence: Fence) -> Plan:
        fields = {**current.fields, "password": f"secret-{next(self.world.random)}"}
        return Plan((Publication(Value(fields)),), retires=current)

    def plan_given(self, current: Value, given: Value) -> Plan:
        if given.fields["username"] != current.fields["username"]:
            raise GivenValueError("there is one user")
        return Plan((Publication(Value({**current.fields, **given.fields})),), retires=current)

    def _enter(self, name: str, value: Value, fence: Fence) -> str:
        self.point(name)
        if not self.world.up:
            raise Unavailable("the database does not answer")
        user = value.fields["username"]
        if self.world.generations[user] > fence.generation:
            raise FencedError(user)
        self.world.generations[user] = fence.generation
        return user

    def revoke(self, value: Value, fence: Fence) -> None:
        self._enter("revoke", value, fence)

    def discard(self, value: Value, fence: Fence) -> None:
        user = self._enter("discard", value, fence)
        self.world.passwords[user] = fence.in_force.fields["password"]


class MakesPasswords(TwoUsers):
    """A database whose users take turns, and which makes each password itself: one for a rotation."""

    def plan(self, current: Value, fence: Fence) -> Plan:
        other = SLOTS[1 - SLOTS.index(current.fields["username"])]
        return Plan((Publication(Value({**current.fields, "username": other, "password": ""})),), retires=current)

    def incomplete(self, value: Value) -> bool:
        return not value.fields["password"]

    def complete(self, value: Value, fence: Fence) -> Value:
        user = self._enter("complete", value, fence)
        if fence.id in self.world.ended:
            raise FencedError(fence.id)
        if fence.id not in self.world.made:
            self.world.made[fence.id] = f"made-{next(self.world.random)}"
            self.world.passwords[user] = self.world.made[fence.id]
        self.point("completed")
        return Value({**value.fields, "password": self.world.made[fence.id]})

    def discard(self, value: Value, fence: Fence) -> None:
        self.revoke(value, fence)
        self.world.ended.add(fence.id)


def delivery_of(world: World) -> Callable[[Newest, Document], Delivery | None]:
    def delivery(newest: Newest, document: Document) -> Delivery:
        late = [f"pod {n}" for n, version in enumerate(world.consumers) if version != newest.version]
        return Delivery(tuple(late), synced=True)

    return delivery


def engine(
    world: World,
    point: Callable[[str], None] = lambda _name: None,
    rotator: type[TwoUsers] = TwoUsers,
    fenced: bool = True,
) -> Cycle:
    """The cycle of one engine's process."""
    return Cycle(Store(world, point), rotator(world, point, fenced), delivery_of(world), "run-1")
