"""The engine's Deployment: its settings, its identity and the few rights it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.gitops import SOURCE
from components.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_KEY, IDENTITY_SECRET, MANAGED_BY
from components.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from components.vault_names import (
    ADDRESS,
    AUDIENCE,
    AUDITOR_ACCOUNT,
    CONFIGURATOR_ACCOUNT,
    ENGINE_ACCOUNT,
    PORT,
    VAULT_NAMESPACE,
    pod_host,
)
from components.vault_settings import VaultSettings
from components.vault_workload import certificate_names

_AUDIT_CONFIGS = ["audit-trail", *(f"audit-trail-{number}" for number in range(1, 20))]
_APP = {"app": ENGINE_ACCOUNT}


@dataclass(frozen=True)
class EngineArgs:
    """`targets`: names of bootstrap Secrets by namespace. `recipients`: whom the unseal shares are encrypted to."""

    vault: VaultSettings
    image: str
    cluster: str
    catalogue: str
    bootstrap: Sequence[str]
    recipients: Sequence[str]
    targets: Mapping[str, Sequence[str]]


class VaultEngine(pulumi.ComponentResource):
    """One engine in the cluster. Ready when every Vault pod is initialised, unsealed and configured."""

    deployment: k8s.apps.v1.Deployment

    def __init__(self, name: str, args: EngineArgs, opts: pulumi.ResourceOptions, timeout_seconds: int) -> None:
        super().__init__("secret-authority:vault:Engine", name, {}, opts)
        self._name, self._args = name, args
        accounts = [self._account(account) for account in (ENGINE_ACCOUNT, CONFIGURATOR_ACCOUNT, AUDITOR_ACCOUNT)]
        rights = self._rights()
        text = json.dumps(self._settings(), sort_keys=True)
        config = k8s.core.v1.ConfigMap(
            f"{name}-settings",
            metadata={"name": f"{ENGINE_ACCOUNT}-settings", "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
            data={"settings.json": text},
            opts=self._opts(),
        )
        self.deployment = k8s.apps.v1.Deployment(
            name,
            metadata={
                "name": ENGINE_ACCOUNT,
                "namespace": ENGINE_NAMESPACE,
                "labels": {**MANAGED_BY, **_APP},
                "annotations": {"pulumi.com/timeoutSeconds": str(timeout_seconds)},
            },
            spec={
                "replicas": 1,
                # Never two at once, also not during an update.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": _APP},
                "template": {
                    "metadata": {
                        "labels": {**MANAGED_BY, **_APP},
                        "annotations": {
                            "secret-authority.dev/settings": hashlib.sha256(text.encode()).hexdigest()[:16]
                        },
                    },
                    "spec": self._pod(config.metadata.name),
                },
            },
            opts=self._opts(*accounts, *rights),
        )
        self.register_outputs({"deployment": self.deployment.metadata.name})

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

    def _account(self, account: str) -> k8s.core.v1.ServiceAccount:
        return k8s.core.v1.ServiceAccount(
            f"{self._name}-{account}",
            metadata={"name": account, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
            automount_service_account_token=False,
            opts=self._opts(),
        )

    def _settings(self) -> dict[str, Any]:
        args = self._args
        return {
            "cluster": args.cluster,
            "namespace": ENGINE_NAMESPACE,
            "vaultNamespace": VAULT_NAMESPACE,
            "pods": [f"https://{pod_host(number)}:{PORT}" for number in range(args.vault.replicas)],
            "service": ADDRESS,
            "certificateNames": certificate_names(),
            "shares": args.vault.shares,
            "threshold": args.vault.threshold,
            "recipients": list(args.recipients),
            "serviceAccounts": {
                "engine": [ENGINE_NAMESPACE, ENGINE_ACCOUNT],
                "configurator": [ENGINE_NAMESPACE, CONFIGURATOR_ACCOUNT],
                "auditor": [ENGINE_NAMESPACE, AUDITOR_ACCOUNT],
            },
            "git": {
                "namespace": FLUX_NAMESPACE,
                "source": SOURCE,
                "catalogue": args.catalogue,
                "bootstrap": list(args.bootstrap),
            },
            "identityFile": f"/identity/{IDENTITY_KEY}",
            "vaultTokenFile": "/vault-token/token",
            "caFile": "/tmp/vault-ca.crt",  # noqa: S108
        }

    def _rights(self) -> list[pulumi.Resource]:
        """By namespace. Kubernetes cannot limit `create` to names; everything else is limited to them."""

        def secrets(verbs: list[str], names: Sequence[str]) -> dict[str, Any]:
            return _rule("", "secrets", verbs, names)

        def configs(verbs: list[str], names: Sequence[str]) -> dict[str, Any]:
            return _rule("", "configmaps", verbs, names)

        rules: dict[str, list[dict[str, Any]]] = {
            ENGINE_NAMESPACE: [
                _rule("coordination.k8s.io", "leases", ["create"]),
                _rule("coordination.k8s.io", "leases", ["get", "update"], [ENGINE_ACCOUNT]),
                configs(["create"], []),
                configs(["get", "patch"], ["runtime-authority-status", "vault-ca-bundle", *_AUDIT_CONFIGS]),
                secrets(["create"], []),
                secrets(["get", "patch"], ["vault-ca"]),
            ],
            VAULT_NAMESPACE: [
                configs(["create"], []),
                configs(["get", "patch"], ["vault-initialisation", "vault-ca-bundle"]),
                secrets(["create"], []),
                secrets(["get"], ["vault-unseal-shares"]),
                secrets(["get", "patch"], ["vault-tls"]),
            ],
            FLUX_NAMESPACE: [_rule("source.toolkit.fluxcd.io", "gitrepositories", ["get"], [SOURCE])],
        }
        for namespace, names in self._args.targets.items():
            rules[namespace] = [secrets(["create"], []), secrets(["get", "update", "delete"], names)]
        made: list[pulumi.Resource] = []
        for namespace, granted in rules.items():
            metadata = {"name": ENGINE_ACCOUNT, "namespace": namespace, "labels": MANAGED_BY}
            role = k8s.rbac.v1.Role(f"{self._name}-{namespace}", metadata=metadata, rules=granted, opts=self._opts())
            binding = k8s.rbac.v1.RoleBinding(
                f"{self._name}-{namespace}",
                metadata=metadata,
                role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
                subjects=[{"kind": "ServiceAccount", "name": ENGINE_ACCOUNT, "namespace": ENGINE_NAMESPACE}],
                opts=self._opts(),
            )
            made += [role, binding]
        return made

    def _pod(self, config: pulumi.Input[str]) -> dict[str, Any]:
        token = {"serviceAccountToken": {"path": "token", "audience": AUDIENCE, "expirationSeconds": 600}}
        return {
            "serviceAccountName": ENGINE_ACCOUNT,
            "automountServiceAccountToken": True,
            "terminationGracePeriodSeconds": 30,
            "securityContext": RESTRICTED_POD_WITH_VOLUMES,
            "containers": [
                {
                    "name": "engine",
                    "image": self._args.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["authority", "--settings=/settings/settings.json", "--port=8080"],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": _probe("/readyz", 2, 1),
                    "livenessProbe": _probe("/healthz", 10, 6),
                    "securityContext": RESTRICTED_CONTAINER,
                    "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
                    "volumeMounts": [
                        {"name": "settings", "mountPath": "/settings", "readOnly": True},
                        {"name": "identity", "mountPath": "/identity", "readOnly": True},
                        {"name": "vault-token", "mountPath": "/vault-token", "readOnly": True},
                        {"name": "work", "mountPath": "/tmp"},  # noqa: S108
                    ],
                }
            ],
            "volumes": [
                {"name": "settings", "configMap": {"name": config}},
                {"name": "identity", "secret": {"secretName": IDENTITY_SECRET, "defaultMode": 0o440}},
                {"name": "vault-token", "projected": {"defaultMode": 0o440, "sources": [token]}},
                {"name": "work", "emptyDir": {"medium": "Memory"}},
            ],
        }


def _rule(group: str, resource: str, verbs: list[str], names: Sequence[str] = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [group], "resources": [resource], "verbs": verbs}
    return rule | ({"resourceNames": list(names)} if names else {})


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": period, "failureThreshold": failures}
