"""The audit trail in Vault, and the key of its digests."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import AUTHORITY_MOUNT, DIGEST_KEY_PATH, EVENTS
from secret_authority.core.ledger.audit_trail import Event


@dataclass(frozen=True)
class RunInfo:
    """One run of the engine, as the audit trail names it; `revision` is the Git revision that Flux applied."""

    name: str
    revision: str | None = None


def digest_key(vault: Vault) -> bytes:
    """The cluster's digest key. Raises `LookupError` when Vault is not configured."""
    found = vault.read(DIGEST_KEY_PATH)
    if found is None:
        raise LookupError(f"Vault has no digest key at {DIGEST_KEY_PATH}: its first configuration is not done")
    return base64.b64decode(found["data"]["data"]["key"])


def read_events(vault: Vault, only: str | None = None) -> list[Event]:
    """The audit trail in order of time: all of it, or that of one secret."""
    events: list[Event] = []
    for secret in [f"{only}/"] if only else vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}"):
        for name in vault.list(f"{AUTHORITY_MOUNT}/metadata/{EVENTS}/{secret}"):
            found = vault.read(f"{AUTHORITY_MOUNT}/data/{EVENTS}/{secret}{name}")
            if found is not None and found["data"].get("data"):
                events.append(Event.from_fields(found["data"]["data"]))
    return sorted(events)
