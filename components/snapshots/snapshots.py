"""The identity that takes snapshots of Vault, and can do nothing else. It exists when Git has a snapshots.yaml.

`secret-authority snapshot now` logs in as it, for as long as one snapshot takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from components.kit.rbac import engine_account
from components.runtime_authority.vault_objects import VaultConnection, VaultObjects
from secret_authority.contract.names import ENGINE_NAMESPACE, SNAPSHOT_ACCOUNT, SNAPSHOT_ROLE
from secret_authority.contract.vault_policies import snapshot_policy

UNSAVED = (
    "is missing: nothing that changes in Vault after phase 3 is saved outside of the cluster, and a lost cluster comes "
    "back with what Git holds. See docs/snapshots.md"
)


@dataclass(frozen=True)
class SnapshotsArgs:
    """`connection` is the runtime authority's to Vault."""

    connection: VaultConnection


class Snapshots(pulumi.ComponentResource):
    """The account, its policy and its role."""

    role: str

    def __init__(self, name: str, args: SnapshotsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:snapshots:Snapshots", name, {}, opts)
        self.role = SNAPSHOT_ROLE
        objects = VaultObjects(self, args.connection)
        objects.role(f"{name}-identity", SNAPSHOT_ROLE, snapshot_policy(), SNAPSHOT_ACCOUNT, ENGINE_NAMESPACE)
        engine_account(f"{name}-account", self, SNAPSHOT_ACCOUNT)
        self.register_outputs({"role": self.role})
