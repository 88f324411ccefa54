"""Vault's configuration file, and the names under which its listeners are called.

Upstream: developer.hashicorp.com/vault (Raft integrated storage, listener and telemetry reference).
"""

from __future__ import annotations

import json
from typing import Any

from secret_authority.contract.names import (
    CA_KEY,
    CLUSTER_PORT,
    INTERNAL_SERVICE,
    SERVER_NAME,
    VAULT_NAMESPACE,
    VAULT_PORT,
    pod_host,
)

CONFIG_MAP = "vault-config"


def vault_config(replicas: int) -> str:
    """The file, as JSON. What differs from pod to pod comes by environment (names only)."""
    raft: dict[str, Any] = {"path": "/vault/data"}
    if replicas == 1:
        # It has nobody to wait for, so Raft's own timing does: with Vault's default it takes five times as long to
        # become active after each unsealing.
        raft["performance_multiplier"] = "1"
    if replicas > 1:
        raft["retry_join"] = [
            {
                "leader_api_addr": f"https://{pod_host(number)}:{VAULT_PORT}",
                "leader_ca_cert_file": f"/vault/tls/{CA_KEY}",
                "leader_tls_servername": pod_host(number),
            }
            for number in range(replicas)
        ]
    listener = {
        "address": f"[::]:{VAULT_PORT}",
        "cluster_address": f"[::]:{CLUSTER_PORT}",
        "tls_cert_file": "/vault/tls/tls.crt",
        "tls_key_file": "/vault/tls/tls.key",
        "tls_min_version": "tls12",
    }
    return json.dumps(
        {
            "storage": {"raft": raft},
            "listener": [{"tcp": listener}],
            # Raft maps its files into memory; Vault's documentation says to switch mlock off with it.
            "disable_mlock": True,
            "ui": False,
            # The engine of consumption sees in the counters of requests that something was written.
            "telemetry": {"disable_hostname": True, "prometheus_retention_time": "24h"},
        },
        sort_keys=True,
    )


def certificate_names() -> list[str]:
    """Every name under which a Vault listener is called, however many pods there are."""
    return [SERVER_NAME, f"{SERVER_NAME}.cluster.local", f"*.{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc"]
