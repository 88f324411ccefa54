"""When a snapshot is due: soon after a change, and at least once a day.

Decided from an observation and the one before; nothing is asked and nothing is slept. Times are UTC, by one clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

# A burst of changes becomes one snapshot: it waits until nothing has changed for so long,
DEBOUNCE = timedelta(seconds=30)
# and no longer than this after the first of them. A minute of the five that are promised is for taking and writing it.
LONGEST_DELAY = timedelta(minutes=4)
UNSAVED_AT_MOST = timedelta(minutes=5)
AT_LEAST_EVERY = timedelta(days=1)


@dataclass(frozen=True)
class Saved:
    """The last snapshot that is completely written: `state` is that of `state_digest`."""

    state: str
    at: datetime


@dataclass(frozen=True)
class Unsaved:
    """A change that no snapshot has: seen at `first`. `last`: when `state`, which is there now, was seen first."""

    state: str
    first: datetime
    last: datetime

    def age(self, now: datetime) -> timedelta:
        """For how long the oldest unsaved change has been there; never negative, whatever a clock did."""
        return max(now - self.first, timedelta())


def observe(before: Unsaved | None, saved: Saved | None, state: str, now: datetime) -> Unsaved | None:
    """What is unsaved after this look; None when the last snapshot has everything."""
    if saved is not None and state == saved.state:
        return None
    if before is None:
        return Unsaved(state, now, now)
    return before if before.state == state else Unsaved(state, before.first, now)


def due_at(saved: Saved | None, unsaved: Unsaved | None, now: datetime) -> datetime:
    """From when on a snapshot is due. Not after `now` when it is due already."""
    if saved is None or saved.at > now:
        # None yet, or a clock that was set back: how old the last one is, nobody knows.
        return now
    daily = saved.at + AT_LEAST_EVERY
    if unsaved is None:
        return daily
    first, last = min(unsaved.first, now), min(unsaved.last, now)
    return min(daily, last + DEBOUNCE, first + LONGEST_DELAY)
