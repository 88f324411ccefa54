"""One verification in the cluster: a pod that has no way out but to the store, with a throwaway server beside it.

Two containers run this code, and Vault's own image runs the server between them. `prepare` reads the manifest of the
newest bundle and writes the server's configuration, which names the Raft node that it has to be. `verify_prepared`
restores that bundle into the server. Neither has a token; what they found is in the pod's status.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from secret_authority.clients.object_store import ObjectStore, StoreRefusedError
from secret_authority.clients.snapshot_bundle import BundleError, read_bundle, read_manifest
from secret_authority.core.errors import Unavailable
from secret_authority.core.snapshots.naming import BundleName, complete_bundles, prefix
from secret_authority.core.snapshots.verification import Report
from secret_authority.engine.common.barrier import unexpected
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
from secret_authority.engine.snapshots.throwaway import Throwaway, ThrowawayError, initialised, write_config
from secret_authority.engine.snapshots.verify import NotVerifiedError, verify

# Of the pod's own loopback device; nobody else is there.
PORT, CLUSTER_PORT = 8200, 8201
_CHOSEN = "snapshot"
T = TypeVar("T")


class VerificationError(Exception):
    """Nothing is proved. `report` says why, and of which bundle."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.problem)
        self.report = report


def prepare(
    open_store: Callable[[], ObjectStore],
    cluster: str,
    identity: Path,
    folder: Path,
    ports: tuple[int, int] = (PORT, CLUSTER_PORT),
) -> BundleName:
    """Choose the newest complete bundle and configure the server that is to take it. Raises `VerificationError`.

    `identity`: a file with the cluster's age identity. `folder`: memory that the pod's containers share.
    """

    def choose() -> BundleName:
        store = open_store()
        found = complete_bundles(cluster, [one.key for one in store.list(prefix(cluster))])
        if not found:
            raise BundleError("no complete snapshot is in the store")
        return found[-1]

    name = _reported("", choose)

    def configure() -> None:
        manifest = read_manifest(open_store(), name, _identities(identity))
        write_config(folder, manifest.node, *ports)
        (folder / _CHOSEN).write_text(name.folder)

    _reported(name.folder, configure)
    return name


def verify_prepared(
    open_store: Callable[[], ObjectStore], cluster: str, identity: Path, seal: Path, folder: Path, port: int = PORT
) -> Report:
    """Restore the chosen bundle into the server beside this process. Raises `VerificationError`.

    `seal`: a file with the digest of the cluster's sealed shares. A bundle with other shares is not of this Vault.
    """
    name = _reported("", lambda: BundleName.parse((folder / _CHOSEN).read_text()))

    @contextlib.contextmanager
    def start(_node: str, shares: int, threshold: int) -> Iterator[Throwaway]:
        yield initialised(folder, port, shares, threshold)

    def restore() -> Report:
        known = _text(seal, "the engine of snapshots has not published which unseal shares the cluster has")
        identities = _identities(identity)
        bundle = read_bundle(open_store(), name, identities)
        if bundle.manifest.seal.digest != known:
            raise NotVerifiedError(
                "it comes with other unseal shares than the cluster has: it is of another Vault, or from before its "
                "shares were made again"
            )
        shares = SealedShares(bundle.shares, bundle.threshold)
        done = verify(bundle, cluster, shares, identities[0], start)
        return Report(name.folder, paths=done.paths, seconds=done.seconds)

    return _reported(name.folder, restore)


def _reported(snapshot: str, step: Callable[[], T]) -> T:
    """What the step returns. Whatever it raises becomes a report without a value and without the name of a secret."""
    try:
        return step()
    except NotVerifiedError as error:
        problem = error.public
    except BundleError as error:
        problem = str(error)
    except (Unavailable, StoreRefusedError, ThrowawayError) as error:
        problem = f"not finished, so nothing is known: {error}"
    except Exception as error:
        problem = unexpected(error)
    raise VerificationError(Report(snapshot, problem)) from None


def _identities(file: Path) -> Sequence[str]:
    text = _text(file, "the cluster's age identity is not mounted")
    return [line for line in text.splitlines() if line.startswith("AGE-SECRET-KEY-")]


def _text(file: Path, missing: str) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        raise Unavailable(missing) from None
