"""Whether a restore stands between this Vault and any change of authority.

A handover into a Vault that is about to be replaced would be lost, and one into a Vault that was replaced a moment ago
would be judged with the keys of the other.
"""

from __future__ import annotations

from secret_authority.clients.kubernetes import Api, named
from secret_authority.contract.names import RESTORE_RECORD
from secret_authority.core.restore.record import RestoreRecord


def restore_in_the_way(api: Api, namespace: str, awaited: str) -> str:
    """Why nothing may be handed over now; empty when nothing is in the way. `awaited`: a snapshot that Vault is for.

    Raises `Unavailable` and `ApiRefusedError`: a record that cannot be read is not an ended one.
    """
    found = api.get(named("configmaps", namespace, RESTORE_RECORD))
    if found is None:
        return f"Vault waits for snapshot {awaited}: run `secret-authority restore`" if awaited else ""
    try:
        record = RestoreRecord.from_data(found.get("data") or {})
    except ValueError as error:
        return f"{error}: ConfigMap {namespace}/{RESTORE_RECORD}"
    if record.open:
        return f"the restore of snapshot {record.snapshot} has not ended: run `secret-authority restore` again"
    if awaited and record.snapshot != awaited:
        return f"Vault waits for snapshot {awaited}, and {record.snapshot} was restored"
    return ""
