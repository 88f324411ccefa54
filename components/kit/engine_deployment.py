"""A program of the engine that runs all the time: one pod, its settings file, and its restart when they change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from components.kit.rbac import metadata
from secret_authority.contract.names import (
    AUDIENCE,
    CA_CONFIG,
    CA_KEY,
    DOMAIN,
    ENGINE_NAMESPACE,
    MANAGED_BY,
    VAULT_ADDRESS,
)

_PORT = 8080
# A short-lived token that is good for Vault only.
TOKEN_FILE = "/vault-token/token"
TOKEN_MOUNT: dict[str, Any] = {"name": "vault-token", "mountPath": "/vault-token", "readOnly": True}
_TOKEN = {"serviceAccountToken": {"path": "token", "audience": AUDIENCE, "expirationSeconds": 600}}
TOKEN_VOLUME: dict[str, Any] = {"name": "vault-token", "projected": {"defaultMode": 0o440, "sources": [_TOKEN]}}
CA_MOUNT: dict[str, Any] = {"name": CA_CONFIG, "mountPath": f"/{CA_CONFIG}", "readOnly": True}
CA_VOLUME: dict[str, Any] = {"name": CA_CONFIG, "configMap": {"name": CA_CONFIG}}


def vault_arguments(role: str) -> list[str]:
    """How a program with both mounts reaches Vault as `role`."""
    return [
        f"--namespace={ENGINE_NAMESPACE}",
        f"--vault={VAULT_ADDRESS}",
        f"--ca=/{CA_CONFIG}/{CA_KEY}",
        f"--role={role}",
        f"--token={TOKEN_FILE}",
    ]


def probe(path: str, period: int, failures: int) -> dict[str, Any]:
    """Ask the program's port every `period` seconds; so many failures in a row mean no."""
    return {"httpGet": {"path": path, "port": _PORT}, "periodSeconds": period, "failureThreshold": failures}


@dataclass(frozen=True)
class EngineProgram:
    """`account` names the Deployment, its label and its identity; `container` its container.

    `file` ("settings") is what the program's file is called: it holds `text`, is mounted as
    /settings/settings.json and given as `--settings=`, after `verb` and before `args`. `mounts` and `volumes`
    are added. `grace_seconds`: how long the program gets to end.
    """

    account: str
    container: str
    image: str
    file: str
    text: str
    verb: str
    args: Sequence[str]
    readiness: Mapping[str, Any]
    resources: Mapping[str, Any]
    mounts: Sequence[Mapping[str, Any]]
    volumes: Sequence[Mapping[str, Any]]
    annotations: Mapping[str, str] | None = None
    grace_seconds: int | None = None

    def deploy(self, name: str, parent: pulumi.Resource, after: Sequence[pulumi.Resource]) -> k8s.apps.v1.Deployment:
        """Register the file's ConfigMap and the Deployment, which waits for `after`."""
        config = k8s.core.v1.ConfigMap(
            f"{name}-{self.file}",
            metadata=metadata(f"{self.account}-{self.file}"),
            data={f"{self.file}.json": self.text},
            opts=pulumi.ResourceOptions(parent=parent),
        )
        selector = {"app": self.account}
        labels = {**MANAGED_BY, **selector}
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:16]
        annotations = {"annotations": self.annotations} if self.annotations else {}
        return k8s.apps.v1.Deployment(
            name,
            metadata={**metadata(self.account), "labels": labels, **annotations},
            spec={
                "replicas": 1,
                # Never two at once, also not during an update.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": selector},
                "template": {
                    # Another file, another pod: the program reads it once.
                    "metadata": {"labels": labels, "annotations": {f"{DOMAIN}/{self.file}": digest}},
                    "spec": self.pod(config.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after)),
        )

    def pod(self, config: pulumi.Input[str]) -> dict[str, Any]:
        """The pod's specification, with the file from the ConfigMap `config`."""
        grace = {} if self.grace_seconds is None else {"terminationGracePeriodSeconds": self.grace_seconds}
        return {
            "serviceAccountName": self.account,
            "automountServiceAccountToken": True,
            **grace,
            "securityContext": RESTRICTED_POD_WITH_VOLUMES,
            "containers": [
                {
                    "name": self.container,
                    "image": self.image,
                    "imagePullPolicy": "IfNotPresent",
                    "args": [
                        self.verb,
                        f"--{self.file}=/{self.file}/{self.file}.json",
                        *self.args,
                        f"--port={_PORT}",
                    ],
                    "ports": [{"name": "http", "containerPort": _PORT}],
                    "readinessProbe": self.readiness,
                    "livenessProbe": probe("/healthz", 10, 6),
                    "securityContext": RESTRICTED_CONTAINER,
                    "resources": self.resources,
                    "volumeMounts": [
                        {"name": self.file, "mountPath": f"/{self.file}", "readOnly": True},
                        *self.mounts,
                    ],
                }
            ],
            "volumes": [{"name": self.file, "configMap": {"name": config}}, *self.volumes],
        }
