"""Phases: what may exist when, and what bootstrap secrets may be used for (RFC §3.2, §5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from policy.claims.kubernetes import secret_keys
from policy.claims.operators import VSO
from policy.context import RuleContext
from policy.inventory.bootstrap_secrets import (
    bootstrap_locations,
    catalogue_entry,
    decrypts,
    is_labelled,
    kustomization_releases,
    releases,
)
from policy.inventory.index import ResourceIndex
from policy.inventory.layers import ORDER
from policy.inventory.resource import Origin, Position, Resource, dig
from policy.inventory.secret_stores import ESO
from policy.inventory.workloads import Pods, account_uses, secret_uses
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.settings import Level
from secret_authority.core.phases import Phase

FLUX = "kustomize.toolkit.fluxcd.io"
# Vault, OpenBao, External Secrets, and the servers between External Secrets and 1Password or Bitwarden.
_AUTHORITY_IMAGE = re.compile(
    r"(^|/)(vault|openbao|bao|external-secrets|1password/connect-(api|sync)|bitwarden-sdk-server)(:|@|$)"
)


def phase_of(resource: Resource) -> Phase | None:
    """The phase from which on a resource may exist; None when it may at any time."""
    if resource.group in (ESO, "generators.external-secrets.io", VSO):
        return Phase.CONSUMPTION
    if resource.token.startswith("vault:"):
        return Phase.RUNTIME_AUTHORITY
    if resource.is_a(FLUX, "Kustomization"):
        return Phase.BOOTSTRAP if decrypts(resource) else Phase.GITOPS
    if resource.group.endswith(".toolkit.fluxcd.io"):
        return Phase.GITOPS
    return None


def later_phase(context: RuleContext) -> Iterator[Violation]:
    phase = context.inventory.phase
    if phase is None:
        return
    for resource in context.index.resources:
        # A tree holds the intent of all phases; what exists at a phase is a matter of the stack.
        earliest = phase_of(resource) if resource.origin is Origin.STACK else None
        if earliest is not None and earliest > phase:
            yield about(
                resource,
                f"belongs to phase {earliest.value} ({earliest.title}), but the stack is at phase {phase.value} "
                f"({phase.title}). Remove it, or set phase to {earliest.value}",
            )


def layer_order(context: RuleContext) -> Iterator[Violation]:
    for lower, upper in zip(context.inventory.layers, context.inventory.layers[1:], strict=False):
        if ORDER.index(upper.name) - ORDER.index(lower.name) > 1:
            missing = ORDER[ORDER.index(lower.name) + 1]
            yield about(
                upper.resource, f"layer {upper.name} is built on {lower.name}; layer {missing} is missing between"
            )
            continue
        # The engine records dependencies on what a component made. A layer that made nothing (the root of trust)
        # cannot be depended on; it has done its checks before the next layer is even constructed.
        if _made(context.index, lower.resource) and not _rests_on(context, upper.resource, lower.resource):
            yield about(
                upper.resource,
                f"layer {upper.name} does not wait for layer {lower.name}: nothing in it depends on that layer. Give "
                "it depends_on",
            )


def _made(index: ResourceIndex, layer: Resource) -> bool:
    family = index.family(layer.where.urn)
    return any(not index.by_urn[urn].token.startswith("secret-authority:") for urn in family)


def _rests_on(context: RuleContext, upper: Resource, lower: Resource) -> bool:
    """Whether anything of the upper layer depends, directly or through others, on anything of the lower one."""
    inside = context.index.family(upper.where.urn)
    wanted = context.index.family(lower.where.urn)
    stack = [urn for member in inside for urn in context.index.by_urn[member].dependencies]
    seen: set[str] = set()
    while stack:
        urn = stack.pop()
        if urn in wanted:
            return True
        if urn in seen or urn not in context.index.by_urn:
            continue
        seen.add(urn)
        stack += context.index.by_urn[urn].dependencies
    return False


def _brings_up(pods: Pods) -> bool:
    """Whether pods are of a store, or of what reads it for the cluster: what bootstrap secrets are for."""
    images = [dig(container, "image") for container in pods.containers]
    return bool(images) and all(isinstance(image, str) and _AUTHORITY_IMAGE.search(image) for image in images)


def bootstrap_secret_used(context: RuleContext) -> Iterator[Violation]:
    """Uses of bootstrap secrets by others than the platform, which they are there to bring up (RFC §3.2)."""
    locations = bootstrap_locations(context.inventory)
    names = {name for _, _, name in locations}
    cluster_of = context.inventory.identities.cluster
    kinds = ("SecretStore", "ClusterSecretStore", "ExternalSecret", "ClusterExternalSecret")
    consuming = {str(cluster_of(resource)) for resource in context.index.of(ESO, *kinds)}
    labelled = {(str(cluster_of(secret)), secret.label) for secret in context.index.secrets if is_labelled(secret)}
    users = [(account, account_uses(account)) for account in context.index.of("", "ServiceAccount")]
    users += [(pods.resource, secret_uses(pods)) for pods in context.index.workloads if not _brings_up(pods)]
    for resource, uses in users:
        if resource.namespace in context.settings.platform_namespaces:
            continue
        for use in uses:
            if not isinstance(use.name, str):
                if locations:
                    yield about(
                        resource, f"uses a Secret ({use.how}) whose name is not known yet. Make known: {use.name.field}"
                    )
                continue
            if use.name not in names:
                continue
            cluster = str(cluster_of(resource))
            said = locations.get((cluster, str(resource.namespace), use.name))
            if said:
                name = f"Secret {resource.namespace}/{use.name}"
                # In a tree without a runtime authority there is nothing else to read yet.
                only_encrypted = isinstance(said, Position) and (cluster, name) not in labelled
                early = only_encrypted and cluster not in consuming
                what = "which Git has encrypted" if only_encrypted else "a bootstrap Secret"
                then = ", once Vault runs" if early else ""
                found = about(
                    resource,
                    f"uses {name} ({use.how}), {what} ({said}): what Git has is there to bring the runtime "
                    f"authority up. Let it read a Secret that External Secrets keeps{then}",
                    name,
                )
                yield replace(
                    found,
                    cause=f"{said} of {cluster}",
                    others="It is also used by",
                    level=Level.ADVISORY if early else None,
                )


def git_after_handover(context: RuleContext) -> Iterator[Violation]:
    """After the handover Flux must not put Git's value back into the bootstrap Secret."""
    handed = set(context.settings.handed_over)
    everything = context.inventory.phase is not None and context.inventory.phase >= Phase.CONSUMPTION
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT or not resource.applied_by.applier or secret_keys(resource) is None:
            continue
        entry = catalogue_entry(context.inventory, resource)
        if entry is None or releases(resource) or not (everything or entry.name in handed):
            continue
        yield about(
            resource,
            f"Vault is the authority over {entry.name} since its handover, but {resource.applied_by.applier} puts "
            "Git's value back. Annotate it with kustomize.toolkit.fluxcd.io/ssa: IfNotPresent",
            entry.name,
        )
    if context.inventory.phase is None or context.inventory.phase < Phase.RUNTIME_AUTHORITY:
        return
    for resource in context.index.of(FLUX, "Kustomization"):
        if resource.origin is Origin.STACK and decrypts(resource) and not kustomization_releases(resource):
            yield about(
                resource,
                "applies encrypted Secrets over and over, also after their handover to Vault. Set "
                "spec.commonMetadata.annotations kustomize.toolkit.fluxcd.io/ssa: IfNotPresent",
            )


RULES = (
    Rule(
        "later-phase",
        "Nothing of a later phase exists",
        "A resource of a later phase would act before the evidence of the phases below it exists.",
        "Raise the phase of the stack, or remove the resource.",
        "§3.2",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        later_phase,
    ),
    Rule(
        "layer-order",
        "Each layer waits for the one below",
        "Without the dependency the engine builds both at once, and a failed layer does not stop the next.",
        "Give the upper layer depends_on with the lower one.",
        "§3.1",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        layer_order,
    ),
    Rule(
        "bootstrap-secret-used",
        "Applications do not use bootstrap secrets",
        "A workload that reads a bootstrap Secret breaks when it is retired, and never sees a rotation.",
        "Read the Secret that External Secrets keeps.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        bootstrap_secret_used,
    ),
    Rule(
        "git-after-handover",
        "Git makes no claim after the handover",
        "Flux corrects drift: it would put the old value back into a Secret that was handed over and retired.",
        "Annotate the manifest with kustomize.toolkit.fluxcd.io/ssa: IfNotPresent before the handover.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        git_after_handover,
    ),
)
