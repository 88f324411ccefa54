"""A restore against one Vault server and the API server of its cluster, with a root holder's identity at hand.

Root tokens are generated from unseal shares, live in this process, and are revoked at the end; the restore itself
ends every one that a killed run has left.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from secret_authority.clients.kubernetes import Api, collection, create_or_patch, named
from secret_authority.clients.snapshot_bundle import Bundle
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import (
    AUTHORITY_MOUNT,
    EVENTS,
    INITIALISATION,
    RESTORE_RECORD,
    SEAL_LABELS,
    UNSEAL_SHARES,
)
from secret_authority.core.errors import LostRace, Unavailable
from secret_authority.core.ledger.audit_trail import Event, restored
from secret_authority.core.restore.record import RestoreRecord
from secret_authority.core.restore.state_machine import Holds, Observation, Shares, Step
from secret_authority.engine.restore.quarantine import is_closed, scale, users_of_vault
from secret_authority.engine.restore.vault_contents import (
    abandon_rotations,
    ask_rotator,
    is_empty,
    nodes,
    revoke_everything,
    rotations_in_flight,
    unasked_rotators,
)
from secret_authority.engine.runtime_authority.initial_configuration import (
    FirstConfiguration,
    configure,
    generate_root,
    revoke_every_root,
)
from secret_authority.engine.runtime_authority.seal_store import read_shares, shares_secret
from secret_authority.engine.runtime_authority.share_replacement import replace_shares
from secret_authority.engine.runtime_authority.unseal_shares import (
    SealedShares,
    SharesError,
    open_shares,
    reseal_shares,
)

log = logging.getLogger(__name__)

# Sending a snapshot, and then until Vault has sealed itself; Vault 1.21 takes about six seconds for the latter.
UPLOAD_SECONDS = 300.0
SEALING_SECONDS = 120.0
ACTIVE_SECONDS = 60.0


@dataclass(frozen=True)
class RestoreSettings:
    """`identities`: the texts of age identities that open shares. `recipients`: to whom the shares are sealed now.

    `restart` ends Vault's process so that it starts again; `person` is who asks, by Kubernetes' word. `rotated`: the
    secrets that have a rotator.
    """

    namespace: str
    person: str
    identities: str
    recipients: Sequence[str]
    first: FirstConfiguration
    restart: Callable[[], object]
    rotated: Sequence[str] = ()
    pause: Callable[[float], object] = time.sleep


class ClusterRestore:
    """`RestoreBackend` for one bundle. `vault` is the server itself, reached also while it is sealed."""

    def __init__(self, vault: Vault, api: Api, name: str, bundle: Bundle, settings: RestoreSettings) -> None:
        """`name` is the folder of the bundle. Raises `SharesError` when the shares in it do not open."""
        self._vault, self._api, self._name, self._bundle, self._settings = vault, api, name, bundle, settings
        self._shares = every_share(bundle, settings.identities)
        # The token, and the cluster id of the Vault that gave it.
        self._root: tuple[str, Vault] | None = None

    def pause(self) -> None:
        self._settings.pause(1.0)

    def observe(self) -> Observation:
        marker = self._api.get(named("configmaps", self._settings.namespace, INITIALISATION))
        seen = Observation(
            record=self._record(),
            claimed=marker is not None and "refused" not in (marker.get("data") or {}),
            initialised=None,
            sealed=None,
        )
        status = self._status()
        seen = replace(seen, initialised=bool(status["initialized"]), sealed=bool(status["sealed"]))
        if seen.record is not None and seen.record.open:
            seen = replace(seen, closed=is_closed(self._api))
        if seen.sealed or not seen.initialised:
            return seen
        return self._ask(seen, str(status.get("cluster_id") or ""))

    def _ask(self, seen: Observation, cluster_id: str) -> Observation:
        """What only an unsealed Vault can say."""
        if not cluster_id or self._vault.health() != 200:
            raise Unavailable("Vault is not active yet")
        restoring = seen.record is not None and seen.record.open
        if cluster_id != self._bundle.manifest.cluster_id:
            root = self._as_root(cluster_id, restoring)
            holds = Holds.NOTHING if is_empty(root) else Holds.VALUES
            return replace(seen, holds=holds, nodes=nodes(root))
        seen = replace(seen, holds=Holds.SNAPSHOT, shares=self._stored())
        if seen.record is None or not restoring or not seen.record.revoked:
            return seen
        root = self._as_root(cluster_id, restoring)
        found = root.read(f"{AUTHORITY_MOUNT}/data/{self._event_path(seen.record)}")
        unasked = unasked_rotators(root, self._settings.rotated, _event(seen.record).id)
        return replace(seen, in_flight=rotations_in_flight(root), unasked=unasked, audited=found is not None)

    def do(self, step: Step, seen: Observation) -> None:
        match step:
            case Step.BEGIN:
                self._begin(seen.record)
            case Step.CLOSE:
                self._close(_open(seen.record))
            case Step.REPLACE:
                self._replace()
            case Step.UNSEAL:
                self._unseal()
            case Step.STORE_SHARES:
                self._store_shares()
            case Step.REVOKE:
                revoke_everything(self._restored())
                self._write(replace(_open(seen.record), revoked=True))
            case Step.CONFIGURE:
                configure(self._restored(), self._settings.first)
                self._write(replace(_open(seen.record), configured=True))
            case Step.ABANDON:
                abandon_rotations(self._restored(), datetime.now(UTC))
            case Step.ASK:
                event = _event(_open(seen.record))
                for secret in seen.unasked:
                    ask_rotator(self._restored(), secret, event.id, event.why, datetime.now(UTC))
            case Step.AUDIT:
                self._audit(_open(seen.record))
            case Step.OPEN:
                root, self._root = self._restored(), None
                revoke_every_root(root)
                scale(self._api, _open(seen.record).closed)
                self._write(replace(_open(seen.record), opened=_now()))

    def end(self) -> None:
        """Revoke the root token of this process, if it has one. Call it however the run has ended."""
        if self._root is not None:
            (_, root), self._root = self._root, None
            try:
                root.write("auth/token/revoke-self", {})
            except (Unavailable, VaultRefusedError) as error:
                # Refused: the Vault that gave it was replaced. Away: a restore that ends well revokes every one.
                log.warning("whether this run's root token works is not known (%s)", error)

    # The record.

    def _record(self) -> RestoreRecord | None:
        found = self._api.get(named("configmaps", self._settings.namespace, RESTORE_RECORD))
        return None if found is None else RestoreRecord.from_data(found.get("data") or {})

    def _begin(self, earlier: RestoreRecord | None) -> None:
        record = RestoreRecord(self._name, self._settings.person, _now())
        path = named("configmaps", self._settings.namespace, RESTORE_RECORD)
        found = self._api.get(path)
        if found is not None:
            if earlier is None or earlier.open:
                raise LostRace(path)
            self._api.delete(path, found["metadata"].get("uid"))
        body = {"metadata": {"name": RESTORE_RECORD, "labels": SEAL_LABELS}, "data": record.as_data()}
        self._api.create(collection("configmaps", self._settings.namespace), body)

    def _write(self, record: RestoreRecord) -> None:
        content = {"data": record.as_data()}
        create_or_patch(self._api, "configmaps", self._settings.namespace, RESTORE_RECORD, content, SEAL_LABELS)

    # Vault.

    def _status(self) -> dict[str, Any]:
        found = self._vault.read("sys/seal-status")
        if found is None:
            raise Unavailable("Vault does not say whether it is sealed")
        return found

    def _as_root(self, cluster_id: str, restoring: bool) -> Vault:
        """`restoring`: the record is open, so that an attempt to generate a root token is one of a killed run."""
        if self._root is not None and self._root[0] == cluster_id:
            return self._root[1]
        if restoring:
            self._vault.delete("sys/generate-root/attempt")
        if cluster_id == self._bundle.manifest.cluster_id:
            shares: Sequence[str] = self._shares
        else:
            shares = open_shares(self._stored_shares(), self._settings.identities)
        root = self._vault.with_token(generate_root(self._vault, shares))
        self._root = (cluster_id, root)
        return root

    def _restored(self) -> Vault:
        """The restored Vault as root. Raises `LostRace` when it is another one now."""
        cluster_id = str(self._status().get("cluster_id") or "")
        if cluster_id != self._bundle.manifest.cluster_id:
            raise LostRace("Vault does not hold the snapshot")
        return self._as_root(cluster_id, restoring=True)

    def _replace(self) -> None:
        cluster_id = str(self._status().get("cluster_id") or "")
        root = self._as_root(cluster_id, restoring=True)
        if cluster_id == self._bundle.manifest.cluster_id or not is_empty(root):
            raise LostRace("Vault is not empty any more")
        root.upload("sys/storage/raft/snapshot-force", self._bundle.snapshot, UPLOAD_SECONDS)
        self._root = None
        # The answer comes before the restore is durable; Vault seals itself when it is.
        for _ in range(int(SEALING_SECONDS)):
            status = self._status()
            if status["sealed"] or status.get("cluster_id") == self._bundle.manifest.cluster_id:
                return
            self._settings.pause(1.0)
        raise Unavailable("Vault has not sealed itself after the forced restore")

    def _unseal(self) -> None:
        if not self._opens_with(self._shares) and not self._opens_with(self._stored_or_none()):
            manifest, status = self._bundle.manifest, self._status()
            if (status.get("n"), status.get("t")) != (manifest.seal.shares, manifest.seal.threshold):
                # The process remembers the numbers of the Vault before; it reads them again when it starts.
                self._settings.restart()
            raise Unavailable("Vault opens neither with the snapshot's shares nor with the stored ones")
        for _ in range(int(ACTIVE_SECONDS)):
            if self._vault.health() == 200:
                return
            self._settings.pause(1.0)
        raise Unavailable("Vault is unsealed and not active yet")

    def _opens_with(self, shares: Sequence[str]) -> bool:
        try:
            if self._status().get("progress"):
                self._vault.write("sys/unseal", {"reset": True})
            for share in shares:
                if not self._vault.write("sys/unseal", {"key": share})["sealed"]:
                    return True
            if shares:
                self._vault.write("sys/unseal", {"reset": True})
        except VaultRefusedError:
            return False
        return False

    def _audit(self, record: RestoreRecord) -> None:
        event = _event(record)
        body = {"options": {"cas": 0}, "data": event.fields()}
        try:
            self._restored().write(f"{AUTHORITY_MOUNT}/data/{self._event_path(record)}", body)
        except LostRace:
            return  # it is there

    @staticmethod
    def _event_path(record: RestoreRecord) -> str:
        event = _event(record)
        return f"{EVENTS}/{event.secret}/{event.id}"

    # The cluster.

    def _close(self, record: RestoreRecord) -> None:
        running = {place: number for place, number in users_of_vault(self._api).items() if number}
        # What an earlier run has scaled down is on record; what it has written there is not forgotten.
        record = replace(record, closed={**running, **record.closed})
        self._write(record)
        scale(self._api, dict.fromkeys(record.closed, 0))
        for _ in range(int(ACTIVE_SECONDS)):
            if is_closed(self._api):
                return
            self._settings.pause(1.0)
        raise Unavailable("pods that use Vault have not ended yet")

    def _stored_shares(self) -> SealedShares:
        return read_shares(self._api.get(named("secrets", self._settings.namespace, UNSEAL_SHARES)) or {})

    def _stored_or_none(self) -> tuple[str, ...]:
        try:
            return open_shares(self._stored_shares(), self._settings.identities)
        except SharesError:
            return ()

    def _stored(self) -> Shares:
        """Whether the stored shares are the snapshot's, whoever they are sealed to."""
        found = self._stored_or_none()
        return Shares.SNAPSHOT if found and set(found) <= set(self._shares) else Shares.OTHER

    def _store_shares(self) -> None:
        """Sealed to those who are admitted now: a holder who has left since the snapshot is not among them."""
        settings, change = self._settings, f"those of snapshot {self._name}, by `restore`"
        sealed = reseal_shares(sealed_shares(self._bundle), settings.identities, settings.recipients)
        try:
            replace_shares(self._api, settings.namespace, lambda _: sealed, settings.person, change)
        except SharesError:
            body = shares_secret(UNSEAL_SHARES, sealed, settings.person, change)
            self._api.create(collection("secrets", settings.namespace), body)


def sealed_shares(bundle: Bundle) -> SealedShares:
    """The shares of a bundle as the cluster stores them."""
    return SealedShares(bundle.shares, bundle.threshold)


def every_share(bundle: Bundle, identities: str) -> tuple[str, ...]:
    """All shares of a bundle. Raises `SharesError` when the identities do not open each of them."""
    return open_shares(replace(sealed_shares(bundle), threshold=len(bundle.shares)), identities)


def _event(record: RestoreRecord) -> Event:
    return restored(record.snapshot, record.begun, record.person)


def _open(record: RestoreRecord | None) -> RestoreRecord:
    if record is None or not record.open:
        raise LostRace("the record of the restore is gone")
    return record


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
