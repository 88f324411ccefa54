"""The layer of bootstrap secrets. Encrypted in Git, materialised by Flux in few namespaces, used by no workload.

Pulumi touches none of the Secrets: it declares who may hold them, lets Flux apply them, and waits for the
evidence that they hold what Git says. RFC-SECOPS-0001 §3.2, phase 2, and §5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.bootstrap.pod_guard import BootstrapGuard, BootstrapGuardArgs
from components.gitops.gitops import GitOps
from components.kit.evidence_job import EvidenceJob
from components.kit.evidence_output import bootstrap_line, published_evidence
from components.kit.flux_objects import BOOTSTRAP_SECRETS, bind_role, kustomization, reconciler, reporting
from components.kit.pod_security import RESTRICTED_POD_WITH_VOLUMES
from components.kit.rbac import engine_account, grant
from components.settings.stack import Settings
from secret_authority.access.cluster_state import ClusterState
from secret_authority.contract.evidence_task import EvidenceTask
from secret_authority.contract.names import (
    BOOTSTRAP_EVIDENCE,
    CLASS_LABEL,
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_KEY,
    IDENTITY_SECRET,
    MANAGED_BY,
    SOURCE,
    layer_type,
)
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.claims.serialization import encode_claim
from secret_authority.core.ledger.published_trail import MOST_PIECES, piece_name
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.digest import intent_digest
from secret_authority.repository.intent.intent import Intent

KUSTOMIZATION = BOOTSTRAP_SECRETS


@dataclass(frozen=True)
class BootstrapSecretsArgs:
    """`intent` is the checked intent of Git; `cluster` what was seen of the cluster; `gitops` the layer below."""

    settings: Settings
    intent: Intent
    cluster: ClusterState
    gitops: GitOps


class BootstrapSecrets(pulumi.ComponentResource):
    """The decrypting Kustomization, its narrow rights, the guard against use, and the evidence.

    Ready when every bootstrap Secret of the catalogue exists with the value that Git's ciphertext decrypts
    to. The comparison runs inside the cluster.
    """

    claims: pulumi.Output[list[dict[str, Any]]]
    phase: pulumi.Output[int]
    evidence: pulumi.Output[str]
    job: k8s.batch.v1.Job

    def __init__(self, name: str, args: BootstrapSecretsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(layer_type("BootstrapSecrets"), name, {}, opts)
        self._name, self._args = name, args
        self._targets = _targets(args.intent)
        guard = BootstrapGuard(f"{name}-guard", BootstrapGuardArgs(self._targets), self._opts())
        applied = self._kustomizations([guard])
        self.job = self._evidence_job(applied)
        self.claims = pulumi.Output.from_input([encode_claim(claim) for claim in args.intent.claims])
        self.phase = pulumi.Output.from_input(args.settings.phase.value)
        self.evidence = published_evidence(args.settings, self.job, BOOTSTRAP_EVIDENCE, bootstrap_line)
        self.register_outputs(
            {
                "claims": self.claims,
                "phase": self.phase,
                "catalogue": args.intent.catalogue.model_dump(mode="json", by_alias=True, exclude_none=True),
                "evidence": self.evidence,
            }
        )

    def _opts(
        self, *depends_on: pulumi.Resource, hooks: pulumi.ResourceHookBinding | None = None
    ) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on), hooks=hooks)

    def _kustomizations(self, before: list[pulumi.Resource]) -> list[pulumi.Resource]:
        """One Kustomization over the encrypted folders, applied by an account that may write Secrets there only."""
        gitops, layout = self._args.gitops, self._args.intent.layout
        account = reconciler(self._name, self, KUSTOMIZATION, gitops.flux_namespace)
        rights: list[pulumi.Resource] = [account]
        for namespace in self._args.intent.catalogue.bootstrap_namespaces:
            role = k8s.rbac.v1.Role(
                f"{self._name}-{namespace}-reconcile",
                metadata={"name": "reconcile-bootstrap-secrets", "namespace": namespace, "labels": MANAGED_BY},
                rules=[
                    {
                        "apiGroups": [""],
                        "resources": ["secrets"],
                        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
                    }
                ],
                opts=self._opts(gitops.namespaces),
            )
            prefix = f"{self._name}-{namespace}"
            rights += [
                role,
                bind_role(prefix, self, "reconcile-bootstrap-secrets", namespace, account.metadata.name, role),
            ]
        return [
            kustomization(
                f"{self._name}-{index}",
                self._kustomization_names()[index],
                self._args.settings,
                {
                    "path": f"./{folder}",
                    "prune": True,
                    "wait": True,
                    "serviceAccountName": f"reconcile-{KUSTOMIZATION}",
                    "decryption": {"provider": "sops", "secretRef": {"name": IDENTITY_SECRET}},
                    # Labels for people and for the guard; the repository's files stay as they are.
                    "commonMetadata": self._common_metadata(),
                },
                self._opts(gitops.namespaces, *rights, *before, hooks=reporting(gitops.report_kustomization)),
            )
            for index, folder in enumerate(layout.bootstrap)
        ]

    def _kustomization_names(self) -> list[str]:
        """One for each encrypted folder."""
        count = len(self._args.intent.layout.bootstrap)
        return [KUSTOMIZATION, *(f"{KUSTOMIZATION}-{index}" for index in range(1, count))]

    def _common_metadata(self) -> dict[str, Any]:
        common: dict[str, Any] = {"labels": {**MANAGED_BY, CLASS_LABEL: SecretClass.BOOTSTRAP.value}}
        if self._args.settings.phase >= Phase.RUNTIME_AUTHORITY:
            # From here on a Secret that exists is left alone: one that is handed over stays empty.
            common["annotations"] = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
        return common

    def _evidence_job(self, applied: list[pulumi.Resource]) -> k8s.batch.v1.Job:
        intent, settings = self._args.intent, self._args.settings
        layout = intent.layout
        task = EvidenceTask(
            source=SOURCE,
            kustomizations=tuple(self._kustomization_names()),
            catalogue=layout.catalogue,
            bootstrap=tuple(layout.bootstrap),
            digest=intent_digest(intent.root, layout.catalogue, layout.bootstrap),
            deadline_seconds=settings.ready_timeout_seconds,
        )
        evidence = EvidenceJob(
            settings,
            BOOTSTRAP_EVIDENCE,
            Phase.BOOTSTRAP,
            task={"task.json": task.to_json()},
            args=[
                BOOTSTRAP_EVIDENCE,
                "--task=/task/task.json",
                f"--identity=/identity/{IDENTITY_KEY}",
                f"--publish={ENGINE_NAMESPACE}/{BOOTSTRAP_EVIDENCE}",
            ],
            resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            security=RESTRICTED_POD_WITH_VOLUMES,
            mounts=[
                {"name": "identity", "mountPath": "/identity", "readOnly": True},
                {"name": "work", "mountPath": "/tmp"},  # noqa: S108
            ],
            volumes=[
                {"name": "identity", "secret": {"secretName": IDENTITY_SECRET, "defaultMode": 0o440}},
                # The fetched Git tree: ciphertext only, in memory, gone with the pod.
                {"name": "work", "emptyDir": {"medium": "Memory"}},
            ],
        )
        return evidence.create(self._name, self, [*applied, *self._evidence_rights()])

    def _evidence_rights(self) -> list[pulumi.Resource]:
        """The Job may read the Secrets of the catalogue by name, Flux's two objects, and write its ConfigMap."""
        account = engine_account(f"{self._name}-evidence", self, BOOTSTRAP_EVIDENCE)
        rules: dict[str, list[dict[str, Any]]] = {
            FLUX_NAMESPACE: [
                _reads("source.toolkit.fluxcd.io", "gitrepositories", [SOURCE]),
                _reads("kustomize.toolkit.fluxcd.io", "kustomizations", self._kustomization_names()),
            ],
            ENGINE_NAMESPACE: [
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "resourceNames": [BOOTSTRAP_EVIDENCE],
                    "verbs": ["update"],
                },
                # A Secret that was handed over is empty; the published audit trail says whether it was.
                _reads("", "configmaps", [piece_name(number) for number in range(MOST_PIECES)]),
            ],
        }
        for namespace, names in self._targets.items():
            rules[namespace] = [_reads("", "secrets", names)]
        made: list[pulumi.Resource] = [account]
        for namespace, granted in rules.items():
            made += grant(
                f"{self._name}-{namespace}-evidence",
                self,
                BOOTSTRAP_EVIDENCE,
                namespace,
                granted,
                role_after=[self._args.gitops.namespaces],
                binding_after=[account],
            )
        return made


def _targets(intent: Intent) -> dict[str, list[str]]:
    """The bootstrap Secrets of the catalogue by namespace."""
    found: dict[str, set[str]] = {}
    for secret in intent.catalogue.of_class(SecretClass.BOOTSTRAP):
        if secret.bootstrap:
            found.setdefault(secret.bootstrap.namespace, set()).add(secret.bootstrap.secret)
    return {namespace: sorted(names) for namespace, names in sorted(found.items())}


def _reads(group: str, resource: str, names: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": ["get"]}
