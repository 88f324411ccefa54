"""The copy of the audit trail that the engine publishes for readers without access to Vault, as numbered pieces.

A reader must know whether it sees the whole trail: what is missing from it would otherwise look like a secret that
Git still holds. So the first piece says how many events there are, and the events are in strict order.
RFC-SECOPS-0001 §5 (transfers are observable).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise

from secret_authority.core.ledger.audit_trail import Event

NAME = "audit-trail"
# A ConfigMap holds 1 MiB; a piece of so many events stays well below that.
EVENTS_EACH = 1000
# How many pieces there can be: the engine's right is limited to these names.
MOST_PIECES = 20
_EVENTS, _TOTAL = "events", "total"
# What a piece holds that is left over from a longer trail.
EMPTY: Mapping[str, str] = {_EVENTS: ""}


def piece_name(number: int) -> str:
    """The name of a piece, counted from 0."""
    return NAME if number == 0 else f"{NAME}-{number}"


def pieces(events: Iterable[Event]) -> dict[str, dict[str, str]]:
    """The content of each piece by name, at least that of the first."""
    lines = [event.line() for event in sorted(set(events))]
    starts = range(0, max(len(lines), 1), EVENTS_EACH)
    found = {
        piece_name(number): {_EVENTS: "\n".join(lines[start : start + EVENTS_EACH])}
        for number, start in enumerate(starts)
    }
    found[NAME][_TOTAL] = str(len(lines))
    return found


def read_pieces(found: Mapping[str, Mapping[str, str]]) -> tuple[Event, ...] | None:
    """The trail in order of time; None when it is not there, not whole, or has been altered.

    `found` may hold more than the pieces. An empty trail is `()`: nothing has come to Vault yet.
    """
    try:
        total = int(found[NAME][_TOTAL])
        events: list[Event] = []
        number = 0
        while number == 0 or len(events) < total:
            lines = found[piece_name(number)][_EVENTS].splitlines()
            events += [Event.from_fields(json.loads(line)) for line in lines]
            number += 1
    except (KeyError, ValueError, AttributeError):
        return None
    ordered = all(one < other for one, other in pairwise(events))
    return tuple(events) if len(events) == total and ordered else None
