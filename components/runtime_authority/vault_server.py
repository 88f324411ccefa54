"""Vault itself: a StatefulSet with Raft storage, TLS everywhere, restricted pods."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.runtime_authority.vault_config import CONFIG_MAP, vault_config
from components.runtime_authority.vault_network import network_policy_spec
from components.runtime_authority.vault_pod import SELECTOR, stateful_set_spec
from components.settings.network import NetworkSettings
from components.settings.vault import VaultSettings
from secret_authority.contract.names import (
    CLUSTER_PORT,
    INTERNAL_SERVICE,
    MANAGED_BY,
    VAULT,
    VAULT_NAMESPACE,
    VAULT_PORT,
)


@dataclass(frozen=True)
class VaultServerArgs:
    """`namespace` is Vault's. `timeout_seconds`: how long all pods may take until they are unsealed.

    `hooks` are those of the StatefulSet.
    """

    settings: VaultSettings
    engine_image: str
    namespace: k8s.core.v1.Namespace
    timeout_seconds: int
    network: NetworkSettings = field(default_factory=NetworkSettings)
    hooks: pulumi.ResourceHookBinding | None = None


class VaultServer(pulumi.ComponentResource):
    """The pods and what they need. Ready when every pod is unsealed, which the engine sees to."""

    stateful_set: k8s.apps.v1.StatefulSet

    def __init__(self, name: str, args: VaultServerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:vault:Workload", name, {}, opts)
        self._name, self._namespace = name, args.namespace
        settings = args.settings
        account = self._account()
        config = k8s.core.v1.ConfigMap(
            f"{name}-config",
            metadata=self._metadata(CONFIG_MAP),
            data={"vault.json": vault_config(settings.replicas)},
            opts=self._opts(),
        )
        services = self._services()
        network = k8s.networking.v1.NetworkPolicy(
            f"{name}-network", metadata=self._metadata(VAULT), spec=network_policy_spec(args.network), opts=self._opts()
        )
        k8s.policy.v1.PodDisruptionBudget(
            f"{name}-disruption",
            metadata=self._metadata(VAULT),
            spec={"maxUnavailable": 1, "selector": {"matchLabels": SELECTOR}},
            opts=self._opts(),
        )
        self.stateful_set = k8s.apps.v1.StatefulSet(
            name,
            metadata={
                **self._metadata(VAULT),
                "annotations": {"pulumi.com/timeoutSeconds": str(args.timeout_seconds)},
            },
            spec=stateful_set_spec(settings, args.engine_image),
            # The policy comes first: whoever reaches a Vault that is not initialised can claim it.
            opts=pulumi.ResourceOptions.merge(
                self._opts(*account, config, *services, network),
                # Its volumes hold what cannot be made again.
                pulumi.ResourceOptions(protect=settings.protect, hooks=args.hooks),
            ),
        )
        self.register_outputs({"replicas": settings.replicas})

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[self._namespace, *depends_on])

    @staticmethod
    def _metadata(name: str) -> dict[str, Any]:
        return {"name": name, "namespace": VAULT_NAMESPACE, "labels": {**MANAGED_BY, **SELECTOR}}

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
                    "selector": SELECTOR,
                },
                opts=self._opts(),
            ),
            k8s.core.v1.Service(
                f"{self._name}-service",
                metadata={**self._metadata(VAULT), "annotations": {"pulumi.com/skipAwait": "true"}},
                spec={"ports": ports, "selector": SELECTOR},
                opts=self._opts(),
            ),
        ]
