"""Vault itself: a StatefulSet with Raft storage, TLS everywhere, restricted pods.

Upstream: developer.hashicorp.com/vault (Raft integrated storage, listener and telemetry reference).
"""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.pod_security import RESTRICTED_CONTAINER
from components.settings.vault import VaultSettings
from secret_authority.contract.names import (
    CA_KEY,
    CLUSTER_PORT,
    ENGINE_NAMESPACE,
    INTERNAL_SERVICE,
    MANAGED_BY,
    SERVER_NAME,
    TLS_SECRET,
    VAULT,
    VAULT_NAMESPACE,
    VAULT_PORT,
    pod_host,
)

_USER, _GROUP = 100, 1000  # as in upstream's image
_SELECTOR = {"app.kubernetes.io/name": VAULT, "app.kubernetes.io/instance": VAULT}
_AUDIT_FILE = "/vault/audit/audit.log"
# External Secrets reads secrets; its namespace is upstream's.
READER_NAMESPACES = (ENGINE_NAMESPACE, "external-secrets")


def vault_config(replicas: int) -> str:
    """Vault's configuration file. What differs from pod to pod comes by environment (names only)."""
    raft: dict[str, Any] = {"path": "/vault/data"}
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
            # Layer 5's engine sees in the counters of requests that something was written.
            "telemetry": {"disable_hostname": True, "prometheus_retention_time": "24h"},
        },
        sort_keys=True,
    )


class VaultWorkload(pulumi.ComponentResource):
    """The pods and what they need. Ready when every pod is unsealed, which the engine sees to."""

    stateful_set: k8s.apps.v1.StatefulSet

    def __init__(
        self,
        name: str,
        settings: VaultSettings,
        engine_image: str,
        namespace: k8s.core.v1.Namespace,
        opts: pulumi.ResourceOptions,
        timeout_seconds: int,
    ) -> None:
        super().__init__("secret-authority:vault:Workload", name, {}, opts)
        self._name, self._settings, self._image, self._namespace = name, settings, engine_image, namespace
        account = self._account()
        config = k8s.core.v1.ConfigMap(
            f"{name}-config",
            metadata=self._metadata("vault-config"),
            data={"vault.json": vault_config(settings.replicas)},
            opts=self._opts(),
        )
        services = self._services()
        network = self._network_policy()
        k8s.policy.v1.PodDisruptionBudget(
            f"{name}-disruption",
            metadata=self._metadata(VAULT),
            spec={"maxUnavailable": 1, "selector": {"matchLabels": _SELECTOR}},
            opts=self._opts(),
        )
        self.stateful_set = k8s.apps.v1.StatefulSet(
            name,
            metadata={
                **self._metadata(VAULT),
                "annotations": {"pulumi.com/timeoutSeconds": str(timeout_seconds)},
            },
            spec=self._spec(),
            # The policy stands first: whoever reaches a Vault that is not initialised can take it over.
            opts=self._opts(*account, config, *services, network),
        )
        self.register_outputs({"replicas": settings.replicas})

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[self._namespace, *depends_on])

    @staticmethod
    def _metadata(name: str) -> dict[str, Any]:
        return {"name": name, "namespace": VAULT_NAMESPACE, "labels": {**MANAGED_BY, **_SELECTOR}}

    def _account(self) -> list[pulumi.Resource]:
        account = k8s.core.v1.ServiceAccount(f"{self._name}-account", metadata=self._metadata(VAULT), opts=self._opts())
        # Vault asks the API server whether a caller's token is good (TokenReview). That is all it may do.
        binding = k8s.rbac.v1.ClusterRoleBinding(
            f"{self._name}-token-review",
            metadata={"name": "secret-authority-vault-token-review", "labels": MANAGED_BY},
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
            subjects=[{"kind": "ServiceAccount", "name": VAULT, "namespace": VAULT_NAMESPACE}],
            opts=self._opts(account),
        )
        return [account, binding]

    def _services(self) -> list[pulumi.Resource]:
        ports = [{"name": "https", "port": VAULT_PORT, "targetPort": VAULT_PORT}]
        internal = [*ports, {"name": "cluster", "port": CLUSTER_PORT, "targetPort": CLUSTER_PORT}]
        return [
            k8s.core.v1.Service(
                f"{self._name}-internal",
                # Pods find each other, and the engine finds them, before any of them is ready.
                metadata={**self._metadata(INTERNAL_SERVICE), "annotations": {"pulumi.com/skipAwait": "true"}},
                spec={
                    "clusterIP": "None",
                    "publishNotReadyAddresses": True,
                    "ports": internal,
                    "selector": _SELECTOR,
                },
                opts=self._opts(),
            ),
            k8s.core.v1.Service(
                f"{self._name}-service",
                metadata={**self._metadata(VAULT), "annotations": {"pulumi.com/skipAwait": "true"}},
                spec={"ports": ports, "selector": _SELECTOR},
                opts=self._opts(),
            ),
        ]

    def _network_policy(self) -> k8s.networking.v1.NetworkPolicy:
        """In: the engine, External Secrets, and the pods among themselves. Out: themselves, DNS, the API server."""
        own = {"podSelector": {"matchLabels": _SELECTOR}}
        readers = [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
            for namespace in READER_NAMESPACES
        ]
        both = [{"protocol": "TCP", "port": VAULT_PORT}, {"protocol": "TCP", "port": CLUSTER_PORT}]
        api_server = [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 6443}]
        dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
        return k8s.networking.v1.NetworkPolicy(
            f"{self._name}-network",
            metadata=self._metadata(VAULT),
            spec={
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [own], "ports": both}, {"from": readers, "ports": both[:1]}],
                "egress": [{"to": [own], "ports": both}, {"ports": [*dns, *api_server]}],
            },
            opts=self._opts(),
        )

    def _spec(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "serviceName": INTERNAL_SERVICE,
            "replicas": settings.replicas,
            # All at once: a sealed pod is not ready, and the others must not wait for it.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": _SELECTOR},
            "template": {
                "metadata": {"labels": {**MANAGED_BY, **_SELECTOR}},
                "spec": self._pod(),
            },
            "volumeClaimTemplates": [
                self._claim("data", settings.data_size),
                self._claim("audit", settings.audit_size),
            ],
        }

    def _claim(self, name: str, size: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
        if self._settings.storage_class:
            spec["storageClassName"] = self._settings.storage_class
        return {"metadata": {"name": name}, "spec": spec}

    def _pod(self) -> dict[str, Any]:
        term = {"labelSelector": {"matchLabels": _SELECTOR}, "topologyKey": "kubernetes.io/hostname"}
        if self._settings.spread == "required":
            apart: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
        else:
            weighted = [{"weight": 100, "podAffinityTerm": term}]
            apart = {"preferredDuringSchedulingIgnoredDuringExecution": weighted}
        return {
            "serviceAccountName": VAULT,
            "terminationGracePeriodSeconds": 20,
            # The listener's keeper signals Vault.
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
            "containers": [self._server(), self._keeper()],
            "volumes": [
                {"name": "config", "configMap": {"name": "vault-config"}},
                # Made by the engine; the pod waits for it.
                {"name": "tls", "secret": {"secretName": TLS_SECRET, "defaultMode": 0o440}},
                {"name": "tmp", "emptyDir": {"medium": "Memory"}},
            ],
        }

    def _server(self) -> dict[str, Any]:
        host = f"$(POD_NAME).{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc"

        def probe(query: str, failures: int) -> dict[str, Any]:
            get = {"path": f"/v1/sys/health?{query}", "port": VAULT_PORT, "scheme": "HTTPS"}
            return {"httpGet": get, "periodSeconds": 3, "timeoutSeconds": 3, "failureThreshold": failures}

        return {
            "name": "vault",
            "image": self._settings.image,
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
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            ],
        }

    def _keeper(self) -> dict[str, Any]:
        return {
            "name": "listener",
            "image": self._image,
            "imagePullPolicy": "IfNotPresent",
            "args": ["listener", "--watch=/vault/tls/tls.crt", f"--audit-file={_AUDIT_FILE}"],
            "securityContext": RESTRICTED_CONTAINER,
            "resources": {"requests": {"cpu": "5m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
            "volumeMounts": [
                {"name": "tls", "mountPath": "/vault/tls", "readOnly": True},
                {"name": "audit", "mountPath": "/vault/audit"},
            ],
        }


def certificate_names() -> list[str]:
    """Every name under which a Vault listener is called, however many pods there are."""
    return [SERVER_NAME, f"{SERVER_NAME}.cluster.local", f"*.{INTERNAL_SERVICE}.{VAULT_NAMESPACE}.svc"]
