"""Who may reach Vault, and whom Vault may reach."""

from __future__ import annotations

from typing import Any

from components.runtime_authority.vault_pod import SELECTOR
from secret_authority.contract.names import CLUSTER_PORT, ENGINE_NAMESPACE, ESO_NAMESPACE, VAULT_PORT

# The engines, and External Secrets, which reads secrets.
CLIENT_NAMESPACES = (ENGINE_NAMESPACE, ESO_NAMESPACE)


def network_policy_spec() -> dict[str, Any]:
    """In: the engine, External Secrets, and the pods among themselves. Out: themselves, DNS, the API server."""
    own = {"podSelector": {"matchLabels": SELECTOR}}
    clients = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        for namespace in CLIENT_NAMESPACES
    ]
    both = [{"protocol": "TCP", "port": VAULT_PORT}, {"protocol": "TCP", "port": CLUSTER_PORT}]
    api_server = [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [own], "ports": both}, {"from": clients, "ports": both[:1]}],
        "egress": [{"to": [own], "ports": both}, {"ports": [*dns, *api_server]}],
    }
