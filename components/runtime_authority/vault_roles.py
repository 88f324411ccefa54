"""What is made inside Vault: where it hangs, and a policy with the one account that logs in under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_vault as vault

from secret_authority.contract.names import AUDIENCE

_TOKEN_SECONDS = 900


@dataclass(frozen=True)
class VaultWay:
    """What reaches into Vault: the `provider`, the `session` hook, and the `service` that has to work before."""

    provider: vault.Provider
    session: pulumi.ResourceHook
    # The server that everything lies in.
    server: pulumi.Resource
    service: Sequence[pulumi.Resource]


@dataclass(frozen=True)
class InsideVault:
    """`parent` of what is made, and the `way` into Vault."""

    parent: pulumi.Resource
    way: VaultWay

    def opts(self, *depends_on: pulumi.Resource, keep: bool = False) -> pulumi.ResourceOptions:
        """When Vault itself goes, nothing in it has to be deleted first. `keep`: Pulumi never deletes it."""
        return pulumi.ResourceOptions(
            parent=self.parent,
            provider=self.way.provider,
            depends_on=[*self.way.service, *depends_on],
            deleted_with=self.way.server,
            retain_on_delete=keep,
            hooks=pulumi.ResourceHookBinding(before_create=[self.way.session], before_update=[self.way.session]),
        )

    def role(
        self, name: str, role: str, policy_text: str, account: str, namespace: str, *after: pulumi.Resource
    ) -> None:
        """A role, and its one policy of the same name, for a service account of a namespace."""
        policy = vault.Policy(name, name=role, policy=policy_text, opts=self.opts(*after))
        vault.kubernetes.AuthBackendRole(
            name,
            backend="kubernetes",
            role_name=role,
            bound_service_account_names=[account],
            bound_service_account_namespaces=[namespace],
            audience=AUDIENCE,
            token_policies=[policy.name],
            token_no_default_policy=True,
            token_ttl=_TOKEN_SECONDS,
            token_max_ttl=_TOKEN_SECONDS,
            opts=self.opts(policy),
        )
