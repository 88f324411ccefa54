"""When a secret is due, and which rotations may begin together.

All bootstrap secrets are handed over within a minute, so each has a share of time of its own by which it is earlier.
After an outage everything is due at once; the limits then let few begin. RFC-SECOPS-0001 §6.5.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from functools import cache

from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.rotation.document import Request, RequestKind, Start, Trigger

# Rotations in flight at once, over all secrets.
MOST_IN_FLIGHT = 4
# Vault's clock and the engine's may differ by this much; beyond it nothing begins and nothing is revoked.
MOST_SKEW = timedelta(seconds=30)


class Urgency(IntEnum):
    """What comes first."""

    COMPROMISE = 0
    EXPIRED = 1
    ASKED = 2
    DUE = 3


def spread(secret: str, policy: RotationPolicy) -> timedelta:
    """How much earlier than needed this secret is due: the same in every run, different for each secret."""
    if policy.ttl is None:
        return timedelta()
    most = policy.ttl / 10
    if policy.rotate_before is not None:
        most = min(most, policy.rotate_before / 2)
    return most * _drawn(secret)


@cache
def _drawn(secret: str) -> float:
    """A number from 0 to 1 that belongs to the secret. A round asks for each secret several times."""
    digest = hmac.new(b"secret-authority.dev/rotation-spread", secret.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def expires_at(policy: RotationPolicy, since: datetime) -> datetime | None:
    """When the value that is in force since then reaches its ttl; None without one."""
    return None if policy.ttl is None else since + policy.ttl


def due_at(secret: str, policy: RotationPolicy, since: datetime, until: datetime | None = None) -> datetime | None:
    """When it is to be rotated by itself; None for a secret that is rotated by request only.

    `until`: when the value itself says that it ends, as a certificate does; else it ends when its ttl is over.
    """
    expires = until or expires_at(policy, since)
    if policy.type != "time-based" or expires is None:
        return None
    return expires - (policy.rotate_before or timedelta()) - spread(secret, policy)


@dataclass(frozen=True)
class Candidate:
    """A secret that could begin. `target` may be empty; `workloads` are those that use it.

    `waited`: it was admitted before and could not begin, because a consumer is not current, say.
    """

    secret: str
    urgency: Urgency
    since: datetime
    start: Start
    target: str = ""
    workloads: frozenset[str] = frozenset()
    waited: bool = False

    @property
    def order(self) -> tuple[object, ...]:
        """Most urgent and oldest first. Who cannot begin takes no turn from the others, a compromise aside."""
        late = self.waited and self.urgency is not Urgency.COMPROMISE
        return (late, self.urgency, self.since, self.secret)


def candidate(
    secret: str,
    policy: RotationPolicy,
    since: datetime,
    now: datetime,
    requests: Iterable[Request],
    target: str = "",
    workloads: Collection[str] = (),
    until: datetime | None = None,
) -> Candidate | None:
    """The most urgent reason to rotate this secret now; None without any. `since`: when its value came in force."""

    def found(urgency: Urgency, at: datetime, start: Start) -> Candidate:
        return Candidate(secret, urgency, at, start, target, frozenset(workloads))

    asked = [request for request in requests if request.kind is RequestKind.ROTATE]
    asked.sort(key=lambda request: (request.trigger is not Trigger.COMPROMISE, request.at, request.id))
    expires, due = until or expires_at(policy, since), due_at(secret, policy, since, until)
    expired = expires is not None and due is not None and now >= expires
    if asked and (asked[0].trigger is Trigger.COMPROMISE or asked[0].given or not expired):
        first = asked[0]
        urgency = Urgency.COMPROMISE if first.trigger is Trigger.COMPROMISE else Urgency.ASKED
        return found(
            urgency, _time(first.at, now), Start(first.trigger, first.why, first.id, first.cut_off, first.given)
        )
    if due is None or now < due:
        return None
    urgency = Urgency.EXPIRED if expired else Urgency.DUE
    # A request that waits meanwhile is answered by this rotation.
    request = asked[0].id if asked else ""
    return found(urgency, due, Start(Trigger.TIME, f"due since {due.isoformat(timespec='seconds')}", request))


def _time(text: str, otherwise: datetime) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return otherwise


@dataclass(frozen=True)
class InFlight:
    """What a rotation that has begun occupies."""

    target: str = ""
    workloads: frozenset[str] = frozenset()


def admit(
    candidates: Iterable[Candidate], in_flight: Mapping[str, InFlight], most: int = MOST_IN_FLIGHT
) -> dict[str, Start]:
    """Which may begin now: most urgent and oldest first, one for each target and workload, `most` over all."""
    targets = Counter(one.target for one in in_flight.values() if one.target)
    workloads = Counter(name for one in in_flight.values() for name in one.workloads)
    admitted: dict[str, Start] = {}
    for one in sorted(candidates, key=lambda candidate: candidate.order):
        if one.secret in in_flight or len(in_flight) + len(admitted) >= most:
            continue
        if targets[one.target] or any(workloads[name] for name in one.workloads):
            continue
        admitted[one.secret] = one.start
        if one.target:
            targets[one.target] += 1
        workloads.update(one.workloads)
    return admitted
