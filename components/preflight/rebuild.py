"""Before phase 3 is built: whether this cluster had a Vault, and whether a snapshot of it is to be restored first."""

from __future__ import annotations

from pathlib import Path

import pulumi

from components.settings.stack import Settings
from secret_authority.access.cluster_state import ClusterState, read_restore_record
from secret_authority.clients.object_store import StoreRefusedError
from secret_authority.clients.object_store.folder import FolderStore
from secret_authority.contract.names import RESTORE_RECORD, VAULT_NAMESPACE
from secret_authority.core.errors import InvalidInputError, Problem, Unavailable
from secret_authority.core.restore.rebuild import WITHOUT, Ask, Await, Proceed, RebuildFacts, decide
from secret_authority.core.restore.report import without_snapshot
from secret_authority.core.snapshots.naming import BundleName, complete_bundles, prefix
from secret_authority.repository.intent.intent import Intent
from secret_authority.repository.intent.tombstones import read_tombstones
from secret_authority.repository.snapshot_settings import SnapshotSettings
from secret_authority.repository.trust.share_export import export_file


def check_rebuild(
    settings: Settings, intent: Intent, cluster: ClusterState, snapshots: SnapshotSettings | None, wanted: str
) -> Proceed | Await:
    """What is built of phase 3. `wanted`: the stack's `restore`.

    Raises `InvalidInputError` when a person has to decide, and for a `restore` that names no snapshot of this cluster.
    """
    stack_file, field = f"Pulumi.{pulumi.get_stack()}.yaml", "secret-authority:restore"
    name = intent.layout.cluster
    if wanted and wanted != WITHOUT and not _is_of(wanted, name):
        fix = f"name one that `secret-authority snapshot list` shows, or {WITHOUT}"
        raise InvalidInputError([Problem(stack_file, field, f"{wanted} is not a snapshot of cluster {name}", fix)])
    try:
        record = read_restore_record(settings.connection)
    except ValueError as error:
        fix = "find out who wrote it; run `secret-authority restore` again"
        raise InvalidInputError(
            [Problem(f"ConfigMap {VAULT_NAMESPACE}/{RESTORE_RECORD}", "", str(error), fix)]
        ) from None
    handed_over = set(read_tombstones(intent))
    facts = RebuildFacts(
        reached=cluster.reached,
        wanted=wanted,
        restored="" if record is None or record.open else record.snapshot,
        was_there=bool(handed_over) or (intent.root / export_file(name)).exists(),
        snapshots=_listed(snapshots, name),
        alone=without_snapshot(intent.catalogue, handed_over, cluster.events),
    )
    decision = decide(facts)
    if isinstance(decision, Ask):
        raise InvalidInputError([Problem(stack_file, field, decision.message, decision.fix)])
    return decision


def waiting(snapshot: str) -> str:
    """What a run says that builds a Vault which waits for a snapshot."""
    return (
        f"Vault is built and waits for snapshot {snapshot}; nothing is handed over. Next: `secret-authority restore "
        f"--cluster NAME --snapshot {snapshot} --root-identity FILE`, then run this again (docs/runbooks/restore.md)"
    )


def _is_of(snapshot: str, cluster: str) -> bool:
    try:
        return BundleName.parse(snapshot).cluster == cluster
    except ValueError:
        return False


def _listed(snapshots: SnapshotSettings | None, cluster: str) -> tuple[str, ...] | None:
    """The snapshots of a folder. What is in a bucket, only its reader knows."""
    if snapshots is None:
        return ()
    if snapshots.store.folder is None:
        return None
    try:
        keys = [one.key for one in FolderStore(Path(snapshots.store.folder)).list(prefix(cluster))]
    except (Unavailable, StoreRefusedError):
        return None
    return tuple(bundle.folder for bundle in complete_bundles(cluster, keys))
