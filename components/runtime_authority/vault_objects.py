"""What Pulumi creates inside Vault: its resource options, and a policy with the one account that logs in under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_vault as vault

from secret_authority.contract.names import AUDIENCE

_TOKEN_SECONDS = 900


@dataclass(frozen=True)
class VaultConnection:
    """How resources reach Vault: the `provider`, the hook that opens its `session`, and what has to work before.

    `server` is the workload: when it goes, everything inside of it goes too. `mounts`: those of a restored Vault.
    """

    provider: vault.Provider
    session: pulumi.ResourceHook
    server: pulumi.Resource
    service: Sequence[pulumi.Resource]
    mounts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class VaultObjects:
    """Registers children of `parent` over the `connection`."""

    parent: pulumi.Resource
    connection: VaultConnection

    def opts(
        self, *depends_on: pulumi.Resource, retain: bool = False, existing: str | None = None
    ) -> pulumi.ResourceOptions:
        """When Vault itself goes, nothing in it has to be deleted first. `retain`: Pulumi never deletes it.

        `existing`: the id of what is there already; it has to be as it would be made.
        """
        session = self.connection.session
        return pulumi.ResourceOptions(
            parent=self.parent,
            provider=self.connection.provider,
            depends_on=[*self.connection.service, *depends_on],
            deleted_with=self.connection.server,
            retain_on_delete=retain,
            import_=existing,
            hooks=pulumi.ResourceHookBinding(before_create=[session], before_update=[session]),
        )

    def role(
        self, name: str, role: str, policy_text: str, account: str, namespace: str, *after: pulumi.Resource
    ) -> vault.kubernetes.AuthBackendRole:
        """A role, and its one policy of the same name, for a service account of a namespace."""
        policy = vault.Policy(name, name=role, policy=policy_text, opts=self.opts(*after))
        return vault.kubernetes.AuthBackendRole(
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
