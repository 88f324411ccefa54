"""What layer 5's own two identities may do in Vault, path by path, and their roles.

- consumption: reads version numbers, generates internal secrets where nothing is, records first values,
  writes configuration of Git. It reads no value of a bootstrap secret.
- entry: a person's short-lived identity for `secret-authority enter`; it writes and reads no value.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pulumi

from components.runtime_authority.vault_roles import InsideVault, VaultWay
from secret_authority.contract.names import (
    CONSUMPTION_ACCOUNT,
    CONSUMPTION_ROLE,
    ENGINE_NAMESPACE,
    ENTRY_ACCOUNT,
    ENTRY_ROLE,
)
from secret_authority.contract.vault_policies import consumption_policy, entry_policy
from secret_authority.core.catalogue.schema import Catalogue


def _rule(path: str, *capabilities: str) -> str:
    listed = ", ".join(f'"{capability}"' for capability in capabilities)
    return f'path "{path}" {{\n  capabilities = [{listed}]\n}}\n'


@dataclass(frozen=True)
class ConsumptionRolesArgs:
    """`way` is layer 4's into Vault. `config_from_git`: see `consumption_policy`."""

    catalogue: Catalogue
    config_from_git: Collection[str]
    way: VaultWay


class ConsumptionRoles(pulumi.ComponentResource):
    """The two policies and roles."""

    def __init__(self, name: str, args: ConsumptionRolesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:Roles", name, {}, opts)
        inside = InsideVault(self, args.way)
        for short, role, account, policy in (
            ("consumption", CONSUMPTION_ROLE, CONSUMPTION_ACCOUNT, consumption_policy),
            ("entry", ENTRY_ROLE, ENTRY_ACCOUNT, entry_policy),
        ):
            text = policy(args.catalogue, args.config_from_git)
            inside.role(f"{name}-{short}", role, text, account, ENGINE_NAMESPACE)
        self.register_outputs({"roles": [CONSUMPTION_ROLE, ENTRY_ROLE]})
