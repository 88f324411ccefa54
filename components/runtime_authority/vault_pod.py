"""Vault's pod: the server and, beside it, the reloader of its certificate and audit log. Restricted throughout."""

from __future__ import annotations

from typing import Any

from components.kit.pod_security import RESTRICTED_CONTAINER
from components.runtime_authority.vault_config import CONFIG_MAP
from components.settings.vault import VaultSettings
from secret_authority.contract.names import (
    CLUSTER_PORT,
    INTERNAL_SERVICE,
    MANAGED_BY,
    TLS_SECRET,
    VAULT,
    VAULT_NAMESPACE,
    VAULT_PORT,
)

SELECTOR = {"app.kubernetes.io/name": VAULT, "app.kubernetes.io/instance": VAULT}
_USER, _GROUP = 100, 1000  # as in upstream's image
_AUDIT_FILE = "/vault/audit/audit.log"
# What Kubernetes mounts into every container otherwise: Vault asks for TokenReviews with it.
_ACCOUNT: list[dict[str, Any]] = [
    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
]


def stateful_set_spec(settings: VaultSettings, engine_image: str) -> dict[str, Any]:
    """The specification of the StatefulSet, its volumes included."""
    return {
        "serviceName": INTERNAL_SERVICE,
        "replicas": settings.replicas,
        # All at once: a sealed pod is not ready, and the others must not wait for it.
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": SELECTOR},
        "template": {
            "metadata": {"labels": {**MANAGED_BY, **SELECTOR}},
            "spec": _pod(settings, engine_image),
        },
        "volumeClaimTemplates": [
            _claim("data", settings.data_size, settings.storage_class),
            _claim("audit", settings.audit_size, settings.storage_class),
        ],
    }


def _claim(name: str, size: str, storage_class: str | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"metadata": {"name": name}, "spec": spec}


def _pod(settings: VaultSettings, engine_image: str) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": SELECTOR}, "topologyKey": "kubernetes.io/hostname"}
    if settings.spread == "required":
        apart: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    else:
        weighted = [{"weight": 100, "podAffinityTerm": term}]
        apart = {"preferredDuringSchedulingIgnoredDuringExecution": weighted}
    return {
        "serviceAccountName": VAULT,
        # Vault alone gets the account's token, from a volume of its own.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        # The reloader signals Vault.
        "shareProcessNamespace": True,
        "affinity": {"podAntiAffinity": apart},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _GROUP,
            "fsGroup": _GROUP,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_server(settings.image), _reloader(engine_image)],
        "volumes": [
            {"name": "config", "configMap": {"name": CONFIG_MAP}},
            # Made by the engine; the pod waits for it.
            {"name": "tls", "secret": {"secretName": TLS_SECRET, "defaultMode": 0o440}},
            # The certificate without its key, for the reloader.
            {
                "name": "certificate",
                "secret": {
                    "secretName": TLS_SECRET,
                    "items": [{"key": "tls.crt", "path": "tls.crt"}],
                    "defaultMode": 0o440,
                },
            },
            {"name": "account", "projected": {"sources": _ACCOUNT, "defaultMode": 0o440}},
            {"name": "tmp", "emptyDir": {"medium": "Memory"}},
        ],
    }


def _server(image: str) -> dict[str, Any]:
    host = f"$(POD_NAME).{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc"

    def probe(query: str, failures: int) -> dict[str, Any]:
        get = {"path": f"/v1/sys/health?{query}", "port": VAULT_PORT, "scheme": "HTTPS"}
        return {"httpGet": get, "periodSeconds": 3, "timeoutSeconds": 3, "failureThreshold": failures}

    return {
        "name": "vault",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/vault", "server", "-config=/vault/config/vault.json"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "VAULT_RAFT_NODE_ID", "value": "$(POD_NAME)"},
            {"name": "VAULT_API_ADDR", "value": f"https://{host}:{VAULT_PORT}"},
            {"name": "VAULT_CLUSTER_ADDR", "value": f"https://{host}:{CLUSTER_PORT}"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108
        ],
        "ports": [
            {"name": "https", "containerPort": VAULT_PORT},
            {"name": "cluster", "containerPort": CLUSTER_PORT},
        ],
        "readinessProbe": probe("standbyok=true", 2),
        # Alive also while sealed or not initialised: the engine mends that, a restart would not.
        "livenessProbe": probe("standbyok=true&sealedcode=204&uninitcode=204", 20),
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/vault/config", "readOnly": True},
            {"name": "tls", "mountPath": "/vault/tls", "readOnly": True},
            {"name": "data", "mountPath": "/vault/data"},
            {"name": "audit", "mountPath": "/vault/audit"},
            {"name": "account", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _reloader(image: str) -> dict[str, Any]:
    return {
        "name": "listener",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["listener", "--watch=/vault/tls/tls.crt", f"--audit-file={_AUDIT_FILE}"],
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "volumeMounts": [
            {"name": "certificate", "mountPath": "/vault/tls", "readOnly": True},
            {"name": "audit", "mountPath": "/vault/audit"},
        ],
    }
