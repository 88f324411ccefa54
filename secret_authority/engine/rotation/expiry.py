"""Values that somebody else issues: nothing here can renew them, so their end is watched, and a person hears in time.

A value ends at `expires_at`, if a person has said so of this version (`rotation policy NAME --set expires_at=…`), else
when the policy's `ttl` is over. Only metadata are read. RFC-SECOPS-0001 §6.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.catalogue.rotation_policy import RotationPolicy
from secret_authority.core.catalogue.schema import CatalogueSecret
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.rotation.policy_change import EXPIRES, EXPIRES_VERSION
from secret_authority.core.timestamps import api_time
from secret_authority.engine.common.status import Status
from secret_authority.engine.rotation.store import VaultRotationStore

CURRENT = "ExternalSecretsCurrent"
# How long before its end a person hears of it, where the policy does not say: a tenth of its life, at most this.
MOST_NOTICE = timedelta(days=14)
EXPIRY_PREFIX = "ex-"


@dataclass(frozen=True)
class Watched:
    """What is known of one value. `expires` None: nobody has said when it ends. `problem`: why nothing is known."""

    version: int = 0
    since: datetime | None = None
    expires: datetime | None = None
    renew_by: datetime | None = None
    problem: str = ""

    def shown(self) -> dict[str, str]:
        times = {"since": self.since, "due": self.renew_by, "expires": self.expires}
        texts = {
            name: moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""
            for name, moment in times.items()
        }
        return {**texts, "problem": self.problem}


def watched(entry: CatalogueSecret, metadata: dict[str, object] | None) -> Watched:
    """From the answer to a read of the metadata in Vault; None when the path has none."""
    if not metadata or not metadata.get("current_version"):
        return Watched(problem="nobody has entered it yet")
    version = int(str(metadata["current_version"]))
    versions = metadata["versions"]
    custom = metadata.get("custom_metadata") or {}
    if not isinstance(versions, dict) or not isinstance(custom, dict):
        return Watched(problem="its metadata have an unknown form")
    since = api_time(versions[str(version)]["created_time"])
    policy = RotationPolicy.from_metadata(custom) or entry.rotation
    expires = since + policy.ttl if policy and policy.ttl else None
    said = custom.get(EXPIRES)
    problem = ""
    if said and custom.get(EXPIRES_VERSION) == str(version):
        expires = datetime.fromisoformat(said)
    elif said:
        problem = f"{EXPIRES} was said of another version: say when version {version} ends"
    if expires is None:
        return Watched(version, since, problem=problem)
    notice = policy.rotate_before if policy and policy.rotate_before else min((expires - since) / 10, MOST_NOTICE)
    return Watched(version, since, expires, expires - notice, problem)


class ExpiryWatch:
    """Metrics, a condition and events of what is not rotated here. `stores` by name of the secret."""

    def __init__(self, vault: Vault, stores: dict[str, VaultRotationStore], status: Status, run: str) -> None:
        self._vault, self._stores, self._status, self._run = vault, stores, status, run
        self.found: dict[str, Watched] = {}
        self._noted: set[str] = set()

    def look(self) -> None:
        """Read the metadata of each secret. Raises `Unavailable`."""
        for name, store in self._stores.items():
            try:
                answer = (self._vault.read(store.metadata_path) or {}).get("data")
                self.found[name] = watched(store.entry, answer)
            except (ValueError, KeyError, VaultRefusedError) as error:
                self.found[name] = Watched(problem=f"its metadata cannot be read: {error}")

    def tell(self, now: datetime) -> None:
        """Metrics and the condition; an event once for each version that comes near its end, and that ends."""
        words: list[str] = []
        for name, one in self.found.items():
            for metric, moment in (
                ("secret_expiry_timestamp_seconds", one.expires),
                ("secret_renewal_due_timestamp_seconds", one.renew_by),
            ):
                self._status.number(f'{metric}{{secret="{name}"}}', moment.timestamp() if moment else None)
            if one.expires and one.renew_by and now >= one.renew_by:
                ended = now >= one.expires
                at = one.expires.isoformat(timespec="seconds")
                words.append(f"{name} has ended at {at}" if ended else f"{name} ends at {at}")
                self._note(name, one.version, one.expires, ended, now)
            if one.problem and one.version:
                words.append(f"{name}: {one.problem}")
        self._status.set(CURRENT, not words, "; ".join(words[:5]))

    def _note(self, name: str, version: int, expires: datetime, ended: bool, now: datetime) -> None:
        what = "ended" if ended else "soon"
        identity = f"{EXPIRY_PREFIX}{what}-{version}-{int(expires.timestamp())}"
        if identity in self._noted:
            return
        store = self._stores[name]
        event = Event(
            at=now.isoformat(timespec="milliseconds"),
            secret=name,
            change=f"expiry, version {version}",
            why=f"its value ends at {expires.isoformat(timespec='seconds')} and is issued elsewhere",
            run=self._run,
            result="expired" if ended else "expires soon",
            id=identity,
            place=store.place,
            digest="",
        )
        if not store.audited(identity):
            store.append(event)
        self._noted.add(identity)
