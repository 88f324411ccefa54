"""What Vault's platform mounts hold, from their metadata alone: no value is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.vault_policies import SAVED_MOUNTS
from secret_authority.core.handover.state_machine import DIGEST
from secret_authority.core.rotation.record import GENERATION
from secret_authority.core.snapshots.manifest import SavedSecret, metadata_digest
from secret_authority.core.timestamps import api_time
from secret_authority.engine.consumption.versions import Version

# Looks at once: each waits mostly for the network.
WORKERS = 8


def read_metadata(vault: Vault, mounts: Sequence[str] = SAVED_MOUNTS) -> tuple[SavedSecret, ...]:
    """Every path of the mounts, by location. A mount that does not exist has none. Raises what `Vault.read` raises."""
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        places = [(mount, path) for mount in mounts if _mounted(vault, mount) for path in _paths(vault, mount, "")]
        found = pool.map(lambda place: _saved(vault, *place), places)
        return tuple(sorted(secret for secret in found if secret is not None))


def _mounted(vault: Vault, mount: str) -> bool:
    try:
        vault.list(f"{mount}/metadata")
    except VaultRefusedError as error:
        if error.status == 404 and any("no handler for route" in text for text in error.errors):
            return False
        raise
    return True


def _paths(vault: Vault, mount: str, below: str) -> Iterator[str]:
    for name in vault.list(f"{mount}/metadata/{below}"):
        if name.endswith("/"):
            yield from _paths(vault, mount, below + name)
        else:
            yield below + name


def _saved(vault: Vault, mount: str, path: str) -> SavedSecret | None:
    """None for a path that was deleted since it was listed."""
    data = (vault.read(f"{mount}/metadata/{path}") or {}).get("data")
    if not data:
        return None
    number = int(data.get("current_version") or 0)
    written = ((data.get("versions") or {}).get(str(number)) or {}).get("created_time")
    custom = data.get("custom_metadata") or {}
    generation = str(custom.get(GENERATION, "0"))
    return SavedSecret(
        location=f"{mount}/{path}",
        version=number,
        mark=Version(number, api_time(written) if written else None).mark,
        metadata=metadata_digest(data),
        digest=str(custom.get(DIGEST, "")),
        generation=int(generation) if generation.isdecimal() else 0,
    )
