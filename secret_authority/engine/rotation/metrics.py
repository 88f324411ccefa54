"""The metrics of rotations: how many attempts ended how, and of each secret what its present or last one took.

Names are without the prefix `secret_authority_`; docs/rotation.md lists them. What is not known has no series.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.rotation.document import Document, State
from secret_authority.core.rotation.state_machine import Change, Move, Observation

# The parts of a rotation, each between two times of its document: until the new value is decided and written, until
# every consumer has it, until the old one is revoked and refused.
STEPS = {
    "prepare": ("begun_at", "published_at"),
    "deliver": ("published_at", "delivered_at"),
    "retire": ("delivered_at", "ended_at"),
}
# How a rotation ends: the first word of its result. A failure was counted when it happened.
ENDS = ("done", "aborted", "conflict")


def attempts(before: Document, moves: Iterable[Move], trigger: str) -> Iterator[str]:
    """One counter for each attempt that ended or failed with these moves."""
    ended = before.ended_at
    for move in moves:
        if not isinstance(move, Change):
            continue
        if move.what == "failed":
            yield _attempt(trigger, "failed")
        elif move.document.ended_at not in ("", ended):
            ended = move.document.ended_at
            word = next((word for word in ENDS if move.document.result.startswith(word)), "")
            if word:
                yield _attempt(trigger, word)


def _attempt(trigger: str, result: str) -> str:
    return f'rotation_attempts_total{{trigger="{trigger}",result="{result}"}}'


def of_secret(
    name: str, document: Document, seen: Observation | None, policy: RotationPolicy, now: datetime
) -> dict[str, float | None]:
    """Of one secret; None for what is not known or not so now. `seen`: the last look that came to its end."""
    label = f'{{secret="{name}"}}'
    delivery = seen.delivery if seen else None
    published = document.published_at and document.state in (State.PUBLISHED, State.RETIRING)
    overlap = (now - datetime.fromisoformat(document.published_at)).total_seconds() if published else None
    found: dict[str, float | None] = {
        f"rotation_overdue{label}": int(overdue(document, policy, now)),
        f"rotation_overlap_seconds{label}": overlap if overlap is None else max(overlap, 0.0),
        f"consumers_pending{label}": len(delivery.missing) if delivery else None,
        f"old_credential_sessions{label}": seen.in_use if seen else None,
    }
    for step, (begin, end) in STEPS.items():
        times = [getattr(document, begin), getattr(document, end)]
        took = None
        if all(times):
            first, last = (datetime.fromisoformat(text) for text in times)
            took = max((last - first).total_seconds(), 0.0)
        found[f'rotation_step_seconds{{secret="{name}",step="{step}"}}'] = took
    return found


def overdue(document: Document, policy: RotationPolicy, now: datetime) -> bool:
    """Whether the old and the new value have both been valid for longer than the policy allows."""
    if document.state not in (State.PUBLISHED, State.RETIRING) or policy.max_overlap is None:
        return False
    return bool(document.published_at) and now > datetime.fromisoformat(document.published_at) + policy.max_overlap
