"""Who runs a command, as the API server knows them."""

from __future__ import annotations

import logging

from secret_authority.access.kubeconfig import NO_CLUSTER, ClusterConnection
from secret_authority.clients.kubernetes import ApiRefusedError
from secret_authority.core.errors import LostRace, Unavailable

log = logging.getLogger(__name__)

UNKNOWN = "unknown"
# KEP-3325, "Auth API to get self user attributes"; served since Kubernetes 1.28.
_REVIEW = "apis/authentication.k8s.io/v1/selfsubjectreviews"


def kubernetes_user(connection: ClusterConnection) -> str:
    """The user name of the kubeconfig's identity (SelfSubjectReview), `UNKNOWN` when the API server does not say."""
    try:
        answer = connection.api().create(
            _REVIEW, {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        )
    except (ApiRefusedError, Unavailable, LostRace, *NO_CLUSTER) as error:
        log.warning("the API server does not say who you are: %s", error)
        return UNKNOWN
    user = ((answer.get("status") or {}).get("userInfo") or {}).get("username")
    return str(user) if user else UNKNOWN
