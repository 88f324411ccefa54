"""The CronJob that verifies the newest snapshot: a real restore into a server of its own, four times a day.

Its pod has no token, no way out but to the store, and no way in. What it found is in its status, where the engine of
snapshots reads it (docs/decisions/0022-verified-by-a-pod-without-rights.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.network import NamespacePolicies, dns, ports
from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD_WITH_VOLUMES
from components.kit.rbac import engine_account, metadata
from components.settings.stack import Settings
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    IDENTITY_KEY,
    IDENTITY_SECRET,
    MANAGED_BY,
    PREPARE_CONTAINER,
    SEAL_KEY,
    SNAPSHOT_READER,
    SNAPSHOT_STATUS,
    SNAPSHOT_VERIFIER,
    VERIFY_CONTAINER,
)

# `core.snapshots.verification.VERIFIED_AT_MOST` allows for it.
SCHEDULE = "17 */6 * * *"
# A pod that waits for a missing Secret, or a store that hangs, ends as well.
DEADLINE_SECONDS = 1800
_LABELS = {**MANAGED_BY, "app": SNAPSHOT_VERIFIER}
_SETTINGS, _READER, _IDENTITY, _SEAL = "/settings", f"/{SNAPSHOT_READER}", "/identity", "/seal"
_FOLDER = "/throwaway"
_SMALL = {"requests": {"cpu": "20m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
# Storage in memory counts as the server's.
_SERVER = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


@dataclass(frozen=True)
class Verification:
    """`config`: the ConfigMap with the settings of the engine of snapshots. `vault_image`: the one of the cluster."""

    settings: Settings
    config: str
    vault_image: str
    store_port: int

    def create(self, name: str, parent: pulumi.Resource, after: Sequence[pulumi.Resource]) -> k8s.batch.v1.CronJob:
        """Register the account, its network and the CronJob, which waits for `after`."""
        account = engine_account(f"{name}-account", parent, SNAPSHOT_VERIFIER)
        own = NamespacePolicies(name, parent, ENGINE_NAMESPACE, [])
        ways = [dns(self.settings.network), {"ports": ports(self.store_port)}]
        selector = {"matchLabels": {"app": SNAPSHOT_VERIFIER}}
        network = own.policy("allow-snapshot-verifier", selector, egress=ways)
        return k8s.batch.v1.CronJob(
            name,
            metadata=metadata(SNAPSHOT_VERIFIER),
            spec={
                "schedule": SCHEDULE,
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "successfulJobsHistoryLimit": 1,
                "failedJobsHistoryLimit": 1,
                "jobTemplate": {
                    "spec": {
                        "backoffLimit": 2,
                        "activeDeadlineSeconds": DEADLINE_SECONDS,
                        "template": {"metadata": {"labels": _LABELS}, "spec": self.pod()},
                    }
                },
            },
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[account, network, *after]),
        )

    def pod(self) -> dict[str, Any]:
        shared = {"name": "throwaway", "mountPath": _FOLDER}
        server = {
            "name": "vault",
            "image": self.vault_image,
            "imagePullPolicy": "IfNotPresent",
            # Beside the containers that follow, and ended with them (Kubernetes 1.29).
            "restartPolicy": "Always",
            "command": ["/bin/vault", "server", f"-config={_FOLDER}/config.json"],
            # A restore is written to a temporary file first, and there is no other place to write to.
            "env": [{"name": name, "value": _FOLDER} for name in ("HOME", "TMPDIR")],
            "securityContext": RESTRICTED_CONTAINER,
            "resources": _SERVER,
            "volumeMounts": [shared],
        }
        return {
            "restartPolicy": "Never",
            "serviceAccountName": SNAPSHOT_VERIFIER,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": RESTRICTED_POD_WITH_VOLUMES,
            "initContainers": [
                self._container(PREPARE_CONTAINER, "prepare-verification", [], [shared]),
                server,
            ],
            "containers": [
                self._container(
                    VERIFY_CONTAINER,
                    "verify-snapshot",
                    [f"--seal={_SEAL}/{SEAL_KEY}"],
                    [{**shared, "readOnly": True}, {"name": "seal", "mountPath": _SEAL, "readOnly": True}],
                )
            ],
            "volumes": [
                {"name": "settings", "configMap": {"name": self.config}},
                # Without it the pod says so.
                {
                    "name": "seal",
                    "configMap": {
                        "name": SNAPSHOT_STATUS,
                        "items": [{"key": SEAL_KEY, "path": SEAL_KEY}],
                        "optional": True,
                    },
                },
                {"name": "reader", "secret": {"secretName": SNAPSHOT_READER, "defaultMode": 0o440}},
                {"name": "identity", "secret": {"secretName": IDENTITY_SECRET, "defaultMode": 0o440}},
                {"name": "throwaway", "emptyDir": {"medium": "Memory", "sizeLimit": "512Mi"}},
            ],
        }

    def _container(self, name: str, verb: str, more: list[str], mounts: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "name": name,
            "image": self.settings.engine_image,
            "imagePullPolicy": "IfNotPresent",
            "args": [
                verb,
                f"--settings={_SETTINGS}/settings.json",
                f"--credentials={_READER}",
                f"--identity={_IDENTITY}/{IDENTITY_KEY}",
                f"--folder={_FOLDER}",
                *more,
            ],
            "securityContext": RESTRICTED_CONTAINER,
            "resources": _SMALL,
            "volumeMounts": [
                {"name": "settings", "mountPath": _SETTINGS, "readOnly": True},
                {"name": "reader", "mountPath": _READER, "readOnly": True},
                {"name": "identity", "mountPath": _IDENTITY, "readOnly": True},
                *mounts,
            ],
        }
