"""Vault's own counters of changes, so that what it holds is read again only when something was written.

Upstream: developer.hashicorp.com/vault, `/sys/metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.errors import Unavailable

_METRICS = "sys/metrics?format=prometheus"
_CHANGES = ("create", "update", "patch", "delete")


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
