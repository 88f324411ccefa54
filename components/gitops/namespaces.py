"""The namespaces of the user's repository, applied by an account that can do nothing else.

It creates and labels them and deletes none; components/gitops/guard.py says which ones it may not touch.
"""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as k8s

from components.kit.flux_objects import NAMESPACES, kustomization, reconciler, reporting
from components.settings.stack import Settings
from secret_authority.contract.names import FLUX_NAMESPACE, MANAGED_BY


def namespaces(
    name: str,
    parent: pulumi.Resource,
    settings: Settings,
    flux_namespace: pulumi.Resource,
    report: pulumi.ErrorHook,
    after: Sequence[pulumi.Resource],
) -> k8s.apiextensions.CustomResource:
    """The Kustomization with its account and rights. Ready when every namespace is applied."""
    here = pulumi.ResourceOptions(parent=parent)
    account = reconciler(name, parent, NAMESPACES, flux_namespace)
    role = k8s.rbac.v1.ClusterRole(
        f"{name}-reconcile-{NAMESPACES}",
        metadata={"name": "secret-authority-reconcile-namespaces", "labels": MANAGED_BY},
        rules=[
            {
                "apiGroups": [""],
                "resources": ["namespaces"],
                "verbs": ["get", "list", "watch", "create", "patch"],
            }
        ],
        opts=here,
    )
    binding = k8s.rbac.v1.ClusterRoleBinding(
        f"{name}-reconcile-{NAMESPACES}",
        metadata={"name": "secret-authority-reconcile-namespaces", "labels": MANAGED_BY},
        role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.metadata.name},
        subjects=[{"kind": "ServiceAccount", "name": account.metadata.name, "namespace": FLUX_NAMESPACE}],
        opts=here,
    )
    return kustomization(
        name,
        NAMESPACES,
        settings,
        # Removed from Git, a namespace stays: with it would go every workload and volume in it.
        {"path": f"./{settings.namespaces_path}", "prune": False, "wait": True},
        pulumi.ResourceOptions(parent=parent, depends_on=[*after, account, binding], hooks=reporting(report)),
    )
