"""External Secrets' controllers: one for each consumer namespace, with rights in that namespace only.

One controller for the whole cluster would have to list and watch every Secret of the cluster, the cluster's
decryption identity among them. Upstream's mode with a namespace of its own (`--namespace`) needs no right
outside of that namespace. RFC-SECOPS-0001 §7: each component its own identity, least privilege.

Of upstream's role (chart external-secrets, rbac.yaml) these are left out: cluster-wide objects, PushSecrets,
generators, ConfigMaps, namespaces, reading service accounts, tokens of any account but the reader's, making
or deleting ExternalSecrets, and deleting Secrets: whatever Vault answers, a Secret stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.external_secrets_manifests import (
    GENERATORS_GROUP,
    GROUP,
    custom_resource_definitions,
    eso_image,
)
from components.kit.network import api_server, dns, pods, ports, scraping
from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD
from components.settings.network import NetworkSettings
from secret_authority.contract.names import ESO_NAMESPACE, MANAGED_BY, READER_ACCOUNT, VAULT_NAMESPACE, VAULT_PORT

METRICS_PORT = 8080
HEALTH_PORT = 8082
# Reconciles at once; they wait for Vault and the API server most of the time.
CONCURRENT = 4
_READ = ["get", "list", "watch"]


@dataclass(frozen=True)
class ExternalSecretsArgs:
    """`targets`: names of consumer Secrets by namespace. `manifests`: the folder of upstream manifests."""

    manifests: Path
    targets: Mapping[str, Sequence[str]]
    network: NetworkSettings = field(default_factory=NetworkSettings)


class ExternalSecrets(pulumi.ComponentResource):
    """The CRDs, the namespace with its network policy, and a controller for each consumer namespace."""

    def __init__(self, name: str, args: ExternalSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:Controllers", name, {}, opts)
        self._name, self._network = name, args.network
        self.definitions: list[pulumi.Resource] = [
            k8s.apiextensions.v1.CustomResourceDefinition(
                f"{name}-{document['metadata']['name']}",
                metadata=document["metadata"],
                spec=document["spec"],
                opts=self._opts(),
            )
            for document in custom_resource_definitions(args.manifests)
        ]
        self._namespace = k8s.core.v1.Namespace(
            f"{name}-namespace",
            metadata={
                "name": ESO_NAMESPACE,
                "labels": {**MANAGED_BY, "pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=self._opts(),
        )
        network = self._network_policy()
        self.deployments: dict[str, k8s.apps.v1.Deployment] = {
            namespace: self._controller(namespace, secrets, network) for namespace, secrets in args.targets.items()
        }
        self.register_outputs({"namespaces": sorted(args.targets)})

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

    def _network_policy(self) -> k8s.networking.v1.NetworkPolicy:
        """In: metrics. Out: DNS, the API server, Vault."""
        network = self._network
        vault = {"to": [pods(VAULT_NAMESPACE)], "ports": ports(VAULT_PORT)}
        return k8s.networking.v1.NetworkPolicy(
            f"{self._name}-network",
            metadata={"name": ESO_NAMESPACE, "namespace": ESO_NAMESPACE, "labels": MANAGED_BY},
            spec={
                "podSelector": {},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": scraping(network, METRICS_PORT),
                "egress": [dns(network), api_server(network), vault],
            },
            opts=self._opts(self._namespace),
        )

    def _controller(self, namespace: str, secrets: Sequence[str], network: pulumi.Resource) -> k8s.apps.v1.Deployment:
        controller = f"external-secrets-{namespace}"
        rights = self._rights(controller, namespace, secrets)
        selector = {"app.kubernetes.io/name": "external-secrets", "app.kubernetes.io/instance": namespace}
        return k8s.apps.v1.Deployment(
            f"{self._name}-{namespace}",
            metadata={"name": controller, "namespace": ESO_NAMESPACE, "labels": {**MANAGED_BY, **selector}},
            spec={
                "replicas": 1,
                # Never two at once: a lease of upstream's has one name for all controllers of a namespace.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": {**MANAGED_BY, **selector}},
                    "spec": controller_pod(controller, namespace),
                },
            },
            opts=self._opts(*self.definitions, *rights, network),
        )

    def _rights(self, controller: str, namespace: str, secrets: Sequence[str]) -> list[pulumi.Resource]:
        account = k8s.core.v1.ServiceAccount(
            f"{self._name}-{namespace}",
            metadata={"name": controller, "namespace": ESO_NAMESPACE, "labels": MANAGED_BY},
            automount_service_account_token=False,
            opts=self._opts(self._namespace),
        )
        metadata = {"name": "external-secrets", "namespace": namespace, "labels": MANAGED_BY}
        role = k8s.rbac.v1.Role(
            f"{self._name}-{namespace}",
            metadata=metadata,
            rules=controller_rules(secrets),
            opts=self._opts(),
        )
        binding = k8s.rbac.v1.RoleBinding(
            f"{self._name}-{namespace}",
            metadata=metadata,
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": controller, "namespace": ESO_NAMESPACE}],
            opts=self._opts(account),
        )
        return [account, role, binding]


def controller_rules(secrets: Sequence[str]) -> list[dict[str, Any]]:
    """What a controller may do in its namespace. `secrets`: the only Secrets that it may change.

    Kubernetes cannot limit `create`, `list` and `watch` to names.
    """

    def rule(group: str, resources: list[str], verbs: list[str], names: Sequence[str] = ()) -> dict[str, Any]:
        granted: dict[str, Any] = {"apiGroups": [group], "resources": resources, "verbs": verbs}
        return granted | ({"resourceNames": sorted(names)} if names else {})

    return [
        rule(GROUP, ["externalsecrets", "secretstores"], _READ),
        # The controller keeps a finalizer on ExternalSecrets; the subresource is for clusters that ask for it.
        rule(GROUP, ["externalsecrets", "externalsecrets/finalizers"], ["update", "patch"]),
        rule(GROUP, ["externalsecrets/status", "secretstores/status"], ["get", "update", "patch"]),
        rule(GENERATORS_GROUP, ["generatorstates"], _READ),
        rule("", ["secrets"], [*_READ, "create"]),
        rule("", ["secrets"], ["update", "patch"], secrets),
        rule("", ["serviceaccounts/token"], ["create"], [READER_ACCOUNT]),
        rule("", ["events"], ["create", "patch"]),
    ]


def controller_pod(controller: str, namespace: str) -> dict[str, Any]:
    """The pod of External Secrets for one namespace, as the account `controller`."""
    return {
        "serviceAccountName": controller,
        "automountServiceAccountToken": True,
        "securityContext": RESTRICTED_POD,
        "containers": [
            {
                "name": "external-secrets",
                "image": eso_image(),
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    f"--namespace={namespace}",
                    "--enable-cluster-store-reconciler=false",
                    "--enable-cluster-external-secret-reconciler=false",
                    "--enable-cluster-push-secret-reconciler=false",
                    "--enable-push-secret-reconciler=false",
                    f"--concurrent={CONCURRENT}",
                    f"--metrics-addr=:{METRICS_PORT}",
                    f"--live-addr=:{HEALTH_PORT}",
                    "--loglevel=info",
                    "--zap-time-encoding=rfc3339",
                ],
                # Upstream's client waits a minute and tries three times; External Secrets itself tries again.
                "env": [
                    {"name": "VAULT_CLIENT_TIMEOUT", "value": "10s"},
                    {"name": "VAULT_MAX_RETRIES", "value": "0"},
                ],
                "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
                "readinessProbe": _probe(2),
                "livenessProbe": _probe(10),
                "securityContext": RESTRICTED_CONTAINER,
                # 1,000 ExternalSecrets refreshed every ten seconds take a quarter of a gibibyte.
                "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
            }
        ],
    }


def _probe(period_seconds: int) -> dict[str, Any]:
    get = {"path": "/healthz", "port": HEALTH_PORT}
    return {"httpGet": get, "periodSeconds": period_seconds, "failureThreshold": 5}
