"""Takes a snapshot of a running Vault, with the manifest that fits it.

The identity is that of `contract.vault_policies.snapshot_policy`: it reads the snapshot, which is encrypted under
Vault's own keys, metadata without values, and which tokens there are.
"""

from __future__ import annotations

import hashlib
from typing import Any

from secret_authority.clients.raft_snapshot import SnapshotError, check_snapshot
from secret_authority.clients.snapshot_bundle import Bundle
from secret_authority.clients.vault import Vault, VaultRefusedError, server_time
from secret_authority.core.errors import Unavailable
from secret_authority.core.snapshots.manifest import AuditDevice, Manifest, SavedSecret, SealFacts, seal_digest
from secret_authority.engine.runtime_authority.initial_configuration import FirstConfiguration
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares
from secret_authority.engine.snapshots.metadata import read_metadata

ATTEMPTS = 3
# How long the snapshot itself is awaited.
SECONDS = 300.0


# The devices that Vault's first configuration enables; to ask Vault for them takes rights that this identity lacks.
AUDIT_DEVICES = (AuditDevice("file/", FirstConfiguration.audit_file), AuditDevice("stdout/", "stdout"))


class NotTakenError(Exception):
    """A snapshot must not be taken now. The message says what to do."""


def take(
    vault: Vault,
    cluster: str,
    shares: SealedShares,
    audit: tuple[AuditDevice, ...] = AUDIT_DEVICES,
    known: tuple[SavedSecret, ...] | None = None,
) -> Bundle:
    """A snapshot with its manifest, checked. `shares` are those that unseal this Vault.

    `known`: what a look before has found; of thousands of secrets a look takes a while. Whether it still holds, the
    look after the snapshot shows.
    Raises `NotTakenError`, `Unavailable` and `VaultRefusedError`.
    """
    seal = _seal_of(vault, shares)
    digest = seal_digest(shares.ciphertexts, shares.threshold)
    refuse_root_tokens(vault)
    before = read_metadata(vault) if known is None else known
    for _ in range(ATTEMPTS):
        leader = _active(vault)
        at = server_time(vault)
        content = vault.content("sys/storage/raft/snapshot", SECONDS)
        after = read_metadata(vault)
        if after != before:
            # Something was written meanwhile; whether the snapshot has it, nobody knows.
            before = after
            continue
        # A root token that was made during the snapshot is in it.
        refuse_root_tokens(vault)
        try:
            facts = check_snapshot(content)
        except SnapshotError as error:
            raise Unavailable(f"Vault gave no whole snapshot: {error}") from None
        status = _status(vault)
        if _active(vault) != leader or _facts(status) != seal:
            raise Unavailable("the active node or the seal changed during the snapshot")
        manifest = Manifest(
            cluster=cluster,
            cluster_id=str(status["cluster_id"]),
            taken_at=at,
            index=facts.index,
            term=facts.term,
            server_version=str(status["version"]),
            node=facts.nodes[0] if facts.nodes else "",
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            seal=SealFacts(*seal, digest),
            audit=audit,
            secrets=after,
        )
        return Bundle(manifest, content, shares.ciphertexts, shares.threshold)
    raise Unavailable(f"secrets were written during each of {ATTEMPTS} snapshots; try again")


def refuse_root_tokens(vault: Vault) -> None:
    """A root token in a snapshot lives again wherever it is restored. Raises `NotTakenError` while there is one."""
    for accessor in vault.list("auth/token/accessors"):
        try:
            found = vault.write("auth/token/lookup-accessor", {"accessor": accessor})
        except VaultRefusedError as error:
            # A token that has ended is passed over. What is refused to this identity is not known to be harmless.
            if error.says_unknown_accessor:
                continue
            raise
        if "root" in (found["data"].get("policies") or ()):
            fix = "revoke it (docs/runbooks/unseal.md), then take the snapshot again"
            raise NotTakenError(f"a root token exists, and would live again wherever this snapshot is restored; {fix}")


def _seal_of(vault: Vault, shares: SealedShares) -> tuple[int, int]:
    """Shares and threshold of Vault. Raises `NotTakenError` when the stored shares are of another seal."""
    seal = _facts(_status(vault))
    stored = (len(shares.ciphertexts), shares.threshold)
    if seal != stored:
        raise NotTakenError(
            f"Vault's seal has {seal[0]} shares, {seal[1]} of which open it; the stored ones are {stored[0]} and "
            f"{stored[1]}: they would not open this snapshot. See docs/runbooks/unseal.md"
        )
    return seal


def _facts(status: dict[str, Any]) -> tuple[int, int]:
    return int(status["n"]), int(status["t"])


def _status(vault: Vault) -> dict[str, Any]:
    found = vault.read("sys/seal-status") or {}
    if found.get("sealed") is not False:
        raise Unavailable("Vault is sealed")
    return found


def _active(vault: Vault) -> str:
    """The address of the active node, which this one has to be (vault#15258). Raises `Unavailable`."""
    found = vault.read("sys/leader") or {}
    if not found.get("is_self"):
        raise Unavailable(f"this Vault is a standby of {found.get('leader_address') or 'nobody'}")
    return str(found.get("leader_address"))
