"""The newest version of each KV v2 path, read again only when Vault says that something was written.

Vault decrypts and audits each look at a path. So two looks come first. One at the index of Raft's log, which costs next
to nothing: while it is the same, nothing was written at all. The other, when it is not, at Vault's own counters: how
many requests have changed something below a mount.

Upstream: developer.hashicorp.com/vault, KV v2 "Read secret metadata".
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from secret_authority.clients.vault import Vault
from secret_authority.clients.vault_counters import applied_index, change_counters
from secret_authority.core.handover.state_machine import BASE64_KEYS
from secret_authority.core.timestamps import api_time

# Looks at version numbers at once: each waits mostly for the network.
WORKERS = 8
# However still the counters stand, every path is looked at this often: an end that was set for a later time
# (`delete_version_after`) is no request.
FULL_LOOK_SECONDS = 600.0
# Vault counts a request when it has ended, a moment after what it wrote was applied. The counters have all that was
# written at an index when it has been the same for so long.
SETTLED_SECONDS = 2.0

Place = tuple[str, str]


@dataclass(frozen=True)
class Version:
    """The newest version at a Vault path; `number` 0 means that nothing was written yet."""

    number: int
    written: datetime | None = None
    deleted: bool = False
    # The keys that Vault holds in base64, as whoever wrote them has noted.
    base64: frozenset[str] = frozenset()

    @property
    def mark(self) -> str:
        """Tells it from every other version. Numbers begin again when a path was deleted with its metadata."""
        return f"{self.number}@{int(self.written.timestamp() * 1000)}" if self.written else str(self.number)


def newest_version(vault: Vault, mount: str, path: str) -> Version:
    """The newest version of a KV v2 path, from its metadata."""
    data = (vault.read(f"{mount}/metadata/{path}") or {}).get("data") or {}
    number = int(data.get("current_version") or 0)
    if not number:
        return Version(0)
    details = (data.get("versions") or {}).get(str(number)) or {}
    # With delete_version_after a living version has a time of deletion as well, in the future.
    written, deletion = details.get("created_time"), details.get("deletion_time")
    ended = bool(deletion and api_time(deletion) <= datetime.now(UTC))
    encoded = frozenset(((data.get("custom_metadata") or {}).get(BASE64_KEYS) or "").split())
    return Version(number, api_time(written) if written else None, ended or bool(details.get("destroyed")), encoded)


class Versions:
    """Remembers what it has read, and the counters of that moment."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._known: dict[Place, Version] = {}
        self._counters: frozenset[str] | None = None
        # At this index the counters were those; and the one seen last, with the moment in which it was first seen.
        self._index: tuple[str, int] | None = None
        self._seen: tuple[tuple[str, int] | None, float] = (None, 0.0)
        self.last_full_read = 0.0
        # Its threads stay, and with them their connections to Vault.
        self._pool = ThreadPoolExecutor(max_workers=WORKERS)

    def written(self) -> bool:
        """Whether Vault has counted a change since the last read; False when it cannot say. No path is read."""
        if self._counters is None:
            return False
        index = self._look_at_index()
        if self._unchanged(index):
            return False
        counters = change_counters(self._vault, {mount for mount, _ in self._known})
        self._settle(index, counters)
        return counters is not None and counters != self._counters

    def _look_at_index(self) -> tuple[str, int] | None:
        index = applied_index(self._vault)
        if index != self._seen[0]:
            self._seen = index, time.monotonic()
        return index

    def _unchanged(self, index: tuple[str, int] | None) -> bool:
        return index is not None and index == self._index

    def _settle(self, index: tuple[str, int] | None, counters: frozenset[str] | None) -> None:
        """Nothing is asked again at an index that the counters of the versions belong to, once they are complete."""
        settled = time.monotonic() - self._seen[1] >= SETTLED_SECONDS
        self._index = index if settled and counters is not None and counters == self._counters else None

    def of(self, places: Collection[Place]) -> dict[Place, Version]:
        """The newest version at each (mount, path). Raises what `Vault.read` raises."""
        return dict(self.each(places))

    def each(self, places: Collection[Place]) -> Iterator[tuple[Place, Version]]:
        """The same, each as soon as it is known: with a thousand paths the last one is read a second after the first.

        Who does not take all of them reads all again the next time.
        """
        # Before the versions: what is written meanwhile changes the counters once more.
        index = self._look_at_index()
        due = time.monotonic() - self.last_full_read >= FULL_LOOK_SECONDS
        known_all = not due and self._counters is not None and self._known.keys() >= set(places)
        if known_all and self._unchanged(index):
            yield from ((place, self._known[place]) for place in places)
            return
        counters = change_counters(self._vault, {mount for mount, _ in places})
        self._settle(index, counters)
        if known_all and counters is not None and counters == self._counters:
            yield from ((place, self._known[place]) for place in places)
            return
        self._counters = None
        begun, known = time.monotonic(), dict[Place, Version]()
        found = self._pool.map(lambda place: newest_version(self._vault, *place), places)
        for place, version in zip(places, found, strict=True):
            known[place] = version
            yield place, version
        self._known, self._counters, self.last_full_read = known, counters, begun
