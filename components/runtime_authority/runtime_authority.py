"""The runtime authority layer. Vault comes up, is configured, and takes over authority secret by secret.

RFC-SECOPS-0001 §3.2 (phase 3) and §5. The engine alone moves authority; Pulumi builds what it needs and
waits for its evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.kit.evidence_job import status_evidence, status_reader
from components.kit.evidence_output import handover_line, published_evidence
from components.runtime_authority.engine import RuntimeAuthorityEngine, RuntimeAuthorityEngineArgs
from components.runtime_authority.vault_clearing import ClearingWatch
from components.runtime_authority.vault_configuration import VaultConfiguration, VaultConfigurationArgs
from components.runtime_authority.vault_provider_session import VaultProviderSession
from components.runtime_authority.vault_server import VaultServer, VaultServerArgs
from components.settings.stack import Settings
from components.settings.vault import VaultSettings
from secret_authority.contract.names import (
    HANDOVER_EVIDENCE,
    HANDOVER_STATUS,
    MANAGED_BY,
    VAULT_ADDRESS,
    VAULT_NAMESPACE,
    layer_type,
)
from secret_authority.core.catalogue.admission import admitted_entries
from secret_authority.core.catalogue.schema import SecretClass
from secret_authority.core.claims.conflicts import System
from secret_authority.core.claims.serialization import encode_claim
from secret_authority.core.errors import raise_if_any
from secret_authority.core.phases import Phase
from secret_authority.repository.intent.checks import check_claims
from secret_authority.repository.intent.intent import Intent


@dataclass(frozen=True)
class RuntimeAuthorityArgs:
    """`intent` is the checked intent of Git.

    `snapshot`: what Vault is restored from, empty for nothing. Until it is `restored`, only Vault and its engine are
    built, of which one pod waits for it. `stack`: the phase that the stack has on record.
    """

    settings: Settings
    intent: Intent
    vault: VaultSettings
    snapshot: str = ""
    restored: bool = True
    stack: pulumi.Input[Phase | None] = None

    def check(self) -> None:
        """Raise `InvalidInputError` with everything that is invalid, before any resource exists."""
        found = list(self.vault.check("vault"))
        found += check_claims(self.intent.claims, self.intent.layout.catalogue)
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
    # What the consumption layer depends on.
    server: VaultServer
    configuration: VaultConfiguration
    engine: RuntimeAuthorityEngine
    job: k8s.batch.v1.Job

    def __init__(self, name: str, args: RuntimeAuthorityArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        args.check()
        super().__init__(layer_type("RuntimeAuthority"), name, {}, opts)
        self._name, self._args = name, args
        # A snapshot is restored into one node; the others join it afterwards.
        self._vault = args.vault if args.restored else replace(args.vault, replicas=1)
        settings, intent = args.settings, args.intent
        session = VaultProviderSession(settings, args.vault.local_port)
        if args.restored:
            session.open_if_in_service()
        namespace = k8s.core.v1.Namespace(
            f"{name}-{VAULT_NAMESPACE}",
            metadata={
                "name": VAULT_NAMESPACE,
                "labels": {**MANAGED_BY, "pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=pulumi.ResourceOptions.merge(self._opts(), pulumi.ResourceOptions(protect=args.vault.protect)),
        )
        below = self._opts(namespace)
        self.server = VaultServer(
            f"{name}-vault",
            VaultServerArgs(
                self._vault,
                settings.engine_image,
                namespace,
                settings.ready_timeout_seconds,
                settings.network,
                self._clearing().hooks,
            ),
            below,
        )
        self.engine = RuntimeAuthorityEngine(f"{name}-engine", self._engine_args(), below)
        service = (self.engine.deployment, self.server.stateful_set)
        if not args.restored:
            self.phase = pulumi.Output.from_input(Phase.BOOTSTRAP.value)
            self.evidence = pulumi.Output.from_input(f"Vault waits for snapshot {args.snapshot}")
            self.register_outputs({"phase": self.phase, "evidence": self.evidence})
            return
        self.configuration = VaultConfiguration(
            f"{name}-configuration",
            VaultConfigurationArgs(
                intent.catalogue,
                session,
                self.server.stateful_set,
                service,
                session.mounts() if args.snapshot else frozenset(),
            ),
            self._opts(*service),
        )
        self.job = self._evidence_job()
        self.address = pulumi.Output.all(*(resource.id for resource in service)).apply(lambda _: VAULT_ADDRESS)
        self.roles = pulumi.Output.from_input(dict(self.configuration.roles))
        self.phase = pulumi.Output.from_input(Phase.RUNTIME_AUTHORITY.value)
        self.evidence = published_evidence(settings, self.job, HANDOVER_STATUS, handover_line)
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

    def _clearing(self) -> ClearingWatch:
        settings, vault = self._args.settings, self._vault
        stack: pulumi.Output[Phase | None] = pulumi.Output.from_input(self._args.stack)
        numbers = (vault.shares, vault.threshold)
        return ClearingWatch(settings.connection, vault.replicas, numbers, self._args.intent, stack)

    def _opts(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on))

    def _engine_args(self) -> RuntimeAuthorityEngineArgs:
        settings, intent = self._args.settings, self._args.intent
        targets: dict[str, list[str]] = {}
        for secret in intent.catalogue.of_class(SecretClass.BOOTSTRAP):
            if secret.bootstrap:
                targets.setdefault(secret.bootstrap.namespace, []).append(secret.bootstrap.secret)
        return RuntimeAuthorityEngineArgs(
            vault=self._vault,
            image=settings.engine_image,
            cluster=intent.layout.cluster,
            catalogue=intent.layout.catalogue,
            bootstrap=intent.layout.bootstrap,
            admission=intent.admission,
            targets={namespace: sorted(names) for namespace, names in sorted(targets.items())},
            admitted=admitted_entries(intent.catalogue),
            timeout_seconds=settings.ready_timeout_seconds,
            awaited_snapshot=self._args.snapshot,
        )

    def _evidence_job(self) -> k8s.batch.v1.Job:
        """Waits in the cluster for the engine's fresh evidence; says what is missing when it does not come."""
        names = [secret.name for secret in self._args.intent.catalogue.of_class(SecretClass.BOOTSTRAP)]
        binding = status_reader(self._name, self, HANDOVER_EVIDENCE, HANDOVER_STATUS)
        evidence = status_evidence(self._args.settings, HANDOVER_EVIDENCE, Phase.RUNTIME_AUTHORITY, names)
        return evidence.create(self._name, self, [self.configuration, binding], "report-handover-job")
