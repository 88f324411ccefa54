"""Plants the cluster's decryption identity, past Pulumi: it is never an input, so it is never in a state.

RFC-SECOPS-0001 §5: bootstrap secrets are decrypted inside the cluster only.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import kubernetes

from secret_authority.access.cluster_state import planted_recipient
from secret_authority.access.kubeconfig import core_api
from secret_authority.clients.age import Identity
from secret_authority.contract.names import IDENTITY_KEY, IDENTITY_SECRET, MANAGED_BY, RECIPIENT_ANNOTATION

_TIMEOUT = (5.0, 30.0)  # seconds to connect, to read


def is_planted(kubeconfig: Path, context: str | None, namespaces: Iterable[str], recipient: str) -> bool:
    """Whether each namespace holds the identity of `recipient` already. Raises `kubernetes.client.ApiException`."""
    api = core_api(kubeconfig, context)
    return all(planted_recipient(api, namespace) == recipient for namespace in namespaces)


def plant(kubeconfig: Path, context: str | None, namespace: str, identity: Identity) -> None:
    """Write the identity into a namespace, whole, whatever stood there. Safe to repeat.

    Raises `kubernetes.client.ApiException`.
    """
    api = core_api(kubeconfig, context)
    body = kubernetes.client.V1Secret(
        metadata=kubernetes.client.V1ObjectMeta(
            name=IDENTITY_SECRET,
            namespace=namespace,
            labels=MANAGED_BY,
            annotations={RECIPIENT_ANNOTATION: identity.recipient},
        ),
        type="Opaque",
        string_data={IDENTITY_KEY: identity.as_file()},
    )
    try:
        api.create_namespaced_secret(namespace, body, _request_timeout=_TIMEOUT)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
        api.replace_namespaced_secret(IDENTITY_SECRET, namespace, body, _request_timeout=_TIMEOUT)
