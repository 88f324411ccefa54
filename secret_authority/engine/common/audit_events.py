"""Who writes to the audit trail, and the key of its digests."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import DIGEST_KEY_PATH


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
