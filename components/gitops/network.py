"""The ways into and out of Flux's namespace and the engine's: everything else is closed."""

from __future__ import annotations

import contextlib
import ipaddress
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as k8s

from components.kit.network import (
    NamespacePolicies,
    addresses,
    api_server,
    dns,
    pods,
    ports,
    scraping,
)
from components.settings.git import GitSettings
from components.settings.network import NetworkSettings
from secret_authority.contract.names import (
    BOOTSTRAP_EVIDENCE,
    CONSUMPTION_ACCOUNT,
    ENGINE_ACCOUNT,
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    SNAPSHOT_VERIFIER,
    VAULT_NAMESPACE,
    VAULT_PORT,
)

_ARTIFACTS = 9090
_SOURCE = {"app": "source-controller"}
_GIT_PORTS = {"https": 443, "ssh": 22}


def flux_policies(
    name: str, parent: pulumi.Resource, network: NetworkSettings, git: GitSettings, namespace: pulumi.Resource
) -> list[k8s.networking.v1.NetworkPolicy]:
    """In: artifacts for kustomize-controller and the engine, metrics. Out: DNS, the API server, Git."""
    flux = NamespacePolicies(name, parent, FLUX_NAMESPACE, [namespace])
    source = {"matchLabels": _SOURCE}
    return [
        flux.deny_by_default(),
        flux.policy("allow-own", {}, ingress=[{"from": [pods()]}], egress=[{"to": [pods()]}]),
        flux.policy("allow-scraping", {}, ingress=scraping(network)),
        flux.policy("allow-engine", source, ingress=[{"from": [pods(ENGINE_NAMESPACE)], "ports": ports(_ARTIFACTS)}]),
        flux.policy("allow-cluster", {}, egress=[dns(network), api_server(network)]),
        flux.policy("allow-git", source, egress=[_git(network, git)]),
    ]


def engine_policies(
    name: str, parent: pulumi.Resource, network: NetworkSettings, namespace: pulumi.Resource
) -> list[k8s.networking.v1.NetworkPolicy]:
    """In: metrics. Out: DNS and the API server for all; Vault for the two engines; artifacts for who compares Git."""
    engine = NamespacePolicies(f"{name}-engine", parent, ENGINE_NAMESPACE, [namespace])
    vault = {"to": [pods(VAULT_NAMESPACE)], "ports": ports(VAULT_PORT)}
    artifacts = {"to": [pods(FLUX_NAMESPACE, _SOURCE)], "ports": ports(_ARTIFACTS)}
    return [
        engine.deny_by_default(),
        engine.policy("allow-scraping", {}, ingress=scraping(network)),
        # Verifications of snapshots have the cluster identity and nothing to ask of the API server.
        engine.policy(
            "allow-cluster", _apps(SNAPSHOT_VERIFIER, operator="NotIn"), egress=[dns(network), api_server(network)]
        ),
        engine.policy("allow-vault", _apps(ENGINE_ACCOUNT, CONSUMPTION_ACCOUNT), egress=[vault]),
        engine.policy("allow-artifacts", _apps(ENGINE_ACCOUNT, BOOTSTRAP_EVIDENCE), egress=[artifacts]),
    ]


def _apps(*values: str, operator: str = "In") -> dict[str, object]:
    return {"matchExpressions": [{"key": "app", "operator": operator, "values": list(values)}]}


def _git(network: NetworkSettings, git: GitSettings) -> dict[str, object]:
    """To the Git server: by its addresses where they are known, else by the port of its URL."""
    url = urlsplit(git.url)
    known = list(network.git)
    with contextlib.suppress(ValueError):  # a name: policies know addresses only
        known = known or [str(ipaddress.ip_network(str(url.hostname)))]
    to = {"to": addresses(known)} if known else {}
    return {**to, "ports": ports(url.port or _GIT_PORTS.get(url.scheme, 443))}
