"""What layer 5's own two identities may do in Vault, path by path, and their roles.

- consumption: reads version numbers, generates internal secrets where nothing is, records first values,
  writes configuration of Git. It reads no value of a bootstrap secret.
- entry: a person's short-lived identity for `secret-authority enter`; it writes and reads no value.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pulumi

from authority.catalogue import Catalogue, SecretClass
from components.names import ENGINE_NAMESPACE
from components.vault_roles import InsideVault, VaultWay

# A dot cannot stand in the name of a namespace, so these can never be the role of a consumer.
CONSUMPTION_ROLE = "consumer-system.consumption"
ENTRY_ROLE = "consumer-system.entry"
CONSUMPTION_ACCOUNT = "secret-authority-consumption"
ENTRY_ACCOUNT = "secret-authority-entry"
# As engine/policies.py has it; the engine is not imported by the program.
AUTHORITY_MOUNT = "platform-authority"


def consumption_policy(catalogue: Catalogue, config_from_git: Collection[str]) -> str:
    """The policy of layer 5's engine. `config_from_git`: entries of class config whose values Git holds."""
    rules: list[str] = []
    for secret in catalogue:
        place = secret.vault
        data, metadata = f"{place.mount}/data/{place.path}", f"{place.mount}/metadata/{place.path}"
        events = f"{AUTHORITY_MOUNT}/data/events/{secret.name}/*"
        match secret.secret_class:
            case SecretClass.INTERNAL:
                # No "update": a value that stands cannot be overwritten, whatever a request says.
                rules += [
                    _rule(data, "create", "read"),
                    _rule(metadata, "read", "patch"),
                    _rule(events, "create", "read"),
                ]
            case SecretClass.EXTERNAL:
                rules += [_rule(data, "read"), _rule(metadata, "read", "patch"), _rule(events, "create", "read")]
            case SecretClass.CONFIG if secret.name in config_from_git:
                rules += [_rule(data, "create", "read", "update"), _rule(metadata, "read")]
            case _ if secret.consumers:
                rules.append(_rule(metadata, "read"))
    # Counters of requests by mount, so that versions are read only when something was written.
    rules += [_rule(f"{AUTHORITY_MOUNT}/data/digest-key", "read"), _rule("sys/metrics", "read")]
    return "".join(rules)


def entry_policy(catalogue: Catalogue, config_from_git: Collection[str]) -> str:
    """The policy of `secret-authority enter`: a new version of what is entered by hand, and nothing else."""
    entered = [
        secret.vault
        for secret in catalogue
        if secret.secret_class is SecretClass.EXTERNAL
        or (secret.secret_class is SecretClass.CONFIG and secret.name not in config_from_git)
    ]
    rules = [
        rule
        for place in entered
        for rule in (
            _rule(f"{place.mount}/data/{place.path}", "create", "update"),
            _rule(f"{place.mount}/metadata/{place.path}", "read"),
        )
    ]
    return "".join([*rules, _rule("auth/token/revoke-self", "update")])


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
