"""The GitOps layer: Flux reads Git and decrypts SOPS/age inside the cluster only.

RFC-SECOPS-0001 §3.2, phase 1. Upstream: fluxcd source-controller and kustomize-controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.gitops.cluster_identity import identity_record, trust_record
from components.gitops.controllers import controller
from components.gitops.guard import PlatformGuard, PlatformGuardArgs
from components.gitops.manifests import CONTROLLERS
from components.gitops.namespaces import namespaces
from components.gitops.network import engine_policies, flux_policies
from components.gitops.source import git_source
from components.kit.failure_reports import report_conditions
from components.kit.flux_objects import NAMESPACES
from components.root_of_trust import RootOfTrust
from components.settings.stack import Settings
from secret_authority.contract.names import ENGINE_NAMESPACE, FLUX_NAMESPACE, MANAGED_BY, SOURCE, layer_type


@dataclass(frozen=True)
class GitOpsArgs:
    """`root` gives the cluster's recipient and, in a run with the root holder, its identity.

    `credentials` are for the Git repository, None in a run that was not given any. `planted_again`: see the function.
    """

    settings: Settings
    root: RootOfTrust
    recipient: str
    credentials: Mapping[str, str] | None = None
    planted_again: str = ""


class GitOps(pulumi.ComponentResource):
    """Flux's two controllers, the cluster's identity, the Git source and the namespaces of the repository.

    Ready when both controllers run, the source has fetched and the namespaces are applied.
    """

    namespace: pulumi.Output[str]
    evidence: pulumi.Output[str]
    # What the bootstrap layer depends on, and reports with.
    flux_namespace: k8s.core.v1.Namespace
    namespaces: k8s.apiextensions.CustomResource
    report_kustomization: pulumi.ErrorHook

    def __init__(self, name: str, args: GitOpsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(layer_type("GitOps"), name, {}, opts)
        settings = args.settings
        flux = self.flux_namespace = self._namespace(name, FLUX_NAMESPACE)
        engine = self._namespace(name, ENGINE_NAMESPACE)
        identity = identity_record(
            f"{name}-cluster-identity",
            settings,
            args.root.identity,
            args.recipient,
            pulumi.ResourceOptions(parent=self, depends_on=[flux, engine]),
            args.planted_again,
        )
        # After the identity: a record says that what it names is there.
        trust_record(
            f"{name}-root-of-trust", args.root.record, pulumi.ResourceOptions(parent=self, depends_on=[identity])
        )
        guard = PlatformGuard(f"{name}-guard", PlatformGuardArgs(), pulumi.ResourceOptions(parent=self))
        network = settings.network
        before = [*flux_policies(name, self, network, settings.git, flux), *guard.bindings]
        engine_policies(name, self, network, engine)
        controllers = [controller(name, self, which, settings.manifests, flux, before) for which in CONTROLLERS]
        self.report_kustomization = report_conditions(
            settings, FLUX_NAMESPACE, "kustomize.toolkit.fluxcd.io", "kustomizations"
        )
        source = git_source(name, self, settings, args.credentials, flux, controllers)
        self.namespaces = namespaces(name, self, settings, flux, self.report_kustomization, [source, identity])
        self.namespace = flux.metadata.name
        self.evidence = pulumi.Output.all(source.id, self.namespaces.id).apply(
            lambda _: f"GitRepository {SOURCE} and Kustomization {NAMESPACES} are Ready"
        )
        self.register_outputs({"namespace": self.namespace, "evidence": self.evidence})

    def _namespace(self, name: str, namespace: str) -> k8s.core.v1.Namespace:
        return k8s.core.v1.Namespace(
            f"{name}-{namespace}",
            metadata={
                "name": namespace,
                "labels": {**MANAGED_BY, "pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
