"""What uses Vault's values is away while a restored Vault is not in order: External Secrets, and the engines above it.

They are scaled to zero, and how many there were is written to the record first. Consumer Secrets stay as they are, so
workloads run on with what they have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secret_authority.clients.kubernetes import Api
from secret_authority.contract.names import (
    CONSUMPTION_ACCOUNT,
    ENGINE_NAMESPACE,
    ESO_NAMESPACE,
    ROTATION_ACCOUNT,
    SNAPSHOT_ACCOUNT,
)

_ENGINES = frozenset({CONSUMPTION_ACCOUNT, ROTATION_ACCOUNT, SNAPSHOT_ACCOUNT})


def users_of_vault(api: Api) -> dict[str, int]:
    """The Deployments that use Vault's values, as `namespace/name`, and the replicas that they ask for."""
    found: dict[str, int] = {}
    for namespace in (ESO_NAMESPACE, ENGINE_NAMESPACE):
        for deployment in api.list(_deployments(namespace)):
            name = str(deployment["metadata"]["name"])
            if namespace == ESO_NAMESPACE or name in _ENGINES:
                found[f"{namespace}/{name}"] = int((deployment.get("spec") or {}).get("replicas", 1))
    return found


def is_closed(api: Api) -> bool:
    """Whether none of them is asked for and no pod of theirs is left, not even one that ends just now."""
    if any(users_of_vault(api).values()):
        return False
    pods: list[Any] = api.list(f"api/v1/namespaces/{ESO_NAMESPACE}/pods")
    for name in sorted(_ENGINES):
        pods += api.list(f"api/v1/namespaces/{ENGINE_NAMESPACE}/pods", f"app={name}")
    return not pods


def scale(api: Api, replicas: Mapping[str, int]) -> None:
    """Ask for so many replicas of each; one that is gone is passed over."""
    for place, number in sorted(replicas.items()):
        namespace, _, name = place.partition("/")
        path = f"{_deployments(namespace)}/{name}"
        if api.get(path) is not None:
            api.merge(path, {"spec": {"replicas": number}})


def _deployments(namespace: str) -> str:
    return f"apis/apps/v1/namespaces/{namespace}/deployments"
