"""Publishes what the engine knows as ConfigMaps, for programs and people."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from secret_authority.clients.kubernetes import Api, Object, create_or_patch, named
from secret_authority.contract.names import HANDOVER_STATUS, STATUS_LABELS
from secret_authority.core.ledger import published_trail
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.ledger.trail_signature import TrailSigner
from secret_authority.engine.common.status import log

# How long a lost or altered ConfigMap may stay so, in seconds.
RESYNC_SECONDS = 30.0


class UnknownTrailError(Exception):
    """The published audit trail is not signed with this cluster's key, and claims what Vault does not know."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = tuple(events)
        super().__init__(
            f"the published audit trail is altered: {len(events)} of its events, such as {events[0].id} of "
            f"{events[0].secret}, are neither signed nor in Vault. Fix: find out who writes ConfigMap "
            f"{published_trail.NAME}, or which snapshot Vault was restored from; then delete its pieces"
        )


class Publisher:
    """Keeps the ConfigMaps of the engine as they should be: a lost or altered one is put right.

    What was published last stays in memory and is compared with the cluster at every `reconcile`, at most each
    `RESYNC_SECONDS`; a change of content goes out at once. Every method raises `Unavailable`, `LostRace` and
    `ApiRefusedError`; what could not be written is tried again by the next `reconcile`. Threads may share one.
    """

    def __init__(self, api: Api, namespace: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._namespace, self._clock = api, namespace, clock
        self._wanted: dict[str, Mapping[str, str]] = {}
        # The names whose content has not gone out yet, and when the cluster was looked at last.
        self._dirty: set[str] = set()
        self._resynced_at: float | None = None
        # What was published of the trail, by this engine or one before it. None until that was read.
        self._trail: tuple[Event, ...] | None = None
        self._lock = threading.Lock()

    def status(self, data: Mapping[str, str]) -> None:
        """The conditions and the evidence of this engine."""
        with self._lock:
            self._tell({HANDOVER_STATUS: data})

    def trail(self, events: Iterable[Event], signer: TrailSigner) -> tuple[Event, ...]:
        """The audit trail, a copy for reading; the trail itself is in Vault.

        The copy never becomes shorter: what was published once stays in it. Returns the events that are published and
        that `events` lacks. Raises `UnknownTrailError` when the copy in the cluster claims events that neither this
        engine nor Vault knows; it is left as it is.
        """
        now = published_trail.published(events)
        with self._lock:
            if self._trail is None:
                self._trail = self._read_published(now, signer)
            longest = published_trail.published((*self._trail, *now))
            self._tell(published_trail.pieces(longest, signer))
            self._trail = longest
        return tuple(sorted(set(longest) - set(now)))

    def _read_published(self, known: Iterable[Event], signer: TrailSigner) -> tuple[Event, ...]:
        """What an engine before this one has published and signed."""
        names = map(published_trail.piece_name, range(published_trail.MOST_PIECES))
        objects = {name: self._api.get(named("configmaps", self._namespace, name)) for name in names}
        found = {name: (held or {}).get("data") or {} for name, held in objects.items()}
        whole = published_trail.read_pieces(found)
        if whole is not None and whole.key == signer.public_key:
            return whole.events
        strange = sorted(set(published_trail.read_unsigned(found)) - set(known))
        if strange:
            raise UnknownTrailError(strange)
        return ()

    def reconcile(self) -> None:
        """Compare what was published with what the cluster has, now and then, and put it right."""
        now = self._clock()
        with self._lock:
            if not self._dirty and self._resynced_at is not None and now - self._resynced_at < RESYNC_SECONDS:
                return
            for name, data in self._wanted.items():
                self._put(name, data)
            if published_trail.NAME in self._wanted:
                self._empty_left_overs()
            self._resynced_at = now

    def _tell(self, wanted: Mapping[str, Mapping[str, str]]) -> None:
        changed = {
            name: dict(data) for name, data in wanted.items() if name in self._dirty or self._wanted.get(name) != data
        }
        self._wanted |= changed
        self._dirty |= changed.keys()
        for name, data in changed.items():
            self._put(name, data)

    def _put(self, name: str, data: Mapping[str, str]) -> None:
        found = self._api.get(named("configmaps", self._namespace, name))
        if not _is(found, data):
            surplus = set((found or {}).get("data") or {}) - set(data)
            content = {"data": {**data, **dict.fromkeys(surplus)}}
            create_or_patch(self._api, "configmaps", self._namespace, name, content, STATUS_LABELS)
            if found is not None and name not in self._dirty:
                log.warning("ConfigMap %s was not as it should be; it is again", name)
        self._dirty.discard(name)

    def _empty_left_overs(self) -> None:
        """Pieces of a longer trail, or of an unknown origin. The engine holds no right to delete ConfigMaps."""
        for name in map(published_trail.piece_name, range(published_trail.MOST_PIECES)):
            if name in self._wanted:
                continue
            if self._api.get(named("configmaps", self._namespace, name)) is not None:
                self._put(name, published_trail.EMPTY)


def _is(found: Object | None, data: Mapping[str, str]) -> bool:
    if found is None or (found.get("data") or {}) != data:
        return False
    labels = found["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in STATUS_LABELS.items())
