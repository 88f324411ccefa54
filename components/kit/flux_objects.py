"""Flux's objects and the rights of its accounts, as several layers make them."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.settings.stack import Settings
from secret_authority.contract.names import (
    FLUX_NAMESPACE,
    MANAGED_BY,
    SOURCE,
)

INTERVAL = "1m"
# The Kustomizations of this program; each is applied as an account of its own, reconcile-NAME.
NAMESPACES, BOOTSTRAP_SECRETS = "namespaces", "bootstrap-secrets"
RECONCILERS = (NAMESPACES, BOOTSTRAP_SECRETS)


def reporting(hook: pulumi.ErrorHook) -> pulumi.ResourceHookBinding:
    """Run an error hook when the object cannot be made, changed or awaited."""
    return pulumi.ResourceHookBinding(on_error=[hook])


def reconciler(
    prefix: str, parent: pulumi.Resource, kustomization_name: str, namespace: pulumi.Resource
) -> k8s.core.v1.ServiceAccount:
    """The service account as which Flux applies one Kustomization."""
    return k8s.core.v1.ServiceAccount(
        f"{prefix}-reconcile-{kustomization_name}",
        metadata={"name": f"reconcile-{kustomization_name}", "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY},
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[namespace]),
    )


def bind_role(
    prefix: str, parent: pulumi.Resource, binding: str, namespace: str, account: str, role: k8s.rbac.v1.Role
) -> k8s.rbac.v1.RoleBinding:
    """Bind a Role of `namespace` to a service account of Flux's namespace."""
    return k8s.rbac.v1.RoleBinding(
        f"{prefix}-{binding}",
        metadata={"name": binding, "namespace": namespace, "labels": MANAGED_BY},
        role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": FLUX_NAMESPACE}],
        opts=pulumi.ResourceOptions(parent=parent),
    )


def ready_metadata(name: str, timeout_seconds: int) -> dict[str, Any]:
    """Metadata of a Flux object for whose Ready condition Pulumi waits, at most so long."""
    return {
        "name": name,
        "namespace": FLUX_NAMESPACE,
        "labels": MANAGED_BY,
        "annotations": {"pulumi.com/waitFor": "condition=Ready", "pulumi.com/timeoutSeconds": str(timeout_seconds)},
    }


def kustomization(
    prefix: str, name: str, settings: Settings, spec: dict[str, Any], opts: pulumi.ResourceOptions
) -> k8s.apiextensions.CustomResource:
    """A Kustomization over the fleet's source, applied as its own reconciler account."""
    common: dict[str, Any] = {
        "sourceRef": {"kind": "GitRepository", "name": SOURCE},
        "serviceAccountName": f"reconcile-{name}",
        "interval": "10m",
        "retryInterval": "30s",
        "timeout": "3m",
    }
    return k8s.apiextensions.CustomResource(
        f"{prefix}-{name}",
        api_version="kustomize.toolkit.fluxcd.io/v1",
        kind="Kustomization",
        metadata=ready_metadata(name, settings.ready_timeout_seconds),
        spec={**common, **spec},
        opts=opts,
    )
