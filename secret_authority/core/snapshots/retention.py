"""Which bundles are still needed. The newest verified one always is, and so is every one after it.

A bundle that was never restored anywhere proves nothing, so one that was goes before it within each period.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from secret_authority.core.snapshots.naming import BundleName


@dataclass(frozen=True)
class Retention:
    """Of how many hours, days, ISO weeks and months one bundle is needed: the newest verified, else the newest."""

    hourly: int = 24
    daily: int = 14
    weekly: int = 8
    monthly: int = 12


_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
}


def not_needed(
    bundles: Collection[BundleName], verified: Collection[BundleName], retention: Retention | None = None
) -> list[BundleName]:
    """What may be deleted of a cluster's complete bundles, oldest first.

    Each of them is older than a verified bundle that stays. Without a verified bundle nothing may be deleted.
    Raises ValueError for bundles of several clusters.
    """
    if len({bundle.cluster for bundle in bundles}) > 1:
        raise ValueError("these are bundles of several clusters")
    rules = retention or Retention()
    proved = set(verified) & set(bundles)
    if not proved:
        return []
    newest_proved = max(proved)
    needed = {bundle for bundle in bundles if bundle >= newest_proved}
    older = sorted(set(bundles) - needed | {newest_proved}, key=lambda bundle: (bundle in proved, bundle), reverse=True)
    for rule, period in _PERIODS.items():
        newest: dict[tuple[int, ...], BundleName] = {}
        for bundle in older:
            newest.setdefault(period(bundle.taken_at), bundle)
        needed |= set(sorted(newest.values(), reverse=True)[: getattr(rules, rule)])
    return sorted(set(bundles) - needed)
