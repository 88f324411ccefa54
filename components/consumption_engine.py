"""Layer 5's engine: first values, configuration, delivery of new versions, restarts; and its evidence.

In the cluster it runs `python -m engine consumption` (engine/consumption_loop.py) with an identity of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from authority.catalogue import Catalogue
from components.consumption_vault import CONSUMPTION_ACCOUNT, CONSUMPTION_ROLE, ENTRY_ACCOUNT
from components.eso_manifests import GROUP
from components.failure_reports import report_job
from components.names import ENGINE_NAMESPACE, MANAGED_BY
from components.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from components.settings import Settings
from components.vault_names import ADDRESS, AUDIENCE, CA_CONFIG, CA_KEY

STATUS_CONFIG = "consumption-status"
EVIDENCE = "consumption-evidence"
_APP = {"app": CONSUMPTION_ACCOUNT}


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

    job: k8s.batch.v1.Job

    def __init__(self, name: str, args: ConsumptionEngineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:Engine", name, {}, opts)
        self._name, self._args = name, args
        account = self._account("account", CONSUMPTION_ACCOUNT)
        self._account("entry", ENTRY_ACCOUNT)
        rights = [right for namespace in args.namespaces for right in self._rights(namespace, _consumer_rules())]
        rights += self._rights(ENGINE_NAMESPACE, _own_rules())
        self.deployment = self._deployment([account, *rights])
        self.job = self._evidence_job()
        self.register_outputs({"namespaces": args.namespaces})

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

    def _account(self, short: str, account: str) -> k8s.core.v1.ServiceAccount:
        return k8s.core.v1.ServiceAccount(
            f"{self._name}-{short}",
            metadata=_here(account),
            automount_service_account_token=False,
            opts=self._opts(),
        )

    def _rights(self, namespace: str, rules: list[dict[str, Any]]) -> list[pulumi.Resource]:
        metadata = {"name": CONSUMPTION_ACCOUNT, "namespace": namespace, "labels": MANAGED_BY}
        role = k8s.rbac.v1.Role(f"{self._name}-{namespace}", metadata=metadata, rules=rules, opts=self._opts())
        binding = k8s.rbac.v1.RoleBinding(
            f"{self._name}-{namespace}",
            metadata=metadata,
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": CONSUMPTION_ACCOUNT, "namespace": ENGINE_NAMESPACE}],
            opts=self._opts(),
        )
        return [role, binding]

    def _deployment(self, before: list[pulumi.Resource]) -> k8s.apps.v1.Deployment:
        args = self._args
        task = {
            "cluster": args.cluster,
            "catalogue": args.catalogue.model_dump(mode="json", by_alias=True, exclude_none=True),
            "config": {name: dict(values) for name, values in args.config.items()},
        }
        text = json.dumps(task, sort_keys=True)
        config = k8s.core.v1.ConfigMap(
            f"{self._name}-task",
            metadata=_here(f"{CONSUMPTION_ACCOUNT}-task"),
            data={"task.json": text},
            opts=self._opts(),
        )
        return k8s.apps.v1.Deployment(
            self._name,
            metadata={**_here(CONSUMPTION_ACCOUNT), "labels": {**MANAGED_BY, **_APP}},
            spec={
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": _APP},
                "template": {
                    "metadata": {
                        "labels": {**MANAGED_BY, **_APP},
                        "annotations": {"secret-authority.dev/task": hashlib.sha256(text.encode()).hexdigest()[:16]},
                    },
                    "spec": _engine_pod(args.settings.engine_image, config.metadata.name),
                },
            },
            opts=self._opts(*before),
        )

    def _evidence_job(self) -> k8s.batch.v1.Job:
        """Waits for fresh evidence that every consumer Secret has the newest version; says what is missing."""
        settings = self._args.settings
        wanted = sorted(secret.name for secret in self._args.catalogue if secret.consumers)
        text = "\n".join(wanted)
        run = hashlib.sha256(f"{text}\0{settings.engine_image}".encode()).hexdigest()[:10]
        account = self._account("evidence", EVIDENCE)
        role = k8s.rbac.v1.Role(
            f"{self._name}-evidence",
            metadata=_here(EVIDENCE),
            rules=[
                {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [STATUS_CONFIG], "verbs": ["get"]}
            ],
            opts=self._opts(),
        )
        binding = k8s.rbac.v1.RoleBinding(
            f"{self._name}-evidence",
            metadata=_here(EVIDENCE),
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": EVIDENCE, "namespace": ENGINE_NAMESPACE}],
            opts=self._opts(account),
        )
        names = k8s.core.v1.ConfigMap(
            f"{self._name}-evidence-task",
            metadata=_here(f"{EVIDENCE}-{run}"),
            data={"secrets": text},
            opts=self._opts(),
        )
        return k8s.batch.v1.Job(
            f"{self._name}-evidence",
            metadata=_here(f"{EVIDENCE}-{run}"),
            spec={
                "backoffLimit": 0,
                "activeDeadlineSeconds": settings.ready_timeout_seconds + 60,
                "template": {
                    "metadata": {"labels": {**MANAGED_BY, "app": EVIDENCE}},
                    "spec": _evidence_pod(settings, names.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[self.deployment, binding],
                hooks=pulumi.ResourceHookBinding(
                    on_error=[report_job(settings, ENGINE_NAMESPACE, "report-consumption-job")]
                ),
            ),
        )


def _here(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY}


def _consumer_rules() -> list[dict[str, Any]]:
    """In a consumer namespace: look at and annotate ExternalSecrets and stores, restart workloads. No Secret."""
    verbs = ["get", "list", "patch"]
    return [
        {"apiGroups": [GROUP], "resources": ["externalsecrets", "secretstores"], "verbs": verbs},
        {"apiGroups": ["apps"], "resources": ["deployments", "statefulsets", "daemonsets"], "verbs": verbs},
    ]


def _own_rules() -> list[dict[str, Any]]:
    """In the engine's namespace: its status and its lease."""
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    configs = {"apiGroups": [""], "resources": ["configmaps"]}
    return [
        {**leases, "verbs": ["create"]},
        {**leases, "resourceNames": [CONSUMPTION_ACCOUNT], "verbs": ["get", "update"]},
        {**configs, "verbs": ["create"]},
        {**configs, "resourceNames": [STATUS_CONFIG], "verbs": ["get", "patch"]},
    ]


def _engine_pod(image: str, config: pulumi.Input[str]) -> dict[str, Any]:
    token = {"serviceAccountToken": {"path": "token", "audience": AUDIENCE, "expirationSeconds": 600}}

    def probe(path: str, period: int, failures: int) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": 8080}, "periodSeconds": period, "failureThreshold": failures}

    return {
        "serviceAccountName": CONSUMPTION_ACCOUNT,
        "automountServiceAccountToken": True,
        "securityContext": RESTRICTED_POD_WITH_VOLUMES,
        "containers": [
            {
                "name": "consumption",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    "consumption",
                    "--task=/task/task.json",
                    f"--namespace={ENGINE_NAMESPACE}",
                    f"--vault={ADDRESS}",
                    f"--ca=/vault-ca/{CA_KEY}",
                    f"--role={CONSUMPTION_ROLE}",
                    "--token=/vault-token/token",
                    "--port=8080",
                ],
                "ports": [{"name": "http", "containerPort": 8080}],
                # Alive is enough to be ready: whether everything has arrived is for the evidence to say.
                "readinessProbe": probe("/healthz", 2, 3),
                "livenessProbe": probe("/healthz", 10, 6),
                "securityContext": RESTRICTED_CONTAINER,
                "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                "volumeMounts": [
                    {"name": "task", "mountPath": "/task", "readOnly": True},
                    {"name": "vault-ca", "mountPath": "/vault-ca", "readOnly": True},
                    {"name": "vault-token", "mountPath": "/vault-token", "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "task", "configMap": {"name": config}},
            {"name": "vault-ca", "configMap": {"name": CA_CONFIG}},
            {"name": "vault-token", "projected": {"defaultMode": 0o440, "sources": [token]}},
        ],
    }


def _evidence_pod(settings: Settings, config: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "serviceAccountName": EVIDENCE,
        "automountServiceAccountToken": True,
        "securityContext": RESTRICTED_POD_WITH_VOLUMES,
        "containers": [
            {
                "name": "evidence",
                "image": settings.engine_image,
                "imagePullPolicy": "IfNotPresent",
                "args": [
                    "consumption-evidence",
                    f"--namespace={ENGINE_NAMESPACE}",
                    "--secrets=/task/secrets",
                    f"--seconds={settings.ready_timeout_seconds}",
                ],
                "securityContext": RESTRICTED_CONTAINER,
                "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": [{"name": "task", "mountPath": "/task", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "task", "configMap": {"name": config}}],
    }
