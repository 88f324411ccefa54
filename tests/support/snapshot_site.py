"""A real Vault with secrets, and the identity that takes its snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyrage import x25519

from secret_authority.clients.vault import Vault, VaultRefusedError
from secret_authority.contract.names import AUTHORITY_MOUNT, SNAPSHOT_ROLE
from secret_authority.contract.vault_policies import snapshot_policy
from secret_authority.core.catalogue.schema import CONFIG_MOUNT, DATA_MOUNT
from secret_authority.core.errors import Unavailable
from secret_authority.core.snapshots.manifest import AuditDevice
from secret_authority.engine.runtime_authority.initial_configuration import generate_root, revoke_every_root
from secret_authority.engine.runtime_authority.unseal_shares import SealedShares, seal_shares
from tests.support.vault_process import Server, servers, wait_for

CANARY = "canary-value-in-a-snapshot"
PATH_CANARY = "canary-path"


@dataclass
class SnapshotSite:
    """`shares` in the clear; `cluster` and `root` are the identities that they are sealed to."""

    server: Server
    shares: list[str]
    threshold: int
    cluster: x25519.Identity
    root: x25519.Identity

    @property
    def recipients(self) -> tuple[str, ...]:
        return str(self.cluster.to_public()), str(self.root.to_public())

    @property
    def sealed(self) -> SealedShares:
        return seal_shares(self.shares, self.threshold, self.recipients)

    @property
    def audit(self) -> tuple[AuditDevice, ...]:
        return AuditDevice("file/", str(self.server.audit_file)), AuditDevice("stdout/", "stdout")

    @contextmanager
    def as_root(self) -> Iterator[Vault]:
        """A root token for a while; it is revoked afterwards."""
        root = self.server.api.with_token(generate_root(self.server.api, self.shares[: self.threshold]))
        try:
            yield root
        finally:
            revoke_every_root(root)

    def snapshot_identity(self) -> Vault:
        with self.as_root() as root:
            made = root.write(
                "auth/token/create-orphan", {"policies": [SNAPSHOT_ROLE], "no_default_policy": True, "ttl": "15m"}
            )
        return self.server.api.with_token(made["auth"]["client_token"])

    def write(self, name: str, value: str) -> None:
        with self.as_root() as root:
            root.write(f"{DATA_MOUNT}/data/{name}", {"data": {"key": value}})

    def rekey(self, shares: int, threshold: int) -> None:
        """Other unseal shares (sys/rekey); the old ones are forgotten."""
        begun = self.server.api.write("sys/rekey/init", {"secret_shares": shares, "secret_threshold": threshold})
        answer: dict[str, object] = {}
        for share in self.shares[: self.threshold]:
            answer = self.server.api.write("sys/rekey/update", {"key": share, "nonce": begun["nonce"]})
        made = answer["keys_base64"]
        assert isinstance(made, list)
        self.shares, self.threshold = made, threshold


@contextmanager
def snapshot_site(folder: Path, secrets: int, shares: int = 3, threshold: int = 2) -> Iterator[SnapshotSite]:
    folder.mkdir(exist_ok=True)
    with servers(folder) as (server,):
        wait_for(lambda: _answers(server), "Vault answers")
        made = server.api.write("sys/init", {"secret_shares": shares, "secret_threshold": threshold})
        for share in made["keys_base64"][:threshold]:
            server.api.write("sys/unseal", {"key": share})
        wait_for(lambda: server.api.health() == 200, "Vault is active")
        root = server.api.with_token(made["root_token"])
        for name, target in (("file", str(server.audit_file)), ("stdout", "stdout")):
            root.write(f"sys/audit/{name}", {"type": "file", "options": {"file_path": target, "mode": "0600"}})
        for mount in (DATA_MOUNT, CONFIG_MOUNT, AUTHORITY_MOUNT):
            root.write(f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
        wait_for(lambda: _writable(root), "the mounts are upgraded")
        for number in range(secrets):
            place = f"{PATH_CANARY}-{number % 10}/secret-{number}"
            root.write(f"{DATA_MOUNT}/data/{place}", {"options": {"cas": 0}, "data": {"key": f"{CANARY}-{number}"}})
        root.write(f"sys/policies/acl/{SNAPSHOT_ROLE}", {"policy": snapshot_policy()})
        revoke_every_root(root)
        identities = x25519.Identity.generate(), x25519.Identity.generate()
        yield SnapshotSite(server, made["keys_base64"], threshold, *identities)


def _answers(server: Server) -> bool:
    try:
        server.api.health()
    except Unavailable:
        return False
    return True


def _writable(root: Vault) -> bool:
    try:
        for mount in (DATA_MOUNT, CONFIG_MOUNT, AUTHORITY_MOUNT):
            root.list(f"{mount}/metadata")
            root.write(f"{mount}/data/ready", {"data": {"key": "x"}})
    except (VaultRefusedError, Unavailable):
        return False
    return True
