"""What is made inside Vault: where it hangs, and a policy with the one account that logs in under it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_vault as vault

from components.vault_names import AUDIENCE

_TOKEN_SECONDS = 900


@dataclass(frozen=True)
class InsideVault:
    """`parent` of what is made, the `provider` that makes it, and the `server` it lies in."""

    parent: pulumi.Resource
    provider: vault.Provider
    server: pulumi.Resource

    def opts(self, *depends_on: pulumi.Resource, keep: bool = False) -> pulumi.ResourceOptions:
        """When Vault itself goes, nothing in it has to be deleted first. `keep`: Pulumi never deletes it."""
        return pulumi.ResourceOptions(
            parent=self.parent,
            provider=self.provider,
            depends_on=list(depends_on),
            deleted_with=self.server,
            retain_on_delete=keep,
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
