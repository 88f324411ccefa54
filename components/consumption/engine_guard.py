"""What the engine of consumption may change in a consumer namespace: its own annotations, and the CA of a store.

It may patch ExternalSecrets, SecretStores and workloads, and a patch can be anything: another image, another account,
another Vault. RBAC cannot say which fields; admission can.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_kubernetes as k8s

from components.consumption.external_secrets_manifests import GROUP
from components.kit.admission import AdmissionGuard, Rule, Validation, account
from secret_authority.contract.names import CONSUMPTION_ACCOUNT, DOMAIN, ENGINE_NAMESPACE, SECRET_VERSIONS

NAME = "secret-authority-engine-guard"


def _same_but(path: str, *changing: str) -> str:
    """The map at `path` has the same keys and values before and after, those in `changing` aside."""
    new, old = f"object.{path}", f"oldObject.{path}"
    free = " || ".join(f'k == "{key}"' for key in changing) or "false"
    return f"{new}.all(k, {free} || (k in {old} && {new}[k] == {old}[k])) && {old}.all(k, {free} || k in {new})"


def _annotations(path: str, free: str) -> str:
    """The annotations at `path` are the same, those for which the condition `free` on `k` holds aside."""
    new, old = (f"{root}.{path}.?annotations.orValue({{}})" for root in ("object", "oldObject"))
    return (
        f"{new}.all(k, {free} || (k in {old} && {new}[k] == {old}[k])) && "
        f"{old}.all(k, {free} || (k in {new} && {new}[k] == {old}[k]))"
    )


def _labels(path: str) -> str:
    return f"object.{path}.?labels == oldObject.{path}.?labels"


# The API server counts the templates of a DaemonSet in an annotation of its own, before admission sees the request.
COUNTED = 'request.resource.resource == "daemonsets" && k == "deprecated.daemonset.template.generation"'
OURS = f'k.startsWith("{DOMAIN}/") || ({COUNTED})'
RESTART = f'k == "{SECRET_VERSIONS}"'
METADATA = (
    f"{_annotations('metadata', OURS)} && {_labels('metadata')} && "
    "object.metadata.?ownerReferences == oldObject.metadata.?ownerReferences && "
    "object.metadata.?finalizers == oldObject.metadata.?finalizers"
)
TEMPLATE = (
    f"{_same_but('spec', 'template')} && {_same_but('spec.template', 'metadata')} && "
    f"{_same_but('spec.template.metadata', 'annotations')} && {_annotations('spec.template.metadata', RESTART)}"
)
STORE = (
    f"{_same_but('spec', 'provider')} && {_same_but('spec.provider', 'vault')} && "
    f"{_same_but('spec.provider.vault', 'caBundle')}"
)
WHO = "'the engine of consumption changes "

GUARD = AdmissionGuard(
    NAME,
    account(ENGINE_NAMESPACE, CONSUMPTION_ACCOUNT),
    [
        Rule("apps", "v1", ["deployments", "statefulsets", "daemonsets"], ["UPDATE"]),
        Rule(GROUP, "v1", ["externalsecrets", "secretstores"], ["UPDATE"]),
    ],
    [
        Validation(METADATA, f"{WHO}annotations {DOMAIN}/* only, no other metadata'"),
        Validation(
            f'request.resource.group != "apps" || object.spec == oldObject.spec || ({TEMPLATE})',
            f"{WHO}annotation {SECRET_VERSIONS} of a pod template, nothing else of a workload'",
        ),
        Validation(
            'request.resource.resource != "externalsecrets" || object.spec == oldObject.spec',
            f"{WHO}no specification of an ExternalSecret'",
        ),
        Validation(
            f'request.resource.resource != "secretstores" || object.spec == oldObject.spec || ({STORE})',
            f"{WHO}the CA certificates of a SecretStore, nothing else of it'",
        ),
    ],
)


@dataclass(frozen=True)
class EngineGuardArgs:
    """The policy; another one only where a test says so."""

    guard: AdmissionGuard = GUARD


class EngineGuard(pulumi.ComponentResource):
    """The policy and its binding, in force before the engine has its rights."""

    binding: k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding

    def __init__(self, name: str, args: EngineGuardArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("secret-authority:consumption:EngineGuard", name, {}, opts)
        self.binding = args.guard.create(name, self)
        self.register_outputs({"policy": args.guard.name})
