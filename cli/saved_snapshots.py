"""Snapshots as commands find them: the bundles of a store, and the session that may take and compare one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from secret_authority.contract.names import SNAPSHOT_ACCOUNT, SNAPSHOT_ROLE
from secret_authority.core.errors import InvalidInputError, Problem
from secret_authority.core.snapshots.naming import VERIFIED, BundleName, complete_bundles, prefix

if TYPE_CHECKING:
    from secret_authority.access.kubeconfig import ClusterConnection
    from secret_authority.clients.object_store import ObjectStore
    from secret_authority.clients.vault import Vault


def bundles(store: ObjectStore, cluster: str) -> tuple[list[BundleName], dict[str, int], frozenset[str]]:
    """The complete bundles of a cluster, oldest first, the bytes of each by its folder, and the folders with a mark.

    The mark says that the bundle was verified in the cluster. Who can write to the store can write it too, so it is
    shown, and decides nothing.
    """
    sizes: dict[str, int] = {}
    objects = store.list(prefix(cluster))
    for one in objects:
        folder = one.key.rpartition("/")[0]
        sizes[folder] = sizes.get(folder, 0) + one.size
    marked = frozenset(one.key.rpartition("/")[0] for one in objects if one.key.endswith(f"/{VERIFIED}"))
    return complete_bundles(cluster, [one.key for one in objects]), sizes, marked


def chosen(wanted: str | None, found: list[BundleName]) -> BundleName:
    """The bundle of this name, else the newest. Raises `InvalidInputError`."""
    fix = "name one that `secret-authority snapshot list` shows, or take one"
    if wanted is None and found:
        return found[-1]
    for one in found:
        if one.folder == wanted:
            return one
    raise InvalidInputError([Problem("the store", wanted or "", "has no such complete snapshot", fix)])


def program(given: str) -> str:
    """The path of a program. Raises `InvalidInputError`."""
    path = shutil.which(given)
    if path is None:
        raise InvalidInputError([Problem("the command", "--vault", f"{given} was not found", "give its path")])
    return path


@contextmanager
def snapshot_session(way: ClusterConnection) -> Iterator[Vault]:
    """Vault's active node, as the identity that takes snapshots. Raises as `reading` does."""
    from secret_authority.access.vault_session import Session, reading
    from secret_authority.access.vault_tunnel import free_port

    with tempfile.TemporaryDirectory() as folder:
        first = Session(way, Path(folder), free_port(), SNAPSHOT_ROLE, SNAPSHOT_ACCOUNT)
        with reading(first) as vault:
            pod = standby_of(vault)
            if not pod:
                yield vault
                return
        with reading(Session(way, Path(folder), free_port(), SNAPSHOT_ROLE, SNAPSHOT_ACCOUNT, pod=pod)) as vault:
            yield vault


def standby_of(vault: Vault) -> str:
    """The pod of the active node; empty when it is this one, or nobody knows it."""
    found = vault.read("sys/leader") or {}
    host = urlsplit(str(found.get("leader_address") or "")).hostname or ""
    return "" if found.get("is_self") else host.partition(".")[0]
