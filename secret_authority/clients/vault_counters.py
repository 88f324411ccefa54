"""What Vault says of changes, so that what it holds is read again only when something was written.

Upstream: developer.hashicorp.com/vault, `/sys/metrics`, `/sys/leader`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.errors import Unavailable

LEADER_PATH = "sys/leader"
_METRICS = "sys/metrics?format=prometheus"
_CHANGES = ("create", "update", "patch", "delete")


def applied_index(vault: Vault) -> tuple[str, int] | None:
    """The active server, and how much of Raft's log the one that answers has applied; None where it does not say.

    It changes with everything that is written, also by a login. It is not in the audit log, and costs a fiftieth of
    the counters: those are large, and Vault hashes each answer for its audit log.
    """
    try:
        found = vault.read(LEADER_PATH) or {}
    except (VaultRefusedError, Unavailable):
        return None
    index = found.get("raft_applied_index")
    return (str(found.get("leader_cluster_address", "")), index) if isinstance(index, int) and index > 0 else None


def change_counters(vault: Vault, mounts: Collection[str]) -> frozenset[str] | None:
    """The counters of changes to these mounts, None when they are not available: Vault may keep none.

    Each is a count and the time spent, so that those of another active server are never the same.
    """
    try:
        text = vault.text(_METRICS)
    except (VaultRefusedError, Unavailable):
        return None
    return changes(text, mounts)


def changes(metrics: str, mounts: Collection[str]) -> frozenset[str]:
    """The lines of Vault's metrics, in Prometheus' format, that count changes to these mounts."""
    names = "|".join(sorted(re.sub(r"\W", "_", f"{mount}/", flags=re.ASCII) for mount in mounts))
    pattern = re.compile(rf"^vault_route_(?:{'|'.join(_CHANGES)})_(?:{names})_(?:count|sum)\b.*$", re.MULTILINE)
    return frozenset(pattern.findall(metrics))
