"""Network policies of the platform's namespaces: nothing in, nothing out, and the few ways that are named.

Upstream: kubernetes.io, Network Policies. A policy takes effect where the cluster's network plugin enforces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.settings.network import NetworkSettings
from secret_authority.contract.names import MANAGED_BY

# Where an API server listens, in front of its Service and behind it.
_API_SERVER_PORTS = (443, 6443)
METRICS_PORT = 8080


def ports(*numbers: int, protocols: Sequence[str] = ("TCP",)) -> list[dict[str, Any]]:
    return [{"protocol": protocol, "port": number} for protocol in protocols for number in numbers]


def pods(namespace: str | None = None, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Pods of a namespace (None: of the policy's own) with these labels, all without any."""
    peer: dict[str, Any] = {}
    if namespace is not None:
        peer["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    if labels or namespace is None:
        peer["podSelector"] = {"matchLabels": dict(labels)} if labels else {}
    return peer


def addresses(cidrs: Sequence[str]) -> list[dict[str, Any]]:
    return [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]


def dns(settings: NetworkSettings) -> dict[str, Any]:
    """To the cluster's resolvers."""
    resolvers = [pods("kube-system"), *addresses(settings.dns)]
    return {"to": resolvers, "ports": ports(53, protocols=("UDP", "TCP"))}


def api_server(settings: NetworkSettings) -> dict[str, Any]:
    """To the API server: by its addresses where they are set, else by its ports."""
    to = {"to": addresses(settings.api_server)} if settings.api_server else {}
    return {**to, "ports": ports(*_API_SERVER_PORTS)}


def scraping(settings: NetworkSettings, port: int = METRICS_PORT) -> list[dict[str, Any]]:
    """From the namespaces that may read metrics; from nowhere when there are none."""
    if not settings.scrapers:
        return []
    return [{"from": [pods(namespace) for namespace in settings.scrapers], "ports": ports(port)}]


@dataclass(frozen=True)
class NamespacePolicies:
    """Registers the policies of one namespace as children of `parent`, named from `prefix`."""

    prefix: str
    parent: pulumi.Resource
    namespace: str
    after: Sequence[pulumi.Resource]

    def deny_by_default(self) -> k8s.networking.v1.NetworkPolicy:
        return self.policy("default-deny", {}, ingress=[], egress=[])

    def policy(
        self,
        name: str,
        selector: Mapping[str, Any],
        *,
        ingress: Sequence[Mapping[str, Any]] | None = None,
        egress: Sequence[Mapping[str, Any]] | None = None,
    ) -> k8s.networking.v1.NetworkPolicy:
        """Over pods with the `selector`. An empty list allows nothing; None says nothing about this direction."""
        rules = {"Ingress": ("ingress", ingress), "Egress": ("egress", egress)}
        said = {kind: (field, given) for kind, (field, given) in rules.items() if given is not None}
        return k8s.networking.v1.NetworkPolicy(
            f"{self.prefix}-{name}",
            metadata={"name": name, "namespace": self.namespace, "labels": MANAGED_BY},
            spec={
                "podSelector": dict(selector),
                "policyTypes": list(said),
                **{field: list(given) for field, given in said.values() if given},
            },
            opts=pulumi.ResourceOptions(parent=self.parent, depends_on=list(self.after)),
        )
