"""The engine's Deployment: its settings, its identity and the few rights it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.engine_deployment import TOKEN_FILE, TOKEN_MOUNT, TOKEN_VOLUME, EngineProgram, probe
from components.kit.rbac import engine_account, grant
from components.runtime_authority.vault_config import certificate_names
from components.settings.vault import VaultSettings
from secret_authority.contract.engine_settings import EngineSettings, GitPlaces, Identities
from secret_authority.contract.names import (
    AUDITOR_ACCOUNT,
    CA_CONFIG,
    CA_SECRET,
    CONFIGURATOR_ACCOUNT,
    ENGINE_ACCOUNT,
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    HANDOVER_STATUS,
    IDENTITY_KEY,
    IDENTITY_SECRET,
    INITIALISATION,
    RESTORE_RECORD,
    SOURCE,
    TLS_SECRET,
    UNSEAL_SHARES,
    VAULT_ADDRESS,
    VAULT_NAMESPACE,
    VAULT_PORT,
    pod_host,
)
from secret_authority.core.ledger.published_trail import MOST_PIECES, piece_name
from secret_authority.core.recipients import Admission

_AUDIT_CONFIGS = [piece_name(number) for number in range(MOST_PIECES)]


@dataclass(frozen=True)
class RuntimeAuthorityEngineArgs:
    """`targets`: names of bootstrap Secrets by namespace. `admitted`: the checked entries of the catalogue, as
    `admitted_entries` gives them. `admission`: to whom the unseal shares are encrypted.

    `timeout_seconds`: how long Vault may take until every pod is in service. `awaited_snapshot`: what Vault is restored
    from before anything is handed over; empty for nothing.
    """

    vault: VaultSettings
    image: str
    cluster: str
    catalogue: str
    bootstrap: Sequence[str]
    admission: Admission
    targets: Mapping[str, Sequence[str]]
    admitted: Mapping[str, str]
    timeout_seconds: int
    awaited_snapshot: str = ""


class RuntimeAuthorityEngine(pulumi.ComponentResource):
    """One engine in the cluster. Ready when every Vault pod is initialised, unsealed and configured."""

    deployment: k8s.apps.v1.Deployment

    def __init__(self, name: str, args: RuntimeAuthorityEngineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:vault:Engine", name, {}, opts)
        self._name, self._args = name, args
        accounts = [
            engine_account(f"{name}-{account}", self, account)
            for account in (ENGINE_ACCOUNT, CONFIGURATOR_ACCOUNT, AUDITOR_ACCOUNT)
        ]
        self.deployment = self._program().deploy(name, self, [*accounts, *self._rights()])
        self.register_outputs({"deployment": self.deployment.metadata.name})

    def _settings(self) -> EngineSettings:
        args = self._args
        return EngineSettings(
            cluster=args.cluster,
            namespace=ENGINE_NAMESPACE,
            vault_namespace=VAULT_NAMESPACE,
            pods=tuple(f"https://{pod_host(number)}:{VAULT_PORT}" for number in range(args.vault.replicas)),
            service=VAULT_ADDRESS,
            certificate_names=tuple(certificate_names()),
            shares=args.vault.shares,
            threshold=args.vault.threshold,
            admission=args.admission,
            identities=Identities(
                engine=(ENGINE_NAMESPACE, ENGINE_ACCOUNT),
                configurator=(ENGINE_NAMESPACE, CONFIGURATOR_ACCOUNT),
                auditor=(ENGINE_NAMESPACE, AUDITOR_ACCOUNT),
            ),
            git=GitPlaces(FLUX_NAMESPACE, SOURCE, args.catalogue, tuple(args.bootstrap)),
            admitted=args.admitted,
            identity_file=Path(f"/identity/{IDENTITY_KEY}"),
            vault_token_file=Path(TOKEN_FILE),
            ca_file=Path("/tmp/vault-ca.crt"),  # noqa: S108
            awaited_snapshot=args.awaited_snapshot,
        )

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
                configs(["get", "patch"], [HANDOVER_STATUS, CA_CONFIG, *_AUDIT_CONFIGS]),
                secrets(["create"], []),
                secrets(["get", "patch"], [CA_SECRET]),
            ],
            VAULT_NAMESPACE: [
                configs(["create"], []),
                configs(["get", "patch"], [INITIALISATION, CA_CONFIG]),
                configs(["get"], [RESTORE_RECORD]),
                secrets(["create"], []),
                # Stored shares are immutable: what `update` changes is the placeholder of a cleared Vault.
                secrets(["get", "update"], [UNSEAL_SHARES]),
                secrets(["get", "patch"], [TLS_SECRET]),
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
            text=self._settings().to_json(),
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
