"""How old the value of a secret is, when the next one is due, and how its last rotation ended.

What cannot be known is named as unknown: neither a guess, nor the dash of what does not apply. RFC-SECOPS-0001 §6.7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from secret_authority.core.ledger.audit_trail import Event, gives_to_vault

ROTATION = "rotation ("


@dataclass(frozen=True)
class RotationFact:
    """What the engine of rotation has published of one secret: since when its value is in force, when it is due."""

    since: datetime | None = None
    due: datetime | None = None


@dataclass(frozen=True)
class ValueFacts:
    """What the audit trail says of values. `written`: when the present value of each secret came, as far as events say.

    `results`: how the last rotation of each secret ended.
    """

    written: Mapping[str, datetime] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)


def value_facts(events: Iterable[Event] | None) -> ValueFacts | None:
    """None without a trail."""
    if events is None:
        return None
    written: dict[str, datetime] = {}
    results: dict[str, str] = {}
    for event in sorted(events):
        if event.why.startswith(ROTATION):
            results[event.secret] = event.result
        if gives_to_vault(event) or (event.change.startswith("value") and event.result.startswith("done")):
            written[event.secret] = datetime.fromisoformat(event.at)
    return ValueFacts(written, results)


@dataclass(frozen=True)
class Lifecycle:
    """What is None does not apply, unless `unknown` names it ("age", "due", "last_result")."""

    age: timedelta | None = None
    due: datetime | None = None
    last_result: str | None = None
    unknown: frozenset[str] = frozenset()


NOT_KNOWN = Lifecycle(unknown=frozenset({"age", "due", "last_result"}))


def lifecycle(
    secret: str, dated: bool, values: ValueFacts | None, rotation: Mapping[str, RotationFact] | None, now: datetime
) -> Lifecycle:
    """Of a secret whose value Vault holds. `dated`: something in the cluster knows when its next value is due.

    `values` and `rotation` are None when the trail or the engine's status cannot be read.
    """
    published = None if rotation is None else rotation.get(secret, RotationFact())
    moments = [values.written.get(secret) if values else None, published.since if published else None]
    since = max((moment for moment in moments if moment), default=None)
    unknown = {name for name, missing in (("age", since is None), ("last_result", values is None)) if missing}
    if dated and (rotation is None or secret not in rotation):
        unknown.add("due")
    return Lifecycle(
        None if since is None else max(now - since, timedelta()),
        published.due if published else None,
        values.results.get(secret) if values else None,
        frozenset(unknown),
    )


def rough(age: timedelta) -> str:
    """An age for people: the two largest units, such as "3d 4h"."""
    seconds = int(age.total_seconds())
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    named = [f"{number}{unit}" for number, unit in parts if number]
    return " ".join(named[:2]) or "0s"
