"""A layer's evidence: a Job in the cluster that waits for it, and fails with what is missing.

RFC-SECOPS-0001 §3.2: nothing of a layer is made before the layer below has shown that it works. Evidence of that one
is asked for again when the phase rises, so a layer is never built on what was found days ago.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.failure_reports import report_job
from components.kit.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD
from components.kit.rbac import engine_account, grant, metadata
from components.settings.stack import Settings
from secret_authority.contract.names import ENGINE_NAMESPACE, MANAGED_BY
from secret_authority.core.phases import Phase

_SMALL = {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "128Mi"}}
# Beyond the program's own deadline, so that it can say what is missing.
_SPARE_SECONDS = 60


@dataclass(frozen=True)
class EvidenceJob:
    """`name` is that of the Job's account and label in the cluster, and the beginning of its own.

    `phase` is the one that the evidence is of. `task`: the files at /task, that is, what it is about. Another
    task or engine asks for new evidence, and so does the rise to the next phase; else the Job stays as it is.
    `args`: the engine's verb and its arguments. `mounts` and `volumes` are added to the task's.
    """

    settings: Settings
    name: str
    phase: Phase
    task: Mapping[str, str]
    args: Sequence[str]
    resources: Mapping[str, Any]
    security: Mapping[str, Any]
    mounts: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Mapping[str, Any]] = ()

    def create(
        self, prefix: str, parent: pulumi.Resource, after: Sequence[pulumi.Resource], hook: str = "report-job"
    ) -> k8s.batch.v1.Job:
        """Register the task and the Job, which waits for `after`. A failure is reported by the error hook `hook`."""
        rise = min(self.settings.phase, self.phase + 1)
        asked = json.dumps([int(rise), self.settings.engine_image, dict(self.task)], sort_keys=True)
        name = f"{self.name}-{hashlib.sha256(asked.encode()).hexdigest()[:10]}"
        config = k8s.core.v1.ConfigMap(
            f"{prefix}-evidence-task",
            metadata=metadata(name),
            data=dict(self.task),
            # One that is asked for once more keeps its name: deleted late, the old one would take the new one along.
            opts=pulumi.ResourceOptions(parent=parent, delete_before_replace=True),
        )
        return k8s.batch.v1.Job(
            f"{prefix}-evidence",
            # A Job that failed is replaced by the next run.
            metadata={**metadata(name), "annotations": {"pulumi.com/replaceUnready": "true"}},
            spec={
                "backoffLimit": 0,
                "activeDeadlineSeconds": self.settings.ready_timeout_seconds + _SPARE_SECONDS,
                "template": {
                    "metadata": {"labels": {**MANAGED_BY, "app": self.name}},
                    "spec": self._pod(config.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=list(after),
                delete_before_replace=True,
                hooks=pulumi.ResourceHookBinding(on_error=[report_job(self.settings, ENGINE_NAMESPACE, hook)]),
            ),
        )

    def _pod(self, config: pulumi.Input[str]) -> dict[str, Any]:
        return {
            "restartPolicy": "Never",
            "serviceAccountName": self.name,
            "automountServiceAccountToken": True,
            "securityContext": self.security,
            "containers": [
                {
                    "name": "evidence",
                    "image": self.settings.engine_image,
                    "imagePullPolicy": "IfNotPresent",
                    # The end of the log, for a reason that the program could not write because it crashed.
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "args": list(self.args),
                    "securityContext": RESTRICTED_CONTAINER,
                    "resources": self.resources,
                    "volumeMounts": [{"name": "task", "mountPath": "/task", "readOnly": True}, *self.mounts],
                }
            ],
            "volumes": [{"name": "task", "configMap": {"name": config}}, *self.volumes],
        }


def status_evidence(settings: Settings, name: str, phase: Phase, secrets: Sequence[str]) -> EvidenceJob:
    """A Job that waits until the engine's fresh status covers these secrets of the catalogue; `name` is its verb."""
    text = "\n".join(sorted(secrets))
    return EvidenceJob(
        settings,
        name,
        phase,
        task={"secrets": text},
        args=[
            name,
            f"--namespace={ENGINE_NAMESPACE}",
            "--secrets=/task/secrets",
            f"--seconds={settings.ready_timeout_seconds}",
        ],
        resources=_SMALL,
        security=RESTRICTED_POD,
    )


def status_reader(prefix: str, parent: pulumi.Resource, account: str, status: str) -> pulumi.Resource:
    """The account of such a Job: it reads the ConfigMap `status` of the engine. Returns the last object."""
    made = engine_account(f"{prefix}-evidence", parent, account)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [status], "verbs": ["get"]}]
    *_, binding = grant(f"{prefix}-evidence", parent, account, ENGINE_NAMESPACE, rules, binding_after=[made])
    return binding
