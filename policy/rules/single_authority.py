"""Single authority: over one key of one secret there is one claimant (RFC §3.3)."""

from __future__ import annotations

from collections.abc import Iterator

from policy.claims.kubernetes import secret_keys
from policy.claims.vault import kv_location
from policy.context import RuleContext
from policy.inventory.resource import Origin, Position, Resource
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.settings import Level
from secret_authority.core.claims.conflicts import Conflict

# Pulumi packages whose resources make a value and keep it in the state.
_MINTING = frozenset({"random", "tls", "pkcs12"})
# Of these, what is made to be secret; an id or a pet name among the values of a chart is not.
_MADE_SECRET = frozenset({"RandomPassword", "RandomBytes", "PrivateKey", "FromPem"})
# Properties that hold values of secrets; names, paths and metadata are none.
_SECRET_DATA = frozenset({"data", "stringData"})
_VAULT_DATA = frozenset({"dataJson", "dataJsonWo"})
_CHART_VALUES = frozenset({"values"})
_CHARTS = frozenset({"kubernetes:helm.sh/v3:Release", "kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart"})
# Keys that hold public parts only.
PUBLIC_KEYS = frozenset({"ca.crt", "tls.crt", "ca.pem", "ca-bundle.crt", "known_hosts", "identity.pub"})


def _report(conflict: Conflict, context: RuleContext) -> Violation:
    subjects = (conflict.first.claimant.subject, conflict.second.claimant.subject)
    sources = [context.claim_sources[subject] for subject in subjects if subject in context.claim_sources]
    # Shown at the claimant that lies later in the context: the one that was added to what was there.
    where = sources[-1].where if sources else Position()
    names = [str(conflict.first.location), str(conflict.second.location), *subjects]
    names += [claim.secret for claim in (conflict.first, conflict.second) if claim.secret]
    names += [source.label for source in sources]
    return Violation(str(conflict), where, tuple(names))


def single_authority(context: RuleContext) -> Iterator[Violation]:
    for conflict in context.conflicts:
        if conflict.certain:
            yield _report(conflict, context)


def undecided_authority(context: RuleContext) -> Iterator[Violation]:
    for conflict in context.conflicts:
        if not conflict.certain:
            yield _report(conflict, context)


def pulumi_minted_value(context: RuleContext) -> Iterator[Violation]:
    """Values of random, tls and the like that a Secret, Vault or a chart is filled from, directly or through others."""
    for resource in context.index.resources:
        minted = list(_minted(context, resource, _value_fields(context, resource)))
        if resource.token in _CHARTS:
            minted = [source for source in minted if _made(source) in _MADE_SECRET]
        if minted:
            names = sorted(f"{_made(source)} {source.name}" for source in minted)
            yield about(
                resource,
                f"its value is made by {', '.join(names)} and kept in the Pulumi state, which so becomes the "
                "authority. Make the value in the cluster or outside, and write it to Vault once",
            )


def _value_fields(context: RuleContext, resource: Resource) -> frozenset[str]:
    """The properties of a resource that hold values of secrets."""
    if resource.is_a("", "Secret"):
        return _SECRET_DATA
    if resource.token in _CHARTS:
        return _CHART_VALUES
    return _VAULT_DATA if kv_location(context.inventory, resource, context.inventory.stores.mounts) else frozenset()


def _made(source: Resource) -> str:
    return source.token.rpartition(":")[2]


def _minted(context: RuleContext, resource: Resource, fields: frozenset[str]) -> Iterator[Resource]:
    """The resources of minting packages that the fields come from."""
    stack = [urn for field in fields for urn in resource.property_dependencies.get(field, ())]
    if fields and not resource.property_dependencies:
        # Nothing says which property comes from where.
        stack = list(resource.dependencies)
    seen: set[str] = set()
    while stack:
        urn = stack.pop()
        other = context.index.by_urn.get(urn)
        if urn in seen or other is None:
            continue
        seen.add(urn)
        if other.token.partition(":")[0] in _MINTING:
            yield other
        elif not other.is_kubernetes:
            stack += [inner for urns in other.property_dependencies.values() for inner in urns]


def pulumi_written_vault_value(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.of_package("vault"):
        location = kv_location(context.inventory, resource, context.inventory.stores.mounts)
        if location is not None:
            yield about(
                resource,
                f"writes {location} from Pulumi: it overwrites what is there, also a rotated value, and keeps the "
                "value in the state. Let the handover or a create-only PushSecret write it",
                str(location),
            )


def pulumi_held_secret(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.secrets:
        if resource.origin is not Origin.STACK:
            continue
        keys = secret_keys(resource)
        if keys is None or (keys.names and keys.names <= PUBLIC_KEYS and not keys.unknown):
            continue
        yield about(
            resource,
            "a Secret with data in a Pulumi stack keeps its value in the state, beside its authority. Let Flux "
            "(bootstrap) or External Secrets (consumption) write it",
        )


def opaque_release(context: RuleContext) -> Iterator[Violation]:
    for resource in context.index.resources:
        if resource.token == "kubernetes:helm.sh/v3:Release":
            yield about(
                resource,
                "what a helm.v3.Release makes is not in the stack, so Secrets in it cannot be checked. Use "
                "helm.v4.Chart, or make sure the chart makes no Secrets",
            )


RULES = (
    Rule(
        "single-authority",
        "Two systems never hold authority over one secret",
        "Two writers of one key overwrite each other, and nobody can say which value is right.",
        "Keep one claimant. Remove the other's object, or give it a key, a name or a path of its own.",
        "§3.3",
        Severity.CRITICAL,
        Level.MANDATORY,
        Scope.STACK,
        single_authority,
    ),
    Rule(
        "undecided-authority",
        "Identity is known well enough to rule out two authorities",
        "A name that is known only after the deployment could be the name of a secret that has an authority.",
        "Write the named field out: an explicit metadata.name, namespace, target name, mount, path or key.",
        "§3.3",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        undecided_authority,
    ),
    Rule(
        "pulumi-minted-value",
        "The Pulumi state is not the origin of a secret value",
        "A random resource keeps its value in the state for ever; every refresh puts that value back.",
        "Make the value with a generator and a create-only PushSecret, or enter it once into Vault.",
        "§2",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        pulumi_minted_value,
    ),
    Rule(
        "pulumi-written-vault-value",
        "Pulumi does not write secret values to Vault",
        "kv.SecretV2 and generic endpoints write over whatever is at the path, also over a rotated value.",
        "Hand the value over once with the engine, or push it create-only. Keep mounts and policies in Pulumi.",
        "§4",
        Severity.HIGH,
        Level.MANDATORY,
        Scope.STACK,
        pulumi_written_vault_value,
    ),
    Rule(
        "pulumi-held-secret",
        "Secrets with data are not resources of a Pulumi stack",
        "The state would be a second place of the value, and a second writer beside Flux or External Secrets.",
        "Let Flux or External Secrets write the Secret; refer to it by name.",
        "§2",
        Severity.MEDIUM,
        Level.ADVISORY,
        Scope.RESOURCE,
        pulumi_held_secret,
        lambda resource: resource.is_a("", "Secret"),
    ),
    Rule(
        "opaque-release",
        "Charts are visible to the rules",
        "A Secret that a helm.v3.Release makes is in no stack, so a conflict over it stays unseen.",
        "Use helm.v4.Chart, whose objects are resources of the stack.",
        "§2",
        Severity.LOW,
        Level.ADVISORY,
        Scope.RESOURCE,
        opaque_release,
        lambda resource: resource.token == "kubernetes:helm.sh/v3:Release",
    ),
)
