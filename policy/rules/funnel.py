"""The one-way funnel: intent and values flow down, never back up (RFC §3.4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from policy.claims.external_secrets import writes_once
from policy.claims.operators import mirror_marks
from policy.context import RuleContext
from policy.inventory.argocd_marks import vault_plugin_path
from policy.inventory.resource import Position, Resource, dig, items, mapping
from policy.inventory.secret_stores import ESO
from policy.inventory.workloads import Pods
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.rules.secret_values import PUBLIC_KEYS
from policy.settings import Level, Profile
from secret_authority.core.claims.conflicts import Claim, ReverseFlow, System, find_reverse_flows
from secret_authority.core.claims.locations import KubernetesSecret, Location

# External Secrets providers that write to a code host, and Pulumi resources that do.
_CODE_HOST_PROVIDERS = frozenset({"github", "gitlab"})
_CODE_HOST_TOKENS = {
    "github": ("ActionsSecret", "ActionsOrganizationSecret", "ActionsEnvironmentSecret", "DependabotSecret"),
    "gitlab": ("ProjectVariable", "GroupVariable", "InstanceVariable"),
}
# Generators that make a value themselves. Others ask a system for a token that expires: pushed, it would be stale.
_MINTING_GENERATORS = frozenset({"Password", "UUID", "SSHKey", "Fake"})


def upward_flow(context: RuleContext) -> Iterator[Violation]:
    if not any(isinstance(claim.source, KubernetesSecret) for claim in context.claims):
        return
    found: dict[tuple[str, str], list[ReverseFlow]] = defaultdict(list)
    for flow in find_reverse_flows(context.claims):
        if _counts(flow, context):
            found[flow.claim.claimant.subject, str(flow.claim.location)].append(flow)
    for (subject, location), flows in found.items():
        source = context.claim_sources.get(subject)
        through = [flow.through.claimant.subject for flow in flows]
        more = f" The same goes for {', '.join(through[1:4])}." if len(flows) > 1 else ""
        names = (subject, *through, location, *((source.label,) if source else ()))
        yield Violation(f"{flows[0]}{more}", source.where if source else Position(), names)


def _counts(flow: ReverseFlow, context: RuleContext) -> bool:
    """Whether a flow turns an origin into a copy of its copy, and not a backup, a seed or a mirror."""
    if _is_born_in_the_cluster(flow.through) or flow.through.create_only or _is_a_copy(flow.through, context):
        return False
    if flow.claim.source is not None and any(map(_is_renewed, context.observed_at.get(flow.claim.source, ()))):
        # A controller makes it, and what else brings it is a second authority over the Secret, which is said of that.
        return False
    if context.profile is Profile.RFC:
        return True
    # A mirror copies sideways, in the cluster. A create-only push starts the value of a store, and leaves it alone.
    sideways = isinstance(flow.claim.location, KubernetesSecret) and not flow.cycle
    return not (sideways or flow.claim.create_only)


def _is_born_in_the_cluster(claim: Claim) -> bool:
    """Whether a claim is of a controller that makes the value itself: pushing that is a backup, or the way to Vault."""
    return claim.claimant.system in (System.OPERATOR, System.GENERATOR)


def _is_renewed(claim: Claim) -> bool:
    """Whether a claim is of an operator that keeps writing the value that it makes."""
    return claim.claimant.system is System.OPERATOR and not claim.create_only


def push_spec(resource: Resource) -> Any:
    return resource.get("spec", "pushSecretSpec") if resource.kind == "ClusterPushSecret" else resource.get("spec")


def _is_a_copy(claim: Claim, context: RuleContext) -> bool:
    """Whether a claim is of a mirror that copies what an operator makes."""
    if claim.claimant.system is not System.MIRROR or claim.source is None:
        return False
    return any(origin.claimant.system is System.OPERATOR for origin in context.observed_at.get(claim.source, ()))


def _tokens_of_accounts(context: RuleContext) -> set[Location]:
    """Tokens of service accounts, of which Kubernetes makes another with each new Secret."""
    return {
        context.inventory.secret_location(secret)
        for secret in context.index.secrets
        if secret.get("type") == "kubernetes.io/service-account-token"
    }


def _takes_a_certificate(push: Resource) -> bool:
    """Whether a push takes a certificate with its key, which ends and is renewed by whatever issued it."""
    taken = {str(dig(entry, "match", "secretKey")) for entry in items(dig(push_spec(push), "data"))}
    return {"tls.crt", "tls.key"} <= taken


# Nothing in sight makes the Secret: a create-only push would freeze what an operator renews.
_UNLESS_RENEWED = ", unless a controller that is not in sight renews the Secret that it pushes"


def push_overwrites(context: RuleContext) -> Iterator[Violation]:
    tokens = _tokens_of_accounts(context)
    for resource in context.index.of(ESO, "PushSecret", "ClusterPushSecret"):
        exported = any(
            other.claimant.system is System.OPERATOR or _is_a_copy(other, context)
            for claim in context.claims_of(resource)
            if claim.source is not None
            for other in context.observed_at.get(claim.source, ())
        )
        # What an operator renews, such as a certificate, has to be pushed again: a create-only push would freeze it.
        if dig(push_spec(resource), "updatePolicy") == "IfNotExists" or exported:
            continue
        if tokens.isdisjoint(claim.source for claim in context.claims_of(resource)):
            known = any(
                context.observed_at.get(claim.source)
                for claim in context.claims_of(resource)
                if claim.source is not None
            )
            if not known and _takes_a_certificate(resource):
                continue
            found = about(
                resource,
                "can overwrite the value in the store, also a rotated one, because updatePolicy is not IfNotExists. "
                f"Set updatePolicy: IfNotExists{'' if known else _UNLESS_RENEWED}",
            )
            yield found if known else replace(found, level=Level.ADVISORY)


def push_deletes(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "PushSecret", "ClusterPushSecret"):
        if dig(push_spec(resource), "deletionPolicy") == "Delete":
            yield about(
                resource,
                "deletionPolicy Delete removes secret, rotation policy and authority record from Vault when this "
                "object goes. Set deletionPolicy: None",
            )


def _hands_out_public_parts(context: RuleContext, store: Resource) -> bool:
    """Whether all that is seen to be read from a store is public, such as the certificate of an authority."""
    taken: list[bool] = []
    for resource in context.index.of(ESO, "ExternalSecret", "ClusterExternalSecret"):
        path = ("externalSecretSpec",) if resource.kind == "ClusterExternalSecret" else ()
        spec = resource.get("spec", *path)
        if store.kind == "SecretStore" and not path and resource.namespace != store.namespace:
            continue
        for field in ("data", "dataFrom"):
            for entry in items(dig(spec, field)):
                source = dig(entry, "sourceRef", "storeRef") or dig(spec, "secretStoreRef")
                if dig(source, "name") == store.metadata_name and not dig(entry, "sourceRef", "generatorRef"):
                    taken.append(field == "data" and str(dig(entry, "remoteRef", "property")) in PUBLIC_KEYS)
    return bool(taken) and all(taken)


def kubernetes_store(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "SecretStore", "ClusterSecretStore"):
        for provider in mapping(resource.get("spec", "provider")):
            if provider in ("kubernetes", "fake") and not _hands_out_public_parts(context, resource):
                yield about(
                    resource,
                    f"provider {provider} makes Kubernetes the authority that others read from. Push what it reads to "
                    "Vault, and read it from there",
                )


def _minting_kind(context: RuleContext, reference: Any) -> str | None:
    """The kind of a generator that makes a value of its own; None for one that asks another system for a token."""
    kind = dig(reference, "kind")
    if kind == "ClusterGenerator":
        for generator in context.index.of("generators.external-secrets.io", "ClusterGenerator"):
            if generator.metadata_name == dig(reference, "name"):
                kind = generator.get("spec", "kind")
    return kind if isinstance(kind, str) and kind in _MINTING_GENERATORS else None


def _is_pushed(context: RuleContext, resource: Resource) -> bool:
    """Whether what a resource writes is pushed to a store."""
    targets = {claim.location for claim in context.claims_of(resource)}
    return any(claim.source in targets for claim, _ in context.observed if claim.claimant.system is System.PUSH_SECRET)


def generator_bypasses_vault(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "ExternalSecret", "ClusterExternalSecret"):
        path = ("externalSecretSpec",) if resource.kind == "ClusterExternalSecret" else ()
        for entry in items(resource.get("spec", *path, "dataFrom")):
            if _minting_kind(context, dig(entry, "sourceRef", "generatorRef")) is None or _is_pushed(context, resource):
                continue
            again = "" if writes_once(resource.get("spec", *path)) else ", and makes another one at each refresh"
            yield about(
                resource,
                f"a generator makes the value in Kubernetes, past Vault{again}. Push the Secret that it made to Vault "
                "once, with updatePolicy IfNotExists (a PushSecret with generatorRef makes a new value), then read "
                "that path",
            )


def secret_to_code_host(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of(ESO, "SecretStore", "ClusterSecretStore"):
        writes = _CODE_HOST_PROVIDERS & set(mapping(resource.get("spec", "provider")))
        pushed = writes and _is_pushed_to(context, resource)
        if pushed or "github" in writes:
            yield about(
                resource,
                "pushes secrets to a code host. A pipeline logs in to Vault with an identity of its own",
            )
    for package, kinds in _CODE_HOST_TOKENS.items():
        for resource in context.index.of_package(package):
            if resource.token.rpartition(":")[2] in kinds:
                yield about(
                    resource, "keeps a secret at a code host, where Vault cannot rotate it. Let the pipeline log in"
                )
    for pods in context.index.workloads:
        if _writes_git(pods):
            yield about(
                pods.resource,
                "reads Vault and pushes to Git in one container: values would flow from Vault up into Git. Remove it",
            )


def _is_pushed_to(context: RuleContext, store: Resource) -> bool:
    for push in context.index.of(ESO, "PushSecret", "ClusterPushSecret"):
        if any(dig(ref, "name") == store.metadata_name for ref in items(dig(push_spec(push), "secretStoreRefs"))):
            return True
    return False


def _writes_git(pods: Pods) -> bool:
    for container in pods.containers:
        words = [w for field in ("command", "args") for w in items(dig(container, field)) if isinstance(w, str)]
        text = " ".join(words)
        if "git push" in text and any(
            tool in text for tool in ("vault kv get", "vault read", "bao kv get", "bao read")
        ):
            return True
    return False


def mirrored_secret(context: RuleContext) -> Iterator[Violation]:
    index = context.index
    makers = [*index.secrets, *index.of(ESO, "ExternalSecret"), *index.of("cert-manager.io", "Certificate")]
    for resource in makers:
        for mark in mirror_marks(resource):
            # What cert-manager makes is not in Vault yet.
            pushed = "Push it to Vault, and give" if resource.kind == "Certificate" else "Give"
            yield about(
                resource,
                f"{mark} has a controller copy this Secret to other namespaces, which makes Kubernetes an "
                f"authority. {pushed} each consumer an ExternalSecret of its own",
            )


def rejected_mechanism(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of("bitnami.com", "SealedSecret"):
        yield about(resource, "Sealed Secrets make the cluster's own key the root of trust. Encrypt with SOPS and age")
    for resource in context.index.of("", "Secret", "ConfigMap"):
        if vault_plugin_path(resource):
            yield about(
                resource,
                "the Argo CD Vault plugin renders values in the GitOps controller, which then sees every secret. Use "
                "an ExternalSecret",
            )


RULES = (
    Rule(
        "upward-flow",
        "Values never flow back up",
        "A push of a Secret that something else fills makes a loop: the copy overwrites its own origin.",
        "Write the value to Vault where it is born and remove the push.",
        "§3.4",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.STACK,
        upward_flow,
    ),
    Rule(
        "push-overwrites",
        "A push only creates",
        "updatePolicy Replace writes the old value of the cluster over the rotated value in Vault.",
        "Set spec.updatePolicy: IfNotExists.",
        "§3.4",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.RESOURCE,
        push_overwrites,
        lambda resource: resource.is_a(ESO, "PushSecret", "ClusterPushSecret"),
    ),
    Rule(
        "push-deletes",
        "A push does not delete from Vault",
        "deletionPolicy Delete removes data and all metadata: rotation policy and the record of authority.",
        "Set spec.deletionPolicy: None.",
        "§5",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.RESOURCE,
        push_deletes,
        lambda resource: resource.is_a(ESO, "PushSecret", "ClusterPushSecret"),
    ),
    Rule(
        "kubernetes-store",
        "Kubernetes is a consumer, never the authority",
        "A store with the kubernetes provider lets other namespaces and clusters read Secrets as their origin.",
        "Point the store at Vault.",
        "§3.3",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.RESOURCE,
        kubernetes_store,
        lambda resource: resource.is_a(ESO, "SecretStore", "ClusterSecretStore"),
    ),
    Rule(
        "generator-bypasses-vault",
        "Internal secrets traverse Vault",
        "A generator in an ExternalSecret mints a value that Vault never sees, and a new one at each refresh.",
        "Push what it made with IfNotExists and read the path; for a new value, use the generator in the PushSecret.",
        "§2",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.RESOURCE,
        generator_bypasses_vault,
        lambda resource: resource.is_a(ESO, "ExternalSecret", "ClusterExternalSecret"),
    ),
    Rule(
        "secret-to-code-host",
        "No secret flows from Vault to Git or to a code host",
        "Git holds intent. A value written back there is readable for ever and is rotated by nobody.",
        "Let pipelines log in to Vault with an identity of their own.",
        "§8",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        secret_to_code_host,
    ),
    Rule(
        "mirrored-secret",
        "No controller mirrors Secrets",
        "A mirror makes one Secret the origin of others: Kubernetes becomes an authority.",
        "One ExternalSecret for each consumer.",
        "§8",
        Severity.MEDIUM,
        Level.MANDATORY,
        Scope.RESOURCE,
        mirrored_secret,
        lambda resource: resource.kind in ("Secret", "ExternalSecret", "Certificate"),
    ),
    Rule(
        "rejected-mechanism",
        "Mechanisms that the RFC rejects are not used",
        "Sealed Secrets tie the root of trust to one cluster; the Argo CD Vault plugin shows values to GitOps.",
        "Use SOPS with age for bootstrap secrets and External Secrets for consumption.",
        "§8",
        Severity.MEDIUM,
        Level.ADVISORY,
        Scope.RESOURCE,
        rejected_mechanism,
        lambda resource: resource.kind in ("SealedSecret", "Secret", "ConfigMap"),
    ),
)
