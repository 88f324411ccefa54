"""The engine's Deployment: its settings, its identity and the few rights it has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.engine_program import TOKEN_FILE, TOKEN_MOUNT, TOKEN_VOLUME, EngineProgram, probe
from components.engine_rights import engine_account, grant
from components.gitops import SOURCE
from components.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, IDENTITY_KEY, IDENTITY_SECRET
from components.vault_names import (
    ADDRESS,
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


@dataclass(frozen=True)
class EngineArgs:
    """`targets`: names of bootstrap Secrets by namespace. `recipients`: whom the unseal shares are encrypted to.

    `timeout_seconds`: how long Vault may take until every pod is in service.
    """

    vault: VaultSettings
    image: str
    cluster: str
    catalogue: str
    bootstrap: Sequence[str]
    recipients: Sequence[str]
    targets: Mapping[str, Sequence[str]]
    timeout_seconds: int


class VaultEngine(pulumi.ComponentResource):
    """One engine in the cluster. Ready when every Vault pod is initialised, unsealed and configured."""

    deployment: k8s.apps.v1.Deployment

    def __init__(self, name: str, args: EngineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:vault:Engine", name, {}, opts)
        self._name, self._args = name, args
        accounts = [
            engine_account(f"{name}-{account}", self, account)
            for account in (ENGINE_ACCOUNT, CONFIGURATOR_ACCOUNT, AUDITOR_ACCOUNT)
        ]
        self.deployment = self._program().deploy(name, self, [*accounts, *self._rights()])
        self.register_outputs({"deployment": self.deployment.metadata.name})

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
            "vaultTokenFile": TOKEN_FILE,
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
        return [
            right
            for namespace, granted in rules.items()
            for right in grant(f"{self._name}-{namespace}", self, ENGINE_ACCOUNT, namespace, granted)
        ]

    def _program(self) -> EngineProgram:
        return EngineProgram(
            ENGINE_ACCOUNT,
            "engine",
            self._args.image,
            file="settings",
            text=json.dumps(self._settings(), sort_keys=True),
            verb="authority",
            args=[],
            readiness=probe("/readyz", 2, 1),
            resources={"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
            mounts=[
                {"name": "identity", "mountPath": "/identity", "readOnly": True},
                TOKEN_MOUNT,
                {"name": "work", "mountPath": "/tmp"},  # noqa: S108
            ],
            volumes=[
                {"name": "identity", "secret": {"secretName": IDENTITY_SECRET, "defaultMode": 0o440}},
                TOKEN_VOLUME,
                {"name": "work", "emptyDir": {"medium": "Memory"}},
            ],
            annotations={"pulumi.com/timeoutSeconds": str(self._args.timeout_seconds)},
            grace_seconds=30,
        )


def _rule(group: str, resource: str, verbs: list[str], names: Sequence[str] = ()) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [group], "resources": [resource], "verbs": verbs}
    return rule | ({"resourceNames": list(names)} if names else {})
