"""Layer 4: the runtime authority. Vault comes up, is configured, and takes over authority secret by secret.

RFC-SECOPS-0001 §3.2 (phase 3) and §5. The engine alone moves authority; Pulumi builds what it needs and
waits for its evidence.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from authority.catalogue import SecretClass
from authority.claims import System
from authority.encoding import encode_claim
from authority.phases import Phase
from authority.problems import Problem, raise_if_any
from components.failure_reports import report_job
from components.names import ENGINE_NAMESPACE, MANAGED_BY, layer_type
from components.pod_security import RESTRICTED_CONTAINER, RESTRICTED_POD
from components.settings import HOME, Settings
from components.vault_configuration import VaultConfiguration
from components.vault_engine import EngineArgs, VaultEngine
from components.vault_names import ADDRESS, VAULT_NAMESPACE
from components.vault_session import OPEN_VARIABLE, configurator, engine_address, open_session
from components.vault_settings import VaultSettings
from components.vault_tunnel import VaultSessionError
from components.vault_workload import VaultWorkload
from repository.intent import Intent

HANDOVER_EVIDENCE = "handover-evidence"


@dataclass(frozen=True)
class RuntimeAuthorityArgs:
    """`intent` is the checked intent of Git; `below` shows that layer 3 works, Vault is made after it."""

    settings: Settings
    intent: Intent
    vault: VaultSettings
    below: pulumi.Output[str]

    def check(self) -> None:
        """Raise `InvalidInputError` with everything that does not fit, before any resource exists."""
        found = list(self.vault.check("vault"))
        seen: dict[str, str] = {}
        for secret in self.intent.catalogue.of_class(SecretClass.BOOTSTRAP):
            other = seen.setdefault(str(secret.vault), secret.name)
            if other != secret.name:
                found.append(
                    Problem(
                        self.intent.layout.catalogue,
                        f"secrets[{secret.name}].vault",
                        f"{secret.vault} is also the path of {other}",
                        "give each bootstrap secret a path of its own: only one can be written first",
                    )
                )
        raise_if_any(found)


class RuntimeAuthority(pulumi.ComponentResource):
    """Vault, the engine, Vault's configuration, and the evidence that every bootstrap secret is handed over.

    Outputs: `address` and `roles` (by consumer namespace) for the layer above; `claims`, `phase`, `evidence`.
    """

    address: pulumi.Output[str]
    roles: pulumi.Output[dict[str, str]]
    evidence: pulumi.Output[str]
    claims: pulumi.Output[list[dict[str, Any]]]
    phase: pulumi.Output[int]

    def __init__(self, name: str, args: RuntimeAuthorityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        args.check()
        super().__init__(layer_type("RuntimeAuthority"), name, {}, opts)
        self._name, self._args = name, args
        settings, intent = args.settings, args.intent
        namespace = k8s.core.v1.Namespace(
            f"{name}-{VAULT_NAMESPACE}",
            metadata={
                "name": VAULT_NAMESPACE,
                "labels": {**MANAGED_BY, "pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=self._opts(),
        )
        timeout = settings.ready_timeout_seconds
        below = self._opts(namespace)
        self.workload = VaultWorkload(f"{name}-vault", args.vault, settings.engine_image, namespace, below, timeout)
        self.engine = VaultEngine(f"{name}-engine", self._engine_args(), below, timeout)
        in_service = pulumi.Output.all(args.below, self.engine.deployment.id, self.workload.stateful_set.id).apply(
            lambda _: ADDRESS
        )
        self.configuration = VaultConfiguration(
            f"{name}-configuration",
            intent.catalogue,
            self._session_folder(),
            in_service,
            self._open_way,
            self.workload.stateful_set,
            self._opts(self.engine, self.workload),
        )
        self.job = self._evidence_job()
        self.address = in_service
        self.roles = pulumi.Output.from_input(dict(self.configuration.roles))
        self.phase = pulumi.Output.from_input(Phase.RUNTIME_AUTHORITY.value)
        count = len(intent.catalogue.of_class(SecretClass.BOOTSTRAP))
        self.evidence = self.job.id.apply(lambda _: f"{count} bootstrap secrets are handed over to Vault")
        self.claims = pulumi.Output.from_input(
            [encode_claim(claim) for claim in intent.claims if claim.claimant.system is System.VAULT]
        )
        self.register_outputs(
            {
                "address": self.address,
                "roles": self.roles,
                "phase": self.phase,
                "evidence": self.evidence,
                "claims": self.claims,
            }
        )

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

    def _engine_args(self) -> EngineArgs:
        settings, intent = self._args.settings, self._args.intent
        targets: dict[str, list[str]] = {}
        for secret in intent.catalogue.of_class(SecretClass.BOOTSTRAP):
            if secret.bootstrap:
                targets.setdefault(secret.bootstrap.namespace, []).append(secret.bootstrap.secret)
        return EngineArgs(
            vault=self._args.vault,
            image=settings.engine_image,
            cluster=intent.layout.cluster,
            catalogue=intent.layout.catalogue,
            bootstrap=intent.layout.bootstrap,
            recipients=sorted(intent.trust.wanted(intent.layout.cluster)),
            targets={namespace: sorted(names) for namespace, names in sorted(targets.items())},
        )

    def _session_folder(self) -> str:
        # Relative to the project, so that the provider's inputs are the same on every machine.
        return f".local/{self._args.intent.layout.cluster}/vault-session"

    def _open_way(self) -> str:
        """Open the way to Vault for this run, and give the address at its near end."""
        settings, port = self._args.settings, self._args.vault.local_port
        if not pulumi.runtime.is_dry_run() and OPEN_VARIABLE not in os.environ:
            try:
                folder = HOME / self._session_folder()
                open_session(
                    configurator(settings.kubeconfig, settings.context, folder, port, engine=engine_address())
                )
            except VaultSessionError as error:
                fix = "see the pods of namespace vault and the log of the engine, then run again"
                raise pulumi.RunError(f"{error}. Fix: {fix}.") from None
        return f"https://127.0.0.1:{port}"

    def _evidence_job(self) -> k8s.batch.v1.Job:
        """Waits in the cluster for the engine's fresh evidence; says what is missing when it does not come."""
        settings, intent = self._args.settings, self._args.intent
        names = sorted(secret.name for secret in intent.catalogue.of_class(SecretClass.BOOTSTRAP))
        text = "\n".join(names)
        run = hashlib.sha256(f"{text}\0{settings.engine_image}".encode()).hexdigest()[:10]
        account = k8s.core.v1.ServiceAccount(
            f"{self._name}-evidence",
            metadata={"name": HANDOVER_EVIDENCE, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
            automount_service_account_token=False,
            opts=self._opts(),
        )
        role = k8s.rbac.v1.Role(
            f"{self._name}-evidence",
            metadata={"name": HANDOVER_EVIDENCE, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
            rules=[
                {
                    "apiGroups": [""],
                    "resources": ["configmaps"],
                    "resourceNames": ["runtime-authority-status"],
                    "verbs": ["get"],
                }
            ],
            opts=self._opts(),
        )
        binding = k8s.rbac.v1.RoleBinding(
            f"{self._name}-evidence",
            metadata={"name": HANDOVER_EVIDENCE, "namespace": ENGINE_NAMESPACE, "labels": MANAGED_BY},
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": HANDOVER_EVIDENCE, "namespace": ENGINE_NAMESPACE}],
            opts=self._opts(account),
        )
        wanted = k8s.core.v1.ConfigMap(
            f"{self._name}-evidence-task",
            metadata={
                "name": f"{HANDOVER_EVIDENCE}-{run}",
                "namespace": ENGINE_NAMESPACE,
                "labels": MANAGED_BY,
                # Nothing waits for its deletion; the provider can miss it and hang.
                "annotations": {"pulumi.com/skipAwait": "true"},
            },
            data={"secrets": text},
            opts=self._opts(),
        )
        return k8s.batch.v1.Job(
            f"{self._name}-evidence",
            metadata={
                "name": f"{HANDOVER_EVIDENCE}-{run}",
                "namespace": ENGINE_NAMESPACE,
                "labels": MANAGED_BY,
                # A Job that failed is made anew by the next run.
                "annotations": {"pulumi.com/replaceUnready": "true"},
            },
            spec={
                "backoffLimit": 0,
                "activeDeadlineSeconds": settings.ready_timeout_seconds + 60,
                "template": {
                    "metadata": {"labels": {**MANAGED_BY, "app": HANDOVER_EVIDENCE}},
                    "spec": _evidence_pod(settings, wanted.metadata.name),
                },
            },
            opts=pulumi.ResourceOptions.merge(
                self._opts(self.configuration, binding),
                pulumi.ResourceOptions(
                    hooks=pulumi.ResourceHookBinding(
                        on_error=[report_job(settings, ENGINE_NAMESPACE, "report-handover-job")]
                    )
                ),
            ),
        )


def _evidence_pod(settings: Settings, config: pulumi.Input[str]) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "serviceAccountName": HANDOVER_EVIDENCE,
        "automountServiceAccountToken": True,
        "securityContext": RESTRICTED_POD,
        "containers": [
            {
                "name": "evidence",
                "image": settings.engine_image,
                "imagePullPolicy": "IfNotPresent",
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "args": [
                    "handover-evidence",
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
