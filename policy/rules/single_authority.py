"""Single authority: over one key of one secret there is one claimant (RFC §3.3)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from policy.claims.by_request import INGRESS_OF_VALUES
from policy.claims.kubernetes import secret_keys
from policy.claims.vault import kv_location
from policy.context import RuleContext
from policy.inventory.resource import ENCRYPTED, Origin, Position, Resource
from policy.inventory.secret_stores import ESO
from policy.inventory.writers import CERTIFICATE, asks_for_given, sharing_maker
from policy.rules.base import Rule, Scope, Severity, Violation, about
from policy.rules.secret_values import PUBLIC_KEYS
from policy.rules.unapplied import is_doubtful, is_form_to_seal, is_of_a_dump, is_one_object_twice
from policy.settings import Level, Profile
from secret_authority.core.claims.conflicts import Claim, Conflict, System
from secret_authority.core.claims.locations import KubernetesSecret

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_CERT_MANAGER = "cert-manager.io"
# How many claimants, or fields, a message names.
_SHOWN = 6
# Pulumi packages whose resources make a value and keep it in the state.
_MINTING = frozenset({"random", "tls", "pkcs12"})
# Of these, what is made to be secret; an id or a pet name among the values of a chart is not.
_MADE_SECRET = frozenset({"RandomPassword", "RandomBytes", "PrivateKey", "FromPem"})
# Properties that hold values of secrets; names, paths and metadata are none.
_SECRET_DATA = frozenset({"data", "stringData"})
_VAULT_DATA = frozenset({"dataJson", "dataJsonWo"})
_CHART_VALUES = frozenset({"values"})
_CHARTS = frozenset({"kubernetes:helm.sh/v3:Release", "kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart"})


def _is_takeover(conflict: Conflict, context: RuleContext) -> bool:
    """One writes only where nothing is, the other keeps writing: the second decides, whoever came first.

    That holds for a Secret of the cluster. A create-only push decides what Vault has for good. External Secrets gives
    a Secret that one ExternalSecret owns to no other one.
    """
    if not isinstance(conflict.first.location, KubernetesSecret):
        return False
    seeds = [claim for claim in (conflict.first, conflict.second) if claim.create_only]
    others = [claim for claim in (conflict.first, conflict.second) if not claim.create_only]
    if len(seeds) != 1 or seeds[0].claimant.system is System.OPERATOR:
        return False
    policies = [_creation_policy(claim, context) for claim in (*seeds, *others)]
    return policies[0] != "Owner" or policies[1] is None


def _waits_for(conflict: Conflict, context: RuleContext) -> str:
    """What an object has to say so that its controller makes nothing, where it makes the Secret only if none is there.

    Who comes first decides the first value; the other claimant keeps writing. Empty where both keep writing.
    """
    for mine, other in ((conflict.first, conflict.second), (conflict.second, conflict.first)):
        source = context.claim_sources.get(mine.claimant.subject)
        if mine.create_only and source is not None and other.claimant.system is not System.OPERATOR:
            return asks_for_given(source)
    return ""


def _creation_policy(claim: Claim, context: RuleContext) -> Any:
    """The creationPolicy of the ExternalSecret that claims; None for other claimants."""
    source = context.claim_sources.get(claim.claimant.subject)
    if source is None or not source.is_a(ESO, "ExternalSecret", "ClusterExternalSecret"):
        return None
    path = ("externalSecretSpec",) if source.kind == "ClusterExternalSecret" else ()
    return source.get("spec", *path, "target", "creationPolicy") or "Owner"


def _is_one_manifest(conflict: Conflict, context: RuleContext) -> bool:
    """One manifest of a tree that several clusters or applications get: what is not known of it is each one's own."""
    subjects = [claim.claimant.subject for claim in (conflict.first, conflict.second)]
    first, second = (context.claim_sources.get(subject) for subject in subjects)
    if first is None or second is None or first.origin is not Origin.GIT:
        return False
    return subjects[0] == subjects[1] or (bool(first.where.file) and first.where == second.where)


def is_hidden_pair_of_certificates(conflict: Conflict, context: RuleContext) -> bool:
    """Two objects of cert-manager of which a name is encrypted in the tree.

    Nobody names the Secrets of two certificates alike on purpose, and only the owner can see the names. In the
    profile "authority" they are named among what was not judged; in "rfc" they are findings.
    """
    if context.profile is Profile.RFC:
        return False
    sources = [context.claim_sources.get(claim.claimant.subject) for claim in (conflict.first, conflict.second)]
    if any(source is None or source.group != _CERT_MANAGER for source in sources):
        return False
    return any(ENCRYPTED in unknown.field for unknown in conflict.unknown)


def hidden_names(context: RuleContext) -> list[str]:
    """What was not judged for that reason."""
    found = [c for c in _decided(context) if not c.certain and not _is_one_manifest(c, context)]
    hidden = [c for c in found if is_hidden_pair_of_certificates(c, context)]
    return [
        f"certificates of which a name is encrypted: {violation.message}" for violation in _violations(hidden, context)
    ]


def _is_nameless(conflict: Conflict) -> bool:
    """Whether the API server would refuse the name of the Secret: something replaces it before it is applied."""
    location = conflict.first.location
    name = location.name if isinstance(location, KubernetesSecret) else None
    return isinstance(name, str) and _NAME.fullmatch(name) is None


def _is_shared(conflict: Conflict, context: RuleContext) -> bool:
    """Two objects of one controller that use one Secret: it makes the Secret where none is, and changes it for neither.

    cert-manager: the issuers of one ACME account.
    """
    makers = {_sharing_maker(claim, context) for claim in (conflict.first, conflict.second)}
    return len(makers) == 1 and None not in makers


def _ends(conflict: Conflict) -> list[tuple[object, object]]:
    """What makes two conflicts one: a claim over one location, or two objects of which a controller makes several."""
    first, second = conflict.first.claimant, conflict.second.claimant
    ends: list[tuple[object, object]] = [(c.location, c.claimant) for c in (conflict.first, conflict.second)]
    several = first.system is second.system and first.system in (System.OPERATOR, System.MIRROR)
    return [*ends, (first, second)] if several else ends


def _sharing_maker(claim: Claim, context: RuleContext) -> str | None:
    if claim.claimant.subject.startswith(INGRESS_OF_VALUES):
        return CERTIFICATE
    source = context.claim_sources.get(claim.claimant.subject)
    return sharing_maker(source) if source is not None else None


def _grouped(conflicts: Iterable[Conflict]) -> Iterator[list[Conflict]]:
    """Conflicts that share a claim over one location, so that each location is one finding."""
    by_claim: dict[tuple[object, object], list[Conflict]] = {}
    for conflict in conflicts:
        ends = _ends(conflict)
        groups = [by_claim[end] for end in ends if end in by_claim]
        merged = groups[0] if groups else []
        if len(groups) > 1 and groups[0] is not groups[1]:
            merged += groups[1]
            for other in groups[1]:
                for end in _ends(other):
                    by_claim[end] = merged
        merged.append(conflict)
        for end in ends:
            by_claim[end] = merged
    seen: set[int] = set()
    for group in by_claim.values():
        if id(group) not in seen:
            seen.add(id(group))
            yield group


def _violations(conflicts: Iterable[Conflict], context: RuleContext) -> Iterator[Violation]:
    """One violation for each location; what the same files do in several clusters is one too."""
    found: dict[object, list[Violation]] = defaultdict(list)
    for group in _grouped(conflicts):
        violation = _violation(group, context)
        claims = [claim for conflict in group for claim in (conflict.first, conflict.second)]
        sources = [context.claim_sources.get(claim.claimant.subject) for claim in claims]
        files = {str(source.where) for source in sources if source is not None and source.where.file}
        # Only what comes from files can be the same twice.
        key = (frozenset(files), str(claims[0].location)) if files else (violation.message,)
        found[key].append(violation)
    for violations in found.values():
        first = violations[0]
        more = f". The same in {len(violations) - 1} more clusters" if len(violations) > 1 else ""
        names = dict.fromkeys(name for violation in violations for name in violation.names)
        yield Violation(f"{first.message}{more}", first.where, tuple(names))


def _violation(group: list[Conflict], context: RuleContext) -> Violation:
    claims = list(dict.fromkeys(claim for conflict in group for claim in (conflict.first, conflict.second)))
    subjects = list(dict.fromkeys(claim.claimant.subject for claim in claims))
    sources = [context.claim_sources[subject] for subject in subjects if subject in context.claim_sources]
    # Shown at the claimant that comes last: the one that was added to what was there.
    order = context.positions
    where = max((source.where for source in sources), key=lambda p: order.get(p, -1), default=Position())
    names = [*dict.fromkeys(str(claim.location) for claim in claims), *subjects]
    names += dict.fromkeys(claim.secret for claim in claims if claim.secret)
    names += dict.fromkeys(source.label for source in sources)
    return Violation(_message(group, claims), where, tuple(names))


def _message(group: list[Conflict], claims: list[Claim]) -> str:
    if len(group) == 1:
        return str(group[0])
    named = list(dict.fromkeys(str(claim.claimant) for claim in claims))
    if len(named) < len({claim.claimant for claim in claims}):
        # Some have one name: they are distinguished by where they were found.
        named = sorted({f"{claim.claimant} in {claim.claimant.origin}" for claim in claims})
    shown = ", ".join(named[:_SHOWN]) + (f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else "")
    secrets = sorted({claim.secret for claim in claims if claim.secret})
    secret = f" (secret {', '.join(secrets)})" if secrets else ""
    locations = sorted({str(claim.location) for claim in claims})
    where = " and ".join(locations[:2]) if len(locations) < 3 else f"{locations[0]} and {len(locations) - 1} more"
    if all(conflict.certain for conflict in group):
        keys = sorted({str(conflict.keys) for conflict in group})
        return (
            f"{len(named)} authorities over {where}, {', '.join(keys)}{secret}: {shown}. "
            "Keep one of them and remove the claims of the others"
        )
    fields = ", ".join(sorted({part.field for conflict in group for part in conflict.unknown})[:_SHOWN])
    return f"cannot rule out several authorities over {where}{secret}: {shown}. Make known: {fields or 'their keys'}"


def _decided(context: RuleContext) -> list[Conflict]:
    """The conflicts that no take-over and no sharing explains."""
    return [
        conflict
        for conflict in context.conflicts
        if not _is_takeover(conflict, context)
        and not _is_shared(conflict, context)
        and not is_one_object_twice(conflict, context)
        and not is_of_a_dump(conflict, context)
        and not is_form_to_seal(conflict, context)
        and not _is_nameless(conflict)
    ]


def single_authority(context: RuleContext) -> Iterator[Violation]:
    found = [c for c in _decided(context) if c.certain and not is_doubtful(c, context) and not _waits_for(c, context)]
    yield from _violations(found, context)


def undecided_authority(context: RuleContext) -> Iterator[Violation]:
    """What is not known well enough; what nothing applies is only reported."""
    decided = [
        c
        for c in _decided(context)
        if c.certain or not (_is_one_manifest(c, context) or is_hidden_pair_of_certificates(c, context))
    ]
    doubtful = [c for c in decided if c.certain and is_doubtful(c, context)]
    first_come: dict[str, list[Conflict]] = defaultdict(list)
    for conflict in decided:
        asks = _waits_for(conflict, context) if conflict.certain and not is_doubtful(conflict, context) else ""
        if asks:
            first_come[asks].append(conflict)
    yield from _violations([c for c in decided if not c.certain and not is_doubtful(c, context)], context)
    for violation in _violations(doubtful, context):
        doubt = f"nothing in the tree says that both are applied; if they are: {violation.message}"
        yield replace(violation, message=doubt, level=Level.ADVISORY)
    for asks, conflicts in first_come.items():
        for violation in _violations(conflicts, context):
            doubt = f"who comes first makes the Secret; if it is given, set {asks}: {violation.message}"
            yield replace(violation, message=doubt, level=Level.ADVISORY)


def pulumi_minted_value(context: RuleContext) -> Iterator[Violation]:
    """Values of random, tls and the like that a Secret, Vault or a chart is filled from, directly or through others."""
    for resource in context.index.resources:
        if not (resource.property_dependencies or resource.dependencies):
            continue
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
