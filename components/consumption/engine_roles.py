"""Vault policies and roles of the consumption layer's own two identities.

- consumption: generates internal secrets where nothing is, records first values, writes configuration of Git.
  It reads no value of a bootstrap secret. It has a second role, `versions`, as which it reads version numbers.
- entry: a person's short-lived identity for `secret-authority enter`; it writes and reads no value.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pulumi

from components.runtime_authority.vault_objects import VaultConnection, VaultObjects
from secret_authority.contract.names import (
    CONSUMPTION_ACCOUNT,
    CONSUMPTION_ROLE,
    ENGINE_NAMESPACE,
    ENTRY_ACCOUNT,
    ENTRY_ROLE,
    VERSIONS_ROLE,
)
from secret_authority.contract.vault_policies import consumption_policy, entry_policy, versions_policy
from secret_authority.core.catalogue.schema import Catalogue


@dataclass(frozen=True)
class ConsumptionRolesArgs:
    """`connection` is the runtime authority's. `config_from_git`: see `consumption_policy`."""

    catalogue: Catalogue
    config_from_git: Collection[str]
    connection: VaultConnection


class ConsumptionRoles(pulumi.ComponentResource):
    """The policies and roles."""

    def __init__(self, name: str, args: ConsumptionRolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:Roles", name, {}, opts)
        objects = VaultObjects(self, args.connection)
        entries = args.catalogue, args.config_from_git
        for short, role, account, text in (
            ("consumption", CONSUMPTION_ROLE, CONSUMPTION_ACCOUNT, consumption_policy(*entries)),
            ("versions", VERSIONS_ROLE, CONSUMPTION_ACCOUNT, versions_policy()),
            ("entry", ENTRY_ROLE, ENTRY_ACCOUNT, entry_policy(*entries)),
        ):
            objects.role(f"{name}-{short}", role, text, account, ENGINE_NAMESPACE)
        self.register_outputs({"roles": [CONSUMPTION_ROLE, VERSIONS_ROLE, ENTRY_ROLE]})
