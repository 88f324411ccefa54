"""The copy of the audit trail that the engine publishes for readers without access to Vault, as numbered pieces.

A reader must know whether it sees the whole trail: what is missing from it would otherwise look like a secret that
Git still holds. So the first piece says how many events there are, the events are in strict order, and the engine signs
all of it. Digests of values are left out: nobody needs them here. RFC-SECOPS-0001 §5 (transfers are observable).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.trail_signature import TrailSigner, is_signed

NAME = "audit-trail"
# A ConfigMap holds 1 MiB; a piece of so many events stays well below that.
EVENTS_EACH = 1000
# How many pieces there can be: the engine's right is limited to these names.
MOST_PIECES = 20
_EVENTS, _TOTAL, _SIGNATURE, _KEY = "events", "total", "signature", "key"
# What a piece holds that is left over from a longer trail.
EMPTY: Mapping[str, str] = {_EVENTS: ""}


@dataclass(frozen=True)
class PublishedTrail:
    """A trail that is whole and signed. `key` is the public key of its signer; who trusts it compares it."""

    events: tuple[Event, ...]
    key: str


def piece_name(number: int) -> str:
    """The name of a piece, counted from 0."""
    return NAME if number == 0 else f"{NAME}-{number}"


def published(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events as they are published: each once, in order of time, without digests."""
    return tuple(sorted({replace(event, digest="") for event in events}))


def pieces(events: Iterable[Event], signer: TrailSigner) -> dict[str, dict[str, str]]:
    """The content of each piece by name, at least that of the first."""
    lines = [event.line() for event in published(events)]
    starts = range(0, max(len(lines), 1), EVENTS_EACH)
    found = {
        piece_name(number): {_EVENTS: "\n".join(lines[start : start + EVENTS_EACH])}
        for number, start in enumerate(starts)
    }
    found[NAME] |= {_TOTAL: str(len(lines)), _SIGNATURE: signer.sign(_content(lines)), _KEY: signer.public_key}
    return found


def read_pieces(found: Mapping[str, Mapping[str, str]]) -> PublishedTrail | None:
    """The trail in order of time; None when it is not there, not whole, or has been altered.

    `found` may hold more than the pieces. A trail without events is whole too: nothing has come to Vault yet.
    """
    try:
        first = found[NAME]
        total, signature, key = int(first[_TOTAL]), first[_SIGNATURE], first[_KEY]
        lines: list[str] = []
        number = 0
        while number == 0 or len(lines) < total:
            lines += found[piece_name(number)][_EVENTS].splitlines()
            number += 1
        events = tuple(Event.from_fields(json.loads(line)) for line in lines)
    except (KeyError, ValueError, AttributeError):
        return None
    ordered = all(one < other for one, other in pairwise(events))
    if len(events) != total or not ordered or not is_signed(_content(lines), signature, key):
        return None
    return PublishedTrail(events, key)


def read_unsigned(found: Mapping[str, Mapping[str, str]]) -> tuple[Event, ...]:
    """Whatever events the pieces hold, signed or not: to see what they claim, never to believe it."""
    events: list[Event] = []
    for name in map(piece_name, range(MOST_PIECES)):
        for line in (found.get(name) or {}).get(_EVENTS, "").splitlines():
            try:
                events.append(Event.from_fields(json.loads(line)))
            except (ValueError, AttributeError):
                continue
    return published(events)


def _content(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode()
