"""The loop of snapshots: sees changes in Vault, takes a snapshot when one is due, and writes it to the store.

When that is, `core.snapshots.due` decides. What was saved last is in the published status, so that a restart takes no
snapshot by itself; a lost status costs one. It also collects what verifications have shown (`verifications`).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import urlsplit

from secret_authority.clients.kubernetes import Api, ApiRefusedError, create_or_patch, named
from secret_authority.clients.object_store import ObjectStore, StoreRefusedError
from secret_authority.clients.snapshot_bundle import Bundle, BundleError, write_bundle
from secret_authority.clients.vault import Vault, server_time
from secret_authority.clients.vault_counters import change_counters
from secret_authority.contract.names import (
    INTERNAL_SERVICE,
    SEAL_KEY,
    SNAPSHOT_LEASE,
    SNAPSHOT_STATUS,
    STATUS_LABELS,
    TRUST_RECORD,
    UNSEAL_SHARES,
    VAULT_NAMESPACE,
    VAULT_PORT,
)
from secret_authority.contract.snapshot_settings import SnapshotEngineSettings
from secret_authority.contract.vault_policies import SAVED_MOUNTS
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.recipients import TrustRecord
from secret_authority.core.snapshots.due import UNSAVED_AT_MOST, Saved, Unsaved, due_at, observe
from secret_authority.core.snapshots.manifest import SavedSecret, seal_digest, state_digest
from secret_authority.core.snapshots.verification import taken_at
from secret_authority.engine.common.backoff import Backoff
from secret_authority.engine.common.barrier import run_step
from secret_authority.engine.common.lease import Lease
from secret_authority.engine.common.loop import LeasedLoop, Part
from secret_authority.engine.common.status import Status
from secret_authority.engine.runtime_authority.seal_store import read_shares
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError
from secret_authority.engine.snapshots.metadata import read_metadata
from secret_authority.engine.snapshots.take import NotTakenError, take
from secret_authority.engine.snapshots.verifications import KnownVerifications

log = logging.getLogger(__name__)

# Conditions.
RUNNING = "SnapshotsRunning"
OBSERVED = "VaultChangesObserved"
SAVED = "VaultSnapshotFresh"
VERIFIED = "VaultSnapshotVerified"

LOOK_SECONDS = 10.0
# Metadata are read this often, whatever the counters say: a version may end without a request.
FULL_LOOK_SECONDS = 600.0
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 30.0, 900.0
PUBLISH_SECONDS = 30.0
_ATTEMPT = "snapshot"
_KNOWN = (NotTakenError, BundleError, StoreRefusedError, SharesError, ValueError)


class SnapshotController:
    """One engine. `run` returns when it is stopped or has lost its lease.

    `connect` gives Vault at an address; `service` is the address of any server. `open_store` is called for each
    snapshot, so that new credentials count at once.
    """

    def __init__(
        self,
        settings: SnapshotEngineSettings,
        api: Api,
        connect: Callable[[str], Vault],
        service: str,
        open_store: Callable[[], ObjectStore],
        namespace: str,
        run_name: str,
        status: Status,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._api, self._namespace, self._status = settings, api, namespace, status
        self._connect, self._vault, self._open_store, self._clock = connect, connect(service), open_store, clock
        self._loop = LeasedLoop(Lease(api, namespace, SNAPSHOT_LEASE, run_name), status, LOOK_SECONDS)
        self._backoff = Backoff(clock)
        self._saved: Saved | None = None
        self._name = ""
        self._unsaved: Unsaved | None = None
        self._seal, self._secrets = "", tuple[SavedSecret, ...]()
        self._verifications = KnownVerifications(settings.cluster, api, namespace, open_store, clock)
        self._counters: frozenset[str] | None = None
        self._read_at = float("-inf")
        self._failures = 0
        self._restored = False
        self._published: tuple[float, str] = (float("-inf"), "")

    def stop(self) -> None:
        self._loop.stop()

    def run(self) -> int:
        """The loop. Returns an exit code: 0 when stopped, 1 when another engine holds the lease."""
        # Taking and writing a large snapshot may take its time.
        return self._loop.run(Part(RUNNING, self.reconcile, 10.0))

    def reconcile(self) -> float:
        """One round; for how many seconds to rest after it."""
        now = run_step(self._status, OBSERVED, self._observe, (ValueError, SharesError))
        if now is not None:
            self._status.set(OBSERVED, True)
            if due_at(self._saved, self._unsaved, now) <= now and self._backoff.due(_ATTEMPT):
                self._save()
            self._tell(now)
            run_step(self._status, VERIFIED, lambda: self._tell_verified(now), _KNOWN)
        self._publish()
        return LOOK_SECONDS

    def _observe(self) -> datetime:
        """Look at Vault and note what is unsaved. Returns Vault's time."""
        if not self._restored:
            found = self._api.get(named("configmaps", self._namespace, SNAPSHOT_STATUS)) or {}
            data = found.get("data") or {}
            self._saved, self._name = _last_saved(data)
            self._verifications.restore(data)
            self._restored = True
        now = server_time(self._vault)
        counters = change_counters(self._vault, SAVED_MOUNTS)
        late = self._clock() - self._read_at >= FULL_LOOK_SECONDS
        if late or counters is None or counters != self._counters:
            # The counters are from before: what is written meanwhile changes them once more.
            self._secrets = read_metadata(self._vault)
            self._counters, self._read_at = counters, self._clock()
        shares = self._shares()
        self._seal = seal_digest(shares.ciphertexts, shares.threshold)
        self._unsaved = observe(self._unsaved, self._saved, state_digest(self._secrets, self._seal), now)
        return now

    def _save(self) -> None:
        """Take and write one snapshot; a failure is told, and tried again after a pause that grows."""
        done = run_step(self._status, SAVED, self._take_and_write, _KNOWN)
        if done is None:
            self._failures += 1
            self._backoff.looked(_ATTEMPT, "failed", LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)
            return
        bundle, name = done
        self._failures = 0
        self._backoff.forget(_ATTEMPT)
        said = bundle.manifest
        self._saved = Saved(state_digest(said.secrets, said.seal.digest), said.taken_at)
        self._name = name
        self._unsaved = None
        # What the snapshot has may be newer than what was looked at.
        self._counters = None
        self._status.number("snapshot_size_bytes", said.size)
        log.info("%s is written: %d paths", name, len(said.secrets))

    def _take_and_write(self) -> tuple[Bundle, str]:
        recipients = self._admitted()
        bundle = take(self._active(), self._settings.cluster, self._shares(), known=self._secrets)
        return bundle, write_bundle(self._open_store(), bundle, recipients).folder

    def _shares(self) -> SealedShares:
        return read_shares(self._api.get(named("secrets", VAULT_NAMESPACE, UNSEAL_SHARES)) or {})

    def _admitted(self) -> tuple[str, ...]:
        """The recipients. Raises `NotTakenError` when they are not those of the cluster's own record."""
        record = self._api.get(named("configmaps", self._namespace, TRUST_RECORD))
        on_record = TrustRecord.from_data((record or {}).get("data") or {})
        if {*on_record.root, on_record.recipient} != set(self._settings.recipients):
            raise NotTakenError(
                "the recipients that this engine was given are not those which a root holder admitted for the cluster; "
                "run `secret-authority pulumi up`"
            )
        return self._settings.recipients

    def _active(self) -> Vault:
        """Vault at the active pod. Raises `Unavailable` when nobody, or somebody unknown, is named as active."""
        address = str((self._vault.read("sys/leader") or {}).get("leader_address") or "")
        url = urlsplit(address)
        inside = (url.hostname or "").endswith(f".{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc")
        if url.scheme != "https" or not inside or url.port != VAULT_PORT:
            raise Unavailable("Vault names no pod of its own as the active one")
        return self._connect(address)

    def _tell(self, now: datetime) -> None:
        age = self._unsaved.age(now).total_seconds() if self._unsaved else 0.0
        self._status.number("unsaved_change_seconds", age)
        self._status.number("snapshot_consecutive_failures", self._failures)
        if self._saved is not None:
            self._status.number("snapshot_last_success_timestamp_seconds", self._saved.at.timestamp())
        if self._failures:
            self._status.confirm(SAVED)  # it says why, also while the next try is far
            return
        late = age > UNSAVED_AT_MOST.total_seconds()
        words = f"a change is unsaved for {age:.0f} s" if late else "" if self._saved else "no snapshot is written yet"
        self._status.set(SAVED, not words, words)

    def _tell_verified(self, now: datetime) -> None:
        """What the pods of verifications have left. Its condition says why the newest snapshots are not proved."""
        self._verifications.collect()
        state = self._verifications.state
        problem = state.problem(now)
        self._status.set(VERIFIED, not problem, problem)
        self._status.number("snapshot_unverified", int(bool(problem)))
        failed = state.last is not None and bool(state.last.report.problem)
        self._status.number("snapshot_verification_failed", int(failed))
        if state.verified is not None:
            self._status.number("snapshot_last_verified_timestamp_seconds", taken_at(state.verified).timestamp())

    def _publish(self) -> None:
        """The status as a ConfigMap, at once when it has changed. It holds no value and no name of a secret."""
        saved = self._saved
        fields = {"state": saved.state, "at": saved.at.isoformat(), "name": self._name} if saved else {}
        data = {"saved": json.dumps(fields), SEAL_KEY: self._seal, **self._verifications.data()}
        text = json.dumps(data) + str(self._status.shown())
        data["conditions"] = json.dumps(self._status.as_dict())
        now = self._clock()
        if not self._restored or (text == self._published[1] and now - self._published[0] < PUBLISH_SECONDS):
            return
        try:
            create_or_patch(self._api, "configmaps", self._namespace, SNAPSHOT_STATUS, {"data": data}, STATUS_LABELS)
            self._published = (now, text)
        except (Unavailable, LostRace, ApiRefusedError) as error:
            log.warning("the status cannot be published: %s", error)


def _last_saved(status: Mapping[str, str]) -> tuple[Saved | None, str]:
    try:
        data = json.loads(status.get("saved") or "{}")
        if not data:
            return None, ""
        at = datetime.fromisoformat(data["at"])
        if at.utcoffset() is None:
            raise ValueError
        return Saved(str(data["state"]), at), str(data["name"])
    except (ValueError, KeyError, TypeError, AttributeError):
        log.warning("what was saved last cannot be read from the status; a snapshot is taken")
        return None, ""
