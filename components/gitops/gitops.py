"""Layer 2: the GitOps control plane. Flux reads Git and decrypts SOPS/age inside the cluster only.

RFC-SECOPS-0001 §3.2, phase 1. Upstream: fluxcd source-controller and kustomize-controller.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.gitops import flux_manifests
from components.gitops.cluster_identity import is_planted, plant
from components.kit.failure_reports import report_conditions
from components.kit.flux_objects import INTERVAL, bind_role, kustomization, ready_metadata, reconciler, reporting
from components.root_of_trust import RootOfTrust
from components.settings.stack import ROOT_IDENTITY_VARIABLE, Settings
from secret_authority.clients.age import Identity
from secret_authority.contract.names import (
    ENGINE_NAMESPACE,
    FLUX_NAMESPACE,
    IDENTITY_SECRET,
    MANAGED_BY,
    RECIPIENT_ANNOTATION,
    SOURCE,
    layer_type,
)
from secret_authority.core.errors import InvalidInputError, Problem

NAMESPACES = "namespaces"


@dataclass(frozen=True)
class GitOpsArgs:
    """`root` gives the cluster's recipient and, in a run with the root holder, its identity."""

    settings: Settings
    root: RootOfTrust
    recipient: str


class GitOps(pulumi.ComponentResource):
    """Flux's two controllers, the cluster's identity, the Git source and the namespaces of the repository.

    Ready when both controllers run, the source has fetched and the namespaces are applied.
    """

    namespace: pulumi.Output[str]
    evidence: pulumi.Output[str]

    def __init__(self, name: str, args: GitOpsArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(layer_type("GitOps"), name, {}, opts)
        self._name, self._args = name, args
        # What the next layer waits for, by name.
        self.flux_namespace = self._namespace(FLUX_NAMESPACE)
        self.engine_namespace = self._namespace(ENGINE_NAMESPACE)
        identity = self._identity()
        policies = self._network_policies()
        controllers = [self._controller(which, policies) for which in flux_manifests.CONTROLLERS]
        self.report_kustomization = report_conditions(
            args.settings, FLUX_NAMESPACE, "kustomize.toolkit.fluxcd.io", "kustomizations"
        )
        self.source = self._source(controllers)
        self.namespaces = self._namespaces([self.source, identity])
        self.namespace = self.flux_namespace.metadata.name
        self.evidence = pulumi.Output.all(self.source.id, self.namespaces.id).apply(
            lambda _: f"GitRepository {SOURCE} and Kustomization {NAMESPACES} are Ready"
        )
        self.register_outputs({"namespace": self.namespace, "evidence": self.evidence})

    def _opts(
        self, *depends_on: pulumi.Resource, hooks: pulumi.ResourceHookBinding | None = None
    ) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(depends_on), hooks=hooks)

    def _namespace(self, namespace: str) -> k8s.core.v1.Namespace:
        return k8s.core.v1.Namespace(
            f"{self._name}-{namespace}",
            metadata={
                "name": namespace,
                "labels": {**MANAGED_BY, "pod-security.kubernetes.io/enforce": "restricted"},
            },
            opts=self._opts(),
        )

    def _identity(self) -> k8s.core.v1.ConfigMap:
        """The public record of the planted identity. Making or changing it plants the identity first.

        The identity itself passes by Pulumi: the hook writes it. Without a root holder it takes the one that is
        planted when that is the right one, and fails closed else.
        """
        settings, identity, recipient = self._args.settings, self._args.root.identity, self._args.recipient

        def plant_identity(_: pulumi.ResourceHookArgs) -> None:
            namespaces = (FLUX_NAMESPACE, ENGINE_NAMESPACE)
            if identity is None and is_planted(settings.kubeconfig, settings.context, namespaces, recipient):
                return
            for namespace in namespaces:
                plant(settings.kubeconfig, settings.context, namespace, _required(identity, settings.layout.cluster))

        hook = pulumi.ResourceHook("plant-cluster-identity", plant_identity)
        return k8s.core.v1.ConfigMap(
            f"{self._name}-cluster-identity",
            metadata={
                "name": "cluster-identity",
                "namespace": ENGINE_NAMESPACE,
                "labels": MANAGED_BY,
                "annotations": {RECIPIENT_ANNOTATION: recipient},
            },
            data={"recipient": recipient, "secret": IDENTITY_SECRET},
            opts=self._opts(
                self.flux_namespace,
                self.engine_namespace,
                hooks=pulumi.ResourceHookBinding(before_create=[hook], before_update=[hook]),
            ),
        )

    def _network_policies(self) -> list[pulumi.Resource]:
        """Nothing reaches the controllers but their own namespace, the engine (artifacts) and scraping."""
        own: dict[str, Any] = {"podSelector": {}}
        engine: dict[str, Any] = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ENGINE_NAMESPACE}}
        }
        policies: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
            "allow-own": ({}, [{"from": [own]}]),
            "allow-scraping": ({}, [{"ports": [{"protocol": "TCP", "port": 8080}]}]),
            "allow-engine": (
                {"matchLabels": {"app": "source-controller"}},
                [{"from": [engine], "ports": [{"protocol": "TCP", "port": 9090}]}],
            ),
        }
        return [
            k8s.networking.v1.NetworkPolicy(
                f"{self._name}-{policy}",
                metadata={"name": policy, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY},
                spec={"podSelector": selector, "policyTypes": ["Ingress"], "ingress": ingress},
                opts=self._opts(self.flux_namespace),
            )
            for policy, (selector, ingress) in policies.items()
        ]

    def _controller(self, controller: str, policies: list[pulumi.Resource]) -> k8s.apps.v1.Deployment:
        manifests = self._args.settings.manifests
        definitions: list[pulumi.Resource] = [
            k8s.apiextensions.v1.CustomResourceDefinition(
                f"{self._name}-{document['metadata']['name']}",
                metadata=document["metadata"],
                spec=document["spec"],
                opts=self._opts(),
            )
            for document in flux_manifests.custom_resource_definitions(manifests, controller)
        ]
        access = self._access(controller, flux_manifests.controller_rules(manifests, controller))
        services = [
            k8s.core.v1.Service(
                f"{self._name}-{service['metadata']['name']}",
                # The controller waits for its Service, so the Service cannot wait for its endpoints.
                metadata={
                    **service["metadata"],
                    "namespace": FLUX_NAMESPACE,
                    "annotations": {"pulumi.com/skipAwait": "true"},
                },
                spec=service["spec"],
                opts=self._opts(self.flux_namespace),
            )
            for service in flux_manifests.controller_services(manifests, controller)
        ]
        deployment = flux_manifests.controller_deployment(manifests, controller, FLUX_NAMESPACE)
        return k8s.apps.v1.Deployment(
            f"{self._name}-{controller}",
            metadata=deployment["metadata"],
            spec=deployment["spec"],
            opts=self._opts(*definitions, *access, *services, *policies),
        )

    def _access(self, controller: str, rules: list[dict[str, Any]]) -> list[pulumi.Resource]:
        """A service account with upstream's rules, bound in Flux's namespace only."""
        metadata = {"name": controller, "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY}
        account = k8s.core.v1.ServiceAccount(
            f"{self._name}-{controller}", metadata=metadata, opts=self._opts(self.flux_namespace)
        )
        if controller == "kustomize-controller":
            # It applies as the service account that a Kustomization names, and as no other.
            rules = [*rules, {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}]
        role = k8s.rbac.v1.Role(
            f"{self._name}-{controller}", metadata=metadata, rules=rules, opts=self._opts(self.flux_namespace)
        )
        return [account, role, bind_role(self._name, self, controller, FLUX_NAMESPACE, controller, role)]

    def _source(self, controllers: list[pulumi.Resource]) -> k8s.apiextensions.CustomResource:
        settings = self._args.settings
        spec: dict[str, Any] = {
            "url": settings.repository_url,
            "ref": {"branch": settings.repository_branch},
            "interval": INTERVAL,
            "timeout": "60s",
        }
        depends_on = list(controllers)
        if settings.repository_ca:
            # A Secret because Flux wants one; the certificate in it is public.
            authority = k8s.core.v1.Secret(
                f"{self._name}-git-ca",
                metadata={"name": "git-ca", "namespace": FLUX_NAMESPACE, "labels": MANAGED_BY},
                string_data={"ca.crt": settings.repository_ca},
                opts=self._opts(self.flux_namespace),
            )
            spec["secretRef"] = {"name": "git-ca"}
            depends_on.append(authority)
        return k8s.apiextensions.CustomResource(
            f"{self._name}-source",
            api_version="source.toolkit.fluxcd.io/v1",
            kind="GitRepository",
            metadata=ready_metadata(SOURCE, settings.ready_timeout_seconds),
            spec=spec,
            opts=self._opts(
                *depends_on,
                hooks=reporting(
                    report_conditions(settings, FLUX_NAMESPACE, "source.toolkit.fluxcd.io", "gitrepositories")
                ),
            ),
        )

    def _namespaces(self, depends_on: list[pulumi.Resource]) -> k8s.apiextensions.CustomResource:
        """The namespaces of the repository, applied by an account that can do nothing else."""
        account = reconciler(self._name, self, NAMESPACES, self.flux_namespace)
        role = k8s.rbac.v1.ClusterRole(
            f"{self._name}-reconcile-{NAMESPACES}",
            metadata={"name": "secret-authority-reconcile-namespaces", "labels": MANAGED_BY},
            rules=[
                {
                    "apiGroups": [""],
                    "resources": ["namespaces"],
                    "verbs": ["get", "list", "watch", "create", "patch", "delete"],
                }
            ],
            opts=self._opts(),
        )
        binding = k8s.rbac.v1.ClusterRoleBinding(
            f"{self._name}-reconcile-{NAMESPACES}",
            metadata={"name": "secret-authority-reconcile-namespaces", "labels": MANAGED_BY},
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role.metadata.name},
            subjects=[{"kind": "ServiceAccount", "name": account.metadata.name, "namespace": FLUX_NAMESPACE}],
            opts=self._opts(),
        )
        return kustomization(
            self._name,
            NAMESPACES,
            self._args.settings,
            {"path": f"./{self._args.settings.namespaces_path}", "prune": True, "wait": True},
            self._opts(*depends_on, account, binding, hooks=reporting(self.report_kustomization)),
        )


def _required(identity: Identity | None, cluster: str) -> Identity:
    if identity is None:
        fix = f"run once with {ROOT_IDENTITY_VARIABLE} set to the root holder's identity file"
        raise InvalidInputError([Problem(f"cluster {cluster}", "", "its identity is needed and not open", fix)])
    return identity
