"""Who writes to the audit trail, and the keys of its digests and of its published copy."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from secret_authority.clients.vault import Vault
from secret_authority.contract.names import CONSUMPTION_DIGEST_KEY_PATH, DIGEST_KEY_PATH, TRAIL_KEY_PATH
from secret_authority.core.ledger.trail_signature import TrailSigner


@dataclass(frozen=True)
class RunInfo:
    """One run of the engine, as the audit trail names it; `revision` is the Git revision that Flux applied."""

    name: str
    revision: str | None = None


def digest_key(vault: Vault) -> bytes:
    """The cluster's digest key. Raises `LookupError` when Vault is not configured."""
    return _key(vault, DIGEST_KEY_PATH)


def consumption_digest_key(vault: Vault) -> bytes:
    """The key of the consumption engine's digests. Raises `LookupError` when Vault is not configured."""
    return _key(vault, CONSUMPTION_DIGEST_KEY_PATH)


def trail_signer(vault: Vault) -> TrailSigner:
    """What signs the published audit trail. Raises `LookupError` when Vault is not configured."""
    return TrailSigner(_key(vault, TRAIL_KEY_PATH))


def _key(vault: Vault, path: str) -> bytes:
    found = vault.read(path)
    if found is None:
        raise LookupError(f"Vault has no key at {path}: its first configuration is not done")
    return base64.b64decode(found["data"]["data"]["key"])
