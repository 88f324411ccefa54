"""What a rotator is: the one part of a rotation that knows the system behind a secret (a database, an issuer).

A rotator decides nothing. It makes values, makes its target accept or refuse them, and says what the target accepts.
When each call is made is decided by `core.rotation.state_machine`. Every call may be repeated, also by an engine that
was paused for a day: `apply`, `revoke` and `discard` carry a `Fence` and change nothing for an older generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.errors import LostRace, Problem


class Accepts(StrEnum):
    """Whether the target accepts a value. UNKNOWN: it could not be asked; that is neither of the others."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Overlap(StrEnum):
    """Why an old and a new value can both be good for a while."""

    NONE = "none"  # the new value ends the old one: consumers may be refused until they have it
    TWO_SLOTS = "two slots"  # two credentials that take turns
    KEY_SET = "key set"  # the value itself carries the old and the new key
    BY_NATURE = "by nature"  # nothing revokes the old one


class TargetRefusedError(Exception):
    """The target answered and said no (rights, password rules). A person has to act. Never carries a value."""


class GivenValueError(ValueError):
    """A value that a person gave cannot be the next one. Says why, without the value."""


class FencedError(LostRace):
    """The target belongs to a newer generation, or holds what consumers use now. Nothing was changed; look again."""


@dataclass(frozen=True)
class Value:
    """All keys of a secret with their texts. It does not show them."""

    fields: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True)
class Publication:
    """A value that consumers get, and for how long all of them have to have it before the next one."""

    value: Value
    rest: timedelta = timedelta()


@dataclass(frozen=True)
class Plan:
    """The values of one rotation, in the order of their publication, and what it ends.

    `retires` is None when the target knows nothing that could be revoked.
    """

    publications: tuple[Publication, ...]
    retires: Value | None = None

    def __post_init__(self) -> None:
        if not self.publications:
            raise ValueError("a rotation publishes at least one value")


@dataclass(frozen=True)
class Fence:
    """Who asks: the rotation and its generation. `in_force` is the newest value in Vault, which nothing may break.

    `dead`: its target refuses it already, after a restore of Vault; the credential that it names is the one to change.
    """

    secret: str
    generation: int
    id: str
    in_force: Value
    dead: bool = False

    def protect(self, name: str, value: Value, same_is_fine: bool = False) -> None:
        """Raises `FencedError` when the value has the `name` (a user, an id) of the one in force.

        `same_is_fine`: unless it is that very value.
        """
        if value.fields[name] != self.in_force.fields.get(name) or self.dead:
            return
        if not (same_is_fine and value == self.in_force):
            raise FencedError(f"its {name} is what consumers use now")


class Rotator(Protocol):
    """One rotator for one secret. It raises `Unavailable`, `TargetRefusedError` and `FencedError`, without values.

    `window`: consumers may be refused between `apply` and delivery, so everything must be delivered before it begins.
    """

    kind: ClassVar[str]
    overlap: ClassVar[Overlap]
    window: ClassVar[bool]

    @property
    def target(self) -> str:
        """What it changes, such as a server's address; empty when there is no target. One rotation at a time each."""

    @classmethod
    def check(cls, secret: CatalogueSecret, settings: Mapping[str, Any], file: str) -> list[Problem]:
        """What is wrong in the catalogue, found without any connection."""

    def ready(self) -> str:
        """Empty, or why a rotation cannot begin now."""

    def plan(self, current: Value, fence: Fence) -> Plan:
        """New values. Nothing outside of this process changes."""

    def apply(self, value: Value, fence: Fence) -> None:
        """Make the target accept the value. May be repeated."""

    def accepts(self, value: Value) -> Accepts:
        """Whether the target accepts the value, asked as a consumer would use it."""

    def in_use(self, value: Value) -> int | None:
        """How many sessions use the value now; None when the target cannot tell."""

    def revoke(self, value: Value, fence: Fence) -> None:
        """Make the target refuse the value from now on. May be repeated."""

    def discard(self, value: Value, fence: Fence) -> None:
        """Take back what `apply` did for a value that was never published. May be repeated."""

    def generation(self) -> int | None:
        """The newest generation that the target knows; None when it keeps none."""


@runtime_checkable
class Provisioner(Protocol):
    """A rotator that can also make what its target lacks before any rotation, such as the users of a new database."""

    def provision(self, current: Value) -> str:
        """Make what is missing, so that the target accepts the current value, and leave what exists as it is.

        Returns what was made in words, empty for nothing. May be repeated.
        """


@runtime_checkable
class Connected(Protocol):
    """A rotator that can use one connection of its own for several calls. What is asked as a consumer has a new one."""

    def connected(self) -> AbstractContextManager[None]:
        """Until it ends, calls share a connection, which is made by the first that needs it and not used after an
        error. Nothing is asked of the target by this alone."""


@runtime_checkable
class TakesValues(Protocol):
    """What a rotator has in addition when a person may give it the next value (`enter --replace`)."""

    def plan_given(self, current: Value, given: Value) -> Plan:
        """The way to a value that was made elsewhere. Nothing outside changes. Raises `GivenValueError`."""


@runtime_checkable
class MadeByTarget(Protocol):
    """What a rotator has in addition when its target makes values itself, and shows each only to who asked for it.

    `plan` then gives a value with gaps, which is durable before anything is asked for. `complete` fills them, before it
    is applied, tested or published.
    """

    def incomplete(self, value: Value) -> bool:
        """Whether the value has gaps. Nothing is asked."""

    def complete(self, value: Value, fence: Fence) -> Value:
        """The value without gaps. `Fence.id` is the idempotency key: however often, and by whichever engine, this is
        repeated, the target makes one credential for it, and none after a `discard`."""


@runtime_checkable
class Dated(Protocol):
    """What a rotator has in addition when a value says by itself when it ends."""

    def expires(self, value: Value) -> datetime:
        """The end that is written in the value. Nothing is asked."""
