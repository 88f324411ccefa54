"""Proves that a bundle can be restored: a throwaway server takes it, opens, and holds what the manifest says.

Nothing of the running cluster is touched. That the snapshot opens with shares that are known from elsewhere is what
shows where it comes from: whoever can write to the store can encrypt to the same recipients.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from secret_authority.clients.snapshot_bundle import Bundle
from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.core.snapshots.manifest import differences
from secret_authority.engine.runtime_authority.initial_configuration import generate_root, revoke_every_root
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, SharesError, open_shares
from secret_authority.engine.snapshots.metadata import read_metadata
from secret_authority.engine.snapshots.throwaway import Throwaway, await_status, throwaway

# Vault seals itself some seconds after it has taken a snapshot.
RESTORE_SECONDS = 120.0
_SHOWN = 5


# Starts a server for a Raft node, a number of shares and a threshold.
Start = Callable[[str, int, int], AbstractContextManager[Throwaway]]


class NotVerifiedError(Exception):
    """The bundle is not proved to be good. The message holds no value; `public` is one that names no secret either."""

    def __init__(self, message: str, public: str = "") -> None:
        super().__init__(message)
        self.public = public or message


@dataclass(frozen=True)
class Verified:
    """How long it took, in seconds, and how many paths were compared."""

    seconds: float
    paths: int


def verify(bundle: Bundle, cluster: str, known: SealedShares, identity: str, program: str | Start) -> Verified:
    """Restore a bundle that `read_bundle` has checked. `known`: the unseal shares as Git or the cluster has them.

    `identity` is the text of an age identity that opens both; `program` a vault server of the manifest's version, by
    its path, or what starts one.
    Raises `NotVerifiedError`, `ThrowawayError`, and `Unavailable` when the throwaway server did not answer in time.
    """
    begun = time.monotonic()
    with opened(bundle, cluster, known, identity, program):
        return Verified(time.monotonic() - begun, len(bundle.manifest.secrets))


@contextlib.contextmanager
def opened(bundle: Bundle, cluster: str, known: SealedShares, identity: str, program: str | Start) -> Iterator[Vault]:
    """A verified bundle in a throwaway server, as root, for as long as the context lasts. Raises as `verify` does."""
    said = bundle.manifest
    if said.cluster != cluster:
        raise NotVerifiedError(f"the snapshot is of cluster {said.cluster}, not of {cluster}")
    if not said.secrets:
        raise NotVerifiedError("the manifest names no path: there is nothing to compare")
    shares = _same_shares(bundle, known, identity)
    start: Start = (lambda *server: throwaway(program, *server)) if isinstance(program, str) else program
    with start(said.node, said.seal.shares, said.seal.threshold) as server:
        own = server.vault.with_token(server.token)
        version = str((own.read("sys/seal-status") or {}).get("version"))
        if version != said.server_version:
            name = program if isinstance(program, str) else "the throwaway server"
            raise NotVerifiedError(f"{name} is Vault {version}; the snapshot is of {said.server_version}")
        try:
            own.upload("sys/storage/raft/snapshot-force", bundle.snapshot, RESTORE_SECONDS)
            await_status(server.vault, (503,), seconds=RESTORE_SECONDS)
            _unseal(server.vault, shares)
            await_status(server.vault, (200,), seconds=RESTORE_SECONDS)
            _compare(server.vault, shares, bundle)
            root = server.vault.with_token(generate_root(server.vault, shares))
        except VaultRefusedError as error:
            raise NotVerifiedError(f"the throwaway server refused the snapshot: {error}") from None
        yield root


def _same_shares(bundle: Bundle, known: SealedShares, identity: str) -> tuple[str, ...]:
    """The opened shares of the bundle, when they are those that are known."""
    whole = SealedShares(bundle.shares, len(bundle.shares))
    try:
        inside = open_shares(whole, identity)
        outside = open_shares(SealedShares(known.ciphertexts, len(known.ciphertexts)), identity)
    except SharesError as error:
        raise NotVerifiedError(f"the unseal shares do not open: {error}") from None
    if set(inside) != set(outside) or bundle.threshold != known.threshold:
        raise NotVerifiedError(
            "the snapshot comes with other unseal shares than those that are known of this cluster: it is of another "
            "Vault, or from before its shares were made again"
        )
    return inside[: bundle.threshold]


def _unseal(vault: Vault, shares: Sequence[str]) -> None:
    status: dict[str, object] = {}
    for share in shares:
        status = vault.write("sys/unseal", {"key": share})
    if status.get("sealed") is not False:
        raise NotVerifiedError("the snapshot does not open with the unseal shares of its bundle")


def _compare(vault: Vault, shares: Sequence[str], bundle: Bundle) -> None:
    """Raises `NotVerifiedError` for differences between server and manifest. The token made for it is revoked."""
    root = vault.with_token(generate_root(vault, shares))
    lines = differences(bundle.manifest, read_metadata(root))
    status = vault.read("sys/seal-status") or {}
    if status.get("cluster_id") != bundle.manifest.cluster_id:
        lines.insert(0, "Vault's cluster id is another")
    if revoke_every_root(root) != 1:
        # It lives again wherever this snapshot is restored.
        lines.insert(0, "a root token is in it")
    if lines:
        more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        said = "what was restored is not what the manifest says"
        public = f"{said}: {len(lines)} differences; `secret-authority snapshot verify` names them"
        raise NotVerifiedError(f"{said}: {'; '.join(lines[:_SHOWN])}{more}", public)
