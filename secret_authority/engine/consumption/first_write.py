"""The first value of a secret that is not born in Git: generated here (internal) or entered once (external).

An internal secret is generated in memory and written with check-and-set 0, so only where nothing was ever
written: not over a value, not over a deleted one, not beside metadata that somebody set before. Whoever
wrote it, the record of authority and the rotation policy are then added to the metadata by merge patch,
each key only where it is missing. So metadata is never replaced. RFC-SECOPS-0001 §2 (internal secrets
traverse the authority), §5 (record and audit), §6 (the policy lives with the secret).

External Secrets' own push is not used for this: see docs/consumption.md.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import AUTHORITY_MOUNT, EVENTS
from secret_authority.core.catalogue.schema import CatalogueSecret, SecretClass
from secret_authority.core.digest import decode_values, value_digest
from secret_authority.core.errors import LostRace
from secret_authority.core.handover.state_machine import BASE64_KEYS, Record
from secret_authority.core.ledger.audit_trail import Event
from secret_authority.core.phases import Authority

# Bytes of randomness in a generated value; the value is their URL-safe base64.
RANDOM_BYTES = 32


class State(StrEnum):
    """The state of a secret after a look."""

    ON_RECORD = "on record"
    NOT_ENTERED = "not entered yet"
    GONE = "the newest version in Vault is deleted"
    FOREIGN = "its path holds a value that is on record as another secret's; give the entry another path"
    NO_KEYS = "no consumer names a key of it, so nothing can be generated"


@dataclass(frozen=True)
class RunInfo:
    """One run of the engine, as the audit trail names it."""

    cluster: str
    name: str


def first_write_id(cluster: str, secret: str, vault_path: str) -> str:
    """The id of the one first write that a secret can have in a cluster; derived, so every run knows it."""
    text = "\0".join((cluster, secret, vault_path))
    return "fw-" + hmac.new(b"secret-authority.dev/first-write", text.encode(), hashlib.sha256).hexdigest()[:20]


class FirstWrites:
    """Keeps internal secrets born and puts first values on record. `key` is that of this engine's digests."""

    def __init__(
        self, vault: Vault, key: bytes, run: RunInfo, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._vault, self._key, self._run, self._clock = vault, key, run, clock

    def reconcile(self, secret: CatalogueSecret) -> State:
        """Bring one secret of class internal or external as far as it goes. May be repeated, also at once.

        Raises `Unavailable`, `LostRace` (look again), `VaultRefusedError`, or ValueError over what somebody has
        written there.
        """
        place = secret.vault
        metadata_path = f"{place.mount}/metadata/{place.path}"
        found = (self._vault.read(metadata_path) or {}).get("data") or {}
        if not found.get("current_version"):
            if secret.secret_class is not SecretClass.INTERNAL:
                return State.NOT_ENTERED
            keys = secret.consumed_keys
            if not keys:
                return State.NO_KEYS
            self._generate(secret, keys)
            found = (self._vault.read(metadata_path) or {}).get("data") or {}
        custom = found.get("custom_metadata") or {}
        try:
            record = Record.from_metadata(custom)
        except ValueError as error:
            raise ValueError(f"its record in the metadata of {place} is not whole: {error}") from None
        if record is None:
            digest = self._digest(secret, custom)
            if digest is None:
                return State.GONE
            record = self._record(secret, digest)
            policy = secret.rotation.metadata() if secret.rotation else {}
            note = {BASE64_KEYS: " ".join(sorted(secret.binary))} if secret.binary else {}
            missing = {
                name: value
                for name, value in {**policy, **note, "owner": secret.owner, **record.metadata()}.items()
                if name not in custom
            }
            self._vault.patch(metadata_path, {"custom_metadata": missing})
        elif record.secret != secret.name:
            return State.FOREIGN
        self._audit(secret, record)
        return State.ON_RECORD

    def _generate(self, secret: CatalogueSecret, keys: list[str]) -> None:
        values = {key: secrets.token_urlsafe(RANDOM_BYTES) for key in keys}
        place = secret.vault
        self._vault.write(f"{place.mount}/data/{place.path}", {"options": {"cas": 0}, "data": values})

    def _digest(self, secret: CatalogueSecret, custom: Mapping[str, str]) -> str | None:
        place = secret.vault
        found = self._vault.read(f"{place.mount}/data/{place.path}")
        texts: Mapping[str, Any] | None = (found or {}).get("data", {}).get("data")
        if texts is None:
            return None
        # The note comes with the record; before it, `enter` has encoded what the catalogue names.
        noted = custom.get(BASE64_KEYS)
        encoded = noted.split() if noted else secret.binary
        return value_digest(self._key, secret.name, str(place), decode_values(texts, encoded)).current

    def _record(self, secret: CatalogueSecret, digest: str) -> Record:
        identity = first_write_id(self._run.cluster, secret.name, str(secret.vault))
        at = self._clock().isoformat(timespec="milliseconds")
        return Record(secret.name, identity, digest, at, self._run.name)

    def _audit(self, secret: CatalogueSecret, record: Record) -> None:
        """Append the event, create-only: it follows from the record, so every run would write the same one."""
        path = f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret.name}/{record.id}"
        if ((self._vault.read(path) or {}).get("data") or {}).get("data"):
            return
        how = "generated in the cluster" if secret.secret_class is SecretClass.INTERNAL else "entered"
        event = Event(
            at=record.at,
            secret=record.secret,
            change=f"authority none -> {Authority.VAULT}",
            why=f"first value, {how}",
            run=record.run,
            result="done",
            id=record.id,
            place=str(secret.vault),
            digest=record.digest,
        )
        try:
            self._vault.write(path, {"options": {"cas": 0}, "data": event.fields()})
        except LostRace:
            return  # another run wrote it meanwhile
