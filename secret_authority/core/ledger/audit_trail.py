"""The audit trail: one event for each change of authority or of a value; when, why, which run, what result.

Events are appended create-only. They hold names, ids and keyed digests, never a value. RFC-SECOPS-0001 §5
(transfers are observable and auditable) and §6 (audit of rotations).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from secret_authority.core.handover.state_machine import Record
from secret_authority.core.phases import Authority
from secret_authority.core.timestamps import api_time


@dataclass(frozen=True, order=True)
class Event:
    """One change. `at` is the instant at which it took effect, ISO 8601 in UTC."""

    at: str
    secret: str
    change: str
    why: str
    run: str
    result: str
    # The transaction: the id of the handover or of the rotation.
    id: str
    # Where the value is, `mount/path` in Vault.
    place: str
    digest: str
    # Who asked for it, by Kubernetes' word; empty for what an engine does by itself.
    person: str = ""

    def fields(self) -> dict[str, str]:
        return {name: text for name, text in asdict(self).items() if name != "person" or text}

    def line(self) -> str:
        """The event as one line of JSON, keys in a fixed order."""
        return json.dumps(self.fields(), sort_keys=True)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Event:
        """Read what `fields` wrote. Raises ValueError naming what is missing or no text."""
        found: dict[str, Any] = {name: fields.get(name) for name in cls.__dataclass_fields__}
        found["person"] = fields.get("person", "")
        wrong = [name for name, text in found.items() if not isinstance(text, str)]
        if wrong:
            raise ValueError(f"an audit event lacks {', '.join(wrong)}")
        return cls(**found)


def handed_over(record: Record, place: str) -> Event:
    """The event of a handover. It follows from the record alone, so every run would write the same one."""
    return Event(
        at=record.at,
        secret=record.secret,
        change=f"authority {Authority.GIT} -> {Authority.VAULT}",
        why="handover" + (f" of Git revision {record.revision}" if record.revision else ""),
        run=record.run,
        result="done",
        id=record.id,
        place=place,
        digest=record.digest,
    )


# Ids of entries begin with this; the entry identity may create no other event.
ENTRY_PREFIX = "en-"
ENTERED = "`secret-authority enter`"


def entered(secret: str, place: str, version: int, at: datetime, person: str, why: str = ENTERED) -> Event:
    """The event of a value that a person has entered, as version `version` of `place`. `at` is when Vault wrote it.

    It moves no authority: the first value's own event does, and Vault has the secret already when one is replaced.
    """
    change = f"value {'entered' if version == 1 else 'replaced'}, version {version}"
    # With its time: numbers begin again when a path is deleted with its metadata.
    identity = f"{ENTRY_PREFIX}{version}-{int(at.timestamp() * 1000)}"
    return _by_person(secret, at, change, why, identity, place, person)


def _by_person(secret: str, at: datetime, change: str, why: str, identity: str, place: str, person: str) -> Event:
    """What a person did by a command: it was done when it is on record, and no run of an engine did it."""
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return Event(moment, secret, change, why, "-", "done", identity, place, digest="", person=person)


# What events of the unseal shares name in place of a secret: no name of the catalogue has a dot.
SEAL_EVENTS = "vault.unseal-shares"


def shares_stored(uid: str, place: str, at: datetime, change: str, person: str) -> Event:
    """The event of unseal shares that a command has stored, as the object `uid` that was made at `at`."""
    return _by_person(SEAL_EVENTS, at, "unseal shares stored", change, f"sh-{uid}", place, person)


# What the event of a restore, which is about all of Vault, names in place of a secret.
RESTORE_EVENTS = "vault.restore"


def restored(snapshot: str, begun: str, person: str) -> Event:
    """The event of a restore of Vault from a snapshot. Every run of one restore would write the same one."""
    identity = hashlib.sha256(f"{snapshot}\0{begun}".encode()).hexdigest()[:20]
    at, why = datetime.fromisoformat(begun), f"`secret-authority restore`, snapshot {snapshot}"
    return _by_person(RESTORE_EVENTS, at, "restored from a snapshot", why, f"re-{identity}", snapshot, person)


def gives_to_vault(event: Event) -> bool:
    """Whether Vault became the authority with this event: a handover or a first value."""
    return event.change.endswith(f"-> {Authority.VAULT}") and event.result == "done"


def table(events: Iterable[Event]) -> str:
    """Events in order of time, as aligned columns for people."""
    head = ("when", "secret", "change", "why", "by", "result")
    rows = [head, *((e.at, e.secret, e.change, e.why, e.person or e.run, e.result) for e in sorted(events))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class Mismatch:
    """An event without its request in Vault's audit log, or a request without its event."""

    what: str

    def __str__(self) -> str:
        return self.what


@dataclass(frozen=True)
class _Request:
    path: str
    at: datetime
    handover: str


def match_vault_log(
    events: Iterable[Event], log: Iterable[str], hashed: Mapping[str, str], tolerance: timedelta
) -> list[Mismatch]:
    """Compare the trail with Vault's own audit log, both ways; empty when they tell the same story.

    Only events that gave a secret to Vault are compared: each has a patch of the metadata.

    `log` are the lines of a file audit device. Vault writes values as HMACs there: `hashed` gives for each
    handover id its HMAC (sys/audit-hash). A handover is in the log as a successful patch of the metadata of
    the place, carrying the id, at the time of the event give or take `tolerance`.
    """
    requests = list(_patches(log))
    found: list[Mismatch] = []
    used: set[_Request] = set()
    for event in filter(gives_to_vault, events):
        mount, _, path = event.place.partition("/")
        wanted = f"{mount}/metadata/{path}"
        when = datetime.fromisoformat(event.at)
        fits = [
            request
            for request in requests
            if request.path == wanted
            and request.handover == hashed.get(event.id)
            and abs(request.at - when) <= tolerance
        ]
        if not fits:
            what = f"event {event.id} of {event.secret} has no patch of {wanted} in Vault's audit log"
            found.append(Mismatch(what))
        used.update(fits)
    found += [
        Mismatch(f"Vault's audit log has a record of authority on {request.path} without an event")
        for request in requests
        if request not in used
    ]
    return found


def _patches(log: Iterable[str]) -> Iterator[_Request]:
    for line in log:
        entry = json.loads(line)
        request = entry.get("request") or {}
        if entry.get("type") != "response" or entry.get("error") or request.get("operation") != "patch":
            continue
        if ((entry.get("response") or {}).get("data") or {}).get("error"):
            continue
        metadata = (request.get("data") or {}).get("custom_metadata") or {}
        if "handover_id" in metadata:
            yield _Request(request["path"], api_time(entry["time"]), metadata["handover_id"])
