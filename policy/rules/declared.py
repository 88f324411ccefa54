"""Declarations against deeds: what layer components and the catalogue say must be what resources do."""

from __future__ import annotations

from collections.abc import Iterator

from policy.claims.declared import VISIBLE_IN_STACK, declared_claims
from policy.context import RuleContext
from policy.inventory.bootstrap_secrets import BOOTSTRAP, catalogue_entry, is_encrypted, is_labelled, judged_folders
from policy.inventory.resource import Origin, mapping
from policy.rules.base import Rule, Scope, Severity, Violation, about, refused
from policy.settings import Level
from secret_authority.contract.names import CLASS_LABEL
from secret_authority.core.claims.locations import Overlap, overlap_keys, overlap_locations
from secret_authority.core.phases import Phase
from secret_authority.repository.namespaces import namespace_problems


def declared_claims_hold(context: RuleContext) -> Iterator[Violation]:
    """Every declared claim of a system that is visible here is really made, and every made one is declared."""
    declared = declared_claims(context.inventory)
    for layer in context.inventory.layers:
        for broken in layer.broken:
            yield about(layer.resource, f"declares a claim that cannot be read: {broken}")
    if context.inventory.phase is not None and context.inventory.phase < Phase.CONSUMPTION:
        # What External Secrets will do is declared from the start, and done in the last phase.
        return
    for claim, layer in declared:
        if claim.claimant.system not in VISIBLE_IN_STACK:
            continue
        seen = [c for c in context.observed_at.get(claim.location, ()) if c.claimant.system is claim.claimant.system]
        if not seen:
            yield about(
                layer.resource,
                f"declares that {claim.claimant} holds {claim.location}, but no resource of the stack does. Correct "
                "the declaration, or make the resource",
                str(claim.location),
            )
        elif all(overlap_keys(claim.keys, other.keys)[0] is Overlap.NO for other in seen):
            yield about(
                layer.resource,
                f"declares that {claim.claimant} holds {claim.keys} of {claim.location}, but it holds {seen[0].keys}",
                str(claim.location),
            )
        elif claim.source is not None and all(
            other.source is not None and overlap_locations(claim.source, other.source) is Overlap.NO for other in seen
        ):
            yield about(
                layer.resource,
                f"declares that {claim.location} is filled from {claim.source}, but {seen[0].claimant} fills it from "
                f"{seen[0].source}",
                str(claim.location),
            )
    if not declared:
        return
    said = {(claim.claimant.system, claim.location) for claim, _ in declared}
    inside = {layer.resource.where.urn: layer for layer in context.inventory.layers}
    for claim, resource in context.observed:
        if claim.claimant.system not in VISIBLE_IN_STACK or (claim.claimant.system, claim.location) in said:
            continue
        owner = next((inside[p.where.urn] for p in context.index.ancestors(resource) if p.where.urn in inside), None)
        if owner is not None:
            yield about(
                resource,
                f"holds {claim.location}, which its layer {owner.name} does not declare. Add it to the catalogue",
                str(claim.location),
            )


def catalogue_valid(context: RuleContext) -> Iterator[Violation]:
    for problem, where in context.inventory.catalogue_problems:
        yield Violation(str(problem), where, (problem.file, problem.field))


def uncatalogued_secret(context: RuleContext) -> Iterator[Violation]:
    own = list(judged_folders(context.index))
    for problem in (each for folders in own for each in folders.uncatalogued):
        yield refused(problem)
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT or not is_encrypted(resource):
            continue
        if any(folders.holds(resource) for folders in own):
            continue  # judged above, or refused as a file
        catalogue = context.inventory.catalogue_of(resource)
        if catalogue is not None and catalogue_entry(context.inventory, resource) is None:
            yield about(
                resource,
                "is an encrypted Secret without an entry in the catalogue, so nobody owns it and it is never handed "
                "over. Add an entry of class bootstrap with its keys",
            )


def missing_bootstrap_manifest(context: RuleContext) -> Iterator[Violation]:
    own = {folders.cluster: folders for folders in judged_folders(context.index)}
    for problem in (each for folders in own.values() for each in folders.missing):
        yield refused(problem)
    if context.inventory.phase is not None and context.inventory.phase >= Phase.CONSUMPTION:
        return
    present = {
        (str(context.inventory.identities.cluster(r)), r.namespace, r.metadata_name)
        for r in context.index.secrets
        if r.origin is Origin.GIT
    }
    for document in context.index.of("secret-authority.dev", "SecretCatalogue"):
        cluster = str(document.cluster)
        if cluster in own:
            continue  # judged above
        for entry in context.inventory.catalogues.get(cluster) or ():
            target = entry.bootstrap
            if target and (cluster, target.namespace, target.secret) not in present:
                yield about(
                    document,
                    f"entry {entry.name} names Secret {target.namespace}/{target.secret}, but Git has no encrypted "
                    "manifest of it for this cluster. Encrypt one, or remove the entry",
                    entry.name,
                )


def bootstrap_label(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        if resource.origin is not Origin.GIT or not resource.applied_by.applier or is_labelled(resource):
            continue
        entry = catalogue_entry(context.inventory, resource)
        if entry is not None:
            yield about(
                resource,
                f"is the bootstrap Secret of {entry.name} and is not labelled so. Label it {CLASS_LABEL}: {BOOTSTRAP}, "
                "or let the Kustomization do it with commonMetadata",
                entry.name,
            )


def bootstrap_namespace(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        encrypted = resource.origin is Origin.GIT and is_encrypted(resource)
        if not (encrypted or is_labelled(resource)) or not isinstance(resource.namespace, str):
            continue
        catalogue = context.inventory.catalogue_of(resource)
        allowed = {*context.settings.allowed_namespaces, *(catalogue.bootstrap_namespaces if catalogue else ())}
        if allowed and resource.namespace not in allowed:
            yield about(
                resource,
                f"is a bootstrap Secret in namespace {resource.namespace}; allowed are {', '.join(sorted(allowed))}. "
                "Move it, or add the namespace to bootstrapNamespaces after review",
            )


def reserved_namespace(context: RuleContext) -> Iterator[Violation]:
    """Trees with a catalogue only: elsewhere the namespaces of these names are somebody else's."""
    for resource in context.index.of("", "Namespace"):
        if resource.origin is not Origin.GIT or context.inventory.catalogue_of(resource) is None:
            continue
        metadata = mapping(resource.get("metadata"))
        if mapping(metadata.get("labels")).get("app.kubernetes.io/part-of") == "flux":
            continue  # of `flux bootstrap`, which is another way to have Flux, and not applied here
        for problem in namespace_problems(metadata, resource.where.file):
            yield Violation(f"{problem.message}. Fix: {problem.fix}", resource.where, (problem.field, problem.message))


RULES = (
    Rule(
        "declared-claims",
        "Declared claims are the real ones",
        "The ledger is derived from declarations; one that does not hold makes it lie.",
        "Correct the catalogue or the resource, so that both say the same.",
        "§3.3",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.STACK,
        declared_claims_hold,
    ),
    Rule(
        "catalogue-valid",
        "The catalogue can be read",
        "Without the catalogue nobody can say who owns which secret, nor which rotation policy it has.",
        "Correct the field that the message names.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        catalogue_valid,
    ),
    Rule(
        "uncatalogued-secret",
        "Every encrypted Secret is in the catalogue",
        "A secret without an entry has no owner and no consumer, and stays in Git for ever.",
        "Add an entry of class bootstrap.",
        "§5",
        Severity.MEDIUM,
        Level.MANDATORY,
        Scope.STACK,
        uncatalogued_secret,
    ),
    Rule(
        "missing-bootstrap-manifest",
        "Every bootstrap entry of the catalogue has its manifest",
        "Without it the cluster cannot be rebuilt from Git and the root key alone.",
        "Encrypt the manifest with sops, or remove the entry.",
        "§2",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        missing_bootstrap_manifest,
    ),
    Rule(
        "bootstrap-label",
        "Bootstrap Secrets are labelled",
        "The label is how people, evidence and the handover find them.",
        f"Label the Secret {CLASS_LABEL}: {BOOTSTRAP}.",
        "§5",
        Severity.MEDIUM,
        Level.MANDATORY,
        Scope.STACK,
        bootstrap_label,
    ),
    Rule(
        "bootstrap-namespace",
        "Bootstrap Secrets stand in few, named namespaces",
        "Every namespace with a bootstrap secret widens who can read what Git holds.",
        "Move it to an allowed namespace.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        bootstrap_namespace,
    ),
    Rule(
        "reserved-namespace",
        "Git declares no namespace of the platform",
        "Whoever can change or prune these namespaces can take Vault, its shares and the decryption identity away.",
        "Remove the manifest; label namespaces of workloads baseline or restricted.",
        "§4",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.STACK,
        reserved_namespace,
    ),
)
