"""One engine at a time: a Lease (coordination.k8s.io/v1).

A lease is no fence: an engine that was stopped for long may wake up beside its successor. What it does is
safe then as well, because every change is conditional (see secret_authority/core/handover/state_machine.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from secret_authority.clients.kubernetes import Api
from secret_authority.core.errors import LostRace

DURATION_SECONDS = 15
_MICROSECONDS = "%Y-%m-%dT%H:%M:%S.%fZ"


class Lease:
    """A named lease in a namespace for one holder."""

    def __init__(self, api: Api, namespace: str, name: str, holder: str) -> None:
        self._api, self._name, self._holder = api, name, holder
        self._collection = f"apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    def hold(self, now: datetime | None = None) -> bool:
        """Take or renew the lease; False when another holds it. Raises `Unavailable`."""
        now = now or datetime.now(UTC)
        found = self._api.get(f"{self._collection}/{self._name}")
        spec = {
            "holderIdentity": self._holder,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": now.strftime(_MICROSECONDS),
        }
        try:
            if found is None:
                self._api.create(self._collection, {"metadata": {"name": self._name}, "spec": spec})
                return True
            held = found.get("spec") or {}
            if held.get("holderIdentity") not in (None, "", self._holder) and _running(held, now):
                return False
            self._api.replace(f"{self._collection}/{self._name}", {**found, "spec": spec})
        except LostRace:
            return False
        return True

    def release(self) -> None:
        """Let the next one in at once. Only the own lease is given back."""
        found = self._api.get(f"{self._collection}/{self._name}")
        if found and (found.get("spec") or {}).get("holderIdentity") == self._holder:
            found["spec"]["holderIdentity"] = ""
            self._api.replace(f"{self._collection}/{self._name}", found)


def _running(held: dict[str, object], now: datetime) -> bool:
    renewed = datetime.strptime(str(held["renewTime"]), _MICROSECONDS).replace(tzinfo=UTC)
    return now < renewed + timedelta(seconds=int(str(held["leaseDurationSeconds"])))
