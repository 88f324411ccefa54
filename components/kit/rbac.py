"""The engine's identities in the cluster: their accounts, and what an account may do in one namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from secret_authority.contract.names import ENGINE_NAMESPACE, MANAGED_BY


def metadata(name: str, namespace: str = ENGINE_NAMESPACE) -> dict[str, Any]:
    """Metadata of an object of the engine."""
    return {"name": name, "namespace": namespace, "labels": MANAGED_BY}


def engine_account(name: str, parent: pulumi.Resource, account: str) -> k8s.core.v1.ServiceAccount:
    """A service account of the engine's namespace. A pod that needs its token says so itself."""
    return k8s.core.v1.ServiceAccount(
        name,
        metadata=metadata(account),
        automount_service_account_token=False,
        opts=pulumi.ResourceOptions(parent=parent),
    )


def grant(
    name: str,
    parent: pulumi.Resource,
    account: str,
    namespace: str,
    rules: Sequence[dict[str, Any]],
    *,
    role_after: Sequence[pulumi.Resource] = (),
    binding_after: Sequence[pulumi.Resource] = (),
) -> list[pulumi.Resource]:
    """A Role of `namespace` with these rules, bound to the account of the engine's namespace."""
    role = k8s.rbac.v1.Role(
        name,
        metadata=metadata(account, namespace),
        rules=list(rules),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(role_after)),
    )
    binding = k8s.rbac.v1.RoleBinding(
        name,
        metadata=metadata(account, namespace),
        role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": ENGINE_NAMESPACE}],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(binding_after)),
    )
    return [role, binding]
