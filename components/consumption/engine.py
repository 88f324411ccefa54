"""The engine of consumption: first values, configuration, delivery of new versions, restarts; and its evidence.

In the cluster it runs `python -m secret_authority.engine consumption` with an identity of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.engine_guard import EngineGuard, EngineGuardArgs
from components.consumption.external_secrets_manifests import GROUP
from components.kit.engine_deployment import TOKEN_FILE, TOKEN_MOUNT, TOKEN_VOLUME, EngineProgram, probe
from components.kit.evidence_job import status_evidence, status_reader
from components.kit.pod_security import RESTRICTED_POD_WITH_VOLUMES
from components.kit.rbac import engine_account, grant
from components.settings.stack import Settings
from secret_authority.contract.consumption_settings import ConsumptionSettings
from secret_authority.contract.names import (
    CA_CONFIG,
    CA_KEY,
    CONSUMPTION_ACCOUNT,
    CONSUMPTION_EVIDENCE,
    CONSUMPTION_FILE,
    CONSUMPTION_ROLE,
    CONSUMPTION_STATUS,
    ENGINE_NAMESPACE,
    ENTRY_ACCOUNT,
    VAULT_ADDRESS,
    VERSIONS_ROLE,
)
from secret_authority.core.catalogue.schema import Catalogue
from secret_authority.core.phases import Phase


@dataclass(frozen=True)
class ConsumptionEngineArgs:
    """`config`: values of class config by entry, as Git holds them in plain text."""

    settings: Settings
    cluster: str
    catalogue: Catalogue
    config: Mapping[str, Mapping[str, str]]

    @property
    def namespaces(self) -> list[str]:
        return sorted({consumer.namespace for secret in self.catalogue for consumer in secret.consumers})


class ConsumptionEngine(pulumi.ComponentResource):
    """The engine's Deployment, the account of `secret-authority enter`, and the Job that waits for evidence."""

    deployment: k8s.apps.v1.Deployment
    job: k8s.batch.v1.Job

    def __init__(self, name: str, args: ConsumptionEngineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:Engine", name, {}, opts)
        account = engine_account(f"{name}-account", self, CONSUMPTION_ACCOUNT)
        engine_account(f"{name}-entry", self, ENTRY_ACCOUNT)
        guard = EngineGuard(f"{name}-guard", EngineGuardArgs(), pulumi.ResourceOptions(parent=self))
        rules = {**{namespace: consumer_rules() for namespace in args.namespaces}, ENGINE_NAMESPACE: own_rules()}
        rights = [
            right
            for namespace, granted in rules.items()
            for right in grant(
                f"{name}-{namespace}", self, CONSUMPTION_ACCOUNT, namespace, granted, binding_after=[guard.binding]
            )
        ]
        program = consumption_program(
            args.settings.engine_image, ConsumptionSettings(args.cluster, args.catalogue, args.config).to_json()
        )
        self.deployment = program.deploy(name, self, [account, *rights])
        self.job = self._evidence_job(name, args)
        self.register_outputs({"namespaces": args.namespaces})

    def _evidence_job(self, name: str, args: ConsumptionEngineArgs) -> k8s.batch.v1.Job:
        """Waits for fresh evidence that every consumer Secret has the newest version; says what is missing."""
        binding = status_reader(name, self, CONSUMPTION_EVIDENCE, CONSUMPTION_STATUS)
        names = [secret.name for secret in args.catalogue if secret.consumers]
        evidence = replace(
            status_evidence(args.settings, CONSUMPTION_EVIDENCE, Phase.CONSUMPTION, names),
            security=RESTRICTED_POD_WITH_VOLUMES,
        )
        return evidence.create(name, self, [self.deployment, binding], "report-consumption-job")


def consumer_rules() -> list[dict[str, Any]]:
    """In a consumer namespace: annotate ExternalSecrets, keep the CA of stores, restart workloads. No Secret."""
    verbs = ["get", "list", "patch"]
    return [
        {"apiGroups": [GROUP], "resources": ["externalsecrets", "secretstores"], "verbs": verbs},
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": verbs},
    ]


def own_rules() -> list[dict[str, Any]]:
    """In the engine's namespace: its status and its lease."""
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    configs = {"apiGroups": [""], "resources": ["configmaps"]}
    return [
        {**leases, "verbs": ["create"]},
        {**leases, "resourceNames": [CONSUMPTION_ACCOUNT], "verbs": ["get", "update"]},
        {**configs, "verbs": ["create"]},
        {**configs, "resourceNames": [CONSUMPTION_STATUS], "verbs": ["get", "patch"]},
    ]


def consumption_program(image: str, task: str) -> EngineProgram:
    """The engine of consumption with its `task` as JSON."""
    return EngineProgram(
        CONSUMPTION_ACCOUNT,
        "consumption",
        image,
        file=CONSUMPTION_FILE,
        text=task,
        verb="consumption",
        args=[
            f"--namespace={ENGINE_NAMESPACE}",
            f"--vault={VAULT_ADDRESS}",
            f"--ca=/vault-ca/{CA_KEY}",
            f"--role={CONSUMPTION_ROLE}",
            f"--versions-role={VERSIONS_ROLE}",
            f"--token={TOKEN_FILE}",
        ],
        # Alive is enough to be ready: whether everything has arrived is for the evidence to say.
        readiness=probe("/healthz", 2, 3),
        resources={"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        mounts=[{"name": "vault-ca", "mountPath": "/vault-ca", "readOnly": True}, TOKEN_MOUNT],
        volumes=[{"name": "vault-ca", "configMap": {"name": CA_CONFIG}}, TOKEN_VOLUME],
    )
