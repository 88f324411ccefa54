"""Writes a Secret past Pulumi, so that its value is in no state, and never over one that somebody else made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import kubernetes

from components.kit.ownership import made_by_this_program, owner
from secret_authority.access.kubeconfig import ClusterConnection
from secret_authority.contract.names import MANAGED_BY
from secret_authority.core.errors import InvalidInputError, Problem

_TIMEOUT = (5.0, 30.0)  # seconds to connect, to read
_FIX = "remove it with what made it, or use another cluster"


def plant_secret(
    connection: ClusterConnection,
    namespace: str,
    name: str,
    values: Mapping[str, str],
    *,
    annotations: Mapping[str, str] | None = None,
    foreign: Callable[[Mapping[str, Any]], str] | None = None,
    fix: str = _FIX,
) -> None:
    """Write the Secret whole, in place of an earlier one of this program. Safe to repeat.

    `foreign` says from the metadata of one that exists why it is somebody else's, `fix` what to do then. Raises
    `InvalidInputError` in that case, and `kubernetes.client.ApiException`.
    """
    api = connection.core_api()
    body = kubernetes.client.V1Secret(
        metadata=kubernetes.client.V1ObjectMeta(
            name=name, namespace=namespace, labels=MANAGED_BY, annotations=dict(annotations or {})
        ),
        type="Opaque",
        string_data=dict(values),
    )
    try:
        api.create_namespaced_secret(namespace, body, _request_timeout=_TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
        found = api.read_namespaced_secret(name, namespace, _request_timeout=_TIMEOUT).metadata
        problem = (foreign or _foreign)(api.api_client.sanitize_for_serialization(found))
        if problem:
            raise InvalidInputError([Problem("cluster", f"Secret {namespace}/{name}", problem, fix)]) from None
        # Nothing but what was judged is replaced.
        body.metadata.resource_version = found.resource_version
        api.replace_namespaced_secret(name, namespace, body, _request_timeout=_TIMEOUT)


def own_secret_exists(connection: ClusterConnection, namespace: str, name: str) -> bool:
    """Whether this program has written the Secret. Raises `kubernetes.client.ApiException`."""
    api = connection.core_api()
    try:
        found = api.read_namespaced_secret(name, namespace, _request_timeout=_TIMEOUT).metadata
    except kubernetes.client.ApiException as error:
        if error.status == 404:
            return False
        raise
    return not _foreign(api.api_client.sanitize_for_serialization(found))


def _foreign(metadata: Mapping[str, Any]) -> str:
    return "" if made_by_this_program(metadata) else f"exists and belongs to {owner(metadata)}"
