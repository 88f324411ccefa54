"""Who may reach Vault, and whom Vault may reach."""

from __future__ import annotations

from typing import Any

from components.kit.network import api_server, dns, pods, ports
from components.runtime_authority.vault_pod import SELECTOR
from components.settings.network import NetworkSettings
from secret_authority.contract.names import (
    CLUSTER_PORT,
    CONSUMPTION_ACCOUNT,
    ENGINE_ACCOUNT,
    ENGINE_NAMESPACE,
    ESO_NAMESPACE,
    VAULT_PORT,
)

_ENGINES = (ENGINE_ACCOUNT, CONSUMPTION_ACCOUNT)


def network_policy_spec(network: NetworkSettings) -> dict[str, Any]:
    """In: the engines, External Secrets, and the pods among themselves. Out: themselves, DNS, the API server."""
    own = pods(labels=SELECTOR)
    engines = {
        **pods(ENGINE_NAMESPACE),
        "podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": list(_ENGINES)}]},
    }
    both = ports(VAULT_PORT, CLUSTER_PORT)
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [own], "ports": both},
            {"from": [engines, pods(ESO_NAMESPACE)], "ports": ports(VAULT_PORT)},
        ],
        "egress": [{"to": [own], "ports": both}, dns(network), api_server(network)],
    }
