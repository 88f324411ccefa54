"""The one memory of a rotation: a document in Vault, changed by check-and-set only.

It is at a path of its own, `platform-rotation/data/docs/{datasource}/{consumer}`: at the secret's own path External
Secrets would deliver a pending value at once. It holds values, so it never leaves Vault and does not show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from secret_authority.core.rotation.rotator import Publication, Value


class State(StrEnum):
    """Where a rotation is. Only `published` and `retiring` cannot be aborted."""

    IDLE = "idle"
    PREPARED = "prepared"  # the new value is durable in the document and not published
    PUBLISHED = "published"  # decided: the new value is or will be the newest version of the secret
    RETIRING = "retiring"  # every consumer has the new value
    HELD = "held"  # stopped by a person or by the failure strategy
    CONFLICT = "conflict"  # somebody else wrote the secret meanwhile


class Trigger(StrEnum):
    """What began a rotation (RFC-SECOPS-0001 §6.5)."""

    TIME = "time"
    MANUAL = "manual"
    EVENT = "event"
    COMPROMISE = "compromise"
    # Vault was restored from a snapshot: a value that its target refuses is replaced by a new one, in the slot that it
    # names.
    RESTORE = "restore"


@dataclass(frozen=True)
class Document:
    """The document. Of a rotation that has ended, names and times stay and the values go."""

    state: State = State.IDLE
    generation: int = 0
    id: str = ""
    trigger: str = ""
    why: str = ""
    run: str = ""
    begun_at: str = ""
    # The id of the request that changed the document last, so that it is answered once.
    request: str = ""
    # The newest version of the secret on which this publication builds.
    base: str = ""
    base_version: int = 0
    step: int = 0
    publications: tuple[Publication, ...] = ()
    retires: Value | None = None
    # The mark of the version that was published, and when every consumer was seen with it.
    published: str = ""
    published_at: str = ""
    delivered_at: str = ""
    # The mark of the version that all consumer Secrets were seen with, and since when: pods that start later have it.
    synced: str = ""
    synced_at: str = ""
    # The request that permits to revoke without evidence of delivery, and who was cut off.
    cut_off: str = ""
    cut: tuple[str, ...] = ()
    # Why it ends without success; `discarded` once the target was cleaned, `parked` when it then waits for a person.
    ending: str = ""
    discarded: bool = False
    parked: bool = False
    held_from: State | None = None
    failures: int = 0
    next_try: str = ""
    error: str = ""
    result: str = ""
    ended_at: str = ""

    @property
    def pending(self) -> Value | None:
        """The value of the present step; None when nothing is in flight or it was discarded."""
        return self.publications[self.step].value if self.publications else None

    @property
    def last_step(self) -> bool:
        return self.step + 1 >= len(self.publications)

    @property
    def in_flight(self) -> bool:
        return self.state not in (State.IDLE,) and not (self.state is State.HELD and self.held_from is State.IDLE)

    @property
    def committed(self) -> bool:
        """Whether a value of this rotation may be the newest version: from then on it only goes forward."""
        return self.step > 0 or State.PUBLISHED in (self.state, self.held_from) or bool(self.published)

    def finished(self, result: str, at: datetime) -> Document:
        """The idle document after this rotation, without values."""
        return replace(
            self,
            state=State.IDLE,
            publications=(),
            retires=None,
            step=0,
            ending="",
            discarded=False,
            parked=False,
            held_from=None,
            cut_off="",
            failures=0,
            next_try="",
            error="",
            result=result,
            ended_at=at.isoformat(timespec="milliseconds"),
        )

    def fields(self) -> dict[str, Any]:
        """As JSON data for Vault. It contains the values."""
        found: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS + _NUMBERS + _FLAGS}
        found["state"] = self.state.value
        found["held_from"] = self.held_from.value if self.held_from else ""
        found["cut"] = list(self.cut)
        found["publications"] = [
            {"fields": dict(one.value.fields), "rest_seconds": one.rest.total_seconds()} for one in self.publications
        ]
        found["retires"] = dict(self.retires.fields) if self.retires else None
        return found

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Document:
        """Read what `fields` wrote. Raises ValueError naming a field that is missing or of the wrong kind."""
        try:
            retires = fields["retires"]
            plain: dict[str, Any] = {
                **{name: _text(fields, name) for name in _TEXTS},
                **{name: int(fields[name]) for name in _NUMBERS},
                **{name: bool(fields[name]) for name in _FLAGS},
            }
            return cls(
                state=State(fields["state"]),
                held_from=State(fields["held_from"]) if fields["held_from"] else None,
                cut=tuple(str(name) for name in fields["cut"]),
                publications=tuple(
                    Publication(Value(dict(one["fields"])), timedelta(seconds=float(one["rest_seconds"])))
                    for one in fields["publications"]
                ),
                retires=Value(dict(retires)) if retires is not None else None,
                **plain,
            )
        except KeyError as error:
            raise ValueError(f"the rotation document lacks {error.args[0]}") from None
        except (TypeError, AttributeError):
            raise ValueError("a field of the rotation document has the wrong kind") from None


_TEXTS = [
    *("id", "trigger", "why", "run", "begun_at", "request", "base", "published", "published_at", "delivered_at"),
    *("synced", "synced_at", "cut_off", "ending", "next_try", "error", "result", "ended_at"),
]
_NUMBERS = ["generation", "base_version", "step", "failures"]
_FLAGS = ["discarded", "parked"]


def _text(fields: Mapping[str, Any], name: str) -> str:
    if not isinstance(fields[name], str):
        raise TypeError(name)
    found: str = fields[name]
    return found


class RequestKind(StrEnum):
    ROTATE = "rotate"
    HOLD = "hold"
    RESUME = "resume"
    ABORT = "abort"
    # Leave a conflict: what is newest in Vault is right.
    ACCEPT = "accept"
    # Change the policy that lives with the secret; no rotation.
    POLICY = "policy"


@dataclass(frozen=True)
class Request:
    """What a person or an event asks for. Its id makes it happen once, however often it is sent.

    `given`: the next value was entered by a person and is at a path of its own, under the id of the request.
    """

    id: str
    kind: RequestKind
    why: str
    trigger: Trigger = Trigger.MANUAL
    # Revoke without evidence of delivery; for compromise only.
    cut_off: bool = False
    at: str = ""
    given: bool = False
    # The fields of the policy to change, an empty text takes one away.
    changes: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind.value,
            "why": self.why,
            "trigger": self.trigger.value,
            "cut_off": self.cut_off,
            "at": self.at,
            "given": self.given,
            "changes": dict(self.changes),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Request:
        """Raises ValueError naming what is wrong."""
        try:
            made = cls(
                _text(fields, "id"),
                RequestKind(fields["kind"]),
                _text(fields, "why"),
                Trigger(fields["trigger"]),
                fields["cut_off"] is True,
                _text(fields, "at"),
                fields.get("given") is True,
                {str(name): _text(fields["changes"], name) for name in fields.get("changes") or {}},
            )
        except KeyError as error:
            raise ValueError(f"a request lacks {error.args[0]}") from None
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{error} of a request is not text") from None
        if made.cut_off and made.trigger is not Trigger.COMPROMISE:
            raise ValueError("only a compromise may cut consumers off")
        if made.given and made.kind is not RequestKind.ROTATE:
            raise ValueError("only a rotation takes a value that is given")
        return made


@dataclass(frozen=True)
class Start:
    """A rotation that may begin now."""

    trigger: Trigger
    why: str
    request: str = ""
    cut_off: bool = field(default=False)
    given: bool = False
