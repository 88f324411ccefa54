"""Namespaces of the platform and of Kubernetes: no secret of a catalogue is born in one or delivered to one.

Whoever may write Secrets beside the decryption identity, the unseal shares or the engine's own workload has them
before long. Catalogue, policy pack and admission refuse the same names. Standard library only.
"""

from __future__ import annotations

FLUX_NAMESPACE = "flux-system"
ENGINE_NAMESPACE = "secret-authority"
VAULT_NAMESPACE = "vault"
ESO_NAMESPACE = "external-secrets"
PLATFORM_NAMESPACES = (ENGINE_NAMESPACE, ESO_NAMESPACE, FLUX_NAMESPACE, VAULT_NAMESPACE)
KUBERNETES_PREFIX = "kube-"


def is_reserved(namespace: str) -> bool:
    """Whether the namespace belongs to the platform or to Kubernetes itself."""
    return namespace in PLATFORM_NAMESPACES or namespace.startswith(KUBERNETES_PREFIX)
