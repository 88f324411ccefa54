"""Configuration values on their way from Git through Vault's configuration mount to workloads.

They are not secret: Git holds them in plain text and decides them. RFC-SECOPS-0001 §2: configuration may
take the way of secrets, on a path of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from secret_authority.clients.vault import Vault
from secret_authority.core.catalogue.schema import CatalogueSecret


def sync_config(vault: Vault, secret: CatalogueSecret, values: Mapping[str, str]) -> bool:
    """Write the values as a new version when Vault has others. Returns whether it wrote.

    Raises `Unavailable`, `LostRace` (look again) or `VaultRefusedError`.
    """
    place = secret.vault
    found = (vault.read(f"{place.mount}/data/{place.path}") or {}).get("data") or {}
    if found.get("data") == dict(values):
        return False
    version = int((found.get("metadata") or {}).get("version") or 0)
    vault.write(f"{place.mount}/data/{place.path}", {"options": {"cas": version}, "data": dict(values)})
    return True
