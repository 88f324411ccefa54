"""Who may reach Flux's controllers."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, MANAGED_BY


def network_policies(
    name: str, parent: pulumi.Resource, namespace: pulumi.Resource
) -> list[k8s.networking.v1.NetworkPolicy]:
    """Nothing reaches the controllers but their own namespace, the engine (artifacts) and scraping."""
    own: dict[str, Any] = {"podSelector": {}}
    engine: dict[str, Any] = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ENGINE_NAMESPACE}}}
    policies: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
        "allow-own": ({}, [{"from": [own]}]),
        "allow-scraping": ({}, [{"ports": [{"protocol": "TCP", "port": 8080}]}]),
        "allow-engine": (
            {"matchLabels": {"app": "source-controller"}},
            [{"from": [engine], "ports": [{"protocol": "TCP", "port": 9090}]}],
        ),
    }
    return [
        k8s.networking.v1.NetworkPolicy(
            f"{name}-{policy}",
            metadata={"name": policy, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY},
            spec={"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress},
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[namespace]),
        )
        for policy, (selector, ingress) in policies.items()
    ]
