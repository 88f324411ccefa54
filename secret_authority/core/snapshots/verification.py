"""What the verifications in the cluster have shown, and why the newest snapshots are not proved to be good.

A verification restores one bundle into a throwaway server. Its report goes through the pod's status as one line of
JSON. Decided from records; nothing is asked. Times are UTC.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from secret_authority.core.snapshots.naming import BundleName

# A snapshot is taken at least daily and verified within the six hours of the schedule; the rest is for doing it.
VERIFIED_AT_MOST = timedelta(hours=32)
# So much of a reason is shown.
_REASON = 500


@dataclass(frozen=True)
class Report:
    """What one verification says. `problem` is empty for a bundle that is proved to be good, and names no secret.

    `snapshot`: the folder of the bundle, empty when the verification did not come so far.
    """

    snapshot: str
    problem: str = ""
    paths: int = 0
    seconds: float = 0.0

    def to_json(self) -> str:
        fields = {"snapshot": self.snapshot, "problem": self.problem[:_REASON]}
        return json.dumps(fields | {"paths": self.paths, "seconds": round(self.seconds, 1)})

    @classmethod
    def from_json(cls, text: str, cluster: str) -> Report:
        """Read what `to_json` wrote. Raises ValueError for anything else, and for a bundle of another cluster."""
        data: Any = json.loads(text)
        try:
            made = cls(str(data["snapshot"]), str(data["problem"]), int(data["paths"]), float(data["seconds"]))
        except (KeyError, TypeError):
            raise ValueError("the report is not whole") from None
        if made.snapshot and BundleName.parse(made.snapshot).cluster != cluster:
            raise ValueError("the report is of another cluster")
        if not made.snapshot and not made.problem:
            raise ValueError("the report names no snapshot")
        return made


@dataclass(frozen=True)
class Verification:
    """A report, and when the verification ended."""

    report: Report
    at: datetime


@dataclass(frozen=True)
class Verifications:
    """`last`: the one that ended last, whatever it found. `verified`: that of the newest bundle that proved good."""

    last: Verification | None = None
    verified: Verification | None = None

    def and_then(self, one: Verification) -> Verifications:
        """With one more. One that is known, or older than the last, changes nothing."""
        if self.last is not None and one.at <= self.last.at:
            return self
        good, best = not one.report.problem, self.verified
        newer = best is None or taken_at(one) >= taken_at(best) if good else False
        return Verifications(one, one if newer else best)

    def problem(self, now: datetime) -> str:
        """Why the newest snapshots are not known to be good; empty when they are."""
        if self.last is not None and self.last.report.problem:
            return f"{self.last.report.snapshot or 'the newest snapshot'}: {self.last.report.problem}"
        if self.verified is None:
            return "no snapshot is verified yet"
        age = now - taken_at(self.verified)
        if age <= VERIFIED_AT_MOST:
            return ""
        return f"the newest verified snapshot is {age.total_seconds() / 3600:.0f} hours old"

    def to_json(self) -> str:
        return json.dumps({"last": _fields(self.last), "verified": _fields(self.verified)})

    @classmethod
    def from_json(cls, text: str, cluster: str) -> Verifications:
        """Read what `to_json` wrote; nothing is known from an empty text. Raises ValueError for anything else."""
        data: Any = json.loads(text or "{}")
        if not isinstance(data, dict):
            raise ValueError("the verifications are not a mapping")
        last, verified = (_read(data.get(name), cluster) for name in ("last", "verified"))
        if verified is not None and verified.report.problem:
            raise ValueError("what failed is named as verified")
        return cls(last, verified)


def taken_at(one: Verification) -> datetime:
    """When the verified bundle was taken, by Vault's clock. Raises ValueError for a report that names none."""
    return BundleName.parse(one.report.snapshot).taken_at


def _fields(one: Verification | None) -> dict[str, str] | None:
    return None if one is None else {"at": one.at.isoformat(), "report": one.report.to_json()}


def _read(data: Any, cluster: str) -> Verification | None:
    if data is None:
        return None
    try:
        at = datetime.fromisoformat(data["at"])
        if at.utcoffset() is None:
            raise ValueError("the time of a verification has no zone")
        return Verification(Report.from_json(data["report"], cluster), at.astimezone(UTC))
    except (KeyError, TypeError):
        raise ValueError("a verification is not whole") from None
