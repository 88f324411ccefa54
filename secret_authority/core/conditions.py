"""Conditions as the engines publish them, and when a reader may still believe them.

A condition says when it was observed last. An engine that is down leaves its last words behind, so what is older than
`STALE_SECONDS` is unknown: neither true nor false.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

# An engine observes each of its conditions within a minute; a long round, and clocks that differ, are allowed for.
STALE_SECONDS = 180


@dataclass(frozen=True)
class Condition:
    """One condition. `status` holds at `observed_at`, and has been the same since `since`."""

    status: bool
    message: str
    since: str
    observed_at: str

    def fields(self) -> dict[str, object]:
        return {
            "status": self.status,
            "message": self.message,
            "since": self.since,
            "observedAt": self.observed_at,
        }

    def known(self, now: datetime) -> bool | None:
        """The status at `now`, None when it was observed too long ago, in the future, or at no readable time.

        Clocks may differ by `STALE_SECONDS`.
        """
        try:
            fresh = abs(now - datetime.fromisoformat(self.observed_at)) <= timedelta(seconds=STALE_SECONDS)
        except (ValueError, TypeError):
            return None
        return self.status if fresh else None


def silence(text: str, now: datetime) -> str:
    """Why nothing is known of an engine by the conditions that it published; empty when it observed one lately."""
    try:
        conditions = read_conditions(text).values()
    except ValueError:
        return "the conditions that the engine published cannot be read"
    if any(condition.known(now) is not None for condition in conditions):
        return ""
    last = max((condition.observed_at for condition in conditions), default="") or "an unknown time"
    return f"the engine has observed nothing since {last}"


def read_conditions(text: str) -> dict[str, Condition]:
    """What an engine has published under `conditions`. Raises ValueError for anything but a mapping of conditions."""
    found = json.loads(text or "{}")
    if not isinstance(found, Mapping) or not all(isinstance(fields, Mapping) for fields in found.values()):
        raise ValueError("the conditions are not a mapping")
    return {
        name: Condition(
            fields.get("status") is True,
            str(fields.get("message", "")),
            str(fields.get("since", "")),
            str(fields.get("observedAt", "")),
        )
        for name, fields in found.items()
    }
