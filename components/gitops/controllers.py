"""Flux's two controllers with their CRDs, Services, and rights in Flux's namespace only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.gitops import manifests
from components.kit.flux_objects import bind_role
from secret_authority.contract.names import FLUX_NAMESPACE, MANAGED_BY


def controller(
    name: str,
    parent: pulumi.Resource,
    which: str,
    upstream: Path,
    namespace: pulumi.Resource,
    after: Sequence[pulumi.Resource],
) -> k8s.apps.v1.Deployment:
    """The controller `which` from the `upstream` manifests, once `after` is there."""
    here = pulumi.ResourceOptions(parent=parent, depends_on=[namespace])
    definitions = [
        k8s.apiextensions.v1.CustomResourceDefinition(
            f"{name}-{document['metadata']['name']}",
            metadata=document["metadata"],
            spec=document["spec"],
            opts=pulumi.ResourceOptions(parent=parent),
        )
        for document in manifests.custom_resource_definitions(upstream, which)
    ]
    rights = _rights(name, parent, which, manifests.controller_rules(upstream, which), here)
    services = [
        k8s.core.v1.Service(
            f"{name}-{service['metadata']['name']}",
            # The controller waits for its Service, so the Service cannot wait for its endpoints.
            metadata={
                **service["metadata"],
                "namespace": FLUX_NAMESPACE,
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            spec=service["spec"],
            opts=here,
        )
        for service in manifests.controller_services(upstream, which)
    ]
    deployment = manifests.controller_deployment(upstream, which, FLUX_NAMESPACE)
    return k8s.apps.v1.Deployment(
        f"{name}-{which}",
        metadata=deployment["metadata"],
        spec=deployment["spec"],
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[*definitions, *rights, *services, *after]),
    )


def _rights(
    name: str, parent: pulumi.Resource, which: str, rules: list[dict[str, Any]], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """A service account with the narrowed rules, bound in Flux's namespace only."""
    metadata = {"name": which, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY}
    account = k8s.core.v1.ServiceAccount(f"{name}-{which}", metadata=metadata, opts=opts)
    role = k8s.rbac.v1.Role(f"{name}-{which}", metadata=metadata, rules=rules, opts=opts)
    return [account, role, bind_role(name, parent, which, FLUX_NAMESPACE, which, role)]
